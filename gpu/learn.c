#include "launch.h"

#include "marks.h"
#include "stats.h"

#include <string.h>

#define ARENA_BYTES (1u << 20)
#define MAX_PARAMS 1024

/*
 * These change how a kernel runs, not when; anything else (cooperative, programmatic events) waits. Bytes of
 * the value, or -1.
 */
static int attr_bytes(uint32_t id)
{
	switch (id) {
	case CU_LAUNCH_IGNORE:
		return 0;
	case CU_LAUNCH_MEM_SYNC_DOMAIN_MAP:
		return 2;
	case CU_LAUNCH_CLUSTER_SCHEDULING:
	case CU_LAUNCH_PRIORITY:
	case CU_LAUNCH_MEM_SYNC_DOMAIN:
	case CU_LAUNCH_CARVEOUT:
		return 4;
	case CU_LAUNCH_CLUSTER_DIMENSION:
	case CU_LAUNCH_PREFERRED_CLUSTER:
		return 12;
	case CU_LAUNCH_ACCESS_POLICY_WINDOW: /* address, size, a float, two enumerations */
		return 28;
	}
	return -1;
}

void launch_copy_attr(struct cuda_launch_attribute *to, const struct cuda_launch_attribute *from)
{
	memset(to, 0, sizeof(*to));
	to->id = from->id;
	memcpy(to->value.bytes, from->value.bytes, (size_t)attr_bytes(from->id));
}

static bool grid_is_valid(const struct launch *l)
{
	return l->grid[0] && l->grid[0] <= INT32_MAX && l->grid[1] && l->grid[1] <= 65535 &&
	       l->grid[2] && l->grid[2] <= 65535;
}

/* A grid must be a whole number of clusters: such errors are the driver's to find. */
static bool fits_cluster(const struct launch *l, const struct cuda_launch_attribute *a)
{
	if (a->id != CU_LAUNCH_CLUSTER_DIMENSION && a->id != CU_LAUNCH_PREFERRED_CLUSTER)
		return true;
	for (int i = 0; i < 3; i++)
		if (!a->value.dim[i] || l->grid[i] % a->value.dim[i])
			return false;
	return true;
}

static bool find_buffer(struct launch *l)
{
	for (void **e = l->extra; e[0] != CU_LAUNCH_PARAM_END; e += 2) {
		if (e[0] == CU_LAUNCH_PARAM_BUFFER_POINTER)
			l->buffer = e[1];
		else if (e[0] == CU_LAUNCH_PARAM_BUFFER_SIZE && e[1])
			l->buffer_bytes = *(const size_t *)e[1];
		else
			return false;
	}
	return l->buffer && l->buffer_bytes && l->buffer_bytes <= OP_PARAMS_MAX;
}

bool launch_is_plain(struct launch *l)
{
	if (!l->func || !grid_is_valid(l) || (l->params && l->extra))
		return false;
	if (l->attr_count > 16 || (l->attr_count && !l->attrs))
		return false;
	for (uint32_t i = 0; i < l->attr_count; i++)
		if (attr_bytes(l->attrs[i].id) < 0 || !fits_cluster(l, &l->attrs[i]))
			return false;
	return !l->extra || find_buffer(l);
}

static uint64_t hash_attr(uint64_t h, const struct cuda_launch_attribute *a)
{
	uint64_t word[4] = { 0 };
	int bytes = attr_bytes(a->id);

	memcpy(word, a->value.bytes, bytes < 0 ? sizeof(word) : (size_t)bytes);
	h = hash_mix(h, a->id);
	for (int i = 0; i < 4; i++)
		h = hash_mix(h, word[i]);
	return h;
}

/* Everything of a launch that decides whether the driver takes it, but for the size of its grid. */
uint64_t launch_combo(const struct launch *l)
{
	uint64_t h = hash_mix(1, (uintptr_t)l->func);

	h = hash_mix(h, (uint64_t)l->block[0] << 32 | l->block[1]);
	h = hash_mix(h, (uint64_t)l->block[2] << 32 | l->shared);
	h = hash_mix(h, l->extra ? l->buffer_bytes : 0);
	for (uint32_t i = 0; i < l->attr_count; i++)
		h = hash_attr(h, &l->attrs[i]);
	return h;
}

static CUresult param_info(
	CUfunction f, size_t i, size_t *ret_offset, size_t *ret_size, bool *ret_is_kern)
{
	CUresult r = CUDA_ERROR_INVALID_VALUE + 1;

	*ret_is_kern = false;
	if (HAVE(cuFuncGetParamInfo))
		r = REAL(cuFuncGetParamInfo)(f, i, ret_offset, ret_size);
	if (!r || r == CUDA_ERROR_INVALID_VALUE || !HAVE(cuKernelGetParamInfo))
		return r;
	*ret_is_kern = true;
	return REAL(cuKernelGetParamInfo)((CUkernel)f, i, ret_offset, ret_size);
}

/* How many parameters, or -1 where the driver cannot say. */
static int ask_driver(
	CUfunction f, struct kernel_param *ret_param, uint32_t *ret_bytes, bool *ret_is_kern)
{
	size_t offset, size;
	CUresult r = CUDA_SUCCESS;
	int n = 0;

	*ret_bytes = 0;
	for (; n < MAX_PARAMS && !(r = param_info(f, (size_t)n, &offset, &size, ret_is_kern)); n++) {
		ret_param[n] = (struct kernel_param){ (uint32_t)offset, (uint32_t)size };
		if (offset + size > *ret_bytes)
			*ret_bytes = (uint32_t)(offset + size);
	}
	return r == CUDA_ERROR_INVALID_VALUE && *ret_bytes <= OP_PARAMS_MAX ? n : -1;
}

static struct kernel *kernel_store(
	struct gpu_queue *q, CUfunction f, int n, const struct kernel_param *param)
{
	size_t list = (size_t)n * sizeof(*param), room = sizeof(struct kernel) + list;
	struct kernel *k = (struct kernel *)(q->arena + q->arena_used);

	if (q->arena_used + room > ARENA_BYTES || handles_put(&q->kernels, (uintptr_t)f, (uintptr_t)k))
		return NULL;
	q->arena_used += (room + 15) & ~(size_t)15;
	k->count = (uint32_t)n;
	memcpy(k->param, param, list);
	return k;
}

static bool has_holes(const struct kernel *k)
{
	uint32_t bytes = 0;

	for (uint32_t i = 0; i < k->count; i++)
		bytes += k->param[i].size;
	return bytes != k->bytes;
}

static void remember(struct gpu_queue *q, const struct launch *l, const struct kernel *k)
{
	marks_learn(q, l->func);
	handles_put_anyway(&q->combos, launch_combo(l), (uintptr_t)k);
}

static void learn_params(struct gpu_queue *q, const struct launch *l)
{
	struct kernel_param param[MAX_PARAMS];
	uint32_t bytes;
	uint64_t *known;
	bool is_kern;
	int n;

	lock_take(&q->put);
	known = handles_find(&q->kernels, (uintptr_t)l->func);
	if (known)
		remember(q, l, (const struct kernel *)(uintptr_t)*known);
	lock_drop(&q->put);
	if (known)
		return;
	n = ask_driver(l->func, param, &bytes, &is_kern);
	if (n < 0) {
		fallback(FALLBACK_CUDA_PARAM_INFO);
		return;
	}
	lock_take(&q->put);
	struct kernel *k = kernel_store(q, l->func, n, param);
	if (!k) {
		queue_forget(q);
		k = kernel_store(q, l->func, n, param);
	}
	if (k) {
		k->bytes = bytes;
		k->is_kern = is_kern;
		k->has_holes = has_holes(k);
		remember(q, l, k);
	}
	lock_drop(&q->put);
}

void launch_learn(const struct launch *l)
{
	struct gpu_queue *q = queue_of_current();

	if (!q)
		return;
	if (!l->extra) {
		learn_params(q, l);
		return;
	}
	lock_take(&q->put);
	remember(q, l, NULL);
	lock_drop(&q->put);
}
