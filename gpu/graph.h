/*
 * A run of operations as a CUDA graph of our own, made once, in which only parameters change. What
 * orders them is what plan.h says of them; events that they record are recorded by it.
 *
 * Threading: under the submit lock of the queue it belongs to.
 */
#pragma once
#include "op.h"
#include "plan.h"

#include <stdbool.h>

/* The run, by place. */
struct graph_run {
	uint32_t count;
	CUcontext ctx;
	struct op *op[PLAN_MOST];
	struct plan_kind kind[PLAN_MOST];
	bool superseded[PLAN_MOST]; /* a record of an event that is recorded again further on */
};

/* The streams in it, by role; 0 if it is only one. */
uint32_t graph_run_streams(const struct graph_run *run);

struct graph {
	uint64_t key; /* of the run */
	CUgraph graph;
	CUgraphExec exec; /* NULL: could not be made, or does not pay: one by one for good */
	CUcontext ctx;
	CUstream home;    /* where it is launched */
	uint32_t others;  /* the other streams in it, by role */
	uint32_t count, slow, records;
	size_t bytes;       /* of this memory */
	CUgraphNode *node;  /* NULL: this operation is nothing but edges */
	struct op **have;   /* what the driver was told of each */
};

/*
 * exit: of each role the event that is recorded behind the last of that stream, home excepted.
 * NULL: no memory. A run that is not closed or that the driver refuses comes back without an exec.
 */
struct graph *graph_create(uint64_t key, const struct graph_run *run, const CUevent *exit);
void graph_destroy(struct graph *g);
/* From now on its operations go one by one. */
void graph_give_up(struct graph *g);
/* Is this the run that it was made of? Tokens and keys are only hashes of that. */
bool graph_fits(const struct graph *g, const struct graph_run *run);
/* The event goes away, and its handle may come back as another's. */
void graph_forget_event(struct graph *g, CUevent e);
/* Sets what changed and launches it. */
CUresult graph_submit(struct graph *g, const struct graph_run *run);
