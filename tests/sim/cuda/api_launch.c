/* Launches, host functions, values written and waited for by streams. */
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api.h"

int op_submit(struct stream *s, struct op *op)
{
	int rc = 0;

	if (capture_takes(s, op, &rc))
		return rc;
	rc = capture_blocks(s->ctx, s, false);
	if (rc) {
		op_free(op);
		return rc;
	}
	stream_submit(s, op);
	return 0;
}

static int launch(struct ctx *ctx, CUfunction f, const unsigned grid[3], const unsigned block[3], unsigned shared, CUstream h,
		  void **params, void **extra, bool cooperative)
{
	struct stream *s;
	struct kernel_args *a;
	int rc = stream_of(ctx, h, &s);

	if (!rc)
		rc = kernel_args_make(s->ctx, f, grid, block, shared, params, extra, cooperative, &a);
	return rc ? rc : op_submit(s, kernel_op(s->ctx, a));
}

CUresult cuLaunchKernel(CUfunction f, unsigned int gx, unsigned int gy, unsigned int gz, unsigned int bx, unsigned int by,
			unsigned int bz, unsigned int shared, CUstream h, void **params, void **extra)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	LEAVE(launch(ctx, f, (unsigned[]){gx, gy, gz}, (unsigned[]){bx, by, bz}, shared, h, params, extra, false));
}

CUresult cuLaunchCooperativeKernel(CUfunction f, unsigned int gx, unsigned int gy, unsigned int gz, unsigned int bx,
				   unsigned int by, unsigned int bz, unsigned int shared, CUstream h, void **params)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	LEAVE(launch(ctx, f, (unsigned[]){gx, gy, gz}, (unsigned[]){bx, by, bz}, shared, h, params, NULL, true));
}

static int record_launch_event(struct ctx *ctx, CUevent e, struct stream *s)
{
	struct op *op;

	if (!handle_is(e, H_EVENT))
		return misuse(CUDA_ERROR_INVALID_HANDLE, "a launch attribute names what is no event");
	op = op_create(OPT_EVENT, NULL, NULL, NULL, "event");
	op->always = true;
	fence_set(&e->fence, op->done);
	stream_submit(s, op);
	return 0;
}

CUresult cuLaunchKernelEx(const CUlaunchConfig *c, CUfunction f, void **params, void **extra)
{
	struct ctx *ctx;
	struct stream *s;
	bool cooperative = false;
	CUevent after = NULL;
	int rc;

	ENTER(ctx);
	CALL();
	if (!c || (c->numAttrs && !c->attrs))
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	for (unsigned i = 0; i < c->numAttrs; i++) {
		const CUlaunchAttribute *a = &c->attrs[i];

		if (a->id == CU_LAUNCH_ATTRIBUTE_COOPERATIVE)
			cooperative = a->value.cooperative;
		if (a->id == CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_EVENT)
			after = a->value.programmaticEvent.event;
		if (a->id == CU_LAUNCH_ATTRIBUTE_LAUNCH_COMPLETION_EVENT)
			after = a->value.launchCompletionEvent.event;
		if (a->id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION &&
		    a->value.clusterDim.x * a->value.clusterDim.y * a->value.clusterDim.z > 1)
			LEAVE(misuse(CUDA_ERROR_INVALID_CLUSTER_SIZE, "clusters of more than one block are not simulated"));
	}
	rc = launch(ctx, f, (unsigned[]){c->gridDimX, c->gridDimY, c->gridDimZ}, (unsigned[]){c->blockDimX, c->blockDimY, c->blockDimZ},
		    c->sharedMemBytes, c->hStream, params, extra, cooperative);
	if (!rc && after && !stream_of(ctx, c->hStream, &s) && !s->capture)
		rc = record_launch_event(ctx, after, s);
	LEAVE(rc);
}

struct host_call {
	CUhostFn fn;
	CUstreamCallback cb;
	CUstream stream;
	void *user;
};

static int run_host(struct op *op)
{
	struct host_call *c = op->data;

	tls.in_callback = true;
	if (c->cb)
		c->cb(c->stream, op->stream->ctx->sticky, c->user);
	else
		c->fn(c->user);
	tls.in_callback = false;
	return 0;
}

static void drop_host(struct op *op)
{
	free(op->data);
}

struct op *host_op(CUhostFn fn, CUstreamCallback cb, CUstream h, void *user)
{
	struct host_call *c = malloc(sizeof(*c));
	struct op *op;

	if (!c)
		abort();
	*c = (struct host_call){fn, cb, h, user};
	op = op_create(OPT_HOST, run_host, drop_host, c, "host");
	op->cost = clock_cost("host");
	op->always = cb != NULL; /* a callback is told of an error, a host function is not called */
	return op;
}

void host_params(const void *data, CUDA_HOST_NODE_PARAMS *p)
{
	const struct host_call *c = data;

	p->fn = c->fn;
	p->userData = c->user;
}

CUresult cuLaunchHostFunc(CUstream h, CUhostFn fn, void *user)
{
	struct ctx *ctx;
	struct stream *s;
	int rc;

	ENTER(ctx);
	CALL();
	rc = fn ? stream_of(ctx, h, &s) : CUDA_ERROR_INVALID_VALUE;
	LEAVE(rc ? rc : op_submit(s, host_op(fn, NULL, h, user)));
}

CUresult cuStreamAddCallback(CUstream h, CUstreamCallback fn, void *user, unsigned int flags)
{
	struct ctx *ctx;
	struct stream *s;
	int rc;

	ENTER(ctx);
	CALL();
	rc = fn && !flags ? stream_of(ctx, h, &s) : CUDA_ERROR_INVALID_VALUE;
	if (!rc && s->capture)
		rc = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
	LEAVE(rc ? rc : op_submit(s, host_op(NULL, fn, h, user)));
}

struct value {
	uint64_t addr, v;
	unsigned flags;
	bool wide, write;
};

static bool satisfied(const struct value *v, uint64_t now)
{
	uint64_t want = v->wide ? v->v : (uint32_t)v->v;

	switch (v->flags & 3) {
	case CU_STREAM_WAIT_VALUE_GEQ:
		return v->wide ? (int64_t)(now - want) >= 0 : (int32_t)((uint32_t)now - (uint32_t)want) >= 0;
	case CU_STREAM_WAIT_VALUE_EQ: return now == want;
	case CU_STREAM_WAIT_VALUE_AND: return (now & want) != 0;
	default: return v->wide ? ~(now | want) != 0 : (uint32_t)~(now | want) != 0;
	}
}

static int run_value(struct op *op)
{
	struct value *v = op->data;
	uint8_t *p;

	for (;;) {
		uint64_t now;

		p = mem_host(v->addr, v->wide ? 8 : 4);
		if (!p) {
			ctx_fail(op->stream->ctx, CUDA_ERROR_ILLEGAL_ADDRESS, "a stream waits for a value in memory that is gone");
			return CUDA_ERROR_ILLEGAL_ADDRESS;
		}
		if (v->write) {
			if (v->wide)
				__atomic_store_n((uint64_t *)p, v->v, __ATOMIC_RELEASE);
			else
				__atomic_store_n((uint32_t *)p, (uint32_t)v->v, __ATOMIC_RELEASE);
			return 0;
		}
		now = v->wide ? __atomic_load_n((uint64_t *)p, __ATOMIC_ACQUIRE) : __atomic_load_n((uint32_t *)p, __ATOMIC_ACQUIRE);
		if (satisfied(v, now))
			return 0;
		usleep(20);
	}
}

static void drop_value(struct op *op)
{
	free(op->data);
}

static int value(struct ctx *ctx, CUstream h, uint64_t addr, uint64_t val, unsigned flags, bool wide, bool write)
{
	struct stream *s;
	struct value *v;
	int rc = stream_of(ctx, h, &s);

	if (rc)
		return rc;
	if (addr % (wide ? 8 : 4) || !mem_host(addr, wide ? 8 : 4))
		return misuse(CUDA_ERROR_INVALID_VALUE, "a stream's value at 0x%llx is misaligned or not allocated", (unsigned long long)addr);
	if (s->capture)
		return REFUSE(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
	v = malloc(sizeof(*v));
	if (!v)
		abort();
	*v = (struct value){addr, val, flags, wide, write};
	return op_submit(s, op_create(OPT_VALUE, run_value, drop_value, v, write ? "write_value" : "wait_value"));
}

#define VALUE(a, v, flags, wide, write) do { \
	struct ctx *ctx; \
	ENTER(ctx); \
	CALL(); \
	LEAVE(value(ctx, h, a, v, flags, wide, write)); \
} while (0)

CUresult cuStreamWaitValue32_v2(CUstream h, CUdeviceptr a, cuuint32_t v, unsigned int flags)
{
	VALUE(a, v, flags, false, false);
}

CUresult cuStreamWaitValue64_v2(CUstream h, CUdeviceptr a, cuuint64_t v, unsigned int flags)
{
	VALUE(a, v, flags, true, false);
}

CUresult cuStreamWriteValue32_v2(CUstream h, CUdeviceptr a, cuuint32_t v, unsigned int flags)
{
	VALUE(a, v, flags, false, true);
}

CUresult cuStreamWriteValue64_v2(CUstream h, CUdeviceptr a, cuuint64_t v, unsigned int flags)
{
	VALUE(a, v, flags, true, true);
}

/* Operations: 1 wait 32, 2 write 32, 3 flush, 4 wait 64, 5 write 64, 6 barrier. */
static int batch_one(struct ctx *ctx, CUstream h, const CUstreamBatchMemOpParams *p)
{
	switch (p->operation) {
	case 1: return value(ctx, h, p->waitValue.address, p->waitValue.value, p->waitValue.flags, false, false);
	case 2: return value(ctx, h, p->writeValue.address, p->writeValue.value, p->writeValue.flags, false, true);
	case 4: return value(ctx, h, p->waitValue.address, p->waitValue.value64, p->waitValue.flags, true, false);
	case 5: return value(ctx, h, p->writeValue.address, p->writeValue.value64, p->writeValue.flags, true, true);
	case 3: case 6: return 0;
	default: return REFUSE(CUDA_ERROR_INVALID_VALUE);
	}
}

CUresult cuStreamBatchMemOp_v2(CUstream h, unsigned int n, CUstreamBatchMemOpParams *ops, unsigned int flags)
{
	struct ctx *ctx;
	int rc = 0;

	ENTER(ctx);
	CALL();
	if (!ops || n > 256 || flags)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	for (unsigned i = 0; i < n && !rc; i++)
		rc = batch_one(ctx, h, &ops[i]);
	LEAVE(rc);
}
