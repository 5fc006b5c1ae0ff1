/* Malloc fails while the program registers its connections in an epoll set, at the first, a middle, or every
 * allocation: the program goes on, and every wait tells what it would have told. */
#include "pair.h"

#include <pthread.h>
#include <sys/epoll.h>

#define CONNS 100
static _Atomic int left = -1; /* allocations that still succeed; -1: all */

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);

static int granted(void)
{
	if (left < 0 || left-- > 0)
		return 1;
	left = 0;
	errno = ENOMEM;
	return 0;
}

__attribute__((visibility("default"))) void *malloc(size_t n)
{
	return granted() ? __libc_malloc(n) : NULL;
}

__attribute__((visibility("default"))) void *calloc(size_t n, size_t size)
{
	return granted() ? __libc_calloc(n, size) : NULL;
}

static int fds[CONNS];

/* Registers all of them, `budget` allocations being left. */
static int set_of_all(int budget)
{
	int ep = epoll_create1(EPOLL_CLOEXEC), ret = 0;

	left = budget;
	for (int i = 0; i < CONNS; i++) {
		struct epoll_event ev = { .events = EPOLLIN, .data.u32 = (unsigned)i };
		ret |= epoll_ctl(ep, EPOLL_CTL_ADD, fds[i], &ev);
	}
	left = -1;
	check(!ret);
	return ep;
}

/* The peer sends on one of them at a time; the wait names that one. */
static void all_told(struct end *e, int ep)
{
	for (int i = 0; i < CONNS; i++) {
		struct epoll_event ev[2];
		char buf[100];

		tell('g');
		check(epoll_wait(ep, ev, 2, -1) == 1 && ev[0].events == EPOLLIN && ev[0].data.u32 == (unsigned)i);
		check(recv(fds[i], buf, sizeof(buf), 0) == sizeof(buf));
		took(e, buf, sizeof(buf));
		check(!epoll_wait(ep, ev, 2, 0));
	}
}

static void close_all(void)
{
	for (int i = 0; i < CONNS; i++)
		close(fds[i]);
}

static void client(struct end *e)
{
	static const int budgets[] = { 0, 1, 2, 3, 20, 60, 110, 150, 1000 };

	for (int i = 0; i < CONNS; i++) {
		fds[i] = connect_port(e->family, e->port);
		warm(e, fds[i]);
	}
	for (size_t i = 0; i < sizeof(budgets) / sizeof(*budgets); i++) {
		int ep = set_of_all(budgets[i]);

		all_told(e, ep);
		for (int k = 0; k < CONNS; k += 3)
			check(!epoll_ctl(ep, EPOLL_CTL_DEL, fds[k], NULL));
		close(ep);
		say("%d allocations: all told", budgets[i]);
	}
	tell('e');
	close_all();
}

static void server(struct end *e)
{
	for (int i = 0; i < CONNS; i++) {
		fds[i] = accept(e->listener, NULL, NULL);
		check(fds[i] >= 0);
		warm(e, fds[i]);
	}
	for (int round = 0; round < 9; round++)
		for (int i = 0; i < CONNS; i++) {
			await('g');
			put(e, fds[i], 100);
		}
	await('e');
	close_all();
}

const struct pair pair = { .client = client, .server = server, .unconnected = 1 };
