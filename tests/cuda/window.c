/*
 * 1,000 tiny launches that come back, on a driver that says the GPU is busy: after three repetitions
 * a window is at most ten submissions, runs the same kernels in the same order with the parameters
 * of that time, and a changed window costs at most one submission a launch, as few as before if it stays so. A loop of one kernel is a
 * window, too, but for one that is over after 64 launches. And each entry that
 * allocates gets the memory of our graphs before the program hears that there is none.
 */
#include "api.h"
#include "counters.h"
#include "driver.h"
#include "stub.h"

#include <string.h>

#define WINDOW 1000
#define CHANGING 5 /* every fifth launch has a parameter that changes each time */

static uint64_t want[WINDOW];
static unsigned function[WINDOW];

static void launch(unsigned i, uint64_t param, unsigned grid)
{
	int n = 7;
	void *params[] = { &param, &n };

	want[i] = param;
	OK(cu.cuLaunchKernel((CUfunction)(uintptr_t)(0x1000 + 16 * function[i]), grid, 1, 1, 32, 1, 1,
		0, NULL, params, NULL));
}

/* Submissions that one window took. */
static uint64_t window(unsigned round, unsigned changed, unsigned changed_grid)
{
	uint64_t before = counter("cuda.submissions") + counter("cuda.direct");

	stub.ran = stub.graphs = stub.updates = 0;
	for (unsigned i = 0; i < WINDOW; i++)
		launch(i, i % CHANGING ? i : i + ((uint64_t)round << 32), i == changed ? changed_grid : 1 + i % 3);
	OK(cu.cuCtxSynchronize());
	CHECK_EQ(stub.ran, WINDOW);
	CHECK(!memcmp(stub.param, want, sizeof(want)));
	return counter("cuda.submissions") + counter("cuda.direct") - before;
}

static void no_inner_loop(void)
{
	uint32_t x = 12345;

	for (unsigned i = 0; i < WINDOW; i++) {
		x = x * 1664525 + 1013904223;
		function[i] = (x >> 16) % 61;
	}
}

static void changed_for_good(void)
{
	for (unsigned i = 0; i < WINDOW; i += 4)
		function[i] += 100;
}

/* The finder may then follow the inner loop and lose its place where the window ends. */
static void inner_loop(void)
{
	for (unsigned i = 0; i < WINDOW; i++)
		function[i] = i % 37;
}

/* No memory for a launch: the graphs make room, and the launch is made again. */
static void short_of_memory(unsigned round)
{
	uint64_t n = 0;

	CHECK_EQ(counter("cuda.given_back"), 0);
	stub.fail_launch = CUDA_ERROR_OUT_OF_MEMORY;
	CHECK(window(round, WINDOW, 0) <= WINDOW);
	CHECK_EQ(stub.fail_launch, 0);
	CHECK_EQ(counter("cuda.given_back"), 1);
	for (unsigned i = 1; i < 4; i++)
		n = window(round + i, WINDOW, 0);
	CHECK(n <= 10);
}

/* The same of a kernel's first launch, which may be the one that needs a larger stack. */
static void short_of_memory_at_once(void)
{
	uint64_t before = counter("cuda.given_back"), param = 1;
	int n = 7;
	void *params[] = { &param, &n };

	stub.fail_launch = CUDA_ERROR_OUT_OF_MEMORY;
	OK(cu.cuLaunchKernel((CUfunction)0x9000, 1, 1, 1, 32, 1, 1, 0, NULL, params, NULL));
	CHECK_EQ(counter("cuda.given_back"), before + 1);
}

/* The driver takes a graph and then will not launch it: one by one its launches go all the same. */
static void graph_refused(unsigned round)
{
	stub.fail_graph = CUDA_ERROR_OUT_OF_MEMORY;
	CHECK(window(round, WINDOW, 0) <= WINDOW);
	CHECK_EQ(stub.fail_graph, 0);
}

/* The GPU, idle when the window begins, has its first launches at once, and more while it is at them. */
static void chunks_grow(void)
{
	CHECK(stub.graphs > 1 && stub.graphs < STUB_GRAPHS);
	for (unsigned i = 0; i < stub.graphs; i++)
		CHECK(stub.graph_size[i] <= 2u << i);
}

/* Graphs that take longer than their launches are left alone in the end. */
static void slow_graphs(void)
{
	uint64_t n = 0;
	unsigned i = 0;

	stub.graph_us = 3000;
	for (; i < 60 && (i < 8 || n < WINDOW); i++)
		n = window(i, WINDOW, 0);
	printf("slow graphs: %llu submissions after %u windows\n", (unsigned long long)n, i);
	uint64_t graphs = counter("cuda.graph_launches");
	CHECK(graphs > 0);
	CHECK(n >= WINDOW);
	/* Of this window alone: those of another are tried as ever. */
	stub.graph_us = 0;
	for (i = 0; i < WINDOW; i++)
		function[i] += WINDOW;
	for (i = 60; i < 66; i++)
		window(i, WINDOW, 0);
	CHECK(counter("cuda.graph_launches") > graphs);
}

static void fast_graphs(void)
{
	for (unsigned i = 0; i < 3; i++)
		CHECK(window(i, WINDOW, 0) <= WINDOW);
	for (unsigned i = 3; i < 8; i++) {
		uint64_t n = window(i, WINDOW, 0);
		printf("window %u: %llu submissions, %u nodes changed\n", i, (unsigned long long)n, stub.updates);
		CHECK(n <= 10);
		CHECK(stub.updates <= WINDOW / CHANGING);
		CHECK(i == 3 || stub.updates > WINDOW / CHANGING * 9 / 10); /* but for what went before the first graph */
		chunks_grow();
	}
	CHECK(counter("cuda.graph_launches") >= 9 * 5);
	CHECK(window(8, 500, 9) <= WINDOW);
	CHECK(window(9, 500, 10) <= WINDOW);
	CHECK(window(10, WINDOW, 0) <= WINDOW);
	CHECK(window(11, WINDOW, 0) <= WINDOW);
	uint64_t n = window(12, WINDOW, 0);
	printf("after changes: %llu submissions\n", (unsigned long long)n);
	CHECK(n <= 10);
	short_of_memory(13);
	short_of_memory_at_once();
	graph_refused(17);
	changed_for_good();
	for (unsigned i = 30; i < 38; i++)
		n = window(i, WINDOW, 0);
	printf("with a quarter changed for good: %llu submissions\n", (unsigned long long)n);
	CHECK(n <= 20);
	inner_loop();
	for (unsigned i = 18; i < 25; i++)
		n = window(i, WINDOW, 0);
	printf("with an inner loop: %llu submissions\n", (unsigned long long)n);
	CHECK(n <= 100);
	CHECK_EQ(counter("cuda.late_errors"), 0);
}

/* Submissions that a loop of a kernel takes which was never launched before. */
static uint64_t loop(unsigned launches)
{
	static unsigned kernel = 1000;
	uint64_t before = counter("cuda.submissions") + counter("cuda.direct");

	kernel++;
	stub.ran = stub.graphs = 0;
	for (unsigned i = 0; i < launches; i++) {
		function[i] = kernel;
		launch(i, i, 1);
	}
	OK(cu.cuCtxSynchronize());
	CHECK_EQ(stub.ran, launches);
	CHECK(!memcmp(stub.param, want, launches * sizeof(*want)));
	return counter("cuda.submissions") + counter("cuda.direct") - before;
}

static void loops(void)
{
	for (unsigned i = 0; i < 10; i++) {
		CHECK_EQ(loop(64), 64);
		CHECK_EQ(stub.graphs, 0);
	}
	uint64_t n = loop(WINDOW);
	printf("a loop of %d: %llu submissions\n", WINDOW, (unsigned long long)n);
	CHECK(n <= 80);
	CHECK(stub.graphs > 0);
}

typedef CUresult any_fn(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);

/* Called once before, after a launch: what sets a limit to another value ends our graphs by that alone. */
static void allocation(unsigned row, unsigned round)
{
	static uint64_t memory[2048], nothing[2048];
	any_fn *entry = (any_fn *)dlsym(api_driver, cuda_rows[row].name);
	uint64_t before;

	printf("%s finds no memory\n", cuda_rows[row].name);
	memset(memory, 0, sizeof(memory));
	window(round, WINDOW, 0);
	OK(entry((uintptr_t)memory, (uintptr_t)nothing, 4096, 0, 0, 0));
	for (unsigned i = 1; i < 6; i++)
		window(round + i, WINDOW, 0);
	before = counter("cuda.given_back");
	stub.short_row = (int)row + 1;
	memset(memory, 0, sizeof(memory));
	OK(entry((uintptr_t)memory, (uintptr_t)nothing, 4096, 0, 0, 0));
	CHECK_EQ(stub.short_row, 0);
	CHECK_EQ(counter("cuda.given_back"), before + 1);
}

/* What takes device memory: memory itself, contexts, code, graphs, streams, page tables, the stacks of a launch. */
static const unsigned allocating[] = {
	ROW_cuCtxCreate, ROW_cuCtxCreate_v2, ROW_cuCtxCreate_v3, ROW_cuCtxCreate_v4,
	ROW_cuCtxSetLimit, ROW_cuDevicePrimaryCtxRetain, ROW_cuFuncLoad, ROW_cuKernelGetFunction,
	ROW_cuLaunch, ROW_cuLaunchCooperativeKernel, ROW_cuLaunchCooperativeKernel_ptsz,
	ROW_cuLaunchCooperativeKernelMultiDevice, ROW_cuLaunchGrid, ROW_cuLaunchGridAsync,
	ROW_cuLibraryGetGlobal, ROW_cuLibraryGetManaged, ROW_cuLibraryLoadData,
	ROW_cuLibraryLoadFromFile, ROW_cuModuleGetFunction, ROW_cuModuleGetGlobal,
	ROW_cuModuleGetGlobal_v2, ROW_cuModuleLoad, ROW_cuModuleLoadData, ROW_cuModuleLoadDataEx,
	ROW_cuModuleLoadFatBinary, ROW_cuMemAlloc, ROW_cuMemAlloc_v2, ROW_cuMemAllocAsync,
	ROW_cuMemAllocAsync_ptsz, ROW_cuMemAllocFromPoolAsync, ROW_cuMemAllocFromPoolAsync_ptsz,
	ROW_cuMemAllocHost, ROW_cuMemAllocHost_v2, ROW_cuMemAllocManaged, ROW_cuMemAllocPitch,
	ROW_cuMemAllocPitch_v2, ROW_cuMemCreate, ROW_cuMemHostAlloc, ROW_cuMemHostRegister,
	ROW_cuMemHostRegister_v2, ROW_cuMemMap, ROW_cuMemPoolCreate, ROW_cuMemSetAccess,
	ROW_cuEventCreate, ROW_cuStreamCreate, ROW_cuStreamCreateWithPriority,
	ROW_cuGraphExecUpdate, ROW_cuGraphExecUpdate_v2, ROW_cuGraphInstantiate,
	ROW_cuGraphInstantiate_v2, ROW_cuGraphInstantiateWithFlags,
	ROW_cuGraphInstantiateWithParams, ROW_cuGraphInstantiateWithParams_ptsz, ROW_cuGraphLaunch,
	ROW_cuGraphLaunch_ptsz, ROW_cuGraphUpload, ROW_cuGraphUpload_ptsz, ROW_cuArray3DCreate,
	ROW_cuArray3DCreate_v2, ROW_cuArrayCreate, ROW_cuArrayCreate_v2,
	ROW_cuMipmappedArrayCreate,
};

#define ALLOCATING (sizeof(allocating) / sizeof(*allocating))

static bool is_listed(unsigned row)
{
	for (unsigned i = 0; i < ALLOCATING; i++)
		if (allocating[i] == row)
			return true;
	return false;
}

/* Of all that are listed, and of no other does the table say that it takes memory; or of the one named. */
static void allocations(const char *name)
{
	unsigned checked = 0;

	for (unsigned row = 0; row < ROW_COUNT; row++)
		CHECK(gpu_barrier_class[row] != BARRIER_ALLOC || is_listed(row));
	for (unsigned i = 0; i < ALLOCATING; i++)
		if (!name || !strcmp(name, cuda_rows[allocating[i]].name))
			allocation(allocating[i], 8 * checked++);
	printf("%u entries that allocate\n", checked);
	CHECK(checked > 0);
}

/*
 * What is searched seldom, because nothing came back for long, is a context's own affair: in the next one a window is
 * found as soon as ever.
 */
static void next_context(void)
{
	any_fn *destroy = (any_fn *)dlsym(api_driver, "cuCtxDestroy_v2");
	CUcontext ctx;
	uint64_t n = 0;

	for (unsigned i = 0; i < 200000; i++)
		launch(0, 1, 1000 + i);
	OK(cu.cuCtxGetCurrent(&ctx));
	OK(destroy((uintptr_t)ctx, 0, 0, 0, 0, 0));
	for (unsigned i = 0; i < 5; i++)
		n = window(i, WINDOW, 0);
	printf("in the next context: %llu submissions\n", (unsigned long long)n);
	CHECK(n <= 10);
}

/* Argument: adapt, with DLACCEL_CUDA_ADAPT on; alloc [ENTRY]; context. */
int main(int argc, char **argv)
{
	no_inner_loop();
	CHECK(!api_load());
	OK(cu.cuInit(0));
	stub.busy = 1;
	if (argc > 1 && !strcmp(argv[1], "alloc"))
		allocations(argv[2]);
	else if (argc > 1 && !strcmp(argv[1], "context"))
		next_context();
	else if (argc > 1)
		slow_graphs();
	else
		fast_graphs();
	if (argc == 1)
		loops();
	return 0;
}
