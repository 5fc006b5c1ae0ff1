/*
 * Frames on TCP, both halves, without any input or output: what goes before payload, and what a piece
 * of what has been received means.  Splits may fall anywhere.  Pure; the caller holds the side's lock.
 */
#pragma once
#include "verbs_wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static inline size_t ring_padded(size_t n)
{
	return (n + RING_ALIGN - 1) & ~(size_t)(RING_ALIGN - 1);
}

/* Of a record's place in the stream and its payload with the zeroes behind it; never 0. */
static inline uint32_t ring_check(uint64_t at, const char *payload, size_t padded)
{
	uint64_t h = at ^ padded, x;

	for (size_t i = 0; i < padded; i += sizeof(x)) {
		memcpy(&x, payload + i, sizeof(x));
		h = (h ^ x) * UINT64_C(0x9e3779b97f4a7c15);
		h ^= h >> 29;
	}
	return (uint32_t)(h >> 32) | 1;
}

/* ---- sending: `tail` goes before anything else, then `owed` bytes of payload close the open frame */
struct frame_out {
	uint8_t tail[128];
	uint32_t begin, end;
	uint64_t owed;
};

static inline size_t frame_out_tail(const struct frame_out *o)
{
	return o->end - o->begin;
}

/* A frame boundary: anything may follow. */
static inline bool frame_out_clean(const struct frame_out *o)
{
	return o->begin == o->end && !o->owed;
}

/* False: no room; the tail must go first. */
static inline bool frame_out_put(struct frame_out *o, const void *p, size_t n)
{
	if (o->begin == o->end)
		o->begin = o->end = 0;
	if (sizeof(o->tail) - o->end < n)
		return false;
	memcpy(o->tail + o->end, p, n);
	o->end += (uint32_t)n;
	return true;
}

static inline bool frame_out_head(struct frame_out *o, enum frame_type type, uint64_t at, uint64_t ring, size_t len)
{
	struct frame_head h = { .type = type, .len = (uint32_t)len, .ring = (uint32_t)ring, .at = at };

	if (!frame_out_put(o, &h, sizeof(h)))
		return false;
	o->owed += type == FRAME_DATA ? len : 0;
	return true;
}

/* `n` bytes of tail and payload are gone; returns how many of them were payload. */
static inline size_t frame_out_sent(struct frame_out *o, size_t n)
{
	size_t tail = frame_out_tail(o), head = n < tail ? n : tail;

	o->begin += (uint32_t)head;
	o->owed -= n - head;
	return n - head;
}

/* The last head, of a DATA frame of `len`, has not gone at all: as if it had never been. */
static inline void frame_out_take_back(struct frame_out *o, size_t len)
{
	if (o->owed == len && frame_out_tail(o) >= sizeof(struct frame_head)) {
		o->end -= (uint32_t)sizeof(struct frame_head);
		o->owed = 0;
	}
}

/* ---- receiving */
struct frame_in {
	uint8_t head[sizeof(struct frame_head) + sizeof(struct frame_block)];
	uint32_t have; /* of it, taken out of TCP */
	uint32_t left; /* payload of the DATA frame that is open */
	uint64_t at;   /* its stream offset */
};

/* How many bytes the head that begins like this has. */
static inline size_t frame_head_bytes(const uint8_t *head)
{
	return sizeof(struct frame_head) + (head[0] == FRAME_BLOCK ? sizeof(struct frame_block) : 0);
}

/*
 * Looks at the head that continues with `p`.  Returns how many of the `n` bytes belong to it, and
 * whether it is complete; changes nothing.  ret_head has what there is.
 */
static inline size_t frame_in_look(const struct frame_in *f, const uint8_t *p, size_t n, uint8_t *ret_head, bool *ret_whole)
{
	size_t have = f->have, used = 0;

	memcpy(ret_head, f->head, have);
	while (used < n && (have == 0 || have < frame_head_bytes(ret_head)))
		ret_head[have++] = p[used++];
	*ret_whole = have && have == frame_head_bytes(ret_head);
	return used;
}

/* That head is taken out of TCP, as far as it had come. */
static inline void frame_in_keep(struct frame_in *f, const uint8_t *p, size_t n)
{
	memcpy(f->head + f->have, p, n);
	f->have += (uint32_t)n;
}

/* A DATA frame begins. */
static inline void frame_in_open(struct frame_in *f, const struct frame_head *h)
{
	f->left = h->len;
	f->at = h->at;
	f->have = 0;
}
