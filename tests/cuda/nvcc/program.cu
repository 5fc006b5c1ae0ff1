/*
 * A program in CUDA C++ as a user writes one: the runtime API, <<<>>>, many tiny kernels in a loop that
 * comes back, two errors at the end. Built by nvcc with -cudart none, or by clang, and linked with
 * the small runtime beside it. What it prints must be the same bare and preloaded.
 */
#include <cstdio>
#include <cstdlib>
#include <cstring>
#ifdef __clang__
#include "clang.h"
#endif

static const int N = 256, STEPS = 60, LAYERS = 20;

#define OK(call) check(call, #call)
static void check(cudaError_t e, const char *what)
{
	if (e == cudaSuccess)
		return;
	printf("%s: %s\n", what, cudaGetErrorString(e));
	exit(1);
}

__global__ void layer(float *y, const float *x, const float *w, int n)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x;

	if (i < n)
		y[i] = x[i] * 0.5f + x[(i + 1) % n] * 0.25f + w[i % 7] * 0.25f;
}

__global__ void total(float *out, const float *x, int n)
{
	__shared__ float part[128];
	float sum = 0;

	for (int i = threadIdx.x; i < n; i += blockDim.x)
		sum += x[i];
	part[threadIdx.x] = sum;
	for (unsigned half = blockDim.x / 2; half; half /= 2) {
		__syncthreads();
		if (threadIdx.x < half)
			part[threadIdx.x] += part[threadIdx.x + half];
	}
	if (!threadIdx.x)
		*out = part[0];
}

struct by_value {
	float scale;
	int shift;
	unsigned char mask;
};

__global__ void update(float *w, const float *sum, by_value v)
{
	if (threadIdx.x < 7)
		w[threadIdx.x] = w[threadIdx.x] * v.scale + *sum * 1e-6f + (v.shift & v.mask) * 1e-3f;
}

static float *to_device(const float *from, int n)
{
	void *p;

	OK(cudaMalloc(&p, n * sizeof(float)));
	OK(cudaMemcpy(p, from, n * sizeof(float), cudaMemcpyHostToDevice));
	return (float *)p;
}

static unsigned bits(float f)
{
	unsigned u;

	memcpy(&u, &f, sizeof(u));
	return u;
}

int main()
{
	float x[N], w[7] = { 0.5f, 0.25f, 0.75f, 0.125f, 0.625f, 0.375f, 0.1f }, sum = 0;

	for (int i = 0; i < N; i++)
		x[i] = (float)(i * 37 % 101) / 101;
	float *a = to_device(x, N), *b = to_device(x, N), *dw = to_device(w, 7), *ds = to_device(&sum, 1);
	for (int step = 0; step < STEPS; step++) {
		for (int k = 0; k < LAYERS; k++) {
			layer<<<(N + 31 + k) / 32, 32>>>(b, a, dw, N);
			layer<<<2 + k % 3, 128>>>(a, b, dw, N);
		}
		total<<<1, 128>>>(ds, a, N);
		update<<<1, 32>>>(dw, ds, by_value{ 0.99f, step, 0x3f });
		OK(cudaGetLastError());
		if (step % 10 == 9) {
			OK(cudaMemcpy(&sum, ds, sizeof(sum), cudaMemcpyDeviceToHost));
			printf("step %d: sum %08x\n", step, bits(sum));
		}
	}
	OK(cudaDeviceSynchronize());
	OK(cudaMemcpy(x, a, sizeof(x), cudaMemcpyDeviceToHost));
	unsigned h = 0;
	for (int i = 0; i < N; i++)
		h = h * 31 + bits(x[i]);
	printf("memory %08x\n", h);
	layer<<<1, 4096>>>(a, b, dw, N);
	printf("a block too large: %d\n", (int)cudaGetLastError());
	layer<<<1, 32>>>((float *)0x10, b, dw, N);
	printf("a bad address: %d\n", (int)cudaDeviceSynchronize());
	return 0;
}
