/* connect that fails, blocking and not: errno, SO_ERROR, readiness; connecting twice; disconnecting
 * with AF_UNSPEC and connecting again. One process. */
#include "pair.h"

#include <fcntl.h>
#include <poll.h>

static int connect_to(int fd, int family, int port)
{
	struct sockaddr_storage ss;
	socklen_t len = make_address(&ss, family, port);

	return connect(fd, (void *)&ss, len);
}

static int so_error(int fd)
{
	int err = -1;
	socklen_t len = sizeof(err);

	check(!getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len));
	return err;
}

static int unused_port(int family)
{
	int port, fd = open_listener(family, &port);

	close(fd);
	return port;
}

static void refused(int family)
{
	int fd = socket(family, SOCK_STREAM, 0), port = unused_port(family);
	char c;

	say("blocking: %s", result(connect_to(fd, family, port)));
	say("SO_ERROR %s", err_name(so_error(fd)));
	say("send %s", result(send(fd, "x", 1, MSG_NOSIGNAL)));
	say("recv %s", result(recv(fd, &c, 1, 0)));
	close(fd);
	fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	/* A refusal on loopback may be known at once. */
	if (connect_to(fd, family, port) && errno == EINPROGRESS) {
		short ev = await_events(fd, POLLOUT);

		check(ev & (POLLERR | POLLHUP));
		check(so_error(fd) == ECONNREFUSED);
	} else {
		check(errno == ECONNREFUSED);
	}
	say("non-blocking: refused");
	close(fd);
}

static void twice(int family, int port)
{
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK, 0), r = connect_to(fd, family, port);
	struct sockaddr unspec = { .sa_family = AF_UNSPEC };

	check(!r || errno == EINPROGRESS);
	await_events(fd, POLLOUT);
	say("SO_ERROR %s", err_name(so_error(fd)));
	connect_to(fd, family, port);
	say("again: %s", result(connect_to(fd, family, port)));
	say("AF_UNSPEC: %s", result(connect(fd, &unspec, sizeof(unspec))));
	say("send: %s", result(send(fd, "x", 1, MSG_NOSIGNAL)));
	close(fd);
}

static void solo(struct end *e)
{
	for (int i = 0; i < 2; i++) {
		int family = i ? AF_INET6 : AF_INET, port, fd = open_listener(family, &port);

		refused(family);
		twice(family, port);
		close(fd);
	}
}

const struct pair pair = { .solo = solo };
