#include "memory.h"

#include "hooks.h"
#include "queue.h"

#define RANGES 16
#define PINNED 4096

struct range {
	uint64_t base, bytes;
	CUcontext ctx; /* where it was seen; page-locked memory is that no longer when this one ends */
};

static struct lock lock;
static struct range known[RANGES]; /* device allocations seen lately */
static unsigned next_known;
static struct range pinned[PINNED]; /* sorted by base */
static unsigned pinned_count;

static bool inside(const struct range *r, uint64_t p, size_t n)
{
	return p >= r->base && p - r->base < r->bytes && n <= r->bytes - (p - r->base);
}

static bool is_known(uint64_t p, size_t n, CUcontext ctx)
{
	bool found = false;

	lock_take(&lock);
	for (unsigned i = 0; i < RANGES && !found; i++)
		found = known[i].ctx == ctx && inside(&known[i], p, n);
	lock_drop(&lock);
	return found;
}

static _Atomic unsigned forgotten;

/* Mapped memory may be left without access, and another device's be out of reach: such errors are the driver's to find. */
static bool accessible(uint64_t p)
{
	uint32_t access;

	return !HAVE(cuPointerGetAttribute) || REAL(cuPointerGetAttribute)(&access, CU_POINTER_ACCESS, p) ||
	       access == CU_ACCESS_READ_WRITE;
}

bool memory_is_device(uint64_t p, size_t n)
{
	unsigned before = atomic_load(&forgotten);
	CUcontext ctx = NULL;
	CUdeviceptr base;
	size_t bytes;

	REAL(cuCtxGetCurrent)(&ctx);
	if (is_known(p, n, ctx))
		return true;
	if (!HAVE(cuMemGetAddressRange_v2) || REAL(cuMemGetAddressRange_v2)(&base, &bytes, p) || !accessible(p))
		return false;
	struct range r = { base, bytes, ctx };
	lock_take(&lock);
	/* Freed while we asked: the answer is old. */
	if (before == atomic_load(&forgotten))
		known[next_known++ % RANGES] = r;
	lock_drop(&lock);
	return inside(&r, p, n);
}

/* The last one that begins at or before p, +1; 0: none. */
static unsigned pinned_at(uint64_t p)
{
	unsigned lo = 0, hi = pinned_count;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;
		if (pinned[mid].base <= p)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

bool memory_is_pinned(uint64_t p, size_t n)
{
	lock_take(&lock);
	unsigned i = pinned_at(p);
	bool found = i && inside(&pinned[i - 1], p, n);
	lock_drop(&lock);
	return found;
}

bool memory_is_pageable(uint64_t p)
{
	uint32_t type = 0;

	return HAVE(cuPointerGetAttribute) &&
	       REAL(cuPointerGetAttribute)(&type, CU_POINTER_MEMORY_TYPE, p) ==
		       CUDA_ERROR_INVALID_VALUE;
}

static void pinned_add(uint64_t base, size_t bytes)
{
	CUcontext ctx = NULL;

	REAL(cuCtxGetCurrent)(&ctx);
	lock_take(&lock);
	unsigned at = pinned_at(base);
	if (pinned_count < PINNED) {
		for (unsigned i = pinned_count++; i > at; i--)
			pinned[i] = pinned[i - 1];
		pinned[at] = (struct range){ base, bytes, ctx };
	}
	lock_drop(&lock);
}

static void pinned_remove(uint64_t base)
{
	unsigned i = pinned_at(base);

	if (!i || pinned[i - 1].base != base)
		return;
	for (pinned_count--; i - 1 < pinned_count; i++)
		pinned[i - 1] = pinned[i];
}

void memory_forget(uint64_t p)
{
	atomic_fetch_add(&forgotten, 1);
	lock_take(&lock);
	for (unsigned i = 0; i < RANGES; i++)
		known[i] = (struct range){ 0 };
	if (p)
		pinned_remove(p);
	lock_drop(&lock);
}

void memory_forget_context(CUcontext ctx)
{
	unsigned kept = 0;

	lock_take(&lock);
	for (unsigned i = 0; i < pinned_count; i++)
		if (pinned[i].ctx != ctx)
			pinned[kept++] = pinned[i];
	pinned_count = kept;
	lock_drop(&lock);
}

void memory_after_fork(void)
{
	atomic_store(&lock.word, 0);
}

/* Code, graphs, arrays, contexts: such entries need no more than their arguments handed on. */
typedef CUresult alloc_fn(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
	uint64_t, uint64_t);

static CUresult ask(unsigned row, const uint64_t *a)
{
	alloc_fn *real = (alloc_fn *)cuda_real[row];

	return ASK_TWICE(real(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9]));
}

static CUresult drain_and_ask(unsigned row, const uint64_t *a)
{
	CUresult result;

	queue_pass(row);
	gpu_before(row, a);
	result = ask(row, a);
	queue_passed(row);
	return result;
}

static CUresult retain(unsigned row, const uint64_t *a)
{
	CUcontext *ret_ctx = (CUcontext *)(uintptr_t)a[0];
	CUresult result = ask(row, a);

	if (!result && ret_ctx)
		queues_note_primary((CUdevice)a[1], *ret_ctx);
	return result;
}

/* None takes more than ten; of one that takes fewer the last ones are whatever lies there. */
#define HAND_ON(name, how)                                                                         \
	alloc_fn hook_##name;                                                                      \
	CUresult hook_##name(uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e,           \
		uint64_t f, uint64_t g, uint64_t h, uint64_t i, uint64_t j)                        \
	{                                                                                          \
		return how(ROW_##name, (uint64_t[]){ a, b, c, d, e, f, g, h, i, j });              \
	}

#define HOOK_PASS(name)
#define HOOK_DRAIN(name)
#define HOOK_SYNC(name)
#define HOOK_WAIT(name)
#define HOOK_QUEUE(name)
#define HOOK_HOOK(name)
#define HOOK_ALLOC(name) HAND_ON(name, drain_and_ask)
#define CU(barrier, symbol, name, version, form) HOOK_##barrier(name)
#include "driver.def"
#undef CU

/* Look-ups, as often as the program likes, that load what they find; and what is new, which nothing queued concerns. */
HAND_ON(cuModuleGetFunction, ask)
HAND_ON(cuModuleGetGlobal, ask)
HAND_ON(cuModuleGetGlobal_v2, ask)
HAND_ON(cuKernelGetFunction, ask)
HAND_ON(cuDevicePrimaryCtxRetain, retain)
HAND_ON(cuStreamCreate, ask)
HAND_ON(cuStreamCreateWithPriority, ask)
HAND_ON(cuEventCreate, ask)

CUresult hook_cuMemAlloc_v2(CUdeviceptr *ret_ptr, size_t n)
{
	return ASK_TWICE(REAL(cuMemAlloc_v2)(ret_ptr, n));
}

CUresult hook_cuMemAllocPitch_v2(
	CUdeviceptr *ret_ptr, size_t *ret_pitch, size_t width, size_t height, unsigned element)
{
	return ASK_TWICE(REAL(cuMemAllocPitch_v2)(ret_ptr, ret_pitch, width, height, element));
}

CUresult hook_cuMemAllocManaged(CUdeviceptr *ret_ptr, size_t n, unsigned flags)
{
	return ASK_TWICE(REAL(cuMemAllocManaged)(ret_ptr, n, flags));
}

CUresult hook_cuMemCreate(uint64_t *ret_handle, size_t n, const void *prop, uint64_t flags)
{
	return ASK_TWICE(REAL(cuMemCreate)(ret_handle, n, prop, flags));
}

static CUresult alloc_async(unsigned row, CUdeviceptr *ret_ptr, size_t n, CUstream s)
{
	fn_cuMemAllocAsync *real = (fn_cuMemAllocAsync *)cuda_real[row];

	/* The address comes from what was freed before it in the stream's order. */
	queue_direct(row);
	CUresult result = ASK_TWICE(real(ret_ptr, n, s));
	queue_direct_done(row, s, result);
	return result;
}

CUresult hook_cuMemAllocAsync(CUdeviceptr *ret_ptr, size_t n, CUstream s)
{
	return alloc_async(ROW_cuMemAllocAsync, ret_ptr, n, s);
}

CUresult hook_cuMemAllocAsync_ptsz(CUdeviceptr *ret_ptr, size_t n, CUstream s)
{
	return alloc_async(ROW_cuMemAllocAsync_ptsz, ret_ptr, n, s);
}

static CUresult alloc_pool(unsigned row, CUdeviceptr *ret_ptr, size_t n, void *pool, CUstream s)
{
	fn_cuMemAllocFromPoolAsync *real = (fn_cuMemAllocFromPoolAsync *)cuda_real[row];

	queue_direct(row);
	CUresult result = ASK_TWICE(real(ret_ptr, n, pool, s));
	queue_direct_done(row, s, result);
	return result;
}

CUresult hook_cuMemAllocFromPoolAsync(CUdeviceptr *ret_ptr, size_t n, void *pool, CUstream s)
{
	return alloc_pool(ROW_cuMemAllocFromPoolAsync, ret_ptr, n, pool, s);
}

CUresult hook_cuMemAllocFromPoolAsync_ptsz(CUdeviceptr *ret_ptr, size_t n, void *pool, CUstream s)
{
	return alloc_pool(ROW_cuMemAllocFromPoolAsync_ptsz, ret_ptr, n, pool, s);
}

static CUresult locked(CUresult result, const void *p, size_t n)
{
	if (!result)
		pinned_add((uintptr_t)p, n);
	return result;
}

CUresult hook_cuMemHostAlloc(void **ret_ptr, size_t n, unsigned flags)
{
	CUresult r = ASK_TWICE(REAL(cuMemHostAlloc)(ret_ptr, n, flags));
	return locked(r, r ? NULL : *ret_ptr, n);
}

CUresult hook_cuMemAllocHost_v2(void **ret_ptr, size_t n)
{
	CUresult r = ASK_TWICE(REAL(cuMemAllocHost_v2)(ret_ptr, n));
	return locked(r, r ? NULL : *ret_ptr, n);
}

CUresult hook_cuMemHostRegister_v2(void *p, size_t n, unsigned flags)
{
	return locked(ASK_TWICE(REAL(cuMemHostRegister_v2)(p, n, flags)), p, n);
}
