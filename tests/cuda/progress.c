/*
 * Nothing that is queued may wait for a call that the program does not make: here a kernel waits for
 * one that is launched behind it in another stream, and the host looks at memory until the first has
 * ended; in a step that comes back, so that the launch they wait for begins the next part of a window.
 * Argument "forked": a stream waits for what its neighbour does in a step in which both take part. "late": the same,
 * by another thread's call, which comes to the driver only when the stream has been joined.
 */
#include "api.h"
#include "counters.h"
#include "kernels.h"

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#define WORDS 64
#define STEPS 40
#define LAYERS 40
#define STEPS_MOST 4000 /* a machine that holds us up long enough sees every chunk sent before it is full */
#define LIMIT_S 100 /* reached only if something waits for good */

static CUfunction mix, publish, await;
static CUdeviceptr buffer[2];
static CUstream stream[2];
static CUevent fork_event, join_event;
static CUcontext ctx;
static uint32_t *told; /* what a kernel waits for, and what the host looks at */

static void set_up(void)
{
	CUdevice device;
	void *module;

	CHECK(!api_load());
	OK(cu.cuInit(0));
	OK(cu.cuDeviceGet(&device, 0));
	OK(cu.cuCtxCreate_v2(&ctx, 0, device));
	OK(cu.cuModuleLoadData(&module, kernels_ptx));
	OK(cu.cuModuleGetFunction(&mix, module, "mix"));
	OK(cu.cuModuleGetFunction(&publish, module, "publish"));
	OK(cu.cuModuleGetFunction(&await, module, "await"));
	OK(cu.cuMemHostAlloc((void **)&told, 2 * sizeof(*told), 0));
	memset(told, 0, 2 * sizeof(*told));
	for (int i = 0; i < 2; i++) {
		OK(cu.cuMemAlloc_v2(&buffer[i], WORDS * 4));
		OK(cu.cuMemsetD32Async(buffer[i], 1, WORDS, NULL));
		OK(cu.cuStreamCreate(&stream[i], 1));
	}
	OK(cu.cuEventCreate(&fork_event, CU_EVENT_DISABLE_TIMING));
	OK(cu.cuEventCreate(&join_event, CU_EVENT_DISABLE_TIMING));
	OK(cu.cuCtxSynchronize());
}

/* Different ones, for a step that no shorter period explains. */
static void few_layers(uint32_t count, CUstream s, uint32_t to)
{
	uint32_t c = 1, n = WORDS;
	void *params[] = { &buffer[to], &buffer[1 - to], &c, &n };

	for (uint32_t i = 0; i < count; i++) {
		uint32_t x = (i + 1 + 1000 * to) * 2654435761u;
		x = (x ^ x >> 15) * 2246822519u;
		OK(cu.cuLaunchKernel(mix, 1 + (x >> 20) % 16, 1, 1, WORDS, 1, 1, 0, s, params, NULL));
	}
}

static void layers(CUstream s)
{
	few_layers(LAYERS, s, 0);
}

static void signal_kernel(CUfunction f, uint32_t *word, uint32_t value, CUstream s)
{
	void *params[] = { &word, &value };

	OK(cu.cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, s, params, NULL));
}

static void look_until(const uint32_t *word, uint32_t value)
{
	while (__atomic_load_n(word, __ATOMIC_ACQUIRE) != value)
		sched_yield();
}

/* The host makes no call of the driver's while it looks. */
static void step(uint32_t round)
{
	layers(stream[0]);
	signal_kernel(await, &told[0], round, stream[1]);
	signal_kernel(publish, &told[1], round, stream[1]);
	signal_kernel(publish, &told[0], round, stream[0]);
	look_until(&told[1], round);
}

/* The second stream goes on behind what the first has to do, and the first behind the second. */
static void fork_off(void)
{
	OK(cu.cuEventRecord(fork_event, stream[0]));
	OK(cu.cuStreamWaitEvent(stream[1], fork_event, 0));
}

static void join_in(void)
{
	OK(cu.cuEventRecord(join_event, stream[1]));
	OK(cu.cuStreamWaitEvent(stream[0], join_event, 0));
}

/*
 * The second stream waits for memory that a kernel of the first writes, and later comes in behind that
 * kernel: a graph of both that comes behind all that the second has to do would wait for itself.
 */
static void forked_step(uint32_t round)
{
	OK(cu.cuStreamWaitValue32_v2(stream[1], (uintptr_t)&told[0], round, 0));
	few_layers(6, stream[0], 0);
	signal_kernel(publish, &told[0], round, stream[0]);
	few_layers(20, stream[0], 0);
	fork_off();
	few_layers(10, stream[1], 1);
	join_in();
	few_layers(10, stream[0], 0);
}

static int forked(void)
{
	set_up();
	for (uint32_t round = 1; round <= STEPS; round++)
		forked_step(round);
	OK(cu.cuCtxSynchronize());
	return 0;
}

/*
 * Handed over one by one: they tell the stream's neighbour that it may be waited for. The first is busy until the host
 * has made all calls of the step, so that what follows waits for the rest of its chunk.
 */
static void first_join(uint32_t round)
{
	signal_kernel(await, &told[1], round, stream[0]);
	join_in();
}

/* So far behind the join that the two are not taken for one; what is published goes out with the fork. */
static void publishing_fork(uint32_t round)
{
	few_layers(140, stream[0], 0);
	fork_off();
	few_layers(10, stream[1], 1);
	signal_kernel(publish, &told[0], round, stream[0]);
	few_layers(4, stream[0], 0);
	join_in();
	few_layers(10, stream[0], 0);
}

typedef int late_fn(void);

static int by_driver(const char *name)
{
	late_fn *fn = (late_fn *)dlsym(api_driver, name);

	CHECK(fn);
	return fn();
}

/* A call that the queue does not know yet, as each thread of a program makes one. */
static void *other_caller(void *arg)
{
	const uint32_t *round = arg;

	OK(cu.cuCtxSetCurrent(ctx));
	if (!*round) {
		few_layers(1, stream[0], 0);
		return NULL;
	}
	by_driver("simcuda_be_late");
	OK(cu.cuStreamWaitValue32_v2(stream[1], (uintptr_t)&told[0], *round, 0));
	return NULL;
}

static void wait_until_late(void)
{
	while (!by_driver("simcuda_is_late"))
		sched_yield();
}

/* The driver has them, without a call that would be noticed as one past the queue. */
static void wait_for_submissions(uint64_t n)
{
	while (counter("cuda.submissions") < n)
		sched_yield();
}

static void end_of_step(uint32_t round)
{
	__atomic_store_n(&told[1], round, __ATOMIC_RELEASE);
	OK(cu.cuCtxSynchronize());
}

/* While it is on its way, it may come to the stream at any moment: nothing goes out that would wait for that. */
static void late_step(uint32_t round, bool arrives)
{
	uint64_t before = counter("cuda.submissions"), forked_before = counter("cuda.forked");
	pthread_t t;

	CHECK(!pthread_create(&t, NULL, other_caller, &round));
	wait_until_late();
	first_join(round);
	if (counter("cuda.launches"))
		wait_for_submissions(before + 3);
	if (arrives) {
		by_driver("simcuda_go_on");
		pthread_join(t, NULL);
	}
	publishing_fork(round);
	end_of_step(round);
	CHECK_EQ(counter("cuda.forked"), forked_before);
	if (!arrives) {
		by_driver("simcuda_go_on");
		pthread_join(t, NULL);
	}
}

static int late(void)
{
	uint32_t none = 0, round = 1;
	pthread_t t;

	set_up();
	CHECK(!pthread_create(&t, NULL, other_caller, &none));
	pthread_join(t, NULL);
	for (; round <= STEPS; round++) {
		first_join(round);
		publishing_fork(round);
		end_of_step(round);
	}
	if (getenv("WANT_GRAPHS"))
		CHECK(counter("cuda.forked") > 5);
	for (; round <= STEPS + 6; round++)
		late_step(round, round % 2);
	return 0;
}

static int in_graphs(void)
{
	return counter("cuda.batched") > STEPS;
}

int main(int argc, char **argv)
{
	uint32_t mem[WORDS], v = 1, steps = STEPS;

	alarm(LIMIT_S);
	if (argc > 1)
		return strcmp(argv[1], "late") ? forked() : late();
	set_up();
	for (uint32_t round = 1; round <= steps; round++) {
		step(round);
		if (round == steps && getenv("WANT_GRAPHS") && !in_graphs() && steps < STEPS_MOST)
			steps++;
	}
	OK(cu.cuCtxSynchronize());
	OK(cu.cuMemcpyDtoH_v2(mem, buffer[0], sizeof(mem)));
	for (uint32_t i = 0; i < steps * LAYERS; i++)
		v = v * 3 + 1 + 1;
	for (int i = 0; i < WORDS; i++)
		CHECK_EQ(mem[i], v);
	if (getenv("WANT_GRAPHS"))
		CHECK(in_graphs());
	counters_print("cuda.");
	return 0;
}
