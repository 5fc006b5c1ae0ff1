#include "gpu.h"

#include "hooks.h"
#include "marks.h"
#include "process.h"
#include "queue.h"
#include "settings.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

static struct lock state_lock;
static bool started, off;
static unsigned captures;

static void decide(void)
{
	atomic_store(&gpu_deferring, started && !off && !captures);
}

/* Who saw deferring on is through, and what it queued is with the driver. */
static void settle(void)
{
	unsigned n = atomic_load(&gpu_queue_count);

	for (unsigned i = 0; i < n; i++) {
		lock_take(&gpu_queues[i].put);
		lock_drop(&gpu_queues[i].put);
	}
	gpu_drain_all();
}

static void at_exit(void)
{
	lock_take(&state_lock);
	off = true;
	decide();
	lock_drop(&state_lock);
	settle();
}

/* Other threads are gone, whatever they held. */
static void after_fork(void)
{
	atomic_store(&state_lock.word, 0);
	off = true;
	capture_after_fork();
	queues_after_fork();
}

static bool starts_with(const char *s, const char *prefix)
{
	return !strncmp(s, prefix, strlen(prefix));
}

static bool is_set(const char *entry, const char *name)
{
	return starts_with(entry, name) && entry[strlen(name)];
}

static bool traced_by_cuda_gdb(void)
{
	char text[4096], path[64], *p;
	long fd = sys_call(SYS_openat, AT_FDCWD, "/proc/self/status", O_RDONLY | O_CLOEXEC);
	long n = fd < 0 ? fd : sys_call(SYS_read, fd, text, sizeof(text) - 1);

	if (fd >= 0)
		sys_call(SYS_close, fd);
	text[n > 0 ? n : 0] = 0;
	p = strstr(text, "TracerPid:\t");
	if (!p || p[11] == '0')
		return false;
	memcpy(path, "/proc/", 6);
	size_t k = strcspn(p + 11, "\n");
	if (k > 20)
		return false;
	memcpy(path + 6, p + 11, k);
	memcpy(path + 6 + k, "/comm", 6);
	fd = sys_call(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? fd : sys_call(SYS_read, fd, text, 63);
	if (fd >= 0)
		sys_call(SYS_close, fd);
	text[n > 0 ? n : 0] = 0;
	return starts_with(text, "cuda-gdb");
}

enum stat_id gpu_environment_forbids(char *const *env)
{
	for (; env && *env; env++) {
		if (is_set(*env, "CUDA_LAUNCH_BLOCKING=") && strcmp(*env + 21, "0"))
			return FALLBACK_CUDA_BLOCKING;
		if (is_set(*env, "CUDA_INJECTION64_PATH=") ||
			is_set(*env, "NVTX_INJECTION64_PATH="))
			return FALLBACK_CUDA_PROFILER;
		if (starts_with(*env, "NV_SANITIZER") || starts_with(*env, "NV_COMPUTE_SANITIZER") ||
			(starts_with(*env, "LD_PRELOAD=") && strstr(*env, "sanitizer-public")) ||
			(starts_with(*env, "LD_PRELOAD=") && strstr(*env, "InjectionTarget")))
			return FALLBACK_CUDA_SANITIZER;
	}
	return traced_by_cuda_gdb() ? FALLBACK_CUDA_DEBUGGER : 0;
}

/* What we cannot do without; such a driver is from before CUDA 9.2, or none. */
static bool complete(void)
{
	return HAVE(cuCtxGetCurrent) && HAVE(cuCtxSetCurrent) && HAVE(cuCtxPushCurrent_v2) &&
	       HAVE(cuCtxPopCurrent_v2) && HAVE(cuStreamQuery) && HAVE(cuStreamGetCtx) &&
	       HAVE(cuLaunchKernel);
}

/* The real driver's own exit handlers were registered before this one, so they run after it. */
static void first_start(void)
{
	enum stat_id why = complete() ? gpu_environment_forbids(environ) : FALLBACK_CUDA_OLD;

	stats_activate();
	marks_init();
	if (why) {
		off = true;
		fallback(why);
	}
	process_at_fork(NULL, after_fork);
	atexit(at_exit);
}

void gpu_on(void)
{
	if (!settings.enabled || !settings.cuda)
		return;
	lock_take(&state_lock);
	if (!started)
		first_start();
	started = true;
	decide();
	lock_drop(&state_lock);
}

void gpu_off(enum stat_id why)
{
	lock_take(&state_lock);
	bool already = off;
	off = true;
	decide();
	lock_drop(&state_lock);
	if (already)
		return;
	fallback(why);
	settle();
}

void gpu_capture_begins(void)
{
	lock_take(&state_lock);
	captures++;
	decide();
	lock_drop(&state_lock);
	settle();
	/* An event that gets recorded in a capture is another thing afterwards. */
	queues_forget_events();
}

void gpu_capture_ends(void)
{
	lock_take(&state_lock);
	captures -= captures > 0;
	decide();
	lock_drop(&state_lock);
}

CUresult hook_cuInit(unsigned flags)
{
	CUresult result = REAL(cuInit)(flags);

	if (!result)
		gpu_on();
	return result;
}
