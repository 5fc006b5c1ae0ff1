/*
 * The iteration finder: which part of a stream of launches and transfers comes back.
 *
 * Fed one token for each operation, it finds the training step by anchor voting, follows it through
 * changed, missing and extra tokens, says where a step begins and which tokens come next, and drops
 * the step when the stream no longer shows it. How it works: README.md.
 *
 * Threading: one finder belongs to one stream of events (a context's queue); the caller serialises.
 * Ownership: the caller gives the memory; nothing is allocated, no system call is made, errno
 * stays. Cost: a feed is O(1) and short; a search is linear in the history (see iteration_search).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct iteration;

enum iteration_event {
	ITERATION_BOUNDARY = 1 << 0,  /* a step began: iteration_stat.start says at which token */
	ITERATION_CANDIDATE = 1 << 1, /* something repeats; its predictions are being checked */
	ITERATION_FOUND = 1 << 2,     /* three predictions came true: this is the step */
	ITERATION_LOST = 1 << 3,      /* the step that was found no longer holds: back to untuned */
	ITERATION_DROPPED = 1 << 4,   /* the same of a candidate */
	ITERATION_WHOLE = 1 << 5,     /* with BOUNDARY: the step that just ended was a whole one */
	ITERATION_DUE = 1 << 6,	      /* deferred configuration only: call iteration_search soon */
};

enum iteration_state {
	ITERATION_NONE,
	ITERATION_TRYING, /* good enough to prepare a window by, not to report or to tune by */
	ITERATION_KNOWN,
};

struct iteration_config {
	uint32_t history;   /* tokens kept; the longest step that can be found is a third of it */
	uint32_t min_claim; /* tokens seen before a step may be claimed; inner loops are shorter */
	bool deferred;	    /* feed only reports ITERATION_DUE; the caller picks when to search */
};

#define ITERATION_HISTORY 65536
#define ITERATION_MIN_CLAIM 2048
#define ITERATION_CONFIG_DEFAULT                                                                   \
	(struct iteration_config)                                                                  \
	{                                                                                          \
		.history = ITERATION_HISTORY, .min_claim = ITERATION_MIN_CLAIM                     \
	}

struct iteration_stat {
	enum iteration_state state;
	bool marked;		/* the program's own marks rule, nothing is guessed */
	uint64_t fed;		/* tokens so far; the first one has index 0 */
	uint64_t start;		/* index of the token with which the current step began */
	uint64_t steps;		/* whole steps seen with this period */
	uint32_t period;	/* tokens from step to step (median of the last ones) */
	uint64_t period_ns;	/* time from step to step (median of the last ones) */
	uint32_t window;	/* tokens of the reference step that predictions come from */
	uint32_t position;	/* where in the reference step the next token is expected */
	bool in_step;		/* the last tokens were the expected ones */
	uint32_t support;	/* anchors that voted for this period */
	uint32_t generation;	/* changes whenever the reference step does */
	uint32_t explained_ppm; /* share of the last tokens that came as predicted */
};

size_t iteration_size(const struct iteration_config *cfg);
/* mem must be aligned for uint64_t; -EINVAL for a configuration that cannot work, -ENOMEM if short
 */
int iteration_init(
	void *mem, size_t len, const struct iteration_config *cfg, struct iteration **ret_it);

/* Returns a set of enum iteration_event. ns is the time of the call; it must not run backwards. */
unsigned iteration_feed(struct iteration *it, uint32_t token, uint64_t ns);

/*
 * The next token fed begins a step (DLACCEL_STEP_MARK). From the second mark on the
 * marks are the steps, and no search is made any more.
 */
void iteration_mark(struct iteration *it);

/* Takes up to a few ms for a full history. Needed only when deferred, after ITERATION_DUE. */
unsigned iteration_search(struct iteration *it);

/* Forgets everything, marks included; for a new context or after a device reset. */
void iteration_reset(struct iteration *it);

/* Takes medians: for boundaries and reports, not for each token. */
void iteration_stat(const struct iteration *it, struct iteration_stat *ret_stat);

/* The next tokens as they came last time, at most one step of them: how many were written. */
uint32_t iteration_predict(const struct iteration *it, uint32_t *ret_tokens, uint32_t max);

/* The expected next token alone; false while nothing is expected. Cheap, as is the next one. */
bool iteration_next(const struct iteration *it, uint32_t *ret_token);

/*
 * Names the place in the step: what was prepared for a (generation, position) serves again whenever
 * the pair comes back. False while nothing is expected.
 */
bool iteration_place(const struct iteration *it, uint32_t *ret_generation, uint32_t *ret_position);

/* Tokens: what makes two operations "the same" from step to step. Handles of streams are not. */
uint32_t iteration_token_launch(uint64_t function, const uint32_t grid[3], const uint32_t block[3],
	uint32_t shared, uint32_t stream_role);
uint32_t iteration_token_copy(uint32_t kind, uint64_t bytes, uint32_t stream_role);
uint32_t iteration_token_graph(uint64_t graph, uint32_t stream_role);
uint32_t iteration_token_alloc(uint64_t bytes);			     /* by size class */
uint32_t iteration_token_socket(uint32_t direction, uint64_t bytes); /* by size class */
