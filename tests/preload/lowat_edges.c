/* SO_RCVLOWAT with poll, level and edge: below the mark nothing is readable, at it everything. */
#include "pair.h"

#include <poll.h>
#include <sys/epoll.h>

static void set_mark(int fd, int n)
{
	int got = 0;
	socklen_t len = sizeof(got);

	check(!setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &n, sizeof(n)));
	check(!getsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &got, &len));
	say("mark %d", got);
}

static void show(struct end *e, int level, int edge)
{
	struct epoll_event ev = { 0 };
	struct pollfd p = { e->fd, POLLIN, 0 };

	say("poll %d level %d edge %d", poll(&p, 1, 0), epoll_wait(level, &ev, 1, 0),
		epoll_wait(edge, &ev, 1, 0));
}

/* Asks the other side for n bytes and waits until they are here. */
static void ask(struct end *e, int n, int expect)
{
	tell_number(n);
	await_unread(e->fd, expect);
}

static int watch(struct end *e, unsigned events)
{
	struct epoll_event ev = { .events = events };
	int ep = epoll_create1(0);

	check(!epoll_ctl(ep, EPOLL_CTL_ADD, e->fd, &ev));
	return ep;
}

static void run_mark(struct end *e, int mark)
{
	int level = watch(e, EPOLLIN), edge = watch(e, EPOLLIN | EPOLLET);
	char *buf = malloc(mark);

	set_mark(e->fd, mark);
	show(e, level, edge);
	ask(e, mark - 1, mark - 1);
	show(e, level, edge);
	say("recv without waiting: %s", result(recv(e->fd, buf, mark, MSG_DONTWAIT | MSG_PEEK)));
	ask(e, 1, mark);
	show(e, level, edge);
	show(e, level, edge);
	take(e, e->fd, 1);
	show(e, level, edge);
	/* A mark lowered below what lies there. */
	set_mark(e->fd, 1);
	show(e, level, edge);
	take(e, e->fd, mark - 1);
	show(e, level, edge);
	/* A blocking recv waits for the mark. */
	set_mark(e->fd, mark);
	tell_number(mark);
	say("blocking recv: %s", result(recv(e->fd, buf, mark, 0)));
	took(e, buf, mark);
	set_mark(e->fd, 1);
	close(level);
	close(edge);
	free(buf);
}

static void client(struct end *e)
{
	run_mark(e, 2);
	run_mark(e, 1000);
	run_mark(e, 30000);
	tell_number(0);
}

static void server(struct end *e)
{
	long n;

	while ((n = await_number()) > 0)
		put(e, e->fd, n);
	say("done");
}

const struct pair pair = { .client = client, .server = server };
