/* Edge-triggered programs that stop at a short read or a short write, as the man page allows. */
#include "pair.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>

#define TOTAL (24 << 20)
#define BUF 16384

static int edge(struct end *e, unsigned events)
{
	struct epoll_event ev = { .events = events | EPOLLET };
	int ep = epoll_create1(0);

	check(!fcntl(e->fd, F_SETFL, O_NONBLOCK));
	check(!epoll_ctl(ep, EPOLL_CTL_ADD, e->fd, &ev));
	return ep;
}

static void wait_edge(int ep)
{
	struct epoll_event ev;

	check(epoll_wait(ep, &ev, 1, -1) == 1);
}

/* Until the call moved less than it was asked to. */
static size_t read_edge(struct end *e, char *buf, size_t left)
{
	size_t done = 0;
	ssize_t r;

	do {
		r = read(e->fd, buf, BUF);
		check(r > 0 || (r < 0 && errno == EAGAIN));
		if (r > 0) {
			took(e, buf, r);
			done += r;
		}
	} while (r == BUF && done < left);
	return done;
}

static void server(struct end *e)
{
	int ep = edge(e, EPOLLIN);
	char *buf = malloc(BUF);

	for (size_t left = TOTAL; left;) {
		wait_edge(ep);
		left -= read_edge(e, buf, left);
	}
	say("received all");
	free(buf);
	close(ep);
	put(e, e->fd, 1);
}

static void client(struct end *e)
{
	int ep = edge(e, EPOLLOUT);
	char *buf = malloc(100000);

	wait_edge(ep);
	for (size_t done = 0, i = 0; done < TOTAL; i++) {
		size_t n = 1 + (i * 7919) % 100000;
		uint64_t at = e->out;
		ssize_t r;

		n = n < TOTAL - done ? n : TOTAL - done;
		make(e, buf, n);
		r = write(e->fd, buf, n);
		check(r > 0 || (r < 0 && errno == EAGAIN));
		r = r > 0 ? r : 0;
		e->out = at + r;
		done += r;
		if ((size_t)r < n)
			wait_edge(ep);
	}
	say("sent all");
	free(buf);
	close(ep);
	await_events(e->fd, POLLIN);
	take(e, e->fd, 1);
}

const struct pair pair = { .client = client, .server = server };
