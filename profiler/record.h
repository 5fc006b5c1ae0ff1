/*
 * The record file: what the hooks write and `dlaccel report` reads. Fixed sizes, native byte order,
 * times in ns of CLOCK_MONOTONIC, sizes in bytes. README.md says what is where and why.
 *
 *	0                 4096              names_at + names_size       records_at + records * 64
 *	| record_header   | names           | records, a ring           |
 */
#pragma once

#include <stdint.h>

#define RECORD_MAGIC "DLACREC\n"
#define RECORD_VERSION 1
#define RECORD_HEADER_SIZE 4096
#define RECORD_BYTE_ORDER 0x01020304

struct record_header {
	char magic[8];
	uint32_t version;
	uint32_t byte_order;
	uint32_t header_size;
	uint32_t record_size;
	uint64_t names_at, names_size;
	uint64_t records_at, records; /* records: how many the ring holds, a power of two */
	uint64_t start_realtime_ns, start_ns;
	uint32_t pid;
	uint32_t reserved;
	char program[64]; /* NUL-terminated, as are the next two */
	char host[64];
	char library[32];
	/* written while recording, each on a line of its own */
	_Alignas(64) uint64_t next; /* records begun so far */
	_Alignas(64) uint64_t names_used;
	uint64_t names_dropped;
	_Alignas(64) uint32_t finished; /* 1: closed by the program, not by a kill */
};

_Static_assert(sizeof(struct record_header) <= RECORD_HEADER_SIZE, "the header is one page");

enum record_kind {
	RECORD_STEP = 1, /* a whole step: value tokens */
	RECORD_FOUND,	 /* a step was found: dur its period, value its tokens, bytes its anchors */
	RECORD_LOST,	 /* and lost */
	RECORD_CALL,   /* a driver call: name, correlation; value: its token; bytes: key of its site
			*/
	RECORD_SYNC,   /* the program waited for the device */
	RECORD_BATCH,  /* submitted by dlaccel: value operations, flags how */
	RECORD_KERNEL, /* on the device: name, stream, correlation */
	RECORD_COPY,   /* on the device: bytes */
	RECORD_SET,
	RECORD_SEND, /* socket: bytes, stream = fd, flags route */
	RECORD_RECV,
	RECORD_FALLBACK, /* name: the reason */
	RECORD_KINDS,
};

enum record_flag {
	RECORD_HANDLED = 1 << 0,    /* by dlaccel; else passed through, and name may say why */
	RECORD_PARTIAL = 1 << 1,    /* step: cut short, or with something else inside */
	RECORD_GRAPH = 1 << 2,	    /* batch: as a CUDA graph */
	RECORD_PERSISTENT = 1 << 3, /* batch: as one persistent kernel */
	RECORD_SHM = 1 << 4,	    /* socket: by shared memory */
	RECORD_VERBS = 1 << 5,	    /* socket: by RDMA */
	RECORD_OFF = 1 << 6,	    /* step: measured with dlaccel's changes off */
};

struct record {
	uint64_t seq;	/* index of this record + 1; 0 while it is being written */
	uint64_t start; /* ns */
	uint64_t dur;	/* ns */
	uint64_t name;	/* key of a name, 0: none */
	uint64_t bytes;
	uint32_t thread;
	uint32_t stream;
	uint32_t correlation; /* links a call with what it started on the device; 0: none */
	uint32_t value;
	uint16_t kind, flags;
	uint32_t device;
};

_Static_assert(sizeof(struct record) == 64, "one cache line");

/* What a key stands for. Written once per key, the first time it is seen; never overwritten. */
struct record_name {
	uint32_t size;	/* of the whole entry, a multiple of 8 */
	uint32_t ready; /* 1: complete */
	uint64_t key;
	uint32_t grid[3], block[3];
	uint32_t shared;
	uint32_t length; /* bytes of text, no NUL */
	char text[];
};

#define RECORD_NAME_TEXT 1024
