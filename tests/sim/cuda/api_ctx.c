/* Contexts: primary and created, the stack of each thread, limits. */
#include <sched.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "api.h"
#include "printf.h"

#define MAX_DEVICES 16

static struct ctx *primary[MAX_DEVICES];
static struct ctx *graveyard; /* contexts are never unmapped: a late handle finds a corpse, not a hole */
static uint64_t next_ctx_id = 1;

static struct ctx *current(void)
{
	return tls.depth ? tls.stack[tls.depth - 1] : NULL;
}

/*
 * For tests, by dlsym: the calling thread's next call comes to the driver and takes no effect before another thread
 * says so, as if its thread had lost the processor.
 */
CUAPI void simcuda_be_late(void);
CUAPI int simcuda_is_late(void);
CUAPI void simcuda_go_on(void);

static _Atomic int late;

void simcuda_be_late(void)
{
	tls.late = true;
}

int simcuda_is_late(void)
{
	return late;
}

void simcuda_go_on(void)
{
	late = 0;
}

static void hold_if_late(void)
{
	if (!tls.late)
		return;
	tls.late = false;
	late = 1;
	while (late)
		sched_yield();
}

int enter(struct ctx **ret_ctx)
{
	struct ctx *ctx = current();
	int rc = enter_init();

	if (rc)
		return rc;
	hold_if_late();
	if (tls.in_callback)
		return misuse(CUDA_ERROR_NOT_PERMITTED, "a driver call inside a host function");
	if (!ctx)
		return misuse(CUDA_ERROR_INVALID_CONTEXT, "no context is current");
	lock();
	if (ctx->destroyed) {
		unlock();
		return misuse(CUDA_ERROR_CONTEXT_IS_DESTROYED, "the current context is destroyed");
	}
	if (ctx->sticky) {
		rc = ctx->sticky;
		unlock();
		return rc;
	}
	*ret_ctx = ctx;
	return 0;
}

static struct ctx *ctx_create(int device, unsigned flags, bool is_primary)
{
	struct ctx *c = calloc(1, sizeof(*c));

	if (!c)
		abort();
	c->device = device;
	c->flags = flags;
	c->primary = is_primary;
	c->id = next_ctx_id++;
	c->null_stream = stream_create(c, 0, 0);
	c->null_stream->legacy = true;
	c->limits[CU_LIMIT_STACK_SIZE] = 1024;
	c->limits[CU_LIMIT_PRINTF_FIFO_SIZE] = 1 << 20;
	c->limits[CU_LIMIT_MALLOC_HEAP_SIZE] = 8 << 20;
	c->limits[CU_LIMIT_DEV_RUNTIME_SYNC_DEPTH] = 2;
	c->limits[CU_LIMIT_DEV_RUNTIME_PENDING_LAUNCH_COUNT] = 2048;
	c->limits[CU_LIMIT_MAX_L2_FETCH_GRANULARITY] = 64;
	handle_add(c, H_CTX);
	return c;
}

/* Everything made in the context goes with it. Lock held; waits for what runs. */
static void ctx_empty(struct ctx *c)
{
	ctx_wait(c);
	for (struct stream *s = c->streams, *n; s; s = n) {
		n = s->next;
		capture_stream_gone(s);
		handle_remove(s);
		stream_destroy(s);
	}
	for (struct event *e = c->events, *n; e; e = n) {
		n = e->next;
		handle_remove(e);
		event_free(e);
	}
	c->events = NULL;
	while (c->modules) {
		if (c->modules->lib)
			library_orphan(c->modules->lib);
		module_destroy(c->modules);
	}
	mem_free_owned(c);
	fence_put(c->legacy_last);
	c->legacy_last = NULL;
	c->null_stream = NULL;
}

static void ctx_bury(struct ctx *c)
{
	handle_remove(c);
	ctx_empty(c);
	c->destroyed = true;
	c->buried = graveyard;
	graveyard = c;
}

static void push(struct ctx *c)
{
	if (tls.depth < 64)
		tls.stack[tls.depth++] = c;
}

static CUresult create(CUcontext *ret, unsigned flags, CUdevice dev)
{
	struct ctx *c;

	ENTER_INIT();
	if (!ret || flags & ~0xffu)
		return REFUSE(CUDA_ERROR_INVALID_VALUE);
	if (dev < 0 || dev >= settings.devices)
		return REFUSE(CUDA_ERROR_INVALID_DEVICE);
	lock();
	c = ctx_create(dev, flags, false);
	push(c);
	*ret = c;
	LEAVE(CUDA_SUCCESS);
}

CUresult cuCtxCreate_v2(CUcontext *ret, unsigned int flags, CUdevice dev)
{
	CALL();
	return create(ret, flags, dev);
}

CUresult cuCtxCreate_v3(CUcontext *ret, void *affinity, int n, unsigned int flags, CUdevice dev)
{
	CALL();
	return n ? REFUSE(CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY) : create(ret, flags, dev);
}

CUresult cuCtxCreate_v4(CUcontext *ret, void *params, unsigned int flags, CUdevice dev)
{
	CALL();
	return create(ret, flags, dev);
}

CUresult cuCtxDestroy_v2(CUcontext c)
{
	ENTER_INIT();
	CALL();
	lock();
	if (!handle_is(c, H_CTX) || c->primary)
		LEAVE(misuse(CUDA_ERROR_INVALID_CONTEXT, "destroying a context that is none, or a primary one"));
	if (current() == c)
		tls.depth--;
	ctx_bury(c);
	LEAVE(CUDA_SUCCESS);
}

/* cuCtxAttach does not exist here: whoever made the context is its only user. */
CUresult cuCtxDetach(CUcontext c)
{
	return cuCtxDestroy_v2(c);
}

CUresult cuCtxPushCurrent_v2(CUcontext c)
{
	ENTER_INIT();
	CALL();
	lock();
	if (!handle_is(c, H_CTX))
		LEAVE(misuse(CUDA_ERROR_INVALID_CONTEXT, "pushing what is no context"));
	push(c);
	LEAVE(CUDA_SUCCESS);
}

CUresult cuCtxPopCurrent_v2(CUcontext *ret)
{
	ENTER_INIT();
	CALL();
	if (!tls.depth)
		return REFUSE(CUDA_ERROR_INVALID_CONTEXT);
	if (ret)
		*ret = current();
	tls.depth--;
	return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext c)
{
	ENTER_INIT();
	CALL();
	lock();
	if (c && !handle_is(c, H_CTX))
		LEAVE(misuse(CUDA_ERROR_INVALID_CONTEXT, "making current what is no context"));
	if (tls.depth)
		tls.depth--;
	if (c)
		push(c);
	LEAVE(CUDA_SUCCESS);
}

CUresult cuCtxGetCurrent(CUcontext *ret)
{
	ENTER_INIT();
	CALL();
	if (!ret)
		return REFUSE(CUDA_ERROR_INVALID_VALUE);
	*ret = current();
	return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice *ret)
{
	ENTER_INIT();
	CALL();
	if (!ret)
		return REFUSE(CUDA_ERROR_INVALID_VALUE);
	if (!current())
		return REFUSE(CUDA_ERROR_INVALID_CONTEXT);
	*ret = current()->device;
	return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice_v2(CUdevice *ret, CUcontext c)
{
	if (c && ret) {
		*ret = c->device;
		return CUDA_SUCCESS;
	}
	return cuCtxGetDevice(ret);
}

CUresult cuCtxGetFlags(unsigned int *flags)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	if (!flags)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	*flags = ctx->flags;
	LEAVE(CUDA_SUCCESS);
}

CUresult cuCtxSetFlags(unsigned int flags)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	ctx->flags = flags;
	LEAVE(CUDA_SUCCESS);
}

CUresult cuCtxGetId(CUcontext c, unsigned long long *id)
{
	ENTER_INIT();
	CALL();
	if (!c)
		c = current();
	if (!c || !id)
		return REFUSE(id ? CUDA_ERROR_INVALID_CONTEXT : CUDA_ERROR_INVALID_VALUE);
	*id = c->id;
	return CUDA_SUCCESS;
}

CUresult cuCtxSynchronize(void)
{
	struct ctx *ctx;
	int rc;

	ENTER(ctx);
	CALL();
	rc = capture_blocks(ctx, NULL, true);
	if (!rc)
		rc = ctx_wait(ctx);
	unlock();
	device_printf_flush();
	return (CUresult)rc;
}

CUresult cuCtxSynchronize_v2(CUcontext c)
{
	CUresult rc;

	if (!c)
		return cuCtxSynchronize();
	rc = cuCtxPushCurrent_v2(c);
	if (!rc) {
		rc = cuCtxSynchronize();
		cuCtxPopCurrent_v2(NULL);
	}
	return rc;
}

CUresult cuCtxGetLimit(size_t *value, int limit)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	if (!value || limit < 0 || limit >= CU_LIMIT_MAX)
		LEAVE(value ? CUDA_ERROR_UNSUPPORTED_LIMIT : CUDA_ERROR_INVALID_VALUE);
	*value = ctx->limits[limit];
	LEAVE(CUDA_SUCCESS);
}

CUresult cuCtxSetLimit(int limit, size_t value)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	if (limit < 0 || limit >= CU_LIMIT_MAX)
		LEAVE(CUDA_ERROR_UNSUPPORTED_LIMIT);
	ctx->limits[limit] = value;
	LEAVE(CUDA_SUCCESS);
}

CUresult cuCtxGetCacheConfig(int *config)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	if (config)
		*config = 0;
	LEAVE(config ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE);
}

CUresult cuCtxSetCacheConfig(int config)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	LEAVE(config < 0 || config > 3 ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS);
}

CUresult cuCtxGetSharedMemConfig(int *config)
{
	return cuCtxGetCacheConfig(config);
}

CUresult cuCtxSetSharedMemConfig(int config)
{
	return cuCtxSetCacheConfig(config);
}

CUresult cuCtxGetApiVersion(CUcontext c, unsigned int *version)
{
	ENTER_INIT();
	CALL();
	if (!version)
		return REFUSE(CUDA_ERROR_INVALID_VALUE);
	*version = 3020;
	return CUDA_SUCCESS;
}

CUresult cuCtxGetStreamPriorityRange(int *least, int *greatest)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	if (least)
		*least = LEAST_PRIORITY;
	if (greatest)
		*greatest = GREATEST_PRIORITY;
	LEAVE(CUDA_SUCCESS);
}

CUresult cuCtxResetPersistingL2Cache(void)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	LEAVE(CUDA_SUCCESS);
}

CUresult cuCtxEnablePeerAccess(CUcontext peer, unsigned int flags)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	if (!handle_is(peer, H_CTX) || flags)
		LEAVE(flags ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_CONTEXT);
	LEAVE(peer->device == ctx->device ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS);
}

CUresult cuCtxDisablePeerAccess(CUcontext peer)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	LEAVE(handle_is(peer, H_CTX) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT);
}

static CUresult check_primary(CUdevice dev)
{
	ENTER_INIT();
	return REFUSE(dev < 0 || dev >= settings.devices || dev >= MAX_DEVICES ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS);
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *ret, CUdevice dev)
{
	CUresult rc = check_primary(dev);

	if (rc)
		return rc;
	CALL();
	if (!ret)
		return REFUSE(CUDA_ERROR_INVALID_VALUE);
	lock();
	if (!primary[dev])
		primary[dev] = ctx_create(dev, 0, true);
	if (!primary[dev]->null_stream) { /* released or reset before: it comes back under the same handle */
		primary[dev]->null_stream = stream_create(primary[dev], 0, 0);
		primary[dev]->null_stream->legacy = true;
	}
	primary[dev]->refs++;
	*ret = primary[dev];
	LEAVE(CUDA_SUCCESS);
}

static void primary_reset(struct ctx *c)
{
	ctx_empty(c);
	c->sticky = 0;
	c->null_stream = stream_create(c, 0, 0);
	c->null_stream->legacy = true;
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice dev)
{
	CUresult rc = check_primary(dev);

	if (rc)
		return rc;
	CALL();
	lock();
	if (!primary[dev] || !primary[dev]->refs)
		LEAVE(misuse(CUDA_ERROR_INVALID_CONTEXT, "releasing a primary context that is not retained"));
	if (!--primary[dev]->refs)
		primary_reset(primary[dev]);
	LEAVE(CUDA_SUCCESS);
}

CUresult cuDevicePrimaryCtxReset_v2(CUdevice dev)
{
	CUresult rc = check_primary(dev);

	if (rc)
		return rc;
	CALL();
	lock();
	if (primary[dev])
		primary_reset(primary[dev]);
	LEAVE(CUDA_SUCCESS);
}

CUresult cuDevicePrimaryCtxGetState(CUdevice dev, unsigned int *flags, int *active)
{
	CUresult rc = check_primary(dev);

	if (rc)
		return rc;
	CALL();
	if (!flags || !active)
		return REFUSE(CUDA_ERROR_INVALID_VALUE);
	lock();
	*flags = primary[dev] ? primary[dev]->flags : 0;
	*active = primary[dev] && primary[dev]->refs;
	LEAVE(CUDA_SUCCESS);
}

CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice dev, unsigned int flags)
{
	CUresult rc = check_primary(dev);

	if (rc)
		return rc;
	CALL();
	lock();
	if (!primary[dev])
		primary[dev] = ctx_create(dev, flags, true);
	primary[dev]->flags = flags;
	LEAVE(CUDA_SUCCESS);
}

void ctx_fail(struct ctx *ctx, int code, const char *why)
{
	lock();
	if (!ctx->sticky) {
		ctx->sticky = code;
		snprintf(ctx->why, sizeof(ctx->why), "%s", why);
		strict_report("error %d: %s", code, why);
	}
	unlock();
}
