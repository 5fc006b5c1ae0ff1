/*
 * A small map from handles to words, for what the hot path must know of streams, events and
 * launches. Fixed room, open addressing, no allocation after handles_init; full is an answer.
 * Threading: the owner's lock. Key 0 is a key like any other (the legacy stream).
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct handle_slot {
	uint64_t key, value;
	uint32_t used, pad;
};

struct handles {
	struct handle_slot *slot;
	uint32_t size; /* a power of two */
	uint32_t count;
};

int handles_init(struct handles *h, uint32_t size);
void handles_finish(struct handles *h);

/* NULL: not there. The pointer lives until the next change of the map. */
uint64_t *handles_find(const struct handles *h, uint64_t key);
/* Sets or adds; -ENOSPC when the map is three quarters full. */
int handles_put(struct handles *h, uint64_t key, uint64_t value);
/* The same; a full map is emptied first. */
void handles_put_anyway(struct handles *h, uint64_t key, uint64_t value);
void handles_remove(struct handles *h, uint64_t key);
void handles_clear(struct handles *h);

static inline uint64_t hash_mix(uint64_t h, uint64_t v)
{
	h = (h ^ v) * 0x9e3779b97f4a7c15u;
	return h ^ (h >> 29);
}
