/*
 * Streams run for real: each has a thread that takes its operations in order, waits for what they
 * depend on, sleeps a random while (by seed), runs them.
 *
 * Order between streams is settled when an operation is submitted, as a list of fences:
 * the legacy stream waits for all blocking streams of its context, and they wait for it.
 * Fences only ever point backwards in submission order, so nothing can wait in a circle.
 */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

pthread_mutex_t sim_lock = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t sim_cond = PTHREAD_COND_INITIALIZER;
static uint64_t next_stream_id = 1, next_seq = 1;

struct fence *fence_get(struct fence *f)
{
	if (f)
		f->refs++;
	return f;
}

void fence_put(struct fence *f)
{
	if (!f || --f->refs)
		return;
	fence_put(f->graph);
	free(f->vc);
	free(f);
}

void fence_set(struct fence **to, struct fence *f)
{
	struct fence *old = *to;

	*to = fence_get(f);
	fence_put(old);
}

void fence_reach(struct fence *f)
{
	if (f->done)
		return;
	f->wall = wall_seconds();
	f->done = true;
	if (f->awaited)
		pthread_cond_broadcast(&sim_cond);
}

static void fence_await(struct fence *f)
{
	while (!f->done) {
		f->awaited = true;
		pthread_cond_wait(&sim_cond, &sim_lock);
	}
}

struct op *op_create(enum op_type type, int (*run)(struct op *), void (*drop)(struct op *), void *data, const char *name)
{
	struct op *op = calloc(1, sizeof(*op));

	if (!op)
		abort();
	op->type = type;
	op->run = run;
	op->drop = drop;
	op->data = data;
	op->name = name;
	op->done = calloc(1, sizeof(*op->done));
	if (!op->done)
		abort();
	op->done->refs = 1;
	return op;
}

void op_depend(struct op *op, struct fence *f)
{
	if (!f || (f->done && !settings.virtual_clock && !settings.race))
		return;
	op->deps = realloc(op->deps, sizeof(*op->deps) * (size_t)(op->ndeps + 1));
	if (!op->deps)
		abort();
	op->deps[op->ndeps++] = fence_get(f);
}

void op_free(struct op *op)
{
	if (op->drop)
		op->drop(op);
	for (int i = 0; i < op->ndeps; i++)
		fence_put(op->deps[i]);
	fence_put(op->done);
	free(op->deps);
	free(op);
}

static uint64_t next_random(struct stream *s)
{
	s->rng ^= s->rng << 13;
	s->rng ^= s->rng >> 7;
	s->rng ^= s->rng << 17;
	return s->rng;
}

static void run_one(struct stream *s, struct op *op)
{
	bool skip = s->ctx->sticky && !op->always;
	uint64_t nap = settings.delay_us ? next_random(s) % (uint64_t)(settings.delay_us + 1) : 0;
	int rc;

	for (int i = 0; i < op->ndeps; i++)
		fence_await(op->deps[i]);
	skip = s->ctx->sticky && !op->always;
	unlock();
	if (nap)
		usleep((useconds_t)nap);
	rc = skip || !op->run ? 0 : op->run(op);
	lock();
	if (rc && !s->ctx->sticky)
		s->ctx->sticky = rc;
	fence_reach(op->done);
}

static void stream_free(struct stream *s)
{
	for (struct stream **p = &s->ctx->streams; *p; p = &(*p)->next)
		if (*p == s) {
			*p = s->next;
			break;
		}
	fence_put(s->last);
	free(s->attrs);
	pthread_cond_destroy(&s->more);
	free(s);
}

static void *worker(void *arg)
{
	struct stream *s = arg;

	lock();
	for (;;) {
		struct op *op;

		while (!s->head && !s->destroyed)
			pthread_cond_wait(&s->more, &sim_lock);
		if (!s->head)
			break;
		op = s->head;
		s->busy = true;
		run_one(s, op);
		s->head = op->next;
		if (!s->head)
			s->tail = &s->head;
		s->busy = false;
		op_free(op);
	}
	stream_free(s);
	unlock();
	return NULL;
}

struct stream *stream_create(struct ctx *ctx, unsigned flags, int priority)
{
	struct stream *s = calloc(1, sizeof(*s));

	if (!s)
		abort();
	s->ctx = ctx;
	s->flags = flags;
	s->priority = priority;
	s->tail = &s->head;
	pthread_cond_init(&s->more, NULL);
	s->id = next_stream_id++;
	s->rng = (settings.seed + 1) * 0x9e3779b97f4a7c15u + s->id * 0xbf58476d1ce4e5b9u;
	s->next = ctx->streams;
	ctx->streams = s;
	return s;
}

/* Work that is queued still runs; the thread takes the stream down behind it. */
void stream_destroy(struct stream *s)
{
	s->destroyed = true;
	if (!s->started)
		stream_free(s);
	else
		pthread_cond_signal(&s->more);
}

static void start(struct stream *s)
{
	pthread_attr_t attr;
	pthread_t t;

	s->started = true;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 1 << 20);
	if (pthread_create(&t, &attr, worker, s))
		abort();
	pthread_attr_destroy(&attr);
}

static bool blocking(const struct stream *s)
{
	return !s->legacy && !(s->flags & CU_STREAM_NON_BLOCKING);
}

static void order_legacy(struct stream *s, struct op *op)
{
	if (s->legacy) {
		for (struct stream *o = s->ctx->streams; o; o = o->next)
			if (blocking(o))
				op_depend(op, o->last);
	} else if (blocking(s)) {
		op_depend(op, s->ctx->legacy_last);
	}
}

/* Race detection: what the host has waited for is ordered before whatever it submits later, in any thread. */
static uint32_t host_vc[WATCH_STREAMS], slot_seq[WATCH_STREAMS];

static void vc_join(uint32_t *to, const struct fence *f)
{
	if (f && f->graph)
		f = f->graph;
	for (int i = 0; f && f->vc && i < WATCH_STREAMS; i++)
		if (f->vc[i] > to[i])
			to[i] = f->vc[i];
}

static void vc_place(struct stream *s, struct op *op)
{
	uint32_t *vc = malloc(sizeof(host_vc));

	if (!vc)
		abort();
	memcpy(vc, host_vc, sizeof(host_vc));
	vc_join(vc, s->last);
	for (int i = 0; i < op->ndeps; i++)
		vc_join(vc, op->deps[i]);
	s->slot = (uint32_t)(s->id % WATCH_STREAMS);
	/* Streams that share a slot share its count: then a race may be missed, but none is made up. */
	slot_seq[s->slot] += op->steps + 1;
	s->seq = vc[s->slot] = slot_seq[s->slot];
	op->done->vc = vc;
	op->key = (struct watch_key){s->slot, s->seq, vc, op->name, s->seq - op->steps, op->steps, NULL};
}

struct fence *stream_submit(struct stream *s, struct op *op)
{
	uint64_t ready = s->last ? s->last->vend : 0;

	order_legacy(s, op);
	if (settings.race)
		vc_place(s, op);
	op->stream = s;
	op->done->seq = next_seq++;
	for (int i = 0; i < op->ndeps; i++)
		if (op->deps[i]->vend > ready)
			ready = op->deps[i]->vend;
	clock_place(op, ready);
	stats_op(op);
	*s->tail = op;
	s->tail = &op->next;
	fence_set(&s->last, op->done);
	if (s->legacy)
		fence_set(&s->ctx->legacy_last, op->done);
	if (!s->started)
		start(s);
	pthread_cond_signal(&s->more);
	return op->done;
}

void fence_wait(struct fence *f)
{
	if (!f)
		return;
	fence_get(f);
	fence_await(f);
	clock_host_reaches(f->vend);
	vc_join(host_vc, f);
	fence_put(f);
}

/* In virtual time the host sees an operation end only when its clock has got there. */
bool fence_reached(const struct fence *f)
{
	if (!f)
		return true;
	if (!settings.virtual_clock) {
		if (f->done)
			vc_join(host_vc, f);
		return f->done;
	}
	if (tls.vnow < f->vend)
		return false;
	fence_wait((struct fence *)f);
	return true;
}

int ctx_tails(struct ctx *ctx, struct fence **list, int cap)
{
	int n = 0;

	for (struct stream *s = ctx->streams; s && n < cap; s = s->next)
		if (s->last)
			list[n++] = fence_get(s->last);
	return n;
}

int stream_wait(struct stream *s)
{
	struct ctx *ctx = s->ctx;
	struct fence *list[512];
	int n = 0;

	/* Waiting for the legacy stream means waiting for what it would wait for. */
	if (s->legacy)
		for (struct stream *o = ctx->streams; o && n < 512; o = o->next)
			if (o->last && (o == s || blocking(o)))
				list[n++] = fence_get(o->last);
	if (!s->legacy && s->last)
		list[n++] = fence_get(s->last);
	if (blocking(s) && ctx->legacy_last)
		list[n++] = fence_get(ctx->legacy_last);
	for (int i = 0; i < n; i++) {
		fence_wait(list[i]);
		fence_put(list[i]);
	}
	return ctx->sticky;
}

int ctx_wait(struct ctx *ctx)
{
	struct fence *list[1024];
	int n = ctx_tails(ctx, list, 1024);

	for (int i = 0; i < n; i++) {
		fence_wait(list[i]);
		fence_put(list[i]);
	}
	return ctx->sticky;
}
