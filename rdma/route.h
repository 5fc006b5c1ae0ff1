/* The faster of two ways for large messages, by measurement; see route.c.  A sender's private hint. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum route { ROUTE_RING, ROUTE_BLOCK };

struct router {
	uint64_t rate[2]; /* bytes in 1024 clock ticks; 0: not known */
	unsigned samples[2], turn;
};

enum route route_choose(struct router *r);
/* A send of n bytes that went that way as a whole, to a receiver that kept pace. */
void route_took(struct router *r, enum route way, size_t n, uint64_t ticks);
