/* Events, waits and host functions: in the queue's order, without a drain. */
#include "hooks.h"
#include "queue.h"

/* Of a wait, `source` is the stream of the record that is waited for. */
static uint32_t token_of(enum op_kind kind, CUstream s, CUstream source)
{
	uint64_t h = hash_mix(hash_mix(hash_mix(7, kind), (uintptr_t)s), (uintptr_t)source);

	return (uint32_t)(h >> 32) | 1;
}

/*
 * An event that was recorded once on a stream of this context, so that recording it again cannot
 * fail, and no other queue orders it.
 */
static void learn(unsigned row, CUevent e, CUstream s, CUresult result)
{
	struct gpu_queue *q = result || !queue_may_defer(row, s) ? NULL : queue_of_current();

	if (!q)
		return;
	lock_take(&q->put);
	if (handles_find(&q->streams, (uintptr_t)s))
		handles_put(&q->events, (uintptr_t)e, 0);
	handles_put(&q->recorded, (uintptr_t)e, (uintptr_t)s);
	lock_drop(&q->put);
}

static CUresult record_now(unsigned row, CUevent e, CUstream s)
{
	queue_direct(row);
	CUresult result = ((fn_cuEventRecord *)cuda_real[row])(e, s);
	queue_direct_done(row, s, result);
	learn(row, e, s, result);
	return result;
}

static CUresult put(struct gpu_queue *q, enum op_kind kind, CUevent e, CUstream s, CUstream source)
{
	struct op_event *op = queue_reserve(q, sizeof(*op));

	*op = (struct op_event){ OP_HEAD(kind, token_of(kind, s, source), s), e, source };
	return queue_commit(q, &op->op, sizeof(*op));
}

static CUresult event_record(unsigned row, CUevent e, CUstream s)
{
	struct gpu_queue *q = queue_enter(row, s);

	if (!q)
		return record_now(row, e, s);
	uint64_t *ticket = handles_find(&q->events, (uintptr_t)e);
	if (!ticket || handles_put(&q->recorded, (uintptr_t)e, (uintptr_t)s)) {
		queue_leave(q);
		return record_now(row, e, s);
	}
	*ticket = queue_ticket(q);
	return put(q, OP_EVENT, e, s, NULL);
}

CUresult hook_cuEventRecord(CUevent e, CUstream s)
{
	return event_record(ROW_cuEventRecord, e, s);
}

CUresult hook_cuEventRecord_ptsz(CUevent e, CUstream s)
{
	return event_record(ROW_cuEventRecord_ptsz, e, s);
}

static CUresult stream_wait(unsigned row, CUstream s, CUevent e, unsigned flags)
{
	struct gpu_queue *q = flags ? NULL : queue_enter(row, s);
	const uint64_t *source = q ? handles_find(&q->recorded, (uintptr_t)e) : NULL;

	if (source && handles_find(&q->events, (uintptr_t)e))
		return put(q, OP_WAIT, e, s, (CUstream)(uintptr_t)*source);
	if (q)
		queue_leave(q);
	queue_direct(row);
	CUresult result = ((fn_cuStreamWaitEvent *)cuda_real[row])(s, e, flags);
	queue_direct_done(row, s, result);
	return result;
}

CUresult hook_cuStreamWaitEvent(CUstream s, CUevent e, unsigned flags)
{
	return stream_wait(ROW_cuStreamWaitEvent, s, e, flags);
}

CUresult hook_cuStreamWaitEvent_ptsz(CUstream s, CUevent e, unsigned flags)
{
	return stream_wait(ROW_cuStreamWaitEvent_ptsz, s, e, flags);
}

/*
 * A record that still waits in the queue has not happened: the driver, which knows only the record
 * before it, must not be asked.
 */
static bool record_waits(CUevent e)
{
	unsigned n = atomic_load_explicit(&gpu_queue_count, memory_order_acquire);
	bool waits = false;

	for (unsigned i = 0; i < n && !waits; i++) {
		struct gpu_queue *q = &gpu_queues[i];
		if (atomic_load(&q->done_n) == atomic_load(&q->put_n))
			continue;
		lock_take(&q->put);
		const uint64_t *ticket = handles_find(&q->events, (uintptr_t)e);
		waits = ticket && *ticket > atomic_load(&q->done_n);
		lock_drop(&q->put);
	}
	return waits;
}

CUresult hook_cuEventQuery(CUevent e)
{
	if (gpu_barrier_class[ROW_cuEventQuery] == BARRIER_QUEUE && record_waits(e))
		return CUDA_ERROR_NOT_READY;
	struct gpu_queue *from;
	CUresult late = queue_take_error(NULL, (uintptr_t)e, &from);
	return late ? late : REAL(cuEventQuery)(e);
}

static CUresult host_func(unsigned row, CUstream s, cuda_host_fn *fn, void *data)
{
	struct gpu_queue *q = fn ? queue_enter(row, s) : NULL;

	if (!q) {
		queue_direct(row);
		CUresult result = ((fn_cuLaunchHostFunc *)cuda_real[row])(s, fn, data);
		queue_direct_done(row, s, result);
		return result;
	}
	struct op_host *op = queue_reserve(q, sizeof(*op));
	*op = (struct op_host){ OP_HEAD(OP_HOST, token_of(OP_HOST, s, NULL), s), fn, data };
	return queue_commit(q, &op->op, sizeof(*op));
}

CUresult hook_cuLaunchHostFunc(CUstream s, cuda_host_fn *fn, void *data)
{
	return host_func(ROW_cuLaunchHostFunc, s, fn, data);
}

CUresult hook_cuLaunchHostFunc_ptsz(CUstream s, cuda_host_fn *fn, void *data)
{
	return host_func(ROW_cuLaunchHostFunc_ptsz, s, fn, data);
}
