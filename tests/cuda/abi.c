/* Where the toolkit is installed: its structures and numbers are those of gpu/cuda_abi.h. */
#include <cuda.h>
#include <stddef.h>

_Static_assert(sizeof(CUlaunchAttribute) == 72 && offsetof(CUlaunchAttribute, value) == 8, "");
_Static_assert(sizeof(CUlaunchConfig) == 56 && offsetof(CUlaunchConfig, hStream) == 32, "");
_Static_assert(offsetof(CUlaunchConfig, attrs) == 40 && offsetof(CUlaunchConfig, numAttrs) == 48, "");
_Static_assert(sizeof(CUDA_KERNEL_NODE_PARAMS_v2) == 72, "");
_Static_assert(offsetof(CUDA_KERNEL_NODE_PARAMS_v2, gridDimX) == 8, "");
_Static_assert(offsetof(CUDA_KERNEL_NODE_PARAMS_v2, kernelParams) == 40, "");
_Static_assert(offsetof(CUDA_KERNEL_NODE_PARAMS_v2, kern) == 56, "");
_Static_assert(sizeof(CUDA_MEMSET_NODE_PARAMS) == 40, "");
_Static_assert(offsetof(CUDA_MEMSET_NODE_PARAMS, value) == 16, "");
_Static_assert(offsetof(CUDA_MEMSET_NODE_PARAMS, elementSize) == 20, "");
_Static_assert(offsetof(CUDA_MEMSET_NODE_PARAMS, width) == 24, "");
_Static_assert(sizeof(CUDA_MEMCPY3D) == 200 && offsetof(CUDA_MEMCPY3D, srcMemoryType) == 32, "");
_Static_assert(offsetof(CUDA_MEMCPY3D, srcHost) == 40 && offsetof(CUDA_MEMCPY3D, srcDevice) == 48, "");
_Static_assert(offsetof(CUDA_MEMCPY3D, dstXInBytes) == 88 && offsetof(CUDA_MEMCPY3D, WidthInBytes) == 176, "");
_Static_assert(offsetof(CUDA_HOST_NODE_PARAMS_v1, userData) == 8, "");
_Static_assert(CU_STREAM_NON_BLOCKING == 1 && CU_EVENT_DISABLE_TIMING == 2, "");
_Static_assert(CU_LAUNCH_ATTRIBUTE_COOPERATIVE == 2 && CU_LAUNCH_ATTRIBUTE_PRIORITY == 8, "");
_Static_assert(CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION == 4, "");
_Static_assert(CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP == 9, "");
_Static_assert(CU_LAUNCH_ATTRIBUTE_PREFERRED_CLUSTER_DIMENSION == 11, "");
_Static_assert(CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT == 14, "");
_Static_assert(CUDA_ERROR_NOT_READY == 600 && CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES == 701, "");
_Static_assert(CU_POINTER_ATTRIBUTE_ACCESS_FLAGS == 16 && CU_POINTER_ATTRIBUTE_ACCESS_FLAG_READWRITE == 3, "");
_Static_assert(CU_POINTER_ATTRIBUTE_MEMORY_TYPE == 2 && CU_STREAM_CAPTURE_MODE_RELAXED == 2, "");
_Static_assert(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED == 903, "");
_Static_assert(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD == 908, "");

int main(void)
{
	return 0;
}
