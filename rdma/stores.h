/*
 * How a sender's bytes get into the ring: stored through its caches or past them, as measured; see stores.c.
 * A stream's private hint, under side->p.
 */
#pragma once
#include "copy.h"
#include "tuner.h"

#include <stddef.h>
#include <stdint.h>

struct stream;

enum stores { STORES_CACHED, STORES_PAST, STORES };

/* What has been stored one way and not judged yet, and the receiver's share of the price when it began. */
struct stores_window {
	struct tuner_window t;
	uint64_t rr, took;
};

struct storing {
	copy_fn *copy;
	uint64_t start; /* 0: too little to be measured */
};

/* Around the copying of n bytes into the ring. */
struct storing stores_begin(struct stream *s, size_t n);
void stores_end(struct stream *s, const struct storing *w, size_t n);

/* The receiver's half, around copying them out of it; under side->c. */
uint64_t stores_take_begin(size_t n);
void stores_take_end(struct stream *s, uint64_t start);
