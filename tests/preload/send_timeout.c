/* SO_SNDTIMEO while nobody reads: a send that finds no room for its first byte says EAGAIN, one that has moved something
 * says how much, neither before the time is over. The reader then finds every byte that was said to be sent. */
#include "pair.h"

#include <sys/time.h>
#include <sys/uio.h>

#define TIMEOUT_MS 200
/* The kernel counts in ticks of up to 10 ms. */
#define LEAST_MS (TIMEOUT_MS - 20)

enum how { SEND, WRITEV, HOWS };
static const char *const hows[] = { "send", "writev" };
static const size_t sizes[] = { 3000, 60000, 1 << 20 };

static ssize_t send_once(int fd, enum how how, char *buf, size_t n)
{
	struct iovec v[2] = { { buf, n / 2 }, { buf + n / 2, n - n / 2 } };

	return how == SEND ? send(fd, buf, n, MSG_NOSIGNAL) : writev(fd, v, 2);
}

/* Until a send moves nothing; tells the reader how much there is. */
static void fill(struct end *e, enum how how, size_t n)
{
	char *buf = malloc(n);
	uint64_t before = e->out;
	long took;
	ssize_t r;

	do {
		uint64_t at = e->out;
		long start = now_ms();

		make(e, buf, n);
		r = send_once(e->fd, how, buf, n);
		took = now_ms() - start;
		e->out = at + (r > 0 ? r : 0);
		check(r == (ssize_t)n || took >= LEAST_MS);
	} while (r > 0);
	say("%s of %zu: %s", hows[how], n, result(r));
	free(buf);
	tell_number(e->out - before);
}

static void client(struct end *e)
{
	struct timeval tv = { .tv_usec = TIMEOUT_MS * 1000 };

	check(!setsockopt(e->fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)));
	for (int how = 0; how < HOWS; how++)
		for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
			fill(e, how, sizes[i]);
			await('r');
		}
	warm(e, e->fd);
}

static void server(struct end *e)
{
	for (int i = 0; i < HOWS * (int)(sizeof(sizes) / sizeof(*sizes)); i++) {
		take(e, e->fd, await_number());
		tell('r');
	}
	warm(e, e->fd);
	say("read");
}

const struct pair pair = { .client = client, .server = server };
