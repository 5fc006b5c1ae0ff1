/*
 * Random programs over the driver API. Arguments: first seed, how many. Each seed is one program:
 * kernels, fills, copies, events, host functions, frees and captures on several streams, its steps
 * handed round among threads, some of it repeated as training repeats its step. It is correct by
 * construction: before two operations on different streams touch the same memory, one of the ways
 * that CUDA offers orders them. So its memory is the same however it is run, and what is printed for
 * each seed must be the same bare and preloaded.
 */
#include "api.h"
#include "counters.h"
#include "kernels.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <string.h>
#include <sched.h>

#define WORDS 64
#define BYTES (WORDS * 4)
#define BUFFERS 5  /* on the device */
#define PINNED 3   /* page-locked: streams touch these, too */
#define SPACES (BUFFERS + PINNED)
#define STREAMS 5  /* legacy, explicit legacy is the same one, two blocking, one or two not */
#define THREADS 3
#define EVENTS 6

struct space {
	uint64_t write[STREAMS], read[STREAMS]; /* the stream's count at its last such operation */
};

static struct {
	uint64_t random;
	CUdeviceptr buffer[BUFFERS];
	uint32_t *pinned[PINNED];
	CUstream stream[STREAMS];
	bool blocking[STREAMS];
	uint64_t count[STREAMS];          /* operations so far */
	uint64_t known[STREAMS][STREAMS]; /* what of the others a stream's next operation comes after */
	uint64_t host[STREAMS];           /* what has surely ended */
	struct space space[SPACES];
	CUevent event[EVENTS];
	unsigned next_event;
	bool in_loop; /* there events order everything: the host waits for nothing */
	uint64_t hash;
} p;

static CUfunction mix, spin;

static uint32_t rnd(uint32_t n)
{
	p.random ^= p.random << 13;
	p.random ^= p.random >> 7;
	p.random ^= p.random << 17;
	return (uint32_t)(p.random >> 20) % n;
}

static void absorb(const void *data, size_t n)
{
	const unsigned char *c = data;

	for (size_t i = 0; i < n; i++)
		p.hash = (p.hash ^ c[i]) * 1099511628211u;
}

/* ---- what comes after what ---- */

static void join(uint64_t *into, const uint64_t *from)
{
	for (int t = 0; t < STREAMS; t++)
		if (into[t] < from[t])
			into[t] = from[t];
}

/* A stream knows its own past. */
static void past_of(int s, uint64_t *ret)
{
	memcpy(ret, p.known[s], sizeof(p.known[s]));
	ret[s] = p.count[s];
}

static void host_waited_for(int s)
{
	uint64_t past[STREAMS];

	past_of(s, past);
	join(p.host, past);
	for (int t = 0; t < STREAMS; t++)
		join(p.known[t], p.host);
}

static void by_event(int before, int after)
{
	CUevent e = p.event[p.next_event++ % EVENTS];
	uint64_t past[STREAMS];

	OK(cu.cuEventRecord(e, p.stream[before]));
	p.count[before]++;
	past_of(before, past);
	OK(cu.cuStreamWaitEvent(p.stream[after], e, 0));
	join(p.known[after], past);
}

/* Another one with, most likely, the same handle. */
static void new_event(void)
{
	CUevent *e = &p.event[p.next_event % EVENTS];

	OK(cu.cuEventDestroy_v2(*e));
	OK(cu.cuEventCreate(e, 2));
}

static void poll(int s)
{
	CUevent e = p.event[p.next_event++ % EVENTS];
	CUresult r;

	OK(cu.cuEventRecord(e, p.stream[s]));
	p.count[s]++;
	while ((r = cu.cuEventQuery(e)) == CUDA_ERROR_NOT_READY)
		sched_yield();
	OK(r);
	host_waited_for(s);
}

static void sync_all(void)
{
	OK(cu.cuCtxSynchronize());
	for (int s = 0; s < STREAMS; s++)
		host_waited_for(s);
}

static void wait_on_host(int s)
{
	CUevent e = p.event[p.next_event++ % EVENTS];

	switch (rnd(cu.cuEventRecord ? 4 : 2)) {
	case 0:
		OK(cu.cuStreamSynchronize(p.stream[s]));
		host_waited_for(s);
		return;
	case 1:
		sync_all();
		return;
	case 2:
		OK(cu.cuEventRecord(e, p.stream[s]));
		p.count[s]++;
		OK(cu.cuEventSynchronize(e));
		host_waited_for(s);
		return;
	default:
		poll(s);
	}
}

/* The legacy stream is ordered with every blocking one by itself. */
static void legacy_order(int s)
{
	uint64_t past[STREAMS];

	for (int t = 0; t < STREAMS; t++) {
		bool ordered = s == 0 ? t && p.blocking[t] : t == 0 && p.blocking[s];
		if (!ordered)
			continue;
		past_of(t, past);
		join(p.known[s], past);
	}
}

static bool conflicts(int s, int t, int i, bool writes)
{
	uint64_t last = p.space[i].write[t];

	if (writes && p.space[i].read[t] > last)
		last = p.space[i].read[t];
	return t != s && last > p.known[s][t];
}

static void order(int s, int i, bool writes)
{
	legacy_order(s);
	for (int t = 0; t < STREAMS; t++) {
		if (!conflicts(s, t, i, writes))
			continue;
		if (cu.cuEventRecord && (p.in_loop || rnd(4)))
			by_event(t, s);
		else
			wait_on_host(t);
	}
}

static void touched(int s, int i, bool writes)
{
	uint64_t *last = writes ? p.space[i].write : p.space[i].read;

	last[s] = p.count[s] + 1;
}

static bool host_may(int i, bool writes)
{
	for (int t = 0; t < STREAMS; t++)
		if (p.space[i].write[t] > p.host[t] || (writes && p.space[i].read[t] > p.host[t]))
			return false;
	return true;
}

static void order_host(int i, bool writes)
{
	for (int t = 0; t < STREAMS; t++)
		if (p.space[i].write[t] > p.host[t] || (writes && p.space[i].read[t] > p.host[t]))
			wait_on_host(t);
	CHECK(host_may(i, writes));
}

/* ---- operations ---- */

static void launch_mix(int s, int a, int b, uint32_t c)
{
	uint32_t n = WORDS;
	void *params[] = { &p.buffer[a], &p.buffer[b], &c, &n };
	struct {
		CUdeviceptr a, b;
		uint32_t c, n;
	} packed = { p.buffer[a], p.buffer[b], c, n };
	size_t bytes = sizeof(packed);
	void *extra[] = { CU_LAUNCH_PARAM_BUFFER_POINTER, &packed, CU_LAUNCH_PARAM_BUFFER_SIZE,
		&bytes, CU_LAUNCH_PARAM_END };
	bool buffer = c & 1;

	OK(cu.cuLaunchKernel(mix, 2, 1, 1, WORDS / 2, 1, 1, 0, p.stream[s],
		buffer ? NULL : params, buffer ? extra : NULL));
	/* The program's own memory is its own again. */
	memset(&packed, 0xee, sizeof(packed));
	c = n = 0xeeeeeeee;
}

static void kernel(int s, int a, int b)
{
	order(s, a, true);
	order(s, b, false);
	launch_mix(s, a, b, rnd(WORDS));
	touched(s, a, true);
	touched(s, b, false);
	p.count[s]++;
}

static void do_kernel(int s)
{
	int a = (int)rnd(BUFFERS), b = (a + 1 + (int)rnd(BUFFERS - 1)) % BUFFERS;

	kernel(s, a, b);
}

static void do_spin(int s)
{
	int a = (int)rnd(BUFFERS);
	uint32_t times = 1 + rnd(200), n = WORDS;
	void *params[] = { &p.buffer[a], &times, &n };

	order(s, a, true);
	OK(cu.cuLaunchKernel(spin, 1, 1, 1, WORDS, 1, 1, 0, p.stream[s], params, NULL));
	touched(s, a, true);
	p.count[s]++;
}

static void do_fill(int s)
{
	int a = (int)rnd(BUFFERS);
	uint32_t from = rnd(WORDS), n = 1 + rnd(WORDS - from), v = rnd(1u << 30);

	order(s, a, true);
	switch (rnd(3)) {
	case 0:
		OK(cu.cuMemsetD8Async(p.buffer[a] + from * 4, (unsigned char)v, n, p.stream[s]));
		break;
	case 1:
		OK(cu.cuMemsetD16Async(p.buffer[a] + from * 4, (unsigned short)v, n, p.stream[s]));
		break;
	default:
		OK(cu.cuMemsetD32Async(p.buffer[a] + from * 4, v, n, p.stream[s]));
	}
	touched(s, a, true);
	p.count[s]++;
}

static void do_dtod(int s)
{
	int a = (int)rnd(BUFFERS), b = (a + 1 + (int)rnd(BUFFERS - 1)) % BUFFERS;

	order(s, a, true);
	order(s, b, false);
	OK(cu.cuMemcpyDtoDAsync_v2(p.buffer[a], p.buffer[b], BYTES, p.stream[s]));
	touched(s, a, true);
	touched(s, b, false);
	p.count[s]++;
}

static void do_pinned(int s)
{
	int a = (int)rnd(BUFFERS), h = (int)rnd(PINNED);
	bool up = rnd(2);

	order(s, a, up);
	order(s, BUFFERS + h, !up);
	if (up)
		OK(cu.cuMemcpyHtoDAsync_v2(p.buffer[a], p.pinned[h], BYTES, p.stream[s]));
	else
		OK(cu.cuMemcpyDtoHAsync_v2(p.pinned[h], p.buffer[a], BYTES, p.stream[s]));
	touched(s, a, up);
	touched(s, BUFFERS + h, !up);
	p.count[s]++;
}

/* Pageable memory is the program's again when the call returns, and full when it came down. */
static void do_pageable(int s)
{
	uint32_t mem[WORDS];
	int a = (int)rnd(BUFFERS);
	bool up = rnd(2);

	for (int i = 0; i < WORDS; i++)
		mem[i] = rnd(1u << 30);
	order(s, a, up);
	if (up)
		OK(cu.cuMemcpyHtoDAsync_v2(p.buffer[a], mem, BYTES, p.stream[s]));
	else
		OK(cu.cuMemcpyDtoHAsync_v2(mem, p.buffer[a], BYTES, p.stream[s]));
	touched(s, a, up);
	p.count[s]++;
	if (up) {
		memset(mem, 0xee, sizeof(mem));
		return;
	}
	host_waited_for(s);
	absorb(mem, sizeof(mem));
}

static void host_step(void *data)
{
	uint32_t *w = data;

	for (int i = 0; i < WORDS; i++)
		w[i] = w[i] * 7 + (uint32_t)i;
}

static void do_host(int s)
{
	int h = (int)rnd(PINNED);

	order(s, BUFFERS + h, true);
	OK(cu.cuLaunchHostFunc(p.stream[s], host_step, p.pinned[h]));
	touched(s, BUFFERS + h, true);
	p.count[s]++;
}

static void do_host_access(int s)
{
	int h = (int)rnd(PINNED);
	bool writes = rnd(2);

	order_host(BUFFERS + h, writes);
	absorb(p.pinned[h], BYTES);
	if (writes)
		host_step(p.pinned[h]);
}

static void do_blocking_copy(int s)
{
	uint32_t mem[WORDS];
	int a = (int)rnd(BUFFERS);

	order(0, a, false);
	OK(cu.cuMemcpyDtoH_v2(mem, p.buffer[a], BYTES));
	p.count[0]++;
	host_waited_for(0);
	absorb(mem, sizeof(mem));
}

/* What is freed may be given out again at once: whatever still used it had to be over. */
static void do_realloc(int s)
{
	int a = (int)rnd(BUFFERS);
	uint32_t mem[WORDS];

	for (int i = 0; i < WORDS; i++)
		mem[i] = (uint32_t)i * 77;
	OK(cu.cuMemFree_v2(p.buffer[a]));
	OK(cu.cuMemAlloc_v2(&p.buffer[a], BYTES));
	OK(cu.cuMemcpyHtoD_v2(p.buffer[a], mem, BYTES));
	sync_all();
	memset(&p.space[a], 0, sizeof(p.space[a]));
}

static void do_capture(int s)
{
	CUgraph g;
	CUgraphExec x;
	int a = (int)rnd(BUFFERS), b = (a + 1) % BUFFERS, by = 1 + (int)rnd(STREAMS - 1);

	if (!cu.cuStreamBeginCapture_v2 || !cu.cuGraphInstantiateWithFlags)
		return;
	order(s, a, true);
	order(s, b, false);
	OK(cu.cuStreamBeginCapture_v2(p.stream[by], CU_STREAM_CAPTURE_RELAXED));
	launch_mix(by, a, b, 4);
	launch_mix(by, a, b, 5);
	OK(cu.cuStreamEndCapture(p.stream[by], &g));
	OK(cu.cuGraphInstantiateWithFlags(&x, g, 0));
	for (uint32_t n = 1 + rnd(3); n; n--)
		OK(cu.cuGraphLaunch(x, p.stream[s]));
	touched(s, a, true);
	touched(s, b, false);
	p.count[s]++;
	OK(cu.cuGraphExecDestroy(x));
	OK(cu.cuGraphDestroy(g));
}

static void do_new_stream(int s)
{
	int t = 1 + (int)rnd(STREAMS - 1);

	sync_all();
	OK(cu.cuStreamDestroy_v2(p.stream[t]));
	OK(cu.cuStreamCreate(&p.stream[t], p.blocking[t] ? 0 : 1));
}

static void do_wait(int s)
{
	wait_on_host(s);
}

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
		OK(cu.cuStreamCreate(&p.stream[s], p.blocking[s] ? 0 : 1));
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
	switch (rnd(12)) {
	case 0:
		loop();
		break;
	case 1:
		if (cu.cuEventRecord)
			forked_loop();
	}
	tear_down();
	printf("%llu %016llx\n", (unsigned long long)seed, (unsigned long long)p.hash);
}

int main(int argc, char **argv)
{
	uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
	uint64_t n = argc > 2 ? strtoull(argv[2], NULL, 0) : 100;
	CUdevice device;
	void *module;

	CHECK(!api_load());
	OK(cu.cuInit(0));
	OK(cu.cuDeviceGet(&device, 0));
	OK(cu.cuCtxCreate_v2(&context, 0, device));
	OK(cu.cuModuleLoadData(&module, kernels_ptx));
	OK(cu.cuModuleGetFunction(&mix, module, "mix"));
	OK(cu.cuModuleGetFunction(&spin, module, "spin"));
	for (uint64_t i = 0; i < n; i++)
		program(first + i);
	OK(cu.cuCtxDestroy_v2(context));
	counters_print("cuda.");
	return 0;
}
