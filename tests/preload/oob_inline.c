/* SO_OOBINLINE set on a connection in full use that has never seen urgent data, by the one that would receive it: what lies
 * unread then, the urgent byte in its place, and all that follows come as ever. With the argument `never` no urgent byte
 * follows, so that nothing but the option itself can have made the stream plain. */
#include "pair.h"

#include <netinet/in.h>

static void set_inline(int fd)
{
	int one = 1;

	check(!setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &one, sizeof(one)));
}

static int comes(const struct end *e)
{
	return !e->argc || strcmp(e->argv[0], "never");
}

static void urgent_to(struct end *e)
{
	char line[10];

	tell('i');
	if (!comes(e))
		return;
	await('s');
	await_unread(e->fd, 9);
	check(recv(e->fd, line, 10, 0) == 4);
	say("before the mark: %.4s, at mark %d", line, sockatmark(e->fd));
	check(recv(e->fd, line, 10, 0) == 5);
	say("from the mark on: %.5s, at mark %d", line, sockatmark(e->fd));
	tell('d');
}

static void urgent_from(struct end *e)
{
	await('i');
	if (!comes(e))
		return;
	check(send(e->fd, "abcd", 4, 0) == 4);
	check(send(e->fd, "!", 1, MSG_OOB) == 1);
	check(send(e->fd, "efgh", 4, 0) == 4);
	tell('s');
	await('d');
}

static void server(struct end *e)
{
	await('u');
	set_inline(e->fd);
	await_unread(e->fd, 20000);
	say("unread since before: 20000");
	take(e, e->fd, 20000);
	urgent_to(e);
	warm(e, e->fd);
	urgent_from(e);
	warm(e, e->fd);
}

static void client(struct end *e)
{
	put(e, e->fd, 20000);
	tell('u');
	urgent_from(e);
	warm(e, e->fd);
	set_inline(e->fd);
	urgent_to(e);
	warm(e, e->fd);
	say("done");
}

const struct pair pair = { .client = client, .server = server };
