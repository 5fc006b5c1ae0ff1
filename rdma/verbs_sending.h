/* What the files of the sending half share: `verbs_send`, `verbs_offer`, `verbs_place`. All under side->p. */
#pragma once
#include "cursor.h"
#include "verbs_io.h"

enum {
	SMALL = 8192, /* cheaper through TCP than by a write and a doorbell */
	BLOCK_LEAST = 65536,
	CALM_AFTER = 64, CALM_AFTER_MOST = 1 << 16,
};

struct sending {
	struct verbs_stream *vs;
	struct verbs_side *v;
	int fd, flags;
	struct cursor c;
	size_t done;
	struct signal_mark mark;
	uint64_t slept_ns; /* for room in TCP, of SO_SNDTIMEO */
	size_t limit; /* of the next piece through TCP */
	size_t must;  /* so much of the call cannot be left unsent */
	bool waited;
	bool tied;    /* the last offer was taken back since the peer offers as well */
	bool aside;   /* the call ends here, as if there were no room */
};

/* A peer that is gone takes no more; where TCP is full a doorbell would not get through. */
bool send_tcp_is_clear(struct verbs_stream *vs, int fd);
bool send_may_use_ring(struct verbs_stream *vs);
/* Our direction says that it leaves frames; false: it has, or cannot yet: something of a frame or of a call must go first. */
bool send_plain_for_good(struct verbs_stream *vs);

/* One record, as long as room, ring and piece let it be, and where it ends; 0: no room.  `counts`: as soon as it lies there. */
size_t send_put_record(struct verbs_stream *vs, struct cursor *c, uint64_t *pos, uint64_t at, bool counts);
int send_write_record(struct link *l, uint64_t from, uint64_t to, bool last, uint64_t *ret_seq);
/* Acknowledged. */
void send_went_by_ring(struct sending *w, size_t n);
/* The peer sleeps in the kernel, or may: the ring holds the stream up to where we are. */
void send_bell(struct sending *w);

/* ---- a small message to a peer that polls: bytes that have gone this way, 0: none */
bool send_short_pays(struct sending *w);
size_t send_short(struct sending *w);

/* ---- a buffer that the peer has advertised: bytes that have gone there, 0: none */
size_t send_place(struct sending *w);

/* ---- blocks */
/* Worth to be registered. */
bool send_is_long(const struct sending *w);
bool send_block_pays(struct sending *w);
/* Bytes of a small piece before a block, which goes by itself; SIZE_MAX: none. */
size_t send_lead(const struct sending *w);
/*
 * Bytes that have gone this way, 0: none.  Where the link failed in between, the peer may have read what it has
 * claimed: these bytes must go now, whatever the call's kind, since the program may never send them again.
 */
size_t send_block(struct sending *w);
