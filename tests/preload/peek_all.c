/* MSG_PEEK shows all that has come, from wherever it comes: before, at and after the upgrade, in one piece and in
 * three. Both ends in one thread; each message is looked at until it is there as a whole. */
#include "pair.h"

#include <sys/uio.h>

enum { BYTES = 50000 };
static char sent[BYTES], seen[BYTES];

static ssize_t look(int fd, int pieces, int flags)
{
	struct iovec iov[3] = { { seen, BYTES }, { seen + 20000, 30000 - 7 }, { seen + BYTES - 7, 7 } };
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = (size_t)pieces };

	if (pieces > 1)
		iov[0].iov_len = 20000;
	return recvmsg(fd, &m, MSG_PEEK | flags);
}

static void looked_at(struct end *e, int fd, int pieces, int flags)
{
	ssize_t r;

	memset(seen, 0, sizeof(seen));
	while ((r = look(fd, pieces, flags)) != BYTES)
		check(r > 0 || errno == EAGAIN);
	check(!memcmp(seen, sent, BYTES));
	check(look(fd, pieces, flags) == BYTES);
	check(recv(fd, seen, BYTES, MSG_WAITALL) == BYTES);
	took(e, seen, BYTES);
	check(look(fd, pieces, MSG_DONTWAIT) == -1 && errno == EAGAIN);
}

static void solo(struct end *e)
{
	int port, listener = open_listener(AF_INET, &port), fd[2];
	struct end ends[2] = { { .role = CLIENT }, { .role = SERVER } };

	fd[0] = connect_port(AF_INET, port);
	fd[1] = accept(listener, NULL, NULL);
	for (int i = 0; i < 12; i++) {
		int from = i & 1, to = !from;

		make(&ends[from], sent, BYTES);
		check(send(fd[from], sent, BYTES, MSG_NOSIGNAL) == BYTES);
		looked_at(&ends[to], fd[to], i % 4 < 2 ? 1 : 3, i / 4 % 2 ? MSG_DONTWAIT : 0);
		say("message %d: all seen, then taken", i);
	}
	close(fd[0]);
	close(fd[1]);
	close(listener);
}

const struct pair pair = { .solo = solo };
