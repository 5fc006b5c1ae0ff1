/*
 * What the files of the meeting share: `verbs_meet` (its steps), `verbs_intro` (what the ends say of themselves) and
 * `verbs_again` (when a stream's link has failed). The progress thread's, but for what is atomic.
 */
#pragma once
#include "meeting.h"
#include "verbs.h"

enum meeting_state { MEET_NEW, MEET_BUSY, MEET_READY, MEET_NOBODY, MEET_NEVER, MEET_RESTS };

struct meeting {
	struct meeting *next;
	int role; /* as the stream's: 0 connected, and so listens */
	struct tuple tuple;
	_Atomic uint32_t state;
	_Atomic bool closed, taken, ended; /* the program's part is over; a stream has the link; that one is gone */
	struct rdma_cm_id *listener, *id;
	struct link *link; /* the newest */
	uint64_t answered_ns; /* the call is answered, and the peer owes its intro by SEND; 0: not yet */
	uint8_t nonce[2][16]; /* by role */
	uint8_t key[64];
	size_t key_bytes;
	uint8_t version; /* in use */

	/* for a stream whose link has failed */
	bool again;
	uint8_t bond[2][16]; /* the nonces that the stream was made with: no other stream's ends know them */
	uint32_t sends_by;   /* name of the link that we send by */
	struct device *device; /* the last that a link was made on, by that port */
	uint8_t port;
	uint64_t due_ns;     /* of the next try; while busy: given up */
	uint64_t distance_ns, up_ns;
};

/* ---- verbs_meet.c */
/* The peer is told; the link's own part goes before the id does. */
void meeting_hang_up(struct meeting *m);
void meeting_drop_id(struct rdma_cm_id **id);
void meeting_drop_ids(struct meeting *m);

/* ---- verbs_intro.c */
void intro_hash(const struct meeting *m, uint8_t ret_hash[16]);
void intro_marks(const struct meeting *m, uint8_t ret_mark[2][MARK_BYTES]);
/* What both ends call the link, once each has the other's nonce. */
uint32_t intro_name(const struct meeting *m);
uint8_t intro_shift(const struct link *l);
void introduce(const struct meeting *m, struct intro *ret);
/* 0, or the reason why not. */
int check_intro(struct meeting *m, const struct intro *i);
int check_call(const struct meeting *m, const struct verbs_call *c);

/* ---- verbs_again.c */
/* One step; true: the meeting is to be started. */
bool again_step(struct meeting *m, uint64_t now);
/* When there is something to do without an event; UINT64_MAX: never. */
uint64_t again_due(const struct meeting *m, uint64_t now);
/* An answer is owed by the peer from now on. */
void again_wait(struct meeting *m);
