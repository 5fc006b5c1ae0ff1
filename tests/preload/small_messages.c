/* Many small messages one way, at the setting that programs have: such a connection is worth it, too. */
#include "pair.h"

enum { MESSAGES = 6000, BYTES = 200 };

static void client(struct end *e)
{
	for (int i = 0; i < MESSAGES; i++)
		put(e, e->fd, BYTES);
	take(e, e->fd, 1);
	say("%d messages sent, and one answer", MESSAGES);
}

static void server(struct end *e)
{
	for (int i = 0; i < MESSAGES; i++)
		take(e, e->fd, BYTES);
	put(e, e->fd, 1);
	say("%d messages received", MESSAGES);
}

const struct pair pair = { .client = client, .server = server, .cold = 1 };
