/*
 * The other host's end of a connection, by hand: it meets the library, speaks the protocol as it should, and whatever
 * of it a test may want to say otherwise.  Both ends are in one process; the library's is on device 0, this one's on 1.
 * Threading: one thread for each peer.
 */
#pragma once
#include "device.h"

#include "verbs.h"

enum { PEER_SHIFT = RING_SHIFT_LEAST, PEER_RING = 1 << PEER_SHIFT, PEER_SLOTS = 64, PEER_SLOT = 128, PEER_PATIENCE_S = 30 };

struct peer {
	int role; /* of the library's end: 0 it connected, and so listens */
	int fd, lib_fd;
	struct tuple tuple;
	struct meeting *meeting;
	struct stream *stream;
	struct rdma_event_channel *channel;
	struct rdma_cm_id *listener, *id;
	struct ibv_pd *pd;
	struct ibv_cq *cq;
	struct ibv_srq *srq;
	struct ibv_mr *mr;
	char *memory; /* staging, ring, words, slots */
	uint64_t posted;
	bool deaf; /* messages find no place any more once those that there are have been used up */
	uint8_t nonce[2][16];
	struct intro theirs;
	struct control heard; /* the last */
	uint64_t out_at, ring_w, in_at;
};

void peer_nap(void);

/* A TCP connection, and the library's end of it begins to look for its peer. */
void peer_start(struct peer *p, int role);
void peer_end(struct peer *p);

/* What an honest one says. */
struct verbs_call peer_call_of(const struct peer *p);
struct intro peer_intro_of(const struct peer *p);

/* Role 0.  False: refused. */
bool peer_call(struct peer *p, const void *call, size_t n);
/* Role 1: takes the library's call, and answers it. */
void peer_take_call(struct peer *p);
void peer_answer(struct peer *p, const void *intro, size_t n);
/* Takes one completion, if there is one: of a message, which is kept, or of a request. */
bool peer_listen(struct peer *p, bool *ret_message);
/* A message.  Not waited for. */
void peer_message(struct peer *p, const void *message, size_t n);
/* Bytes of its memory into the library's. */
void peer_write(struct peer *p, const void *from, uint64_t to, size_t n);
/* The meeting up to the introduction that an honest one would send now; and that. */
struct intro peer_begin(struct peer *p);
void peer_introduce(struct peer *p, const void *intro, size_t n);
/* Until the library has its stream, as an honest peer gets there. */
void peer_meet(struct peer *p);
/* 0: *p has its stream; else what the library's end came to. */
int peer_outcome(struct peer *p);
/* Both directions in frames. */
void peer_agree(struct peer *p);
/* Bytes both ways, through the ring and past it, checked. */
void peer_converse(struct peer *p);
