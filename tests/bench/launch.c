/*
 * Many tiny launches through the driver API: what a launch costs the calling thread, and how long a
 * round of them takes. One line of JSON on stdout. Runs bare, preloaded, on any device that a
 * libcuda.so.1 offers, the simulated one included (there only its counts mean anything).
 *
 * launch SHAPE LAUNCHES ROUNDS [WARM-UP ROUNDS]
 *   chain    one stream, each kernel needs the one before it
 *   marked   the same, with an event recorded after every hundred launches
 *   graph    the same chain, captured by hand as one CUDA graph
 *   streams  four streams that fork and join by events every 16 launches
 *   overlap  one stream works beside another, from some launches after the first to the last
 *   inner    a kernel of its own, then an inner loop again and again
 *   relay    eight streams that hand on by events, two of them with a kernel
 *   equal    one kernel again and again, nothing else: no launch differs from another
 *   rnn      steps of four kernels, a fill and a copy; pointers change from step to step
 */
#include "api.h"
#include "counters.h"
#include "kernels.h"

#include <stdbool.h>
#include <string.h>
#include <time.h>

#define WORDS 64
#define BYTES (WORDS * 4)
#define STREAMS 4
#define RELAY 8

static CUfunction mix, spin;
static CUdeviceptr buffer[STREAMS + 2];
static CUstream stream[RELAY];
static CUevent forked, joined[RELAY];
static CUgraphExec captured;

static uint64_t now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void launch(CUdeviceptr a, CUdeviceptr b, uint32_t c, CUstream s)
{
	uint32_t n = WORDS;
	void *params[] = { &a, &b, &c, &n };

	OK(cu.cuLaunchKernel(mix, 1, 1, 1, WORDS, 1, 1, 0, s, params, NULL));
}

/* Shapes that no shorter period explains: the constant and the buffers go their own ways. */
static void step(unsigned i, unsigned round, CUdeviceptr a, CUdeviceptr b, CUstream s)
{
	uint32_t x = (i + 1) * 2654435761u, n = WORDS, c = i + round * (i % 7 == 0);

	x = (x ^ x >> 15) * 2246822519u;
	unsigned block = 1 + (x >> 16) % 4, grid = 4 + (x >> 20) % 16;
	void *params[] = { &a, &b, &c, &n };

	OK(cu.cuLaunchKernel(mix, grid, 1, 1, WORDS / 4 * block, 1, 1, 0, s, params, NULL));
}

static void chain(unsigned launches, unsigned round)
{
	for (unsigned i = 0; i < launches; i++)
		step(i, round, buffer[i % 2], buffer[1 - i % 2], stream[0]);
}

static void relay(unsigned launches, unsigned round)
{
	for (unsigned i = 0; i < launches; i += 2)
		for (unsigned s = 0; s < RELAY; s++) {
			if (s == 1 || s == 2)
				launch(buffer[s - 1], buffer[2 - s], i, stream[s]);
			OK(cu.cuEventRecord(joined[s], stream[s]));
			OK(cu.cuStreamWaitEvent(stream[(s + 1) % RELAY], joined[s], 0));
		}
}

static void equal(unsigned launches, unsigned round)
{
	for (unsigned i = 0; i < launches; i++)
		launch(buffer[0], buffer[1], 1, stream[0]);
}

static void marked(unsigned launches, unsigned round)
{
	for (unsigned i = 0; i < launches; i++) {
		step(i, round, buffer[i % 2], buffer[1 - i % 2], stream[0]);
		if (i % 100 == 99)
			OK(cu.cuEventRecord(joined[i / 100 % STREAMS], stream[0]));
	}
}

static void capture(unsigned launches)
{
	CUgraph g;

	OK(cu.cuStreamBeginCapture_v2(stream[0], CU_STREAM_CAPTURE_RELAXED));
	chain(launches, 0);
	OK(cu.cuStreamEndCapture(stream[0], &g));
	OK(cu.cuGraphInstantiateWithFlags(&captured, g, 0));
}

static void graph(unsigned launches, unsigned round)
{
	OK(cu.cuGraphLaunch(captured, stream[0]));
}

static void streams(unsigned launches, unsigned round)
{
	for (unsigned i = 0; i < launches; i += 16 * STREAMS) {
		OK(cu.cuEventRecord(forked, stream[0]));
		for (unsigned s = 1; s < STREAMS; s++)
			OK(cu.cuStreamWaitEvent(stream[s], forked, 0));
		for (unsigned k = 0; k < 16 * STREAMS && i + k < launches; k++)
			launch(buffer[1 + k % STREAMS], buffer[0], i + k, stream[k % STREAMS]);
		for (unsigned s = 1; s < STREAMS; s++) {
			OK(cu.cuEventRecord(joined[s], stream[s]));
			OK(cu.cuStreamWaitEvent(stream[0], joined[s], 0));
		}
		launch(buffer[0], buffer[2], i, stream[0]);
	}
}

static void overlap(unsigned launches, unsigned round)
{
	unsigned fork = launches * 3 / 10, half = launches * 13 / 20;

	for (unsigned i = 0; i < fork; i++)
		step(i, round, buffer[0], buffer[3], stream[0]);
	OK(cu.cuEventRecord(forked, stream[0]));
	OK(cu.cuStreamWaitEvent(stream[1], forked, 0));
	for (unsigned i = fork; i < half; i++)
		step(i, round, buffer[1], buffer[2], stream[1]);
	for (unsigned i = half; i < launches; i++)
		step(i, round, buffer[0], buffer[3], stream[0]);
	OK(cu.cuEventRecord(joined[1], stream[1]));
	OK(cu.cuStreamWaitEvent(stream[0], joined[1], 0));
}

static void inner(unsigned launches, unsigned round)
{
	uint32_t times = 1 + round, n = WORDS;
	void *params[] = { &buffer[0], &times, &n };

	OK(cu.cuLaunchKernel(spin, 1, 1, 1, WORDS, 1, 1, 0, stream[0], params, NULL));
	for (unsigned i = 1; i < launches; i++)
		step(i % 37, round, buffer[i % 2], buffer[1 - i % 2], stream[0]);
}

static void rnn(unsigned launches, unsigned round)
{
	for (unsigned i = 0; i + 6 <= launches; i += 6) {
		CUdeviceptr in = buffer[i / 6 % 2], out = buffer[1 - i / 6 % 2];
		OK(cu.cuMemsetD32Async(buffer[2], i, WORDS, stream[0]));
		launch(buffer[2], in, i, stream[0]);
		launch(buffer[3], buffer[2], i, stream[0]);
		launch(buffer[2], buffer[3], i, stream[0]);
		launch(out, buffer[2], i + round, stream[0]);
		OK(cu.cuMemcpyDtoDAsync_v2(buffer[4], out, BYTES, stream[0]));
	}
}

static const struct shape {
	const char *name;
	void (*round)(unsigned launches, unsigned round);
} shapes[] = {
	{ "chain", chain },
	{ "marked", marked },
	{ "graph", graph },
	{ "streams", streams },
	{ "overlap", overlap },
	{ "inner", inner },
	{ "relay", relay },
	{ "equal", equal },
	{ "rnn", rnn },
};

static const struct shape *shape_named(const char *name)
{
	for (unsigned i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
		if (!strcmp(shapes[i].name, name))
			return &shapes[i];
	fprintf(stderr, "no shape %s\n", name);
	exit(2);
}

static CUdevice set_up(void)
{
	uint32_t zero[WORDS] = { 1 };
	CUdevice device;
	CUcontext ctx;
	void *module;

	if (api_load())
		exit(77);
	if (cu.cuInit(0) || cu.cuDeviceGet(&device, 0))
		exit(77);
	OK(cu.cuCtxCreate_v2(&ctx, 0, device));
	OK(cu.cuModuleLoadData(&module, kernels_ptx));
	OK(cu.cuModuleGetFunction(&mix, module, "mix"));
	OK(cu.cuModuleGetFunction(&spin, module, "spin"));
	for (unsigned i = 0; i < STREAMS + 2; i++) {
		OK(cu.cuMemAlloc_v2(&buffer[i], BYTES));
		OK(cu.cuMemcpyHtoD_v2(buffer[i], zero, BYTES));
	}
	for (unsigned i = 0; i < RELAY; i++) {
		OK(cu.cuStreamCreate(&stream[i], 1));
		OK(cu.cuEventCreate(&joined[i], 2));
	}
	OK(cu.cuEventCreate(&forked, 2));
	return device;
}

static uint64_t hash_of_memory(void)
{
	uint64_t h = 14695981039346656037u;
	uint32_t mem[WORDS];

	for (unsigned i = 0; i < STREAMS + 2; i++) {
		OK(cu.cuMemcpyDtoH_v2(mem, buffer[i], BYTES));
		for (unsigned k = 0; k < WORDS; k++)
			h = (h ^ mem[k]) * 1099511628211u;
	}
	return h;
}

struct figures {
	uint64_t issue_cpu, issue_wall, wall, submissions_last;
};

static void run(const struct shape *shape, unsigned launches, unsigned rounds, unsigned warm,
	struct figures *ret)
{
	*ret = (struct figures){ 0 };
	for (unsigned r = 0; r < warm + rounds; r++) {
		uint64_t sent = counter("cuda.submissions") + counter("cuda.direct");
		uint64_t wall = now(CLOCK_MONOTONIC), cpu = now(CLOCK_THREAD_CPUTIME_ID);
		shape->round(launches, r);
		uint64_t cpu_end = now(CLOCK_THREAD_CPUTIME_ID), issued = now(CLOCK_MONOTONIC);
		OK(cu.cuCtxSynchronize());
		ret->submissions_last = counter("cuda.submissions") + counter("cuda.direct") - sent;
		if (r < warm)
			continue;
		ret->issue_cpu += cpu_end - cpu;
		ret->issue_wall += issued - wall;
		ret->wall += now(CLOCK_MONOTONIC) - wall;
	}
}

int main(int argc, char **argv)
{
	if (argc < 4) {
		fprintf(stderr, "usage: launch SHAPE LAUNCHES ROUNDS [WARM-UP]\n");
		return 2;
	}
	const struct shape *shape = shape_named(argv[1]);
	unsigned launches = (unsigned)atoi(argv[2]), rounds = (unsigned)atoi(argv[3]);
	unsigned warm = argc > 4 ? (unsigned)atoi(argv[4]) : 0;
	char name[128] = "";
	struct figures f;
	int version;

	CUdevice device = set_up();
	OK(cu.cuDeviceGetName(name, sizeof(name), device));
	OK(cu.cuDriverGetVersion(&version));
	if (shape->round == graph)
		capture(launches);
	run(shape, launches, rounds, warm, &f);
	uint64_t all = (uint64_t)launches * (rounds ? rounds : 1);
	printf("{\"shape\": \"%s\", \"launches\": %u, \"rounds\": %u, \"device\": \"%s\", "
	       "\"driver\": %d, \"memory\": \"%016llx\", \"issue_cpu_ns\": %llu, "
	       "\"issue_wall_ns\": %llu, \"round_us\": %.1f, \"submissions_last_round\": %llu}\n",
		shape->name, launches, rounds, name, version, (unsigned long long)hash_of_memory(),
		(unsigned long long)(f.issue_cpu / all), (unsigned long long)(f.issue_wall / all),
		(double)f.wall / 1000 / (rounds ? rounds : 1), (unsigned long long)f.submissions_last);
	counters_print("cuda.");
	return 0;
}
