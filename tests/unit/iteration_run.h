/* Running the finder over a stream and judging what it said. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "iteration.h"
#include "iteration_stream.h"

#define SEEDS 4
#define MAX_BOUNDARIES 1024

/* One run of the finder over a stream, and what it said. */
struct run {
	struct iteration *it;
	char *mem;
	size_t size;
	unsigned candidates, found, lost, due;
	int64_t found_at, lost_at; /* index of the token that brought the first one; -1: none */
	uint32_t first_candidate;
	struct iteration_stat stat;
	uint32_t boundaries, whole;
	uint64_t start[MAX_BOUNDARIES]; /* since the step was last found */
};

/* How the boundaries lie to the true places of one phase, over the steps seen since it was found.
 */
struct verdict {
	int32_t phase;
	uint32_t steps, exact, off, missed, extra; /* off: by at most `tolerance` tokens */
	uint64_t median_length;
};

struct run *run_new(uint32_t history, bool deferred);
void run_free(struct run *r); /* checks that nothing was written past the finder's memory */
void note_events(struct run *r, unsigned events, uint64_t i);
void run_feed(struct run *r, const struct stream *s, uint32_t from, uint32_t to);
struct run *run_stream(const struct stream *s);

/* tolerance: how many tokens off still counts as that boundary */
struct verdict judge(const struct run *r, const struct stream *s, uint64_t tolerance);

struct trace *trace(unsigned k);
struct stream *plain_stream(const struct trace *tr, int steps, uint64_t order);
uint64_t away(uint64_t a, uint64_t b);
int by_value(const void *a, const void *b);
