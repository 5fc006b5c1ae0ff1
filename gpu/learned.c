/* What the queues know of the program's handles, and when they must forget it. */
#include "batch.h"
#include "memory.h"
#include "node.h"
#include "queue.h"
#include "stats.h"
#include "submitter.h"

#define each_queue(q)                                                                              \
	(struct gpu_queue *q = gpu_queues; q < gpu_queues + atomic_load(&gpu_queue_count); q++)

void queues_forget_stream(CUstream s)
{
	for each_queue (q) {
		lock_take(&q->put);
		lock_take(&q->submit);
		handles_remove(&q->streams, (uintptr_t)s);
		batch_forget_stream(q, s);
		if (q->last_stream == s) {
			q->last_stream = NULL;
			q->quiet = true;
		}
		lock_drop(&q->submit);
		lock_drop(&q->put);
	}
}

void queues_forget_event(CUevent e)
{
	for each_queue (q) {
		lock_take(&q->put);
		handles_remove(&q->events, (uintptr_t)e);
		handles_remove(&q->recorded, (uintptr_t)e);
		lock_take(&q->submit);
		batch_forget_event(q, e);
		lock_drop(&q->submit);
		lock_drop(&q->put);
	}
}

void queues_forget_events(void)
{
	for each_queue (q) {
		lock_take(&q->put);
		handles_clear(&q->events);
		lock_drop(&q->put);
	}
}

/*
 * True if this value was set before: then nothing that was learned has changed. One attribute can be set by two
 * entries, of the function and of the kernel: what one has set is not known any more once the other sets something.
 */
static bool same_again(struct gpu_queue *q, unsigned by, uint64_t what, uint64_t value)
{
	const uint64_t *old = handles_find(&q->attributes, what);

	if (old && *old == value)
		return true;
	if (by && q->attributes_by != by) {
		handles_clear(&q->attributes);
		q->attributes_by = by;
	}
	handles_put_anyway(&q->attributes, what, value);
	return false;
}

static bool queues_drop_graphs(void)
{
	bool some = false;

	for each_queue (q) {
		lock_take(&q->submit);
		some |= batch_forget(q);
		lock_drop(&q->submit);
	}
	return some;
}

void queues_attribute(unsigned by, uint64_t what, uint64_t value)
{
	for each_queue (q) {
		lock_take(&q->put);
		if (!same_again(q, by, what, value)) {
			handles_clear(&q->combos);
			lock_take(&q->submit);
			batch_forget(q);
			lock_drop(&q->submit);
		}
		lock_drop(&q->put);
	}
}

void queues_stream_attributes(void)
{
	atomic_store(&node_inherits, true);
	queues_drop_graphs();
}

/* Called with nothing queued that was put before: records may point into the arena. */
static void forget(struct gpu_queue *q)
{
	handles_clear(&q->streams);
	handles_clear(&q->events);
	handles_clear(&q->recorded);
	handles_clear(&q->combos);
	handles_clear(&q->kernels);
	handles_clear(&q->marks);
	handles_clear(&q->attributes);
	q->arena_used = 0;
	q->last_stream = NULL;
	q->quiet = true;
	batch_forget(q);
}

void queue_forget(struct gpu_queue *q)
{
	queue_drain(q);
	lock_take(&q->submit);
	if (atomic_load(&q->live))
		forget(q);
	lock_drop(&q->submit);
}

void queues_forget_all(void)
{
	for each_queue (q) {
		lock_take(&q->put);
		queue_forget(q);
		lock_drop(&q->put);
	}
}

static CUresult close_one(struct gpu_queue *q)
{
	submitter_stop(q);
	lock_take(&q->put);
	queue_drain(q);
	lock_take(&q->submit);
	forget(q);
	batch_close(q);
	CUresult untold = atomic_exchange(&q->error, 0);
	atomic_store(&q->failed, false);
	atomic_store(&q->live, false);
	submitter_stopped(q);
	lock_drop(&q->submit);
	lock_drop(&q->put);
	return untold;
}

/* By one at a time. */
static struct lock closing;

CUresult queues_close(CUcontext ctx)
{
	CUresult first = CUDA_SUCCESS;

	memory_forget_context(ctx);
	lock_take(&closing);
	for each_queue (q) {
		if (!atomic_load(&q->live) || q->ctx != ctx)
			continue;
		CUresult untold = close_one(q);
		if (!first)
			first = untold;
	}
	lock_drop(&closing);
	return first;
}

#define DEVICES 64
static _Atomic(CUcontext) primary[DEVICES];

void queues_note_primary(CUdevice device, CUcontext ctx)
{
	if ((unsigned)device < DEVICES)
		atomic_store(&primary[device], ctx);
}

CUcontext queues_primary(CUdevice device)
{
	return (unsigned)device < DEVICES ? atomic_load(&primary[device]) : NULL;
}

bool queues_give_back(void)
{
	bool some = queues_drop_graphs();

	if (some)
		stat_inc(STAT_cuda_given_back);
	return some;
}

/* No queue is looked at again: there is none, and nothing is deferred for good. */
void queues_after_fork(void)
{
	atomic_store(&gpu_deferring, false);
	atomic_store(&closing.word, 0);
	atomic_store(&gpu_queue_count, 0);
	memory_after_fork();
}
