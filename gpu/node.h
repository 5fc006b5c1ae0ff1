/*
 * Operations as nodes of a CUDA graph: what a node is made of for good (its shape), and what of it can
 * be changed in the instantiated graph (its parameters).
 *
 * Threading: under the submit lock of the queue that the operations are from.
 */
#pragma once
#include "op.h"

#include <stdatomic.h>

struct node_place {
	CUgraph graph;
	CUcontext ctx;
	const CUgraphNode *after;
	size_t after_count;
};

bool node_possible(const struct op *op);
CUresult node_add(const struct node_place *at, struct op *op, CUgraphNode *ret_node);
CUresult node_update(CUgraphExec exec, CUcontext ctx, CUgraphNode node, struct op *op);
bool node_same_shape(const struct op *a, const struct op *b);
/* Of two with the same shape. */
bool node_same_params(struct op *a, struct op *b);
/* The program has set attributes of some stream: nodes have those of theirs. */
extern _Atomic bool node_inherits;
