#include "graph.h"

#include "driver.h"
#include "node.h"
#include "stats.h"

#include <string.h>
#include <sys/mman.h>

static bool has_node(const struct graph_run *run, uint32_t i)
{
	return run->kind[i].class == PLAN_NODE ||
	       (run->kind[i].class == PLAN_RECORD && !run->superseded[i]);
}

static CUresult add_node(struct graph *g, const struct plan *p, struct op *op, CUgraphNode *ret_node)
{
	CUgraphNode after[PLAN_STREAMS];
	struct node_place at = { g->graph, g->ctx, after, p->after_count };

	for (uint32_t k = 0; k < p->after_count; k++)
		after[k] = g->node[p->after[k]];
	return node_add(&at, op, ret_node);
}

/* Behind the last of each other stream: what comes next there waits for no more than that. */
static CUresult add_exits(struct graph *g, struct plan *p, const CUevent *exit)
{
	CUresult r = CUDA_SUCCESS;
	CUgraphNode node;

	for (uint8_t s = 0; s < PLAN_STREAMS && !r; s++) {
		struct op_event record = { .op.kind = OP_EVENT, .event = exit[s] };

		if (!(g->others & 1u << s))
			continue;
		plan_after(p, s);
		r = add_node(g, p, &record.op, &node);
	}
	return r;
}

static bool blocking(CUstream s)
{
	unsigned flags;

	return !HAVE(cuStreamGetFlags) || REAL(cuStreamGetFlags)(s, &flags) ||
	       !(flags & CU_STREAM_NON_BLOCKING);
}

/*
 * A blocking stream is ordered with the legacy stream. A graph is, if the stream that it is launched in
 * is: so none of the others may be, unless home is.
 */
static bool legacy_order_kept(const struct graph *g, const struct graph_run *run)
{
	if (!g->others || blocking(g->home))
		return true;
	for (uint32_t i = 0; i < run->count; i++)
		if (run->op[i]->stream != g->home && blocking(run->op[i]->stream))
			return false;
	return true;
}

static CUresult add_nodes(struct graph *g, const struct graph_run *run, const CUevent *exit)
{
	CUresult r = CUDA_SUCCESS;
	struct plan p;

	plan_begin(&p);
	for (uint32_t i = 0; i < run->count && !r; i++) {
		if (!plan_add(&p, run->kind[i]))
			return CUDA_ERROR_INVALID_VALUE;
		if (has_node(run, i))
			r = add_node(g, &p, run->op[i], &g->node[i]);
		g->records += run->kind[i].class == PLAN_RECORD;
	}
	if (!r && !plan_closed(&p))
		return CUDA_ERROR_INVALID_VALUE;
	return r ? r : add_exits(g, &p, exit);
}

static void make_exec(struct graph *g, const struct graph_run *run, const CUevent *exit)
{
	if (!HAVE(cuGraphAddKernelNode_v2) || !HAVE(cuGraphInstantiateWithFlags) ||
		!HAVE(cuGraphExecKernelNodeSetParams_v2) || !legacy_order_kept(g, run))
		return;
	if (REAL(cuGraphCreate)(&g->graph, 0)) {
		g->graph = NULL;
		return;
	}
	if (add_nodes(g, run, exit) || REAL(cuGraphInstantiateWithFlags)(&g->exec, g->graph, 0))
		g->exec = NULL;
	else
		stat_inc(STAT_cuda_graphs);
}

static size_t aligned(size_t n)
{
	return (n + 15) & ~(size_t)15;
}

static size_t layout(const struct graph_run *run)
{
	size_t n = aligned(sizeof(struct graph) + run->count * (sizeof(CUgraphNode) + sizeof(struct op *)));

	for (uint32_t i = 0; i < run->count; i++)
		n += aligned(op_bytes(run->op[i]));
	return n;
}

static void keep_ops(struct graph *g, const struct graph_run *run)
{
	char *to = (char *)g + aligned((size_t)((char *)(g->have + g->count) - (char *)g));

	for (uint32_t i = 0; i < g->count; i++) {
		size_t n = op_bytes(run->op[i]);
		g->have[i] = memcpy(to, run->op[i], n);
		to += aligned(n);
	}
}

/* Home is the stream of the first, or, if that waits for the past of another stream, that one. */
static void find_streams(struct graph *g, const struct graph_run *run)
{
	struct plan p;

	plan_begin(&p);
	for (uint32_t i = 0; i < run->count && plan_add(&p, run->kind[i]); i++)
		g->others |= 1u << run->kind[i].stream;
	if (p.home < PLAN_STREAMS)
		g->others &= ~(1u << p.home);
	g->home = run->kind[0].stream == p.home ? run->op[0]->stream :
						  ((struct op_event *)run->op[0])->source;
}

struct graph *graph_create(uint64_t key, const struct graph_run *run, const CUevent *exit)
{
	size_t bytes = layout(run);
	void *mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct graph *g = mem;

	if (mem == MAP_FAILED)
		return NULL;
	*g = (struct graph){ .key = key, .count = run->count, .bytes = bytes, .ctx = run->ctx };
	g->node = (CUgraphNode *)(g + 1);
	g->have = (struct op **)(g->node + g->count);
	keep_ops(g, run);
	find_streams(g, run);
	make_exec(g, run, exit);
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

void graph_give_up(struct graph *g)
{
	REAL(cuGraphExecDestroy)(g->exec);
	g->exec = NULL;
}

uint32_t graph_run_streams(const struct graph_run *run)
{
	uint32_t mask = 0;

	for (uint32_t i = 0; i < run->count; i++)
		mask |= 1u << run->kind[i].stream;
	return mask & (mask - 1) ? mask : 0;
}

bool graph_fits(const struct graph *g, const struct graph_run *run)
{
	if (g->count != run->count)
		return false;
	for (uint32_t i = 0; i < g->count; i++)
		if (!node_same_shape(g->have[i], run->op[i]) || (g->node[i] != NULL) != has_node(run, i))
			return false;
	return true;
}

void graph_forget_event(struct graph *g, CUevent e)
{
	for (uint32_t i = 0; g->records && i < g->count; i++)
		if (g->have[i]->kind == OP_EVENT && ((struct op_event *)g->have[i])->event == e)
			((struct op_event *)g->have[i])->event = NULL;
}

static CUresult update(struct graph *g, uint32_t i, struct op *op)
{
	CUresult r;

	if (!g->node[i] || node_same_params(g->have[i], op))
		return CUDA_SUCCESS;
	r = node_update(g->exec, g->ctx, g->node[i], op);
	if (!r)
		memcpy(g->have[i], op, op_bytes(op));
	stat_inc(STAT_cuda_updates);
	return r;
}

CUresult graph_submit(struct graph *g, const struct graph_run *run)
{
	CUresult r = CUDA_SUCCESS;

	for (uint32_t i = 0; i < g->count && !r; i++)
		r = update(g, i, run->op[i]);
	return r ? r : REAL(cuGraphLaunch)(g->exec, g->home);
}
