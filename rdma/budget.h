/*
 * What the rings of this process may touch, all connections together: DLACCEL_NET_MEMORY.  `net.ring_bytes` is what they have.
 * Each process counts what it writes into; what a fork's child inherits it counts, too, and gives back at most that.
 */
#pragma once
#include "settings.h"
#include "stats.h"

#include <stdbool.h>

static inline bool budget_fits(uint64_t more, uint64_t limit)
{
	uint64_t used = atomic_load(&dlaccel_stats.slot[STAT_net_ring_pages].value);

	return more <= limit && used <= limit - more;
}

/* Without asking, where it has been asked before. */
static inline void budget_add(uint64_t n)
{
	stat_add(STAT_net_ring_pages, n);
}

static inline void budget_give(uint64_t n)
{
	_Atomic uint64_t *used = &dlaccel_stats.slot[STAT_net_ring_pages].value;
	uint64_t had = atomic_load(used);

	while (!atomic_compare_exchange_weak(used, &had, had > n ? had - n : 0))
		;
}

/* False: it is not to be had, and nothing is taken. */
static inline bool budget_take(uint64_t n)
{
	_Atomic uint64_t *used = &dlaccel_stats.slot[STAT_net_ring_pages].value;
	uint64_t had = atomic_load(used);

	do
		if (n > settings.net_memory || had > settings.net_memory - n)
			return false;
	while (!atomic_compare_exchange_weak(used, &had, had + n));
	return true;
}
