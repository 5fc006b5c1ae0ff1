#include "graph.h"

#include <stdlib.h>
#include <string.h>

struct graph *graph_create(void)
{
	struct graph *g = calloc(1, sizeof(*g));

	if (!g)
		abort();
	g->tail = &g->nodes;
	handle_add(g, H_GRAPH);
	return g;
}

struct payload *payload_from_op(struct op *op)
{
	struct payload *p = calloc(1, sizeof(*p));

	if (!p)
		abort();
	*p = (struct payload){1, op->type, op->run, op->drop, op->data, op->name, op->cost};
	op->drop = NULL;
	op_free(op);
	return p;
}

struct payload *payload_get(struct payload *p)
{
	if (p)
		p->refs++;
	return p;
}

void payload_put(struct payload *p)
{
	struct op op;

	if (!p || --p->refs)
		return;
	op = (struct op){.data = p->data};
	if (p->drop)
		p->drop(&op);
	free(p);
}

void payload_set(struct payload **at, struct payload *p)
{
	struct payload *old = *at;

	*at = p;
	payload_put(old);
}

void node_depend(struct node *n, struct node *on)
{
	for (int i = 0; i < n->ndeps; i++)
		if (n->deps[i] == on)
			return;
	if (n->ndeps == n->capdeps) {
		n->capdeps = n->capdeps ? n->capdeps * 2 : 4;
		n->deps = realloc(n->deps, sizeof(*n->deps) * (size_t)n->capdeps);
		if (!n->deps)
			abort();
	}
	n->deps[n->ndeps++] = on;
}

struct node *graph_add(struct graph *g, CUgraphNodeType type, struct node *const *deps, int ndeps)
{
	struct node *n = calloc(1, sizeof(*n));

	if (!n)
		abort();
	n->graph = g;
	n->type = type;
	n->index = g->n++;
	for (int i = 0; i < ndeps; i++)
		node_depend(n, deps[i]);
	*g->tail = n;
	g->tail = &n->next;
	handle_add(n, H_NODE);
	return n;
}

static void node_free(struct node *n)
{
	handle_remove(n);
	payload_put(n->work);
	free(n->attrs);
	if (n->child)
		graph_destroy(n->child);
	free(n->deps);
	free(n);
}

void node_remove(struct node *n)
{
	struct graph *g = n->graph;

	for (struct node *o = g->nodes; o; o = o->next)
		for (int i = 0; i < o->ndeps; i++)
			if (o->deps[i] == n) {
				memmove(&o->deps[i], &o->deps[i + 1], sizeof(*o->deps) * (size_t)(o->ndeps - i - 1));
				o->ndeps--;
				i--;
			}
	for (struct node **p = &g->nodes; *p; p = &(*p)->next)
		if (*p == n) {
			*p = n->next;
			if (g->tail == &n->next)
				g->tail = p;
			break;
		}
	node_free(n);
	g->n = 0;
	for (struct node *o = g->nodes; o; o = o->next)
		o->index = g->n++;
}

void graph_destroy(struct graph *g)
{
	handle_remove(g);
	for (struct node *n = g->nodes, *next; n; n = next) {
		next = n->next;
		node_free(n);
	}
	free(g);
}

struct graph *graph_clone(const struct graph *g)
{
	struct graph *c = graph_create();
	struct node **map = calloc((size_t)g->n + 1, sizeof(*map));

	if (!map)
		abort();
	for (const struct node *n = g->nodes; n; n = n->next) {
		struct node *m = graph_add(c, n->type, NULL, 0);

		m->work = payload_get(n->work);
		m->event = n->event;
		m->event_id = n->event_id;
		m->copy = n->copy;
		attrs_copy(&m->attrs, n->attrs, ~0u);
		m->child = n->child ? graph_clone(n->child) : NULL;
		m->origin = (struct node *)n;
		map[n->index] = m;
	}
	for (const struct node *n = g->nodes; n; n = n->next)
		for (int i = 0; i < n->ndeps; i++)
			node_depend(map[n->index], map[n->deps[i]->index]);
	free(map);
	return c;
}

static int fill_step(struct step *s, struct node *n, const int *place)
{
	s->origin = n;
	s->type = n->type;
	s->work = payload_get(n->work);
	s->event = n->event;
	s->event_id = n->event_id;
	s->priority = attrs_priority(n->attrs);
	s->ndeps = n->ndeps;
	s->deps = calloc((size_t)n->ndeps + 1, sizeof(int));
	if (!s->deps)
		abort();
	for (int i = 0; i < n->ndeps; i++)
		s->deps[i] = place[n->deps[i]->index];
	return n->child ? plan_make(n->child, &s->child) : 0;
}

/* Nodes whose dependencies are placed are placed in their turn; what is left over is a circle. */
int plan_make(const struct graph *g, struct plan **ret)
{
	struct plan *p = calloc(1, sizeof(*p));
	int *place = malloc(sizeof(int) * (size_t)(g->n + 1));
	bool moved = true;
	int rc = 0;

	if (!p || !place)
		abort();
	p->refs = 1;
	p->steps = calloc((size_t)g->n + 1, sizeof(*p->steps));
	if (!p->steps)
		abort();
	memset(place, -1, sizeof(int) * (size_t)(g->n + 1));
	while (moved && p->n < g->n && !rc) {
		moved = false;
		for (struct node *n = g->nodes; n && !rc; n = n->next) {
			bool ready = place[n->index] < 0;

			for (int i = 0; i < n->ndeps && ready; i++)
				ready = place[n->deps[i]->index] >= 0;
			if (!ready)
				continue;
			place[n->index] = p->n;
			rc = fill_step(&p->steps[p->n++], n, place);
			moved = true;
		}
	}
	free(place);
	if (!rc && p->n < g->n)
		rc = CUDA_ERROR_INVALID_VALUE;
	if (rc) {
		plan_put(p);
		return rc;
	}
	*ret = p;
	return 0;
}

void plan_put(struct plan *p)
{
	if (!p || --p->refs)
		return;
	for (int i = 0; i < p->n; i++) {
		payload_put(p->steps[i].work);
		plan_put(p->steps[i].child);
		free(p->steps[i].deps);
	}
	free(p->steps);
	free(p);
}

struct step *plan_find(struct plan *p, const struct node *n)
{
	/* Nodes are mostly placed in the order of their making. */
	if (n->index < p->n && p->steps[n->index].origin == n)
		return &p->steps[n->index];
	for (int i = 0; i < p->n; i++)
		if (p->steps[i].origin == n)
			return &p->steps[i];
	return NULL;
}

/* What one launch needs: the payloads as they are now, and the fences of its event nodes. */
struct flight {
	struct plan *plan; /* a private copy */
	struct fence **fences;
	struct ctx *ctx;
	uint64_t rng;
};

static struct plan *plan_snapshot(const struct plan *p)
{
	struct plan *c = calloc(1, sizeof(*c));

	if (!c)
		abort();
	c->refs = 1;
	c->n = p->n;
	c->steps = calloc((size_t)p->n + 1, sizeof(*c->steps));
	if (!c->steps)
		abort();
	for (int i = 0; i < p->n; i++) {
		c->steps[i] = p->steps[i];
		payload_get(c->steps[i].work);
		c->steps[i].child = p->steps[i].child ? plan_snapshot(p->steps[i].child) : NULL;
		c->steps[i].deps = calloc((size_t)p->steps[i].ndeps + 1, sizeof(int));
		if (!c->steps[i].deps)
			abort();
		memcpy(c->steps[i].deps, p->steps[i].deps, sizeof(int) * (size_t)p->steps[i].ndeps);
	}
	return c;
}

static int run_plan(struct flight *f, struct plan *p, struct fence **fences, struct op *op, uint64_t *before);

static int run_step(struct flight *f, struct step *s, struct fence *fence, struct op *op, const struct watch_key *key)
{
	/* Not a copy of all: the queue's link is another thread's to write. */
	struct op one = {.stream = op->stream, .key = *key};

	if (s->disabled)
		return 0;
	switch (s->type) {
	case CU_GRAPH_NODE_TYPE_GRAPH:
		return run_plan(f, s->child, NULL, &one, NULL);
	case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
		lock();
		fence_reach(fence);
		unlock();
		return 0;
	case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
		lock();
		fence_wait(fence);
		unlock();
		return 0;
	default:
		if (!s->work)
			return 0;
		one.data = s->work->data;
		return s->work->run(&one);
	}
}

/*
 * Which of those that may run: without a seed the first of the greatest priority, with one any. What a graph does
 * not order happens in any order.
 */
static int choose(struct flight *f, const struct plan *p, const int *ready, int n)
{
	int best = 0;

	if (settings.seed) {
		f->rng = f->rng * 6364136223846793005u + 1442695040888963407u;
		return (int)((f->rng >> 33) % (uint64_t)n);
	}
	for (int i = 1; i < n; i++)
		if (p->steps[ready[i]].priority < p->steps[ready[best]].priority)
			best = i;
	return best;
}

/* Race detection: of each step those that it comes after, one bit each. */
static uint64_t *steps_before(const struct plan *p)
{
	size_t words = (size_t)p->n / 64 + 1;
	uint64_t *before = calloc((size_t)p->n * words + 1, sizeof(*before));

	if (!before)
		abort();
	for (int i = 0; i < p->n; i++)
		for (int d = 0; d < p->steps[i].ndeps; d++) {
			int on = p->steps[i].deps[d];

			for (size_t w = 0; w < words; w++)
				before[(size_t)i * words + w] |= before[(size_t)on * words + w];
			before[(size_t)i * words + (size_t)on / 64] |= UINT64_C(1) << on % 64;
		}
	return before;
}

/* Without `before` all steps are one. */
static struct watch_key key_of(const struct plan *p, int step, const struct op *op, const uint64_t *before)
{
	struct watch_key key = op->key;

	if (!before)
		return key;
	key.seq = key.first + (uint32_t)step;
	key.before = before + (size_t)step * ((size_t)p->n / 64 + 1);
	return key;
}

static int run_plan(struct flight *f, struct plan *p, struct fence **fences, struct op *op, uint64_t *before)
{
	bool *done = calloc((size_t)p->n + 1, sizeof(bool));
	int *ready = calloc((size_t)p->n + 1, sizeof(int)), *left = calloc((size_t)p->n + 1, sizeof(int));
	int n = 0, rc = 0;

	if (!done || !ready || !left)
		abort();
	for (int i = 0; i < p->n; i++) {
		left[i] = p->steps[i].ndeps;
		if (!left[i])
			ready[n++] = i;
	}
	while (n && !rc) {
		int k = choose(f, p, ready, n), at = ready[k];

		memmove(&ready[k], &ready[k + 1], sizeof(int) * (size_t)(n - k - 1));
		n--;
		struct watch_key key = key_of(p, at, op, before);

		rc = run_step(f, &p->steps[at], fences ? fences[at] : NULL, op, &key);
		for (int j = at + 1; j < p->n; j++)
			for (int d = 0; d < p->steps[j].ndeps; d++)
				if (p->steps[j].deps[d] == at && !--left[j])
					ready[n++] = j;
	}
	free(done);
	free(ready);
	free(left);
	return rc;
}

static int run_flight(struct op *op)
{
	struct flight *f = op->data;
	uint64_t *before = op->key.vc ? steps_before(f->plan) : NULL;
	int rc = run_plan(f, f->plan, f->fences, op, before);

	free(before);
	return rc;
}

/* Events of steps that never ran (an error came first) must not keep anybody waiting. */
static void drop_flight(struct op *op)
{
	struct flight *f = op->data;

	for (int i = 0; i < f->plan->n; i++) {
		if (f->fences[i] && f->plan->steps[i].type == CU_GRAPH_NODE_TYPE_EVENT_RECORD)
			fence_reach(f->fences[i]);
		fence_put(f->fences[i]);
	}
	plan_put(f->plan);
	free(f->fences);
	free(f);
}

static uint64_t plan_cost(const struct plan *p)
{
	uint64_t *end = calloc((size_t)p->n + 1, sizeof(*end)), longest = 0;

	if (!end)
		abort();
	for (int i = 0; i < p->n; i++) {
		const struct step *s = &p->steps[i];

		for (int d = 0; d < s->ndeps; d++)
			if (end[s->deps[d]] > end[i])
				end[i] = end[s->deps[d]];
		if (!s->disabled)
			end[i] += clock_cost("graph_node") + (s->work ? s->work->cost : s->child ? plan_cost(s->child) : 0);
		if (end[i] > longest)
			longest = end[i];
	}
	free(end);
	return longest;
}

struct op *plan_op(struct ctx *ctx, struct plan *p)
{
	struct flight *f = calloc(1, sizeof(*f));
	struct op *op;

	if (!f)
		abort();
	f->plan = plan_snapshot(p);
	f->ctx = ctx;
	f->fences = calloc((size_t)p->n + 1, sizeof(*f->fences));
	if (!f->fences)
		abort();
	op = op_create(OPT_GRAPH, run_flight, drop_flight, f, "graph");
	f->rng = settings.seed * 0x9e3779b97f4a7c15u + (uint64_t)p->n;
	for (int i = 0; i < p->n; i++) {
		struct event *e = p->steps[i].event;

		if (!e)
			continue;
		/* As on a device: a graph does not notice that another event has the same handle now. */
		if (!handle_is(e, H_EVENT) || e->id != p->steps[i].event_id) {
			misuse(CUDA_ERROR_INVALID_HANDLE, "launching a graph with an event that was destroyed");
			continue;
		}
		if (p->steps[i].type == CU_GRAPH_NODE_TYPE_EVENT_RECORD) {
			f->fences[i] = calloc(1, sizeof(struct fence));
			if (!f->fences[i])
				abort();
			f->fences[i]->refs = 1;
			f->fences[i]->graph = fence_get(op->done);
			fence_set(&e->fence, f->fences[i]);
		} else {
			f->fences[i] = fence_get(e->fence);
		}
	}
	op->steps = (uint32_t)p->n;
	op->cost = plan_cost(p);
	return op;
}
