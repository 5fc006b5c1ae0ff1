/* Copies and fills of every shape come down to one box copied row by row. */
#include <stdlib.h>
#include <string.h>

#include "api.h"

static uint64_t extent(uint64_t width, uint64_t height, uint64_t depth, uint64_t pitch, uint64_t slice)
{
	return (depth - 1) * slice + (height - 1) * pitch + width;
}

/* Resolved when the copy runs: memory may have come or gone since it was submitted. */
static uint8_t *side(uint8_t *host, uint64_t dev, uint64_t n)
{
	return host ? host : mem_host(dev, n);
}

int copy_run(const struct copy *c, const struct watch_key *key)
{
	uint8_t *d, *s;

	if (!c->width || !c->height || !c->depth)
		return 0;
	d = side(c->dst, c->dst_dev, extent(c->width, c->height, c->depth, c->dst_pitch, c->dst_slice));
	s = side(c->src, c->src_dev, extent(c->width, c->height, c->depth, c->src_pitch, c->src_slice));
	if (!d || !s)
		return CUDA_ERROR_ILLEGAL_ADDRESS;
	if (c->src_dev)
		watch_range(key, c->src_dev, extent(c->width, c->height, c->depth, c->src_pitch, c->src_slice), false);
	if (c->dst_dev)
		watch_range(key, c->dst_dev, extent(c->width, c->height, c->depth, c->dst_pitch, c->dst_slice), true);
	for (uint64_t z = 0; z < c->depth; z++)
		for (uint64_t y = 0; y < c->height; y++)
			memmove(d + z * c->dst_slice + y * c->dst_pitch, s + z * c->src_slice + y * c->src_pitch, c->width);
	return 0;
}

static int run_copy(struct op *op)
{
	int rc = copy_run(op->data, &op->key);

	if (rc)
		ctx_fail(op->stream->ctx, rc, "a copy to or from memory that is not there any more");
	return rc;
}

static void drop_copy(struct op *op)
{
	struct copy *c = op->data;

	if (c->owned)
		free(c->src);
	free(c);
}

struct op *copy_op(const struct copy *c)
{
	struct copy *own = malloc(sizeof(*own));
	struct op *op;

	if (!own)
		abort();
	*own = *c;
	op = op_create(OPT_MEMCPY, run_copy, drop_copy, own, "copy");
	op->cost = clock_copy_cost(c->width * c->height * c->depth);
	return op;
}

/* With unified addressing a device address may also be given as host memory, and the other way round. */
static int resolve(unsigned type, const void *host, uint64_t dev, uint64_t off, uint8_t **ret_host, uint64_t *ret_dev)
{
	struct mem_span s;

	*ret_host = NULL;
	*ret_dev = 0;
	switch (type) {
	case CU_MEMORYTYPE_HOST:
		dev = (uint64_t)(uintptr_t)host;
		break;
	case CU_MEMORYTYPE_DEVICE:
		if (!mem_find(dev + off, &s))
			return CUDA_ERROR_INVALID_VALUE;
		break;
	case CU_MEMORYTYPE_UNIFIED:
		break;
	default:
		return CUDA_ERROR_INVALID_VALUE;
	}
	if (mem_find(dev + off, &s))
		*ret_dev = dev + off;
	else
		*ret_host = (uint8_t *)(uintptr_t)(dev + off);
	return dev ? 0 : CUDA_ERROR_INVALID_VALUE;
}

int copy_from_3d(const CUDA_MEMCPY3D *p, struct copy *c)
{
	uint64_t sp = p->srcPitch ? p->srcPitch : p->WidthInBytes, dp = p->dstPitch ? p->dstPitch : p->WidthInBytes;
	uint64_t sh = p->srcHeight ? p->srcHeight : p->Height, dh = p->dstHeight ? p->dstHeight : p->Height;
	int rc;

	if (p->srcLOD || p->dstLOD)
		return CUDA_ERROR_INVALID_VALUE;
	if (p->Height > 1 && (sp < p->WidthInBytes + p->srcXInBytes || dp < p->WidthInBytes + p->dstXInBytes))
		return misuse(CUDA_ERROR_INVALID_VALUE, "a pitch shorter than its row");
	*c = (struct copy){
		.width = p->WidthInBytes, .height = p->Height, .depth = p->Depth,
		.src_pitch = sp, .dst_pitch = dp, .src_slice = sp * sh, .dst_slice = dp * dh,
	};
	if (!c->width || !c->height || !c->depth)
		return 0;
	rc = resolve(p->srcMemoryType, p->srcHost, p->srcDevice, (p->srcZ * sh + p->srcY) * sp + p->srcXInBytes, &c->src, &c->src_dev);
	if (!rc)
		rc = resolve(p->dstMemoryType, p->dstHost, p->dstDevice, (p->dstZ * dh + p->dstY) * dp + p->dstXInBytes, &c->dst, &c->dst_dev);
	if (rc)
		return rc;
	if (c->src_dev && !mem_host(c->src_dev, extent(c->width, c->height, c->depth, c->src_pitch, c->src_slice)))
		return misuse(CUDA_ERROR_INVALID_VALUE, "a copy reads past the end of an allocation");
	if (c->dst_dev && !mem_host(c->dst_dev, extent(c->width, c->height, c->depth, c->dst_pitch, c->dst_slice)))
		return misuse(CUDA_ERROR_INVALID_VALUE, "a copy writes past the end of an allocation");
	return 0;
}

/* The other way round, for whoever asks what a captured copy is. */
void copy_to_3d(const struct copy *c, CUDA_MEMCPY3D *p)
{
	*p = (CUDA_MEMCPY3D){
		.srcMemoryType = c->src ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE, .srcHost = c->src, .srcDevice = c->src_dev,
		.srcPitch = c->src_pitch, .srcHeight = c->src_pitch ? c->src_slice / c->src_pitch : 1,
		.dstMemoryType = c->dst ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE, .dstHost = c->dst, .dstDevice = c->dst_dev,
		.dstPitch = c->dst_pitch, .dstHeight = c->dst_pitch ? c->dst_slice / c->dst_pitch : 1,
		.WidthInBytes = c->width, .Height = c->height, .Depth = c->depth,
	};
}

int fill_check(const struct fill *f)
{
	if (f->size != 1 && f->size != 2 && f->size != 4)
		return CUDA_ERROR_INVALID_VALUE;
	if (f->dst % f->size || (f->height > 1 && f->pitch % f->size))
		return misuse(CUDA_ERROR_INVALID_VALUE, "a fill that is not aligned to its element");
	if (!f->width || !f->height)
		return 0;
	if (!mem_host(f->dst, extent(f->width * f->size, f->height, 1, f->pitch, 0)))
		return misuse(CUDA_ERROR_INVALID_VALUE, "a fill of memory that is not allocated");
	return 0;
}

int fill_run(const struct fill *f, const struct watch_key *key)
{
	uint8_t *d;

	if (!f->width || !f->height)
		return 0;
	d = mem_host(f->dst, extent(f->width * f->size, f->height, 1, f->pitch, 0));
	if (!d)
		return CUDA_ERROR_ILLEGAL_ADDRESS;
	watch_range(key, f->dst, extent(f->width * f->size, f->height, 1, f->pitch, 0), true);
	for (uint64_t y = 0; y < f->height; y++, d += f->pitch)
		for (uint64_t x = 0; x < f->width; x++)
			memcpy(d + x * f->size, &f->value, f->size);
	return 0;
}

static int run_fill(struct op *op)
{
	int rc = fill_run(op->data, &op->key);

	if (rc)
		ctx_fail(op->stream->ctx, rc, "a fill of memory that is not there any more");
	return rc;
}

static void drop_fill(struct op *op)
{
	free(op->data);
}

struct op *fill_op(const struct fill *f)
{
	struct fill *own = malloc(sizeof(*own));
	struct op *op;

	if (!own)
		abort();
	*own = *f;
	op = op_create(OPT_MEMSET, run_fill, drop_fill, own, "memset");
	op->cost = clock_cost("memset") + f->width * f->height * f->size / 1024 * clock_cost("copy_kib") / 2;
	return op;
}
