/* What the two files of the sending half share: `verbs_send`, `verbs_offer`. All under side->p. */
#pragma once
#include "cursor.h"
#include "verbs_io.h"

enum { SMALL = 8192 }; /* cheaper through TCP than by a write and a doorbell */

struct sending {
	struct verbs_stream *vs;
	struct verbs_side *v;
	int fd, flags;
	struct cursor c;
	size_t done;
	struct signal_mark mark;
	size_t limit; /* of the next piece through TCP */
	size_t must;  /* so much of the call cannot be left unsent */
	bool waited;
};

/* A peer that is gone takes no more; where TCP is full a doorbell would not get through. */
bool send_tcp_is_clear(struct verbs_stream *vs, int fd);
bool send_may_use_ring(struct verbs_stream *vs);

/* ---- blocks */
bool send_block_pays(struct sending *w);
/* Bytes of a small piece before a block, which goes by itself; SIZE_MAX: none. */
size_t send_lead(const struct sending *w);
/*
 * Bytes that have gone this way, 0: none.  Where the link failed in between, the peer may have read what it has
 * claimed: these bytes must go now, whatever the call's kind, since the program may never send them again.
 */
size_t send_block(struct sending *w);
