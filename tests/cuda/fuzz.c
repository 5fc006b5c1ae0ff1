/*
 * Random programs over the driver API. Arguments: first seed, how many, and "valid" for programs without
 * calls that must fail: what a real driver makes of those is its own affair. Each seed is one program:
 * kernels, fills, copies, events, host functions, frees, captures, graphs, pools and mapped memory on
 * several streams and two contexts, its steps handed round among threads or run at once, some of it
 * repeated as training repeats its step, with calls that fail in between. It is correct by
 * construction: before two operations on different streams touch the same memory, one of the ways
 * that CUDA offers orders them. So its memory is the same however it is run, and what is printed for
 * each seed, made from memory and returned codes, must be the same bare and preloaded.
 */
#include "fuzz_more.h"

#define IN_A_CONTEXT 100 /* programs */

struct kind {
	void (*run)(int s);
	unsigned often;
};

static const struct kind kinds[] = {
	{ do_kernel, 40 },
	{ do_spin, 8 },
	{ do_fill, 10 },
	{ do_dtod, 8 },
	{ do_pinned, 10 },
	{ do_pageable, 8 },
	{ do_host, 3 },
	{ do_host_access, 4 },
	{ do_blocking_copy, 2 },
	{ do_realloc, 1 },
	{ do_capture, 2 },
	{ do_new_stream, 1 },
	{ do_wait, 3 },
	{ do_per_thread, 3 },
	{ do_pool, 2 },
	{ do_mapped, 1 },
	{ do_graph, 2 },
	{ do_wrong, 1 },
	{ do_second_context, 3 },
};

static void step(void)
{
	unsigned total = 0, pick;

	for (unsigned i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		total += kinds[i].often;
	pick = rnd(total);
	for (unsigned i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		if (pick < kinds[i].often) {
			kinds[i].run((int)rnd(STREAMS));
			return;
		}
		pick -= kinds[i].often;
	}
}

/* A step of training: the same launches in the same order, again and again. */
static void loop(void)
{
	uint64_t seed = p.random;
	uint32_t body = 5 + rnd(60), rounds = 10 + rnd(40);
	int s = (int)rnd(STREAMS);

	for (uint32_t r = 0; r < rounds; r++) {
		p.random = seed;
		for (uint32_t i = 0; i < body; i++) {
			do_kernel(s);
			if (i % 13 == 12)
				do_fill(s);
		}
		if (rounds & 1)
			OK(cu.cuStreamSynchronize(p.stream[s]));
	}
}

struct planned {
	void (*run)(int s);
	int stream;
	uint64_t seed;
};

/* What a step of a loop may do on its streams without the host. */
static void plan_steps(struct planned *ret, uint32_t n, const int *stream, uint32_t streams)
{
	static void (*const ops[])(int) = { do_kernel, do_kernel, do_kernel, do_fill, do_dtod, do_pinned,
		do_host };

	for (uint32_t i = 0; i < n; i++)
		ret[i] = (struct planned){ ops[rnd(sizeof(ops) / sizeof(*ops))],
			stream[rnd(streams)], (uint64_t)rnd(1u << 30) << 20 | 1 };
}

/* A step of training on several streams: one forks, all work, it joins them again. */
static void forked_loop(void)
{
	struct planned body[40];
	int stream[STREAMS];
	uint32_t streams = 2 + rnd(3), n = 5 + rnd(36), rounds = 8 + rnd(24), first = rnd(4);

	for (uint32_t i = 0; i < streams; i++)
		stream[i] = 1 + (int)((first + i) % 4);
	plan_steps(body, n, stream, streams);
	p.in_loop = true;
	for (uint32_t r = 0; r < rounds; r++) {
		for (uint32_t i = 1; i < streams; i++)
			by_event(stream[0], stream[i]);
		for (uint32_t i = 0; i < n; i++) {
			p.random = body[i].seed;
			body[i].run(body[i].stream);
		}
		if (r % 5 == 4)
			new_event();
		for (uint32_t i = 1; i < streams; i++)
			by_event(stream[i], stream[0]);
		if (rounds & 1) {
			OK(cu.cuStreamSynchronize(p.stream[stream[0]]));
			host_waited_for(stream[0]);
		}
	}
	p.in_loop = false;
}

/* ---- one program ---- */

static void set_up(uint64_t seed)
{
	uint32_t mem[WORDS];

	memset(&p, 0, sizeof(p));
	p.random = seed * 0x9e3779b97f4a7c15u + 1;
	p.hash = 14695981039346656037u;
	p.blocking[0] = true;
	p.stream[0] = rnd(2) ? NULL : CU_STREAM_LEGACY;
	for (int s = 1; s < STREAMS; s++) {
		p.blocking[s] = rnd(2);
		new_stream(s);
	}
	for (int i = 0; i < EVENTS && cu.cuEventCreate; i++)
		OK(cu.cuEventCreate(&p.event[i], 2));
	for (int i = 0; i < BUFFERS; i++) {
		for (int k = 0; k < WORDS; k++)
			mem[k] = rnd(1u << 30);
		OK(cu.cuMemAlloc_v2(&p.buffer[i], BYTES));
		OK(cu.cuMemcpyHtoD_v2(p.buffer[i], mem, BYTES));
	}
	for (int i = 0; i < PINNED; i++) {
		OK(cu.cuMemHostAlloc((void **)&p.pinned[i], BYTES, 0));
		for (int k = 0; k < WORDS; k++)
			p.pinned[i][k] = rnd(1u << 30);
	}
	sync_all();
}

static void tear_down(void)
{
	uint32_t mem[WORDS];

	for (int i = 0; i < BUFFERS; i++) {
		sync_all();
		OK(cu.cuMemcpyDtoH_v2(mem, p.buffer[i], BYTES));
		absorb(mem, BYTES);
		OK(cu.cuMemFree_v2(p.buffer[i]));
	}
	for (int i = 0; i < PINNED; i++) {
		absorb(p.pinned[i], BYTES);
		OK(cu.cuMemFreeHost(p.pinned[i]));
	}
	for (int i = 0; i < EVENTS && cu.cuEventCreate; i++)
		OK(cu.cuEventDestroy_v2(p.event[i]));
	for (int s = 1; s < STREAMS; s++)
		OK(cu.cuStreamDestroy_v2(p.stream[s]));
}

/* The steps go round among threads, one after another: the order of the calls is the program's. */
static sem_t turn[THREADS];
static uint32_t steps_left;
static CUcontext context;

static void *walker(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg;

	OK(cu.cuCtxSetCurrent(context));
	for (;;) {
		sem_wait(&turn[me]);
		if (!steps_left) {
			sem_post(&turn[(me + 1) % THREADS]);
			return NULL;
		}
		for (uint32_t n = 1 + rnd(6); n && steps_left; n--, steps_left--)
			step();
		sem_post(&turn[(me + 1) % THREADS]);
	}
}

static void on_threads(uint32_t steps)
{
	pthread_t t[THREADS];

	steps_left = steps;
	for (unsigned i = 0; i < THREADS; i++)
		sem_init(&turn[i], 0, i == 0);
	for (unsigned i = 0; i < THREADS; i++)
		CHECK(!pthread_create(&t[i], NULL, walker, (void *)(uintptr_t)i));
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
}

static void program(uint64_t seed)
{
	set_up(seed);
	uint32_t steps = 10 + rnd(60);
	if (!rnd(8))
		on_threads(steps);
	else
		for (uint32_t i = 0; i < steps; i++)
			step();
	switch (rnd(16)) {
	case 0:
		loop();
		break;
	case 1:
		forked_loop();
		break;
	case 2:
		at_once(context);
	}
	tear_down();
	printf("%llu %016llx\n", (unsigned long long)seed, (unsigned long long)p.hash);
}

static void contexts_begin(CUdevice device)
{
	void *module;

	OK(cu.cuCtxCreate_v2(&context, 0, device));
	OK(cu.cuModuleLoadData(&module, kernels_ptx));
	OK(cu.cuModuleGetFunction(&mix, module, "mix"));
	OK(cu.cuModuleGetFunction(&spin, module, "spin"));
	second_set_up(device, context);
}

static void contexts_end(void)
{
	OK(cu.cuCtxDestroy_v2(second.ctx));
	OK(cu.cuCtxDestroy_v2(context));
}

int main(int argc, char **argv)
{
	uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
	uint64_t n = argc > 2 ? strtoull(argv[2], NULL, 0) : 100;
	CUdevice device;

	only_valid = argc > 3 && !strcmp(argv[3], "valid");
	CHECK(!api_load());
	OK(cu.cuInit(0));
	OK(cu.cuDeviceGet(&device, 0));
	contexts_begin(device);
	for (uint64_t i = 0; i < n; i++) {
		/* What comes back is looked for less and less in random programs, but in each context anew. */
		if (i && i % IN_A_CONTEXT == 0) {
			contexts_end();
			contexts_begin(device);
		}
		program(first + i);
	}
	contexts_end();
	counters_print("cuda.");
	return 0;
}
