/* A program that sleeps in waits that no hook sees, epoll (level or edge) and poll by instructions of its own, and receives without
 * waiting: everything is rung for, or it sleeps for good. */
#include "pair.h"
#include "sys.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>

#define ROUNDS 1500

static int edge, by_poll;

static void wait_for(struct end *e, int ep, short events)
{
	struct pollfd p = { e->fd, events, 0 };
	struct epoll_event ev;

	if (by_poll || events == POLLOUT)
		check(sys_call(SYS_ppoll, &p, 1, NULL, NULL, 0) == 1);
	else
		check(sys_call(SYS_epoll_pwait, ep, &ev, 1, -1, NULL, 0) == 1);
}

static void take_waiting(struct end *e, int ep, size_t n)
{
	static char buf[200000];

	for (size_t done = 0; done < n;) {
		ssize_t r = recv(e->fd, buf, n - done, 0);
		check(r > 0 || (r < 0 && errno == EAGAIN));
		if (r < 0) {
			wait_for(e, ep, POLLIN);
			continue;
		}
		took(e, buf, r);
		done += r;
	}
}

static void put_waiting(struct end *e, int ep, size_t n)
{
	static char buf[200000];

	make(e, buf, n);
	for (size_t done = 0; done < n;) {
		ssize_t r = send(e->fd, buf + done, n - done, 0);
		check(r > 0 || (r < 0 && errno == EAGAIN));
		if (r < 0)
			wait_for(e, ep, POLLOUT);
		else
			done += r;
	}
}

/* Many small ones, and then one that is large. */
static size_t size_of(int round)
{
	return round % 8 == 7 ? 1 + (size_t)round * 7919 % 200000 : 1 + (size_t)round % 300;
}

static void both(struct end *e)
{
	edge = e->argc && !strcmp(e->argv[0], "edge");
	by_poll = e->argc && !strcmp(e->argv[0], "poll");
	struct epoll_event ev = { .events = EPOLLIN | (edge ? EPOLLET : 0) };
	int ep = epoll_create1(0);

	check(ep >= 0 && !epoll_ctl(ep, EPOLL_CTL_ADD, e->fd, &ev) && !fcntl(e->fd, F_SETFL, O_NONBLOCK));
	for (int i = 0; i < ROUNDS; i++)
		if (i % 2 == (e->role == CLIENT))
			put_waiting(e, ep, size_of(i));
		else
			take_waiting(e, ep, size_of(i));
	close(ep);
	say("never asleep for good");
}

const struct pair pair = { .client = both, .server = both };
