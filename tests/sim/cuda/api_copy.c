/* Copies and fills, in every exported form. */
#include <stdlib.h>
#include <string.h>

#include "api.h"

static bool pinned(const void *p, size_t n)
{
	struct mem_span s;

	return mem_find((uint64_t)(uintptr_t)p, &s) && (s.kind == MEM_PINNED || s.kind == MEM_REGISTERED || s.kind == MEM_MANAGED) &&
	       (uint64_t)(uintptr_t)p - s.base + n <= s.size;
}

static size_t rows(const struct copy *c, uint64_t pitch, uint64_t slice)
{
	return c->width && c->height && c->depth ? (c->depth - 1) * slice + (c->height - 1) * pitch + c->width : 0;
}

/*
 * Pageable memory: a source may be reused as soon as the call returns, so it is copied aside; a
 * destination is complete when the call returns.
 */
static void stage(struct copy *c)
{
	size_t n = rows(c, c->src_pitch, c->src_slice);
	uint8_t *own;

	if (!c->src || !n)
		return;
	own = malloc(n);
	if (!own)
		abort();
	memcpy(own, c->src, n);
	c->src = own;
	c->owned = true;
}

static int submit(struct stream *s, struct copy *c, bool sync)
{
	struct ctx *ctx = s->ctx;
	struct op *op;
	bool wait = sync || c->dst;
	int rc = 0;

	if (s->capture && !sync) {
		capture_takes(s, copy_op(c), &rc);
		return rc;
	}
	rc = capture_blocks(ctx, s, sync);
	if (rc)
		return rc;
	if (!sync)
		stage(c);
	/* Between two places of the device even the synchronous form does not wait. */
	if (sync && !c->src && !c->dst && !pinned((void *)(uintptr_t)c->src_dev, 1) && !pinned((void *)(uintptr_t)c->dst_dev, 1))
		wait = false;
	op = copy_op(c);
	struct fence *f = stream_submit(s, op);
	if (wait)
		fence_wait(f);
	return wait ? ctx->sticky : 0;
}

static int run(struct ctx *ctx, CUstream h, const CUDA_MEMCPY3D *p, bool sync)
{
	struct stream *s;
	struct copy c;
	int rc = stream_of(ctx, h, &s);

	if (!rc)
		rc = p ? copy_from_3d(p, &c) : CUDA_ERROR_INVALID_VALUE;
	if (rc)
		return rc;
	return c.width && c.height && c.depth ? submit(s, &c, sync) : 0;
}

static CUDA_MEMCPY3D line(unsigned dt, void *d, unsigned st, const void *s, size_t n)
{
	return (CUDA_MEMCPY3D){
		.dstMemoryType = dt, .dstHost = d, .dstDevice = (uint64_t)(uintptr_t)d, .srcMemoryType = st, .srcHost = s,
		.srcDevice = (uint64_t)(uintptr_t)s, .WidthInBytes = n, .Height = 1, .Depth = 1,
	};
}

#define DEV(p) ((void *)(uintptr_t)(p))
#define COPY(dt, d, st, s, n, h, sync) do { \
	struct ctx *ctx; \
	CUDA_MEMCPY3D p_ = line(dt, d, st, s, n); \
	ENTER(ctx); \
	CALL(); \
	LEAVE(run(ctx, h, &p_, sync)); \
} while (0)

CUresult cuMemcpy(CUdeviceptr d, CUdeviceptr s, size_t n)
{
	COPY(CU_MEMORYTYPE_UNIFIED, DEV(d), CU_MEMORYTYPE_UNIFIED, DEV(s), n, NULL, true);
}

CUresult cuMemcpyAsync(CUdeviceptr d, CUdeviceptr s, size_t n, CUstream h)
{
	COPY(CU_MEMORYTYPE_UNIFIED, DEV(d), CU_MEMORYTYPE_UNIFIED, DEV(s), n, h, false);
}

CUresult cuMemcpyHtoD_v2(CUdeviceptr d, const void *s, size_t n)
{
	COPY(CU_MEMORYTYPE_DEVICE, DEV(d), CU_MEMORYTYPE_HOST, s, n, NULL, true);
}

CUresult cuMemcpyDtoH_v2(void *d, CUdeviceptr s, size_t n)
{
	COPY(CU_MEMORYTYPE_HOST, d, CU_MEMORYTYPE_DEVICE, DEV(s), n, NULL, true);
}

CUresult cuMemcpyDtoD_v2(CUdeviceptr d, CUdeviceptr s, size_t n)
{
	COPY(CU_MEMORYTYPE_DEVICE, DEV(d), CU_MEMORYTYPE_DEVICE, DEV(s), n, NULL, true);
}

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr d, const void *s, size_t n, CUstream h)
{
	COPY(CU_MEMORYTYPE_DEVICE, DEV(d), CU_MEMORYTYPE_HOST, s, n, h, false);
}

CUresult cuMemcpyDtoHAsync_v2(void *d, CUdeviceptr s, size_t n, CUstream h)
{
	COPY(CU_MEMORYTYPE_HOST, d, CU_MEMORYTYPE_DEVICE, DEV(s), n, h, false);
}

CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr d, CUdeviceptr s, size_t n, CUstream h)
{
	COPY(CU_MEMORYTYPE_DEVICE, DEV(d), CU_MEMORYTYPE_DEVICE, DEV(s), n, h, false);
}

CUresult cuMemcpyPeer(CUdeviceptr d, CUcontext dc, CUdeviceptr s, CUcontext sc, size_t n)
{
	COPY(CU_MEMORYTYPE_UNIFIED, DEV(d), CU_MEMORYTYPE_UNIFIED, DEV(s), n, NULL, true);
}

CUresult cuMemcpyPeerAsync(CUdeviceptr d, CUcontext dc, CUdeviceptr s, CUcontext sc, size_t n, CUstream h)
{
	COPY(CU_MEMORYTYPE_UNIFIED, DEV(d), CU_MEMORYTYPE_UNIFIED, DEV(s), n, h, false);
}

static CUDA_MEMCPY3D from_2d(const CUDA_MEMCPY2D *p)
{
	return (CUDA_MEMCPY3D){
		.srcXInBytes = p->srcXInBytes, .srcY = p->srcY, .srcMemoryType = p->srcMemoryType, .srcHost = p->srcHost,
		.srcDevice = p->srcDevice, .srcPitch = p->srcPitch, .dstXInBytes = p->dstXInBytes, .dstY = p->dstY,
		.dstMemoryType = p->dstMemoryType, .dstHost = p->dstHost, .dstDevice = p->dstDevice, .dstPitch = p->dstPitch,
		.WidthInBytes = p->WidthInBytes, .Height = p->Height, .Depth = 1,
	};
}

static CUresult copy_2d(const CUDA_MEMCPY2D *p, CUstream h, bool sync)
{
	struct ctx *ctx;
	CUDA_MEMCPY3D c;

	ENTER(ctx);
	if (!p)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	c = from_2d(p);
	LEAVE(run(ctx, h, &c, sync));
}

CUresult cuMemcpy2D_v2(const CUDA_MEMCPY2D *p)
{
	CALL();
	return copy_2d(p, NULL, true);
}

CUresult cuMemcpy2DUnaligned_v2(const CUDA_MEMCPY2D *p)
{
	CALL();
	return copy_2d(p, NULL, true);
}

CUresult cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D *p, CUstream h)
{
	CALL();
	return copy_2d(p, h, false);
}

CUresult cuMemcpy3D_v2(const CUDA_MEMCPY3D *p)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	LEAVE(run(ctx, NULL, p, true));
}

CUresult cuMemcpy3DAsync_v2(const CUDA_MEMCPY3D *p, CUstream h)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	LEAVE(run(ctx, h, p, false));
}

/* A synchronous fill of device memory does not wait either; one of host memory does. */
static int fill(struct ctx *ctx, CUstream h, const struct fill *f, bool sync)
{
	struct stream *s;
	struct fence *done;
	int rc = stream_of(ctx, h, &s), code = 0;

	if (!rc)
		rc = fill_check(f);
	if (rc || !f->width || !f->height)
		return rc;
	if (s->capture && !sync) {
		capture_takes(s, fill_op(f), &code);
		return code;
	}
	rc = capture_blocks(ctx, s, sync);
	if (rc)
		return rc;
	done = stream_submit(s, fill_op(f));
	if (!sync || !pinned(DEV(f->dst), 1))
		return 0;
	fence_wait(done);
	return ctx->sticky;
}

#define FILL(d, p, v, e, w, h, stream, sync) do { \
	struct ctx *ctx; \
	struct fill f_ = {.dst = (d), .pitch = (p), .value = (v), .size = (e), .width = (w), .height = (h)}; \
	ENTER(ctx); \
	CALL(); \
	LEAVE(fill(ctx, stream, &f_, sync)); \
} while (0)

CUresult cuMemsetD8_v2(CUdeviceptr d, unsigned char v, size_t n)
{
	FILL(d, 0, v, 1, n, 1, NULL, true);
}

CUresult cuMemsetD16_v2(CUdeviceptr d, unsigned short v, size_t n)
{
	FILL(d, 0, v, 2, n, 1, NULL, true);
}

CUresult cuMemsetD32_v2(CUdeviceptr d, unsigned int v, size_t n)
{
	FILL(d, 0, v, 4, n, 1, NULL, true);
}

CUresult cuMemsetD2D8_v2(CUdeviceptr d, size_t pitch, unsigned char v, size_t w, size_t height)
{
	FILL(d, pitch, v, 1, w, height, NULL, true);
}

CUresult cuMemsetD2D16_v2(CUdeviceptr d, size_t pitch, unsigned short v, size_t w, size_t height)
{
	FILL(d, pitch, v, 2, w, height, NULL, true);
}

CUresult cuMemsetD2D32_v2(CUdeviceptr d, size_t pitch, unsigned int v, size_t w, size_t height)
{
	FILL(d, pitch, v, 4, w, height, NULL, true);
}

CUresult cuMemsetD8Async(CUdeviceptr d, unsigned char v, size_t n, CUstream h)
{
	FILL(d, 0, v, 1, n, 1, h, false);
}

CUresult cuMemsetD16Async(CUdeviceptr d, unsigned short v, size_t n, CUstream h)
{
	FILL(d, 0, v, 2, n, 1, h, false);
}

CUresult cuMemsetD32Async(CUdeviceptr d, unsigned int v, size_t n, CUstream h)
{
	FILL(d, 0, v, 4, n, 1, h, false);
}

CUresult cuMemsetD2D8Async(CUdeviceptr d, size_t pitch, unsigned char v, size_t w, size_t height, CUstream h)
{
	FILL(d, pitch, v, 1, w, height, h, false);
}

CUresult cuMemsetD2D16Async(CUdeviceptr d, size_t pitch, unsigned short v, size_t w, size_t height, CUstream h)
{
	FILL(d, pitch, v, 2, w, height, h, false);
}

CUresult cuMemsetD2D32Async(CUdeviceptr d, size_t pitch, unsigned int v, size_t w, size_t height, CUstream h)
{
	FILL(d, pitch, v, 4, w, height, h, false);
}
