/* What iteration.c, iteration_track.c and iteration_search.c share; nobody else includes this. */
#pragma once

#include "iteration.h"

#define SHINGLE 3
#define MIN_PERIOD 4
#define RECENT_STEPS 16

/*
 * Follows one reference step through the stream. pos is where in it the next token is expected;
 * path remembers, newest in bit 0, which of the last 32 tokens came as expected.
 */
struct track {
	uint32_t *step;	 /* the reference step */
	uint32_t *chain; /* next older position with the same bucket, +1 */
	uint32_t *heads; /* bucket of a shingle -> its last position, +1 */
	uint32_t buckets;
	uint32_t len;
	uint32_t pos;
	uint32_t run; /* tokens in a row that came as expected */
	uint32_t path;
	uint64_t seen, hits;
	uint64_t jumped; /* index of the token that brought the last far jump */
	bool placed;	 /* it has settled once */
	int64_t shift;	 /* tokens skipped (or, below 0, gone back) since it last settled */
	uint32_t astray; /* tokens since then of kinds that the step does not have */
	/* where the stream has more or fewer tokens than the step: how often, how many, how strange
	 */
	uint32_t breaks;
	uint64_t rest, strange;
};

struct anchor_slot {
	uint32_t key;
	uint32_t last; /* offset in the window, +1; 0: free */
	uint32_t count;
	uint32_t vote; /* the period it votes for, or 0 */
};

/* One period that anchors voted for. */
struct level {
	uint32_t period;
	uint32_t support;
	uint32_t from, to; /* offsets in the window of the best example of the step */
	uint64_t idle_ns;  /* median pause before the step */
	uint32_t explained_ppm;
	uint32_t rest_ppm;    /* share of the tokens that the step has no place for */
	uint32_t strange_ppm; /* share of those that is of a kind of its own */
	uint32_t apart;	      /* tokens from one break to the next */
};

struct iteration {
	struct iteration_config cfg;
	uint32_t mask;
	uint32_t max_period;
	uint64_t n;    /* tokens fed */
	uint64_t base; /* older ones belong to another regime */
	uint32_t *tok;
	uint64_t *ns;

	uint32_t *prev; /* search: previous occurrence of the same shingle, +1 */
	struct anchor_slot *slots;
	uint32_t slot_count;
	uint32_t *levels; /* search: the period each anchor votes for */
	uint64_t next_search;
	uint32_t idle_searches;

	struct track live, trial;
	enum iteration_state state;
	uint32_t support, generation;
	uint64_t idle_ns;
	uint64_t start;		  /* where the current step began */
	uint64_t adopted, tried;  /* when the reference step was taken, when its period was */
	uint64_t followed, whole; /* tokens since then, and those of them in whole steps */
	uint64_t again;		  /* tokens in a row that came one length of the reference step before */
	bool started;
	bool resume; /* lost, but the reference step is kept in case it comes back */
	uint32_t predictions, dull_blocks;
	uint32_t restless; /* blocks to go until a step counts as followed well */
	uint64_t steps;
	uint64_t block_seen, block_hits;
	uint32_t block_breaks;
	uint32_t explained_ppm;
	uint32_t lens[RECENT_STEPS];
	uint64_t times[RECENT_STEPS];
	uint32_t recent;

	bool marked, mark_next;
	uint64_t last_mark;
	uint32_t marks;
};

static inline uint32_t token_at(const struct iteration *it, uint64_t i)
{
	return it->tok[i & it->mask];
}

static inline uint32_t mix32(uint32_t h)
{
	h = (h ^ (h >> 16)) * 0x7feb352dU;
	h = (h ^ (h >> 15)) * 0x846ca68bU;
	return h ^ (h >> 16);
}

static inline uint32_t shingle(uint32_t a, uint32_t b, uint32_t c)
{
	return mix32(mix32(mix32(a) + b) + c);
}

/* Within 8%, the tolerance of every comparison of periods. */
static inline bool about(uint64_t value, uint64_t period)
{
	uint64_t d = value > period ? value - period : period - value;

	return d * 100 <= period * 8;
}

uint64_t select_u64(uint64_t *v, uint32_t n, uint32_t k);
void sort_u32(uint32_t *v, uint32_t n);

void track_load(struct track *t, const struct iteration *it, uint64_t from, uint32_t len);
void track_step(struct track *t, const struct iteration *it, uint64_t i);
uint32_t track_fit(const struct track *t, const struct iteration *it, uint64_t at, uint64_t upto);
static inline bool track_solid(const struct track *t)
{
	return t->run >= SHINGLE;
}

/* Half of the last tokens explained, in whatever order. */
static inline bool track_sure(const struct track *t)
{
	return __builtin_popcount(t->path) >= 16;
}

/* Offsets are relative to lo, the first token of the window. 0: no period; else best is set. */
int search_levels(struct iteration *it, uint64_t lo, struct level *ret_best);
