/* Initialisation, errors, devices. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api.h"
#include "residency.h"

static struct {
	pthread_once_t once;
	bool ready;
	pid_t pid;
} init = {.once = PTHREAD_ONCE_INIT};

__thread struct tls tls;

static void init_once(void)
{
	settings_load();
	clock_init();
	if (mem_init(settings.memory))
		return;
	init.pid = getpid();
	init.ready = true;
	atexit(stats_at_exit);
}

CUresult cuInit(unsigned int flags)
{
	if (flags)
		return REFUSE(CUDA_ERROR_INVALID_VALUE);
	if (init.ready && init.pid != getpid())
		return REFUSE(CUDA_ERROR_NOT_INITIALIZED); /* the child of a fork has no device */
	pthread_once(&init.once, init_once);
	if (!init.ready)
		return CUDA_ERROR_OPERATING_SYSTEM;
	CALL();
	return settings.devices ? CUDA_SUCCESS : CUDA_ERROR_NO_DEVICE;
}

int enter_init(void)
{
	tls.told = false;
	return init.ready && init.pid == getpid() ? CUDA_SUCCESS : CUDA_ERROR_NOT_INITIALIZED;
}

CUresult cuDriverGetVersion(int *version)
{
	if (!version)
		return REFUSE(CUDA_ERROR_INVALID_VALUE);
	if (!init.ready)
		settings_load();
	*version = settings.driver_version;
	return CUDA_SUCCESS;
}

static const struct {
	int code;
	const char *name, *text;
} errors[] = {
#define ERR(n, v, t) {v, #n, t},
#include "errors.def"
#undef ERR
};

static int find_error(int code)
{
	for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++)
		if (errors[i].code == code)
			return (int)i;
	return -1;
}

CUresult cuGetErrorName(CUresult error, const char **ret)
{
	int i = find_error((int)error);

	if (!ret)
		return REFUSE(CUDA_ERROR_INVALID_VALUE);
	*ret = i < 0 ? NULL : errors[i].name;
	return i < 0 ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult cuGetErrorString(CUresult error, const char **ret)
{
	int i = find_error((int)error);

	if (!ret)
		return REFUSE(CUDA_ERROR_INVALID_VALUE);
	*ret = i < 0 ? NULL : errors[i].text;
	return i < 0 ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

#define CHECK_DEVICE(d) do { \
	ENTER_INIT(); \
	if ((d) < 0 || (d) >= settings.devices) \
		return REFUSE(CUDA_ERROR_INVALID_DEVICE); \
} while (0)

CUresult cuDeviceGetCount(int *count)
{
	ENTER_INIT();
	CALL();
	if (!count)
		return REFUSE(CUDA_ERROR_INVALID_VALUE);
	*count = settings.devices;
	return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice *dev, int ordinal)
{
	CHECK_DEVICE(ordinal);
	CALL();
	if (!dev)
		return REFUSE(CUDA_ERROR_INVALID_VALUE);
	*dev = ordinal;
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char *name, int len, CUdevice dev)
{
	CHECK_DEVICE(dev);
	CALL();
	if (!name || len <= 0)
		return REFUSE(CUDA_ERROR_INVALID_VALUE);
	snprintf(name, (size_t)len, "Simulated CUDA device");
	return CUDA_SUCCESS;
}

static CUresult device_uuid(CUuuid *uuid, CUdevice dev)
{
	CHECK_DEVICE(dev);
	if (!uuid)
		return REFUSE(CUDA_ERROR_INVALID_VALUE);
	memset(uuid, 0, sizeof(*uuid));
	memcpy(uuid->bytes, "simulated-cuda", 14);
	uuid->bytes[15] = (char)dev;
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice dev)
{
	CALL();
	return device_uuid(uuid, dev);
}

CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice dev)
{
	CALL();
	return device_uuid(uuid, dev);
}

CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice dev)
{
	CHECK_DEVICE(dev);
	CALL();
	if (!bytes)
		return REFUSE(CUDA_ERROR_INVALID_VALUE);
	*bytes = settings.memory;
	return CUDA_SUCCESS;
}

CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice dev)
{
	CHECK_DEVICE(dev);
	CALL();
	if (!major || !minor)
		return REFUSE(CUDA_ERROR_INVALID_VALUE);
	*major = settings.cc / 10;
	*minor = settings.cc % 10;
	return CUDA_SUCCESS;
}

static const int attributes[CU_DEVICE_ATTRIBUTE_MAX] = {
	[CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK] = 1024,
	[CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X] = 1024, [CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y] = 1024,
	[CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z] = 64, [CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X] = 0x7fffffff,
	[CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y] = 65535, [CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z] = 65535,
	[CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK] = MAX_SHARED, [CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY] = 65536,
	[CU_DEVICE_ATTRIBUTE_WARP_SIZE] = 32, [CU_DEVICE_ATTRIBUTE_MAX_PITCH] = 0x7fffffff,
	[CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK] = 65536, [CU_DEVICE_ATTRIBUTE_CLOCK_RATE] = 1000000,
	[CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT] = 512, [CU_DEVICE_ATTRIBUTE_GPU_OVERLAP] = 1,
	[CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT] = SM_COUNT, [CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY] = 1,
	[CU_DEVICE_ATTRIBUTE_SURFACE_ALIGNMENT] = 512, [CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS] = 1,
	[CU_DEVICE_ATTRIBUTE_PCI_BUS_ID] = 1, [CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE] = 1000000,
	[CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH] = 256, [CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE] = 4 << 20,
	[CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR] = 2048, [CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT] = 2,
	[CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING] = 1, [CU_DEVICE_ATTRIBUTE_TEXTURE_PITCH_ALIGNMENT] = 32,
	[CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED] = 1, [CU_DEVICE_ATTRIBUTE_GLOBAL_L1_CACHE_SUPPORTED] = 1,
	[CU_DEVICE_ATTRIBUTE_LOCAL_L1_CACHE_SUPPORTED] = 1,
	[CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR] = 233472,
	[CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR] = 65536, [CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY] = 1,
	[CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS] = 1, [CU_DEVICE_ATTRIBUTE_COMPUTE_PREEMPTION_SUPPORTED] = 1,
	[CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM] = 1, [CU_DEVICE_ATTRIBUTE_CAN_USE_STREAM_MEM_OPS_V1] = 1,
	[CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH] = 1, [CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN] = MAX_SHARED_OPTIN,
	[CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED] = 1, [CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED] = 1,
	[CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR] = 32, [CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK] = 1024,
	[CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED] = 1, [CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS] = 1,
	[CU_DEVICE_ATTRIBUTE_CAN_USE_STREAM_WAIT_VALUE_NOR] = 1, [CU_DEVICE_ATTRIBUTE_MEM_SYNC_DOMAIN_COUNT] = 1,
};

CUresult cuDeviceGetAttribute(int *value, int attr, CUdevice dev)
{
	CHECK_DEVICE(dev);
	CALL();
	if (!value || attr < 1 || attr >= CU_DEVICE_ATTRIBUTE_MAX)
		return REFUSE(CUDA_ERROR_INVALID_VALUE);
	*value = attributes[attr];
	if (attr == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)
		*value = settings.cc / 10;
	if (attr == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)
		*value = settings.cc % 10;
	if (attr == CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID)
		*value = dev;
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetPCIBusId(char *id, int len, CUdevice dev)
{
	CHECK_DEVICE(dev);
	CALL();
	if (!id || len < 13)
		return REFUSE(CUDA_ERROR_INVALID_VALUE);
	snprintf(id, (size_t)len, "0000:01:%02x.0", (unsigned)dev);
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetByPCIBusId(CUdevice *dev, const char *id)
{
	unsigned n;

	ENTER_INIT();
	CALL();
	if (!dev || !id)
		return REFUSE(CUDA_ERROR_INVALID_VALUE);
	if (sscanf(id, "0000:01:%x.0", &n) != 1 || n >= (unsigned)settings.devices)
		return REFUSE(CUDA_ERROR_INVALID_DEVICE);
	*dev = (CUdevice)n;
	return CUDA_SUCCESS;
}

CUresult cuDeviceCanAccessPeer(int *can, CUdevice dev, CUdevice peer)
{
	CHECK_DEVICE(dev);
	CHECK_DEVICE(peer);
	CALL();
	if (!can)
		return REFUSE(CUDA_ERROR_INVALID_VALUE);
	*can = dev != peer;
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetP2PAttribute(int *value, int attr, CUdevice src, CUdevice dst)
{
	CHECK_DEVICE(src);
	CHECK_DEVICE(dst);
	CALL();
	if (!value || src == dst)
		return REFUSE(src == dst && value ? CUDA_ERROR_INVALID_DEVICE : CUDA_ERROR_INVALID_VALUE);
	*value = attr == 1 ? 0 : 1;
	return CUDA_SUCCESS;
}
