/*
 * Writes the record file. Plain functions for the hooks to call.
 *
 * Threading: recorder_add and recorder_name from any thread at any time between open and close,
 * lock-free, async-signal-safe. Open, close and abandon are the caller's to serialise.
 * Ownership: the struct is embedded; the mapping is its own. No heap, no stdio; errno is kept by
 * add and name. In the child of a fork everything is inert, the parent's file stays the parent's.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "record.h"

struct recorder {
	struct record_header *header; /* NULL: closed */
	char *names;
	struct record *records;
	uint64_t mask;
	size_t size;
	uint32_t *mine; /* reads 0 in the child of a fork */
};

struct recorder_config {
	const char *path;    /* must not exist */
	uint64_t max_bytes;  /* of the whole file; older records give way to newer ones */
	const char *program; /* for the reader; may be NULL */
};

#define RECORDER_MIN_BYTES (64 * 1024)
#define RECORDER_MAX_BYTES (4ULL << 30)

/* Reserves the whole file at once: a full disk is an error here, never a SIGBUS later. */
int recorder_open(struct recorder *r, const struct recorder_config *cfg);
void recorder_close(struct recorder *r);
/* In the child of a fork: lets go of the mapping without a trace in the file. */
void recorder_abandon(struct recorder *r);

static inline bool recorder_on(const struct recorder *r)
{
	return r->header && *(volatile uint32_t *)r->mine;
}

/* seq is set here; everything else is taken as it is. Returns it, 0 where nothing is recorded. */
uint64_t recorder_add(struct recorder *r, const struct record *rec);
/*
 * One more of the same: adds to the bytes of record seq and 1 to its value. Only the thread that added it may ask.
 * false where the record is none of this recorder's or the ring may come round to it meanwhile: add a new one.
 */
bool recorder_grow(struct recorder *r, uint64_t seq, uint64_t bytes);

struct recorder_shape {
	uint32_t grid[3], block[3];
	uint32_t shared;
};

/* The same text and shape give the same key, in every process; never 0. shape may be NULL. */
uint64_t recorder_key(const char *text, const struct recorder_shape *shape);
/* Once per key; what does not fit any more is counted and left out. */
void recorder_name(
	struct recorder *r, uint64_t key, const char *text, const struct recorder_shape *shape);

uint64_t recorder_now(void); /* ns, the clock of all records */
