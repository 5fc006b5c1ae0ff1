#include "batch.h"

#include "finder.h"
#include "graphs.h"
#include "node.h"
#include "settings.h"
#include "stats.h"
#include "streams.h"
#include "submitter.h"

#include <sys/mman.h>

#define MAX_WINDOW 10923 /* a third of the finder's history */
#define MAX_CHUNK PLAN_MOST
#define MAX_FORK 128 /* a fork and its join of up to so many go together even where less would */
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
	struct handles kinds; /* token: struct plan_kind */
	struct streams streams;
	uint32_t length, generation; /* of the window below; length 0: none */
	uint32_t token[MAX_WINDOW], ahead[MAX_WINDOW];
	struct chunk chunk;
	struct scan scan;
	struct plan plan;
	struct graph_run run;
	uint64_t behind[MAX_CHUNK]; /* of each operation of the run: where the next record is */
	uint64_t waiting_since;
	struct graphs graphs;
};

static void finish(struct batch *b)
{
	if (b->finder)
		munmap(b->finder, b->finder_bytes);
	handles_finish(&b->kinds);
	graphs_finish(&b->graphs);
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
	if (!b->finder || handles_init(&b->kinds, KINDS) || graphs_init(&b->graphs) ||
		gpu_finder->init(b->finder, b->finder_bytes, &b->finder)) {
		finish(b);
		return NULL;
	}
	b->chunk.size = 1;
	streams_init(&b->streams);
	return b;
}

static struct batch *batch_of(struct gpu_queue *q)
{
	if (!q->batch && settings.cuda_graphs && gpu_finder)
		q->batch = create();
	return q->batch;
}

static struct plan_kind kind_of(struct batch *b, const struct op *op)
{
	struct plan_kind k = { .class = op->kind == OP_EVENT ? PLAN_RECORD :
					op->kind == OP_WAIT  ? PLAN_WAIT :
							       PLAN_NODE };

	k.stream = streams_role(&b->streams, op->stream);
	if (op->kind == OP_WAIT)
		k.source = streams_role(&b->streams, ((const struct op_event *)op)->source);
	if (k.stream == PLAN_NOBODY || k.source == PLAN_NOBODY || !node_possible(op))
		k.class = PLAN_OTHER;
	return k;
}

static uint64_t packed(struct plan_kind k)
{
	return k.class | (uint64_t)k.stream << 8 | (uint64_t)k.source << 16;
}

static struct plan_kind kind_of_token(const struct batch *b, uint32_t token)
{
	const uint64_t *k = handles_find(&b->kinds, token);

	return k ? (struct plan_kind){ *k & 255, *k >> 8 & 255, *k >> 16 & 255 } : (struct plan_kind){ 0 };
}

/* Whoever passed the queue by may have used any stream. */
static void notice_others(struct gpu_queue *q, struct batch *b)
{
	if (atomic_load_explicit(&q->passed_by, memory_order_relaxed) && atomic_exchange(&q->passed_by, false))
		streams_passed_by(&b->streams, atomic_exchange(&q->waited, false));
}

void batch_saw(struct gpu_queue *q, const struct op *op)
{
	struct batch *b = batch_of(q);

	if (!b)
		return;
	if (!handles_find(&b->kinds, op->token)) {
		if (b->kinds.count >= KINDS / 2)
			handles_clear(&b->kinds);
		handles_put(&b->kinds, op->token, packed(kind_of(b, op)));
	}
	notice_others(q, b);
	streams_saw(&b->streams, op);
	stat_add(STAT_cuda_marks, op->begins_step);
	gpu_finder->feed(b->finder, op->token, clock_monotonic_ns(), op->begins_step);
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
	b->graphs.changed = true;
	stat_inc(STAT_cuda_windows);
	return true;
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

/*
 * As many as there is room for, ending where all streams but the first have been joined; a fork for
 * which there is no room goes with its join, if that is not far.
 */
static uint32_t run_from(struct batch *b, uint32_t position, uint32_t room)
{
	uint32_t most = room > MAX_FORK ? room : MAX_FORK, n = 0, best = 0;

	plan_begin(&b->plan);
	while (n < (best ? room : most) &&
		plan_add(&b->plan, kind_of_token(b, b->token[(position + n) % b->length]))) {
		n++;
		if (plan_closed(&b->plan))
			best = n;
	}
	return best ? best : 1;
}

static void begin_chunk(struct batch *b, uint32_t position)
{
	struct chunk *c = &b->chunk;

	c->count = run_from(b, position, room_from(b, position));
	for (uint32_t i = 0; i < c->count; i++)
		c->token[i] = b->token[(position + i) % b->length];
	c->left = c->count;
	if (c->size < c->count)
		c->size = c->count;
	c->size = c->size < MAX_CHUNK / 2 ? c->size * 2 : MAX_CHUNK;
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
		struct plan_kind k = kind_of(b, op);
		if (op->token != b->chunk.token[s->count] || k.class == PLAN_OTHER) {
			s->broken = true;
			return;
		}
		b->run.op[s->count] = op;
		b->run.kind[s->count] = k;
		b->behind[s->count++] = s->cursor = behind;
	}
}

static CUevent event_of(const struct graph_run *run, uint32_t i)
{
	return ((struct op_event *)run->op[i])->event;
}

/* The record that this wait is for: the latest one of the source. Before the run: its last operation. */
static bool wait_is_as_planned(const struct batch *b, uint32_t i)
{
	const struct graph_run *run = &b->run;
	uint8_t source = run->kind[i].source;

	for (uint32_t k = i; k-- > 0;)
		if (run->kind[k].class == PLAN_RECORD && run->kind[k].stream == source)
			return event_of(run, k) == event_of(run, i);
	return b->streams.tail[source] == event_of(run, i);
}

static bool recorded_again(const struct graph_run *run, uint32_t i)
{
	for (uint32_t k = i + 1; k < run->count; k++)
		if (run->kind[k].class == PLAN_RECORD && event_of(run, k) == event_of(run, i))
			return true;
	return false;
}

/* Looks at what tokens do not say: which events they are. False: not what the plan supposed. */
static bool look_at_events(struct batch *b)
{
	struct graph_run *run = &b->run;

	for (uint32_t i = 0; i < run->count; i++) {
		if (run->kind[i].class == PLAN_WAIT && !wait_is_as_planned(b, i))
			return false;
		run->superseded[i] = run->kind[i].class == PLAN_RECORD && recorded_again(run, i);
	}
	return true;
}

/* ---- handing over ---- */

static uint64_t key_of(const struct batch *b, uint32_t count)
{
	uint64_t key = count;

	for (uint32_t i = 0; i < count; i++)
		key = hash_mix(key, b->chunk.token[i]);
	return key;
}

/* Calls as a graph: to launch it, and for each other stream two before it and one behind (streams_enter). */
static uint32_t most_calls(const struct graph_run *run)
{
	uint32_t streams = (uint32_t)__builtin_popcount(graph_run_streams(run));

	return streams ? 1 + 3 * (streams - 1) : 1;
}

static bool worth_a_graph(const struct graph_run *run)
{
	uint32_t nodes = 0;

	for (uint32_t i = 0; i < run->count && nodes < 2; i++)
		nodes += run->kind[i].class == PLAN_NODE;
	return nodes == 2 && most_calls(run) <= run->count;
}

/* How many of what has come in make a run: all, or as many as end where streams are joined. */
static uint32_t closed_part(struct batch *b)
{
	uint32_t best = 0;

	plan_begin(&b->plan);
	for (uint32_t i = 0; i < b->scan.count && plan_add(&b->plan, b->run.kind[i]); i++)
		if (plan_closed(&b->plan))
			best = i + 1;
	return best;
}

static uint32_t launches_in(const struct graph_run *run)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < run->count; i++)
		n += run->op[i]->kind == OP_LAUNCH;
	return n;
}

static CUresult launch_graph(struct gpu_queue *q, struct batch *b, struct graph *g, uint8_t home)
{
	CUresult r = streams_enter(q, &b->streams, g->others, home);

	if (!r)
		r = graph_submit(g, &b->run);
	if (!r)
		streams_left(q, &b->streams, g->others, home);
	return r;
}

static bool submit_graph(struct gpu_queue *q, struct batch *b)
{
	struct graph_run *run = &b->run;
	bool whole = b->scan.count == b->chunk.count;
	/* Asked first: what was under way then and is not any more has been noticed. */
	bool passed = queue_is_passed(q);
	struct graph *g;
	uint64_t start;
	uint8_t home;

	run->count = whole ? b->scan.count : closed_part(b);
	run->ctx = q->ctx;
	notice_others(q, b);
	if (!worth_a_graph(run) || !look_at_events(b))
		return false;
	g = graphs_get(&b->graphs, key_of(b, run->count), run, &b->streams, run->count == b->chunk.count,
		!b->scan.broken);
	if (!g || !g->exec || !graph_fits(g, run))
		return false;
	home = streams_role(&b->streams, g->home);
	if ((g->others && passed) || !streams_may_enter(q, &b->streams, g->others, home))
		return false;
	start = clock_ticks();
	if (launch_graph(q, b, g, home)) {
		/* One by one the same operations may well succeed; if not, the error is theirs. */
		graph_give_up(g);
		return false;
	}
	graphs_judge(&b->graphs, g, clock_ticks() - start);
	q->last_stream = g->home;
	for (uint32_t i = 0; i < run->count; i++)
		batch_saw(q, run->op[i]);
	if (!whole)
		b->chunk.left = 0;
	stat_inc(STAT_cuda_graph_launches);
	stat_add(STAT_cuda_forked, g->others != 0);
	stat_add(STAT_cuda_batched, launches_in(run));
	submit_done(q, run->count, b->behind[run->count - 1], CUDA_SUCCESS);
	return true;
}

static void submit_plain(struct gpu_queue *q)
{
	uint64_t cursor = ring_tail(&q->ring);
	struct op *op = ring_next(&q->ring, &cursor);
	uint64_t start = clock_ticks();
	bool launch = op->kind == OP_LAUNCH;

	submit_keep_error(q, submit_one(q, op, cursor));
	if (q->batch && launch)
		graphs_plain_took(&q->batch->graphs, clock_ticks() - start);
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
		if ((all || b->scan.broken || b->scan.count == b->chunk.count) && submit_graph(q, b))
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
	return q->batch && graphs_drop(&q->batch->graphs);
}

void batch_forget_event(struct gpu_queue *q, CUevent e)
{
	if (q->batch)
		graphs_forget_event(&q->batch->graphs, e);
}

/* Its handle may come back as another stream's, with another priority. */
void batch_forget_stream(struct gpu_queue *q, CUstream s)
{
	struct batch *b = q->batch;

	if (!b || !streams_forget(&b->streams, s))
		return;
	graphs_drop(&b->graphs);
	handles_clear(&b->kinds);
	b->chunk.left = 0;
}

void batch_close(struct gpu_queue *q)
{
	struct batch *b = q->batch;

	if (!b)
		return;
	streams_finish(&b->streams);
	handles_clear(&b->kinds);
	gpu_finder->reset(b->finder);
	b->length = 0;
	b->waiting_since = 0;
	b->chunk = (struct chunk){ .size = 1 };
}

CUresult batch_make_way(struct gpu_queue *q, const struct op *op)
{
	if (!atomic_load_explicit(&q->owing, memory_order_relaxed))
		return CUDA_SUCCESS;
	struct streams *st = &q->batch->streams;
	return streams_settle(q, st, streams_role(st, op->stream));
}

CUresult batch_settle(struct gpu_queue *q)
{
	return atomic_load(&q->owing) ? streams_settle_all(q, &q->batch->streams) : CUDA_SUCCESS;
}
