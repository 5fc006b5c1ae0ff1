/*
 * The gate of every hooked entry that has no function of its own: what driver.def says of it is
 * done, what we know of its arguments is forgotten, and the call goes on as it came.
 */
#include "handles.h"
#include "hooks.h"
#include "memory.h"
#include "queue.h"
#include "stats.h"

static void before_memory(unsigned row, uint64_t p)
{
	switch (row) {
	case ROW_cuMemFree:
	case ROW_cuMemFree_v2:
	case ROW_cuMemFreeAsync:
	case ROW_cuMemFreeAsync_ptsz:
	case ROW_cuMemFreeHost:
	case ROW_cuMemHostUnregister:
		memory_forget(p);
		return;
	case ROW_cuMemUnmap:
	case ROW_cuMemSetAccess:
	case ROW_cuIpcCloseMemHandle:
		memory_forget(0);
		return;
	}
}

static CUcontext of_green(uint64_t green)
{
	typedef CUresult from_green_fn(CUcontext *, uint64_t);
	CUcontext ctx = NULL;

	if (HAVE(cuCtxFromGreenCtx))
		((from_green_fn *)cuda_real[ROW_cuCtxFromGreenCtx])(&ctx, green);
	return ctx;
}

/* NULL: none that we know. */
static CUcontext context_that_ends(unsigned row, const uint64_t *args)
{
	switch (row) {
	case ROW_cuCtxDestroy:
	case ROW_cuCtxDestroy_v2:
	case ROW_cuCtxDetach:
		return (CUcontext)(uintptr_t)args[0];
	case ROW_cuDevicePrimaryCtxReset:
	case ROW_cuDevicePrimaryCtxReset_v2:
	case ROW_cuDevicePrimaryCtxRelease:
	case ROW_cuDevicePrimaryCtxRelease_v2:
		return queues_primary((CUdevice)args[0]);
	case ROW_cuGreenCtxDestroy:
		return of_green(args[0]);
	}
	return NULL;
}

static void before_code(unsigned row, const uint64_t *args)
{
	switch (row) {
	case ROW_cuModuleUnload:
	case ROW_cuLibraryUnload:
		queues_forget_all();
		break;
	case ROW_cuCtxSetLimit:
		queues_attribute(0, hash_mix(row, args[0]), args[1]);
	}
}

/*
 * The context ends all the same, by a call of one argument; its result is the error, of which nobody else will be
 * told. If it does not end, somebody will.
 */
static struct gpu_verdict ended_with(CUresult late, CUcontext ctx, unsigned row, const uint64_t *args)
{
	CUresult result = ((CUresult(*)(uint64_t))cuda_real[row])(args[0]);
	struct gpu_queue *q = result ? queue_of(ctx) : NULL;

	if (q)
		queue_put_back_error(q, late);
	return (struct gpu_verdict){ NULL, result ? result : late };
}

static void before_handles(unsigned row, const uint64_t *args)
{
	switch (row) {
	case ROW_cuStreamDestroy:
	case ROW_cuStreamDestroy_v2:
		queues_forget_stream((CUstream)(uintptr_t)args[0]);
		capture_is_over((CUstream)(uintptr_t)args[0], CUDA_SUCCESS);
		return;
	case ROW_cuStreamSetAttribute:
	case ROW_cuStreamSetAttribute_ptsz:
	case ROW_cuStreamCopyAttributes:
	case ROW_cuStreamCopyAttributes_ptsz:
		queues_stream_attributes();
		return;
	case ROW_cuEventDestroy:
	case ROW_cuEventDestroy_v2:
		queues_forget_event((CUevent)(uintptr_t)args[0]);
		return;
	case ROW_cuFuncSetAttribute:
		queues_attribute(row, hash_mix(hash_mix(row, args[0]), args[1]), args[2]);
		return;
	case ROW_cuKernelSetAttribute: /* attribute, value, kernel, device */
		queues_attribute(row, hash_mix(hash_mix(row, args[2]), args[0]), args[1]);
		return;
	case ROW_cuFuncSetCacheConfig:
	case ROW_cuFuncSetSharedMemConfig:
		queues_attribute(0, hash_mix(row, args[0]), args[1]);
		return;
	}
}

/* The stream or event that the program waits for, which may be of another context than the current one. */
static uint64_t waited_for(unsigned row, const uint64_t *args)
{
	switch (row) {
	case ROW_cuStreamSynchronize:
	case ROW_cuStreamSynchronize_ptsz:
	case ROW_cuStreamQuery:
	case ROW_cuStreamQuery_ptsz:
	case ROW_cuEventSynchronize:
		return args[0];
	}
	return 0;
}

/* From CUDA 13 on a program may wait for a context that is not the current one. */
static CUcontext context_waited_for(unsigned row, const uint64_t *args)
{
	return row == ROW_cuCtxSynchronize_v2 ? (CUcontext)(uintptr_t)args[0] : NULL;
}

/*
 * The call does its work all the same; no such entry has more than six arguments. Its own error is its result,
 * and the late one then waits for the next.
 */
static struct gpu_verdict waited_with(CUresult late, struct gpu_queue *from, unsigned row, const uint64_t *a)
{
	typedef CUresult sync_fn(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);
	CUresult result = ((sync_fn *)cuda_real[row])(a[0], a[1], a[2], a[3], a[4], a[5]);

	if (!result || result == CUDA_ERROR_NOT_READY || result == late)
		return (struct gpu_verdict){ NULL, late };
	queue_put_back_error(from, late);
	return (struct gpu_verdict){ NULL, result };
}

/* What runs kernels and cannot wait in the queue. */
static void count_launch(unsigned row)
{
	switch (row) {
	case ROW_cuGraphLaunch:
	case ROW_cuGraphLaunch_ptsz:
		stat_inc(STAT_cuda_program_graphs);
		return;
	case ROW_cuLaunchCooperativeKernel:
	case ROW_cuLaunchCooperativeKernel_ptsz:
	case ROW_cuLaunchCooperativeKernelMultiDevice:
		stat_inc(STAT_cuda_cooperative);
		return;
	case ROW_cuLaunch:
	case ROW_cuLaunchGrid:
	case ROW_cuLaunchGridAsync:
		stat_inc(STAT_cuda_old_launches);
		return;
	}
}

/*
 * Nothing may wait for the stream without need while such a call is under way, nor behind it. Launches of all kinds are
 * such calls, too, and have functions of their own. Its end is seen; none of these has more than four arguments.
 */
static struct gpu_verdict pass(unsigned row, const uint64_t *a)
{
	typedef CUresult waiting_fn(uint64_t, uint64_t, uint64_t, uint64_t);
	CUresult result;

	queue_pass(row);
	result = ((waiting_fn *)cuda_real[row])(a[0], a[1], a[2], a[3]);
	queue_passed(row);
	return (struct gpu_verdict){ NULL, result };
}

void gpu_before(unsigned row, const uint64_t *args)
{
	count_launch(row);
	before_memory(row, args[0]);
	before_code(row, args);
}

struct gpu_verdict gpu_barrier(unsigned row, const uint64_t *args)
{
	unsigned char barrier = gpu_barrier_class[row];
	struct gpu_queue *from;
	CUcontext ctx;
	CUresult late;

	if (barrier == BARRIER_WAIT)
		return pass(row, args);
	if (row >= ROW_COUNT)
		queue_pass_unseen();
	if (barrier != BARRIER_PASS)
		gpu_drain_all();
	gpu_before(row, args);
	ctx = context_that_ends(row, args);
	if (ctx) {
		memory_forget(0);
		capture_context_ends(ctx);
		late = queues_close(ctx);
		if (late)
			return ended_with(late, ctx, row, args);
	}
	before_handles(row, args);
	if (barrier == BARRIER_SYNC) {
		late = queue_take_error(context_waited_for(row, args), waited_for(row, args), &from);
		queue_note_sync();
		if (row == ROW_cuCtxSynchronize)
			queue_note_sync_all();
		if (late)
			return waited_with(late, from, row, args);
	}
	return (struct gpu_verdict){ cuda_real[row], 0 };
}
