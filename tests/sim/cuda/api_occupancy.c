/* Occupancy: the device holds SIMCUDA_RESIDENT blocks in all, an equal share on each multiprocessor. */
#include "api.h"

int blocks_per_sm(const struct func *f, int block, size_t dyn)
{
	int share = (settings.resident + SM_COUNT - 1) / SM_COUNT, n;

	if (block <= 0 || block > 1024 || (int64_t)dyn > f->max_dyn_shared)
		return 0;
	n = 2048 / ((block + 31) & ~31);
	if (f->code->shared_size + dyn && (int)(233472 / (f->code->shared_size + dyn + 1024)) < n)
		n = (int)(233472 / (f->code->shared_size + dyn + 1024));
	return n < share ? n : share;
}

#define FUNC(f) do { if (!handle_is(f, H_FUNC)) LEAVE(misuse(CUDA_ERROR_INVALID_HANDLE, "%p is no function", (void *)(f))); } while (0)

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *n, CUfunction f, int block, size_t dyn, unsigned int flags)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	FUNC(f);
	if (!n || block <= 0 || flags & ~1u)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	*n = blocks_per_sm(f, block, dyn);
	LEAVE(CUDA_SUCCESS);
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *n, CUfunction f, int block, size_t dyn)
{
	return cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(n, f, block, dyn, 0);
}

CUresult cuOccupancyMaxPotentialBlockSizeWithFlags(int *grid, int *block, CUfunction f, CUoccupancyB2DSize fn, size_t dyn,
						   int limit, unsigned int flags)
{
	struct ctx *ctx;
	int best = 0, most = 0, max;

	ENTER(ctx);
	CALL();
	FUNC(f);
	if (!grid || !block)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	max = f->code->has_maxntid ? (int)(f->code->maxntid[0] * f->code->maxntid[1] * f->code->maxntid[2]) : 1024;
	if (limit > 0 && limit < max)
		max = limit;
	for (int b = max; b > 0; b = b > 32 ? (b - 1) & ~31 : 0) {
		int n = blocks_per_sm(f, b, fn ? fn(b) : dyn);

		if (n * b > most) {
			most = n * b;
			best = b;
			*grid = n * SM_COUNT;
		}
	}
	*block = best;
	LEAVE(best ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE);
}

CUresult cuOccupancyMaxPotentialBlockSize(int *grid, int *block, CUfunction f, CUoccupancyB2DSize fn, size_t dyn, int limit)
{
	return cuOccupancyMaxPotentialBlockSizeWithFlags(grid, block, f, fn, dyn, limit, 0);
}

CUresult cuOccupancyAvailableDynamicSMemPerBlock(size_t *dyn, CUfunction f, int blocks, int block)
{
	struct ctx *ctx;
	int64_t n;

	ENTER(ctx);
	CALL();
	FUNC(f);
	if (!dyn || blocks <= 0 || block <= 0)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	n = 233472 / blocks - 1024 - (int64_t)f->code->shared_size;
	*dyn = n < 0 ? 0 : n > f->max_dyn_shared ? (size_t)f->max_dyn_shared : (size_t)n;
	LEAVE(CUDA_SUCCESS);
}

CUresult cuOccupancyMaxActiveClusters(int *n, CUfunction f, const CUlaunchConfig *cfg)
{
	struct ctx *ctx;

	ENTER(ctx);
	CALL();
	FUNC(f);
	if (!n || !cfg)
		LEAVE(CUDA_ERROR_INVALID_VALUE);
	*n = blocks_per_sm(f, (int)(cfg->blockDimX * cfg->blockDimY * cfg->blockDimZ), cfg->sharedMemBytes) * SM_COUNT;
	LEAVE(CUDA_SUCCESS);
}
