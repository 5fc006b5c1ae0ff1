/* Kernel launches: arguments checked at the call, copied, run by the stream. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "residency.h"

static int check_dims(const struct func *f, const unsigned grid[3], const unsigned block[3])
{
	uint64_t threads = (uint64_t)block[0] * block[1] * block[2], max = 0;
	const struct code *c = f->code;

	if (!grid[0] || !grid[1] || !grid[2] || !threads)
		return misuse(CUDA_ERROR_INVALID_VALUE, "%s: a dimension is zero", f->name);
	if (grid[0] > 0x7fffffff || grid[1] > 65535 || grid[2] > 65535)
		return misuse(CUDA_ERROR_INVALID_VALUE, "%s: the grid is too large", f->name);
	if (threads > 1024 || block[0] > 1024 || block[1] > 1024 || block[2] > 64)
		return misuse(CUDA_ERROR_INVALID_VALUE, "%s: the block is too large", f->name);
	if (c->has_maxntid)
		max = (uint64_t)c->maxntid[0] * c->maxntid[1] * c->maxntid[2];
	if (max && threads > max)
		return misuse(CUDA_ERROR_INVALID_VALUE, "%s: %llu threads, its .maxntid allows %llu", f->name,
			      (unsigned long long)threads, (unsigned long long)max);
	if (c->has_reqntid && (block[0] != c->reqntid[0] || block[1] != c->reqntid[1] || block[2] != c->reqntid[2]))
		return misuse(CUDA_ERROR_INVALID_VALUE, "%s: the block is not what .reqntid demands", f->name);
	return 0;
}

static int check_shared(const struct func *f, unsigned dyn)
{
	uint64_t total = (uint64_t)f->code->shared_size + dyn;

	if ((int64_t)dyn > f->max_dyn_shared || total > MAX_SHARED_OPTIN)
		return misuse(CUDA_ERROR_INVALID_VALUE, "%s: %u bytes of dynamic shared memory, %d allowed", f->name, dyn,
			      f->max_dyn_shared);
	return 0;
}

/* extra: pairs of a key and a value, ended by END. */
static int params_from_extra(const struct code *c, void **extra, uint8_t *to)
{
	const void *buf = NULL;
	size_t size = 0;

	for (; *extra != CU_LAUNCH_PARAM_END; extra += 2) {
		if (*extra == CU_LAUNCH_PARAM_BUFFER_POINTER)
			buf = extra[1];
		else if (*extra == CU_LAUNCH_PARAM_BUFFER_SIZE)
			size = *(size_t *)extra[1];
		else
			return misuse(CUDA_ERROR_INVALID_VALUE, "an unknown key in a launch's extra list");
	}
	if (c->param_size && (!buf || size < c->param_size))
		return misuse(CUDA_ERROR_INVALID_VALUE, "%s: %zu bytes of parameters, it takes %u", c->name, size, c->param_size);
	if (c->param_size)
		memcpy(to, buf, c->param_size);
	return 0;
}

static int params_from_list(const struct code *c, void **params, uint8_t *to)
{
	if (c->nparams && !params)
		return misuse(CUDA_ERROR_INVALID_VALUE, "%s: no parameters given", c->name);
	for (uint32_t i = 0; i < c->nparams; i++) {
		if (!params[i])
			return misuse(CUDA_ERROR_INVALID_VALUE, "%s: parameter %u is missing", c->name, i);
		memcpy(to + c->params[i].off, params[i], c->params[i].size);
	}
	return 0;
}

static bool fits_cooperatively(const struct kernel_args *a)
{
	uint64_t blocks = (uint64_t)a->grid[0] * a->grid[1] * a->grid[2], threads = (uint64_t)a->block[0] * a->block[1] * a->block[2];

	return blocks <= (uint64_t)settings.resident && blocks <= (uint64_t)blocks_per_sm(a->fn, (int)threads, a->shared) * SM_COUNT;
}

int kernel_args_make(struct ctx *ctx, CUfunction f, const unsigned grid[3], const unsigned block[3], unsigned shared,
		     void **params, void **extra, bool cooperative, struct kernel_args **ret)
{
	struct kernel_args *a;
	int rc;

	if (!handle_is(f, H_FUNC))
		return misuse(CUDA_ERROR_INVALID_HANDLE, "%p is no function", (void *)f);
	if (f->mod->ctx != ctx && !f->mod->from_library)
		return misuse(CUDA_ERROR_INVALID_HANDLE, "%s belongs to another context", f->name);
	rc = check_dims(f, grid, block);
	if (!rc)
		rc = check_shared(f, shared);
	if (!rc && params && extra)
		rc = misuse(CUDA_ERROR_INVALID_VALUE, "%s: parameters and extra given together", f->name);
	if (rc)
		return rc;
	a = calloc(1, sizeof(*a));
	if (!a)
		return CUDA_ERROR_OUT_OF_MEMORY;
	a->fn = f;
	memcpy(a->grid, grid, sizeof(a->grid));
	memcpy(a->block, block, sizeof(a->block));
	a->shared = shared;
	a->cooperative = cooperative;
	a->params = calloc(1, f->code->param_size + 8);
	rc = extra ? params_from_extra(f->code, extra, a->params) : params_from_list(f->code, params, a->params);
	if (!rc && cooperative && !fits_cooperatively(a))
		rc = CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE;
	if (rc) {
		kernel_args_destroy(a);
		return rc;
	}
	*ret = a;
	return 0;
}

void kernel_args_destroy(struct kernel_args *a)
{
	if (!a)
		return;
	free(a->params);
	free(a->list);
	free(a);
}

static uint64_t next_grid(void)
{
	static _Atomic uint64_t n = 1;

	return n++;
}

int kernel_run(const struct kernel_args *a, const struct watch_key *key, char *why, size_t n)
{
	struct launch l = {
		.code = a->fn->code, .dyn_shared = a->shared, .cooperative = a->cooperative, .grid_id = next_grid(),
		.params = a->params, .key = key->vc ? key : NULL,
	};
	int rc;

	memcpy(l.grid, a->grid, sizeof(l.grid));
	memcpy(l.block, a->block, sizeof(l.block));
	if (a->cooperative && l.code->uses_grid_sync) {
		if (mem_alloc(4096, 512, MEM_INTERNAL, NULL, &l.workspace))
			return CUDA_ERROR_OUT_OF_MEMORY;
		memset(mem_host(l.workspace, 4096), 0, 4096);
	}
	rc = exec_grid(&l, why, n);
	if (l.workspace)
		mem_free(l.workspace, MEM_INTERNAL);
	return rc;
}

static bool alive(const struct kernel_args *a)
{
	bool yes;

	lock();
	yes = handle_is(a->fn, H_FUNC);
	unlock();
	return yes;
}

static int run_kernel(struct op *op)
{
	char why[200] = "";
	struct watch_key key = op->key;
	int rc;

	if (!alive(op->data)) {
		ctx_fail(op->stream->ctx, CUDA_ERROR_INVALID_HANDLE, "a graph launched a kernel whose module is unloaded");
		return CUDA_ERROR_INVALID_HANDLE;
	}
	key.name = ((struct kernel_args *)op->data)->fn->name;
	rc = kernel_run(op->data, &key, why, sizeof(why));

	if (rc)
		ctx_fail(op->stream->ctx, rc, why);
	return rc;
}

static void drop_kernel(struct op *op)
{
	kernel_args_destroy(op->data);
}

struct op *kernel_op(struct ctx *ctx, struct kernel_args *a)
{
	struct op *op = op_create(OPT_KERNEL, run_kernel, drop_kernel, a, a->fn->name);

	op->cost = clock_kernel_cost(a->fn->name, (uint64_t)a->grid[0] * a->grid[1] * a->grid[2]);
	return op;
}
