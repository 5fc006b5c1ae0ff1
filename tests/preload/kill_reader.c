/* SIGKILL of a receiver: in the middle of 64 MiB, where its unread data make it a reset, or when it
 * has read everything (argument "idle"), where it is an end of stream. */
#include "pair.h"

#include <poll.h>
#include <signal.h>

#define TOTAL (64 << 20)
#define ENOUGH (9 << 20)

static int idle(const struct end *e)
{
	return e->argc && !strcmp(e->argv[0], "idle");
}

static void server(struct end *e)
{
	take(e, e->fd, ENOUGH);
	if (idle(e))
		await('k');
	raise(SIGKILL);
}

static void client_idle(struct end *e)
{
	char c;
	ssize_t r = 0;

	put(e, e->fd, ENOUGH);
	tell('k');
	say("revents %#x", await_events(e->fd, POLLIN | POLLRDHUP));
	say("recv: %s", result(recv(e->fd, &c, 1, 0)));
	say("send: %s", result(send(e->fd, "x", 1, MSG_NOSIGNAL)));
	await_events(e->fd, 0);
	r = send(e->fd, "x", 1, MSG_NOSIGNAL);
	say("send again: %s", result(r));
}

static void client(struct end *e)
{
	size_t sent = 0;
	ssize_t r = 1;
	char *buf;

	if (idle(e)) {
		client_idle(e);
		return;
	}
	buf = malloc(1 << 20);
	while (sent < TOTAL && r > 0) {
		make(e, buf, 1 << 20);
		r = send(e->fd, buf, 1 << 20, MSG_NOSIGNAL);
		sent += r > 0 ? r : 0;
	}
	/* Which of the two depends on when the reset comes. */
	say("send ends with a reset: %d", r < 0 && (errno == ECONNRESET || errno == EPIPE));
	say("not everything was taken: %d", sent < TOTAL);
	say("revents %#x", await_events(e->fd, POLLIN | POLLOUT) & (POLLHUP | POLLERR) ? 1 : 0);
	free(buf);
}

const struct pair pair = { .client = client, .server = server };
