/* Ping-pong with pauses of about the length of a spin, so that each side often goes to sleep at the
 * very moment at which the other one sends. A wake-up that is lost stops everything for good. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "calls.h"
#include "race.h"

enum { MESSAGE_MOST = 300000 };

void racer_fail(struct racer *r, const char *what)
{
	if (!atomic_exchange(&r->board->failed, 1))
		snprintf(r->board->message, sizeof(r->board->message), "%s: end %d at %lu errno %s", what,
			r->role, (unsigned long)r->in, strerror(errno));
	exit(1);
}

/* Mostly none, or spinning would not pay and be given up; else until about the moment at which the
 * other side stops spinning and goes to sleep. */
static void think(struct racer *r)
{
	if (rng_below(&r->rng, 5))
		return;
	stay_busy(r->spin_ns - 1000 + (long)rng_below(&r->rng, 3000));
}

/* A stream in a set is polled by waits on the set only: the other styles have none. */
static void open_sets(struct racer *r)
{
	static const unsigned flags[STYLES] = { [EPOLL_ET] = EPOLLET, [EPOLL_ONESHOT] = EPOLLONESHOT };
	struct epoll_event ev = { .events = EPOLLIN | flags[r->style] };

	if (r->style < EPOLL)
		return;
	r->ep = epoll_create1(EPOLL_CLOEXEC);
	epoll_ctl(r->ep, EPOLL_CTL_ADD, r->fd, &ev);
	if (r->style == NESTED) {
		r->outer = epoll_create1(EPOLL_CLOEXEC);
		epoll_ctl(r->outer, EPOLL_CTL_ADD, r->ep, &ev);
	}
}

static void wait_input(struct racer *r)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLONESHOT };
	short got;

	switch (r->style) {
	case RECV:
	case BUSY:
	case STYLES:
		break;
	case POLL:
	case SELECT:
		call_wait(r->style == POLL ? W_POLL : W_SELECT, r->fd, POLLIN, -1, &got);
		break;
	case EPOLL_ONESHOT:
		epoll_ctl(r->ep, EPOLL_CTL_MOD, r->fd, &ev);
		/* fall through */
	case EPOLL:
	case EPOLL_ET:
		epoll_wait(r->ep, &ev, 1, -1);
		break;
	case NESTED:
		epoll_wait(r->outer, &ev, 1, -1);
		break;
	}
}

void racer_receive(struct racer *r, size_t n)
{
	for (size_t done = 0; done < n;) {
		ssize_t k = recv(r->fd, r->buf, n - done, r->style == RECV ? 0 : MSG_DONTWAIT);

		if (k < 0 && errno == EAGAIN) {
			wait_input(r);
			continue;
		}
		if (k <= 0)
			racer_fail(r, "recv");
		if (pattern_check(r->buf, k, r->key, r->in) >= 0)
			racer_fail(r, "wrong bytes");
		done += k;
		r->in += k;
	}
}

void racer_send(struct racer *r, const char *p, size_t n)
{
	for (size_t done = 0; done < n;) {
		ssize_t k = send(r->fd, p + done, n - done, MSG_NOSIGNAL);

		if (k <= 0)
			racer_fail(r, "send");
		done += k;
	}
	r->out += n;
}

void racer_transmit(struct racer *r, size_t n)
{
	pattern_fill(r->buf, n, r->key, r->out);
	racer_send(r, r->buf, n);
}

void racer_open(struct racer *r, int role, uint64_t seed, enum style style, size_t most)
{
	*r = (struct racer){ .role = role, .board = board_open(), .key = seed, .style = style,
		.buf = malloc(most) };
	r->fd = role ? accept(board_listen(r->board), NULL, NULL) : board_connect(r->board, 0);
	open_sets(r);
}

/* Both ends draw the sizes from the same numbers. */
static size_t message_size(struct rng *common)
{
	uint32_t kind = rng_below(common, 100);

	if (kind < 80)
		return 1 + rng_below(common, 200);
	return kind < 98 ? 1 + rng_below(common, 20000) : 1 + rng_below(common, MESSAGE_MOST);
}

int race_end(int argc, char **argv)
{
	int role = argc > 1 ? atoi(argv[1]) : 0, rounds = argc > 3 ? atoi(argv[3]) : 0;
	uint64_t seed = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
	struct rng common = { mix64(seed * 3) };
	struct racer r;

	racer_open(&r, role, seed, (seed + role * (seed / STYLES)) % STYLES, MESSAGE_MOST);
	r.rng.s = mix64(seed * 2 + role);
	r.spin_ns = getenv("DLACCEL_SPIN") ? atol(getenv("DLACCEL_SPIN")) * 1000 : 50000;
	for (int i = 0; i < rounds; i++) {
		size_t n = message_size(&common);

		if ((i + role) % 2) {
			racer_receive(&r, n);
		} else {
			think(&r);
			racer_transmit(&r, n);
		}
		atomic_fetch_add(&r.board->moved, 1);
		atomic_store(&r.board->sent[role][0], r.out);
		atomic_store(&r.board->rcvd[role][0], r.in);
	}
	return 0;
}
