/*
 * What two hosts say to each other, version 6 (1 had no claims, 2 no polling and one size of rings, 3 no return, 4 no adverts, 5 no way back);
 * rdma/README.md ("Between hosts") has the rules.  All numbers are little-endian, as every machine that we build for has them.
 */
#pragma once
#include <assert.h>
#include <stdint.h>

#define VERBS_MAGIC 0x64616c76u
#define VERBS_VERSION_MIN 3
#define VERBS_VERSION_MAX 7

/* ---- on TCP, once a direction is framed: heads, each followed by `len` bytes of payload if DATA */
enum frame_type {
	FRAME_BELL = 1,     /* the ring, or an advertised buffer, holds the stream up to offset `at` */
	FRAME_DATA = 2,     /* `len` bytes of the stream from offset `at` on */
	FRAME_FAILOVER = 3, /* nothing comes over this link any more; from `at` on all comes in DATA */
	FRAME_BLOCK = 4,    /* a struct frame_block follows: the stream continues in a block */
	FRAME_PLAIN = 5,    /* from here on the connection is plain TCP for good; `at`: where the stream stands */
	FRAME_RETURN = 6,   /* behind FAILOVER: from here on heads speak of the link that `len` names */
	FRAME_CALM = 7,     /* plain TCP again, as before the mark, from stream offset `at` on */
};
enum { VERSION_RETURNS = 4, VERSION_ADVERTS = 5, VERSION_CALMS = 6, VERSION_WINDOWS = 7, NAME_BITS = 24 };

struct frame_head {
	uint32_t type : 8, len : 24;
	uint32_t ring; /* low half of the ring position up to which records lie there, acknowledged */
	uint64_t at;   /* offset into this direction's payload, from the connection's first byte */
};
static_assert(sizeof(struct frame_head) == 16, "frame head");

/* `len` of the head: 0; the block's length is here. */
struct frame_block {
	uint64_t address, length;
	uint32_t rkey, id;
};
static_assert(sizeof(struct frame_block) == 24, "frame block");

/* What stands at the agreed offset of a plain direction if and only if frames follow it. */
enum { MARK_BYTES = 16 };

/*
 * ---- the ring, written by RDMA WRITE.  What lies there counts once a head on TCP has said so.  A record is a head, its payload, and zeroes up to a multiple of 16.  It never wraps: where fewer than
 * RING_TAIL bytes are left before the ring's end, the next record lies at its start.
 */
struct ring_head {
	uint64_t at; /* stream offset */
	uint32_t len;
	uint32_t check; /* 0; or ring_check(): counts as soon as it lies there, its sender stands by it */
};
enum { RING_ALIGN = 16, RING_TAIL = 64, RING_SHIFT_LEAST = 14, RING_SHIFT_MOST = 18 };

/*
 * Behind the ring, written by RDMA WRITE before each READ of a block: a READ of which nothing stands here has had no
 * answer, since the responder executes both in their order.
 */
struct block_claim {
	uint64_t upto; /* bytes of the block, with this READ */
	uint32_t id, zero;
};
static_assert(sizeof(struct block_claim) == 16, "block claim");

/* Behind the ring as well, written by RDMA WRITE behind what was written into an advertised buffer: where this lies, that does. */
struct placed {
	uint64_t bytes;
	uint32_t id, zero;
};
static_assert(sizeof(struct placed) == 16, "placed");

/* All that lies behind a ring, in its owner's memory, for the peer to write. */
struct peer_words {
	struct block_claim claim;
	struct placed placed;
	uint64_t unused[4];
	uint64_t polls; /* 1: the peer looks at its own ring, or will before it sleeps: no doorbell */
};
static_assert(sizeof(struct peer_words) == 72, "peer words");

/* ---- by SEND: one struct control or struct advert, but for the first message, which is a struct intro */
enum control_type {
	CONTROL_STATE = 1,     /* the receiver has taken the ring up to `ring`, the stream up to `at` */
	CONTROL_COUNTED = 2,   /* the receiver reads plain TCP up to `at` and looks for the mark there */
	CONTROL_DONE = 3,      /* the receiver has read `ring` bytes of block `id`, and will read no more of it */
	CONTROL_WITHDRAW = 4,  /* the sender takes block `id` back: answer DONE at once */
	CONTROL_RECALL = 5,    /* the receiver wants the buffer of advert `id` back: answer RECALLED at once */
	CONTROL_RECALLED = 6,  /* nothing more is written there; what has been stands in `placed` */
};

struct control {
	uint8_t type, flags;
	uint16_t zero;
	uint32_t id;
	uint64_t ring, at;
};
static_assert(sizeof(struct control) == 24, "control");

/*
 * A receive of the program's waits with this buffer: the stream from offset `at` on, and nothing else, may be written there, once, and then
 * `placed`.  Good until then, until RECALL, or until something of that place in the stream has gone another way.
 */
struct advert {
	uint64_t at, address, length;
	uint32_t rkey, id;
};
static_assert(sizeof(struct advert) == 32, "advert");

enum { STATE_INLINE = 1 }; /* flags of STATE: the receiver wants nothing in the ring (SO_RCVLOWAT) */

/* ---- the meeting: private data of the call (56 bytes are all there is) */
struct verbs_call {
	uint32_t magic;
	uint8_t version_min, version_max, secret;
	uint8_t ring_shift; /* of the largest ring that the caller gives room to; 0: RING_SHIFT_MOST */
	uint8_t nonce[16];
	uint8_t tuple[16]; /* SHA-256 of the connection's addresses, cut */
	uint8_t boot[16];
};
static_assert(sizeof(struct verbs_call) == 56, "private data of a call");

/* Private data of the answer, and each end's first message (the answering end's from version 7 on). */
struct intro {
	uint32_t magic;
	uint8_t version, ring_shift; /* those in use: the answer chooses, of both rings; the caller repeats */
	uint16_t zero;
	uint64_t ring_address;
	uint32_t ring_rkey, sends_by; /* sends_by: of a return: name of the link whose ring the sender wrote last */
	uint8_t nonce[16];
	uint8_t boot[16];
	uint8_t proof[32]; /* HMAC-SHA256 by DLACCEL_SECRET_FILE; zeroes without */
};
static_assert(sizeof(struct intro) == 88, "intro");
