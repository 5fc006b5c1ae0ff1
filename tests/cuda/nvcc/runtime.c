/*
 * The part of CUDA's runtime that a program built with `-cudart none` needs, over the driver API: NVIDIA's own
 * refuses a driver that is not NVIDIA's. One device, its primary context, no streams but the legacy one.
 *
 * Threading: registration before main, by one thread; the rest any thread.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define EXPORT __attribute__((visibility("default")))
#define MAX_KERNELS 256
#define INVALID_DEVICE_FUNCTION 98

typedef struct {
	unsigned x, y, z;
} dim3;

struct wrapper {
	int magic, version;
	const void *data;
	void *unused;
};

struct image {
	const void *data; /* a fat binary, or PTX */
	void *module;     /* loaded when the first of its kernels is launched */
};

static struct kernel {
	const void *host;
	const char *name;
	struct image *image;
	void *function;
} kernels[MAX_KERNELS];
static unsigned kernel_count;

static struct {
	int (*cuInit)(unsigned);
	int (*cuDeviceGet)(int *, int);
	int (*cuDevicePrimaryCtxRetain)(void **, int);
	int (*cuCtxSetCurrent)(void *);
	int (*cuCtxSynchronize)(void);
	int (*cuModuleLoadData)(void **, const void *);
	int (*cuModuleGetFunction)(void **, void *, const char *);
	int (*cuLaunchKernel)(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *,
		void **, void **);
	int (*cuMemAlloc_v2)(uint64_t *, size_t);
	int (*cuMemFree_v2)(uint64_t);
	int (*cuMemcpyHtoD_v2)(uint64_t, const void *, size_t);
	int (*cuMemcpyDtoH_v2)(void *, uint64_t, size_t);
	int (*cuMemcpyDtoD_v2)(uint64_t, uint64_t, size_t);
	int (*cuGetErrorName)(int, const char **);
} cu;

static void *context;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static __thread int last_error;

static void *need(void *driver, const char *name)
{
	void *p = driver ? dlsym(driver, name) : NULL;

	if (!p) {
		fprintf(stderr, "no %s in a libcuda.so.1\n", name);
		exit(77);
	}
	return p;
}

static void open_device(void)
{
	void *driver = dlopen("libcuda.so.1", RTLD_NOW);
	int device;

#define NEED(name) cu.name = (__typeof__(cu.name))need(driver, #name)
	NEED(cuInit);
	NEED(cuDeviceGet);
	NEED(cuDevicePrimaryCtxRetain);
	NEED(cuCtxSetCurrent);
	NEED(cuCtxSynchronize);
	NEED(cuModuleLoadData);
	NEED(cuModuleGetFunction);
	NEED(cuLaunchKernel);
	NEED(cuMemAlloc_v2);
	NEED(cuMemFree_v2);
	NEED(cuMemcpyHtoD_v2);
	NEED(cuMemcpyDtoH_v2);
	NEED(cuMemcpyDtoD_v2);
	NEED(cuGetErrorName);
	if (cu.cuInit(0) || cu.cuDeviceGet(&device, 0) || cu.cuDevicePrimaryCtxRetain(&context, device)) {
		fprintf(stderr, "no device\n");
		exit(77);
	}
}

static void enter(void)
{
	static __thread int entered;

	pthread_once(&once, open_device);
	if (!entered)
		cu.cuCtxSetCurrent(context);
	entered = 1;
}

/* As the runtime does: the code is the call's result, and kept for cudaGetLastError. */
static int told(int code)
{
	if (code)
		last_error = code;
	return code;
}

/* ---- what the compilers' own code calls ---- */

EXPORT void **__cudaRegisterFatBinary(void *p)
{
	struct image *image = (struct image *)calloc(1, sizeof(*image));

	if (!image)
		abort();
	image->data = ((struct wrapper *)p)->data;
	return (void **)image;
}

EXPORT void __cudaRegisterFatBinaryEnd(void **image)
{
	(void)image;
}

EXPORT void __cudaUnregisterFatBinary(void **image)
{
	free(image);
}

EXPORT char __cudaInitModule(void **image)
{
	(void)image;
	return 1;
}

EXPORT void __cudaRegisterFunction(void **image, const char *host, char *device, const char *name, int limit,
	void *tid, void *bid, void *block, void *grid, int *warp)
{
	(void)device, (void)limit, (void)tid, (void)bid, (void)block, (void)grid, (void)warp;
	if (kernel_count == MAX_KERNELS)
		abort();
	kernels[kernel_count++] = (struct kernel){ host, name, (struct image *)image, NULL };
}

static __thread struct {
	dim3 grid, block;
	size_t shared;
	void *stream;
} config;

EXPORT unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, void *stream)
{
	config.grid = grid;
	config.block = block;
	config.shared = shared;
	config.stream = stream;
	return 0;
}

EXPORT int __cudaPopCallConfiguration(dim3 *grid, dim3 *block, size_t *shared, void **stream)
{
	*grid = config.grid;
	*block = config.block;
	*shared = config.shared;
	*stream = config.stream;
	return 0;
}

EXPORT int __cudaGetKernel(void **ret_kernel, const void *host)
{
	for (unsigned i = 0; i < kernel_count; i++)
		if (kernels[i].host == host) {
			*ret_kernel = &kernels[i];
			return 0;
		}
	return told(INVALID_DEVICE_FUNCTION);
}

static int load(struct kernel *k)
{
	int r = k->image->module ? 0 : cu.cuModuleLoadData(&k->image->module, k->image->data);

	return r ? r : cu.cuModuleGetFunction(&k->function, k->image->module, k->name);
}

EXPORT int __cudaLaunchKernel(
	void *kernel, dim3 grid, dim3 block, void **args, size_t shared, void *stream)
{
	struct kernel *k = (struct kernel *)kernel;
	int r;

	enter();
	r = k->function ? 0 : load(k);
	if (r)
		return told(r);
	return told(cu.cuLaunchKernel(k->function, grid.x, grid.y, grid.z, block.x, block.y, block.z,
		(unsigned)shared, stream, args, NULL));
}

EXPORT int cudaLaunchKernel(
	const void *host, dim3 grid, dim3 block, void **args, size_t shared, void *stream)
{
	void *k;
	int r = __cudaGetKernel(&k, host);

	return r ? r : __cudaLaunchKernel(k, grid, block, args, shared, stream);
}

/* ---- what programs call ---- */

EXPORT int cudaMalloc(void **ret_ptr, size_t n)
{
	uint64_t p = 0;
	int r;

	enter();
	r = cu.cuMemAlloc_v2(&p, n);
	if (!r)
		*ret_ptr = (void *)(uintptr_t)p;
	return told(r);
}

EXPORT int cudaFree(void *p)
{
	enter();
	return told(p ? cu.cuMemFree_v2((uintptr_t)p) : 0);
}

EXPORT int cudaMemcpy(void *to, const void *from, size_t n, int kind)
{
	enter();
	switch (kind) {
	case 1:
		return told(cu.cuMemcpyHtoD_v2((uintptr_t)to, from, n));
	case 2:
		return told(cu.cuMemcpyDtoH_v2(to, (uintptr_t)from, n));
	case 3:
		return told(cu.cuMemcpyDtoD_v2((uintptr_t)to, (uintptr_t)from, n));
	}
	return told(21); /* invalid direction */
}

EXPORT int cudaDeviceSynchronize(void)
{
	enter();
	return told(cu.cuCtxSynchronize());
}

EXPORT int cudaGetLastError(void)
{
	int e = last_error;

	last_error = 0;
	return e;
}

EXPORT const char *cudaGetErrorString(int e)
{
	const char *text = NULL;

	enter();
	return cu.cuGetErrorName(e, &text) || !text ? "unknown error" : text;
}
