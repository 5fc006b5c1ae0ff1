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
#include <time.h>
#include <unistd.h>

#include "calls.h"
#include "stream.h"

enum style { RECV, POLL, SELECT, EPOLL, EPOLL_ET, EPOLL_ONESHOT, NESTED, STYLES };

struct racer {
	int fd, role, style, ep, outer;
	long spin_ns;
	struct rng rng;
	uint64_t out, in, key;
	struct board *board;
};

static void give_up(struct racer *r, const char *what)
{
	if (!atomic_exchange(&r->board->failed, 1))
		snprintf(r->board->message, sizeof(r->board->message), "%s: end %d at %lu errno %s", what,
			r->role, (unsigned long)r->in, strerror(errno));
	exit(1);
}

/* Busy, as a program that computes is: a nap would always be longer than a spin. */
static void stay_busy(long ns)
{
	struct timespec a, b;

	clock_gettime(CLOCK_MONOTONIC, &a);
	do
		clock_gettime(CLOCK_MONOTONIC, &b);
	while ((b.tv_sec - a.tv_sec) * 1000000000L + b.tv_nsec - a.tv_nsec < ns);
}

/* Mostly none, or spinning would not pay and be given up; else until about the moment at which the
 * other side stops spinning and goes to sleep. */
static void think(struct racer *r)
{
	if (rng_below(&r->rng, 5))
		return;
	stay_busy(r->spin_ns - 1000 + (long)rng_below(&r->rng, 3000));
}

static void open_sets(struct racer *r)
{
	static const unsigned flags[STYLES] = { [EPOLL_ET] = EPOLLET, [EPOLL_ONESHOT] = EPOLLONESHOT };
	struct epoll_event ev = { .events = EPOLLIN | flags[r->style] };

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

static void receive(struct racer *r, size_t n)
{
	static char buf[300000];

	for (size_t done = 0; done < n;) {
		ssize_t k = recv(r->fd, buf, n - done, r->style == RECV ? 0 : MSG_DONTWAIT);

		if (k < 0 && errno == EAGAIN) {
			wait_input(r);
			continue;
		}
		if (k <= 0)
			give_up(r, "recv");
		if (pattern_check(buf, k, r->key, r->in) >= 0)
			give_up(r, "wrong bytes");
		done += k;
		r->in += k;
	}
}

static void transmit(struct racer *r, size_t n)
{
	static char buf[300000];

	pattern_fill(buf, n, r->key, r->out);
	for (size_t done = 0; done < n;) {
		ssize_t k = send(r->fd, buf + done, n - done, MSG_NOSIGNAL);

		if (k <= 0)
			give_up(r, "send");
		done += k;
	}
	r->out += n;
}

/* Both ends draw the sizes from the same numbers. */
static size_t message_size(struct rng *common)
{
	uint32_t kind = rng_below(common, 100);

	if (kind < 80)
		return 1 + rng_below(common, 200);
	return kind < 98 ? 1 + rng_below(common, 20000) : 1 + rng_below(common, 300000);
}

int race_end(int argc, char **argv)
{
	int role = argc > 1 ? atoi(argv[1]) : 0, rounds = argc > 3 ? atoi(argv[3]) : 0;
	uint64_t seed = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
	struct rng common = { mix64(seed * 3) };
	struct racer r = { .role = role, .board = board_open(), .key = seed,
		.rng = { mix64(seed * 2 + role) } };

	r.fd = role ? accept(board_listen(r.board), NULL, NULL) : board_connect(r.board, 0);
	r.style = (seed + role * (seed / STYLES)) % STYLES;
	r.spin_ns = getenv("DLACCEL_SPIN") ? atol(getenv("DLACCEL_SPIN")) * 1000 : 50000;
	open_sets(&r);
	for (int i = 0; i < rounds; i++) {
		size_t n = message_size(&common);

		if ((i + role) % 2) {
			receive(&r, n);
		} else {
			think(&r);
			transmit(&r, n);
		}
		atomic_fetch_add(&r.board->moved, 1);
		atomic_store(&r.board->sent[role][0], r.out);
		atomic_store(&r.board->rcvd[role][0], r.in);
	}
	return 0;
}
