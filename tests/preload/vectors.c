/* Vectored calls at their limits: 1,024 entries, empty entries, one too many, a message in one
 * write that is expected in one read. */
#include "pair.h"

#include <limits.h>
#include <sys/uio.h>

static int cut(struct iovec *iov, char *buf, size_t each)
{
	for (int i = 0; i < IOV_MAX; i++)
		iov[i] = (struct iovec){ buf + i * each, i % 5 == 4 ? 0 : each };
	return IOV_MAX;
}

static size_t total(const struct iovec *iov, int n)
{
	size_t sum = 0;

	for (int i = 0; i < n; i++)
		sum += iov[i].iov_len;
	return sum;
}

/* The pieces of the pattern into the vector. */
static void fill(struct end *e, struct iovec *iov, int n)
{
	for (int i = 0; i < n; i++)
		make(e, iov[i].iov_base, iov[i].iov_len);
}

static void client(struct end *e)
{
	static struct iovec iov[IOV_MAX + 1];
	static const size_t each[] = { 1, 100, 700 };
	char *buf = malloc(IOV_MAX * 1000 + 1);

	for (int i = 0; i < 3; i++) {
		int n = cut(iov, buf, each[i]);

		fill(e, iov, n);
		say("writev: %s of %zu", result(writev(e->fd, iov, n)), total(iov, n));
		await('n');
	}
	iov[IOV_MAX] = iov[0];
	say("too many: %s", result(writev(e->fd, iov, IOV_MAX + 1)));
	say("none: %s", result(writev(e->fd, iov, 0)));
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = IOV_MAX + 1 };
	say("sendmsg, too many: %s", result(sendmsg(e->fd, &m, 0)));
	for (int i = 0; i < 200; i++) {
		struct iovec two[3] = { { buf, 48 }, { buf + 48, 1 + i * 13 }, { buf + 3000, 5 } };

		fill(e, two, 3);
		check(writev(e->fd, two, 3) == 54 + i * 13);
		await('n');
	}
	free(buf);
}

static void server(struct end *e)
{
	static const size_t each[] = { 1, 100, 700 };
	char *buf = malloc(1 << 20);
	int whole = 0;

	for (int i = 0; i < 3; i++) {
		take(e, e->fd, each[i] * (IOV_MAX - IOV_MAX / 5));
		tell('n');
	}
	/* One write, one read: bare it is always so at this size. */
	for (int i = 0; i < 200; i++) {
		ssize_t r = read(e->fd, buf, 4096);

		check(r > 0);
		took(e, buf, r);
		whole += r == 54 + i * 13;
		if (r < 54 + i * 13)
			take(e, e->fd, 54 + i * 13 - r);
		tell('n');
	}
	say("messages that came in one read: %d", whole);
	free(buf);
}

const struct pair pair = { .client = client, .server = server };
