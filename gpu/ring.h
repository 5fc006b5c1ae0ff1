/*
 * The queue's memory: records of any size, one after another, in a ring of bytes. Nothing is
 * allocated after ring_init.
 *
 * Threading: one producer and one consumer at a time (the caller's locks see to that); the two may
 * run at once. A record is seen by the consumer only after ring_publish.
 */
#pragma once
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define RING_ALIGN 16

struct ring {
	char *mem;
	uint64_t size; /* a power of two */
	uint64_t reserved;
	_Atomic uint64_t head; /* bytes published since the start */
	_Atomic uint64_t tail; /* bytes released since the start */
};

int ring_init(struct ring *r, uint64_t size);
void ring_finish(struct ring *r);

/* Room for one record of at most `bytes`, or NULL: release something first. */
void *ring_reserve(struct ring *r, size_t bytes);
/* Makes the record reserved last visible, `bytes` long (not more than was reserved). */
void ring_publish(struct ring *r, size_t bytes);

/* The record at *cursor, which moves behind it; NULL at the end. A cursor starts at ring_tail(). */
void *ring_next(const struct ring *r, uint64_t *cursor);
void ring_release(struct ring *r, uint64_t cursor);

static inline uint64_t ring_tail(const struct ring *r)
{
	return atomic_load_explicit(&r->tail, memory_order_relaxed);
}

static inline int ring_empty(const struct ring *r)
{
	return atomic_load_explicit(&r->head, memory_order_acquire) == ring_tail(r);
}
