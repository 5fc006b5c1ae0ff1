/* Graphs made ready to launch: instantiating, updating, launching. */
#include <stdlib.h>
#include <string.h>

#include "graph.h"

#define GRAPH(g) do { if (!handle_is(g, H_GRAPH)) LEAVE(misuse(CUDA_ERROR_INVALID_VALUE, "%p is no graph", (void *)(g))); } while (0)
#define EXEC(e) do { if (!handle_is(e, H_EXEC)) LEAVE(misuse(CUDA_ERROR_INVALID_VALUE, "%p is no executable graph", (void *)(e))); } while (0)

static CUresult instantiate(CUgraphExec *ret, CUgraph g, unsigned long long flags)
{
	struct ctx *ctx;
	struct graph_exec *e;
	struct plan *p;
	int rc;

	ENTER(ctx);
	GRAPH(g);
	if (!ret || flags & ~15ull)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	rc = capture_blocks(ctx, NULL, true);
	if (!rc)
		rc = plan_make(g, &p);
	if (rc)
		LEAVE(rc);
	if (!mem_charge((uint64_t)p->n * settings.graph_bytes)) {
		plan_put(p);
		LEAVE(CUDA_ERROR_OUT_OF_MEMORY);
	}
	e = calloc(1, sizeof(*e));
	if (!e)
		abort();
	e->ctx = ctx;
	e->bytes = (uint64_t)p->n * settings.graph_bytes;
	e->plan = p;
	e->flags = flags;
	handle_add(e, H_EXEC);
	clock_spend(clock_cost("instantiate") + (uint64_t)p->n * clock_cost("instantiate_node"));
	*ret = e;
	LEAVE(CUDA_SUCCESS);
}

CUresult cuGraphInstantiate(CUgraphExec *ret, CUgraph g, CUgraphNode *err, char *log, size_t n)
{
	CALL();
	return instantiate(ret, g, 0);
}

CUresult cuGraphInstantiate_v2(CUgraphExec *ret, CUgraph g, CUgraphNode *err, char *log, size_t n)
{
	CALL();
	return instantiate(ret, g, 0);
}

CUresult cuGraphInstantiateWithFlags(CUgraphExec *ret, CUgraph g, unsigned long long flags)
{
	CALL();
	return instantiate(ret, g, flags);
}

CUresult cuGraphInstantiateWithParams(CUgraphExec *ret, CUgraph g, CUDA_GRAPH_INSTANTIATE_PARAMS *p)
{
	CUresult rc;

	CALL();
	if (!p)
		return REFUSE(CUDA_ERROR_INVALID_VALUE);
	rc = instantiate(ret, g, p->flags);
	p->result_out = rc ? 1 : 0;
	p->hErrNode_out = NULL;
	return rc;
}

CUresult cuGraphExecDestroy(CUgraphExec e)
{
	ENTER_INIT();
	CALL();
	lock();
	EXEC(e);
	handle_remove(e);
	mem_uncharge(e->bytes);
	plan_put(e->plan);
	free(e);
	LEAVE(CUDA_SUCCESS);
}

CUresult cuGraphExecGetFlags(CUgraphExec e, cuuint64_t *flags)
{
	ENTER_INIT();
	CALL();
	lock();
	EXEC(e);
	if (!flags)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	*flags = e->flags;
	LEAVE(CUDA_SUCCESS);
}

CUresult cuGraphUpload(CUgraphExec e, CUstream h)
{
	struct ctx *ctx;
	struct stream *s;

	ENTER(ctx);
	CALL();
	EXEC(e);
	LEAVE(stream_of(ctx, h, &s));
}

/* Inside a capture a launch becomes a child graph with the nodes as they stand in the executable. */
static int capture_launch(struct stream *s, struct plan *p)
{
	struct graph *g = graph_create();
	struct node **made = calloc((size_t)p->n + 1, sizeof(*made));
	int rc;

	if (!made)
		abort();
	for (int i = 0; i < p->n; i++) {
		if (p->steps[i].child) {
			graph_destroy(g);
			free(made);
			return REFUSE(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
		}
		made[i] = graph_add(g, p->steps[i].disabled ? CU_GRAPH_NODE_TYPE_EMPTY : p->steps[i].type, NULL, 0);
		made[i]->work = p->steps[i].disabled ? NULL : payload_get(p->steps[i].work);
		made[i]->event = p->steps[i].event;
		made[i]->event_id = p->steps[i].event_id;
		for (int d = 0; d < p->steps[i].ndeps; d++)
			node_depend(made[i], made[p->steps[i].deps[d]]);
	}
	rc = capture_child(s, g);
	graph_destroy(g);
	free(made);
	return rc;
}

CUresult cuGraphLaunch(CUgraphExec e, CUstream h)
{
	struct ctx *ctx;
	struct stream *s;
	int rc;

	ENTER(ctx);
	CALL();
	EXEC(e);
	rc = stream_of(ctx, h, &s);
	if (rc)
		LEAVE(rc);
	if (s->capture)
		LEAVE(capture_launch(s, e->plan));
	rc = capture_blocks(ctx, s, false);
	if (rc)
		LEAVE(rc);
	clock_spend(clock_cost("graph_launch"));
	stats_nodes(e->plan->n);
	stream_submit(s, plan_op(ctx, e->plan));
	LEAVE(CUDA_SUCCESS);
}

/* The step of a node of the original graph, checked for its type. */
static struct step *step_of(CUgraphExec e, CUgraphNode n, CUgraphNodeType type)
{
	struct step *s;

	if (!handle_is(e, H_EXEC) || !handle_is(n, H_NODE))
		return NULL;
	s = plan_find(e->plan, n);
	return s && s->type == type ? s : NULL;
}

static CUresult set_kernel(CUgraphExec e, CUgraphNode n, const CUDA_KERNEL_NODE_PARAMS *p, bool v2)
{
	struct ctx *ctx;
	struct payload *w = NULL;
	struct step *s;
	int rc;

	ENTER(ctx);
	s = step_of(e, n, CU_GRAPH_NODE_TYPE_KERNEL);
	if (!s || !p)
		LEAVE(misuse(CUDA_ERROR_INVALID_VALUE, "updating what is no kernel node of this graph"));
	rc = graph_kernel_payload(ctx, p, v2, &w);
	if (!rc) {
		payload_set(&s->work, w);
		clock_spend(clock_cost("node_update"));
	}
	LEAVE(rc);
}

CUresult cuGraphExecKernelNodeSetParams(CUgraphExec e, CUgraphNode n, const CUDA_KERNEL_NODE_PARAMS *p)
{
	CALL();
	return set_kernel(e, n, p, false);
}

CUresult cuGraphExecKernelNodeSetParams_v2(CUgraphExec e, CUgraphNode n, const CUDA_KERNEL_NODE_PARAMS *p)
{
	CALL();
	return set_kernel(e, n, p, true);
}

static int set_generic(struct ctx *ctx, CUgraphExec e, CUgraphNode n, CUgraphNodeParams *p)
{
	struct payload *w = NULL;
	struct step *s = step_of(e, n, p->type);
	int rc;

	if (!s)
		return misuse(CUDA_ERROR_INVALID_VALUE, "updating what is no node of this type in this graph");
	if (p->type == CU_GRAPH_NODE_TYPE_EVENT_RECORD || p->type == CU_GRAPH_NODE_TYPE_WAIT_EVENT) {
		if (!handle_is(p->event.event, H_EVENT))
			return REFUSE(CUDA_ERROR_INVALID_VALUE);
		s->event = p->event.event;
		s->event_id = s->event->id;
		return 0;
	}
	rc = graph_node_payload(ctx, p, &w);
	if (rc)
		return rc;
	payload_set(&s->work, w);
	clock_spend(clock_cost("node_update"));
	return 0;
}

#define GENERIC(e, n, kind, member, value) do { \
	struct ctx *ctx; \
	CUgraphNodeParams p_ = {.type = (kind)}; \
	ENTER(ctx); \
	CALL(); \
	p_.member = (value); \
	LEAVE(set_generic(ctx, e, n, &p_)); \
} while (0)

CUresult cuGraphExecMemcpyNodeSetParams(CUgraphExec e, CUgraphNode n, const CUDA_MEMCPY3D *p, CUcontext c)
{
	if (!p)
		return REFUSE(CUDA_ERROR_INVALID_VALUE);
	GENERIC(e, n, CU_GRAPH_NODE_TYPE_MEMCPY, memcpy.copyParams, *p);
}

CUresult cuGraphExecMemsetNodeSetParams(CUgraphExec e, CUgraphNode n, const CUDA_MEMSET_NODE_PARAMS *p, CUcontext c)
{
	if (!p)
		return REFUSE(CUDA_ERROR_INVALID_VALUE);
	GENERIC(e, n, CU_GRAPH_NODE_TYPE_MEMSET, memset.p, *p);
}

CUresult cuGraphExecHostNodeSetParams(CUgraphExec e, CUgraphNode n, const CUDA_HOST_NODE_PARAMS *p)
{
	if (!p)
		return REFUSE(CUDA_ERROR_INVALID_VALUE);
	GENERIC(e, n, CU_GRAPH_NODE_TYPE_HOST, host, *p);
}

CUresult cuGraphExecEventRecordNodeSetEvent(CUgraphExec e, CUgraphNode n, CUevent event)
{
	GENERIC(e, n, CU_GRAPH_NODE_TYPE_EVENT_RECORD, event.event, event);
}

CUresult cuGraphExecEventWaitNodeSetEvent(CUgraphExec e, CUgraphNode n, CUevent event)
{
	GENERIC(e, n, CU_GRAPH_NODE_TYPE_WAIT_EVENT, event.event, event);
}

CUresult cuGraphExecNodeSetParams(CUgraphExec e, CUgraphNode n, CUgraphNodeParams *p)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	LEAVE(p ? set_generic(ctx, e, n, p) : CUDA_ERROR_INVALID_VALUE);
}

CUresult cuGraphNodeSetEnabled(CUgraphExec e, CUgraphNode n, unsigned int enabled)
{
	struct step *s;

	ENTER_INIT();
	CALL();
	lock();
	EXEC(e);
	s = handle_is(n, H_NODE) ? plan_find(e->plan, n) : NULL;
	if (!s || s->type > CU_GRAPH_NODE_TYPE_MEMSET)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	s->disabled = !enabled;
	LEAVE(CUDA_SUCCESS);
}

CUresult cuGraphNodeGetEnabled(CUgraphExec e, CUgraphNode n, unsigned int *enabled)
{
	struct step *s;

	ENTER_INIT();
	CALL();
	lock();
	EXEC(e);
	s = handle_is(n, H_NODE) ? plan_find(e->plan, n) : NULL;
	if (!s || !enabled)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	*enabled = !s->disabled;
	LEAVE(CUDA_SUCCESS);
}

/* Two plans of one topology: same number, same types, same edges, in the order of making. */
static int compare(const struct plan *old, const struct plan *new, int *ret_at)
{
	*ret_at = -1;
	if (old->n != new->n)
		return CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
	for (int i = 0; i < old->n; i++) {
		const struct step *a = &old->steps[i], *b = &new->steps[i];

		*ret_at = i;
		if (a->type != b->type)
			return CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED;
		if (a->ndeps != b->ndeps || memcmp(a->deps, b->deps, sizeof(int) * (size_t)a->ndeps))
			return CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
		if (a->child) {
			int ignored, rc = compare(a->child, b->child, &ignored);

			if (rc)
				return rc;
		}
	}
	*ret_at = -1;
	return 0;
}

/* The executable keeps answering to the nodes it was made from. */
static void take_payloads(struct plan *old, const struct plan *new)
{
	for (int i = 0; i < old->n; i++) {
		payload_set(&old->steps[i].work, payload_get(new->steps[i].work));
		old->steps[i].event = new->steps[i].event;
		old->steps[i].event_id = new->steps[i].event_id;
		if (old->steps[i].child)
			take_payloads(old->steps[i].child, new->steps[i].child);
	}
}

static CUresult update(CUgraphExec e, CUgraph g, int *ret_result, CUgraphNode *ret_node)
{
	struct plan *p;
	int rc, at = -1, result;

	ENTER_INIT();
	lock();
	EXEC(e);
	GRAPH(g);
	rc = plan_make(g, &p);
	if (rc)
		LEAVE(rc);
	result = compare(e->plan, p, &at);
	if (ret_result)
		*ret_result = result;
	if (ret_node)
		*ret_node = at >= 0 ? p->steps[at].origin : NULL;
	if (!result)
		take_payloads(e->plan, p);
	clock_spend((uint64_t)p->n * clock_cost("node_update"));
	plan_put(p);
	LEAVE(result ? CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE : CUDA_SUCCESS);
}

CUresult cuGraphExecUpdate(CUgraphExec e, CUgraph g, CUgraphNode *node, int *result)
{
	CALL();
	return update(e, g, result, node);
}

CUresult cuGraphExecUpdate_v2(CUgraphExec e, CUgraph g, CUgraphExecUpdateResultInfo *info)
{
	CUgraphNode node = NULL;
	int result = 0;
	CUresult rc;

	CALL();
	rc = update(e, g, &result, &node);
	if (info)
		*info = (CUgraphExecUpdateResultInfo){result, node, NULL};
	return rc;
}

CUresult cuGraphExecChildGraphNodeSetParams(CUgraphExec e, CUgraphNode n, CUgraph child)
{
	struct step *s;
	struct plan *p;
	int rc, at;

	ENTER_INIT();
	CALL();
	lock();
	GRAPH(child);
	s = step_of(e, n, CU_GRAPH_NODE_TYPE_GRAPH);
	if (!s)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	rc = plan_make(child, &p);
	if (rc)
		LEAVE(rc);
	if (compare(s->child, p, &at))
		rc = CUDA_ERROR_INVALID_VALUE;
	else
		take_payloads(s->child, p);
	plan_put(p);
	LEAVE(rc);
}
