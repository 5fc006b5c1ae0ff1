// What nvcc makes of ordinary CUDA C++, for the interpreter. Compiled to PTX only: no runtime library is used.
#include <cooperative_groups.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace cg = cooperative_groups;

extern "C" __global__ void reduce(const float *in, float *out, int n)
{
	__shared__ float part[32];
	float s = 0;

	for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
		s += in[i];
	for (int d = 16; d; d /= 2)
		s += __shfl_down_sync(~0u, s, d);
	if (threadIdx.x % 32 == 0)
		part[threadIdx.x / 32] = s;
	__syncthreads();
	if (threadIdx.x < 32) {
		s = threadIdx.x < blockDim.x / 32 ? part[threadIdx.x] : 0;
		for (int d = 16; d; d /= 2)
			s += __shfl_xor_sync(~0u, s, d);
	}
	if (threadIdx.x == 0)
		atomicAdd(out, s);
}

extern "C" __global__ void maths(const float *in, float *out, double *wide)
{
	float x = in[threadIdx.x];

	out[8 * threadIdx.x + 0] = expf(x);
	out[8 * threadIdx.x + 1] = logf(fabsf(x) + 1);
	out[8 * threadIdx.x + 2] = sinf(x * 1000);
	out[8 * threadIdx.x + 3] = powf(fabsf(x) + 0.5f, 1.7f);
	out[8 * threadIdx.x + 4] = x / 3.7f;
	out[8 * threadIdx.x + 5] = erff(x);
	out[8 * threadIdx.x + 6] = tanhf(x);
	out[8 * threadIdx.x + 7] = __half2float(__float2half(x)) + __bfloat162float(__float2bfloat16(x));
	wide[2 * threadIdx.x + 0] = exp((double)x) / 7.0;
	wide[2 * threadIdx.x + 1] = fmod(cos((double)x * 50), 0.3);
}

__device__ int pick(int what, int a, int b)
{
	switch (what) {
	case 0: return a + b;
	case 1: return a - b;
	case 2: return a * b;
	case 3: return b ? a / b : 0;
	case 4: return b ? a % b : 0;
	case 5: return __popc(a) + __clz(b);
	case 6: return max(a, b) - min(a, b);
	default: return -1;
	}
}

extern "C" __global__ void branches(int *out)
{
	int t = threadIdx.x, local[8];

	for (int i = 0; i < 8; i++)
		local[i] = pick((t + i) % 9, t * 3, i - 2);
	for (int i = 0; i < 8; i++)
		out[8 * t + i] = local[(i + t) % 8];
}

extern "C" __global__ void gridsync(int *data, int n)
{
	cg::grid_group g = cg::this_grid();
	int i = blockIdx.x * blockDim.x + threadIdx.x;

	for (int round = 0; round < 3; round++) {
		int v = data[(i + 1) % n];

		g.sync();
		data[i] = v + 1;
		g.sync();
	}
}

extern "C" __global__ void gemm(const half *a, const half *b, float *c)
{
	__shared__ half tile[16 * 16];

	for (int i = threadIdx.x; i < 256; i += 32)
		tile[i] = a[i];
	__syncwarp();
	// One m16n8k16 by hand, as libraries do it: ldmatrix and mma.
	unsigned ra[4], rb[2];
	float d[4] = {0, 0, 0, 0};
	unsigned addr = __cvta_generic_to_shared(&tile[(threadIdx.x % 16) * 16 + threadIdx.x / 16 * 8]);
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
		     : "=r"(ra[0]), "=r"(ra[1]), "=r"(ra[2]), "=r"(ra[3]) : "r"(addr));
	int g = threadIdx.x / 4, k = threadIdx.x % 4 * 2;
	half2 b0 = __halves2half2(b[k * 8 + g], b[(k + 1) * 8 + g]), b1 = __halves2half2(b[(k + 8) * 8 + g], b[(k + 9) * 8 + g]);
	rb[0] = *(unsigned *)&b0;
	rb[1] = *(unsigned *)&b1;
	asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
		     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
		     : "r"(ra[0]), "r"(ra[1]), "r"(ra[2]), "r"(ra[3]), "r"(rb[0]), "r"(rb[1]));
	for (int i = 0; i < 4; i++)
		c[(g + 8 * (i / 2)) * 8 + k + i % 2] = d[i];
}

struct item {
	int key;
	double value;
	char tag[5];
};

extern "C" __global__ void structs(struct item one, struct item *out)
{
	one.key += threadIdx.x;
	one.tag[threadIdx.x % 4] = 'x';
	out[threadIdx.x] = one;
	if (threadIdx.x == 0)
		printf("key %d value %.2f tag %s\n", one.key, one.value, "ok");
}

__device__ int sum_tree(volatile int *v, int n)
{
	int s = 0;

	for (int i = 0; i < n; i++)
		s += v[i];
	return s;
}

extern "C" __global__ void scan(int *data, int *flags)
{
	// A chained scan: each block waits for the one before it.
	__shared__ int base;
	int t = threadIdx.x, b = blockIdx.x;

	if (t == 0) {
		int s = sum_tree(data + b * 32, 32);

		while (b && atomicAdd(&flags[2 * (b - 1) + 1], 0) == 0)
			;
		base = b ? atomicAdd(&flags[2 * (b - 1)], 0) : 0;
		flags[2 * b] = base + s;
		__threadfence();
		atomicExch(&flags[2 * b + 1], 1);
	}
	__syncthreads();
	data[b * 32 + t] += base;
}
