/* Building graphs: nodes, edges, parameters. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph.h"

#define GRAPH(g) do { if (!handle_is(g, H_GRAPH)) LEAVE(misuse(CUDA_ERROR_INVALID_VALUE, "%p is no graph", (void *)(g))); } while (0)
#define NODE(n) do { if (!handle_is(n, H_NODE)) LEAVE(misuse(CUDA_ERROR_INVALID_VALUE, "%p is no node", (void *)(n))); } while (0)

CUresult cuGraphCreate(CUgraph *ret, unsigned int flags)
{
	ENTER_INIT();
	CALL();
	if (!ret || flags)
		return REFUSE(CUDA_ERROR_INVALID_VALUE);
	lock();
	*ret = graph_create();
	LEAVE(CUDA_SUCCESS);
}

CUresult cuGraphDestroy(CUgraph g)
{
	ENTER_INIT();
	CALL();
	lock();
	GRAPH(g);
	if (g->is_child)
		LEAVE(misuse(CUDA_ERROR_INVALID_VALUE, "destroying a child graph, which its node owns"));
	graph_destroy(g);
	LEAVE(CUDA_SUCCESS);
}

CUresult cuGraphClone(CUgraph *ret, CUgraph g)
{
	ENTER_INIT();
	CALL();
	lock();
	GRAPH(g);
	if (!ret)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	*ret = graph_clone(g);
	LEAVE(CUDA_SUCCESS);
}

/* Adds a node of the type; work may be NULL. Takes work over. */
static int add(CUgraphNode *ret, CUgraph g, const CUgraphNode *deps, size_t n, CUgraphNodeType type, struct payload *work)
{
	int rc = 0;

	if (!ret || !handle_is(g, H_GRAPH) || (n && !deps))
		rc = CUDA_ERROR_INVALID_VALUE;
	for (size_t i = 0; i < n && !rc; i++)
		if (!handle_is(deps[i], H_NODE) || deps[i]->graph != g)
			rc = misuse(CUDA_ERROR_INVALID_VALUE, "a dependency that is no node of this graph");
	if (rc) {
		payload_put(work);
		return rc;
	}
	*ret = graph_add(g, type, deps, (int)n);
	(*ret)->work = work;
	return 0;
}

static int kernel_payload(struct ctx *ctx, const CUDA_KERNEL_NODE_PARAMS *p, bool v2, struct payload **ret)
{
	CUfunction f = p->func ? p->func : v2 ? p->kern : NULL;
	struct kernel_args *a;
	int rc = kernel_args_make(ctx, f, (unsigned[]){p->gridDimX, p->gridDimY, p->gridDimZ},
				  (unsigned[]){p->blockDimX, p->blockDimY, p->blockDimZ}, p->sharedMemBytes, p->kernelParams,
				  p->extra, false, &a);

	if (!rc)
		*ret = payload_from_op(kernel_op(ctx, a));
	return rc;
}

static int copy_payload(const CUDA_MEMCPY3D *p, struct payload **ret)
{
	struct copy c;
	int rc = copy_from_3d(p, &c);

	if (!rc)
		*ret = payload_from_op(copy_op(&c));
	return rc;
}

static int fill_payload(const CUDA_MEMSET_NODE_PARAMS *p, struct payload **ret)
{
	struct fill f = {p->dst, p->pitch, p->width, p->height, p->value, p->elementSize};
	int rc = fill_check(&f);

	if (!rc)
		*ret = payload_from_op(fill_op(&f));
	return rc;
}

static int host_payload(const CUDA_HOST_NODE_PARAMS *p, struct payload **ret)
{
	if (!p->fn)
		return REFUSE(CUDA_ERROR_INVALID_VALUE);
	*ret = payload_from_op(host_op(p->fn, NULL, NULL, p->userData));
	return 0;
}

static CUresult add_kernel(CUgraphNode *ret, CUgraph g, const CUgraphNode *deps, size_t n, const CUDA_KERNEL_NODE_PARAMS *p, bool v2)
{
	struct ctx *ctx;
	struct payload *w = NULL;
	int rc;

	ENTER(ctx);
	rc = p ? kernel_payload(ctx, p, v2, &w) : CUDA_ERROR_INVALID_VALUE;
	LEAVE(rc ? rc : add(ret, g, deps, n, CU_GRAPH_NODE_TYPE_KERNEL, w));
}

CUresult cuGraphAddKernelNode(CUgraphNode *ret, CUgraph g, const CUgraphNode *deps, size_t n, const CUDA_KERNEL_NODE_PARAMS *p)
{
	CALL();
	return add_kernel(ret, g, deps, n, p, false);
}

CUresult cuGraphAddKernelNode_v2(CUgraphNode *ret, CUgraph g, const CUgraphNode *deps, size_t n, const CUDA_KERNEL_NODE_PARAMS *p)
{
	CALL();
	return add_kernel(ret, g, deps, n, p, true);
}

CUresult cuGraphAddMemcpyNode(CUgraphNode *ret, CUgraph g, const CUgraphNode *deps, size_t n, const CUDA_MEMCPY3D *p, CUcontext c)
{
	struct ctx *ctx;
	struct payload *w = NULL;
	int rc;

	ENTER(ctx);
	CALL();
	rc = p ? copy_payload(p, &w) : CUDA_ERROR_INVALID_VALUE;
	if (!rc)
		rc = add(ret, g, deps, n, CU_GRAPH_NODE_TYPE_MEMCPY, w);
	if (!rc)
		(*ret)->copy = *p;
	LEAVE(rc);
}

CUresult cuGraphAddMemsetNode(CUgraphNode *ret, CUgraph g, const CUgraphNode *deps, size_t n, const CUDA_MEMSET_NODE_PARAMS *p,
			      CUcontext c)
{
	struct ctx *ctx;
	struct payload *w = NULL;
	int rc;

	ENTER(ctx);
	CALL();
	rc = p ? fill_payload(p, &w) : CUDA_ERROR_INVALID_VALUE;
	LEAVE(rc ? rc : add(ret, g, deps, n, CU_GRAPH_NODE_TYPE_MEMSET, w));
}

CUresult cuGraphAddHostNode(CUgraphNode *ret, CUgraph g, const CUgraphNode *deps, size_t n, const CUDA_HOST_NODE_PARAMS *p)
{
	struct payload *w = NULL;
	int rc;

	ENTER_INIT();
	CALL();
	lock();
	rc = p ? host_payload(p, &w) : CUDA_ERROR_INVALID_VALUE;
	LEAVE(rc ? rc : add(ret, g, deps, n, CU_GRAPH_NODE_TYPE_HOST, w));
}

CUresult cuGraphAddEmptyNode(CUgraphNode *ret, CUgraph g, const CUgraphNode *deps, size_t n)
{
	ENTER_INIT();
	CALL();
	lock();
	LEAVE(add(ret, g, deps, n, CU_GRAPH_NODE_TYPE_EMPTY, NULL));
}

CUresult cuGraphAddChildGraphNode(CUgraphNode *ret, CUgraph g, const CUgraphNode *deps, size_t n, CUgraph child)
{
	int rc;

	ENTER_INIT();
	CALL();
	lock();
	GRAPH(child);
	rc = add(ret, g, deps, n, CU_GRAPH_NODE_TYPE_GRAPH, NULL);
	if (!rc) {
		(*ret)->child = graph_clone(child);
		(*ret)->child->is_child = true;
	}
	LEAVE(rc);
}

CUresult cuGraphChildGraphNodeGetGraph(CUgraphNode node, CUgraph *ret)
{
	ENTER_INIT();
	CALL();
	lock();
	NODE(node);
	if (!ret || !node->child)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	*ret = node->child;
	LEAVE(CUDA_SUCCESS);
}

static CUresult add_event(CUgraphNode *ret, CUgraph g, const CUgraphNode *deps, size_t n, CUevent e, CUgraphNodeType type)
{
	int rc;

	ENTER_INIT();
	lock();
	if (!handle_is(e, H_EVENT))
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	rc = add(ret, g, deps, n, type, NULL);
	if (!rc) {
		(*ret)->event = e;
		(*ret)->event_id = e->id;
	}
	LEAVE(rc);
}

CUresult cuGraphAddEventRecordNode(CUgraphNode *ret, CUgraph g, const CUgraphNode *deps, size_t n, CUevent e)
{
	CALL();
	return add_event(ret, g, deps, n, e, CU_GRAPH_NODE_TYPE_EVENT_RECORD);
}

CUresult cuGraphAddEventWaitNode(CUgraphNode *ret, CUgraph g, const CUgraphNode *deps, size_t n, CUevent e)
{
	CALL();
	return add_event(ret, g, deps, n, e, CU_GRAPH_NODE_TYPE_WAIT_EVENT);
}

static CUresult get_event(CUgraphNode node, CUevent *ret)
{
	ENTER_INIT();
	lock();
	NODE(node);
	if (!ret || !node->event)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	*ret = node->event;
	LEAVE(CUDA_SUCCESS);
}

static CUresult set_event(CUgraphNode node, CUevent e)
{
	ENTER_INIT();
	lock();
	NODE(node);
	if (!handle_is(e, H_EVENT) || !node->event)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	node->event = e;
	node->event_id = e->id;
	LEAVE(CUDA_SUCCESS);
}

CUresult cuGraphEventRecordNodeGetEvent(CUgraphNode node, CUevent *ret)
{
	return get_event(node, ret);
}

CUresult cuGraphEventWaitNodeGetEvent(CUgraphNode node, CUevent *ret)
{
	return get_event(node, ret);
}

CUresult cuGraphEventRecordNodeSetEvent(CUgraphNode node, CUevent e)
{
	return set_event(node, e);
}

CUresult cuGraphEventWaitNodeSetEvent(CUgraphNode node, CUevent e)
{
	return set_event(node, e);
}

/* The generic form: one structure for every type. */
static int node_payload(struct ctx *ctx, const CUgraphNodeParams *p, struct payload **ret)
{
	switch (p->type) {
	case CU_GRAPH_NODE_TYPE_KERNEL: return kernel_payload(ctx, &p->kernel, true, ret);
	case CU_GRAPH_NODE_TYPE_MEMCPY: return copy_payload(&p->memcpy.copyParams, ret);
	case CU_GRAPH_NODE_TYPE_MEMSET: return fill_payload(&p->memset.p, ret);
	case CU_GRAPH_NODE_TYPE_HOST: return host_payload(&p->host, ret);
	case CU_GRAPH_NODE_TYPE_EMPTY: return 0;
	default: return REFUSE(CUDA_ERROR_NOT_SUPPORTED);
	}
}

static CUresult add_node(CUgraphNode *ret, CUgraph g, const CUgraphNode *deps, size_t n, CUgraphNodeParams *p)
{
	struct ctx *ctx;
	struct payload *w = NULL;
	int rc;

	if (!p)
		return REFUSE(CUDA_ERROR_INVALID_VALUE);
	if (p->type == CU_GRAPH_NODE_TYPE_GRAPH)
		return cuGraphAddChildGraphNode(ret, g, deps, n, p->graph.graph);
	if (p->type == CU_GRAPH_NODE_TYPE_EVENT_RECORD || p->type == CU_GRAPH_NODE_TYPE_WAIT_EVENT)
		return add_event(ret, g, deps, n, p->event.event, p->type);
	ENTER(ctx);
	rc = node_payload(ctx, p, &w);
	if (!rc)
		rc = add(ret, g, deps, n, p->type, w);
	if (!rc && p->type == CU_GRAPH_NODE_TYPE_MEMCPY)
		(*ret)->copy = p->memcpy.copyParams;
	LEAVE(rc);
}

CUresult cuGraphAddNode(CUgraphNode *ret, CUgraph g, const CUgraphNode *deps, size_t n, CUgraphNodeParams *p)
{
	CALL();
	return add_node(ret, g, deps, n, p);
}

CUresult cuGraphAddNode_v2(CUgraphNode *ret, CUgraph g, const CUgraphNode *deps, const CUgraphEdgeData *data, size_t n,
			   CUgraphNodeParams *p)
{
	CALL();
	return add_node(ret, g, deps, n, p);
}

CUresult cuGraphNodeSetParams(CUgraphNode node, CUgraphNodeParams *p)
{
	struct ctx *ctx;
	struct payload *w = NULL;
	int rc;

	ENTER(ctx);
	CALL();
	NODE(node);
	rc = p && p->type == node->type ? node_payload(ctx, p, &w) : CUDA_ERROR_INVALID_VALUE;
	if (!rc)
		payload_set(&node->work, w);
	LEAVE(rc);
}

/* The parameters of a kernel node: pointers into its own copy, valid until they are changed. */
static CUresult get_kernel(CUgraphNode node, CUDA_KERNEL_NODE_PARAMS *p, bool v2)
{
	struct kernel_args *a;

	ENTER_INIT();
	lock();
	NODE(node);
	if (!p || node->type != CU_GRAPH_NODE_TYPE_KERNEL)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	a = node->work->data;
	if (!handle_is(a->fn, H_FUNC))
		LEAVE(misuse(CUDA_ERROR_INVALID_HANDLE, "the node's kernel is unloaded"));
	if (!a->list) {
		a->list = calloc(a->fn->code->nparams + 1, sizeof(void *));
		if (!a->list)
			abort();
		for (uint32_t i = 0; i < a->fn->code->nparams; i++)
			a->list[i] = a->params + a->fn->code->params[i].off;
	}
	p->func = a->fn;
	p->gridDimX = a->grid[0];
	p->gridDimY = a->grid[1];
	p->gridDimZ = a->grid[2];
	p->blockDimX = a->block[0];
	p->blockDimY = a->block[1];
	p->blockDimZ = a->block[2];
	p->sharedMemBytes = a->shared;
	p->kernelParams = a->list;
	p->extra = NULL;
	if (v2) {
		p->kern = NULL;
		p->ctx = NULL;
	}
	LEAVE(CUDA_SUCCESS);
}

CUresult cuGraphKernelNodeGetParams(CUgraphNode node, CUDA_KERNEL_NODE_PARAMS *p)
{
	CALL();
	return get_kernel(node, p, false);
}

CUresult cuGraphKernelNodeGetParams_v2(CUgraphNode node, CUDA_KERNEL_NODE_PARAMS *p)
{
	CALL();
	return get_kernel(node, p, true);
}

/* Entries that give a node of one type other parameters. */
#define SETTER(entry, kind, params, make)                                                          \
	CUresult entry(CUgraphNode node, const params *p)                                          \
	{                                                                                          \
		struct ctx *ctx;                                                                   \
		struct payload *w = NULL;                                                          \
		int rc;                                                                            \
                                                                                                   \
		ENTER(ctx);                                                                        \
		CALL();                                                                            \
		NODE(node);                                                                        \
		rc = p && node->type == kind ? make : CUDA_ERROR_INVALID_VALUE;                    \
		if (!rc)                                                                           \
			payload_set(&node->work, w);                                               \
		LEAVE(rc);                                                                         \
	}
SETTER(cuGraphKernelNodeSetParams, CU_GRAPH_NODE_TYPE_KERNEL, CUDA_KERNEL_NODE_PARAMS, kernel_payload(ctx, p, false, &w))
SETTER(cuGraphKernelNodeSetParams_v2, CU_GRAPH_NODE_TYPE_KERNEL, CUDA_KERNEL_NODE_PARAMS, kernel_payload(ctx, p, true, &w))
SETTER(cuGraphMemsetNodeSetParams, CU_GRAPH_NODE_TYPE_MEMSET, CUDA_MEMSET_NODE_PARAMS, fill_payload(p, &w))

CUresult cuGraphMemcpyNodeGetParams(CUgraphNode node, CUDA_MEMCPY3D *p)
{
	ENTER_INIT();
	CALL();
	lock();
	NODE(node);
	if (!p || node->type != CU_GRAPH_NODE_TYPE_MEMCPY)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	if (!node->copy.Depth) /* captured: told in unified addresses */
		copy_to_3d(node->work->data, &node->copy);
	*p = node->copy;
	LEAVE(CUDA_SUCCESS);
}

CUresult cuGraphMemcpyNodeSetParams(CUgraphNode node, const CUDA_MEMCPY3D *p)
{
	struct ctx *ctx;
	struct payload *w = NULL;
	int rc;

	ENTER(ctx);
	CALL();
	NODE(node);
	rc = p && node->type == CU_GRAPH_NODE_TYPE_MEMCPY ? copy_payload(p, &w) : CUDA_ERROR_INVALID_VALUE;
	if (!rc) {
		payload_set(&node->work, w);
		node->copy = *p;
	}
	LEAVE(rc);
}

CUresult cuGraphMemsetNodeGetParams(CUgraphNode node, CUDA_MEMSET_NODE_PARAMS *p)
{
	const struct fill *f;

	ENTER_INIT();
	CALL();
	lock();
	NODE(node);
	if (!p || node->type != CU_GRAPH_NODE_TYPE_MEMSET)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	f = node->work->data;
	*p = (CUDA_MEMSET_NODE_PARAMS){f->dst, f->pitch, f->value, f->size, f->width, f->height};
	LEAVE(CUDA_SUCCESS);
}

CUresult cuGraphHostNodeGetParams(CUgraphNode node, CUDA_HOST_NODE_PARAMS *p)
{
	ENTER_INIT();
	CALL();
	lock();
	NODE(node);
	if (!p || node->type != CU_GRAPH_NODE_TYPE_HOST)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	host_params(node->work->data, p);
	LEAVE(CUDA_SUCCESS);
}

CUresult cuGraphHostNodeSetParams(CUgraphNode node, const CUDA_HOST_NODE_PARAMS *p)
{
	struct payload *w = NULL;
	int rc;

	ENTER_INIT();
	CALL();
	lock();
	NODE(node);
	rc = p && node->type == CU_GRAPH_NODE_TYPE_HOST ? host_payload(p, &w) : CUDA_ERROR_INVALID_VALUE;
	if (!rc)
		payload_set(&node->work, w);
	LEAVE(rc);
}

/* Changes of what was instantiated: see api_graph_exec.c, which borrows the makers of payloads. */
int graph_kernel_payload(struct ctx *ctx, const CUDA_KERNEL_NODE_PARAMS *p, bool v2, struct payload **ret)
{
	return kernel_payload(ctx, p, v2, ret);
}

int graph_node_payload(struct ctx *ctx, const CUgraphNodeParams *p, struct payload **ret)
{
	return node_payload(ctx, p, ret);
}
