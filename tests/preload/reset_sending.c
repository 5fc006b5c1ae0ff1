/* A peer that resets the connection while this end sends, all at once or little by little, and reads or asks for the error
 * first: it is told once. */
#include "pair.h"

#include <poll.h>

enum { CONNECTIONS = 120, LARGEST = 100000, ASKS = 3 };

static int ask(int fd, int how)
{
	char byte;
	int err = 0;
	socklen_t len = sizeof(err);

	if (how == 1)
		check(!getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len));
	else if (recv(fd, &byte, 1, how ? MSG_DONTWAIT : 0) < 0)
		err = errno;
	return err;
}

static void client(struct end *e)
{
	static const size_t sizes[] = { 100, 20000, LARGEST };
	static char buf[LARGEST];
	static int met[ASKS][2][200];

	for (int i = 0; i < CONNECTIONS; i++) {
		int fd = connect_port(e->family, e->port), how = i % ASKS;
		size_t size = sizes[i / ASKS % 3];
		ssize_t sent;

		warm(e, fd);
		tell('g');
		while ((sent = send(fd, buf, size, MSG_NOSIGNAL)) > 0)
			check((size_t)sent == size || (await_events(fd, 0) & POLLERR)); /* not told of yet */
		met[how][0][errno]++;
		met[how][1][ask(fd, how)]++;
		check(send(fd, buf, 1, MSG_NOSIGNAL) < 0 && errno == EPIPE);
		close(fd);
	}
	for (int how = 0; how < ASKS; how++)
		for (int k = 0; k < 400; k++)
			if (met[how][k / 200][k % 200])
				say("%d, %s: %s", how, k < 200 ? "sent" : "then", err_name(k % 200));
}

static void server(struct end *e)
{
	static char buf[60000];
	struct linger now = { 1, 0 };

	for (int i = 0; i < CONNECTIONS; i++) {
		int fd = accept(e->listener, NULL, NULL);

		warm(e, fd);
		await('g');
		for (int k = 0; k < i % 7 * 5; k++)
			check(recv(fd, buf, 1 + (size_t)i * 977 % sizeof(buf), 0) > 0);
		check(!setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)));
		close(fd);
	}
	say("done");
}

const struct pair pair = { .client = client, .server = server, .unconnected = 1 };
