/* Fills and asynchronous copies. README.md says which of them may wait, and why. */
#include "hooks.h"
#include "memory.h"
#include "probe.h"
#include "queue.h"

#include <string.h>

static uint32_t token_of(enum op_kind kind, uint32_t what, size_t bytes, CUstream s)
{
	uint64_t h = hash_mix(hash_mix(kind, what), bytes);

	return (uint32_t)(hash_mix(h, (uintptr_t)s) >> 32) | 1;
}

static CUresult fill_now(unsigned row, uint32_t width, CUdeviceptr d, uint32_t v, size_t n, CUstream s)
{
	void *real = cuda_real[row];
	CUresult result;

	queue_direct(row);
	if (width == 1)
		result = ((fn_cuMemsetD8Async *)real)(d, (unsigned char)v, n, s);
	else if (width == 2)
		result = ((fn_cuMemsetD16Async *)real)(d, (unsigned short)v, n, s);
	else
		result = ((fn_cuMemsetD32Async *)real)(d, v, n, s);
	queue_direct_done(row, s, result);
	return result;
}

static CUresult fill(unsigned row, uint32_t width, CUdeviceptr d, uint32_t v, size_t n, CUstream s)
{
	bool valid = n && n <= SIZE_MAX / width && !(d % width) && queue_may_defer(row, s) &&
		     memory_is_device(d, n * width);
	struct gpu_queue *q = valid ? queue_enter(row, s) : NULL;

	if (!q)
		return fill_now(row, width, d, v, n, s);
	struct op_fill *op = queue_reserve(q, sizeof(*op));
	*op = (struct op_fill){ OP_HEAD(OP_FILL, token_of(OP_FILL, width, n, s), s), d, n, width, v };
	return queue_commit(q, &op->op, sizeof(*op));
}

#define FILL(name, width, type)                                                                    \
	CUresult hook_##name(CUdeviceptr d, type v, size_t n, CUstream s)                          \
	{                                                                                          \
		return fill(ROW_##name, width, d, v, n, s);                                        \
	}
FILL(cuMemsetD8Async, 1, unsigned char)
FILL(cuMemsetD8Async_ptsz, 1, unsigned char)
FILL(cuMemsetD16Async, 2, unsigned short)
FILL(cuMemsetD16Async_ptsz, 2, unsigned short)
FILL(cuMemsetD32Async, 4, unsigned)
FILL(cuMemsetD32Async_ptsz, 4, unsigned)

struct copy {
	unsigned row;
	enum copy_kind kind;
	uint64_t to, from;
	size_t bytes;
	CUstream s;
};

static CUresult copy_now(const struct copy *c)
{
	void *real = cuda_real[c->row];
	CUresult result;

	queue_direct(c->row);
	if (c->kind == COPY_HTOD)
		result = ((fn_cuMemcpyHtoDAsync_v2 *)real)(
			c->to, (const void *)(uintptr_t)c->from, c->bytes, c->s);
	else if (c->kind == COPY_DTOH)
		result = ((fn_cuMemcpyDtoHAsync_v2 *)real)(
			(void *)(uintptr_t)c->to, c->from, c->bytes, c->s);
	else
		result = ((fn_cuMemcpyDtoDAsync_v2 *)real)(c->to, c->from, c->bytes, c->s);
	queue_direct_done(c->row, c->s, result);
	return result;
}

/*
 * The program may reuse pageable memory as soon as the call returns: then the bytes must come along.
 * The driver, too, reads pageable memory during the call, so reading it here is not too early.
 */
static bool copy_may_wait(const struct copy *c, bool *ret_carry)
{
	*ret_carry = false;
	if (!c->bytes)
		return false;
	switch (c->kind) {
	case COPY_HTOD:
		if (!memory_is_device(c->to, c->bytes))
			return false;
		*ret_carry = !memory_is_pinned(c->from, c->bytes);
		return !*ret_carry || (c->bytes <= OP_COPY_MAX && memory_is_pageable(c->from));
	case COPY_DTOH:
		return memory_is_pinned(c->to, c->bytes) && memory_is_device(c->from, c->bytes);
	case COPY_DTOD:
	case COPY_ANY:
		return memory_is_device(c->to, c->bytes) && memory_is_device(c->from, c->bytes);
	}
	return false;
}

static CUresult copy(struct copy c)
{
	bool carry = false;
	bool may = queue_may_defer(c.row, c.s) && copy_may_wait(&c, &carry);
	struct gpu_queue *q = may ? queue_enter(c.row, c.s) : NULL;
	size_t total = sizeof(struct op_copy) + (carry ? c.bytes : 0);

	probe(PROBE_COPY, c.kind, c.bytes, (uintptr_t)c.s);
	if (!q)
		return copy_now(&c);
	struct op_copy *op = queue_reserve(q, total);
	*op = (struct op_copy){ OP_HEAD(OP_COPY, token_of(OP_COPY, c.kind, c.bytes, c.s), c.s), c.kind,
		carry, c.to, c.from, c.bytes };
	if (carry)
		memcpy(op->data, (const void *)(uintptr_t)c.from, c.bytes);
	return queue_commit(q, &op->op, total);
}

#define COPY(name, kind, to_type, from_type)                                                       \
	CUresult hook_##name(to_type to, from_type from, size_t n, CUstream s)                     \
	{                                                                                          \
		return copy((struct copy){                                                         \
			ROW_##name, kind, (uintptr_t)to, (uintptr_t)from, n, s });                 \
	}
COPY(cuMemcpyHtoDAsync_v2, COPY_HTOD, CUdeviceptr, const void *)
COPY(cuMemcpyHtoDAsync_v2_ptsz, COPY_HTOD, CUdeviceptr, const void *)
COPY(cuMemcpyDtoHAsync_v2, COPY_DTOH, void *, CUdeviceptr)
COPY(cuMemcpyDtoHAsync_v2_ptsz, COPY_DTOH, void *, CUdeviceptr)
COPY(cuMemcpyDtoDAsync_v2, COPY_DTOD, CUdeviceptr, CUdeviceptr)
COPY(cuMemcpyDtoDAsync_v2_ptsz, COPY_DTOD, CUdeviceptr, CUdeviceptr)
COPY(cuMemcpyAsync, COPY_ANY, CUdeviceptr, CUdeviceptr)
COPY(cuMemcpyAsync_ptsz, COPY_ANY, CUdeviceptr, CUdeviceptr)
