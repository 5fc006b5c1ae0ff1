/* Signals for a thread that waits in recv, poll or epoll_wait: EINTR without SA_RESTART, not seen
 * with it; poll and epoll_wait are interrupted always. Nothing else ever arrives, so a signal
 * whose EINTR is lost (it came while the library still spun) hangs the program. */
#include "pair.h"

#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/time.h>

static volatile sig_atomic_t seen;

static void on_alarm(int sig)
{
	seen++;
}

static void install(int flags)
{
	struct sigaction sa = { .sa_handler = on_alarm, .sa_flags = flags };

	check(!sigaction(SIGALRM, &sa, NULL));
}

static void alarms_every(long usec)
{
	struct itimerval it = { { 0, usec }, { 0, usec } };

	check(!setitimer(ITIMER_REAL, &it, NULL));
}

static void interrupted_recvs(struct end *e)
{
	char c;
	int ok = 0;

	install(0);
	for (int i = 0; i < 300; i++) {
		alarms_every(100 + i * 7);
		ok += recv(e->fd, &c, 1, 0) < 0 && errno == EINTR;
		alarms_every(0);
	}
	say("recv interrupted %d times", ok);
}

static void interrupted_waits(struct end *e, int flags)
{
	struct epoll_event ev = { .events = EPOLLIN };
	struct pollfd p = { e->fd, POLLIN, 0 };
	int ep = epoll_create1(0), polls = 0, epolls = 0;

	install(flags);
	check(!epoll_ctl(ep, EPOLL_CTL_ADD, e->fd, &ev));
	for (int i = 0; i < 100; i++) {
		alarms_every(100 + i * 7);
		polls += poll(&p, 1, -1) < 0 && errno == EINTR;
		epolls += epoll_wait(ep, &ev, 1, -1) < 0 && errno == EINTR;
		alarms_every(0);
	}
	say("flags %#x: poll interrupted %d times, epoll_wait %d", flags, polls, epolls);
	close(ep);
}

/* The server sends only when the handler has run three times. */
static void restarted_recv(struct end *e)
{
	char c = 0;

	install(SA_RESTART);
	for (int i = 0; i < 50; i++) {
		seen = 0;
		alarms_every(200);
		tell('g');
		check(recv(e->fd, &c, 1, 0) == 1);
		alarms_every(0);
		took(e, &c, 1);
	}
	say("recv restarted");
}

static void client(struct end *e)
{
	interrupted_recvs(e);
	interrupted_waits(e, 0);
	interrupted_waits(e, SA_RESTART);
	restarted_recv(e);
}

static void server(struct end *e)
{
	for (int i = 0; i < 50; i++) {
		await('g');
		usleep(2000);
		put(e, e->fd, 1);
	}
	say("sent");
}

const struct pair pair = { .client = client, .server = server };
