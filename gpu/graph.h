/*
 * A run of launches as a CUDA graph of our own: a chain of kernel nodes, made once, in which only
 * the parameters change. A chain, because the launches were made on one stream.
 *
 * Threading: under the submit lock of the queue it belongs to.
 */
#pragma once
#include "op.h"

/* What of a launch a node has for good: all but its parameters. */
struct node_shape {
	CUfunction func;
	const struct kernel *kernel;
	uint32_t grid[3], block[3], shared, bytes;
};

struct graph {
	uint64_t key; /* of the launches in it */
	CUgraph graph;
	CUgraphExec exec; /* NULL: could not be made, or does not pay: plain launches for good */
	uint32_t count, slow;
	size_t bytes;             /* of this memory */
	CUgraphNode *node;
	char **params;            /* what each node has now */
	struct node_shape *shape;
};

/* NULL: no memory. A graph that the driver refuses comes back without an exec. */
struct graph *graph_create(uint64_t key, struct op_launch *const *launch, uint32_t count);
void graph_destroy(struct graph *g);
/* Are these the launches that it was made of? Tokens and keys are only hashes of that. */
bool graph_fits(const struct graph *g, struct op_launch *const *launch, uint32_t count);
/* Sets what changed and launches it. */
CUresult graph_submit(struct graph *g, struct op_launch *const *launch);
