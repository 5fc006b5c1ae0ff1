/*
 * Two modes that look at every access to global memory. Both are off unless asked for.
 *
 * Races (SIMCUDA_RACE): each operation carries a vector clock, one number per stream, of everything that is
 * ordered before it by streams, events and the host's waiting. Two accesses to a word, one of them a
 * write, by operations of which neither is in the other's clock, are reported; likewise by two steps of one graph of
 * which no way along the edges leads to the other. Inside one kernel and one child graph nothing is reported.
 *
 * Stale caches (SIMCUDA_STALE): each block reads through a cache of its own. Weak loads keep finding the
 * bytes that the block read first until it fences or acquires; .nc loads until the kernel ends.
 */
#ifndef SIMCUDA_WATCH_H
#define SIMCUDA_WATCH_H

#include "exec.h"

#define WATCH_STREAMS 128

struct watch_key {
	uint32_t slot, seq; /* of the operation in its stream */
	const uint32_t *vc; /* what is ordered before it, WATCH_STREAMS numbers */
	const char *name;
	/* Of a graph: its steps have numbers of their own in the slot, from `first` on. Of a step: which of them come before it. */
	uint32_t first, steps;
	const uint64_t *before;
};

struct watch {
	const struct watch_key *key; /* NULL: no race detection */
	bool stale;
};

/* Where the bytes of a read come from: the memory itself, or an old copy. */
uint8_t *watch_read(struct warp *w, const struct insn *in, int lane, uint64_t addr, uint8_t *p, uint32_t n);
void watch_write(struct warp *w, const struct insn *in, int lane, uint64_t addr, uint8_t *p, uint32_t n);
void watch_atomic(struct warp *w, const struct insn *in, int lane, uint64_t addr, uint32_t n);
void watch_fence(struct warp *w);
void watch_block_start(struct block *b);
void watch_block_end(struct block *b);
/* Copies and fills. */
void watch_range(const struct watch_key *k, uint64_t addr, uint64_t n, bool write);
/* New memory: what was there before is forgotten. */
void watch_forget(uint64_t addr, uint64_t n);
uint64_t watch_races(void);

#endif
