/* Streams and events. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "printf.h"

static pthread_key_t thread_end;
static pthread_once_t thread_end_once = PTHREAD_ONCE_INIT;

/* A thread's own streams go with it; what is queued in them still runs. */
static void thread_ends(void *own)
{
	struct tls *t = own;

	lock();
	for (int i = 0; i < t->nown; i++) {
		if (!handle_is(t->own[i].s, H_STREAM))
			continue;
		capture_stream_gone(t->own[i].s);
		handle_remove(t->own[i].s);
		stream_destroy(t->own[i].s);
	}
	unlock();
}

static void make_thread_end(void)
{
	pthread_key_create(&thread_end, thread_ends);
}

/* A stream that went with its context leaves its place. */
static int place_for_own(void)
{
	int i = 0;

	while (i < tls.nown && !tls.own[i].ctx->destroyed && handle_is(tls.own[i].s, H_STREAM))
		i++;
	if (i == 16) {
		fprintf(stderr, "simcuda: a thread with streams of its own in more than 16 contexts\n");
		abort();
	}
	if (i == tls.nown)
		tls.nown++;
	return i;
}

static struct stream *per_thread_stream(struct ctx *ctx)
{
	struct stream *s;
	int place;

	for (int i = 0; i < tls.nown; i++)
		if (tls.own[i].ctx == ctx && handle_is(tls.own[i].s, H_STREAM))
			return tls.own[i].s;
	place = place_for_own();
	s = stream_create(ctx, 0, 0);
	s->per_thread = true;
	handle_add(s, H_STREAM);
	pthread_once(&thread_end_once, make_thread_end);
	pthread_setspecific(thread_end, &tls);
	tls.own[place].ctx = ctx;
	tls.own[place].s = s;
	return s;
}

int stream_of(struct ctx *ctx, CUstream h, struct stream **ret)
{
	if (h == NULL)
		h = tls.ptds ? CU_STREAM_PER_THREAD : CU_STREAM_LEGACY;
	if (h == CU_STREAM_LEGACY)
		*ret = ctx->null_stream;
	else if (h == CU_STREAM_PER_THREAD)
		*ret = per_thread_stream(ctx);
	else if (handle_is(h, H_STREAM))
		*ret = h;
	else
		return misuse(CUDA_ERROR_INVALID_HANDLE, "%p is no stream", (void *)h);
	return 0;
}

static CUresult make(CUstream *ret, unsigned flags, int priority)
{
	struct ctx *ctx;

	ENTER(ctx);
	if (!ret || flags & ~1u)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	priority = priority > LEAST_PRIORITY ? LEAST_PRIORITY : priority < GREATEST_PRIORITY ? GREATEST_PRIORITY : priority;
	*ret = stream_create(ctx, flags, priority);
	handle_add(*ret, H_STREAM);
	LEAVE(CUDA_SUCCESS);
}

CUresult cuStreamCreate(CUstream *ret, unsigned int flags)
{
	CALL();
	return make(ret, flags, 0);
}

CUresult cuStreamCreateWithPriority(CUstream *ret, unsigned int flags, int priority)
{
	CALL();
	return make(ret, flags, priority);
}

CUresult cuStreamDestroy_v2(CUstream s)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	if (!handle_is(s, H_STREAM) || s->per_thread)
		LEAVE(misuse(CUDA_ERROR_INVALID_HANDLE, "destroying what is no stream"));
	capture_stream_gone(s);
	handle_remove(s);
	stream_destroy(s);
	LEAVE(CUDA_SUCCESS);
}

#define STREAM(ctx, h, s) do { int src_ = stream_of(ctx, h, &(s)); if (src_) LEAVE(src_); } while (0)

CUresult cuStreamSynchronize(CUstream h)
{
	struct ctx *ctx;
	struct stream *s;
	int rc;

	ENTER(ctx);
	CALL();
	STREAM(ctx, h, s);
	rc = capture_blocks(s->ctx, s, false);
	if (!rc)
		rc = stream_wait(s);
	unlock();
	device_printf_flush();
	return (CUresult)rc;
}

CUresult cuStreamQuery(CUstream h)
{
	struct ctx *ctx;
	struct stream *s;
	bool ready;
	int rc;

	ENTER(ctx);
	CALL();
	STREAM(ctx, h, s);
	rc = capture_blocks(s->ctx, s, false);
	if (rc)
		LEAVE(rc);
	ready = fence_reached(s->last);
	if (s->legacy)
		for (struct stream *o = s->ctx->streams; o && ready; o = o->next)
			ready = o->flags & CU_STREAM_NON_BLOCKING || fence_reached(o->last);
	LEAVE(s->ctx->sticky ? s->ctx->sticky : ready ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY);
}

/* Entries that tell one thing of a stream. */
#define GETTER(entry, type, what)                                                                  \
	CUresult entry(CUstream h, type *ret)                                                      \
	{                                                                                          \
		struct ctx *ctx;                                                                   \
		struct stream *s;                                                                  \
                                                                                                   \
		ENTER(ctx);                                                                        \
		CALL();                                                                            \
		STREAM(ctx, h, s);                                                                 \
		if (!ret)                                                                          \
			LEAVE(CUDA_ERROR_INVALID_VALUE);                                           \
		*ret = what;                                                                       \
		LEAVE(CUDA_SUCCESS);                                                               \
	}
GETTER(cuStreamGetFlags, unsigned int, s->flags)
GETTER(cuStreamGetPriority, int, s->priority)
GETTER(cuStreamGetId, unsigned long long, s->id)
GETTER(cuStreamGetCtx, CUcontext, s->ctx)
GETTER(cuStreamGetDevice, CUdevice, s->ctx->device)

/* Events */

void event_free(struct event *e)
{
	fence_put(e->fence);
	free(e->cap_nodes);
	free(e);
}

static uint64_t next_event_id;

CUresult cuEventCreate(CUevent *ret, unsigned int flags)
{
	struct ctx *ctx;
	struct event *e;

	ENTER(ctx);
	CALL();
	if (!ret || flags & ~7u || (flags & CU_EVENT_INTERPROCESS && !(flags & CU_EVENT_DISABLE_TIMING)))
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	e = calloc(1, sizeof(*e));
	if (!e)
		LEAVE(CUDA_ERROR_OUT_OF_MEMORY);
	e->ctx = ctx;
	e->id = ++next_event_id;
	e->flags = flags;
	e->next = ctx->events;
	ctx->events = e;
	handle_add(e, H_EVENT);
	*ret = e;
	LEAVE(CUDA_SUCCESS);
}

CUresult cuEventDestroy_v2(CUevent e)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	if (!handle_is(e, H_EVENT))
		LEAVE(misuse(CUDA_ERROR_INVALID_HANDLE, "destroying what is no event"));
	for (struct event **p = &e->ctx->events; *p; p = &(*p)->next)
		if (*p == e) {
			*p = e->next;
			break;
		}
	handle_remove(e);
	event_free(e);
	LEAVE(CUDA_SUCCESS);
}

#define EVENT(e) do { if (!handle_is(e, H_EVENT)) LEAVE(misuse(CUDA_ERROR_INVALID_HANDLE, "%p is no event", (void *)(e))); } while (0)

static CUresult record(CUevent e, CUstream h, unsigned flags)
{
	struct ctx *ctx;
	struct stream *s;
	struct op *op;
	int rc = 0;

	ENTER(ctx);
	EVENT(e);
	STREAM(ctx, h, s);
	if (flags & ~1u)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	if (e->ctx != s->ctx)
		LEAVE(misuse(CUDA_ERROR_INVALID_HANDLE, "event and stream belong to different contexts"));
	if (capture_event(s, e, &rc))
		LEAVE(rc);
	op = op_create(OPT_EVENT, NULL, NULL, NULL, "event");
	op->cost = clock_cost("event");
	op->always = true;
	fence_set(&e->fence, op->done);
	stream_submit(s, op);
	LEAVE(CUDA_SUCCESS);
}

CUresult cuEventRecord(CUevent e, CUstream h)
{
	CALL();
	return record(e, h, 0);
}

CUresult cuEventRecordWithFlags(CUevent e, CUstream h, unsigned int flags)
{
	CALL();
	return record(e, h, flags);
}

CUresult cuStreamWaitEvent(CUstream h, CUevent e, unsigned int flags)
{
	struct ctx *ctx;
	struct stream *s;
	struct op *op;
	int rc = 0;

	ENTER(ctx);
	CALL();
	EVENT(e);
	STREAM(ctx, h, s);
	if (flags & ~1u)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	if (capture_wait(s, e, &rc))
		LEAVE(rc);
	if (!e->fence)
		LEAVE(CUDA_SUCCESS); /* never recorded: nothing to wait for */
	op = op_create(OPT_WAIT, NULL, NULL, NULL, "wait");
	op->always = true;
	op_depend(op, e->fence);
	stream_submit(s, op);
	LEAVE(CUDA_SUCCESS);
}

CUresult cuEventQuery(CUevent e)
{
	struct ctx *ctx;
	int rc;

	ENTER(ctx);
	CALL();
	EVENT(e);
	rc = e->capture ? CUDA_ERROR_CAPTURED_EVENT : capture_blocks(ctx, NULL, true);
	if (rc)
		LEAVE(rc);
	LEAVE(fence_reached(e->fence) ? (CUresult)e->ctx->sticky : CUDA_ERROR_NOT_READY);
}

CUresult cuEventSynchronize(CUevent e)
{
	struct ctx *ctx;
	struct ctx *owner;
	int rc;

	ENTER(ctx);
	CALL();
	EVENT(e);
	rc = e->capture ? CUDA_ERROR_CAPTURED_EVENT : capture_blocks(ctx, NULL, true);
	if (rc)
		LEAVE(rc);
	owner = e->ctx;
	fence_wait(e->fence);
	rc = owner->sticky;
	unlock();
	device_printf_flush();
	return (CUresult)rc;
}

CUresult cuEventElapsedTime(float *ms, CUevent a, CUevent b)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	EVENT(a);
	EVENT(b);
	if (!ms)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	if (!a->fence || !b->fence || (a->flags | b->flags) & CU_EVENT_DISABLE_TIMING)
		LEAVE(misuse(CUDA_ERROR_INVALID_HANDLE, "elapsed time of events never recorded, or without timing"));
	if (!fence_reached(a->fence) || !fence_reached(b->fence))
		LEAVE(CUDA_ERROR_NOT_READY);
	if (settings.virtual_clock)
		*ms = (float)(((double)b->fence->vend - (double)a->fence->vend) * 1e-6);
	else
		*ms = (float)((b->fence->wall - a->fence->wall) * 1e3);
	LEAVE(CUDA_SUCCESS);
}

CUresult cuEventElapsedTime_v2(float *ms, CUevent a, CUevent b)
{
	return cuEventElapsedTime(ms, a, b);
}
