/* SIGKILL of a sender in the middle of 64 MiB: the reader gets a prefix of the stream and then what
 * TCP shows, an end, or a reset if the dead side had unread data itself (argument "unread"). */
#include "pair.h"

#include <signal.h>

#define TOTAL (64 << 20)
#define ENOUGH (9 << 20)
#define ENOUGH_FOR_BLOCKS (40 << 20) /* on a machine that has much else to do, they are late */

static int with_unread(const struct end *e)
{
	return e->argc && !strcmp(e->argv[0], "unread");
}

/* Killed by the other side while it sends. */
static void server(struct end *e)
{
	if (with_unread(e))
		await('u');
	put(e, e->fd, TOTAL);
	say("never here");
}

static void client(struct end *e)
{
	char *buf = malloc(1 << 20);
	size_t got = 0, enough = e->argc && !strcmp(e->argv[0], "block") ? ENOUGH_FOR_BLOCKS : ENOUGH;
	ssize_t r;

	if (with_unread(e)) {
		put(e, e->fd, 10);
		tell('u');
	}
	while ((r = recv(e->fd, buf, 1 << 20, 0)) > 0) {
		took(e, buf, r);
		if (got < enough && got + r >= enough)
			kill(e->peer, SIGKILL);
		got += r;
	}
	say("recv at the end: %s", result(r));
	say("a prefix: %d", got >= enough && got < TOTAL);
	say("recv again: %s", result(recv(e->fd, buf, 1, 0)));
	say("send: %s", result(send(e->fd, buf, 1, MSG_NOSIGNAL)));
	free(buf);
}

const struct pair pair = { .client = client, .server = server };
