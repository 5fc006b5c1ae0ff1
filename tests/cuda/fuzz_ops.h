/* What a random program does on a stream, each with the order that it needs. */
#pragma once
#include "fuzz_model.h"

/* ---- operations ---- */

static void mix_on(CUstream s, CUdeviceptr a, CUdeviceptr b, uint32_t c)
{
	uint32_t n = WORDS;
	void *params[] = { &a, &b, &c, &n };
	struct {
		CUdeviceptr a, b;
		uint32_t c, n;
	} packed = { a, b, c, n };
	size_t bytes = sizeof(packed);
	void *extra[] = { CU_LAUNCH_PARAM_BUFFER_POINTER, &packed, CU_LAUNCH_PARAM_BUFFER_SIZE,
		&bytes, CU_LAUNCH_PARAM_END };
	bool buffer = c & 1;

	OK(cu.cuLaunchKernel(mix, 2, 1, 1, WORDS / 2, 1, 1, 0, s, buffer ? NULL : params,
		buffer ? extra : NULL));
	/* The program's own memory is its own again. */
	memset(&packed, 0xee, sizeof(packed));
	a = b = c = n = 0xeeeeeeee;
}

static void launch_mix(int s, int a, int b, uint32_t c)
{
	mix_on(p.stream[s], p.buffer[a], p.buffer[b], c);
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

static void new_stream(int s)
{
	OK(cu.cuStreamCreateWithPriority(&p.stream[s], p.blocking[s] ? 0 : 1, -(s % 3)));
}

static void do_new_stream(int s)
{
	int t = 1 + (int)rnd(STREAMS - 1);

	sync_all();
	OK(cu.cuStreamDestroy_v2(p.stream[t]));
	new_stream(t);
}

static void do_wait(int s)
{
	wait_on_host(s);
}
