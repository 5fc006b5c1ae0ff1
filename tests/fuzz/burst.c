/* A small message and a block, again and again in one direction, at a reader that looks all the time;
 * meanwhile the parent stops and continues both ends wherever they are (jolt in stream.c). Two loads
 * that belong together lie some instructions apart: only a stop between them finds what depends on it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "calls.h"
#include "stream.h"

/* Blocks of 4 MiB are offered every time, however often the last ones were withdrawn. */
enum { BLOCK = 4 << 20, SMALL_MOST = 3000, THINK_NS = 60000 };

struct burst {
	int fd;
	struct board *board;
	struct rng sizes, think;
	uint64_t at;
	/* Of the message under way: how many bytes before the block, and how many are behind us. */
	size_t small, done;
	char bytes[SMALL_MOST + BLOCK], got[BLOCK];
};

static void give_up(struct burst *b, const char *what)
{
	if (!atomic_exchange(&b->board->failed, 1))
		snprintf(b->board->message, sizeof(b->board->message), "burst: %s at %lu errno %s", what,
			(unsigned long)b->at, strerror(errno));
	exit(1);
}

/* Both ends draw the sizes from the same numbers. Every message ends with the same block. */
static void next_message(struct burst *b)
{
	b->small = 1 + rng_below(&b->sizes, SMALL_MOST);
	b->done = 0;
}

static size_t left(const struct burst *b)
{
	return b->small + BLOCK - b->done;
}

/* The message's bytes begin so that the block is always the same part of `bytes`. */
static char *expected(struct burst *b)
{
	return b->bytes + SMALL_MOST - b->small + b->done;
}

static void moved(struct burst *b, size_t n, _Atomic uint64_t *count)
{
	b->done += n;
	b->at += n;
	atomic_store(count, b->at);
	atomic_fetch_add(&b->board->moved, 1);
	if (!left(b))
		next_message(b);
}

static void send_messages(struct burst *b, int count)
{
	while (count) {
		size_t part = b->done < b->small ? b->small - b->done : left(b);
		struct iovec iov[2] = { { expected(b), part }, { expected(b) + part, left(b) - part } };
		struct msghdr m = { .msg_iov = iov, .msg_iovlen = 2 };
		ssize_t k;

		if (!b->done)
			stay_busy(rng_below(&b->think, THINK_NS));
		k = sendmsg(b->fd, &m, MSG_NOSIGNAL);
		if (k <= 0)
			give_up(b, "sendmsg");
		count -= (size_t)k == left(b);
		moved(b, k, &b->board->sent[0][0]);
	}
}

static void check_bytes(struct burst *b, const char *p, size_t n)
{
	while (n) {
		size_t k = n < left(b) ? n : left(b);

		if (memcmp(p, expected(b), k))
			give_up(b, "wrong bytes");
		moved(b, k, &b->board->rcvd[1][0]);
		p += k;
		n -= k;
	}
}

static void receive_messages(struct burst *b, int flags)
{
	ssize_t k;

	while ((k = recv(b->fd, b->got, BLOCK, flags))) {
		if (k < 0 && errno == EAGAIN)
			continue;
		if (k < 0)
			give_up(b, "recv");
		check_bytes(b, b->got, k);
	}
	if (b->at != atomic_load(&b->board->sent[0][0]))
		give_up(b, "early end");
}

int burst_end(int argc, char **argv)
{
	int role = argc > 1 ? atoi(argv[1]) : 0, count = argc > 3 ? atoi(argv[3]) : 0;
	uint64_t seed = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
	static struct burst b;

	b.board = board_open();
	b.sizes.s = mix64(seed);
	b.think.s = mix64(seed + 1);
	pattern_fill(b.bytes, sizeof(b.bytes), seed, 0);
	next_message(&b);
	b.fd = role ? accept(board_listen(b.board), NULL, NULL) : board_connect(b.board, 0);
	if (role)
		receive_messages(&b, seed % 4 ? MSG_DONTWAIT : 0);
	else
		send_messages(&b, count);
	return 0;
}
