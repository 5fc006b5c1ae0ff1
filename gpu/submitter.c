#include "submitter.h"

#include "batch.h"
#include "log.h"
#include "settings.h"
#include "stats.h"

#include <signal.h>

bool submit_idle(struct gpu_queue *q)
{
	return q->quiet || REAL(cuStreamQuery)(q->last_stream) != CUDA_ERROR_NOT_READY;
}

void submit_keep_error(struct gpu_queue *q, CUresult result)
{
	int none = 0;

	if (!result)
		return;
	stat_inc(STAT_cuda_late_errors);
	atomic_compare_exchange_strong(&q->error, &none, result);
}

/* Errors from here on are the context's, not the call's: they come again from every call. */
static bool is_sticky(CUresult result)
{
	return result >= CUDA_ERROR_ILLEGAL_ADDRESS && result != CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
}

void submit_done(struct gpu_queue *q, unsigned n, uint64_t behind, CUresult result)
{
	if (is_sticky(result))
		atomic_store(&q->failed, true);
	q->quiet = false;
	stat_inc(STAT_cuda_submissions);
	ring_release(&q->ring, behind);
	/* Who sees done == put must also see the driver told: the caller of a real entry is next. */
	atomic_fetch_add_explicit(&q->done_n, n, memory_order_release);
}

/* What fits bare fits preloaded: our graphs make room and the driver is asked once more. */
static CUresult submit_hard(struct op *op, struct gpu_queue *q)
{
	CUresult result = op_submit(op);

	if (result != CUDA_ERROR_OUT_OF_MEMORY || !batch_forget(q))
		return result;
	stat_inc(STAT_cuda_given_back);
	return op_submit(op);
}

CUresult submit_one(struct gpu_queue *q, struct op *op, uint64_t behind)
{
	submit_keep_error(q, batch_make_way(q, op));
	CUresult result = submit_hard(op, q);

	q->last_stream = op->stream;
	batch_saw(q, op);
	submit_done(q, 1, behind, result);
	return result;
}

CUresult submit_inline(struct gpu_queue *q)
{
	uint64_t cursor = ring_tail(&q->ring);
	struct op *op = ring_next(&q->ring, &cursor);

	stat_inc(STAT_cuda_inline);
	batch_alone(q);
	return submit_one(q, op, cursor);
}

/* From whatever thread: its current context is the queue's while it submits. */
static bool context_enter(struct gpu_queue *q)
{
	CUcontext now = NULL;

	REAL(cuCtxGetCurrent)(&now);
	return now != q->ctx && !REAL(cuCtxPushCurrent_v2)(q->ctx);
}

static void context_leave(bool entered)
{
	CUcontext popped;

	if (entered)
		REAL(cuCtxPopCurrent_v2)(&popped);
}

void queue_drain(struct gpu_queue *q)
{
	uint64_t target = atomic_load_explicit(&q->put_n, memory_order_acquire);

	if (atomic_load_explicit(&q->done_n, memory_order_acquire) >= target && !atomic_load(&q->owing))
		return;
	stat_inc(STAT_cuda_drains);
	lock_take(&q->submit);
	bool entered = context_enter(q);
	while (atomic_load_explicit(&q->done_n, memory_order_relaxed) < target)
		batch_submit(q, true);
	submit_keep_error(q, batch_settle(q));
	context_leave(entered);
	lock_drop(&q->submit);
}

static bool spin_for_work(struct gpu_queue *q)
{
	uint64_t end = clock_ticks() + us_to_ticks(settings.spin);

	while (ring_empty(&q->ring) && !atomic_load_explicit(&q->stop, memory_order_relaxed)) {
		if (clock_ticks() > end)
			return false;
		cpu_relax();
	}
	return true;
}

/*
 * Says that it sleeps, then looks again: a producer counts its operation, then looks at the flag. All
 * four are sequentially consistent, so one of the two sees the other.
 */
static void sleep_for_work(struct gpu_queue *q)
{
	uint32_t seen = atomic_load(&q->wakes);

	atomic_store(&q->asleep, 1);
	if (atomic_load(&q->put_n) == atomic_load(&q->done_n) && !atomic_load(&q->stop))
		futex_wait(&q->wakes, seen);
	atomic_store(&q->asleep, 0);
}

static void *submitter(void *arg)
{
	struct gpu_queue *q = arg;
	int mode = CU_STREAM_CAPTURE_RELAXED;

	REAL(cuCtxSetCurrent)(q->ctx);
	/* Otherwise what this thread asks the driver could end a capture of the program's. */
	if (HAVE(cuThreadExchangeStreamCaptureMode))
		REAL(cuThreadExchangeStreamCaptureMode)(&mode);
	while (!atomic_load(&q->stop)) {
		if (!spin_for_work(q)) {
			sleep_for_work(q);
			continue;
		}
		lock_take(&q->submit);
		bool moved = ring_empty(&q->ring) || batch_submit(q, false);
		lock_drop(&q->submit);
		if (!moved)
			batch_wait(q);
	}
	return NULL;
}

static int start(struct gpu_queue *q)
{
	sigset_t all, old;

	clock_init();
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int err = pthread_create(&q->thread, NULL, submitter, q);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		return -err;
	q->started = true;
	return 0;
}

static void ensure_started(struct gpu_queue *q)
{
	lock_take(&q->put);
	bool ready = q->started || !atomic_load(&q->live) || atomic_load(&q->stop) || !start(q);
	lock_drop(&q->put);
	if (ready)
		return;
	fallback(FALLBACK_CUDA_NO_THREAD);
	queue_drain(q);
}

void submitter_kick(struct gpu_queue *q)
{
	if (!q->started)
		ensure_started(q);
	if (!atomic_load(&q->asleep))
		return;
	stat_inc(STAT_cuda_wakes);
	atomic_fetch_add(&q->wakes, 1);
	futex_wake(&q->wakes, 1);
}

void submitter_stop(struct gpu_queue *q)
{
	lock_take(&q->put);
	atomic_store(&q->stop, true);
	bool started = q->started;
	pthread_t thread = q->thread;
	lock_drop(&q->put);
	if (!started)
		return;
	atomic_fetch_add(&q->wakes, 1);
	futex_wake(&q->wakes, 1);
	pthread_join(thread, NULL);
}

void submitter_stopped(struct gpu_queue *q)
{
	q->started = false;
	atomic_store(&q->stop, false);
}
