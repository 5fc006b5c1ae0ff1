/*
 * A large message can go through the ring, copied by each end once, or straight between the processes.
 * Which is faster depends on the caches, the kernel and the memory, so both are measured at work: how
 * long a send took whose receiver kept pace all the time and that went one way as a whole.  The first
 * ones of a stream try both in turn; after that the faster way is taken, and the other once in a while.
 */
#include "route.h"

#include "clock.h"
#include "settings.h"

enum { SAMPLES = 3, TURNS_MOST = 24, AGAIN_EVERY = 128, WEIGHT = 4 };

static bool known(const struct router *r, enum route way)
{
	return r->samples[way] >= SAMPLES;
}

/* Both in turn: for ever while nothing can be measured, not for ever while one way cannot. */
static bool still_trying(const struct router *r, unsigned turn)
{
	if (!known(r, ROUTE_RING) && !known(r, ROUTE_BLOCK))
		return true;
	return turn < TURNS_MOST && !(known(r, ROUTE_RING) && known(r, ROUTE_BLOCK));
}

enum route route_choose(struct router *r)
{
	unsigned turn = r->turn++;
	enum route best = r->rate[ROUTE_BLOCK] > r->rate[ROUTE_RING] ? ROUTE_BLOCK : ROUTE_RING;

	if (settings.block_always)
		return ROUTE_BLOCK;
	if (still_trying(r, turn))
		return turn % 2 ? ROUTE_BLOCK : ROUTE_RING;
	return turn % AGAIN_EVERY ? best : (enum route)!best;
}

void route_took(struct router *r, enum route way, size_t n, uint64_t ticks)
{
	uint64_t now = ((uint64_t)n << 10) / (ticks ? ticks : 1), was = r->rate[way];

	r->rate[way] = r->samples[way] ? (was * (WEIGHT - 1) + now) / WEIGHT : now;
	if (r->samples[way] < SAMPLES)
		r->samples[way]++;
}
