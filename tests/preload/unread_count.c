/* FIONREAD says what one receive then gives, also while a part of the stream still lies with its sender, who is slow, and what
 * was sent last came another way. Both ends in one thread. */
#include "pair.h"

#include <fcntl.h>
#include <sys/ioctl.h>

enum { BYTES = 32768, QUEUED = 5 };
static char buf[2 * QUEUED * BYTES];

static size_t send_some(struct end *e, int fd)
{
	make(e, buf, BYTES);
	ssize_t k = send(fd, buf, BYTES, MSG_DONTWAIT | MSG_NOSIGNAL);
	check(k > 0 || errno == EAGAIN);
	e->out -= (uint64_t)(BYTES - (k > 0 ? k : 0));
	return k > 0 ? (size_t)k : 0;
}

static void lowat(int fd, int n)
{
	check(!setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &n, sizeof(n)));
}

static int unread(int fd)
{
	int n = -1;

	check(!ioctl(fd, FIONREAD, &n));
	return n;
}

/* What is received at once is what was counted; a receive may find more, which came meanwhile. */
static size_t receive_counted(struct end *e, int fd)
{
	int n = unread(fd);
	ssize_t k = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);

	check(n >= 0 && n <= (int)sizeof(buf));
	check(k >= n || (!n && k == -1 && errno == EAGAIN));
	if (k > 0)
		took(e, buf, (size_t)k);
	return k > 0 ? (size_t)k : 0;
}

static void solo(struct end *e)
{
	int port, slow = 1 << 20, listener = open_listener(AF_INET, &port), fd[2];
	struct end ends[2] = { { .role = CLIENT }, { .role = SERVER } };

	fd[0] = connect_port(AF_INET, port);
	fd[1] = accept(listener, NULL, NULL);
	check(!setsockopt(fd[0], SOL_SOCKET, SO_MAX_PACING_RATE, &slow, sizeof(slow)));
	for (int i = 0; i < 10; i++) {
		size_t left = 0;

		lowat(fd[1], 2); /* more than a byte is waited for: it goes through TCP */
		for (int k = 0; k < QUEUED; k++)
			left += send_some(&ends[0], fd[0]);
		lowat(fd[1], 1);
		left += send_some(&ends[0], fd[0]);
		check(left > 0);
		while (left)
			left -= receive_counted(&ends[1], fd[1]);
		check(!unread(fd[1]));
		say("round %d: what was counted was there", i);
	}
	close(fd[0]);
	close(fd[1]);
	close(listener);
}

const struct pair pair = { .solo = solo };
