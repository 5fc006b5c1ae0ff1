/* Stream-ordered allocation: the address is given at once, the memory goes back when the stream gets there. */
#include <stdlib.h>
#include <string.h>

#include "api.h"

struct pool {
	int device;
	uint64_t threshold, used, high;
	bool is_default;
};

static struct pool *default_pool[16], *current_pool[16];

static struct pool *pool_of(int device)
{
	if (!default_pool[device]) {
		struct pool *p = calloc(1, sizeof(*p));

		if (!p)
			abort();
		p->device = device;
		p->is_default = true;
		handle_add(p, H_POOL);
		default_pool[device] = p;
	}
	return default_pool[device];
}

static CUresult device_pool(CUmemoryPool *pool, CUdevice dev, bool current)
{
	ENTER_INIT();
	if (!pool)
		return REFUSE(CUDA_ERROR_INVALID_VALUE);
	if (dev < 0 || dev >= settings.devices || dev >= 16)
		return REFUSE(CUDA_ERROR_INVALID_DEVICE);
	lock();
	*pool = current && current_pool[dev] ? current_pool[dev] : pool_of(dev);
	LEAVE(CUDA_SUCCESS);
}

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *pool, CUdevice dev)
{
	CALL();
	return device_pool(pool, dev, false);
}

CUresult cuDeviceGetMemPool(CUmemoryPool *pool, CUdevice dev)
{
	CALL();
	return device_pool(pool, dev, true);
}

CUresult cuDeviceSetMemPool(CUdevice dev, CUmemoryPool pool)
{
	ENTER_INIT();
	CALL();
	lock();
	if (!handle_is(pool, H_POOL) || dev < 0 || dev >= 16)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	current_pool[dev] = pool;
	LEAVE(CUDA_SUCCESS);
}

CUresult cuMemPoolCreate(CUmemoryPool *ret, const CUmemPoolProps *props)
{
	struct pool *p;

	ENTER_INIT();
	CALL();
	if (!ret || !props || props->location.type != 1)
		return REFUSE(CUDA_ERROR_INVALID_VALUE);
	p = calloc(1, sizeof(*p));
	if (!p)
		abort();
	p->device = props->location.id;
	lock();
	handle_add(p, H_POOL);
	*ret = p;
	LEAVE(CUDA_SUCCESS);
}

CUresult cuMemPoolDestroy(CUmemoryPool pool)
{
	ENTER_INIT();
	CALL();
	lock();
	if (!handle_is(pool, H_POOL) || pool->is_default)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	for (int i = 0; i < 16; i++)
		if (current_pool[i] == pool)
			current_pool[i] = NULL;
	handle_remove(pool);
	free(pool);
	LEAVE(CUDA_SUCCESS);
}

/* What a pool has given away: it comes back to that one. */
static struct lent {
	struct lent *next;
	struct pool *pool;
	uint64_t addr, bytes;
} *lent;

static void lend(struct pool *pool, uint64_t addr, uint64_t bytes)
{
	struct lent *l = malloc(sizeof(*l));

	if (!l)
		abort();
	*l = (struct lent){lent, pool, addr, bytes};
	lent = l;
	pool->used += bytes;
	if (pool->used > pool->high)
		pool->high = pool->used;
}

static void take_back(uint64_t addr)
{
	struct lent **at = &lent, *l;

	while (*at && (*at)->addr != addr)
		at = &(*at)->next;
	l = *at;
	if (!l)
		return;
	*at = l->next;
	if (handle_is(l->pool, H_POOL))
		l->pool->used -= l->bytes;
	free(l);
}

static int allocate(struct ctx *ctx, CUdeviceptr *ret, size_t n, struct pool *pool, CUstream h)
{
	struct stream *s;
	uint64_t addr;
	int rc = ret && n ? stream_of(ctx, h, &s) : CUDA_ERROR_INVALID_VALUE;

	if (rc)
		return rc;
	if (s->capture)
		return REFUSE(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
	rc = capture_blocks(ctx, s, false);
	if (rc)
		return rc;
	if (mem_alloc(n, 512, MEM_POOL, ctx, &addr)) {
		/* What a stream is about to free may be enough: the real driver waits for it too. */
		ctx_wait(ctx);
		if (mem_alloc(n, 512, MEM_POOL, ctx, &addr))
			return CUDA_ERROR_OUT_OF_MEMORY;
	}
	lend(pool, addr, n);
	if (settings.race)
		watch_forget(addr, n);
	*ret = addr;
	return 0;
}

CUresult cuMemAllocAsync(CUdeviceptr *ret, size_t n, CUstream h)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	LEAVE(allocate(ctx, ret, n, current_pool[ctx->device] ? current_pool[ctx->device] : pool_of(ctx->device), h));
}

CUresult cuMemAllocFromPoolAsync(CUdeviceptr *ret, size_t n, CUmemoryPool pool, CUstream h)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	if (!handle_is(pool, H_POOL))
		LEAVE(misuse(CUDA_ERROR_INVALID_VALUE, "allocating from what is no pool"));
	LEAVE(allocate(ctx, ret, n, pool, h));
}

static int run_free(struct op *op)
{
	uint64_t *addr = op->data;
	struct mem_span s;

	if (mem_find(*addr, &s))
		mem_free(*addr, s.kind);
	return 0;
}

static void drop_free(struct op *op)
{
	free(op->data);
}

CUresult cuMemFreeAsync(CUdeviceptr p, CUstream h)
{
	struct ctx *ctx;
	struct stream *s;
	struct mem_span span;
	struct op *op;
	uint64_t *addr;
	int rc;

	ENTER(ctx);
	CALL();
	rc = stream_of(ctx, h, &s);
	if (rc || !p)
		LEAVE(rc);
	if (s->capture)
		LEAVE(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
	if (!mem_find(p, &span) || span.base != p || (span.kind != MEM_POOL && span.kind != MEM_DEVICE))
		LEAVE(misuse(CUDA_ERROR_INVALID_VALUE, "freeing 0x%llx, which no allocation begins at", p));
	addr = malloc(sizeof(*addr));
	if (!addr)
		abort();
	*addr = p;
	take_back(p);
	op = op_create(OPT_EMPTY, run_free, drop_free, addr, "free");
	op->always = true;
	stream_submit(s, op);
	LEAVE(CUDA_SUCCESS);
}

#define POOL(p) do { ENTER_INIT(); lock(); if (!handle_is(p, H_POOL)) LEAVE(misuse(CUDA_ERROR_INVALID_VALUE, "%p is no pool", (void *)(p))); } while (0)

CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t keep)
{
	CALL();
	POOL(pool);
	LEAVE(CUDA_SUCCESS);
}

/* 1..3: reuse policies (int); 4: release threshold; 5, 6: reserved now and at most; 7, 8: used now and at most. */
CUresult cuMemPoolSetAttribute(CUmemoryPool pool, int attr, void *value)
{
	CALL();
	POOL(pool);
	if (!value || attr < 1 || attr > 8)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	if (attr == 4)
		pool->threshold = *(cuuint64_t *)value;
	if (attr == 8 || attr == 6)
		pool->high = pool->used;
	LEAVE(attr == 5 || attr == 7 ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS);
}

CUresult cuMemPoolGetAttribute(CUmemoryPool pool, int attr, void *value)
{
	CALL();
	POOL(pool);
	if (!value || attr < 1 || attr > 8)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	if (attr <= 3)
		*(int *)value = 1;
	else
		*(cuuint64_t *)value = attr == 4 ? pool->threshold : attr == 5 || attr == 7 ? pool->used : pool->high;
	LEAVE(CUDA_SUCCESS);
}

CUresult cuMemPoolSetAccess(CUmemoryPool pool, const CUmemAccessDesc *map, size_t n)
{
	CALL();
	POOL(pool);
	LEAVE(map || !n ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE);
}

CUresult cuMemPoolGetAccess(int *flags, CUmemoryPool pool, CUmemLocation *location)
{
	CALL();
	POOL(pool);
	if (!flags || !location)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	*flags = 3;
	LEAVE(CUDA_SUCCESS);
}
