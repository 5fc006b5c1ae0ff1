/*
 * The part of the CUDA driver's binary interface that we call or look into: declared here, because
 * the toolkit's headers need not be there at build time. tests/cuda compares it with cuda.h where
 * that is installed.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef int CUresult;
typedef int CUdevice;
typedef unsigned long long CUdeviceptr;
typedef struct CUctx_st *CUcontext;
typedef struct CUfunc_st *CUfunction;
typedef struct CUkern_st *CUkernel;
typedef struct CUstream_st *CUstream;
typedef struct CUevent_st *CUevent;
typedef struct CUgraph_st *CUgraph;
typedef struct CUgraphNode_st *CUgraphNode;
typedef struct CUgraphExec_st *CUgraphExec;
typedef void cuda_host_fn(void *data);

enum {
	CUDA_SUCCESS = 0,
	CUDA_ERROR_INVALID_VALUE = 1,
	CUDA_ERROR_OUT_OF_MEMORY = 2,
	CUDA_ERROR_NO_DEVICE = 100,
	CUDA_ERROR_NOT_READY = 600,
	CUDA_ERROR_ILLEGAL_ADDRESS = 700,
	CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES = 701,
};

/* Streams that are no pointers. */
#define CU_STREAM_LEGACY ((CUstream)1)
#define CU_STREAM_PER_THREAD ((CUstream)2)

/* cuLaunchKernel's `extra`: pairs up to the end mark. */
#define CU_LAUNCH_PARAM_END ((void *)0)
#define CU_LAUNCH_PARAM_BUFFER_POINTER ((void *)1)
#define CU_LAUNCH_PARAM_BUFFER_SIZE ((void *)2)

enum cuda_launch_attribute_id {
	CU_LAUNCH_IGNORE = 0,
	CU_LAUNCH_ACCESS_POLICY_WINDOW = 1,
	CU_LAUNCH_COOPERATIVE = 2,
	CU_LAUNCH_CLUSTER_DIMENSION = 4,
	CU_LAUNCH_CLUSTER_SCHEDULING = 5,
	CU_LAUNCH_PRIORITY = 8,
	CU_LAUNCH_MEM_SYNC_DOMAIN_MAP = 9,
	CU_LAUNCH_MEM_SYNC_DOMAIN = 10,
	CU_LAUNCH_PREFERRED_CLUSTER = 11,
	CU_LAUNCH_CARVEOUT = 14,
};

struct cuda_launch_attribute {
	uint32_t id, pad;
	union {
		char bytes[64];
		uint32_t dim[3];
		int32_t priority;
		uint64_t align;
	} value;
};

struct cuda_launch_config {
	uint32_t grid[3], block[3], shared;
	CUstream stream;
	struct cuda_launch_attribute *attrs;
	uint32_t attr_count;
};

struct cuda_kernel_node {
	CUfunction func;
	uint32_t grid[3], block[3], shared;
	void **params, **extra;
	CUkernel kern;
	CUcontext ctx;
};

struct cuda_fill_node {
	CUdeviceptr to;
	size_t pitch;
	uint32_t value, width; /* of one element, in bytes */
	size_t count, rows;
};

struct cuda_copy_end {
	size_t x, y, z, lod;
	uint32_t type;
	void *host;
	CUdeviceptr device;
	void *array, *reserved;
	size_t pitch, height;
};

/* CUDA_MEMCPY3D */
struct cuda_copy_node {
	struct cuda_copy_end from, to;
	size_t width, height, depth;
};

struct cuda_host_node {
	cuda_host_fn *fn;
	void *data;
};

/* tests/cuda/abi.c asks the same of the toolkit's structures. */
_Static_assert(sizeof(struct cuda_launch_attribute) == 72, "CUlaunchAttribute");
_Static_assert(sizeof(struct cuda_launch_config) == 56, "CUlaunchConfig");
_Static_assert(sizeof(struct cuda_kernel_node) == 72, "CUDA_KERNEL_NODE_PARAMS_v2");
_Static_assert(sizeof(struct cuda_fill_node) == 40, "CUDA_MEMSET_NODE_PARAMS");
_Static_assert(sizeof(struct cuda_copy_node) == 200, "CUDA_MEMCPY3D");

enum {
	CU_POINTER_MEMORY_TYPE = 2,
	CU_POINTER_ACCESS = 16,
	CU_ACCESS_READ_WRITE = 3,
	CU_MEMORYTYPE_HOST = 1,
	CU_MEMORYTYPE_DEVICE = 2,
	CU_STREAM_CAPTURE_RELAXED = 2,
	CU_STREAM_NON_BLOCKING = 1,
	CU_EVENT_DISABLE_TIMING = 2,
	CU_GET_PROC_PER_THREAD = 2,
};

/* The entries that we call ourselves, by exported name: CALL(name, (parameters)). */
#define CUDA_LAUNCH_PARAMS                                                                         \
	(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,            \
		unsigned bz, unsigned shared, CUstream s, void **params, void **extra)
#define CUDA_CALLS(CALL)                                                                           \
	CALL(cuInit, (unsigned flags))                                                             \
	CALL(cuCtxGetCurrent, (CUcontext * ret_ctx))                                               \
	CALL(cuCtxSetCurrent, (CUcontext ctx))                                                     \
	CALL(cuCtxPushCurrent_v2, (CUcontext ctx))                                                 \
	CALL(cuCtxPopCurrent_v2, (CUcontext * ret_ctx))                                            \
	CALL(cuStreamQuery, (CUstream s))                                                          \
	CALL(cuStreamGetCtx, (CUstream s, CUcontext * ret_ctx))                                    \
	CALL(cuStreamGetPriority, (CUstream s, int *ret_priority))                                 \
	CALL(cuStreamGetFlags, (CUstream s, unsigned *ret_flags))                                  \
	CALL(cuStreamGetAttribute, (CUstream s, int id, void *ret_value))                          \
	CALL(cuThreadExchangeStreamCaptureMode, (int *mode))                                       \
	CALL(cuFuncGetParamInfo, (CUfunction f, size_t i, size_t *ret_offset, size_t *ret_size))   \
	CALL(cuFuncGetName, (const char **ret_name, CUfunction f))                                 \
	CALL(cuKernelGetName, (const char **ret_name, CUkernel k))                                 \
	CALL(cuKernelGetParamInfo, (CUkernel k, size_t i, size_t *ret_offset, size_t *ret_size))   \
	CALL(cuMemGetAddressRange_v2, (CUdeviceptr * ret_base, size_t *ret_size, CUdeviceptr p))   \
	CALL(cuPointerGetAttribute, (void *ret_data, int attribute, CUdeviceptr p))                \
	CALL(cuLaunchKernel, CUDA_LAUNCH_PARAMS)                                                   \
	CALL(cuLaunchKernelEx,                                                                     \
		(const struct cuda_launch_config *c, CUfunction f, void **params, void **extra))   \
	CALL(cuLaunchHostFunc, (CUstream s, cuda_host_fn *fn, void *data))                         \
	CALL(cuMemsetD8Async, (CUdeviceptr d, unsigned char v, size_t n, CUstream s))              \
	CALL(cuMemsetD16Async, (CUdeviceptr d, unsigned short v, size_t n, CUstream s))            \
	CALL(cuMemsetD32Async, (CUdeviceptr d, unsigned v, size_t n, CUstream s))                  \
	CALL(cuMemcpyHtoDAsync_v2, (CUdeviceptr d, const void *h, size_t n, CUstream s))           \
	CALL(cuMemcpyDtoHAsync_v2, (void *h, CUdeviceptr d, size_t n, CUstream s))                 \
	CALL(cuMemcpyDtoDAsync_v2, (CUdeviceptr to, CUdeviceptr from, size_t n, CUstream s))       \
	CALL(cuMemcpyAsync, (CUdeviceptr to, CUdeviceptr from, size_t n, CUstream s))              \
	CALL(cuMemAlloc_v2, (CUdeviceptr * ret_ptr, size_t n))                                     \
	CALL(cuMemAllocPitch_v2, (CUdeviceptr * ret_ptr, size_t *ret_pitch, size_t width,          \
					 size_t height, unsigned element))                         \
	CALL(cuMemAllocManaged, (CUdeviceptr * ret_ptr, size_t n, unsigned flags))                 \
	CALL(cuMemHostAlloc, (void **ret_ptr, size_t n, unsigned flags))                           \
	CALL(cuMemAllocHost_v2, (void **ret_ptr, size_t n))                                        \
	CALL(cuMemHostRegister_v2, (void *p, size_t n, unsigned flags))                            \
	CALL(cuMemCreate, (uint64_t * ret_handle, size_t n, const void *prop, uint64_t flags))     \
	CALL(cuMemAllocAsync, (CUdeviceptr * ret_ptr, size_t n, CUstream s))                       \
	CALL(cuMemAllocFromPoolAsync,                                                              \
		(CUdeviceptr * ret_ptr, size_t n, void *pool, CUstream s))                         \
	CALL(cuStreamBeginCapture, (CUstream s))                                                   \
	CALL(cuStreamBeginCapture_v2, (CUstream s, int mode))                                      \
	CALL(cuStreamBeginCaptureToGraph, (CUstream s, CUgraph g, const CUgraphNode *after,        \
						  const void *data, size_t n, int mode))           \
	CALL(cuStreamEndCapture, (CUstream s, CUgraph * ret_graph))                                \
	CALL(cuGetProcAddress,                                                                     \
		(const char *symbol, void **ret_fn, int version, uint64_t flags))                  \
	CALL(cuGetProcAddress_v2, (const char *symbol, void **ret_fn, int version, uint64_t flags, \
					  int *ret_status))                                        \
	CALL(cuEventRecord, (CUevent e, CUstream s))                                               \
	CALL(cuEventQuery, (CUevent e))                                                            \
	CALL(cuEventCreate, (CUevent * ret_e, unsigned flags))                                     \
	CALL(cuEventDestroy_v2, (CUevent e))                                                       \
	CALL(cuStreamWaitEvent, (CUstream s, CUevent e, unsigned flags))                           \
	CALL(cuGraphCreate, (CUgraph * ret_graph, unsigned flags))                                 \
	CALL(cuGraphDestroy, (CUgraph graph))                                                      \
	CALL(cuGraphAddKernelNode_v2,                                                              \
		(CUgraphNode * ret_node, CUgraph graph, const CUgraphNode *after, size_t n,        \
			const struct cuda_kernel_node *node))                                      \
	CALL(cuGraphAddMemsetNode,                                                                 \
		(CUgraphNode * ret_node, CUgraph graph, const CUgraphNode *after, size_t n,        \
			const struct cuda_fill_node *node, CUcontext ctx))                         \
	CALL(cuGraphAddMemcpyNode,                                                                 \
		(CUgraphNode * ret_node, CUgraph graph, const CUgraphNode *after, size_t n,        \
			const struct cuda_copy_node *node, CUcontext ctx))                         \
	CALL(cuGraphAddHostNode,                                                                   \
		(CUgraphNode * ret_node, CUgraph graph, const CUgraphNode *after, size_t n,        \
			const struct cuda_host_node *node))                                        \
	CALL(cuGraphAddEventRecordNode,                                                            \
		(CUgraphNode * ret_node, CUgraph graph, const CUgraphNode *after, size_t n,        \
			CUevent e))                                                                \
	CALL(cuGraphKernelNodeSetAttribute, (CUgraphNode node, int id, const void *value))         \
	CALL(cuGraphInstantiateWithFlags,                                                          \
		(CUgraphExec * ret_exec, CUgraph graph, unsigned long long flags))                 \
	CALL(cuGraphExecKernelNodeSetParams_v2,                                                    \
		(CUgraphExec exec, CUgraphNode node, const struct cuda_kernel_node *params))       \
	CALL(cuGraphExecMemsetNodeSetParams,                                                       \
		(CUgraphExec exec, CUgraphNode node, const struct cuda_fill_node *params,          \
			CUcontext ctx))                                                            \
	CALL(cuGraphExecMemcpyNodeSetParams,                                                       \
		(CUgraphExec exec, CUgraphNode node, const struct cuda_copy_node *params,          \
			CUcontext ctx))                                                            \
	CALL(cuGraphExecHostNodeSetParams,                                                         \
		(CUgraphExec exec, CUgraphNode node, const struct cuda_host_node *params))         \
	CALL(cuGraphExecEventRecordNodeSetEvent, (CUgraphExec exec, CUgraphNode node, CUevent e))  \
	CALL(cuGraphLaunch, (CUgraphExec exec, CUstream s))                                        \
	CALL(cuGraphExecDestroy, (CUgraphExec exec))
