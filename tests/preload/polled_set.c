/* An epoll set in which a stream lies readable, found so by poll and select on the set itself; and a one-shot
 * registration that has had its event, which a poll of the set does not give it again; and a set made over data that
 * another wait found, which tells of it, a one-shot registration of nothing more; and one whose sleeper another thread
 * wakes by registering such data there, or in a set within; and such a registration that is gone before anybody waits, or
 * whose data is, or that is rung for after all, which is one event. */
#include "pair.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/select.h>

static int set_with(int fd, unsigned events)
{
	struct epoll_event ev = { .events = events };
	int ep = epoll_create1(EPOLL_CLOEXEC);

	check(ep >= 0 && !epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
	return ep;
}

static int events_of(int ep, int ms)
{
	struct epoll_event ev = { 0 };
	int n = epoll_wait(ep, &ev, 1, ms);

	check(n >= 0);
	return n ? (int)ev.events : 0;
}

static int readable_by(int by_select, int fd)
{
	struct pollfd p = { fd, POLLIN, 0 };
	fd_set set;

	if (!by_select)
		return poll(&p, 1, -1);
	FD_ZERO(&set);
	FD_SET(fd, &set);
	return select(fd + 1, &set, NULL, NULL, NULL);
}

/* Half of what comes is read while the wait still polls, so that nobody has rung for the rest. */
static void leave_half(struct end *e, int ep)
{
	for (int i = 0; i < 50; i++) {
		tell('g');
		check(events_of(ep, -1) == EPOLLIN);
		take(e, e->fd, 60);
		if (i < 49)
			take(e, e->fd, 60);
	}
}

static void level(struct end *e, int round)
{
	int ep = set_with(e->fd, EPOLLIN);

	leave_half(e, ep);
	check(readable_by(round % 2, ep) == 1);
	check(events_of(ep, 0) == EPOLLIN);
	take(e, e->fd, 60);
	check(!events_of(ep, 0));
	close(ep);
}

static void one_shot(struct end *e)
{
	int ep = set_with(e->fd, EPOLLIN | EPOLLONESHOT);
	struct pollfd p = { ep, POLLIN, 0 };

	tell('g');
	await_events(e->fd, POLLIN);
	check(events_of(ep, -1) == EPOLLIN);
	check(!poll(&p, 1, 0));
	check(!events_of(ep, 0));
	take(e, e->fd, 120);
	close(ep);
}

static void made_late(struct end *e, unsigned how)
{
	int first = set_with(e->fd, EPOLLIN);

	leave_half(e, first);
	close(first);
	int ep = set_with(e->fd, EPOLLIN | how);
	check(events_of(ep, -1) == EPOLLIN);
	take(e, e->fd, 60);
	tell('g');
	if (how & EPOLLONESHOT)
		await_events(e->fd, POLLIN);
	else
		check(events_of(ep, -1) == EPOLLIN);
	tell('n'); /* the sender is done with it */
	await('n');
	if (how & EPOLLONESHOT)
		check(!events_of(ep, 0));
	take(e, e->fd, 120);
	close(ep);
}

struct sleeper {
	int ep, events;
	_Atomic pid_t tid;
	uint64_t data;
};

static void *sleep_on_set(void *arg)
{
	struct sleeper *s = arg;
	struct epoll_event ev = { 0 };

	atomic_store(&s->tid, gettid());
	check(epoll_wait(s->ep, &ev, 1, -1) == 1);
	s->events = (int)ev.events;
	s->data = ev.data.u64;
	return NULL;
}

/* Registered while another thread sleeps there; `inner` is where, the sleeper's own set or one within it. */
static void wakes(struct end *e, struct sleeper *s, int inner, int op, unsigned how)
{
	struct epoll_event ev = { .events = EPOLLIN | how, .data.u64 = 77 };
	pthread_t t;

	atomic_store(&s->tid, 0);
	check(!pthread_create(&t, NULL, sleep_on_set, s));
	while (!atomic_load(&s->tid))
		usleep(100);
	await_sleep(atomic_load(&s->tid));
	check(!epoll_ctl(inner, op, e->fd, &ev));
	check(!pthread_join(t, NULL));
	check(s->events == EPOLLIN && s->data == (inner == s->ep ? 77 : 5));
	if (inner != s->ep)
		check(events_of(inner, 0) == EPOLLIN);
	take(e, e->fd, 60);
	check(!events_of(inner, 0) && !events_of(s->ep, 0));
}

static void registered_late(struct end *e, unsigned how)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = 5 };
	struct sleeper s = { .ep = epoll_create1(EPOLL_CLOEXEC) };
	int inner = epoll_create1(EPOLL_CLOEXEC), first = set_with(e->fd, EPOLLIN);

	leave_half(e, first);
	close(first);
	wakes(e, &s, s.ep, EPOLL_CTL_ADD, how);
	check(!epoll_ctl(s.ep, EPOLL_CTL_DEL, e->fd, NULL));
	check(!epoll_ctl(s.ep, EPOLL_CTL_ADD, inner, &ev));
	first = set_with(e->fd, EPOLLIN);
	leave_half(e, first);
	close(first);
	wakes(e, &s, inner, EPOLL_CTL_ADD, how);
	close(inner);
	close(s.ep);
}

static void armed_late(struct end *e)
{
	struct epoll_event ev = { .events = 0 };
	struct sleeper s = { .ep = epoll_create1(EPOLL_CLOEXEC) };
	int first = set_with(e->fd, EPOLLIN);

	leave_half(e, first);
	close(first);
	check(!epoll_ctl(s.ep, EPOLL_CTL_ADD, e->fd, &ev));
	wakes(e, &s, s.ep, EPOLL_CTL_MOD, 0);
	close(s.ep);
}

/* Armed anew over such data, and rung for once more: still one event. */
static void told_once(struct end *e, unsigned how)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | how, .data.u64 = 9 }, got[4];
	int ep = set_with(e->fd, EPOLLIN);

	leave_half(e, ep);
	check(!epoll_ctl(ep, EPOLL_CTL_MOD, e->fd, &ev));
	tell('g');
	tell('n');
	await('n');
	await_events(e->fd, POLLIN);
	check(epoll_wait(ep, got, 4, -1) == 1);
	check(got[0].events == (EPOLLIN | EPOLLOUT) && got[0].data.u64 == 9);
	take(e, e->fd, 180);
	close(ep);
}

static void set_lowat(int fd, int n)
{
	check(!setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &n, sizeof(n)));
}

/* Armed anew over such data, which is read before anybody waits; the stream is back in TCP by then. */
static void taken_first(struct end *e, unsigned how)
{
	struct epoll_event ev = { .events = EPOLLIN | how };
	int ep = set_with(e->fd, EPOLLIN);

	leave_half(e, ep);
	check(!epoll_ctl(ep, EPOLL_CTL_MOD, e->fd, &ev));
	set_lowat(e->fd, 2);
	tell('g');
	tell('n');
	await('n');
	set_lowat(e->fd, 1);
	take(e, e->fd, 180);
	check(!events_of(ep, 0));
	tell('g');
	check(events_of(ep, -1) == EPOLLIN);
	take(e, e->fd, 120);
	tell('n');
	await('n');
	check(!events_of(ep, 0));
	close(ep);
}

static void gone_again(struct end *e)
{
	int first = set_with(e->fd, EPOLLIN), ep;

	leave_half(e, first);
	close(first);
	ep = set_with(e->fd, EPOLLIN);
	check(!epoll_ctl(ep, EPOLL_CTL_DEL, e->fd, NULL));
	check(!events_of(ep, 0));
	take(e, e->fd, 60);
	close(ep);
}

static void client(struct end *e)
{
	for (int round = 0; round < 14; round++) {
		level(e, round);
		one_shot(e);
		made_late(e, 0);
		made_late(e, EPOLLET);
		made_late(e, EPOLLONESHOT);
		registered_late(e, 0);
		registered_late(e, EPOLLET);
		registered_late(e, EPOLLONESHOT);
		armed_late(e);
		told_once(e, 0);
		told_once(e, EPOLLET);
		told_once(e, EPOLLONESHOT);
		taken_first(e, 0);
		taken_first(e, EPOLLET);
		taken_first(e, EPOLLONESHOT);
		gone_again(e);
	}
	tell('e');
	say("all of it readable, none of it twice");
}

static void server(struct end *e)
{
	char what;

	while ((what = await_number()) != 'e')
		if (what == 'g')
			put(e, e->fd, 120);
		else
			tell(what);
	say("done");
}

const struct pair pair = { .client = client, .server = server };
