/*
 * The streams of a context, by role, as graphs of several of them need them. Such a graph is launched in
 * one stream (home). Before it, home waits for what the others still have to do; behind it, each of the
 * others waits for its own part, but only once something else is to come there ("owed"): often that
 * is another such graph, which comes behind this one anyway.
 *
 * Threading: under the submit lock of the queue.
 */
#pragma once
#include "plan.h"
#include "queue.h"

struct streams {
	CUstream stream[PLAN_STREAMS]; /* the role is the place; PLAN_LEGACY is always there */
	uint32_t count;
	uint32_t owed;
	uint8_t owed_to[PLAN_STREAMS]; /* home of the graph */
	/* Behind the stream's part of a graph; before a graph. Ours, made when first needed. */
	CUevent exit[PLAN_STREAMS], entry[PLAN_STREAMS];
	/* The event that was recorded as the last thing on the stream, as far as we know. */
	CUevent tail[PLAN_STREAMS];
	/* The streams, by role, that have been told to wait for all that this one has to do, which may be nothing. */
	uint32_t joined[PLAN_STREAMS];
};

void streams_init(struct streams *st);
/* Given one if it has none yet; PLAN_NOBODY: there are too many. */
uint8_t streams_role(struct streams *st, CUstream s);
/* An operation was handed over. */
void streams_saw(struct streams *st, const struct op *op);
/* The stream goes away; what was told of its role no longer holds. False: it had none. */
bool streams_forget(struct streams *st, CUstream s);
/* Others may have used them; or, idle, the program has waited for all and not used them since. */
void streams_passed_by(struct streams *st, bool idle);

/* The events for graphs with these streams. */
CUresult streams_prepare(struct streams *st, uint32_t others);
/* False: what one of the others still has to do may wait for what home is to do. */
bool streams_may_enter(struct gpu_queue *q, const struct streams *st, uint32_t others, uint8_t home);
CUresult streams_enter(struct gpu_queue *q, struct streams *st, uint32_t others, uint8_t home);
void streams_left(struct gpu_queue *q, struct streams *st, uint32_t others, uint8_t home);

/* Before an operation on this stream; before whatever may use any. */
CUresult streams_settle(struct gpu_queue *q, struct streams *st, uint8_t role);
CUresult streams_settle_all(struct gpu_queue *q, struct streams *st);
/* With nothing owed: gives the events back. */
void streams_finish(struct streams *st);
