#include "batch.h"

#include "finder.h"
#include "graph.h"
#include "settings.h"
#include "stats.h"
#include "submitter.h"

#include <sys/mman.h>

#define MAX_WINDOW 10923 /* a third of the finder's history */
#define MAX_CHUNK 512
#define GRAPHS 256
#define FEW 64
#define FREE 4096 /* operations after which idle GPUs are no longer waited for */
#define KINDS 32768

/* How far the records of the chunk have come in: found again without reading them again. */
struct scan {
	uint64_t tail, cursor;
	uint32_t count;
	bool broken;
};

/*
 * What should go out together next. Chunks double from wherever the GPU was known to be idle, so
 * that it starts at once and each chunk is ready before the one before it ends. Counted from there
 * they begin at the same places each time the window comes back, and so find their graphs again.
 */
struct chunk {
	uint32_t count, left; /* operations in it, and still to come */
	uint32_t size;        /* most for the next one */
	uint64_t since;       /* operations since the GPU was idle */
	uint32_t token[MAX_CHUNK];
};

struct batch {
	void *finder;
	size_t finder_bytes;
	struct handles kinds; /* token: 1 + stream of a launch that can be a node, 0 of anything else */
	bool changed;
	uint32_t length, generation; /* of the window below; length 0: none */
	uint32_t token[MAX_WINDOW], ahead[MAX_WINDOW];
	struct chunk chunk;
	struct scan scan;
	struct op_launch *launch[MAX_CHUNK];
	uint64_t waiting_since;
	struct handles graphs; /* key of the launches in it: struct graph */
	struct handles seen;   /* keys that may become one */
	uint64_t plain_ticks;  /* of one launch, averaged */
};

static void finish(struct batch *b)
{
	if (b->finder)
		munmap(b->finder, b->finder_bytes);
	handles_finish(&b->kinds);
	handles_finish(&b->graphs);
	handles_finish(&b->seen);
	munmap(b, sizeof(*b));
}

static void *map(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static struct batch *create(void)
{
	struct batch *b = map(sizeof(*b));

	if (!b)
		return NULL;
	b->finder_bytes = gpu_finder->size();
	b->finder = map(b->finder_bytes);
	if (!b->finder || handles_init(&b->kinds, KINDS) || handles_init(&b->graphs, GRAPHS) ||
		handles_init(&b->seen, GRAPHS) ||
		gpu_finder->init(b->finder, b->finder_bytes, &b->finder)) {
		finish(b);
		return NULL;
	}
	b->chunk.size = 1;
	return b;
}

static struct batch *batch_of(struct gpu_queue *q)
{
	if (!q->batch && settings.cuda_graphs && gpu_finder)
		q->batch = create();
	return q->batch;
}

/* Launch attributes are for plain launches to carry; parameters in one buffer are welcome. */
static bool is_node(const struct op *op)
{
	return op->kind == OP_LAUNCH && !((const struct op_launch *)op)->attr_count;
}

void batch_saw(struct gpu_queue *q, const struct op *op)
{
	struct batch *b = batch_of(q);

	if (!b)
		return;
	if (!handles_find(&b->kinds, op->token)) {
		if (b->kinds.count >= KINDS / 2)
			handles_clear(&b->kinds);
		handles_put(&b->kinds, op->token, is_node(op) ? 1 + (uint64_t)(uintptr_t)op->stream : 0);
	}
	gpu_finder->feed(b->finder, op->token, clock_monotonic_ns());
	b->chunk.since++;
	b->chunk.left -= b->chunk.left > 0;
}

/* ---- what should go together ---- */

/* Predictions begin where the stream is, the window at its own first token. */
static bool plan(struct batch *b, const struct finder_place *at)
{
	uint32_t n = at->length;

	if (b->length && b->generation == at->generation)
		return true;
	b->length = 0;
	if (n > MAX_WINDOW || gpu_finder->predict(b->finder, b->ahead, n) != n)
		return false;
	for (uint32_t i = 0; i < n; i++)
		b->token[(at->position + i) % n] = b->ahead[i];
	b->length = n;
	b->generation = at->generation;
	b->changed = true;
	stat_inc(STAT_cuda_windows);
	return true;
}

static uint64_t kind_of(const struct batch *b, uint32_t token)
{
	const uint64_t *kind = handles_find(&b->kinds, token);

	return kind ? *kind : 0;
}

/*
 * Most that may go together from this position on. As long as the program lets the GPU run idle now
 * and then, chunks count from there; if it never does, they end where the window ends (of a short
 * one: several of it), so that they begin at the same places again.
 */
static uint32_t room_from(const struct batch *b, uint32_t position)
{
	uint32_t end = b->length;

	if (b->chunk.since < FREE)
		return b->chunk.size;
	if (b->length < MAX_CHUNK)
		end *= MAX_CHUNK / b->length;
	return end - position < b->chunk.size ? end - position : b->chunk.size;
}

static void begin_chunk(struct batch *b, uint32_t position)
{
	struct chunk *c = &b->chunk;
	uint32_t room = room_from(b, position);
	uint64_t kind = kind_of(b, b->token[position]);

	c->count = 0;
	do {
		c->token[c->count] = b->token[(position + c->count) % b->length];
		c->count++;
	} while (kind && c->count < room &&
		 kind_of(b, b->token[(position + c->count) % b->length]) == kind);
	c->left = c->count;
	if (c->size < MAX_CHUNK)
		c->size *= 2;
	b->scan = (struct scan){ 0 };
}

/* The chunk that begins here, or NULL: no window, in the middle of one, or one alone. */
static struct chunk *chunk_here(struct gpu_queue *q, struct batch *b)
{
	struct chunk *c = &b->chunk;
	struct finder_place at;

	if (q->quiet) {
		c->left = 0;
		c->size = 1;
		c->since = 0;
	}
	if (!c->left) {
		if (!gpu_finder->where(b->finder, &at) || !plan(b, &at))
			return NULL;
		begin_chunk(b, at.position);
	}
	return c->left == c->count && c->count > 1 ? c : NULL;
}

void batch_alone(struct gpu_queue *q)
{
	struct batch *b = batch_of(q);

	if (b)
		chunk_here(q, b);
}

/* ---- what of it has been queued ---- */

static void look_ahead(struct gpu_queue *q, struct batch *b)
{
	struct scan *s = &b->scan;
	struct op *op;

	if (s->tail != ring_tail(&q->ring) || !s->cursor)
		*s = (struct scan){ ring_tail(&q->ring), ring_tail(&q->ring), 0, false };
	while (s->count < b->chunk.count && !s->broken) {
		uint64_t behind = s->cursor;
		op = ring_next(&q->ring, &behind);
		if (!op)
			return;
		if (op->token != b->chunk.token[s->count] || !is_node(op)) {
			s->broken = true;
			return;
		}
		b->launch[s->count++] = (struct op_launch *)op;
		s->cursor = behind;
	}
}

/* ---- handing over ---- */

static uint64_t key_of(const struct batch *b, uint32_t count)
{
	uint64_t key = count;

	for (uint32_t i = 0; i < count; i++)
		key = hash_mix(key, b->chunk.token[i]);
	return key;
}

/* A whole chunk will come again; part of one, too, if there are not many of them. */
static bool worth_making(struct batch *b, uint64_t key, uint32_t count)
{
	if (count == b->chunk.count || b->graphs.count < FEW || handles_find(&b->seen, key))
		return true;
	if (handles_put(&b->seen, key, 1))
		handles_clear(&b->seen);
	return false;
}

static void drop_graphs(struct batch *b)
{
	for (uint32_t i = 0; i < b->graphs.size; i++)
		if (b->graphs.slot[i].used)
			graph_destroy((struct graph *)(uintptr_t)b->graphs.slot[i].value);
	handles_clear(&b->graphs);
}

/* Full of graphs: those of windows long gone make room, but not twice for one window. */
static bool make_room(struct batch *b)
{
	if (b->graphs.count < GRAPHS / 4 * 3)
		return true;
	if (!b->changed)
		return false;
	b->changed = false;
	drop_graphs(b);
	return true;
}

static struct graph *graph_for(struct batch *b, uint32_t count)
{
	uint64_t key = key_of(b, count);
	const uint64_t *known = handles_find(&b->graphs, key);

	if (known)
		return (struct graph *)(uintptr_t)*known;
	if (!worth_making(b, key, count) || !make_room(b))
		return NULL;
	struct graph *g = graph_create(key, b->launch, count);
	if (g && handles_put(&b->graphs, key, (uintptr_t)g)) {
		graph_destroy(g);
		return NULL;
	}
	return g;
}

/* Slower than its launches one by one, three times running: such a window is left alone. */
static void judge(struct batch *b, struct graph *g, uint64_t ticks)
{
	if (!settings.cuda_adapt || !b->plain_ticks)
		return;
	g->slow = ticks > b->plain_ticks * g->count ? g->slow + 1 : 0;
	if (g->slow < 3)
		return;
	REAL(cuGraphExecDestroy)(g->exec);
	g->exec = NULL;
}

static bool submit_graph(struct gpu_queue *q, struct batch *b)
{
	uint32_t count = b->scan.count;
	uint64_t behind = b->scan.cursor, start;
	struct graph *g = count > 1 ? graph_for(b, count) : NULL;

	if (!g || !g->exec || !graph_fits(g, b->launch, count))
		return false;
	start = clock_ticks();
	if (graph_submit(g, b->launch)) {
		/* One by one the same launches may well succeed; if not, the error is theirs. */
		REAL(cuGraphExecDestroy)(g->exec);
		g->exec = NULL;
		return false;
	}
	judge(b, g, clock_ticks() - start);
	q->last_stream = b->launch[0]->op.stream;
	for (uint32_t i = 0; i < count; i++)
		batch_saw(q, &b->launch[i]->op);
	stat_inc(STAT_cuda_graph_launches);
	stat_add(STAT_cuda_batched, count);
	submit_done(q, count, behind, CUDA_SUCCESS);
	return true;
}

static void submit_plain(struct gpu_queue *q)
{
	uint64_t cursor = ring_tail(&q->ring);
	struct op *op = ring_next(&q->ring, &cursor);
	uint64_t start = clock_ticks();
	bool launch = is_node(op);

	submit_keep_error(q, submit_one(q, op, cursor));
	if (q->batch && launch)
		q->batch->plain_ticks = (q->batch->plain_ticks * 15 + clock_ticks() - start) / 16;
}

/* Only while the GPU has work, and only so long: a kernel may be waiting for what is queued here. */
static bool may_wait(struct gpu_queue *q, struct batch *b)
{
	uint64_t now = clock_ticks();

	if (!b->waiting_since)
		b->waiting_since = now;
	return now - b->waiting_since < us_to_ticks(settings.cuda_wait) && !submit_idle(q);
}

/* Whether the chunk's operations that are queued may go out now. */
static bool ready(struct gpu_queue *q, struct batch *b, bool all)
{
	look_ahead(q, b);
	if (b->scan.count == b->chunk.count || b->scan.broken || all || !may_wait(q, b)) {
		b->waiting_since = 0;
		return true;
	}
	return false;
}

bool batch_submit(struct gpu_queue *q, bool all)
{
	struct batch *b = batch_of(q);

	if (b && chunk_here(q, b)) {
		if (!ready(q, b, all))
			return false;
		if ((all || b->scan.count == b->chunk.count) && submit_graph(q, b))
			return true;
	}
	submit_plain(q);
	return true;
}

void batch_wait(struct gpu_queue *q)
{
	uint64_t head = atomic_load_explicit(&q->ring.head, memory_order_relaxed);

	for (int i = 0; i < 64; i++) {
		if (atomic_load_explicit(&q->ring.head, memory_order_relaxed) != head)
			return;
		cpu_relax();
	}
}

bool batch_forget(struct gpu_queue *q)
{
	if (!q->batch || !q->batch->graphs.count)
		return false;
	drop_graphs(q->batch);
	return true;
}
