/* Epoll sets within sets over a stream with data that its reader took notice of by polling, before the inner set was
 * added to the outer one: the outer one has to tell of it, by itself and by poll and select, for as long as it lies
 * there, and an edge-triggered or one-shot outer registration once. */
#include "pair.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>

static int set_with(int fd, unsigned events, int data)
{
	struct epoll_event ev = { .events = events, .data.u32 = (unsigned)data };
	int ep = epoll_create1(EPOLL_CLOEXEC);

	check(ep >= 0 && !epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
	return ep;
}

/* The events of the only thing in the set. */
static int events_of(int ep, int data, int ms)
{
	struct epoll_event ev[2] = { 0 };
	int n = epoll_wait(ep, ev, 2, ms);

	check(n >= 0 && n <= 1 && (!n || ev[0].data.u32 == (unsigned)data));
	return n ? (int)ev[0].events : 0;
}

static int polled(int ep, int ms)
{
	struct pollfd p = { ep, POLLIN, 0 };
	int n = poll(&p, 1, ms);

	check(n == (p.revents == POLLIN));
	return n;
}

static int selected(int ep)
{
	struct timeval now = { 0 };
	fd_set set;

	FD_ZERO(&set);
	FD_SET(ep, &set);
	return select(ep + 1, &set, NULL, NULL, &now);
}

/* A set of the stream, half of whose last message is unread: the waits polled, so nobody has rung for it. */
static int inner_with_half(struct end *e)
{
	int ep = set_with(e->fd, EPOLLIN, 1);

	for (int i = 0; i < 50; i++) {
		tell('g');
		check(events_of(ep, 1, -1) == EPOLLIN);
		await('k'); /* whatever the sender had to do for it is done */
		take(e, e->fd, 60);
		if (i < 49)
			take(e, e->fd, 60);
	}
	return ep;
}

static void drained(int outer)
{
	check(!events_of(outer, 2, 0) && !polled(outer, 0) && !selected(outer));
}

static void level(struct end *e)
{
	int inner = inner_with_half(e), outer = set_with(inner, EPOLLIN, 2);

	for (int i = 0; i < 3; i++)
		check(events_of(outer, 2, -1) == EPOLLIN);
	check(polled(outer, -1) == 1 && selected(outer) == 1);
	take(e, e->fd, 60);
	drained(outer);
	tell('g');
	await('k');
	check(events_of(outer, 2, -1) == EPOLLIN && events_of(inner, 1, 0) == EPOLLIN);
	take(e, e->fd, 120);
	drained(outer);
	close(inner);
	close(outer);
}

/* The middle set is in the outer one before the inner set is in it. */
static void three(struct end *e)
{
	int inner = inner_with_half(e), middle = epoll_create1(0), outer = set_with(middle, EPOLLIN, 2);
	struct epoll_event ev = { .events = EPOLLIN, .data.u32 = 3 };

	drained(outer);
	check(!epoll_ctl(middle, EPOLL_CTL_ADD, inner, &ev));
	check(events_of(outer, 2, -1) == EPOLLIN && events_of(middle, 3, -1) == EPOLLIN && polled(outer, -1) == 1);
	check(!epoll_ctl(middle, EPOLL_CTL_DEL, inner, NULL));
	drained(outer);
	take(e, e->fd, 60);
	close(inner);
	close(middle);
	close(outer);
}

static void once(struct end *e, unsigned how)
{
	int inner = inner_with_half(e), outer = set_with(inner, EPOLLIN | how, 2);
	struct epoll_event ev = { .events = EPOLLIN | how, .data.u32 = 2 };

	check(polled(outer, -1) == 1);
	check(events_of(outer, 2, -1) == EPOLLIN);
	drained(outer);
	check(!epoll_ctl(outer, EPOLL_CTL_MOD, inner, &ev));
	check(events_of(outer, 2, -1) == EPOLLIN);
	drained(outer);
	take(e, e->fd, 60);
	tell('g');
	await('k');
	if (how == EPOLLET)
		check(events_of(outer, 2, -1) == EPOLLIN);
	check(!events_of(outer, 2, 0));
	take(e, e->fd, 120);
	close(inner);
	close(outer);
}

/* What is closed, or asks for no input, tells of nothing; nor does the next set of that number. */
static void gone(struct end *e)
{
	int inner = inner_with_half(e), outer = set_with(inner, 0, 2), next;
	struct epoll_event ev = { .events = EPOLLIN, .data.u32 = 2 };

	drained(outer);
	check(!epoll_ctl(outer, EPOLL_CTL_MOD, inner, &ev));
	check(events_of(outer, 2, -1) == EPOLLIN);
	close(inner);
	drained(outer);
	next = set_with(e->fd, EPOLLIN, 1);
	drained(outer);
	take(e, e->fd, 60);
	close(next);
	close(outer);
}

static void client(struct end *e)
{
	for (int round = 0; round < 5; round++) {
		level(e);
		three(e);
		once(e, EPOLLET);
		once(e, EPOLLONESHOT);
		gone(e);
	}
	tell('e');
	say("each told of it as long as it lay there");
}

static void server(struct end *e)
{
	while (await_number() == 'g') {
		put(e, e->fd, 120);
		tell('k');
	}
	say("done");
}

const struct pair pair = { .client = client, .server = server };
