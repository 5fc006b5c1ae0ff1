/* Memory: device, pitched, pinned, registered, managed; what a pointer is. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "api.h"

static void poison(uint64_t addr, uint64_t n)
{
	if (settings.poison >= 0)
		memset(mem_host(addr, n), settings.poison, n);
}

/* Real drivers allow allocation in a capture only in relaxed mode. */
static int alloc_device(struct ctx *ctx, uint64_t n, uint64_t *ret)
{
	int rc = capture_blocks(ctx, NULL, true);

	if (rc)
		return rc;
	rc = mem_alloc(n, 512, MEM_DEVICE, ctx, ret);
	if (rc)
		return n ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_ERROR_INVALID_VALUE;
	poison(*ret, n);
	if (settings.race)
		watch_forget(*ret, n);
	return 0;
}

CUresult cuMemGetInfo_v2(size_t *free_bytes, size_t *total)
{
	struct ctx *ctx;
	uint64_t f, t;

	ENTER(ctx);
	CALL();
	if (!free_bytes || !total)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	mem_usage(&f, &t);
	*free_bytes = f;
	*total = t;
	LEAVE(CUDA_SUCCESS);
}

CUresult cuMemAlloc_v2(CUdeviceptr *ret, size_t n)
{
	struct ctx *ctx;
	uint64_t addr;
	int rc;

	ENTER(ctx);
	CALL();
	rc = ret ? alloc_device(ctx, n, &addr) : CUDA_ERROR_INVALID_VALUE;
	if (!rc)
		*ret = addr;
	LEAVE(rc);
}

CUresult cuMemAllocPitch_v2(CUdeviceptr *ret, size_t *pitch, size_t width, size_t height, unsigned int elem)
{
	struct ctx *ctx;
	uint64_t addr, p = (width + 511) & ~(size_t)511;
	int rc;

	ENTER(ctx);
	CALL();
	if (!ret || !pitch || !width || !height || (elem != 4 && elem != 8 && elem != 16))
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	rc = alloc_device(ctx, p * height, &addr);
	if (!rc) {
		*ret = addr;
		*pitch = p;
	}
	LEAVE(rc);
}

/* Freeing waits for the device, as the real call does. */
CUresult cuMemFree_v2(CUdeviceptr p)
{
	struct ctx *ctx;
	struct mem_span s;
	int rc;

	ENTER(ctx);
	CALL();
	if (!p)
		LEAVE(CUDA_SUCCESS);
	rc = capture_blocks(ctx, NULL, true);
	if (rc)
		LEAVE(rc);
	if (!mem_find(p, &s) || s.base != p || (s.kind != MEM_DEVICE && s.kind != MEM_MANAGED && s.kind != MEM_POOL))
		LEAVE(misuse(CUDA_ERROR_INVALID_VALUE, "freeing 0x%llx, which no allocation begins at", p));
	ctx_wait(ctx);
	if (ctx->sticky)
		LEAVE(ctx->sticky);
	if (s.kind == MEM_MANAGED) {
		mem_detach(p, NULL, NULL);
		munmap(s.host, (s.size + 4095) & ~UINT64_C(4095));
		mem_uncharge((s.size + 511) & ~UINT64_C(511));
		LEAVE(CUDA_SUCCESS);
	}
	LEAVE(mem_free(p, s.kind) ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS);
}

CUresult cuMemGetAddressRange_v2(CUdeviceptr *base, size_t *size, CUdeviceptr p)
{
	struct ctx *ctx;
	struct mem_span s;

	ENTER(ctx);
	CALL();
	if (!mem_find(p, &s))
		LEAVE(CUDA_ERROR_NOT_FOUND);
	if (base)
		*base = s.base;
	if (size)
		*size = s.size;
	LEAVE(CUDA_SUCCESS);
}

static int alloc_pages(struct ctx *ctx, size_t n, enum mem_kind kind, unsigned flags, void **ret)
{
	void *p;

	if (!n)
		return REFUSE(CUDA_ERROR_INVALID_VALUE);
	if (kind == MEM_MANAGED && !mem_charge((n + 511) & ~(size_t)511))
		return CUDA_ERROR_OUT_OF_MEMORY;
	p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return CUDA_ERROR_OUT_OF_MEMORY;
	mem_attach((uint64_t)(uintptr_t)p, n, p, kind, flags, ctx);
	*ret = p;
	return 0;
}

CUresult cuMemHostAlloc(void **ret, size_t n, unsigned int flags)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	if (!ret || flags & ~7u)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	LEAVE(alloc_pages(ctx, n, MEM_PINNED, flags, ret));
}

CUresult cuMemAllocHost_v2(void **ret, size_t n)
{
	return cuMemHostAlloc(ret, n, 0);
}

CUresult cuMemFreeHost(void *p)
{
	struct ctx *ctx;
	struct mem_span s;

	ENTER(ctx);
	CALL();
	if (!p)
		LEAVE(CUDA_SUCCESS);
	if (!mem_find((uint64_t)(uintptr_t)p, &s) || s.kind != MEM_PINNED || s.base != (uint64_t)(uintptr_t)p)
		LEAVE(misuse(CUDA_ERROR_INVALID_VALUE, "freeing %p, which is no pinned allocation", p));
	ctx_wait(ctx);
	mem_detach(s.base, NULL, NULL);
	munmap(s.host, (s.size + 4095) & ~UINT64_C(4095));
	LEAVE(CUDA_SUCCESS);
}

CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *ret, void *p, unsigned int flags)
{
	struct ctx *ctx;
	struct mem_span s;

	ENTER(ctx);
	CALL();
	if (!ret || flags)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	if (!mem_find((uint64_t)(uintptr_t)p, &s) || (s.kind != MEM_PINNED && s.kind != MEM_REGISTERED && s.kind != MEM_MANAGED))
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	*ret = (uint64_t)(uintptr_t)p;
	LEAVE(CUDA_SUCCESS);
}

CUresult cuMemHostGetFlags(unsigned int *flags, void *p)
{
	struct ctx *ctx;
	struct mem_span s;

	ENTER(ctx);
	CALL();
	if (!flags || !mem_find((uint64_t)(uintptr_t)p, &s) || (s.kind != MEM_PINNED && s.kind != MEM_REGISTERED))
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	*flags = s.flags | CU_MEMHOSTALLOC_DEVICEMAP;
	LEAVE(CUDA_SUCCESS);
}

CUresult cuMemHostRegister_v2(void *p, size_t n, unsigned int flags)
{
	struct ctx *ctx;
	int rc;

	ENTER(ctx);
	CALL();
	if (!p || !n || flags & ~15u)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	rc = mem_attach((uint64_t)(uintptr_t)p, n, p, MEM_REGISTERED, flags, ctx);
	LEAVE(rc ? misuse(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, "%p is registered already", p) : CUDA_SUCCESS);
}

CUresult cuMemHostUnregister(void *p)
{
	struct ctx *ctx;
	struct mem_span s;

	ENTER(ctx);
	CALL();
	if (!mem_find((uint64_t)(uintptr_t)p, &s) || s.kind != MEM_REGISTERED || s.base != (uint64_t)(uintptr_t)p)
		LEAVE(misuse(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, "%p is not registered", p));
	ctx_wait(ctx);
	mem_detach(s.base, NULL, NULL);
	LEAVE(CUDA_SUCCESS);
}

CUresult cuMemAllocManaged(CUdeviceptr *ret, size_t n, unsigned int flags)
{
	struct ctx *ctx;
	void *p;
	int rc;

	ENTER(ctx);
	CALL();
	if (!ret || (flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST))
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	rc = alloc_pages(ctx, n, MEM_MANAGED, flags, &p);
	if (!rc)
		*ret = (uint64_t)(uintptr_t)p;
	LEAVE(rc);
}

static bool managed(CUdeviceptr p, size_t n)
{
	struct mem_span s;

	return mem_find(p, &s) && s.kind == MEM_MANAGED && p - s.base + n <= s.size;
}

CUresult cuMemPrefetchAsync(CUdeviceptr p, size_t n, CUdevice dev, CUstream h)
{
	struct ctx *ctx;
	struct stream *s;
	int rc;

	ENTER(ctx);
	CALL();
	rc = stream_of(ctx, h, &s);
	LEAVE(rc ? rc : managed(p, n) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE);
}

CUresult cuMemAdvise(CUdeviceptr p, size_t n, int advice, CUdevice dev)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	LEAVE(managed(p, n) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE);
}

CUresult cuStreamAttachMemAsync(CUstream h, CUdeviceptr p, size_t n, unsigned int flags)
{
	struct ctx *ctx;
	struct stream *s;
	int rc;

	ENTER(ctx);
	CALL();
	rc = stream_of(ctx, h, &s);
	LEAVE(rc ? rc : managed(p, n ? n : 1) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE);
}

static bool host_visible(const struct mem_span *s)
{
	return s->kind == MEM_PINNED || s->kind == MEM_REGISTERED || s->kind == MEM_MANAGED;
}

/* Lock held. Each attribute has a type of its own behind data. */
static int pointer_attribute(struct ctx *ctx, const struct mem_span *s, int attr, CUdeviceptr p, void *data)
{
	switch (attr) {
	case CU_POINTER_ATTRIBUTE_CONTEXT:
		*(CUcontext *)data = s->owner && handle_is(s->owner, H_CTX) ? s->owner : ctx;
		return 0;
	case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
		*(unsigned *)data = s->kind == MEM_PINNED || s->kind == MEM_REGISTERED ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
		return 0;
	case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
		*(CUdeviceptr *)data = p;
		return 0;
	case CU_POINTER_ATTRIBUTE_HOST_POINTER:
		if (!host_visible(s))
			return REFUSE(CUDA_ERROR_INVALID_VALUE);
		*(void **)data = (void *)(uintptr_t)p;
		return 0;
	case CU_POINTER_ATTRIBUTE_BUFFER_ID:
		*(unsigned long long *)data = s->id;
		return 0;
	case CU_POINTER_ATTRIBUTE_IS_MANAGED:
		*(unsigned *)data = s->kind == MEM_MANAGED;
		return 0;
	case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
		*(int *)data = ctx->device;
		return 0;
	case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
		*(CUdeviceptr *)data = s->base;
		return 0;
	case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
		*(size_t *)data = s->size;
		return 0;
	case CU_POINTER_ATTRIBUTE_MAPPED:
		*(unsigned *)data = 1;
		return 0;
	case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
		*(unsigned *)data = 3;
		return 0;
	case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
	case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
	case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
		*(unsigned *)data = 0;
		return 0;
	case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
		*(unsigned long long *)data = 0;
		return 0;
	default:
		return REFUSE(CUDA_ERROR_INVALID_VALUE);
	}
}

CUresult cuPointerGetAttribute(void *data, int attr, CUdeviceptr p)
{
	struct ctx *ctx;
	struct mem_span s;

	ENTER(ctx);
	CALL();
	if (!data || !mem_find(p, &s))
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	LEAVE(pointer_attribute(ctx, &s, attr, p, data));
}

static size_t attribute_size(int attr)
{
	switch (attr) {
	case CU_POINTER_ATTRIBUTE_CONTEXT: case CU_POINTER_ATTRIBUTE_DEVICE_POINTER: case CU_POINTER_ATTRIBUTE_HOST_POINTER:
	case CU_POINTER_ATTRIBUTE_BUFFER_ID: case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR: case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
	case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES: case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
		return 8;
	default:
		return 4;
	}
}

/* Of a pointer that the driver does not know every attribute is zero, and the call succeeds. */
CUresult cuPointerGetAttributes(unsigned int n, int *attrs, void **data, CUdeviceptr p)
{
	struct ctx *ctx;
	struct mem_span s;

	ENTER(ctx);
	CALL();
	if (!attrs || !data)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	for (unsigned i = 0; i < n; i++) {
		if (!mem_find(p, &s) || pointer_attribute(ctx, &s, attrs[i], p, data[i]))
			memset(data[i], attrs[i] == CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL ? 0xfe : 0, attribute_size(attrs[i]));
		if (!mem_find(p, &s) && attrs[i] == CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL)
			*(int *)data[i] = -2;
	}
	LEAVE(CUDA_SUCCESS);
}

CUresult cuPointerSetAttribute(const void *value, int attr, CUdeviceptr p)
{
	struct ctx *ctx;
	struct mem_span s;

	ENTER(ctx);
	CALL();
	LEAVE(value && attr == CU_POINTER_ATTRIBUTE_SYNC_MEMOPS && mem_find(p, &s) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE);
}
