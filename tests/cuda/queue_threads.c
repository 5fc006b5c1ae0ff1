/*
 * The queue by itself, built with the thread sanitizer: several threads launch into one context
 * while others drain, sync, query and close it. The driver below notes the order in which it hears
 * of the launches: each thread's own must be in the order of its calls, none lost, none twice.
 */
#include "check.h"
#include "gpu.h"
#include "hooks.h"
#include "queue.h"
#include "settings.h"
#include "shim/profile.h"

#include <pthread.h>
#include <string.h>

#define THREADS 4
#define LAUNCHES 3000
#define HEARD (THREADS * LAUNCHES * 2)

/* Nothing is recorded here. */
void profile_activate(void)
{
}

void profile_found(uint32_t operations, uint64_t period_ns, uint32_t support)
{
}

void profile_step(uint64_t start_ns, uint64_t ns, uint32_t operations)
{
}

static struct { char c[16]; } context;
static _Atomic unsigned heard;
static uint64_t heard_param[HEARD];
static _Atomic unsigned asked;
static pthread_barrier_t start;

static CUresult get_current(CUcontext *ret)
{
	*ret = (CUcontext)&context;
	return 0;
}

static CUresult set_current(CUcontext ctx)
{
	return 0;
}

static CUresult pop_current(CUcontext *ret)
{
	return 0;
}

/* Busy and idle in turn, by the count of questions: however the threads are scheduled, both are met. */
static CUresult stream_query(CUstream s)
{
	return atomic_fetch_add(&asked, 1) & 8 ? CUDA_ERROR_NOT_READY : 0;
}

static CUresult stream_ctx(CUstream s, CUcontext *ret)
{
	return get_current(ret);
}

static CUresult param_info(CUfunction f, size_t i, size_t *offset, size_t *size)
{
	*offset = 0;
	*size = 8;
	return i ? CUDA_ERROR_INVALID_VALUE : 0;
}

static CUresult launch_kernel CUDA_LAUNCH_PARAMS
{
	unsigned i = atomic_fetch_add(&heard, 1);

	if (i < HEARD)
		memcpy(&heard_param[i], params[0], 8);
	return 0;
}

static CUresult synchronize(void)
{
	return 0;
}

static void install(void)
{
	cuda_real[ROW_cuCtxGetCurrent] = get_current;
	cuda_real[ROW_cuCtxSetCurrent] = set_current;
	cuda_real[ROW_cuCtxPushCurrent_v2] = set_current;
	cuda_real[ROW_cuCtxPopCurrent_v2] = pop_current;
	cuda_real[ROW_cuStreamQuery] = stream_query;
	cuda_real[ROW_cuStreamGetCtx] = stream_ctx;
	cuda_real[ROW_cuFuncGetParamInfo] = param_info;
	cuda_real[ROW_cuLaunchKernel] = launch_kernel;
	cuda_real[ROW_cuCtxSynchronize] = synchronize;
	cuda_real[ROW_cuModuleUnload] = synchronize;
}

static void *launcher(void *arg)
{
	uint64_t me = (uintptr_t)arg;

	pthread_barrier_wait(&start);
	for (uint64_t i = 0; i < LAUNCHES; i++) {
		uint64_t param = me << 32 | i;
		void *params[] = { &param };
		CHECK_EQ(hook_cuLaunchKernel((CUfunction)(0x100 * (1 + i % 7)), 1, 1, 1, 32, 1, 1, 0,
				 (CUstream)(16 * (1 + me)), params, NULL), 0);
		if (i % 97 == 96)
			gpu_barrier(ROW_cuCtxSynchronize, (uint64_t[6]){ 0 });
		if (i % 1001 == 1000)
			gpu_barrier(ROW_cuModuleUnload, (uint64_t[6]){ 0 });
	}
	return NULL;
}

static void *disturber(void *arg)
{
	pthread_barrier_wait(&start);
	for (int i = 0; i < 300; i++) {
		gpu_capture_begins();
		gpu_capture_ends();
		queues_give_back();
		queues_forget_stream((CUstream)0x10);
		if (i % 50 == 49)
			queues_close((CUcontext)&context);
	}
	return NULL;
}

static void check_order(void)
{
	uint64_t next[THREADS] = { 0 };

	CHECK_EQ(heard, THREADS * LAUNCHES);
	for (unsigned i = 0; i < heard; i++) {
		unsigned t = (unsigned)(heard_param[i] >> 32);
		CHECK(t < THREADS);
		CHECK_EQ(heard_param[i] & UINT32_MAX, next[t]);
		next[t]++;
	}
}

static void run_all(void)
{
	pthread_t t[THREADS + 1];

	heard = 0;
	for (uintptr_t i = 0; i < THREADS; i++)
		CHECK(!pthread_create(&t[i], NULL, launcher, (void *)i));
	CHECK(!pthread_create(&t[THREADS], NULL, disturber, NULL));
	for (int i = 0; i <= THREADS; i++)
		pthread_join(t[i], NULL);
	gpu_drain_all();
	check_order();
}

int main(void)
{
	_Atomic uint64_t *queued = &dlaccel_stats.slot[STAT_cuda_submissions].value;
	int rounds = 0;

	pthread_barrier_init(&start, NULL, THREADS + 1);
	install();
	gpu_on();
	CHECK(atomic_load(&gpu_deferring));
	/* All are direct while a capture is open, for as long as the thread that opened it is kept from running. */
	do
		run_all();
	while (*queued <= 100 && ++rounds < 50);
	printf("%llu launches were queued\n", (unsigned long long)*queued);
	CHECK(*queued > 100);
	return 0;
}
