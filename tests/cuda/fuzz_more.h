/*
 * The less common ways: per-thread streams, memory from pools and from mapped addresses, graphs whose
 * parameters are set anew, calls that fail, a second context, threads that really run at once.
 */
#pragma once
#include "fuzz_ops.h"

#define LOOPS 30
#define GRANULE ((size_t)2 << 20)

/* The calling thread's own stream: in the place of an operation on s, before and behind which it comes. */
static void do_per_thread(int s)
{
	CUevent before = p.event[p.next_event++ % EVENTS], behind = p.event[p.next_event++ % EVENTS];
	int a = (int)rnd(BUFFERS), b = (a + 1 + (int)rnd(BUFFERS - 1)) % BUFFERS;

	order(s, a, true);
	order(s, b, false);
	OK(cu.cuEventRecord(before, p.stream[s]));
	OK(cu.cuStreamWaitEvent(CU_STREAM_PER_THREAD, before, 0));
	mix_on(CU_STREAM_PER_THREAD, p.buffer[a], p.buffer[b], rnd(WORDS));
	OK(cu.cuEventRecord(behind, CU_STREAM_PER_THREAD));
	OK(cu.cuStreamWaitEvent(p.stream[s], behind, 0));
	touched(s, a, true);
	touched(s, b, false);
	p.count[s]++;
}

/* Memory that lives in the order of a stream, and is given out again in it. */
static void do_pool(int s)
{
	int a = (int)rnd(BUFFERS);
	CUdeviceptr q;

	if (!cu.cuMemAllocAsync)
		return;
	order(s, a, true);
	OK(cu.cuMemAllocAsync(&q, BYTES, p.stream[s]));
	OK(cu.cuMemsetD32Async(q, rnd(1u << 30), WORDS, p.stream[s]));
	mix_on(p.stream[s], q, p.buffer[a], rnd(WORDS));
	mix_on(p.stream[s], p.buffer[a], q, rnd(WORDS));
	OK(cu.cuMemFreeAsync(q, p.stream[s]));
	touched(s, a, true);
	p.count[s]++;
}

static void map(CUdeviceptr *ret_p, uint64_t *ret_handle)
{
	struct {
		int type, handles, location, id;
		void *unused;
		unsigned char flags[8];
	} prop = { .type = 1, .location = 1 };
	struct {
		int location, id, flags;
	} access = { 1, 0, 3 };

	OK(cu.cuMemAddressReserve(ret_p, GRANULE, 0, 0, 0));
	OK(cu.cuMemCreate(ret_handle, GRANULE, &prop, 0));
	OK(cu.cuMemMap(*ret_p, GRANULE, 0, *ret_handle, 0));
	OK(cu.cuMemSetAccess(*ret_p, GRANULE, &access, 1));
}

/* Unmapped as soon as everything has ended that used it. */
static void do_mapped(int s)
{
	int a = (int)rnd(BUFFERS);
	uint64_t handle;
	CUdeviceptr q;

	if (!cu.cuMemAddressReserve)
		return;
	map(&q, &handle);
	order(s, a, true);
	OK(cu.cuMemsetD32Async(q, rnd(1u << 30), WORDS, p.stream[s]));
	OK(cu.cuMemcpyDtoDAsync_v2(q + BYTES, p.buffer[a], BYTES, p.stream[s]));
	mix_on(p.stream[s], p.buffer[a], q, 2);
	mix_on(p.stream[s], p.buffer[a], q + BYTES, 3);
	touched(s, a, true);
	p.count[s]++;
	sync_all();
	OK(cu.cuMemUnmap(q, GRANULE));
	OK(cu.cuMemRelease(handle));
	OK(cu.cuMemAddressFree(q, GRANULE));
}

static void set_node(struct cuda_kernel_node *node, void **params)
{
	*node = (struct cuda_kernel_node){ .func = mix, .grid = { 2, 1, 1 }, .block = { WORDS / 2, 1, 1 },
		.params = params };
}

/* A graph that the program builds itself, launched between changes of its parameters. */
static void do_graph(int s)
{
	int a = (int)rnd(BUFFERS), b = (a + 1 + (int)rnd(BUFFERS - 1)) % BUFFERS;
	uint32_t c = rnd(WORDS), n = WORDS;
	void *params[] = { &p.buffer[a], &p.buffer[b], &c, &n };
	struct cuda_kernel_node node;
	CUgraphNode one, two;
	CUgraphExec x;
	CUgraph g;

	if (!cu.cuGraphAddKernelNode_v2 || !cu.cuGraphExecKernelNodeSetParams_v2)
		return;
	order(s, a, true);
	order(s, b, false);
	OK(cu.cuGraphCreate(&g, 0));
	set_node(&node, params);
	OK(cu.cuGraphAddKernelNode_v2(&one, g, NULL, 0, &node));
	OK(cu.cuGraphAddKernelNode_v2(&two, g, &one, 1, &node));
	OK(cu.cuGraphInstantiateWithFlags(&x, g, 0));
	for (uint32_t i = 1 + rnd(3); i; i--) {
		OK(cu.cuGraphLaunch(x, p.stream[s]));
		c = rnd(WORDS);
		OK(cu.cuGraphExecKernelNodeSetParams_v2(x, rnd(2) ? one : two, &node));
		launch_mix(s, a, b, rnd(WORDS));
	}
	touched(s, a, true);
	touched(s, b, false);
	p.count[s]++;
	OK(cu.cuGraphExecDestroy(x));
	OK(cu.cuGraphDestroy(g));
}

/* Calls that fail, and change nothing: which code comes from which of them is part of the result. */
static void do_wrong(int s)
{
	uint32_t c = 1, n = WORDS;
	void *params[] = { &p.buffer[0], &p.buffer[1], &c, &n };
	CUdeviceptr nowhere = p.buffer[0] + ((uint64_t)1 << 45);

	if (only_valid)
		return;
	CUresult r[] = {
		cu.cuLaunchKernel(mix, 1, 1, 1, 4096, 1, 1, 0, p.stream[s], params, NULL),
		cu.cuLaunchKernel(mix, 1, 1, 1, WORDS, 1, 1, 64 << 20, p.stream[s], params, NULL),
		cu.cuLaunchKernel(mix, 0, 1, 1, WORDS, 1, 1, 0, p.stream[s], params, NULL),
		cu.cuLaunchKernel(NULL, 1, 1, 1, WORDS, 1, 1, 0, p.stream[s], params, NULL),
		cu.cuMemsetD32Async(nowhere, 1, WORDS, p.stream[s]),
		cu.cuMemsetD32Async(p.buffer[0] + 1, 1, 1, p.stream[s]),
		cu.cuMemcpyDtoDAsync_v2(p.buffer[0], nowhere, BYTES, p.stream[s]),
		cu.cuStreamWaitEvent(p.stream[s], NULL, 0),
		cu.cuEventRecord(NULL, p.stream[s]),
		cu.cuMemFree_v2(nowhere),
	};

	for (unsigned i = 0; i < sizeof(r) / sizeof(*r); i++)
		CHECK(r[i]);
	absorb(r, sizeof(r));
}

/* ---- a second context: other memory, another queue, another device where there is one ---- */

static struct {
	CUcontext ctx;
	CUfunction mix;
	CUdeviceptr a, b;
	CUevent event;
} second;

static void second_set_up(CUdevice device, CUcontext first)
{
	uint32_t mem[WORDS];
	int devices = 1;
	void *module;

	for (uint32_t i = 0; i < WORDS; i++)
		mem[i] = i * 2654435761u;
	OK(cu.cuDeviceGetCount(&devices));
	if (devices > 1)
		OK(cu.cuDeviceGet(&device, 1));
	OK(cu.cuCtxCreate_v2(&second.ctx, 0, device));
	OK(cu.cuModuleLoadData(&module, kernels_ptx));
	OK(cu.cuModuleGetFunction(&second.mix, module, "mix"));
	OK(cu.cuMemAlloc_v2(&second.a, BYTES));
	OK(cu.cuMemAlloc_v2(&second.b, BYTES));
	OK(cu.cuMemcpyHtoD_v2(second.a, mem, BYTES));
	OK(cu.cuMemcpyHtoD_v2(second.b, mem, BYTES));
	OK(cu.cuEventCreate(&second.event, 2));
	OK(cu.cuCtxSetCurrent(first));
}

/* What it has made is copied by a stream of the first, for which it then waits: each by an event of the other. */
static void hand_over(int s)
{
	CUevent e = p.event[p.next_event++ % EVENTS];
	int a = (int)rnd(BUFFERS);
	CUcontext popped;

	OK(cu.cuEventRecord(second.event, NULL));
	OK(cu.cuCtxPopCurrent_v2(&popped));
	order(s, a, true);
	OK(cu.cuStreamWaitEvent(p.stream[s], second.event, 0));
	OK(cu.cuMemcpyDtoDAsync_v2(p.buffer[a], second.b, BYTES, p.stream[s]));
	touched(s, a, true);
	OK(cu.cuEventRecord(e, p.stream[s]));
	p.count[s] += 2;
	OK(cu.cuCtxPushCurrent_v2(second.ctx));
	OK(cu.cuStreamWaitEvent(NULL, e, 0));
}

static void do_second_context(int s)
{
	uint32_t c = rnd(WORDS), n = WORDS, mem[WORDS];
	void *params[] = { &second.a, &second.b, &c, &n };
	CUcontext popped;

	OK(cu.cuCtxPushCurrent_v2(second.ctx));
	for (uint32_t i = 1 + rnd(6); i; i--) {
		OK(cu.cuLaunchKernel(second.mix, 2, 1, 1, WORDS / 2, 1, 1, 0, NULL, params, NULL));
		c = rnd(WORDS);
	}
	OK(cu.cuMemcpyDtoDAsync_v2(second.b, second.a, BYTES, NULL));
	if (!rnd(3))
		hand_over(s);
	if (!rnd(3)) {
		OK(cu.cuMemcpyDtoH_v2(mem, second.a, BYTES));
		absorb(mem, BYTES);
	}
	OK(cu.cuCtxPopCurrent_v2(&popped));
}

/* ---- threads at once, each with memory and a stream of its own ---- */

struct worker {
	pthread_t thread;
	CUcontext ctx;
	CUstream stream;
	CUevent event;
	CUdeviceptr a, b;
	uint32_t mem[WORDS];
};

static void *work(void *arg)
{
	struct worker *w = arg;

	OK(cu.cuCtxSetCurrent(w->ctx));
	for (uint32_t i = 0; i < LOOPS; i++) {
		mix_on(w->stream, w->a, w->b, i);
		OK(cu.cuMemsetD32Async(w->b, i, WORDS / 2, w->stream));
		OK(cu.cuEventRecord(w->event, w->stream));
		OK(cu.cuStreamWaitEvent(CU_STREAM_PER_THREAD, w->event, 0));
		mix_on(CU_STREAM_PER_THREAD, w->a, w->b, i);
		OK(cu.cuEventRecord(w->event, CU_STREAM_PER_THREAD));
		OK(cu.cuStreamWaitEvent(w->stream, w->event, 0));
		if (i % 10 == 9)
			OK(cu.cuEventSynchronize(w->event));
	}
	OK(cu.cuMemcpyDtoHAsync_v2(w->mem, w->a, BYTES, w->stream));
	OK(cu.cuStreamSynchronize(w->stream));
	return NULL;
}

static void at_once(CUcontext ctx)
{
	struct worker w[THREADS];

	for (int i = 0; i < THREADS; i++) {
		w[i] = (struct worker){ .ctx = ctx };
		OK(cu.cuStreamCreate(&w[i].stream, i % 2));
		OK(cu.cuEventCreate(&w[i].event, 2));
		OK(cu.cuMemAlloc_v2(&w[i].a, BYTES));
		OK(cu.cuMemAlloc_v2(&w[i].b, BYTES));
		OK(cu.cuMemsetD32Async(w[i].a, rnd(1u << 30), WORDS, w[i].stream));
		OK(cu.cuMemsetD32Async(w[i].b, rnd(1u << 30), WORDS, w[i].stream));
	}
	for (int i = 0; i < THREADS; i++)
		CHECK(!pthread_create(&w[i].thread, NULL, work, &w[i]));
	for (int i = 0; i < THREADS; i++) {
		pthread_join(w[i].thread, NULL);
		absorb(w[i].mem, BYTES);
		OK(cu.cuMemFree_v2(w[i].a));
		OK(cu.cuMemFree_v2(w[i].b));
		OK(cu.cuEventDestroy_v2(w[i].event));
		OK(cu.cuStreamDestroy_v2(w[i].stream));
	}
}
