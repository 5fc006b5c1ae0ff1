/* The fastest of a few ways to do the same, found by measuring them at work; see tuner.c.  A side's private hint. */
#pragma once
#include <stddef.h>
#include <stdint.h>

enum { TUNER_WAYS = 3 };

struct tuner {
	uint64_t rate[TUNER_WAYS]; /* bytes in 1024 clock ticks; 0: not known */
	unsigned samples[TUNER_WAYS], turn;
};

/* What has been done one way and is still too little to judge it by. */
struct tuner_window {
	unsigned way;
	uint64_t bytes, ticks;
};

/* One of the first `ways` (2 or more). */
unsigned tuner_choose(struct tuner *t, unsigned ways);
/* n bytes took that long that way, with nothing else to wait for. */
void tuner_took(struct tuner *t, unsigned way, size_t n, uint64_t ticks);
