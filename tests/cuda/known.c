/*
 * What may wait because of what is known of a handle, of memory, of a function; and that it is known no longer behind
 * the entry that ends it: on a driver that writes down what it is asked. A call that may not wait is counted
 * as direct.
 * Argument: the name of one entry that ends something, "rules" for what has no entry of its own, or none for all.
 */
#include "counters.h"
#include "hold.h"

#include <pthread.h>
#include <sys/syscall.h>

#define KERNEL ((CUfunction)0x1000)
#define STREAM ((CUstream)0x5550)
#define EVENT ((CUevent)0x77)
#define MOST_CARRIED 65536

static CUcontext own;
static char host[2 * MOST_CARRIED];

static CUresult launch(CUfunction f, CUstream s)
{
	uint64_t param = 1;
	int n = 0;
	void *params[] = { &param, &n };

	return cu.cuLaunchKernel(f, 1, 1, 1, 32, 1, 1, 0, s, params, NULL);
}

static void use_kernel(void)
{
	OK(launch(KERNEL, NULL));
}

static void use_stream(void)
{
	OK(launch(KERNEL, STREAM));
}

static void record(void)
{
	OK(cu.cuEventRecord(EVENT, STREAM));
}

static void wait_for(void)
{
	OK(cu.cuStreamWaitEvent(STREAM, EVENT, 0));
}

static void fill(void)
{
	OK(cu.cuMemsetD32Async(STUB_DEVICE, 1, 16, STREAM));
}

static void copy_down(void)
{
	OK(cu.cuMemcpyDtoHAsync_v2(host, STUB_DEVICE, 64, STREAM));
}

static uint64_t direct(void)
{
	return counter("cuda.direct");
}

static uint64_t ranges(void)
{
	return stub.ranges;
}

static bool straight(void (*use)(void), uint64_t (*count)(void))
{
	uint64_t before = count();

	use();
	return count() != before;
}

static void learn(void (*use)(void), uint64_t (*count)(void))
{
	use();
	use();
	CHECK(!straight(use, count));
}

#define OWN 0x0e0e /* stands for the context that is current */
#define F ((uintptr_t)KERNEL)
#define HOST (uintptr_t)host
#define MAX_DYNAMIC_SHARED 8

static const struct {
	unsigned row;
	uint64_t args[6];
	void (*use)(void);
	bool setting; /* the same once more changes nothing */
} ends[] = {
	{ ROW_cuMemFree, { STUB_DEVICE }, fill },
	{ ROW_cuMemFree_v2, { STUB_DEVICE }, fill },
	{ ROW_cuMemFreeAsync, { STUB_DEVICE }, fill },
	{ ROW_cuMemFreeAsync_ptsz, { STUB_DEVICE }, fill },
	{ ROW_cuMemUnmap, { STUB_DEVICE, 4096 }, fill },
	{ ROW_cuMemSetAccess, { STUB_DEVICE, 4096 }, fill },
	{ ROW_cuIpcCloseMemHandle, { STUB_DEVICE }, fill },
	{ ROW_cuMemFreeHost, { STUB_DEVICE }, fill }, /* the device's, too */
	{ ROW_cuMemHostUnregister, { STUB_DEVICE }, fill },
	{ ROW_cuMemFreeHost, { HOST }, copy_down },
	{ ROW_cuMemHostUnregister, { HOST }, copy_down },
	{ ROW_cuCtxDestroy, { OWN }, fill },
	{ ROW_cuCtxDestroy_v2, { OWN }, fill },
	{ ROW_cuCtxDetach, { OWN }, fill },
	{ ROW_cuGreenCtxDestroy, { OWN }, fill },
	{ ROW_cuDevicePrimaryCtxReset, { 0 }, fill },
	{ ROW_cuDevicePrimaryCtxReset_v2, { 0 }, fill },
	{ ROW_cuDevicePrimaryCtxRelease, { 0 }, fill },
	{ ROW_cuDevicePrimaryCtxRelease_v2, { 0 }, fill },
	{ ROW_cuCtxDestroy_v2, { OWN }, copy_down },
	{ ROW_cuModuleUnload, { 1 }, use_kernel },
	{ ROW_cuLibraryUnload, { 1 }, use_kernel },
	{ ROW_cuCtxSetLimit, { 0, 77 }, use_kernel, true },
	{ ROW_cuFuncSetAttribute, { F, MAX_DYNAMIC_SHARED, 77 }, use_kernel, true },
	{ ROW_cuKernelSetAttribute, { MAX_DYNAMIC_SHARED, 78, F, 0 }, use_kernel, true },
	{ ROW_cuFuncSetCacheConfig, { F, 2 }, use_kernel, true },
	{ ROW_cuFuncSetSharedMemConfig, { F, 1 }, use_kernel, true },
	{ ROW_cuStreamDestroy, { (uintptr_t)STREAM }, use_stream },
	{ ROW_cuStreamDestroy_v2, { (uintptr_t)STREAM }, use_stream },
	{ ROW_cuEventDestroy, { (uintptr_t)EVENT }, record },
	{ ROW_cuEventDestroy_v2, { (uintptr_t)EVENT }, record },
	{ ROW_cuEventDestroy_v2, { (uintptr_t)EVENT }, wait_for },
};

static int check_end(unsigned i)
{
	uint64_t (*count)(void) = ends[i].use == fill ? ranges : direct, args[6];
	int bad = 0;

	memcpy(args, ends[i].args, sizeof(args));
	if (args[0] == OWN)
		args[0] = (uintptr_t)own;
	if (ends[i].use == copy_down)
		OK(cu.cuMemHostRegister_v2(host, sizeof(host), 0));
	launch(KERNEL, STREAM);
	learn(record, direct);
	learn(ends[i].use, count);
	OK(call(ends[i].row, args));
	if (ends[i].args[0] == OWN)
		use_stream();
	bad = !straight(ends[i].use, count);
	if (bad)
		fprintf(stderr, "%s (row %u): what it ended was still known\n", cuda_rows[ends[i].row].name, i);
	if (!ends[i].setting)
		return bad;
	learn(ends[i].use, count);
	OK(call(ends[i].row, args));
	CHECK(!straight(ends[i].use, count));
	return bad;
}

/* An event that was recorded in a capture is another thing behind it. */
static void captures(void)
{
	CUgraph g;

	learn(record, direct);
	OK(cu.cuStreamBeginCapture_v2(STREAM, CU_STREAM_CAPTURE_RELAXED));
	OK(cu.cuStreamEndCapture(STREAM, &g));
	CHECK(straight(record, direct));
}

/* What the device may not write is the driver's to refuse, and another context may be of another device. */
static void access_to_memory(void)
{
	static struct { char c[64]; } other;
	static const uint64_t args[6] = { STUB_DEVICE, 4096 };

	learn(fill, ranges);
	stub.read_only = 1;
	OK(call(ROW_cuMemSetAccess, args));
	for (int i = 0; i < 4; i++)
		CHECK(straight(fill, direct));
	stub.read_only = 0;
	learn(fill, direct);
	OK(cu.cuCtxSetCurrent((CUcontext)&other));
	CHECK(straight(fill, ranges));
	OK(cu.cuCtxSetCurrent(own));
}

static void *launch_held(void *ret_straight)
{
	OK(cu.cuCtxSetCurrent(own));
	__atomic_store_n(&stub.hold_current, (int)syscall(SYS_gettid), __ATOMIC_SEQ_CST);
	*(bool *)ret_straight = straight(use_kernel, direct);
	return NULL;
}

/* A launch that was under way when another thread began a capture does not wait in the queue after all. */
static void captures_beside(void)
{
	bool went_straight = false;
	pthread_t t;
	CUgraph g;

	learn(use_kernel, direct);
	CHECK(!pthread_create(&t, NULL, launch_held, &went_straight));
	while (__atomic_load_n(&stub.hold_current, __ATOMIC_SEQ_CST) >= 0)
		sched_yield();
	OK(cu.cuStreamBeginCapture_v2(STREAM, CU_STREAM_CAPTURE_RELAXED));
	__atomic_store_n(&stub.hold_current, 0, __ATOMIC_SEQ_CST);
	pthread_join(t, NULL);
	OK(cu.cuStreamEndCapture(STREAM, &g));
	CHECK(went_straight);
}

/* A stream of another context has its order in another queue. */
static void foreign_streams(void)
{
	static struct { char c[64]; } other;

	OK(cu.cuCtxSetCurrent((CUcontext)&other));
	learn(use_kernel, direct);
	for (int i = 0; i < 4; i++)
		CHECK(straight(use_stream, direct));
	OK(cu.cuCtxSetCurrent(own));
}

static bool copy_up_waits(uintptr_t from, size_t bytes)
{
	uint64_t before = direct();

	OK(cu.cuMemcpyHtoDAsync_v2(STUB_DEVICE, (const void *)from, bytes, STREAM));
	return direct() == before;
}

/* Pageable memory comes along as far as there is room; page-locked memory of which we know nothing must not. */
static void copies_up(void)
{
	learn(use_stream, direct);
	CHECK(copy_up_waits(HOST, 64));
	CHECK(copy_up_waits(HOST, MOST_CARRIED));
	CHECK(!copy_up_waits(HOST, MOST_CARRIED + 1));
	CHECK(!copy_up_waits(STUB_LOCKED, 64));
	OK(cu.cuMemHostRegister_v2(host, sizeof(host), 0));
	CHECK(copy_up_waits(HOST, MOST_CARRIED + 1));
	OK(cu.cuMemHostUnregister(host));
	OK(cu.cuCtxSynchronize());
}

/* While the GPU is busy: the driver's answer comes when the call has returned. */
static void refused_later(CUresult why)
{
	uint64_t told = counter("cuda.late_errors");

	learn(use_kernel, direct);
	stub.busy = 1;
	use_kernel();
	stub.fail_launch = why;
	use_kernel();
	while (counter("cuda.late_errors") == told)
		sched_yield();
	stub.busy = 0;
}

static void late_errors(void)
{
	const CUresult out_of_resources = 701, other = 201;

	refused_later(out_of_resources);
	refused_later(other);
	CHECK_EQ(cu.cuCtxSynchronize(), out_of_resources);
	OK(cu.cuCtxSynchronize());
}

/* A broken context defers nothing; the next one that takes its place does. */
static void sticky(void)
{
	refused_later(CUDA_ERROR_ILLEGAL_ADDRESS);
	CHECK_EQ(cu.cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
	for (int i = 0; i < 4; i++)
		CHECK(straight(use_kernel, direct));
	OK(cu.cuCtxDestroy_v2(own));
	learn(use_kernel, direct);
}

static CUresult launch_shared(uintptr_t f, unsigned shared)
{
	uint64_t param = 1;
	int n = 0;
	void *params[] = { &param, &n };

	return cu.cuLaunchKernel((CUfunction)f, 1, 1, 1, 32, 1, 1, shared, NULL, params, NULL);
}

/* Of launches that were made once before, how many went straight. */
static uint64_t straight_again(uintptr_t step, unsigned shared)
{
	uint64_t n = 0;

	for (unsigned i = 1; i <= 20000; i++) {
		OK(launch_shared(0x100000 + step * i, shared * i));
		uint64_t before = direct();
		OK(launch_shared(0x100000 + step * i, shared * i));
		n += direct() - before;
	}
	return n;
}

static void room_for_functions(void)
{
	uint64_t args[6] = { 0, MAX_DYNAMIC_SHARED, 1 };

	CHECK(straight_again(16, 0) < 20);
	CHECK(straight_again(0, 1) < 20);
	for (args[0] = 1; args[0] <= 5000; args[0]++)
		OK(call(ROW_cuFuncSetAttribute, args));
	args[0]--;
	learn(use_kernel, direct);
	OK(call(ROW_cuFuncSetAttribute, args));
	CHECK(!straight(use_kernel, direct));
}

/* There is room for the handles of a program that makes and destroys them for days. */
static void room(void)
{
	for (uintptr_t i = 1; i <= 20000; i++) {
		CUevent e = (CUevent)(i << 8);
		OK(cu.cuEventRecord(e, NULL));
		uint64_t before = direct();
		OK(cu.cuEventRecord(e, NULL));
		CHECK_EQ(direct(), before);
		OK(cu.cuEventDestroy_v2(e));
	}
	for (uintptr_t i = 1; i <= 2000; i++) {
		CUstream s = (CUstream)(i << 8);
		OK(launch(KERNEL, s));
		uint64_t before = direct();
		OK(launch(KERNEL, s));
		CHECK_EQ(direct(), before);
		OK(cu.cuStreamDestroy_v2(s));
	}
}

/* The thread that tells the driver what was deferred cannot spoil a capture, even one that passed us by. */
static void submitter_is_relaxed(void)
{
	int here = (int)syscall(SYS_gettid), relaxed = 0, launched = 0;

	for (unsigned i = 0; i < stub.count && i < STUB_LOG; i++) {
		const struct stub_call *c = &stub.call[i];
		if (c->thread == here)
			continue;
		if (c->row == ROW_cuThreadExchangeStreamCaptureMode && c->arg[0] == CU_STREAM_CAPTURE_RELAXED)
			relaxed = c->thread;
		launched += c->row == ROW_cuLaunchKernel;
		CHECK(c->row != ROW_cuLaunchKernel || c->thread == relaxed);
	}
	CHECK(launched);
}

int main(int argc, char **argv)
{
	int bad = 0;

	CHECK(!api_load());
	OK(cu.cuInit(0));
	OK(cu.cuDevicePrimaryCtxRetain(&own, 0));
	OK(cu.cuCtxSetCurrent(own));
	for (unsigned i = 0; i < sizeof(ends) / sizeof(*ends); i++)
		if (argc < 2 || !strcmp(argv[1], cuda_rows[ends[i].row].name))
			bad += check_end(i);
	if (argc > 1 && strcmp(argv[1], "rules"))
		return bad != 0;
	clear_log();
	late_errors();
	submitter_is_relaxed();
	captures();
	captures_beside();
	access_to_memory();
	foreign_streams();
	copies_up();
	sticky();
	room();
	room_for_functions();
	return bad != 0;
}
