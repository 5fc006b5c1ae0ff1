/* SIGKILL of a receiver that has taken everything, while a doorbell lies unread in its socket: its kernel resets the
 * connection, where bare TCP ends it.  The argument says which call of the other end meets that first; "linger" is one
 * whose end is a reset without us. */
#include "pair.h"

#include <dlfcn.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>

#define SOME (1 << 20)

static int is(const struct end *e, const char *what)
{
	return !strcmp(e->argv[0], what);
}

static void server(struct end *e)
{
	struct linger now = { .l_onoff = 1 };

	if (is(e, "linger"))
		check(!setsockopt(e->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)));
	take(e, e->fd, SOME);
	tell('t');
	await('k');
	raise(SIGKILL);
}

/* As a sender's that was held up: it comes after its data was taken. */
static void late_doorbell(struct end *e)
{
	const char *preload = getenv("LD_PRELOAD");
	void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
	ssize_t (*unseen)(int, const void *, size_t, int) = (ssize_t(*)(int, const void *, size_t, int))dlsym(libc, "send");

	if (preload && strstr(preload, "libdlaccel"))
		check(unseen(e->fd, "", 1, MSG_DONTWAIT) == 1);
}

static void say_recv(struct end *e)
{
	char c;

	say("recv: %s", result(recv(e->fd, &c, 1, 0)));
}

static void say_send(struct end *e)
{
	say("send: %s", result(send(e->fd, "x", 1, MSG_NOSIGNAL)));
}

static void *reader(void *arg)
{
	say_recv(arg);
	return NULL;
}

static void say_epoll(struct end *e)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLRDHUP };
	int ep = epoll_create1(0);

	check(ep >= 0 && !epoll_ctl(ep, EPOLL_CTL_ADD, e->fd, &ev));
	check(epoll_wait(ep, &ev, 1, -1) == 1);
	say("epoll %#x", ev.events);
	close(ep);
}

static void say_error(struct end *e)
{
	int err = -1;
	socklen_t len = sizeof(err);

	check(!getsockopt(e->fd, SOL_SOCKET, SO_ERROR, &err, &len));
	say("SO_ERROR: %s", err_name(err));
}

static void say_shutdown(struct end *e)
{
	say("shutdown: %s", result(shutdown(e->fd, SHUT_WR)));
}

/* What comes first may be called before the end is there: not by a look of the test's that would meet it too. */
static void await_death(struct end *e)
{
	long left = 0;

	while (!kill(e->peer, 0) && left++ < 1000) {
		char state[256] = "", path[64];
		snprintf(path, sizeof(path), "/proc/%d/stat", e->peer);
		FILE *f = fopen(path, "r");
		if (!f || !fgets(state, sizeof(state), f) || strstr(state, ") Z") || strstr(state, ") X"))
			left = 1000;
		if (f)
			fclose(f);
		usleep(5000);
	}
}

static void client(struct end *e)
{
	pthread_t t;

	put(e, e->fd, SOME);
	await('t');
	late_doorbell(e);
	if (is(e, "blocked")) {
		check(!pthread_create(&t, NULL, reader, e));
		tell('k');
		pthread_join(t, NULL);
	} else {
		tell('k');
		if (!is(e, "poll"))
			await_death(e);
	}
	if (is(e, "poll") || is(e, "linger"))
		say("revents %#x", await_events(e->fd, POLLIN | POLLRDHUP));
	else if (is(e, "epoll"))
		say_epoll(e);
	else if (is(e, "error"))
		say_error(e);
	else if (is(e, "shutdown"))
		say_shutdown(e);
	else if (is(e, "send"))
		say_send(e);
	if (is(e, "send"))
		return;
	say_recv(e);
	say_recv(e);
	say("revents %#x", await_events(e->fd, POLLIN | POLLRDHUP));
	say_error(e);
	if (is(e, "shutdown"))
		return;
	say_send(e);
	await_events(e->fd, 0);
	say("send again: %s", result(send(e->fd, "x", 1, MSG_NOSIGNAL)));
}

const struct pair pair = { .client = client, .server = server };
