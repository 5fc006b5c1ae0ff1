#include "graph.h"

#include "driver.h"
#include "stats.h"

#include <string.h>
#include <sys/mman.h>

#define MAX_PARAMS 1024

/* The node as the driver wants it, with room for what it points to. */
struct node_args {
	struct cuda_kernel_node node;
	void *params[MAX_PARAMS];
	void *extra[5];
	size_t bytes;
};

static const struct cuda_kernel_node *node_of(struct op_launch *l, struct node_args *a)
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

/* In a graph a node runs at its own priority, not at that of the stream the graph is launched in. */
static CUresult set_priority(CUgraphNode node, int priority)
{
	struct cuda_launch_attribute a = { .value.priority = priority };

	if (!priority)
		return CUDA_SUCCESS;
	if (!HAVE(cuGraphKernelNodeSetAttribute))
		return CUDA_ERROR_INVALID_VALUE;
	return REAL(cuGraphKernelNodeSetAttribute)(node, CU_LAUNCH_PRIORITY, &a.value);
}

static CUresult add_nodes(struct graph *g, struct op_launch *const *launch)
{
	struct node_args args;
	int priority = 0;
	CUresult r = CUDA_SUCCESS;

	if (HAVE(cuStreamGetPriority))
		REAL(cuStreamGetPriority)(launch[0]->op.stream, &priority);
	for (uint32_t i = 0; i < g->count && !r; i++) {
		r = REAL(cuGraphAddKernelNode_v2)(&g->node[i], g->graph, i ? &g->node[i - 1] : NULL,
			i ? 1 : 0, node_of(launch[i], &args));
		if (!r)
			r = set_priority(g->node[i], priority);
	}
	return r;
}

static void make_exec(struct graph *g, struct op_launch *const *launch)
{
	if (!HAVE(cuGraphAddKernelNode_v2) || !HAVE(cuGraphInstantiateWithFlags) ||
		!HAVE(cuGraphExecKernelNodeSetParams_v2))
		return;
	if (REAL(cuGraphCreate)(&g->graph, 0)) {
		g->graph = NULL;
		return;
	}
	if (add_nodes(g, launch) || REAL(cuGraphInstantiateWithFlags)(&g->exec, g->graph, 0))
		g->exec = NULL;
	else
		stat_inc(STAT_cuda_graphs);
}

static size_t layout(uint32_t count, struct op_launch *const *launch, size_t *ret_params)
{
	size_t per = sizeof(CUgraphNode) + sizeof(char *) + sizeof(struct node_shape), n = 0;

	for (uint32_t i = 0; i < count; i++)
		n += launch[i]->bytes;
	*ret_params = sizeof(struct graph) + ((count * per + 15) & ~(size_t)15);
	return *ret_params + n;
}

static struct node_shape shape_of(const struct op_launch *l)
{
	struct node_shape s = { .func = l->func, .kernel = l->kernel, .shared = l->shared,
		.bytes = l->bytes };

	memcpy(s.grid, l->grid, sizeof(s.grid));
	memcpy(s.block, l->block, sizeof(s.block));
	return s;
}

static bool same_shape(const struct node_shape *a, const struct op_launch *l)
{
	return a->func == l->func && a->kernel == l->kernel && a->shared == l->shared &&
	       a->bytes == l->bytes && !memcmp(a->grid, l->grid, sizeof(a->grid)) &&
	       !memcmp(a->block, l->block, sizeof(a->block));
}

bool graph_fits(const struct graph *g, struct op_launch *const *launch, uint32_t count)
{
	if (g->count != count)
		return false;
	for (uint32_t i = 0; i < count; i++)
		if (!same_shape(&g->shape[i], launch[i]) ||
			launch[i]->op.stream != launch[0]->op.stream)
			return false;
	return true;
}

struct graph *graph_create(uint64_t key, struct op_launch *const *launch, uint32_t count)
{
	size_t params, bytes = layout(count, launch, &params);
	char *mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct graph *g = (struct graph *)mem;

	if (mem == MAP_FAILED)
		return NULL;
	*g = (struct graph){ .key = key, .count = count, .bytes = bytes };
	g->node = (CUgraphNode *)(g + 1);
	g->params = (char **)(g->node + count);
	g->shape = (struct node_shape *)(g->params + count);
	mem += params;
	for (uint32_t i = 0; i < count; i++) {
		g->params[i] = mem;
		g->shape[i] = shape_of(launch[i]);
		memcpy(mem, op_params(launch[i]), launch[i]->bytes);
		mem += launch[i]->bytes;
	}
	make_exec(g, launch);
	return g;
}

void graph_destroy(struct graph *g)
{
	if (!g)
		return;
	if (g->exec)
		REAL(cuGraphExecDestroy)(g->exec);
	if (g->graph)
		REAL(cuGraphDestroy)(g->graph);
	munmap(g, g->bytes);
}

static CUresult update(struct graph *g, uint32_t i, struct op_launch *l)
{
	struct node_args args;
	CUresult r;

	if (!memcmp(g->params[i], op_params(l), l->bytes))
		return CUDA_SUCCESS;
	r = REAL(cuGraphExecKernelNodeSetParams_v2)(g->exec, g->node[i], node_of(l, &args));
	if (!r)
		memcpy(g->params[i], op_params(l), l->bytes);
	stat_inc(STAT_cuda_updates);
	return r;
}

CUresult graph_submit(struct graph *g, struct op_launch *const *launch)
{
	CUresult r = CUDA_SUCCESS;

	for (uint32_t i = 0; i < g->count && !r; i++)
		r = update(g, i, launch[i]);
	return r ? r : REAL(cuGraphLaunch)(g->exec, launch[0]->op.stream);
}
