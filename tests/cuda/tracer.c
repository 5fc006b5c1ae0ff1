/*
 * Another preloaded library that wraps a driver entry and means the next one by RTLD_NEXT; also, as a
 * plugin opened with RTLD_DEEPBIND, code that is linked against the driver itself, or with an entry of it that
 * is newer than the table.
 */
#include "cuda_abi.h"

#include <dlfcn.h>

#define EXPORT __attribute__((visibility("default")))

EXPORT int tracer_launches, tracer_missed;

typedef CUresult launch_fn CUDA_LAUNCH_PARAMS;

#ifdef TRACER
EXPORT launch_fn cuLaunchKernel;

CUresult cuLaunchKernel CUDA_LAUNCH_PARAMS
{
	static launch_fn *next;

	if (!next)
		next = (launch_fn *)dlsym(RTLD_NEXT, "cuLaunchKernel");
	if (!next) {
		tracer_missed++;
		return 1;
	}
	tracer_launches++;
	return next(f, gx, gy, gz, bx, by, bz, shared, s, params, extra);
}
#elif defined(NEWER)
extern int cuNewer01(void);
EXPORT int plugin_newer(void);

int plugin_newer(void)
{
	return cuNewer01();
}
#else
extern launch_fn cuLaunchKernel;
EXPORT launch_fn plugin_launch;

CUresult plugin_launch CUDA_LAUNCH_PARAMS
{
	return cuLaunchKernel(f, gx, gy, gz, bx, by, bz, shared, s, params, extra);
}
#endif
