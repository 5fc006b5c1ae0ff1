/*
 * The receiving half's own: where it stands (settle.c) is shared by the calls that take (consume.c).  All of it
 * under side->c but for stream_settle_late, which takes it.
 */
#pragma once
#include "shm.h"

static inline struct wire_seg *in_seg(struct stream *s, uint32_t i)
{
	return &s->in->seg[i % WIRE_SEGMENTS];
}

/* Also while its sender, who has taken it back, is about to send it another way: the program may have been told of it. */
static inline bool offered(struct stream *s)
{
	uint32_t st = load_acq(s->in->block.state);

	return (st == BLOCK_OFFERED || st == BLOCK_WITHDRAWN) && !load_rlx(s->side->broken);
}

static inline void count_rx(struct stream *s, uint64_t n)
{
	uint64_t rx = load_rlx(s->side->rx) + n;

	store_rlx(s->side->rx, rx);
	store_rel(s->in->rx, rx);
}

static inline void next_segment(struct stream *s)
{
	uint32_t r = load_rlx(s->side->segr) + 1;

	store_rlx(s->side->segr, r);
	store_rel(s->in->segr, r);
}

/* Doorbells up to TCP position `upto` are taken out, as far as they have arrived.  True: some were. */
bool stream_swallow(struct stream *s, int fd, uint64_t upto);
/* Settles, and takes out a doorbell that its sender has not counted yet; false: the kernel has nothing. */
bool stream_settle_late(struct stream *s, int fd);
