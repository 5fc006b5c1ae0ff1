/* Stream capture: operations become nodes; events carry dependencies from stream to stream. */
#include <stdlib.h>
#include <string.h>

#include "graph.h"

static struct capture *captures;
static uint64_t next_id = 1;

static int position(struct capture *c, struct stream *s)
{
	for (int i = 0; i < c->nat; i++)
		if (c->at[i].s == s)
			return i;
	return -1;
}

static void set_deps(struct capture *c, struct stream *s, struct node *const *nodes, int n)
{
	int i = position(c, s);
	struct node **copy;

	if (i < 0) {
		if (c->nat == 64) {
			c->invalid = true;
			return;
		}
		i = c->nat++;
		c->at[i].s = s;
		c->at[i].nodes = NULL;
	}
	copy = malloc(sizeof(*copy) * (size_t)(n + 1));
	if (!copy)
		abort();
	if (n)
		memcpy(copy, nodes, sizeof(*copy) * (size_t)n);
	free(c->at[i].nodes);
	c->at[i].nodes = copy;
	c->at[i].n = n;
	s->capture = c;
}

static void add_deps(struct capture *c, struct stream *s, struct node *const *nodes, int n)
{
	int i = position(c, s), have = i < 0 ? 0 : c->at[i].n;
	struct node **all = malloc(sizeof(*all) * (size_t)(have + n + 1));

	if (!all)
		abort();
	if (have)
		memcpy(all, c->at[i].nodes, sizeof(*all) * (size_t)have);
	for (int k = 0; k < n; k++) {
		bool dup = false;

		for (int j = 0; j < have; j++)
			dup |= all[j] == nodes[k];
		if (!dup)
			all[have++] = nodes[k];
	}
	set_deps(c, s, all, have);
	free(all);
}

static CUgraphNodeType node_type(enum op_type t)
{
	switch (t) {
	case OPT_KERNEL: return CU_GRAPH_NODE_TYPE_KERNEL;
	case OPT_MEMCPY: return CU_GRAPH_NODE_TYPE_MEMCPY;
	case OPT_MEMSET: return CU_GRAPH_NODE_TYPE_MEMSET;
	case OPT_HOST: return CU_GRAPH_NODE_TYPE_HOST;
	default: return CU_GRAPH_NODE_TYPE_EMPTY;
	}
}

bool capture_takes(struct stream *s, struct op *op, int *ret)
{
	struct capture *c = s->capture;
	struct node *n;
	int i;

	if (!c)
		return false;
	if (c->invalid || op->type == OPT_VALUE || op->type == OPT_GRAPH) {
		*ret = c->invalid ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED : CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
		op_free(op);
		return true;
	}
	i = position(c, s);
	n = graph_add(c->graph, node_type(op->type), c->at[i].nodes, c->at[i].n);
	n->work = payload_from_op(op);
	if (n->type == CU_GRAPH_NODE_TYPE_KERNEL)
		attrs_of_stream(&n->attrs, s);
	set_deps(c, s, &n, 1);
	*ret = 0;
	return true;
}

/* A graph launched into a capturing stream becomes a child. */
int capture_child(struct stream *s, const struct graph *g)
{
	struct capture *c = s->capture;
	int i = position(c, s);
	struct node *n = graph_add(c->graph, CU_GRAPH_NODE_TYPE_GRAPH, c->at[i].nodes, c->at[i].n);

	n->child = graph_clone(g);
	set_deps(c, s, &n, 1);
	return 0;
}

bool capture_event(struct stream *s, struct event *e, int *ret)
{
	struct capture *c = s->capture;
	int i;

	if (!c) {
		e->capture = NULL;
		return false;
	}
	*ret = c->invalid ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED : 0;
	i = position(c, s);
	free(e->cap_nodes);
	e->capture = c;
	e->ncap_nodes = c->at[i].n;
	e->cap_nodes = malloc(sizeof(*e->cap_nodes) * (size_t)(e->ncap_nodes + 1));
	if (!e->cap_nodes)
		abort();
	memcpy(e->cap_nodes, c->at[i].nodes, sizeof(*e->cap_nodes) * (size_t)e->ncap_nodes);
	return true;
}

bool capture_wait(struct stream *s, struct event *e, int *ret)
{
	*ret = 0;
	if (!s->capture && !e->capture)
		return false;
	if (s->capture && s->capture->invalid) {
		*ret = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
	} else if (!e->capture) {
		/* A wait for work outside the capture. */
		s->capture->invalid = true;
		*ret = CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
	} else if (s->capture && s->capture != e->capture) {
		s->capture->invalid = e->capture->invalid = true;
		*ret = CUDA_ERROR_STREAM_CAPTURE_MERGE;
	} else if (s->legacy) {
		*ret = CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
	} else {
		add_deps(e->capture, s, e->cap_nodes, e->ncap_nodes);
	}
	return true;
}

/*
 * What a capture forbids. On the capturing stream: to ask for its end. On the legacy stream: anything,
 * as it would wait for a blocking stream that is being captured. Unsafe calls (allocation, waiting for
 * the whole device): while this thread, or any thread in global mode, captures.
 */
int capture_blocks(struct ctx *ctx, struct stream *s, bool unsafe)
{
	if (!captures)
		return 0;
	if (s && s->capture) {
		s->capture->invalid = true;
		return REFUSE(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
	}
	for (struct capture *c = captures; c; c = c->next) {
		bool mine = pthread_equal(c->thread, pthread_self());

		if (s && s->legacy && c->origin->ctx == ctx && !(c->origin->flags & CU_STREAM_NON_BLOCKING)) {
			c->invalid = true;
			return REFUSE(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
		}
		if (!unsafe || tls.capture_mode == CU_STREAM_CAPTURE_MODE_RELAXED || c->mode == CU_STREAM_CAPTURE_MODE_RELAXED)
			continue;
		if (mine || (c->mode == CU_STREAM_CAPTURE_MODE_GLOBAL && tls.capture_mode == CU_STREAM_CAPTURE_MODE_GLOBAL)) {
			c->invalid = true;
			return REFUSE(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
		}
	}
	return 0;
}

static void forget_events(struct capture *c)
{
	for (int i = 0; i < c->nat; i++)
		for (struct event *e = c->at[i].s->ctx->events; e; e = e->next)
			if (e->capture == c) {
				e->capture = NULL;
				free(e->cap_nodes);
				e->cap_nodes = NULL;
				e->ncap_nodes = 0;
			}
}

static void capture_free(struct capture *c)
{
	for (struct capture **p = &captures; *p; p = &(*p)->next)
		if (*p == c) {
			*p = c->next;
			break;
		}
	forget_events(c);
	for (int i = 0; i < c->nat; i++) {
		if (c->at[i].s->capture == c)
			c->at[i].s->capture = NULL;
		free(c->at[i].nodes);
	}
	free(c);
}

void capture_stream_gone(struct stream *s)
{
	struct capture *c = s->capture;
	int i;

	if (!c)
		return;
	c->invalid = true;
	i = position(c, s);
	if (c->origin == s) {
		if (!c->to_graph)
			graph_destroy(c->graph);
		capture_free(c);
	} else if (i >= 0) {
		free(c->at[i].nodes);
		c->at[i] = c->at[--c->nat];
		s->capture = NULL;
	}
}

/* Marks everything the origin's last nodes depend on, then looks whether the other streams' ends are among it. */
static bool joined(struct capture *c)
{
	int o = position(c, c->origin), n = c->graph->n;
	bool *seen = calloc((size_t)n + 1, sizeof(bool)), ok = true;

	if (!seen)
		abort();
	for (int i = 0; i < c->at[o].n; i++)
		seen[c->at[o].nodes[i]->index] = true;
	for (int idx = n - 1; idx >= 0; idx--) {
		struct node *node = c->graph->nodes;

		if (!seen[idx])
			continue;
		while (node && node->index != idx)
			node = node->next;
		for (int d = 0; node && d < node->ndeps; d++)
			seen[node->deps[d]->index] = true;
	}
	for (int i = 0; i < c->nat; i++)
		for (int k = 0; k < c->at[i].n && i != o; k++)
			ok = ok && seen[c->at[i].nodes[k]->index];
	free(seen);
	return ok;
}

static CUresult begin(CUstream h, CUstreamCaptureMode mode, struct graph *into, struct node *const *deps, size_t ndeps)
{
	struct ctx *ctx;
	struct stream *s;
	struct capture *c;
	int rc;

	ENTER(ctx);
	rc = stream_of(ctx, h, &s);
	if (rc)
		LEAVE(rc);
	if (s->legacy)
		LEAVE(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
	if (s->capture || mode > CU_STREAM_CAPTURE_MODE_RELAXED)
		LEAVE(s->capture ? CUDA_ERROR_ILLEGAL_STATE : CUDA_ERROR_INVALID_VALUE);
	c = calloc(1, sizeof(*c));
	if (!c)
		abort();
	c->graph = into ? into : graph_create();
	c->to_graph = into != NULL;
	c->origin = s;
	c->mode = mode;
	c->id = next_id++;
	c->thread = pthread_self();
	c->next = captures;
	captures = c;
	set_deps(c, s, deps, (int)ndeps);
	LEAVE(CUDA_SUCCESS);
}

CUresult cuStreamBeginCapture_v2(CUstream h, CUstreamCaptureMode mode)
{
	CALL();
	return begin(h, mode, NULL, NULL, 0);
}

CUresult cuStreamBeginCaptureToGraph(CUstream h, CUgraph g, const CUgraphNode *deps, const CUgraphEdgeData *data, size_t n,
				     CUstreamCaptureMode mode)
{
	CALL();
	return g ? begin(h, mode, g, deps, n) : REFUSE(CUDA_ERROR_INVALID_VALUE);
}

CUresult cuStreamEndCapture(CUstream h, CUgraph *ret)
{
	struct ctx *ctx;
	struct stream *s;
	struct capture *c;
	struct graph *g;
	bool keep;
	int rc;

	ENTER(ctx);
	CALL();
	rc = stream_of(ctx, h, &s);
	if (rc || !ret)
		LEAVE(rc ? rc : CUDA_ERROR_INVALID_VALUE);
	*ret = NULL;
	c = s->capture;
	if (!c)
		LEAVE(CUDA_ERROR_ILLEGAL_STATE);
	if (c->origin != s)
		LEAVE(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
	if (c->mode != CU_STREAM_CAPTURE_MODE_RELAXED && !pthread_equal(c->thread, pthread_self()))
		LEAVE(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD);
	rc = c->invalid ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED : joined(c) ? 0 : CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
	g = c->graph;
	keep = c->to_graph;
	capture_free(c);
	if (!rc)
		*ret = g;
	else if (!keep)
		graph_destroy(g);
	LEAVE(rc);
}

CUresult cuStreamIsCapturing(CUstream h, CUstreamCaptureStatus *status)
{
	struct ctx *ctx;
	struct stream *s;
	int rc;

	ENTER(ctx);
	CALL();
	rc = status ? stream_of(ctx, h, &s) : CUDA_ERROR_INVALID_VALUE;
	if (!rc && s->legacy)
		for (struct capture *c = captures; c; c = c->next)
			if (c->origin->ctx == ctx && !(c->origin->flags & CU_STREAM_NON_BLOCKING))
				LEAVE(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
	if (!rc)
		*status = !s->capture ? CU_STREAM_CAPTURE_STATUS_NONE
			: s->capture->invalid ? CU_STREAM_CAPTURE_STATUS_INVALIDATED : CU_STREAM_CAPTURE_STATUS_ACTIVE;
	LEAVE(rc);
}

static CUresult info(CUstream h, CUstreamCaptureStatus *status, cuuint64_t *id, CUgraph *g, const CUgraphNode **deps,
		     const CUgraphEdgeData **edges, size_t *n)
{
	struct ctx *ctx;
	struct stream *s;
	struct capture *c;
	int rc, i;

	ENTER(ctx);
	rc = status ? stream_of(ctx, h, &s) : CUDA_ERROR_INVALID_VALUE;
	if (rc)
		LEAVE(rc);
	c = s->capture;
	*status = !c ? CU_STREAM_CAPTURE_STATUS_NONE : c->invalid ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
								   : CU_STREAM_CAPTURE_STATUS_ACTIVE;
	if (!c || c->invalid)
		LEAVE(CUDA_SUCCESS);
	i = position(c, s);
	if (id)
		*id = c->id;
	if (g)
		*g = c->graph;
	if (deps)
		*deps = c->at[i].nodes;
	if (edges)
		*edges = NULL;
	if (n)
		*n = (size_t)c->at[i].n;
	LEAVE(CUDA_SUCCESS);
}

CUresult cuStreamGetCaptureInfo(CUstream h, CUstreamCaptureStatus *status, cuuint64_t *id)
{
	CALL();
	return info(h, status, id, NULL, NULL, NULL, NULL);
}

CUresult cuStreamGetCaptureInfo_v2(CUstream h, CUstreamCaptureStatus *status, cuuint64_t *id, CUgraph *g, const CUgraphNode **deps,
				   size_t *n)
{
	CALL();
	return info(h, status, id, g, deps, NULL, n);
}

CUresult cuStreamGetCaptureInfo_v3(CUstream h, CUstreamCaptureStatus *status, cuuint64_t *id, CUgraph *g, const CUgraphNode **deps,
				   const CUgraphEdgeData **edges, size_t *n)
{
	CALL();
	return info(h, status, id, g, deps, edges, n);
}

static CUresult update_deps(CUstream h, CUgraphNode *deps, size_t n, unsigned flags)
{
	struct ctx *ctx;
	struct stream *s;
	int rc;

	ENTER(ctx);
	rc = stream_of(ctx, h, &s);
	if (!rc && !s->capture)
		rc = CUDA_ERROR_ILLEGAL_STATE;
	if (rc || flags > 1 || (n && !deps))
		LEAVE(rc ? rc : CUDA_ERROR_INVALID_VALUE);
	if (flags == 1)
		set_deps(s->capture, s, deps, (int)n);
	else
		add_deps(s->capture, s, deps, (int)n);
	LEAVE(CUDA_SUCCESS);
}

CUresult cuStreamUpdateCaptureDependencies(CUstream h, CUgraphNode *deps, size_t n, unsigned int flags)
{
	CALL();
	return update_deps(h, deps, n, flags);
}

CUresult cuStreamUpdateCaptureDependencies_v2(CUstream h, CUgraphNode *deps, const CUgraphEdgeData *data, size_t n,
					      unsigned int flags)
{
	CALL();
	return update_deps(h, deps, n, flags);
}

CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode)
{
	int old = tls.capture_mode;

	CALL();
	if (!mode || *mode > CU_STREAM_CAPTURE_MODE_RELAXED)
		return REFUSE(CUDA_ERROR_INVALID_VALUE);
	tls.capture_mode = (int)*mode;
	*mode = (CUstreamCaptureMode)old;
	return CUDA_SUCCESS;
}
