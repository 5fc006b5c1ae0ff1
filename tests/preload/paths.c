/* Paths of the protocol that other traffic takes by chance, or never: here each is taken for certain.
 *   table    more changes between small and large messages than the table of segments holds
 *   token    nothing unread but what fills TCP itself: no room for a doorbell
 *   ties     both ends send a large block at the same moment
 *   cold     more than the hot area holds, and a receiver that comes later
 *   moves    both ends run on one core, and may run on others */
#include "pair.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <time.h>

/* So large that it is offered however often the last ones were withdrawn. */
#define BLOCK (4 << 20)

static void set_option(int fd, int level, int name, int v)
{
	check(!setsockopt(fd, level, name, &v, sizeof(v)));
}

/* What is sent while the socket is corked travels through TCP. */
static void table(struct end *e)
{
	enum { CHANGES = 80 };

	if (e->role == SERVER) {
		await('t');
		take(e, e->fd, CHANGES * 9050);
		return;
	}
	for (int i = 0; i < CHANGES; i++) {
		set_option(e->fd, IPPROTO_TCP, TCP_CORK, 1);
		put(e, e->fd, 50);
		set_option(e->fd, IPPROTO_TCP, TCP_CORK, 0);
		put(e, e->fd, 9000);
	}
	tell('t');
}

/* As much as goes, at once. */
static long send_some(struct end *e, int fd, size_t n)
{
	static char buf[100000];
	uint64_t before = e->out;
	ssize_t r;

	make(e, buf, n);
	r = send(fd, buf, n, MSG_NOSIGNAL | MSG_DONTWAIT);
	check(r > 0 || errno == EAGAIN);
	e->out = before + (r > 0 ? r : 0);
	return r > 0 ? r : 0;
}

/* The reader takes a little, the writer tries again, until the reader has taken what there was. */
static void token_writer(struct end *e, int fd)
{
	long all = 0, k;

	while ((k = send_some(e, fd, 50000)))
		all += k;
	tell_number(all);
	while (await_number())
		tell_number(send_some(e, fd, 20000));
}

static void token_reader(struct end *e, int fd)
{
	long left = await_number();

	while (left) {
		size_t n = left < 3000 ? left : 3000;

		take(e, fd, n);
		left -= n;
		tell_number(1);
		left += await_number();
		if (e->in > BLOCK && left < 100000)
			break;
	}
	tell_number(0);
	take(e, fd, left);
}

static void token(struct end *e)
{
	int fd;

	if (e->role == SERVER) {
		set_option(e->listener, SOL_SOCKET, SO_RCVBUF, 20000);
		tell('l');
		fd = accept(e->listener, NULL, NULL);
	} else {
		await('l');
		fd = connect_port(e->family, e->port);
		set_option(fd, SOL_SOCKET, SO_SNDBUF, 20000);
	}
	warm(e, fd);
	(e->role == SERVER ? token_reader : token_writer)(e, fd);
	close(fd);
}

static long now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* Both ends come out of here at the same time. */
static void meet(const struct end *e)
{
	long when;

	if (e->role == SERVER) {
		await('b');
		tell_number(when = now_us() + 500);
	} else {
		tell('b');
		when = await_number();
	}
	while (now_us() < when)
		;
}

/* Neither end is in a recv. How much fits differs, and is what the other one has to take. */
static void ties(struct end *e)
{
	static char buf[BLOCK];

	for (int i = 0; i < 100; i++) {
		uint64_t before = e->out;
		ssize_t k;
		long n;

		make(e, buf, BLOCK);
		meet(e);
		k = send(e->fd, buf, BLOCK, MSG_NOSIGNAL | MSG_DONTWAIT);
		check(k > 0);
		e->out = before + k;
		tell_number(k);
		n = await_number();
		take(e, e->fd, n);
	}
}

static void cold(struct end *e)
{
	for (int i = 0; i < 20; i++) {
		if (e->role == CLIENT) {
			put(e, e->fd, 1 << 20);
			tell('c');
			await('d');
		} else {
			await('c');
			take(e, e->fd, 1 << 20);
			tell('d');
		}
	}
}

/* One core of those that we may run on, then all of them again: nobody else moves a thread from where it is that soon. */
static void go_to_first_core(void)
{
	cpu_set_t all, one;
	int cpu = 0;

	check(!sched_getaffinity(0, sizeof(all), &all));
	if (CPU_COUNT(&all) == 1) {
		fprintf(stderr, "only one core here\n");
		exit(77);
	}
	while (!CPU_ISSET(cpu, &all))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	check(!sched_setaffinity(0, sizeof(one), &one) && !sched_setaffinity(0, sizeof(all), &all));
}

static void moves(struct end *e)
{
	for (int i = 0; i < 50; i++) {
		go_to_first_core();
		for (int k = 0; k < 20; k++) {
			if (e->role == CLIENT)
				put(e, e->fd, 64);
			take(e, e->fd, 64);
			if (e->role == SERVER)
				put(e, e->fd, 64);
		}
	}
}

static const struct path {
	const char *name;
	void (*take)(struct end *);
} paths[] = { { "table", table }, { "ties", ties }, { "cold", cold }, { "moves", moves } };

static void both(struct end *e)
{
	check(e->argc == 1);
	if (!strcmp(e->argv[0], "token")) {
		token(e);
	} else {
		e->fd = e->role == CLIENT ? connect_port(e->family, e->port) : accept(e->listener, NULL, NULL);
		warm(e, e->fd);
		for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++)
			if (!strcmp(e->argv[0], paths[i].name))
				paths[i].take(e);
	}
	say("done");
}

const struct pair pair = { .client = both, .server = both, .unconnected = 1 };
