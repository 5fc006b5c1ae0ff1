#include "queue.h"

#include "batch.h"
#include "stats.h"
#include "submitter.h"

#include <sys/mman.h>

#define RING_BYTES (2u << 20)
#define ARENA_BYTES (1u << 20)

_Atomic bool gpu_deferring;
struct gpu_queue gpu_queues[MAX_QUEUES];
_Atomic unsigned gpu_queue_count;
static struct lock queues_lock;

static void queue_finish(struct gpu_queue *q)
{
	handles_finish(&q->streams);
	handles_finish(&q->events);
	handles_finish(&q->combos);
	handles_finish(&q->kernels);
	handles_finish(&q->attributes);
	handles_finish(&q->recorded);
	handles_finish(&q->marks);
	ring_finish(&q->ring);
	if (q->arena)
		munmap(q->arena, ARENA_BYTES);
	q->arena = NULL;
}

static int queue_init(struct gpu_queue *q)
{
	void *arena = mmap(
		NULL, ARENA_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	q->arena = arena == MAP_FAILED ? NULL : arena;
	if (!q->arena || ring_init(&q->ring, RING_BYTES) || handles_init(&q->streams, 1024) ||
		handles_init(&q->events, 16384) || handles_init(&q->combos, 16384) ||
		handles_init(&q->kernels, 8192) || handles_init(&q->attributes, 4096) ||
		handles_init(&q->recorded, 16384) || handles_init(&q->marks, 256)) {
		queue_finish(q);
		return -ENOMEM;
	}
	return 0;
}

static struct gpu_queue *find(CUcontext ctx, unsigned from)
{
	unsigned n = atomic_load_explicit(&gpu_queue_count, memory_order_acquire);

	for (unsigned i = from; i < n; i++)
		if (atomic_load_explicit(&gpu_queues[i].live, memory_order_acquire) &&
			atomic_load_explicit(&gpu_queues[i].ctx, memory_order_relaxed) == ctx)
			return &gpu_queues[i];
	return NULL;
}

/* A closed queue's place is used again: its memory stays, empty. */
static struct gpu_queue *make(CUcontext ctx)
{
	unsigned n = atomic_load(&gpu_queue_count), i = 0;

	while (i < n && atomic_load(&gpu_queues[i].live))
		i++;
	if (i == MAX_QUEUES || (i == n && queue_init(&gpu_queues[i])))
		return NULL;
	lock_take(&gpu_queues[i].put);
	atomic_store_explicit(&gpu_queues[i].ctx, ctx, memory_order_relaxed);
	atomic_store_explicit(&gpu_queues[i].live, true, memory_order_release);
	lock_drop(&gpu_queues[i].put);
	if (i == n)
		atomic_store_explicit(&gpu_queue_count, n + 1, memory_order_release);
	stat_inc(STAT_cuda_contexts);
	return &gpu_queues[i];
}

struct gpu_queue *queue_of(CUcontext ctx)
{
	struct gpu_queue *q = find(ctx, 0);

	if (q)
		return q;
	lock_take(&queues_lock);
	q = find(ctx, 0);
	if (!q)
		q = make(ctx);
	lock_drop(&queues_lock);
	return q;
}

struct gpu_queue *queue_of_current(void)
{
	CUcontext ctx = NULL;

	if (REAL(cuCtxGetCurrent)(&ctx) || !ctx)
		return NULL;
	return queue_of(ctx);
}

/* Such a stream is another one in every thread, so only the calling thread can submit to it. */
static bool of_calling_thread(unsigned row, CUstream s)
{
	return s == CU_STREAM_PER_THREAD || (!s && cuda_rows[row].per_thread);
}

/* `dlaccel off` says so from outside, at any time. */
static bool switched_off(void)
{
	return atomic_load_explicit(&dlaccel_stats.off, memory_order_relaxed) & 2;
}

bool queue_may_defer(unsigned row, CUstream s)
{
	return atomic_load_explicit(&gpu_deferring, memory_order_relaxed) &&
	       gpu_barrier_class[row] == BARRIER_QUEUE && !of_calling_thread(row, s) &&
	       !switched_off();
}

static void note_caller(struct gpu_queue *q)
{
	pthread_t self = pthread_self();
	pthread_t caller = atomic_load_explicit(&q->caller, memory_order_relaxed);

	if (caller == self)
		return;
	if (caller || !atomic_compare_exchange_strong(&q->caller, &caller, self))
		atomic_store(&q->shared, true);
}

struct gpu_queue *queue_enter(unsigned row, CUstream s)
{
	CUcontext ctx = NULL;
	struct gpu_queue *q;

	if (!queue_may_defer(row, s) || REAL(cuCtxGetCurrent)(&ctx) || !ctx)
		return NULL;
	q = queue_of(ctx);
	if (!q)
		return NULL;
	note_caller(q);
	lock_take(&q->put);
	/* Looked at again: who turned deferring off has waited for this lock and drained. */
	if (atomic_load_explicit(&gpu_deferring, memory_order_relaxed) &&
		atomic_load_explicit(&q->live, memory_order_relaxed) && q->ctx == ctx && !q->failed &&
		handles_find(&q->streams, (uintptr_t)s))
		return q;
	lock_drop(&q->put);
	return NULL;
}

void queue_leave(struct gpu_queue *q)
{
	lock_drop(&q->put);
}

/* Calls past the queue that are under way; unseen: there may be others. */
static _Atomic unsigned passing;
static _Atomic bool unseen;

/* Drained again once it is counted: what was queued in between may have gone out as if there were no such call. */
void queue_pass(unsigned row)
{
	if (gpu_barrier_class[row] == BARRIER_PASS)
		return;
	gpu_drain_all();
	atomic_fetch_add(&passing, 1);
	gpu_drain_all();
}

/* What was seen of the streams since it began may have been seen before it came to them. */
static void look_again(struct gpu_queue *q)
{
	if (!atomic_load(&q->shared))
		return;
	atomic_store(&q->waited, false);
	atomic_store(&q->passed_by, true);
}

void queue_passed(unsigned row)
{
	unsigned n = atomic_load_explicit(&gpu_queue_count, memory_order_acquire);

	if (gpu_barrier_class[row] == BARRIER_PASS)
		return;
	for (unsigned i = 0; i < n; i++)
		look_again(&gpu_queues[i]);
	atomic_fetch_sub(&passing, 1);
}

void queue_pass_unseen(void)
{
	atomic_store(&unseen, true);
}

bool queue_is_passed(struct gpu_queue *q)
{
	return atomic_load(&q->shared) && (atomic_load(&passing) || atomic_load(&unseen));
}

void queue_direct(unsigned row)
{
	stat_inc(STAT_cuda_direct);
	queue_pass(row);
}

/* A call may name a stream of another context: that stream's order is kept in another queue. */
static bool is_of(CUstream s, CUcontext ctx)
{
	CUcontext its = NULL;

	if (!s || s == CU_STREAM_LEGACY)
		return true;
	return HAVE(cuStreamGetCtx) && !REAL(cuStreamGetCtx)(s, &its) && its == ctx;
}

void queue_direct_done(unsigned row, CUstream s, CUresult result)
{
	struct gpu_queue *q;

	queue_passed(row);
	if (result || !queue_may_defer(row, s))
		return;
	q = queue_of_current();
	if (!q || !is_of(s, q->ctx))
		return;
	lock_take(&q->put);
	handles_put(&q->streams, (uintptr_t)s, 1);
	lock_drop(&q->put);
}

uint64_t queue_ticket(const struct gpu_queue *q)
{
	return atomic_load(&q->put_n) + 1;
}

void *queue_reserve(struct gpu_queue *q, size_t bytes)
{
	void *room = ring_reserve(&q->ring, bytes);

	if (room)
		return room;
	stat_inc(STAT_cuda_full);
	queue_drain(q);
	return ring_reserve(&q->ring, bytes);
}

static bool submitter_awake(const struct gpu_queue *q)
{
	return q->started && !atomic_load_explicit(&q->asleep, memory_order_seq_cst);
}

/*
 * Telling the driver ourselves is quickest when nothing is queued and the GPU waits. After the program
 * has waited for the GPU that is certain, and then the answer is exact, too: an error that it was
 * told of while waiting comes out of its next launch as well.
 */
static bool take_submit(struct gpu_queue *q)
{
	if (atomic_load_explicit(&q->quiet, memory_order_relaxed)) {
		lock_take(&q->submit);
		return true;
	}
	return !submitter_awake(q) && lock_try(&q->submit);
}

static bool alone_and_idle(struct gpu_queue *q)
{
	return atomic_load(&q->done_n) + 1 == atomic_load(&q->put_n) && submit_idle(q);
}

CUresult queue_commit(struct gpu_queue *q, struct op *op, size_t bytes)
{
	bool mine = take_submit(q), idle;
	CUresult result = CUDA_SUCCESS;

	ring_publish(&q->ring, bytes);
	atomic_fetch_add(&q->put_n, 1);
	idle = mine && alone_and_idle(q);
	lock_drop(&q->put);
	if (idle)
		result = submit_inline(q);
	if (mine)
		lock_drop(&q->submit);
	if (!submitter_awake(q) && !ring_empty(&q->ring))
		submitter_kick(q);
	return result;
}

void gpu_drain_all(void)
{
	unsigned n = atomic_load_explicit(&gpu_queue_count, memory_order_acquire);

	for (unsigned i = 0; i < n; i++) {
		note_caller(&gpu_queues[i]);
		queue_drain(&gpu_queues[i]);
		atomic_store(&gpu_queues[i].waited, false);
		atomic_store(&gpu_queues[i].passed_by, true);
	}
}

void queue_note_sync(void)
{
	unsigned n = atomic_load_explicit(&gpu_queue_count, memory_order_acquire);

	for (unsigned i = 0; i < n; i++) {
		lock_take(&gpu_queues[i].submit);
		gpu_queues[i].quiet = true;
		lock_drop(&gpu_queues[i].submit);
	}
}

/* Not with several callers: others may launch before the wait is over. */
void queue_note_sync_all(void)
{
	CUcontext ctx = NULL;
	struct gpu_queue *q;

	/* The driver is asked nothing where there is no queue: in the child of a fork above all. */
	if (!atomic_load(&gpu_queue_count) || REAL(cuCtxGetCurrent)(&ctx))
		return;
	q = find(ctx, 0);
	if (q && !atomic_load(&q->shared))
		atomic_store(&q->waited, true);
}

static bool knows(struct gpu_queue *q, uint64_t handle)
{
	lock_take(&q->put);
	bool known = handles_find(&q->streams, handle) || handles_find(&q->events, handle);
	lock_drop(&q->put);
	return known;
}

CUresult queue_take_error(CUcontext ctx, uint64_t waits_for, struct gpu_queue **ret_from)
{
	unsigned n = atomic_load_explicit(&gpu_queue_count, memory_order_acquire);
	bool named = waits_for > (uintptr_t)CU_STREAM_PER_THREAD;

	for (unsigned i = 0; i < n; i++) {
		struct gpu_queue *q = &gpu_queues[i];
		if (!atomic_load_explicit(&q->error, memory_order_relaxed) ||
			(!ctx && REAL(cuCtxGetCurrent)(&ctx)))
			continue;
		if (q->ctx == ctx || (named && knows(q, waits_for))) {
			*ret_from = q;
			return atomic_exchange(&q->error, 0);
		}
	}
	return CUDA_SUCCESS;
}

void queue_put_back_error(struct gpu_queue *from, CUresult late)
{
	int none = 0;

	atomic_compare_exchange_strong(&from->error, &none, late);
}
