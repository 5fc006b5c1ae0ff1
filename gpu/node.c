#include "node.h"

#include "driver.h"

#include <string.h>

#define MAX_PARAMS 1024
#define MAX_COPY (64u << 20) /* larger ones gain nothing by company */

/* ---- launches ---- */

/* The node as the driver wants it, with room for what it points to. */
struct launch_args {
	struct cuda_kernel_node node;
	void *params[MAX_PARAMS];
	void *extra[5];
	size_t bytes;
};

static const struct cuda_kernel_node *launch_node(struct op_launch *l, struct launch_args *a)
{
	bool kern = l->kernel && l->kernel->is_kern;

	a->node = (struct cuda_kernel_node){ .shared = l->shared };
	if (kern)
		a->node.kern = (CUkernel)l->func;
	else
		a->node.func = l->func;
	memcpy(a->node.grid, l->grid, sizeof(l->grid));
	memcpy(a->node.block, l->block, sizeof(l->block));
	if (l->kernel) {
		for (uint32_t i = 0; i < l->kernel->count; i++)
			a->params[i] = op_params(l) + l->kernel->param[i].offset;
		a->node.params = a->params;
		return &a->node;
	}
	a->bytes = l->bytes;
	a->extra[0] = CU_LAUNCH_PARAM_BUFFER_POINTER;
	a->extra[1] = op_params(l);
	a->extra[2] = CU_LAUNCH_PARAM_BUFFER_SIZE;
	a->extra[3] = &a->bytes;
	a->extra[4] = CU_LAUNCH_PARAM_END;
	a->node.extra = a->extra;
	return &a->node;
}

static CUresult set_attribute(CUgraphNode node, const struct cuda_launch_attribute *a)
{
	if (a->id == CU_LAUNCH_IGNORE)
		return CUDA_SUCCESS;
	if (!HAVE(cuGraphKernelNodeSetAttribute))
		return CUDA_ERROR_INVALID_VALUE;
	return REAL(cuGraphKernelNodeSetAttribute)(node, (int)a->id, &a->value);
}

/* In a graph a node runs at its own priority, not at that of the stream the graph is launched in. */
static CUresult set_priority(CUgraphNode node, CUstream s)
{
	struct cuda_launch_attribute a = { .id = CU_LAUNCH_PRIORITY };

	if (HAVE(cuStreamGetPriority))
		REAL(cuStreamGetPriority)(s, &a.value.priority);
	return a.value.priority ? set_attribute(node, &a) : CUDA_SUCCESS;
}

_Atomic bool node_inherits;

/* So it does with what the program has set of the stream, and a launch of its own may set it otherwise. */
static CUresult set_inherited(CUgraphNode node, CUstream s)
{
	static const int ids[] = { CU_LAUNCH_ACCESS_POLICY_WINDOW, CU_LAUNCH_MEM_SYNC_DOMAIN_MAP,
		CU_LAUNCH_MEM_SYNC_DOMAIN };
	CUresult r = set_priority(node, s);

	if (!atomic_load(&node_inherits) || !HAVE(cuStreamGetAttribute))
		return r;
	for (unsigned i = 0; i < sizeof(ids) / sizeof(*ids) && !r; i++) {
		struct cuda_launch_attribute a = { .id = (uint32_t)ids[i] };
		if (!REAL(cuStreamGetAttribute)(s, ids[i], &a.value))
			r = set_attribute(node, &a);
	}
	return r;
}

static CUresult add_launch(const struct node_place *at, struct op_launch *l, CUgraphNode *ret_node)
{
	struct launch_args args;
	CUresult r = REAL(cuGraphAddKernelNode_v2)(
		ret_node, at->graph, at->after, at->after_count, launch_node(l, &args));

	if (!r)
		r = set_inherited(*ret_node, l->op.stream);
	for (uint32_t i = 0; i < l->attr_count && !r; i++)
		r = set_attribute(*ret_node, &l->attrs[i]);
	return r;
}

static CUresult update_launch(CUgraphExec exec, CUgraphNode node, struct op_launch *l)
{
	struct launch_args args;

	return REAL(cuGraphExecKernelNodeSetParams_v2)(exec, node, launch_node(l, &args));
}

static bool same_launch(const struct op_launch *a, const struct op_launch *b)
{
	return a->func == b->func && a->kernel == b->kernel && a->shared == b->shared &&
	       a->bytes == b->bytes && a->attr_count == b->attr_count &&
	       !memcmp(a->grid, b->grid, sizeof(a->grid)) &&
	       !memcmp(a->block, b->block, sizeof(a->block)) &&
	       !memcmp(a->attrs, b->attrs, a->attr_count * sizeof(*a->attrs));
}

/* ---- fills, copies, host functions ---- */

static struct cuda_fill_node fill_node(const struct op_fill *f)
{
	return (struct cuda_fill_node){ .to = f->to, .value = f->value, .width = f->width,
		.count = f->count, .rows = 1 };
}

static void copy_end(struct cuda_copy_end *e, bool host, uint64_t p)
{
	e->type = host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
	if (host)
		e->host = (void *)(uintptr_t)p;
	else
		e->device = p;
}

static struct cuda_copy_node copy_node(const struct op_copy *c)
{
	struct cuda_copy_node n = { .width = c->bytes, .height = 1, .depth = 1 };

	copy_end(&n.from, c->copy == COPY_HTOD, c->from);
	copy_end(&n.to, c->copy == COPY_DTOH, c->to);
	return n;
}

static struct cuda_host_node host_node(const struct op_host *h)
{
	return (struct cuda_host_node){ h->fn, h->data };
}

static bool same_fill(const struct op_fill *a, const struct op_fill *b)
{
	return a->count == b->count && a->width == b->width;
}

static bool same_copy(const struct op_copy *a, const struct op_copy *b)
{
	return a->copy == b->copy && a->bytes == b->bytes && a->carried == b->carried;
}

/* ---- whatever it is ---- */

/* What a node needs besides the entries that graphs themselves cannot do without. */
bool node_possible(const struct op *op)
{
	const struct op_copy *c = (const struct op_copy *)op;

	switch ((enum op_kind)op->kind) {
	case OP_LAUNCH:
		return true;
	case OP_FILL:
		return HAVE(cuGraphAddMemsetNode) && HAVE(cuGraphExecMemsetNodeSetParams);
	case OP_COPY: /* what is carried along lies in the queue, and only until it is submitted */
		return !c->carried && c->bytes <= MAX_COPY && HAVE(cuGraphAddMemcpyNode) &&
		       HAVE(cuGraphExecMemcpyNodeSetParams);
	case OP_HOST:
		return HAVE(cuGraphAddHostNode) && HAVE(cuGraphExecHostNodeSetParams);
	case OP_EVENT:
	case OP_WAIT:
		return HAVE(cuGraphAddEventRecordNode) && HAVE(cuGraphExecEventRecordNodeSetEvent) &&
		       HAVE(cuEventCreate) && HAVE(cuEventDestroy_v2);
	}
	return false;
}

CUresult node_add(const struct node_place *at, struct op *op, CUgraphNode *ret_node)
{
	struct cuda_fill_node fill;
	struct cuda_copy_node copy;
	struct cuda_host_node host;

	switch ((enum op_kind)op->kind) {
	case OP_LAUNCH:
		return add_launch(at, (struct op_launch *)op, ret_node);
	case OP_FILL:
		fill = fill_node((struct op_fill *)op);
		return REAL(cuGraphAddMemsetNode)(
			ret_node, at->graph, at->after, at->after_count, &fill, at->ctx);
	case OP_COPY:
		copy = copy_node((struct op_copy *)op);
		return REAL(cuGraphAddMemcpyNode)(
			ret_node, at->graph, at->after, at->after_count, &copy, at->ctx);
	case OP_HOST:
		host = host_node((struct op_host *)op);
		return REAL(cuGraphAddHostNode)(
			ret_node, at->graph, at->after, at->after_count, &host);
	case OP_EVENT:
		return REAL(cuGraphAddEventRecordNode)(ret_node, at->graph, at->after,
			at->after_count, ((struct op_event *)op)->event);
	case OP_WAIT:
		break;
	}
	return CUDA_ERROR_INVALID_VALUE;
}

CUresult node_update(CUgraphExec exec, CUcontext ctx, CUgraphNode node, struct op *op)
{
	struct cuda_fill_node fill;
	struct cuda_copy_node copy;
	struct cuda_host_node host;

	switch ((enum op_kind)op->kind) {
	case OP_LAUNCH:
		return update_launch(exec, node, (struct op_launch *)op);
	case OP_FILL:
		fill = fill_node((struct op_fill *)op);
		return REAL(cuGraphExecMemsetNodeSetParams)(exec, node, &fill, ctx);
	case OP_COPY:
		copy = copy_node((struct op_copy *)op);
		return REAL(cuGraphExecMemcpyNodeSetParams)(exec, node, &copy, ctx);
	case OP_HOST:
		host = host_node((struct op_host *)op);
		return REAL(cuGraphExecHostNodeSetParams)(exec, node, &host);
	case OP_EVENT:
		return REAL(cuGraphExecEventRecordNodeSetEvent)(
			exec, node, ((struct op_event *)op)->event);
	case OP_WAIT:
		break;
	}
	return CUDA_ERROR_INVALID_VALUE;
}

bool node_same_shape(const struct op *a, const struct op *b)
{
	if (a->kind != b->kind || a->stream != b->stream)
		return false;
	switch ((enum op_kind)a->kind) {
	case OP_LAUNCH:
		return same_launch((const struct op_launch *)a, (const struct op_launch *)b);
	case OP_FILL:
		return same_fill((const struct op_fill *)a, (const struct op_fill *)b);
	case OP_COPY:
		return same_copy((const struct op_copy *)a, (const struct op_copy *)b);
	case OP_WAIT:
		return ((const struct op_event *)a)->source == ((const struct op_event *)b)->source;
	case OP_EVENT:
	case OP_HOST:
		return true;
	}
	return false;
}

bool node_same_params(struct op *a, struct op *b)
{
	struct op_launch *la = (struct op_launch *)a, *lb = (struct op_launch *)b;
	const struct op_fill *fa = (struct op_fill *)a, *fb = (struct op_fill *)b;
	const struct op_copy *ca = (struct op_copy *)a, *cb = (struct op_copy *)b;
	const struct op_host *ha = (struct op_host *)a, *hb = (struct op_host *)b;

	switch ((enum op_kind)a->kind) {
	case OP_LAUNCH:
		return !memcmp(op_params(la), op_params(lb), la->bytes);
	case OP_FILL:
		return fa->to == fb->to && fa->value == fb->value;
	case OP_COPY:
		return ca->to == cb->to && ca->from == cb->from;
	case OP_HOST:
		return ha->fn == hb->fn && ha->data == hb->data;
	case OP_EVENT:
		return ((struct op_event *)a)->event == ((struct op_event *)b)->event;
	case OP_WAIT:
		return true;
	}
	return false;
}
