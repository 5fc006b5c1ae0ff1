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

static inline void publish_rx(struct stream *s)
{
	uint64_t rx = load_rlx(s->side->rx);

	if (load_rlx(s->in->rx) != rx)
		store_rel(s->in->rx, rx);
}

/*
 * The sender reads the line of in->rx at each send, and needs it in an open segment only to know whether much is unread: small
 * messages that it does not see counted one by one cost neither end a cache line.  It is exact where the receiver finds nothing or
 * sleeps, and behind the segment.
 */
enum { RX_LATE = 4096 };

static inline void count_rx(struct stream *s, uint64_t n)
{
	uint64_t rx = load_rlx(s->side->rx) + n;

	store_rlx(s->side->rx, rx);
	if (rx - load_rlx(s->in->rx) >= RX_LATE)
		publish_rx(s);
}

static inline void next_segment(struct stream *s)
{
	uint32_t r = load_rlx(s->side->segr) + 1;

	publish_rx(s);
	store_rlx(s->side->segr, r);
	store_rel(s->in->segr, r);
}

/* Doorbells up to TCP position `upto` are taken out, as far as they have arrived.  True: some were. */
bool stream_swallow(struct stream *s, int fd, uint64_t upto);
/* Settles, and takes out a doorbell that its sender has not counted yet; false: the kernel has nothing. */
bool stream_settle_late(struct stream *s, int fd);
