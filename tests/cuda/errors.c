/*
 * What goes wrong, on the simulated device, with the codes that a driver answers bare: they must come
 * preloaded from the same call, or for errors of running kernels from the next synchronising one.
 * Argument: one of the cases, none for all, or "defined" for those that CUDA defines: a handle used after its end
 * is an error on the simulated device only. Each case runs in a process of its own; its status (0: as it should
 * be) is printed.
 */
#include "api.h"
#include "counters.h"
#include "kernels.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORDS 64
#define WINDOW 1000
#define FORKS 20
#define CAPTURES 60
#define INVALID_HANDLE 400
#define ILLEGAL_ADDRESS 700
#define MAX_DYNAMIC_SHARED 8

static CUfunction mix, spin;
static CUdeviceptr a, b;
static CUcontext ctx;
static CUdevice device;
static void *module;

static CUresult launch(CUfunction f, CUdeviceptr to, CUstream s, unsigned block, unsigned shared)
{
	uint32_t c = 1, n = WORDS;
	void *params[] = { &to, &b, &c, &n };

	return cu.cuLaunchKernel(f, 1, 1, 1, block, 1, 1, shared, s, params, NULL);
}

/* Keeps the device busy so long that what follows is queued. */
static void busy(CUstream s)
{
	uint32_t times = 20000, n = WORDS;
	void *params[] = { &a, &times, &n };

	for (int i = 0; i < 4; i++)
		OK(cu.cuLaunchKernel(spin, 1, 1, 1, WORDS, 1, 1, 0, s, params, NULL));
}

/* In the context that is current. */
static void load(void)
{
	OK(cu.cuModuleLoadData(&module, kernels_ptx));
	OK(cu.cuModuleGetFunction(&mix, module, "mix"));
	OK(cu.cuModuleGetFunction(&spin, module, "spin"));
	OK(cu.cuMemAlloc_v2(&a, WORDS * 4));
	OK(cu.cuMemAlloc_v2(&b, WORDS * 4));
	OK(cu.cuMemsetD32Async(a, 1, WORDS, NULL));
	OK(cu.cuMemsetD32Async(b, 2, WORDS, NULL));
}

static void set_up(void)
{
	CHECK(!api_load());
	OK(cu.cuInit(0));
	OK(cu.cuDeviceGet(&device, 0));
	OK(cu.cuCtxCreate_v2(&ctx, 0, device));
	load();
	OK(launch(mix, a, NULL, WORDS, 0));
	OK(launch(mix, a, NULL, WORDS, 0));
}

static void invalid(void)
{
	uint32_t c = 1, n = WORDS;
	void *params[] = { &a, &b, &c, &n };

	busy(NULL);
	CHECK_EQ(launch(mix, a, NULL, 4096, 0), CUDA_ERROR_INVALID_VALUE);
	CHECK_EQ(launch(mix, a, NULL, WORDS, 64 << 20), CUDA_ERROR_INVALID_VALUE);
	CHECK_EQ(launch(NULL, a, NULL, WORDS, 0), INVALID_HANDLE);
	CHECK_EQ(cu.cuLaunchKernel(mix, 0, 1, 1, WORDS, 1, 1, 0, NULL, params, NULL),
		CUDA_ERROR_INVALID_VALUE);
	CHECK_EQ(cu.cuLaunchKernel(mix, 1, 70000, 1, WORDS, 1, 1, 0, NULL, params, NULL),
		CUDA_ERROR_INVALID_VALUE);
	OK(launch(mix, a, NULL, WORDS, 0));
	OK(cu.cuCtxSynchronize());
}

static void freed(void)
{
	CUdeviceptr p;

	OK(cu.cuMemAlloc_v2(&p, 4096));
	OK(cu.cuMemsetD32Async(p, 1, 1024, NULL));
	OK(cu.cuMemsetD32Async(p, 1, 1024, NULL));
	CHECK_EQ(cu.cuMemsetD32Async(p, 1, 1025, NULL), CUDA_ERROR_INVALID_VALUE);
	OK(cu.cuMemFree_v2(p));
	busy(NULL);
	CHECK_EQ(cu.cuMemsetD32Async(p, 1, 1024, NULL), CUDA_ERROR_INVALID_VALUE);
	CHECK_EQ(cu.cuMemFree_v2(p), CUDA_ERROR_INVALID_VALUE);
	OK(cu.cuCtxSynchronize());
}

static void unloaded(void)
{
	void *other;

	OK(cu.cuModuleLoadData(&other, kernels_ptx));
	OK(cu.cuModuleGetFunction(&spin, other, "spin"));
	busy(NULL);
	OK(launch(mix, a, NULL, WORDS, 0));
	OK(cu.cuModuleUnload(module));
	busy(NULL);
	CHECK_EQ(launch(mix, a, NULL, WORDS, 0), INVALID_HANDLE);
	OK(cu.cuModuleLoadData(&module, kernels_ptx));
	OK(cu.cuModuleGetFunction(&mix, module, "mix"));
	OK(launch(mix, a, NULL, WORDS, 0));
	OK(cu.cuCtxSynchronize());
}

static void destroyed(void)
{
	CUstream s, other;

	OK(cu.cuStreamCreate(&s, 1));
	OK(cu.cuStreamCreate(&other, 1));
	OK(launch(mix, a, s, WORDS, 0));
	OK(launch(mix, a, s, WORDS, 0));
	OK(cu.cuStreamDestroy_v2(s));
	busy(other);
	CHECK(launch(mix, a, s, WORDS, 0) != CUDA_SUCCESS);
	OK(cu.cuCtxSynchronize());
}

static void attribute(void)
{
	OK(cu.cuFuncSetAttribute(mix, MAX_DYNAMIC_SHARED, 64 << 10));
	OK(launch(mix, a, NULL, WORDS, 60 << 10));
	OK(launch(mix, a, NULL, WORDS, 60 << 10));
	OK(cu.cuFuncSetAttribute(mix, MAX_DYNAMIC_SHARED, 1024));
	busy(NULL);
	CHECK_EQ(launch(mix, a, NULL, WORDS, 60 << 10), CUDA_ERROR_INVALID_VALUE);
	OK(cu.cuCtxSynchronize());
}

/* The same attribute by another entry: what was set by the first holds no longer. */
static void attribute_by_kernel(void)
{
	for (int i = 0; i < 2; i++) {
		OK(cu.cuKernelSetAttribute(MAX_DYNAMIC_SHARED, 1024, mix, device));
		if (i)
			break;
		OK(cu.cuFuncSetAttribute(mix, MAX_DYNAMIC_SHARED, 64 << 10));
		OK(launch(mix, a, NULL, WORDS, 60 << 10));
		OK(launch(mix, a, NULL, WORDS, 60 << 10));
	}
	busy(NULL);
	CHECK_EQ(launch(mix, a, NULL, WORDS, 60 << 10), CUDA_ERROR_INVALID_VALUE);
	OK(cu.cuCtxSynchronize());
}

/* A kernel that faults: its launch succeeds, and everything after it says so. */
static void sticky(void)
{
	uint32_t mem[WORDS];

	busy(NULL);
	for (int i = 0; i < 3; i++)
		OK(launch(mix, a, NULL, WORDS, 0));
	OK(launch(mix, 0x10, NULL, WORDS, 0));
	CHECK_EQ(cu.cuCtxSynchronize(), ILLEGAL_ADDRESS);
	CHECK_EQ(cu.cuCtxSynchronize(), ILLEGAL_ADDRESS);
	CHECK_EQ(cu.cuMemcpyDtoH_v2(mem, a, sizeof(mem)), ILLEGAL_ADDRESS);
	CHECK_EQ(launch(mix, a, NULL, WORDS, 0), ILLEGAL_ADDRESS);
}

static void *die_with_work(void *arg)
{
	OK(cu.cuCtxSetCurrent(ctx));
	busy(NULL);
	for (int i = 0; i < 100; i++)
		OK(launch(mix, a, NULL, WORDS, 0));
	return NULL;
}

static uint32_t expected(uint32_t v, int spins, int mixes)
{
	for (int i = 0; i < spins; i++)
		v = v * 5 + 1;
	for (int i = 0; i < mixes; i++)
		v = v * 3 + 2 + 1;
	return v;
}

static void thread_death(void)
{
	uint32_t mem[WORDS], v = 1;
	pthread_t t;

	CHECK(!pthread_create(&t, NULL, die_with_work, NULL));
	pthread_join(t, NULL);
	OK(cu.cuMemcpyDtoH_v2(mem, a, sizeof(mem)));
	v = expected(v, 0, 2);
	v = expected(v, 80000, 100);
	for (int i = 0; i < WORDS; i++)
		CHECK_EQ(mem[i], v);
}

static void fifty_launches(void)
{
	uint32_t mem[WORDS];

	for (int i = 0; i < 50; i++)
		OK(launch(mix, a, NULL, WORDS, 0));
	OK(cu.cuMemcpyDtoH_v2(mem, a, sizeof(mem)));
	for (int i = 0; i < WORDS; i++)
		CHECK_EQ(mem[i], expected(1, 0, 50));
}

/* What goes with a context is gone; what comes after it works. */
static void context_reset(void)
{
	for (int round = 0; round < 3; round++) {
		busy(NULL);
		OK(launch(mix, a, NULL, WORDS, 0));
		OK(cu.cuCtxDestroy_v2(ctx));
		OK(cu.cuCtxCreate_v2(&ctx, 0, device));
		load();
		fifty_launches();
	}
}

/* The same of the device as the runtime resets it; what was known of its handles is known no longer. */
static void device_reset(void)
{
	CUstream s;

	for (int round = 0; round < 3; round++) {
		OK(cu.cuDevicePrimaryCtxRetain(&ctx, device));
		OK(cu.cuCtxSetCurrent(ctx));
		load();
		fifty_launches();
		busy(NULL);
		if (round)
			CHECK(launch(mix, a, s, WORDS, 0) != CUDA_SUCCESS);
		OK(cu.cuStreamCreate(&s, 1));
		for (int i = 0; i < 10; i++)
			OK(launch(mix, a, s, WORDS, 0));
		OK(cu.cuDevicePrimaryCtxReset_v2(device));
	}
}

static void new_context(bool primary)
{
	if (primary) {
		OK(cu.cuDevicePrimaryCtxRetain(&ctx, device));
		OK(cu.cuCtxSetCurrent(ctx));
	} else {
		OK(cu.cuCtxCreate_v2(&ctx, 0, device));
	}
	load();
}

static void end_context(bool primary)
{
	if (primary)
		OK(cu.cuDevicePrimaryCtxReset_v2(device));
	else
		OK(cu.cuCtxDestroy_v2(ctx));
}

/* The program's again as soon as a copy from or to it returns. */
static void copy_pageable(uint32_t *host)
{
	uint32_t mem[WORDS];
	CUdeviceptr p;

	OK(cu.cuMemAlloc_v2(&p, sizeof(mem)));
	for (int i = 0; i < WORDS; i++)
		host[i] = 1000 + i;
	OK(cu.cuMemcpyHtoDAsync_v2(p, host, sizeof(mem), NULL));
	busy(NULL);
	OK(cu.cuMemcpyHtoDAsync_v2(p, host, sizeof(mem), NULL));
	memset(host, 0xee, sizeof(mem));
	OK(cu.cuMemcpyDtoH_v2(mem, p, sizeof(mem)));
	CHECK_EQ(mem[0], 1000);
	busy(NULL);
	OK(cu.cuMemcpyDtoHAsync_v2(host, p, sizeof(mem), NULL));
	CHECK_EQ(host[0], 1000);
	OK(cu.cuCtxSynchronize());
}

/* Page-locked memory is pageable when it is unregistered, or the context ends in which it was registered. */
static void unlocked(void)
{
	static uint32_t host[WORDS];

	for (int primary = 0; primary < 2; primary++) {
		new_context(primary);
		OK(cu.cuMemHostRegister_v2(host, sizeof(host), 0));
		end_context(primary);
		new_context(primary);
		copy_pageable(host);
		OK(cu.cuMemHostRegister_v2(host, sizeof(host), 0));
		OK(cu.cuMemHostUnregister(host));
		copy_pageable(host);
		end_context(primary);
	}
}

/* What the simulated driver has counted. */
static uint64_t counted(const char *what, uint64_t where_nobody_counts)
{
	uint64_t (*stats)(const char *) = (uint64_t (*)(const char *))dlsym(api_driver, "simcuda_stats");

	return stats ? stats(what) : where_nobody_counts;
}

static uint64_t launched; /* when the program ended */

/* One by one or in graphs, the simulated driver was told of every launch. */
static void at_end(void)
{
	uint64_t heard = counted("cuLaunchKernel", launched) + counted("nodes", 0);

	if (!launched || heard == launched)
		return;
	fprintf(stderr, "%llu launches, the driver heard of %llu\n", (unsigned long long)launched,
		(unsigned long long)heard);
	_exit(1);
}

/* The driver hears of every launch all the same. */
static void exit_without_sync(void)
{
	busy(NULL);
	for (int i = 0; i < 2500; i++)
		OK(launch(mix, a, NULL, WORDS, 0));
	launched = 2 + 4 + 2500;
	exit(0);
}

/* The driver's to answer, and asked no more than bare; what was queued at the fork is the parent's to submit. */
static int in_child(void)
{
	uint64_t sent = counter("cuda.submissions"), late = counter("cuda.late_errors"), refused = counted("misuse", 0);

	alarm(50);
	return !launch(mix, a, NULL, WORDS, 0) || !cu.cuCtxSynchronize() || counter("cuda.submissions") != sent ||
	       counter("cuda.late_errors") != late || counted("misuse", 2) != refused + 2;
}

static void forked(void)
{
	uint32_t mem[WORDS];
	int status;
	pid_t pid;

	busy(NULL);
	for (int round = 0; round < FORKS; round++) {
		for (int i = 0; i < 97; i++)
			OK(launch(mix, a, NULL, WORDS, 0));
		pid = fork();
		if (!pid)
			_exit(in_child());
		CHECK_EQ(waitpid(pid, &status, 0), pid);
		CHECK_EQ(status, 0);
	}
	OK(cu.cuMemcpyDtoH_v2(mem, a, sizeof(mem)));
	CHECK_EQ(mem[0], expected(expected(1, 0, 2), 80000, FORKS * 97));
}

static CUresult try_window_launch(uint32_t i, CUdeviceptr to)
{
	uint32_t c = 1, n = WORDS, x = (i + 1) * 2654435761u;
	void *params[] = { &to, &b, &c, &n };

	x = (x ^ x >> 15) * 2246822519u;
	return cu.cuLaunchKernel(mix, 1 + (x >> 20) % 16, 1, 1, WORDS, 1, 1, 0, NULL, params, NULL);
}

static void window_launch(uint32_t i, CUdeviceptr to)
{
	OK(try_window_launch(i, to));
}

/* The same launches again and again, as training makes them; no shorter period explains them. */
static void window(CUdeviceptr to)
{
	for (uint32_t i = 0; i < WINDOW; i++)
		window_launch(i, to);
	OK(cu.cuCtxSynchronize());
}

/*
 * What fits bare fits preloaded: graphs of ours make room for the program's memory (and later are not
 * made for want of it). Device memory and the size of graphs are set by tests/cuda/meson.build.
 */
static void memory(void)
{
	uint32_t mem[WORDS];
	CUdeviceptr big;
	int rounds = 0;

	for (; rounds < 6; rounds++)
		window(a);
	OK(cu.cuMemAlloc_v2(&big, 6 << 20));
	for (; rounds < 10; rounds++)
		window(a);
	OK(cu.cuMemFree_v2(big));
	OK(cu.cuMemcpyDtoH_v2(mem, a, sizeof(mem)));
	CHECK_EQ(mem[0], expected(1, 0, 2 + rounds * WINDOW));
	if (getenv("WANT_GRAPHS"))
		CHECK(counter("cuda.given_back") > 0);
}

/* A launch that faults where a graph was expected: the graph's error is the one of the launch. */
static void sticky_in_window(void)
{
	for (int round = 0; round < 6; round++)
		window(a);
	for (uint32_t i = 0; i < WINDOW / 2; i++)
		window_launch(i, a);
	window_launch(WINDOW / 2, 0x10);
	/* The device may have come to it by now: then the driver says so at once. */
	for (uint32_t i = WINDOW / 2 + 1; i < WINDOW; i++) {
		CUresult r = try_window_launch(i, a);
		CHECK(!r || r == ILLEGAL_ADDRESS);
	}
	CHECK_EQ(cu.cuCtxSynchronize(), ILLEGAL_ADDRESS);
	CHECK_EQ(cu.cuCtxSynchronize(), ILLEGAL_ADDRESS);
	if (getenv("WANT_BATCHED"))
		CHECK(counter("cuda.batched") > 0);
}

static const char holes_ptx[] =
	".version 7.0\n.target sm_50\n.address_size 64\n"
	".visible .entry hole(.param .u32 v, .param .u64 p)\n"
	"{\n"
	".reg .b32 %r<2>;\n.reg .b64 %rd<2>;\n"
	"ld.param.u32 %r1, [v];\n"
	"ld.param.u64 %rd1, [p];\n"
	"st.global.u32 [%rd1], %r1;\n"
	"ret;\n}\n";

/* What lies between parameters is nobody's: nodes of a graph are not set anew for it. */
static void holes(void)
{
	CUfunction hole;
	void *other;

	OK(cu.cuModuleLoadData(&other, holes_ptx));
	OK(cu.cuModuleGetFunction(&hole, other, "hole"));
	for (int round = 0; round < 60; round++) { /* more than the queue has room for */
		for (uint32_t i = 0; i < WINDOW; i++) {
			uint32_t x = (i + 1) * 2654435761u;
			void *params[] = { &i, &a };
			if (i % 7 == 3) {
				window_launch(i, b);
				continue;
			}
			x = (x ^ x >> 15) * 2246822519u;
			OK(cu.cuLaunchKernel(hole, 1 + (x >> 20) % 16, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
		}
		OK(cu.cuCtxSynchronize());
	}
	if (getenv("WANT_BATCHED"))
		CHECK(counter("cuda.batched") > 0);
	CHECK_EQ(counter("cuda.updates"), 0);
}

/* What lies behind an attribute's value is nobody's either: the launches are the same. */
static void attribute_tail(void)
{
	uint32_t c = 1, n = WORDS;
	void *params[] = { &a, &b, &c, &n };
	struct cuda_launch_attribute attr;
	struct cuda_launch_config config = { { 1, 1, 1 }, { WORDS, 1, 1 }, 0, NULL, &attr, 1 };
	uint64_t direct = counter("cuda.direct");

	for (int i = 0; i < 100; i++) {
		memset(&attr, i, sizeof(attr));
		attr.id = CU_LAUNCH_PRIORITY;
		attr.value.priority = 0;
		OK(cu.cuLaunchKernelEx(&config, mix, params, NULL));
	}
	CHECK(counter("cuda.direct") - direct <= 1);
	OK(cu.cuCtxSynchronize());
}

static const char ticket_ptx[] =
	".version 7.0\n.target sm_50\n.address_size 64\n"
	".visible .entry ticket(.param .u64 p, .param .u32 at)\n"
	"{\n"
	".reg .b32 %r<3>;\n.reg .b64 %rd<3>;\n"
	"ld.param.u64 %rd1, [p];\n"
	"ld.param.u32 %r1, [at];\n"
	"atom.global.add.u32 %r2, [%rd1], 1;\n"
	"mul.wide.u32 %rd2, %r1, 4;\n"
	"add.s64 %rd2, %rd1, %rd2;\n"
	"st.global.u32 [%rd2], %r2;\n"
	"ret;\n}\n";

static void step_of_two_priorities(CUfunction ticket, const CUstream *s, const CUevent *e)
{
	busy(s[0]);
	OK(cu.cuMemsetD32Async(a, 0, WORDS, s[0]));
	OK(cu.cuEventRecord(e[0], s[0]));
	for (uint32_t i = 1; i < 3; i++) {
		void *params[] = { &a, &i };
		OK(cu.cuStreamWaitEvent(s[i], e[0], 0));
		OK(cu.cuLaunchKernel(ticket, 1, 1, 1, 1, 1, 1, 0, s[i], params, NULL));
		OK(cu.cuEventRecord(e[i], s[i]));
	}
	for (int i = 1; i < 3; i++)
		OK(cu.cuStreamWaitEvent(s[0], e[i], 0));
	OK(launch(mix, b, s[0], WORDS, 0));
}

/* In a graph, too, the stream of the greater priority comes first: the simulated device then runs by nothing else. */
static void priorities(void)
{
	uint32_t mem[WORDS], in_graphs = 0, lesser_first = 0;
	CUfunction ticket;
	CUstream s[3];
	CUevent e[3];
	void *other;

	OK(cu.cuModuleLoadData(&other, ticket_ptx));
	OK(cu.cuModuleGetFunction(&ticket, other, "ticket"));
	for (int i = 0; i < 3; i++) {
		OK(cu.cuStreamCreateWithPriority(&s[i], 1, i == 2 ? -2 : 0));
		OK(cu.cuEventCreate(&e[i], CU_EVENT_DISABLE_TIMING));
	}
	OK(cu.cuCtxSynchronize());
	for (int round = 0; round < 30 || (getenv("WANT_BATCHED") && in_graphs < 8 && round < 3000); round++) {
		uint64_t forked = counter("cuda.forked");
		step_of_two_priorities(ticket, s, e);
		OK(cu.cuCtxSynchronize());
		OK(cu.cuMemcpyDtoH_v2(mem, a, sizeof(mem)));
		CHECK_EQ(mem[1] + mem[2], 1);
		if (counter("cuda.forked") == forked)
			continue;
		lesser_first += mem[2] == 1;
		in_graphs++;
	}
	/* A graph may begin behind the first of the two, where the device had nothing else to do; not as a rule. */
	CHECK(lesser_first * 2 <= in_graphs);
	if (getenv("WANT_BATCHED"))
		CHECK(in_graphs >= 8);
}

static struct {
	CUstream stream;
	CUdeviceptr p;
	_Atomic bool over;
} beside;

static void *launch_beside(void *arg)
{
	OK(cu.cuCtxSetCurrent(ctx));
	while (!beside.over) {
		OK(launch(mix, beside.p, beside.stream, WORDS, 0));
		sched_yield();
	}
	return NULL;
}

static void capture_two(CUstream s, int mode)
{
	CUgraphExec x;
	CUgraph g;

	OK(cu.cuStreamBeginCapture_v2(s, mode));
	OK(launch(mix, a, s, WORDS, 0));
	OK(launch(mix, a, s, WORDS, 0));
	OK(cu.cuStreamEndCapture(s, &g));
	OK(cu.cuGraphInstantiateWithFlags(&x, g, 0));
	OK(cu.cuGraphLaunch(x, s));
	OK(cu.cuGraphExecDestroy(x));
	OK(cu.cuGraphDestroy(g));
}

/* A capture of any mode is not disturbed by what another thread launches, nor by who submits that. */
static void captured_beside(void)
{
	uint32_t mem[WORDS];
	pthread_t t;
	CUstream s;

	OK(cu.cuStreamCreate(&s, 1));
	OK(cu.cuStreamCreate(&beside.stream, 1));
	OK(cu.cuMemAlloc_v2(&beside.p, WORDS * 4));
	OK(cu.cuCtxSynchronize());
	CHECK(!pthread_create(&t, NULL, launch_beside, NULL));
	for (int i = 0; i < CAPTURES; i++)
		capture_two(s, i % 3);
	beside.over = true;
	pthread_join(t, NULL);
	OK(cu.cuCtxSynchronize());
	OK(cu.cuMemcpyDtoH_v2(mem, a, sizeof(mem)));
	for (int i = 0; i < WORDS; i++)
		CHECK_EQ(mem[i], expected(1, 0, 2 + 2 * CAPTURES));
}

static bool goes_straight(CUstream s)
{
	uint64_t direct = counter("cuda.direct");

	for (int i = 0; i < 3; i++)
		OK(launch(mix, a, s, WORDS, 0));
	return counter("cuda.direct") - direct == 3;
}

/* A capture is open until it ends: also when ending it fails, and however it is named. */
static void capture_open(void)
{
	api_cuStreamBeginCapture_v2 *begin_own =
		(api_cuStreamBeginCapture_v2 *)dlsym(api_driver, "cuStreamBeginCapture_v2_ptsz");
	CUstream s;
	CUgraph g;
	size_t nodes = 0;

	OK(cu.cuStreamCreate(&s, 1));
	OK(launch(mix, a, s, WORDS, 0));
	OK(cu.cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_RELAXED));
	CHECK(cu.cuStreamEndCapture(s, NULL));
	for (int i = 0; i < 5; i++)
		OK(launch(mix, a, s, WORDS, 0));
	OK(cu.cuStreamEndCapture(s, &g));
	OK(cu.cuGraphGetNodes(g, NULL, &nodes));
	CHECK_EQ(nodes, 5);
	OK(cu.cuGraphDestroy(g));
	OK(begin_own(NULL, CU_STREAM_CAPTURE_RELAXED));
	OK(cu.cuStreamEndCapture(CU_STREAM_PER_THREAD, &g));
	OK(launch(mix, a, NULL, WORDS, 0));
	CHECK(!goes_straight(NULL));
	OK(cu.cuStreamCreate(&s, 1));
	OK(cu.cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_RELAXED));
	OK(cu.cuCtxDestroy_v2(ctx));
	new_context(false);
	OK(launch(mix, a, NULL, WORDS, 0));
	CHECK(!goes_straight(NULL));
	OK(cu.cuCtxSynchronize());
}

static int queued[2];

/* By somebody else, who is told once there is work in the queue. */
static void killed(void)
{
	busy(NULL);
	for (int i = 0; i < 200; i++)
		OK(launch(mix, a, NULL, WORDS, 0));
	CHECK_EQ(write(queued[1], "", 1), 1);
	for (;;)
		pause();
}

static void kill_when_told(pid_t pid)
{
	char byte;

	if (read(queued[0], &byte, 1) == 1)
		kill(pid, SIGKILL);
}

static const struct {
	const char *name;
	void (*run)(void);
	int dies_by;
	bool undefined;
} cases[] = {
	{ "invalid", invalid, 0 },
	{ "freed", freed, 0 },
	{ "unloaded", unloaded, 0, true },
	{ "destroyed", destroyed, 0, true },
	{ "attribute", attribute, 0 },
	{ "attribute_by_kernel", attribute_by_kernel, 0 },
	{ "sticky", sticky, 0 },
	{ "thread_death", thread_death, 0 },
	{ "context_reset", context_reset, 0 },
	{ "device_reset", device_reset, 0, true },
	{ "unlocked", unlocked, 0 },
	{ "exit_without_sync", exit_without_sync, 0 },
	{ "forked", forked, 0 },
	{ "sticky_in_window", sticky_in_window, 0 },
	{ "holes", holes, 0 },
	{ "attribute_tail", attribute_tail, 0 },
	{ "priorities", priorities, 0 },
	{ "captured_beside", captured_beside, 0 },
	{ "capture_open", capture_open, 0 },
	{ "killed", killed, SIGKILL },
	{ "memory", memory, 0 },
};

static int run(unsigned i)
{
	fflush(stdout);
	CHECK(!pipe(queued));
	pid_t pid = fork();
	int status;

	if (!pid) {
		alarm(50);
		atexit(at_end); /* before the driver's and the library's: it runs after them */
		set_up();
		cases[i].run();
		exit(0);
	}
	close(queued[1]);
	if (cases[i].dies_by)
		kill_when_told(pid);
	close(queued[0]);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	int bad = cases[i].dies_by ? !WIFSIGNALED(status) || WTERMSIG(status) != cases[i].dies_by : status;
	printf("%s %x\n", cases[i].name, bad);
	return bad != 0;
}

int main(int argc, char **argv)
{
	bool defined = argc > 1 && !strcmp(argv[1], "defined");
	int bad = 0;

	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		if (argc < 2 || (defined ? !cases[i].undefined : !strcmp(argv[1], cases[i].name)))
			bad += run(i);
	return bad != 0;
}
