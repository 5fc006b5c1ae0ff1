/*
 * Graphs. A node's work is a payload, the same triple of run, drop and data that an operation has,
 * shared by count between the graph, what was instantiated from it and launches under way: whoever
 * changes parameters puts a new payload in, and what is under way keeps the old one.
 */
#ifndef SIMCUDA_GRAPH_H
#define SIMCUDA_GRAPH_H

#include "api.h"

struct payload {
	int refs;
	enum op_type type;
	int (*run)(struct op *op);
	void (*drop)(struct op *op);
	void *data;
	const char *name;
	uint64_t cost;
};

struct node {
	struct graph *graph;
	CUgraphNodeType type;
	struct payload *work;  /* kernel, copy, fill, host */
	struct graph *child;
	struct event *event;
	uint64_t event_id;
	struct node **deps;
	int ndeps, capdeps, index;
	struct node *origin;   /* in the graph this one was cloned from */
	CUDA_MEMCPY3D copy;    /* as given, for GetParams */
	struct attrs *attrs;   /* of a kernel; NULL: none was ever set */
	struct node *next;
};

struct graph {
	struct node *nodes, **tail;
	int n;
	bool is_child;
};

struct plan;

struct step {
	struct node *origin;
	CUgraphNodeType type;
	struct payload *work;
	struct plan *child;
	struct event *event;
	uint64_t event_id;
	int priority;
	int *deps;
	int ndeps;
	bool disabled;
};

/* A graph made ready to launch: nodes in an order that respects the edges. */
struct plan {
	struct step *steps;
	int n, refs;
};

struct graph_exec {
	struct ctx *ctx;
	struct plan *plan;
	uint64_t flags, bytes;
};

struct capture {
	struct graph *graph;
	struct stream *origin;
	CUstreamCaptureMode mode;
	bool invalid, to_graph;
	uint64_t id;
	pthread_t thread;
	struct { struct stream *s; struct node **nodes; int n; } at[64]; /* what the next node of each stream depends on */
	int nat;
	struct capture *next;
};

struct graph *graph_create(void);
void graph_destroy(struct graph *g);
struct graph *graph_clone(const struct graph *g);
struct node *graph_add(struct graph *g, CUgraphNodeType type, struct node *const *deps, int ndeps);
void node_depend(struct node *n, struct node *on);
void node_remove(struct node *n);
struct payload *payload_from_op(struct op *op); /* takes it over */
struct payload *payload_get(struct payload *p);
void payload_put(struct payload *p);
void payload_set(struct payload **at, struct payload *p);
int plan_make(const struct graph *g, struct plan **ret_plan);
void plan_put(struct plan *p);
struct step *plan_find(struct plan *p, const struct node *n);
struct op *plan_op(struct ctx *ctx, struct plan *p);
int capture_child(struct stream *s, const struct graph *g);
int graph_kernel_payload(struct ctx *ctx, const CUDA_KERNEL_NODE_PARAMS *p, bool v2, struct payload **ret);
int graph_node_payload(struct ctx *ctx, const CUgraphNodeParams *p, struct payload **ret);

#endif
