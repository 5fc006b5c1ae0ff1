/*
 * The memory that both ends of an upgraded connection share.  rdma/README.md explains the rules;
 * this is the layout, version 1.
 *
 *   0            struct wire_map (16 KiB)
 *   16 KiB       ring of direction 0 (connecting side -> accepting side), ring_bytes
 *   + ring_bytes ring of direction 1 (accepting side -> connecting side), ring_bytes
 *
 * A ring has two areas.  The hot one, its first WIRE_HOT bytes, is used round and round and stays in the
 * caches; the cold one, the rest, takes up once from its begin what a receiver that is late leaves unread.
 *
 * Positions are 64-bit byte counts that never wrap: `x` counts ring bytes of a direction, `a` and `b`
 * count bytes of the TCP stream (payload and doorbells).  Nothing here is trusted: each end keeps its
 * own positions in memory that the peer cannot reach (struct side) and publishes copies.
 */
#pragma once
#include <stdalign.h>
#include <stdatomic.h>
#include <stdint.h>

#define WIRE_MAGIC 0x31636c6c65636c64ull
#define WIRE_VERSION_MIN 1
#define WIRE_VERSION_MAX 1
#define WIRE_HEADER 16384
#define WIRE_HOT (256 * 1024)
#define WIRE_SEGMENTS 64
#define WIRE_CHUNKS 1024

#define SEG_OPEN UINT64_MAX          /* inline bytes still come */
#define SEG_READING (UINT64_MAX - 1) /* a receiver is inside a kernel recv: must not be closed */
#define SEG_CLOSED(b) ((b) < SEG_READING)

/* At ring position x the stream continues in TCP, from position a up to b. */
struct wire_seg {
	_Atomic uint64_t x, a, b;
};

enum block_state { BLOCK_IDLE, BLOCK_OFFERED, BLOCK_CLAIMED, BLOCK_GO, BLOCK_PULLING, BLOCK_PULLED, BLOCK_REVOKED, BLOCK_DONE, BLOCK_WITHDRAWN };

/*
 * A block offered for a direct copy.  The sender fills src..src_pid and sets OFFERED; the receiver
 * CASes CLAIMED, fills dst..chunks and sets GO; both take chunks from `next` and flag what they
 * have copied.  The sender alone sets IDLE again.  A receiver that makes no progress for a while (it may
 * be stopped) is revoked: n then says what has been moved, and the receiver sets IDLE when it finds that.  One
 * that cannot copy it sets REVOKED itself, for good.  Unclaimed, it is WITHDRAWN until its bytes are sent another way.
 */
struct wire_block {
	alignas(64) _Atomic uint32_t state;
	_Atomic uint32_t src_pid, dst_pid;
	_Atomic uint64_t src, len, x;
	_Atomic uint64_t dst, n;
	_Atomic uint32_t chunk, chunks;
	alignas(64) _Atomic uint32_t next;
	alignas(64) _Atomic uint32_t done;
	_Atomic uint8_t flag[WIRE_CHUNKS];
};

struct wire_dir {
	/* written by the producer */
	alignas(64) _Atomic uint64_t rw; /* ring bytes published */
	_Atomic uint64_t tx;             /* TCP bytes sent, doorbells included, counted after the send */
	_Atomic uint64_t origin;         /* ring position that lies at the hot area's first byte */
	_Atomic uint64_t cold_from;      /* ring positions from here ... */
	_Atomic uint64_t cold_end;       /* ... up to here lie in the cold area, from its first byte on */
	_Atomic uint32_t segw;           /* segments ever opened */
	_Atomic uint32_t ringing;        /* a doorbell is being sent and counted */
	_Atomic uint32_t abortive;       /* SO_LINGER of no time: the producer's end is a reset, whatever is unread */
	/* written by the consumer */
	alignas(64) _Atomic uint64_t rr; /* ring bytes taken */
	_Atomic uint64_t rx;             /* TCP bytes taken; in an open segment up to 4 KiB late, unless the consumer finds nothing or sleeps */
	_Atomic uint32_t segr;           /* segments finished */
	_Atomic uint32_t counted;        /* rx is proven equal to the kernel's count: the switch is legal */
	_Atomic int32_t poller;          /* threads that poll this ring now */
	_Atomic int32_t sleepers;        /* threads that sleep in the kernel on this stream */
	_Atomic uint32_t edge;           /* an edge-triggered or unknown wait: ring for every publish */
	_Atomic uint32_t spinner;        /* spun with success lately */
	_Atomic uint32_t want_inline;    /* the consumer wants no ring data: plain for good, or SO_RCVLOWAT */
	_Atomic uint32_t closing;        /* the consumer is about to go: no doorbells any more */
	_Atomic uint32_t cpu;            /* 1 + the CPU the consumer last ran on */
	_Atomic uint64_t took;           /* clock ticks spent on copying out of the ring, ever; 0: not said */
	/* written by both */
	alignas(64) _Atomic uint32_t token;  /* epoch (segw) of the doorbell that lies unread in TCP; 0: none */
	_Atomic uint32_t want_switch;        /* the producer found SEG_READING: sleep by MSG_PEEK instead */
	struct wire_seg seg[WIRE_SEGMENTS];
	struct wire_block block;
};

/* Where the peer may try its cross-memory calls: magic to read, scratch to write. */
struct wire_probe {
	_Atomic uint64_t address; /* of a struct cma_probe in that side's process */
	_Atomic uint64_t nonce;
	_Atomic uint32_t pid;
	_Atomic uint32_t result; /* enum cma_result of *this* side's calls into the peer */
};

enum cma_result { CMA_UNKNOWN, CMA_FAILED, CMA_WORKS };

struct wire_map {
	uint64_t magic;
	uint32_t version, ring_shift; /* version: the caller's newest; ring_bytes = 1 << ring_shift */
	_Atomic uint32_t agreed;      /* version in use: set by the taker before it joins */
	alignas(64) _Atomic uint32_t joined[2]; /* [0] connecting side, [1] accepting side */
	struct wire_probe probe[2];
	struct wire_dir dir[2]; /* [0] from the connecting side, [1] from the accepting side */
};

_Static_assert(sizeof(struct wire_map) <= WIRE_HEADER, "header outgrew its pages");

/*
 * The rendezvous message: sent once by the accepting process over the abstract unix socket, with the
 * memfd as SCM_RIGHTS.  All of it is compared, nothing taken over.  Addresses are IPv6 (IPv4 mapped).
 */
struct wire_hello {
	uint64_t magic;
	uint32_t version_min, version_max;
	uint32_t size; /* of this message */
	uint32_t ring_shift;
	uint8_t connect_addr[16], accept_addr[16];
	uint16_t connect_port, accept_port; /* network order */
	uint32_t pid, uid;
	uint64_t net_ns, pid_ns; /* inode numbers */
	uint8_t boot_id[16];
	uint64_t nonce;
};
