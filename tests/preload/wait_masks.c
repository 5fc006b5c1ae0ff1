/* The mask of ppoll, pselect, epoll_pwait and epoll_pwait2: a signal that only the wait admits ends it with EINTR, whether it
 * was pending before or comes meanwhile, its handler runs inside the call, and the mask is the old one afterwards. One that
 * the wait keeps out runs its handler when the wait is over. */
#include "pair.h"

#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <time.h>

#define ROUNDS 40

enum how { PPOLL, PSELECT, EPOLL_PWAIT, EPOLL_PWAIT2, HOWS };
static const char *const hows[] = { "ppoll", "pselect", "epoll_pwait", "epoll_pwait2" };

struct waiter {
	int fd, ep, seconds;
	enum how how;
	sigset_t mask;
};

static volatile sig_atomic_t handled, outside, inside, early;
static int watched = -1; /* where a handler looks whether there is something to read */

static void on_signal(int sig)
{
	int n = 1, e = errno;

	handled++;
	outside += !inside;
	if (watched >= 0)
		early += ioctl(watched, FIONREAD, &n) || !n;
	errno = e;
}

static sigset_t set_of(int sig)
{
	sigset_t set;

	sigemptyset(&set);
	if (sig)
		sigaddset(&set, sig);
	return set;
}

static int is_blocked(void)
{
	sigset_t now;

	check(!pthread_sigmask(SIG_SETMASK, NULL, &now));
	return sigismember(&now, SIGUSR1);
}

static int wait_once(struct waiter *w)
{
	struct timespec t = { w->seconds, 0 };
	struct pollfd p = { w->fd, POLLIN, 0 };
	struct epoll_event ev;
	fd_set in;

	FD_ZERO(&in);
	FD_SET(w->fd, &in);
	switch (w->how) {
	case PPOLL:
		return ppoll(&p, 1, &t, &w->mask);
	case PSELECT:
		return pselect(w->fd + 1, &in, NULL, NULL, &t, &w->mask);
	case EPOLL_PWAIT:
		return epoll_pwait(w->ep, &ev, 1, w->seconds * 1000, &w->mask);
	default:
		return epoll_pwait2(w->ep, &ev, 1, &t, &w->mask);
	}
}

static const char *waited(struct waiter *w)
{
	int r, e;

	inside = 1;
	r = wait_once(w);
	e = errno;
	inside = 0;
	errno = e;
	return result(r);
}

static void say_what_happened(const struct waiter *w, const char *when, const char *got)
{
	say("%s, %s: %s, handled %d, outside the call %d, blocked again %d", hows[w->how], when, got, (int)handled, (int)outside,
		is_blocked());
	handled = outside = 0;
}

/* Half of what came is left, so that what lies there was taken notice of before. */
static void have_some(struct end *e)
{
	tell('p');
	take(e, e->fd, 50);
}

static void admitted(struct end *e, struct waiter *w)
{
	sigset_t blocked = set_of(SIGUSR1);
	int interrupted = 0;

	w->mask = set_of(0);
	check(!pthread_sigmask(SIG_BLOCK, &blocked, NULL));
	check(!raise(SIGUSR1));
	say_what_happened(w, "pending before", waited(w));
	for (int i = 0; i < ROUNDS; i++) {
		tell_number(i * 20);
		interrupted += !strcmp(waited(w), "EINTR");
	}
	say("interrupted %d times", interrupted);
	say_what_happened(w, "coming meanwhile", "all");
	have_some(e);
	check(!raise(SIGUSR1));
	say_what_happened(w, "pending, and there is something to read", waited(w));
	w->seconds = 0;
	say_what_happened(w, "the same, no time to wait", waited(w));
	w->seconds = 60;
	inside = 1;
	check(!pthread_sigmask(SIG_UNBLOCK, &blocked, NULL));
	inside = 0;
	say_what_happened(w, "unblocked", "then");
	take(e, e->fd, 50);
}

/* The signal comes while we sleep in the wait, and something to read after it. */
static void kept_out(struct end *e, struct waiter *w)
{
	w->mask = set_of(SIGUSR1);
	watched = e->fd;
	for (int i = 0; i < ROUNDS; i++) {
		tell('s');
		check(!strcmp(waited(w), "1"));
		check(handled == i + 1);
		take(e, e->fd, 1);
	}
	watched = -1;
	say("before there was something to read: %d", (int)early);
	say_what_happened(w, "kept out", "1");
}

static void client(struct end *e)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	struct epoll_event in = { .events = EPOLLIN };
	struct waiter w = { .fd = e->fd, .ep = epoll_create1(0), .seconds = 60 };

	check(!sigaction(SIGUSR1, &sa, NULL) && !epoll_ctl(w.ep, EPOLL_CTL_ADD, e->fd, &in));
	for (int how = 0; how < HOWS; how++) {
		w.how = how;
		admitted(e, &w);
		kept_out(e, &w);
	}
	close(w.ep);
}

static void send_signal(struct end *e, long delay)
{
	usleep(delay);
	check(!kill(e->peer, SIGUSR1));
}

static void server(struct end *e)
{
	for (int how = 0; how < HOWS; how++) {
		for (int i = 0; i < ROUNDS; i++)
			send_signal(e, await_number());
		await('p');
		put(e, e->fd, 100);
		for (int i = 0; i < ROUNDS; i++) {
			await('s');
			await_sleep(e->peer);
			send_signal(e, 0);
			put(e, e->fd, 1);
		}
	}
	say("sent");
}

const struct pair pair = { .client = client, .server = server };
