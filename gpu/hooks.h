/*
 * What the program's calls of driver entries run into. Rows of class QUEUE and HOOK have a function
 * hook_<name>; all others go through gpu_barrier and on to the driver as they came. The exported
 * symbols that lead here are made from driver.def in shim/export_cuda.S.
 */
#pragma once
#include "driver.h"

/* What a thunk is to do: jump to `real`, or, where that is NULL, return `result`. */
struct gpu_verdict {
	void *real;
	int64_t result;
};

/* args: the first six integer arguments of the call. */
struct gpu_verdict gpu_barrier(unsigned row, const uint64_t *args);

/* What it runs is counted, what its arguments change is forgotten. Of an entry with a function of its own, behind its drain. */
void gpu_before(unsigned row, const uint64_t *args);

/* A capture on s ended with this result, or s goes away. */
void capture_is_over(CUstream s, CUresult result);
void capture_context_ends(CUcontext ctx);
void capture_after_fork(void);

#define HOOKED(name) extern fn_##name hook_##name
#define HOOKED_PTSZ(name) extern fn_##name hook_##name, hook_##name##_ptsz

HOOKED(cuInit);
HOOKED_PTSZ(cuLaunchKernel);
HOOKED_PTSZ(cuLaunchKernelEx);
HOOKED_PTSZ(cuLaunchHostFunc);
HOOKED_PTSZ(cuMemsetD8Async);
HOOKED_PTSZ(cuMemsetD16Async);
HOOKED_PTSZ(cuMemsetD32Async);
HOOKED_PTSZ(cuMemcpyHtoDAsync_v2);
HOOKED_PTSZ(cuMemcpyDtoHAsync_v2);
HOOKED_PTSZ(cuMemcpyDtoDAsync_v2);
HOOKED_PTSZ(cuMemcpyAsync);
HOOKED_PTSZ(cuEventRecord);
HOOKED_PTSZ(cuStreamWaitEvent);
HOOKED(cuEventQuery);
HOOKED(cuMemAlloc_v2);
HOOKED(cuMemAllocPitch_v2);
HOOKED(cuMemAllocManaged);
HOOKED(cuMemHostAlloc);
HOOKED(cuMemAllocHost_v2);
HOOKED(cuMemHostRegister_v2);
HOOKED(cuMemCreate);
HOOKED_PTSZ(cuMemAllocAsync);
HOOKED_PTSZ(cuMemAllocFromPoolAsync);
HOOKED_PTSZ(cuStreamBeginCapture);
HOOKED_PTSZ(cuStreamBeginCapture_v2);
HOOKED_PTSZ(cuStreamBeginCaptureToGraph);
HOOKED_PTSZ(cuStreamEndCapture);
HOOKED(cuGetProcAddress);
HOOKED(cuGetProcAddress_v2);
