/*
 * Which operations may go out together as one graph, and what of their order the graph must keep.
 * A graph is launched in one stream, the first one's (`home`): all of it comes after what that stream
 * had to do, and what follows there comes after all of it. So that nothing is ordered that the program
 * did not order, every other stream must come in behind an event of home's (a fork) and be waited for
 * by home in the end (a join): such a run is "closed".
 *
 * Threading: plain data of the caller.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define PLAN_STREAMS 32
#define PLAN_LEGACY 0 /* this stream's role; it is ordered with others by itself, so it goes alone */
#define PLAN_NOBODY 0xff
#define PLAN_MOST 512

enum plan_class { PLAN_OTHER, PLAN_NODE, PLAN_RECORD, PLAN_WAIT };

/* Streams by their role: a number below PLAN_STREAMS. `source` is where a wait's event was recorded. */
struct plan_kind {
	uint8_t class, stream, source;
};

struct plan {
	uint32_t count;
	uint8_t home;
	uint32_t forked, told_any; /* streams, one bit each */
	/* By place, +1: the last operation of the second stream that the first comes after. */
	uint16_t known[PLAN_STREAMS][PLAN_STREAMS];
	uint16_t told[PLAN_STREAMS][PLAN_STREAMS]; /* the same at the stream's latest record */
	uint32_t fresh[PLAN_STREAMS];              /* learned since the stream's last node */
	uint16_t node[PLAN_MOST];                  /* of an operation: its stream's last node, +1 */
	/* of the operation added last: the nodes it comes after */
	uint32_t after_count;
	uint16_t after[PLAN_STREAMS];
};

void plan_begin(struct plan *p);
/* False: this one cannot be among them; the plan is not to be used any further. */
bool plan_add(struct plan *p, struct plan_kind k);
bool plan_closed(const struct plan *p);
/* Sets `after` for what comes next on this stream. */
void plan_after(struct plan *p, uint8_t stream);
