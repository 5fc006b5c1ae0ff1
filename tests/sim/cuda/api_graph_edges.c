/* What a graph looks like: its nodes and edges. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph.h"

#define GRAPH(g) do { if (!handle_is(g, H_GRAPH)) LEAVE(misuse(CUDA_ERROR_INVALID_VALUE, "%p is no graph", (void *)(g))); } while (0)
#define NODE(n) do { if (!handle_is(n, H_NODE)) LEAVE(misuse(CUDA_ERROR_INVALID_VALUE, "%p is no node", (void *)(n))); } while (0)

/*
 * Lists are asked for twice: with no array for the length, then with one. What does not fit is left
 * out, what is left over of the array is set to NULL.
 */
static int give_list(CUgraphNode *out, size_t *io_n, struct node **list, size_t n)
{
	if (!io_n)
		return REFUSE(CUDA_ERROR_INVALID_VALUE);
	if (out)
		for (size_t i = 0; i < *io_n; i++)
			out[i] = i < n ? list[i] : NULL;
	*io_n = out && *io_n < n ? *io_n : n;
	return 0;
}

static CUresult nodes_of(CUgraph g, CUgraphNode *out, size_t *n, bool roots)
{
	struct node **list;
	size_t k = 0;
	int rc;

	ENTER_INIT();
	lock();
	GRAPH(g);
	list = calloc((size_t)g->n + 1, sizeof(*list));
	if (!list)
		abort();
	for (struct node *node = g->nodes; node; node = node->next)
		if (!roots || !node->ndeps)
			list[k++] = node;
	rc = give_list(out, n, list, k);
	free(list);
	LEAVE(rc);
}

CUresult cuGraphGetNodes(CUgraph g, CUgraphNode *out, size_t *n)
{
	CALL();
	return nodes_of(g, out, n, false);
}

CUresult cuGraphGetRootNodes(CUgraph g, CUgraphNode *out, size_t *n)
{
	CALL();
	return nodes_of(g, out, n, true);
}

static CUresult edges_of(CUgraph g, CUgraphNode *from, CUgraphNode *to, CUgraphEdgeData *data, size_t *n)
{
	size_t k = 0;

	ENTER_INIT();
	lock();
	GRAPH(g);
	if (!n || !from != !to)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	for (struct node *node = g->nodes; node; node = node->next)
		for (int i = 0; i < node->ndeps; i++, k++) {
			if (!from || k >= *n)
				continue;
			from[k] = node->deps[i];
			to[k] = node;
			if (data)
				memset(&data[k], 0, sizeof(*data));
		}
	*n = from && *n < k ? *n : k;
	LEAVE(CUDA_SUCCESS);
}

CUresult cuGraphGetEdges(CUgraph g, CUgraphNode *from, CUgraphNode *to, size_t *n)
{
	CALL();
	return edges_of(g, from, to, NULL, n);
}

CUresult cuGraphGetEdges_v2(CUgraph g, CUgraphNode *from, CUgraphNode *to, CUgraphEdgeData *data, size_t *n)
{
	CALL();
	return edges_of(g, from, to, data, n);
}

static CUresult deps_of(CUgraphNode node, CUgraphNode *out, CUgraphEdgeData *data, size_t *n)
{
	ENTER_INIT();
	lock();
	NODE(node);
	if (data && n)
		memset(data, 0, sizeof(*data) * *n);
	LEAVE(give_list(out, n, node->deps, (size_t)node->ndeps));
}

CUresult cuGraphNodeGetDependencies(CUgraphNode node, CUgraphNode *out, size_t *n)
{
	CALL();
	return deps_of(node, out, NULL, n);
}

CUresult cuGraphNodeGetDependencies_v2(CUgraphNode node, CUgraphNode *out, CUgraphEdgeData *data, size_t *n)
{
	CALL();
	return deps_of(node, out, data, n);
}

static CUresult dependents_of(CUgraphNode node, CUgraphNode *out, CUgraphEdgeData *data, size_t *n)
{
	struct node **list;
	size_t k = 0;
	int rc;

	ENTER_INIT();
	lock();
	NODE(node);
	list = calloc((size_t)node->graph->n + 1, sizeof(*list));
	if (!list)
		abort();
	for (struct node *o = node->graph->nodes; o; o = o->next)
		for (int i = 0; i < o->ndeps; i++)
			if (o->deps[i] == node)
				list[k++] = o;
	if (data && n)
		memset(data, 0, sizeof(*data) * *n);
	rc = give_list(out, n, list, k);
	free(list);
	LEAVE(rc);
}

CUresult cuGraphNodeGetDependentNodes(CUgraphNode node, CUgraphNode *out, size_t *n)
{
	CALL();
	return dependents_of(node, out, NULL, n);
}

CUresult cuGraphNodeGetDependentNodes_v2(CUgraphNode node, CUgraphNode *out, CUgraphEdgeData *data, size_t *n)
{
	CALL();
	return dependents_of(node, out, data, n);
}

static bool of_graph(const CUgraph g, const CUgraphNode n)
{
	return handle_is(n, H_NODE) && n->graph == g;
}

static CUresult add_edges(CUgraph g, const CUgraphNode *from, const CUgraphNode *to, size_t n)
{
	ENTER_INIT();
	lock();
	GRAPH(g);
	for (size_t i = 0; i < n; i++)
		if (!from || !to || !of_graph(g, from[i]) || !of_graph(g, to[i]) || from[i] == to[i])
			LEAVE(misuse(CUDA_ERROR_INVALID_VALUE, "an edge between what are no nodes of this graph"));
	for (size_t i = 0; i < n; i++)
		node_depend(to[i], from[i]);
	LEAVE(CUDA_SUCCESS);
}

CUresult cuGraphAddDependencies(CUgraph g, const CUgraphNode *from, const CUgraphNode *to, size_t n)
{
	CALL();
	return add_edges(g, from, to, n);
}

CUresult cuGraphAddDependencies_v2(CUgraph g, const CUgraphNode *from, const CUgraphNode *to, const CUgraphEdgeData *data, size_t n)
{
	CALL();
	return add_edges(g, from, to, n);
}

static bool drop_edge(struct node *from, struct node *to)
{
	for (int i = 0; i < to->ndeps; i++)
		if (to->deps[i] == from) {
			memmove(&to->deps[i], &to->deps[i + 1], sizeof(*to->deps) * (size_t)(to->ndeps - i - 1));
			to->ndeps--;
			return true;
		}
	return false;
}

static CUresult remove_edges(CUgraph g, const CUgraphNode *from, const CUgraphNode *to, size_t n)
{
	ENTER_INIT();
	lock();
	GRAPH(g);
	for (size_t i = 0; i < n; i++)
		if (!from || !to || !of_graph(g, from[i]) || !of_graph(g, to[i]) || !drop_edge(from[i], to[i]))
			LEAVE(CUDA_ERROR_INVALID_VALUE);
	LEAVE(CUDA_SUCCESS);
}

CUresult cuGraphRemoveDependencies(CUgraph g, const CUgraphNode *from, const CUgraphNode *to, size_t n)
{
	CALL();
	return remove_edges(g, from, to, n);
}

CUresult cuGraphRemoveDependencies_v2(CUgraph g, const CUgraphNode *from, const CUgraphNode *to, const CUgraphEdgeData *data,
				      size_t n)
{
	CALL();
	return remove_edges(g, from, to, n);
}

CUresult cuGraphDestroyNode(CUgraphNode node)
{
	ENTER_INIT();
	CALL();
	lock();
	NODE(node);
	node_remove(node);
	LEAVE(CUDA_SUCCESS);
}

CUresult cuGraphNodeGetType(CUgraphNode node, CUgraphNodeType *type)
{
	ENTER_INIT();
	CALL();
	lock();
	NODE(node);
	if (!type)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	*type = node->type;
	LEAVE(CUDA_SUCCESS);
}

CUresult cuGraphNodeFindInClone(CUgraphNode *ret, CUgraphNode node, CUgraph clone)
{
	ENTER_INIT();
	CALL();
	lock();
	GRAPH(clone);
	for (struct node *n = clone->nodes; ret && n; n = n->next)
		if (n->origin == node) {
			*ret = n;
			LEAVE(CUDA_SUCCESS);
		}
	LEAVE(CUDA_ERROR_INVALID_VALUE);
}

CUresult cuGraphDebugDotPrint(CUgraph g, const char *path, unsigned int flags)
{
	FILE *f;

	ENTER_INIT();
	CALL();
	lock();
	GRAPH(g);
	f = path ? fopen(path, "w") : NULL;
	if (!f)
		LEAVE(CUDA_ERROR_OPERATING_SYSTEM);
	fprintf(f, "digraph {\n");
	for (struct node *n = g->nodes; n; n = n->next) {
		fprintf(f, "n%d [label=\"%s\"];\n", n->index, n->work ? n->work->name : "");
		for (int i = 0; i < n->ndeps; i++)
			fprintf(f, "n%d -> n%d;\n", n->deps[i]->index, n->index);
	}
	fprintf(f, "}\n");
	fclose(f);
	LEAVE(CUDA_SUCCESS);
}
