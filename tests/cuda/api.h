/*
 * The driver as the programs of this folder use it: by dlopen and dlsym, so that the same program
 * runs bare and preloaded, on the stub, on the simulated device and on a real one.
 */
#pragma once
#include "check.h"
#include "cuda_abi.h"

#include <dlfcn.h>

#define TEST_CALLS(CALL)                                                                           \
	CALL(cuDeviceGet, (CUdevice * ret_device, int ordinal))                                    \
	CALL(cuDeviceGetCount, (int *ret_count))                                                   \
	CALL(cuDeviceGetName, (char *ret_name, int n, CUdevice device))                            \
	CALL(cuDriverGetVersion, (int *ret_version))                                               \
	CALL(cuCtxCreate_v2, (CUcontext * ret_ctx, unsigned flags, CUdevice device))               \
	CALL(cuCtxDestroy_v2, (CUcontext ctx))                                                     \
	CALL(cuDevicePrimaryCtxRetain, (CUcontext * ret_ctx, CUdevice device))                     \
	CALL(cuDevicePrimaryCtxReset_v2, (CUdevice device))                                        \
	CALL(cuCtxSynchronize, (void))                                                             \
	CALL(cuModuleLoadData, (void **ret_module, const void *image))                             \
	CALL(cuModuleUnload, (void *module))                                                       \
	CALL(cuModuleGetFunction, (CUfunction * ret_f, void *module, const char *name))            \
	CALL(cuMemFree_v2, (CUdeviceptr p))                                                        \
	CALL(cuMemFreeHost, (void *p))                                                             \
	CALL(cuMemHostUnregister, (void *p))                                                             \
	CALL(cuMemFreeAsync, (CUdeviceptr p, CUstream s))                                          \
	CALL(cuMemAddressReserve, (CUdeviceptr * ret_p, size_t n, size_t align, CUdeviceptr hint,  \
					  uint64_t flags))                                         \
	CALL(cuMemMap, (CUdeviceptr p, size_t n, size_t offset, uint64_t handle, uint64_t flags))  \
	CALL(cuMemSetAccess, (CUdeviceptr p, size_t n, const void *desc, size_t count))            \
	CALL(cuMemUnmap, (CUdeviceptr p, size_t n))                                                \
	CALL(cuMemRelease, (uint64_t handle))                                                      \
	CALL(cuMemAddressFree, (CUdeviceptr p, size_t n))                                          \
	CALL(cuMemcpyDtoH_v2, (void *to, CUdeviceptr from, size_t n))                              \
	CALL(cuMemcpyHtoD_v2, (CUdeviceptr to, const void *from, size_t n))                        \
	CALL(cuStreamCreate, (CUstream * ret_s, unsigned flags))                                   \
	CALL(cuStreamCreateWithPriority, (CUstream * ret_s, unsigned flags, int priority))         \
	CALL(cuStreamDestroy_v2, (CUstream s))                                                     \
	CALL(cuStreamSynchronize, (CUstream s))                                                    \
	CALL(cuStreamWaitValue32_v2, (CUstream s, CUdeviceptr p, uint32_t value, unsigned flags))  \
	CALL(cuEventSynchronize, (CUevent e))                                                      \
	CALL(cuGraphGetNodes, (CUgraph g, CUgraphNode *ret_nodes, size_t *count))                  \
	CALL(cuKernelSetAttribute, (int attribute, int value, CUfunction kernel, CUdevice device)) \
	CALL(cuFuncSetAttribute, (CUfunction f, int attribute, int value))

#define CALL(name, params) typedef CUresult api_##name params;
CUDA_CALLS(CALL)
TEST_CALLS(CALL)
#undef CALL

/* What the driver at hand lacks stays NULL; a program needs only what it calls. */
struct api {
#define CALL(name, params) api_##name *name;
	CUDA_CALLS(CALL)
	TEST_CALLS(CALL)
#undef CALL
};

static struct api cu;
static void *api_driver;

static inline int api_load(void)
{
	api_driver = dlopen("libcuda.so.1", RTLD_NOW);
	if (!api_driver)
		return -1;
#define CALL(name, params) cu.name = (api_##name *)dlsym(api_driver, #name);
	CUDA_CALLS(CALL)
	TEST_CALLS(CALL)
#undef CALL
	return 0;
}

#define OK(call) CHECK_EQ(call, CUDA_SUCCESS)
