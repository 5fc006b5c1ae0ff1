/*
 * The finder fed with streams that change their mind: pieces that repeat, random ones, marks,
 * resets, clocks that stand still. It must stay within its memory and its own rules, whatever it
 * says. iteration_fuzz [first seed] [runs]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "iteration.h"

#define PIECE 700
#define AHEAD 128

static uint64_t next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	return *state ^= *state << 17;
}

static void must(int holds, const char *what, uint64_t seed)
{
	if (holds)
		return;
	fprintf(stderr, "seed %llu: %s\n", (unsigned long long)seed, what);
	abort();
}

static void check_stat(const struct iteration *it, unsigned events, uint64_t fed, uint64_t seed)
{
	struct iteration_stat st;
	uint32_t ahead[AHEAD], one, n;

	iteration_stat(it, &st);
	n = iteration_predict(it, ahead, AHEAD);
	must(st.fed == fed, "count of tokens", seed);
	must(st.start <= st.fed, "a step that begins in the future", seed);
	must(st.position < st.window || !st.window, "position outside of the step", seed);
	must(n <= AHEAD && n <= st.window, "more predicted than there is", seed);
	must(!n || (iteration_next(it, &one) && one == ahead[0]), "next and predict differ", seed);
	must(st.state != ITERATION_NONE || !n, "predicts without a step", seed);
	must(!(events & ITERATION_FOUND) || st.state == ITERATION_KNOWN, "found but not known",
		seed);
	must(!(events & ITERATION_LOST) || st.state != ITERATION_KNOWN, "lost but known", seed);
	must(!(events & ITERATION_WHOLE) || events & ITERATION_BOUNDARY, "whole, no boundary",
		seed);
}

static void feed_piece(struct iteration *it, const uint32_t *piece, uint32_t len, uint64_t *now,
	uint64_t *fed, uint64_t *state, uint64_t seed)
{
	uint32_t k, noise = next(state) % 3 ? 0 : 1 + next(state) % 200;
	unsigned events;

	for (k = 0; k < len; k++) {
		*now += next(state) % 5 ? next(state) % 10000 : 0;
		events = iteration_feed(it,
			noise && next(state) % noise == 0 ? (uint32_t)next(state) : piece[k], *now);
		++*fed;
		if (events & ITERATION_DUE && next(state) % 2)
			events |= iteration_search(it);
		if (events || next(state) % 64 == 0)
			check_stat(it, events, *fed, seed);
	}
}

static void run_one(uint64_t seed)
{
	uint64_t state = seed * 0x9e3779b97f4a7c15ULL + 1, now = next(&state) >> 2, fed = 0;
	struct iteration_config cfg = {.history = 1024 + next(&state) % 3000,
		.min_claim = next(&state) % 3000,
		.deferred = next(&state) % 4 == 0};
	size_t size = iteration_size(&cfg);
	void *mem = malloc(size);
	uint32_t piece[PIECE], len, times, k, kinds;
	struct iteration *it;

	must(iteration_init(mem, size, &cfg, &it) == 0, "init", seed);
	for (int n = 0; n < 8; n++) {
		len = 1 + next(&state) % PIECE;
		kinds = 1 + next(&state) % (next(&state) % 2 ? 4 : 5000);
		for (k = 0; k < len; k++)
			piece[k] = (uint32_t)(next(&state) % kinds);
		for (times = 1 + next(&state) % 14; times--;) {
			if (next(&state) % 200 == 0)
				iteration_mark(it);
			feed_piece(it, piece, len, &now, &fed, &state, seed);
		}
		if (next(&state) % 16 == 0) {
			iteration_reset(it);
			fed = 0;
		}
	}
	free(mem);
}

int main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
	uint64_t runs = argc > 2 ? strtoull(argv[2], NULL, 0) : 100;

	for (; runs--; seed++)
		run_one(seed);
	return 0;
}
