/*
 * Large sends to an edge-triggered wait.  While the receiver has not come for what the first doorbell told of, more of them tell it
 * nothing: one in the middle of a send and one behind its last byte are enough, which the counters show.
 */
#include "pair.h"

#include <fcntl.h>
#include <sys/epoll.h>

enum { ROUNDS = 20, MESSAGE = 1 << 20 };

/* What one call takes of a message, which is its own affair. */
static void send_some(struct end *e, char *buf)
{
	uint64_t at = e->out;

	make(e, buf, MESSAGE);
	ssize_t n = write(e->fd, buf, MESSAGE);
	check(n > 0);
	e->out = at + (uint64_t)n;
	tell_number(n);
}

static void client(struct end *e)
{
	char *buf = malloc(MESSAGE);

	check(!fcntl(e->fd, F_SETFL, O_NONBLOCK));
	for (int i = 0; i < ROUNDS; i++) {
		await('r');
		send_some(e, buf);
	}
	free(buf);
	await('r');
}

static void server(struct end *e)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET };
	int ep = epoll_create1(0);

	check(!epoll_ctl(ep, EPOLL_CTL_ADD, e->fd, &ev));
	for (int i = 0; i < ROUNDS; i++) {
		tell('r');
		long n = await_number();
		say("edge %d", epoll_wait(ep, &ev, 1, -1));
		take(e, e->fd, (size_t)n);
		say("again %d", epoll_wait(ep, &ev, 1, 0));
	}
	tell('r');
	close(ep);
}

const struct pair pair = { .client = client, .server = server };
