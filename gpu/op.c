#include "op.h"

#include "driver.h"

#define MAX_PARAMS 1024

/* The program's two ways of giving parameters stay what they were: pointers, or one buffer. */
static CUresult launch_with(struct op_launch *l, void **params, void **extra)
{
	struct cuda_launch_config c = { .shared = l->shared,
		.stream = l->op.stream,
		.attrs = l->attrs,
		.attr_count = l->attr_count };

	if (!l->attr_count)
		return REAL(cuLaunchKernel)(l->func, l->grid[0], l->grid[1], l->grid[2],
			l->block[0], l->block[1], l->block[2], l->shared, l->op.stream, params,
			extra);
	for (int i = 0; i < 3; i++) {
		c.grid[i] = l->grid[i];
		c.block[i] = l->block[i];
	}
	return REAL(cuLaunchKernelEx)(&c, l->func, params, extra);
}

static CUresult submit_launch(struct op_launch *l)
{
	void *params[MAX_PARAMS];
	size_t bytes = l->bytes;
	void *extra[] = { CU_LAUNCH_PARAM_BUFFER_POINTER, op_params(l), CU_LAUNCH_PARAM_BUFFER_SIZE,
		&bytes, CU_LAUNCH_PARAM_END };

	if (!l->kernel)
		return launch_with(l, NULL, extra);
	for (uint32_t i = 0; i < l->kernel->count; i++)
		params[i] = op_params(l) + l->kernel->param[i].offset;
	return launch_with(l, params, NULL);
}

static CUresult submit_fill(const struct op_fill *f)
{
	if (f->width == 1)
		return REAL(cuMemsetD8Async)(f->to, (unsigned char)f->value, f->count, f->op.stream);
	if (f->width == 2)
		return REAL(cuMemsetD16Async)(
			f->to, (unsigned short)f->value, f->count, f->op.stream);
	return REAL(cuMemsetD32Async)(f->to, f->value, f->count, f->op.stream);
}

static CUresult submit_copy(const struct op_copy *c)
{
	const void *from = c->carried ? c->data : (const void *)(uintptr_t)c->from;

	switch (c->copy) {
	case COPY_HTOD:
		return REAL(cuMemcpyHtoDAsync_v2)(c->to, from, c->bytes, c->op.stream);
	case COPY_DTOH:
		return REAL(cuMemcpyDtoHAsync_v2)(
			(void *)(uintptr_t)c->to, c->from, c->bytes, c->op.stream);
	case COPY_DTOD:
		return REAL(cuMemcpyDtoDAsync_v2)(c->to, c->from, c->bytes, c->op.stream);
	default:
		return REAL(cuMemcpyAsync)(c->to, c->from, c->bytes, c->op.stream);
	}
}

size_t op_bytes(const struct op *op)
{
	const struct op_launch *l = (const struct op_launch *)op;
	const struct op_copy *c = (const struct op_copy *)op;

	switch ((enum op_kind)op->kind) {
	case OP_LAUNCH:
		return sizeof(*l) + l->attr_count * sizeof(*l->attrs) + l->bytes;
	case OP_FILL:
		return sizeof(struct op_fill);
	case OP_COPY:
		return sizeof(*c) + (c->carried ? c->bytes : 0);
	case OP_EVENT:
	case OP_WAIT:
		return sizeof(struct op_event);
	case OP_HOST:
		return sizeof(struct op_host);
	}
	return 0;
}

CUresult op_submit(struct op *op)
{
	switch ((enum op_kind)op->kind) {
	case OP_LAUNCH:
		return submit_launch((struct op_launch *)op);
	case OP_FILL:
		return submit_fill((struct op_fill *)op);
	case OP_COPY:
		return submit_copy((struct op_copy *)op);
	case OP_EVENT:
		return REAL(cuEventRecord)(((struct op_event *)op)->event, op->stream);
	case OP_WAIT:
		return REAL(cuStreamWaitEvent)(op->stream, ((struct op_event *)op)->event, 0);
	case OP_HOST:
		return REAL(cuLaunchHostFunc)(
			op->stream, ((struct op_host *)op)->fn, ((struct op_host *)op)->data);
	}
	return CUDA_ERROR_INVALID_VALUE;
}
