/* close() with a time to linger: it returns when TCP has handed everything over, at the latest when the time is over, or at
 * once with a reset where something lay unread; what was sent before comes whole. */
#include "pair.h"

#include <fcntl.h>
#include <poll.h>

enum how { LITTLE, READ_MEANWHILE, NOT_READ, UNREAD, HOWS };
static const char *const hows[] = { "little sent", "read meanwhile", "not read in time", "unread" };

/* Never reached by READ_MEANWHILE, which would take that long if close did not see the reader. */
static const int seconds[HOWS] = { 50, 50, 1, 50 };

/* As much as goes. */
static void fill(struct end *e, int fd)
{
	static char buf[60000];
	uint64_t at;
	ssize_t r;

	do {
		at = e->out;
		make(e, buf, sizeof(buf));
		r = send(fd, buf, sizeof(buf), MSG_NOSIGNAL | MSG_DONTWAIT);
		e->out = at + (r > 0 ? r : 0);
	} while (r > 0);
	check(errno == EAGAIN);
}

static void close_lingering(int fd, enum how how)
{
	struct linger l = { 1, seconds[how] };
	long start, ms;

	check(!setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)));
	start = now_ms();
	say("%s: close %s", hows[how], result(close(fd)));
	ms = now_ms() - start;
	/* The kernel counts in ticks of up to 10 ms. */
	say("  waited for its time: %d", ms >= seconds[how] * 1000 - 20);
}

static void client(struct end *e)
{
	await('l');
	for (int how = 0; how < HOWS; how++) {
		int fd = connect_port(e->family, e->port);
		uint64_t before;

		warm(e, fd);
		before = e->out;
		if (how == LITTLE)
			put(e, fd, 3000);
		else if (how != UNREAD)
			fill(e, fd);
		tell_number(e->out - before);
		if (how == UNREAD)
			await_unread(fd, 100);
		e->in += how == UNREAD ? 100 : 0;
		if (how == READ_MEANWHILE)
			tell('c');
		close_lingering(fd, how);
		if (how != READ_MEANWHILE)
			tell('c');
	}
}

/* To the end, whatever it is. */
static void read_all(struct end *e, int fd, long n)
{
	char c;

	take(e, fd, n);
	say("all of it, then %s", result(recv(fd, &c, 1, 0)));
	say("  and again: %s", result(recv(fd, &c, 1, 0)));
}

static void server(struct end *e)
{
	int small = 20000;

	/* What fills the sender's side does not fit into the receiver's. */
	check(!setsockopt(e->listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)));
	tell('l');
	for (int how = 0; how < HOWS; how++) {
		int fd = accept(e->listener, NULL, NULL);
		long n;

		warm(e, fd);
		if (how == UNREAD)
			put(e, fd, 100);
		n = await_number();
		await('c');
		if (how == READ_MEANWHILE)
			await_sleep(e->peer);
		read_all(e, fd, n);
		close(fd);
	}
}

const struct pair pair = { .client = client, .server = server, .unconnected = 1 };
