/*
 * A driver that does nothing but write down who called which entry when: for tests of interception
 * and of the barrier table. It exports every name of gpu/driver.def and a few knobs.
 */
#pragma once
#include <stdint.h>

#define STUB_LOG 65536
#define STUB_GRAPHS 64
#define STUB_DEVICE 0x10000000u /* device memory begins here, and what the host locked by means unknown */
#define STUB_LOCKED 0x20000000u
#define STUB_EVENTS 0x30000000u /* what cuEventCreate gives lies behind */

struct stub_call {
	int row;
	int thread;
	uint64_t arg[6];
};

struct stub {
	int result;             /* what every entry without a meaning here answers */
	int busy;               /* cuStreamQuery says that work is under way */
	uint64_t idle;          /* but not of this stream */
	int hold;               /* the next kernel launch waits in the driver until this is 0 again */
	int held;               /* one does */
	int hold_current;       /* thread that waits in cuCtxGetCurrent until this is 0 again; below 0: it does */
	int fail_launch;        /* what the next kernel launch answers */
	int stream_priority;    /* of every stream */
	int stream_attribute;   /* each of them, of every stream */
	int read_only;          /* what device memory is to the device */
	int short_row;          /* row + 1: the next call of that entry finds no memory */
	int fail_graph;         /* what the next launch of a graph answers */
	unsigned graph_us;      /* how long a graph takes to launch */
	unsigned graphs;        /* launched, and how many kernels each had */
	unsigned graph_size[STUB_GRAPHS];
	unsigned live_graphs;   /* instantiated and not destroyed */
	unsigned updates;       /* nodes of instantiated graphs that were given parameters */
	unsigned ranges;        /* how often it was asked what an address belongs to */
	unsigned ran;           /* kernels run, in graphs or not, and the first parameter of each */
	uint64_t param[STUB_LOG];
	unsigned count;
	struct stub_call call[STUB_LOG];
};

extern struct stub stub;
