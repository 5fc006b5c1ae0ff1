/*
 * A large block can go through the ring, copied by each end once, or straight between the processes.
 * Which is faster depends on the caches, the kernel and the memory, so both are measured at work: the
 * receiver publishes what it sees of each, the sender knows its own half of the ring's copy.  The first
 * blocks of a stream try both; now and then the slower one gets another chance.
 *
 * Rates are bytes in 1024 clock ticks, 0: not known.  A peer that lies about its rates slows itself.
 */
#include "clock.h"
#include "settings.h"
#include "stream.h"

enum { TRIES = 3, AGAIN_EVERY = 128, WEIGHT = 8, MOST = 1 << 20 };

static uint32_t averaged(uint32_t rate, size_t n, uint64_t ticks)
{
	uint64_t now = ticks ? ((uint64_t)n << 10) / ticks : MOST;

	now = now < 1 ? 1 : now > MOST ? MOST : now;
	return rate ? (uint32_t)((rate * (uint64_t)(WEIGHT - 1) + now) / WEIGHT) : (uint32_t)now;
}

void route_received(struct stream *s, enum route r, size_t n, uint64_t since)
{
	store_rlx(s->in->rate[r], averaged(load_rlx(s->in->rate[r]), n, clock_ticks() - since));
}

void route_put(struct stream *s, size_t n, uint64_t since)
{
	store_rlx(s->put_rate, averaged(load_rlx(s->put_rate), n, clock_ticks() - since));
}

static bool block_is_faster(struct stream *s)
{
	uint32_t ring = load_rlx(s->out->rate[ROUTE_RING]), block = load_rlx(s->out->rate[ROUTE_BLOCK]);
	uint32_t put = load_rlx(s->put_rate);

	return block > (put && put < ring ? put : ring);
}

bool route_is_block(struct stream *s)
{
	unsigned turn = load_rlx(s->large_sends);

	store_rlx(s->large_sends, turn + 1);
	if (settings.block_always)
		return true;
	if (turn < 2 * TRIES)
		return turn < TRIES;
	return block_is_faster(s) != (turn % AGAIN_EVERY == 0);
}
