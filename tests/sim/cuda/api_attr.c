/* Attributes that kernels run with: of a stream, for what is launched there, and of one kernel node of a graph. */
#include <stdlib.h>
#include <string.h>

#include "graph.h"

#define BIT(id) (1u << CU_LAUNCH_ATTRIBUTE_##id)
#define OF_STREAMS (BIT(ACCESS_POLICY_WINDOW) | BIT(SYNCHRONIZATION_POLICY) | BIT(PRIORITY) | BIT(MEM_SYNC_DOMAIN_MAP) | BIT(MEM_SYNC_DOMAIN))
#define OF_NODES (BIT(ACCESS_POLICY_WINDOW) | BIT(CLUSTER_DIMENSION) | BIT(CLUSTER_SCHEDULING_POLICY_PREFERENCE) | BIT(PRIORITY) | \
		  BIT(MEM_SYNC_DOMAIN_MAP) | BIT(MEM_SYNC_DOMAIN) | BIT(PREFERRED_CLUSTER_DIMENSION) | \
		  BIT(PREFERRED_SHARED_MEMORY_CARVEOUT))
#define OF_BOTH (OF_STREAMS & OF_NODES)

static bool is_one_of(unsigned mask, int id)
{
	return id >= 0 && id < ATTRS && mask & 1u << id;
}

static bool check_value(int id, const CUlaunchAttributeValue *v)
{
	switch (id) {
	case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
		return v->window.hitRatio >= 0 && v->window.hitRatio <= 1 && v->window.hitProp <= 2u && v->window.missProp <= 2u;
	case CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY:
		return v->syncPolicy >= 1 && v->syncPolicy <= 4;
	case CU_LAUNCH_ATTRIBUTE_PRIORITY:
		return v->priority >= GREATEST_PRIORITY && v->priority <= LEAST_PRIORITY;
	case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN:
		return v->memSyncDomain == 0 || v->memSyncDomain == 1;
	case CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
		return v->carveout >= -1 && v->carveout <= 100;
	case CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION:
	case CU_LAUNCH_ATTRIBUTE_PREFERRED_CLUSTER_DIMENSION:
		return v->clusterDim.x == 1 && v->clusterDim.y == 1 && v->clusterDim.z == 1;
	}
	return true;
}

static int set(struct attrs **to, unsigned mask, int id, const CUlaunchAttributeValue *v, const char *whose)
{
	if (!v || !is_one_of(mask, id))
		return misuse(CUDA_ERROR_INVALID_VALUE, "attribute %d is none of %s", id, whose);
	if (!check_value(id, v))
		return misuse(CUDA_ERROR_INVALID_VALUE, "attribute %d of %s has a value out of range", id, whose);
	if (!*to)
		*to = calloc(1, sizeof(**to));
	if (!*to)
		abort();
	(*to)->set |= 1u << id;
	(*to)->value[id] = *v;
	return 0;
}

/* What was never set is 0, but for the domains, each of which is its own. */
static int get(const struct attrs *from, unsigned mask, int id, CUlaunchAttributeValue *ret, const char *whose)
{
	if (!ret || !is_one_of(mask, id))
		return misuse(CUDA_ERROR_INVALID_VALUE, "attribute %d is none of %s", id, whose);
	memset(ret, 0, sizeof(*ret));
	if (id == CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP)
		ret->memSyncDomainMap.remote = 1;
	if (from && from->set & 1u << id)
		*ret = from->value[id];
	return 0;
}

void attrs_copy(struct attrs **to, const struct attrs *from, unsigned mask)
{
	for (int id = 0; from && id < ATTRS; id++)
		if (from->set & mask & 1u << id)
			set(to, mask, id, &from->value[id], "a copy");
}

int attrs_priority(const struct attrs *a)
{
	return a ? a->value[CU_LAUNCH_ATTRIBUTE_PRIORITY].priority : 0;
}

void attrs_of_stream(struct attrs **to, const struct stream *s)
{
	CUlaunchAttributeValue v = {.priority = s->priority};

	attrs_copy(to, s->attrs, OF_BOTH);
	if (s->priority)
		set(to, OF_NODES, CU_LAUNCH_ATTRIBUTE_PRIORITY, &v, "a node");
}

CUresult cuStreamSetAttribute(CUstream h, int id, const CUlaunchAttributeValue *v)
{
	struct ctx *ctx;
	struct stream *s;
	int rc;

	ENTER(ctx);
	CALL();
	rc = stream_of(ctx, h, &s);
	if (!rc)
		rc = set(&s->attrs, OF_STREAMS, id, v, "a stream");
	if (!rc && id == CU_LAUNCH_ATTRIBUTE_PRIORITY)
		s->priority = v->priority;
	LEAVE(rc);
}

CUresult cuStreamGetAttribute(CUstream h, int id, CUlaunchAttributeValue *ret)
{
	struct ctx *ctx;
	struct stream *s;
	int rc;

	ENTER(ctx);
	CALL();
	rc = stream_of(ctx, h, &s);
	if (!rc)
		rc = get(s->attrs, OF_STREAMS, id, ret, "a stream");
	if (!rc && id == CU_LAUNCH_ATTRIBUTE_PRIORITY)
		ret->priority = s->priority;
	LEAVE(rc);
}

CUresult cuStreamCopyAttributes(CUstream to, CUstream from)
{
	struct ctx *ctx;
	struct stream *t, *f;
	int rc;

	ENTER(ctx);
	CALL();
	rc = stream_of(ctx, to, &t);
	if (!rc)
		rc = stream_of(ctx, from, &f);
	if (rc)
		LEAVE(rc);
	attrs_copy(&t->attrs, f->attrs, OF_STREAMS);
	t->priority = f->priority;
	LEAVE(CUDA_SUCCESS);
}

static bool is_kernel_node(CUgraphNode n)
{
	return handle_is(n, H_NODE) && n->type == CU_GRAPH_NODE_TYPE_KERNEL;
}

#define KERNEL_NODE(n) do { if (!is_kernel_node(n)) LEAVE(misuse(CUDA_ERROR_INVALID_VALUE, "%p is no kernel node", (void *)(n))); } while (0)

CUresult cuGraphKernelNodeSetAttribute(CUgraphNode n, int id, const CUlaunchAttributeValue *v)
{
	ENTER_INIT();
	CALL();
	lock();
	KERNEL_NODE(n);
	LEAVE(set(&n->attrs, OF_NODES, id, v, "a kernel node"));
}

CUresult cuGraphKernelNodeGetAttribute(CUgraphNode n, int id, CUlaunchAttributeValue *ret)
{
	ENTER_INIT();
	CALL();
	lock();
	KERNEL_NODE(n);
	LEAVE(get(n->attrs, OF_NODES, id, ret, "a kernel node"));
}

CUresult cuGraphKernelNodeCopyAttributes(CUgraphNode to, CUgraphNode from)
{
	ENTER_INIT();
	CALL();
	lock();
	KERNEL_NODE(to);
	KERNEL_NODE(from);
	attrs_copy(&to->attrs, from->attrs, OF_NODES);
	LEAVE(CUDA_SUCCESS);
}
