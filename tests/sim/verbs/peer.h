/*
 * The other host's end of a connection, by hand: it meets the library, speaks the protocol as it should, and whatever
 * of it a test may want to say otherwise.  Both ends are in one process; the library's is on device 0, this one's on 1.
 * Threading: one thread for each peer.
 */
#pragma once
#include "device.h"

#include "verbs.h"

enum { PEER_SHIFT = RING_SHIFT_LEAST, PEER_RING = 1 << PEER_SHIFT, PEER_SLOTS = 64, PEER_SLOT = 128, PEER_CQES = 4096, PEER_BULK = 1 << 19, PEER_PATIENCE_S = 30 };

struct peer {
	int role; /* of the library's end: 0 it connected, and so listens */
	uint8_t version; /* the newest that it speaks */
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
	char *bulk;   /* behind them, for what is long */
	uint64_t posted;
	bool deaf; /* messages find no place any more once those that there are have been used up */
	uint8_t nonce[2][16];
	struct intro theirs;
	struct control heard; /* the last */
	struct advert advert; /* the last */
	uint64_t out_at, ring_w, in_at, ring_r;
	uint64_t had_at; /* what the library's program has had */
	bool calm;       /* what the library sends is plain, and where its mark may stand is said */

	/* of a stream whose link has failed */
	bool again;
	uint8_t bond[2][16];
	uint32_t name, sends_by; /* of the newest link, and of that by which it sends */
	bool over, they_left;    /* FAILOVER is said, and heard; and no RETURN yet */
};

void peer_nap(void);
/* DLACCEL_RDMA_DEAD from here on. The library reads its settings once they are made: its thread may look meanwhile, and sees either. */
void peer_patience(uint64_t dead_us);
#define PEER_WAIT(condition) \
	for (int left_ = PEER_PATIENCE_S * 5000; !(condition); peer_nap()) \
		if (!left_--) \
			sim_wrong("never: %s", #condition)

/* The library's end of all of them: it waits for an acknowledgement, and is idle, for so long. */
void peer_set_up(uint64_t dead_us, uint64_t idle_us);

/* One in a process of its own. */
void peer_apart(uint64_t dead_us, uint64_t idle_us, void (*test)(int which), int which);

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
/* The next message, or the next end of a request. */
void peer_await(struct peer *p, bool message);
/* A message.  Not waited for. */
void peer_message(struct peer *p, const void *message, size_t n);
/* One that raises no event.  False: the queue of sends is full. */
bool peer_message_quietly(struct peer *p, const void *message, size_t n);
/* Bytes of its memory into the library's ring, and a receive of the library's is used up. */
void peer_write_with_imm(struct peer *p, const void *from, size_t n);
/* Bytes of its memory into the library's ring, or wherever that key opens. */
void peer_write(struct peer *p, const void *from, uint64_t to, size_t n);
void peer_write_by(struct peer *p, uint32_t key, const void *from, uint64_t to, size_t n);
/* The other way round. */
void peer_read_by(struct peer *p, uint32_t key, void *to, uint64_t from, size_t n);
/* The meeting up to the introduction that an honest one would send now; and that. */
struct intro peer_begin(struct peer *p);
void peer_introduce(struct peer *p, const void *intro, size_t n);
/* Until the library has its stream, as an honest peer gets there. */
void peer_meet(struct peer *p);
/* 0: *p has its stream; else what the library's end came to. */
int peer_outcome(struct peer *p);
/* Its link fails, and the library's end of it. */
void peer_fail(struct peer *p);
/* At this moment the library calls, or listens. */
bool peer_is_sought(struct peer *p);
/* Until both ends know that the new link is up at the other. */
void peer_meet_again(struct peer *p);
/* As the kernel does it for a process that is killed. */
void peer_die(struct peer *p);

/* ---- peer_talk.c */
/* A head on TCP, of where the peer's own direction stands. */
void peer_say_head(struct peer *p, enum frame_type type, uint32_t len);
/* Both directions in frames. */
void peer_agree(struct peer *p);
/* The same number of bytes each time, and what they are followed by. */
void peer_say_by_ring(struct peer *p);
void peer_say_by_tcp(struct peer *p);
void peer_say_failover(struct peer *p);
void peer_say_return(struct peer *p);
/* How far it has taken the ring and the stream. */
void peer_say_state(struct peer *p);
/* So many times that number; and as many bytes, or more, from the library. */
void peer_library_reads(struct peer *p, int pieces);
void peer_library_says(struct peer *p);
void peer_library_says_by_ring(struct peer *p);
/* Bytes both ways, through the ring and past it, checked. */
void peer_converse(struct peer *p);
