#include "launch.h"

#include "hooks.h"
#include "marks.h"
#include "memory.h"
#include "probe.h"
#include "settings.h"
#include "stats.h"

#include <string.h>

/* Grid included, parameters not: these may differ each time a window comes back. */
static uint32_t token_of(const struct launch *l, uint64_t combo)
{
	uint64_t h = hash_mix(combo, (uint64_t)l->grid[0] << 32 | l->grid[1]);

	h = hash_mix(h, l->grid[2]);
	h = hash_mix(h, (uintptr_t)l->stream);
	return (uint32_t)(h >> 32) | 1;
}

static void copy_params(struct op_launch *op, const struct launch *l, const struct kernel *k)
{
	char *to = op_params(op);

	if (!k) {
		memcpy(to, l->buffer, l->buffer_bytes);
		return;
	}
	/* Equal parameters are then equal bytes: a graph's node is told only of what has changed. */
	if (k->has_holes)
		memset(to, 0, k->bytes);
	for (uint32_t i = 0; i < k->count; i++)
		memcpy(to + k->param[i].offset, l->params[i], k->param[i].size);
}

static CUresult defer(
	struct gpu_queue *q, const struct launch *l, uint64_t combo, const struct kernel *k)
{
	uint32_t bytes = k ? k->bytes : (uint32_t)l->buffer_bytes;
	size_t attrs = l->attr_count * sizeof(*l->attrs);
	size_t total = sizeof(struct op_launch) + attrs + bytes;
	struct op_launch *op = queue_reserve(q, total);

	*op = (struct op_launch){ .op = { OP_LAUNCH, marks_has(q, l->func), token_of(l, combo), l->stream },
		.func = l->func,
		.kernel = k,
		.grid = { l->grid[0], l->grid[1], l->grid[2] },
		.block = { l->block[0], l->block[1], l->block[2] },
		.shared = l->shared,
		.attr_count = l->attr_count,
		.bytes = bytes };
	for (uint32_t i = 0; i < l->attr_count; i++)
		launch_copy_attr(&op->attrs[i], &l->attrs[i]);
	copy_params(op, l, k);
	probe(PROBE_LAUNCH, op->op.token, (uintptr_t)l->stream, PATH_RING);
	return queue_commit(q, &op->op, total);
}

static CUresult call_driver(const struct launch *l)
{
	struct cuda_launch_config c = { { l->grid[0], l->grid[1], l->grid[2] },
		{ l->block[0], l->block[1], l->block[2] }, l->shared, l->stream,
		(struct cuda_launch_attribute *)l->attrs, l->attr_count };

	if (l->row == ROW_cuLaunchKernelEx || l->row == ROW_cuLaunchKernelEx_ptsz)
		return ((fn_cuLaunchKernelEx *)cuda_real[l->row])(
			&c, l->func, l->params, l->extra);
	return ((fn_cuLaunchKernel *)cuda_real[l->row])(l->func, l->grid[0], l->grid[1], l->grid[2],
		l->block[0], l->block[1], l->block[2], l->shared, l->stream, l->params, l->extra);
}

/* The first of its kind: in the driver's hands when we return, and its answer is the program's. */
static CUresult launch_now(const struct launch *l, bool plain)
{
	queue_direct(l->row);
	probe(PROBE_LAUNCH, token_of(l, launch_combo(l)), (uintptr_t)l->stream, PATH_PLAIN);
	CUresult result = ASK_TWICE(call_driver(l));
	queue_direct_done(l->row, l->stream, result);
	if (!result && plain && queue_may_defer(l->row, l->stream))
		launch_learn(l);
	return result;
}

static CUresult launch(struct launch *l)
{
	bool plain = launch_is_plain(l);
	struct gpu_queue *q = plain ? queue_enter(l->row, l->stream) : NULL;

	stat_inc(STAT_cuda_launches);
	if (!q)
		return launch_now(l, plain);
	uint64_t combo = launch_combo(l);
	const uint64_t *known = handles_find(&q->combos, combo);
	const struct kernel *k = known ? (const struct kernel *)(uintptr_t)*known : NULL;
	if (!known || (k && k->count && !l->params)) {
		queue_leave(q);
		return launch_now(l, plain);
	}
	if (settings.cuda_null) {
		queue_leave(q);
		return CUDA_SUCCESS;
	}
	return defer(q, l, combo, k);
}

#define LAUNCH_KERNEL(name)                                                                        \
	CUresult hook_##name CUDA_LAUNCH_PARAMS                                                    \
	{                                                                                          \
		struct launch l = { .row = ROW_##name,                                             \
			.func = f,                                                                 \
			.grid = { gx, gy, gz },                                                    \
			.block = { bx, by, bz },                                                   \
			.shared = shared,                                                          \
			.stream = s,                                                               \
			.params = params,                                                          \
			.extra = extra };                                                          \
		return launch(&l);                                                                 \
	}
LAUNCH_KERNEL(cuLaunchKernel)
LAUNCH_KERNEL(cuLaunchKernel_ptsz)

static CUresult launch_ex(unsigned row, const struct cuda_launch_config *c, CUfunction f,
	void **params, void **extra)
{
	if (!c) {
		queue_direct(row);
		CUresult result = ((fn_cuLaunchKernelEx *)cuda_real[row])(c, f, params, extra);
		queue_passed(row);
		return result;
	}
	struct launch l = { .row = row,
		.func = f,
		.grid = { c->grid[0], c->grid[1], c->grid[2] },
		.block = { c->block[0], c->block[1], c->block[2] },
		.shared = c->shared,
		.stream = c->stream,
		.attrs = c->attrs,
		.attr_count = c->attr_count,
		.params = params,
		.extra = extra };
	return launch(&l);
}

CUresult hook_cuLaunchKernelEx(
	const struct cuda_launch_config *c, CUfunction f, void **params, void **extra)
{
	return launch_ex(ROW_cuLaunchKernelEx, c, f, params, extra);
}

CUresult hook_cuLaunchKernelEx_ptsz(
	const struct cuda_launch_config *c, CUfunction f, void **params, void **extra)
{
	return launch_ex(ROW_cuLaunchKernelEx_ptsz, c, f, params, extra);
}
