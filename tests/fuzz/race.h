/* One end of a connection that waits for its input in one style, and checks what it gets. */
#ifndef FUZZ_RACE_H
#define FUZZ_RACE_H

#include "calls.h"
#include "stream.h"

/* BUSY never waits; the styles from EPOLL on have the stream in a set. */
enum style { RECV, BUSY, POLL, SELECT, EPOLL, EPOLL_ET, EPOLL_ONESHOT, NESTED, STYLES };

struct racer {
	int fd, role, ep, outer;
	enum style style;
	long spin_ns;
	struct rng rng;
	uint64_t out, in, key;
	struct board *board;
	char *buf;
};

/* `most`: the longest message. */
void racer_open(struct racer *r, int role, uint64_t seed, enum style style, size_t most);
void racer_receive(struct racer *r, size_t n);
void racer_transmit(struct racer *r, size_t n);
/* The same with bytes that the caller has made. */
void racer_send(struct racer *r, const char *p, size_t n);
/* Tells the parent and ends the process. */
void racer_fail(struct racer *r, const char *what) __attribute__((noreturn));

#endif
