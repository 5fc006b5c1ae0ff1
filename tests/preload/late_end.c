/* One end is there before the other: refused while nobody listens, and a connection that waits in the
 * backlog, full of the client's bytes, before the server comes to accept it. */
#include "pair.h"

#include <netinet/in.h>

#define EARLY (300 << 10)

/* The same port again. */
static int listen_again(struct end *e)
{
	struct sockaddr_storage ss;
	socklen_t len = make_address(&ss, e->family, e->port);
	int fd = socket(e->family, SOCK_STREAM, 0), one = 1;

	check(!setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)));
	check(!bind(fd, (void *)&ss, len) && !listen(fd, 10));
	return fd;
}

static void server(struct end *e)
{
	int fd;

	check(!close(e->listener));
	tell('c');
	await('r');
	e->listener = listen_again(e);
	tell('l');
	await('w');
	fd = accept(e->listener, NULL, NULL);
	take(e, fd, EARLY);
	warm(e, fd);
	close(fd);
	say("done");
}

static void try_in_vain(struct end *e)
{
	struct sockaddr_storage ss;
	socklen_t len = make_address(&ss, e->family, e->port);
	int fd = socket(e->family, SOCK_STREAM, 0);

	say("nobody listens: %s", result(connect(fd, (void *)&ss, len)));
	say("send: %s", result(send(fd, "x", 1, MSG_NOSIGNAL)));
	close(fd);
}

static void client(struct end *e)
{
	int fd;

	await('c');
	for (int i = 0; i < 3; i++)
		try_in_vain(e);
	tell('r');
	await('l');
	fd = connect_port(e->family, e->port);
	put(e, fd, EARLY);
	tell('w');
	warm(e, fd);
	close(fd);
	say("done");
}

const struct pair pair = { .client = client, .server = server, .unconnected = 1 };
