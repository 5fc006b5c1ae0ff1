/*
 * Who says which part of a stream of operations comes back. gpu/ must not know the profiler, so the
 * shim hands its finder in here. Without one nothing is batched.
 *
 * Threading: one finder per queue, used under that queue's submit lock.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The next token is expected at `position` of `length`; another generation is another window. */
struct finder_place {
	uint32_t position, length, generation;
};

struct finder_ops {
	/* Bytes of memory that one finder needs. */
	size_t (*size)(void);
	int (*init)(void *mem, size_t bytes, void **ret_finder);
	/* marked: the program itself says that a step begins here. */
	void (*feed)(void *finder, uint32_t token, uint64_t ns, bool marked);
	/* False while no window is known, or the last tokens were not the expected ones. */
	bool (*where)(const void *finder, struct finder_place *ret_place);
	/* The next tokens as they came last time, at most one window. */
	uint32_t (*predict)(const void *finder, uint32_t *ret_tokens, uint32_t max);
	void (*reset)(void *finder);
};

extern const struct finder_ops *gpu_finder;
