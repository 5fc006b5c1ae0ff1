/*
 * Random programs from several threads at once: each has a buffer, three streams and a model of what the
 * buffer must hold. Each operation goes to a stream at random, ordered behind the one before it by an
 * event; now and then a stretch is captured and replayed. Also the program to run under sanitizers.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda_abi.h"

#define ENTRY(base, symbol, since, args) CUresult symbol args;
#include "entries.def"
#undef ENTRY
uint64_t simcuda_stats(const char *what);

#define WORDS 64
#define STREAMS 3
#define OK(call) do { CUresult rc_ = (call); if (rc_) { fprintf(stderr, "%s: error %d\n", #call, (int)rc_); exit(1); } } while (0)

static const char ptx[] =
	".version 7.0\n.target sm_70\n.address_size 64\n"
	".visible .entry axpb(.param .u64 p, .param .u32 a, .param .u32 b) {\n"
	".reg .b32 %r<4>; .reg .b64 %rd<3>;\n"
	"ld.param.u64 %rd0, [p]; ld.param.u32 %r0, [a]; ld.param.u32 %r1, [b]; mov.u32 %r2, %tid.x;\n"
	"mul.wide.u32 %rd1, %r2, 4; add.s64 %rd0, %rd0, %rd1; ld.global.u32 %r3, [%rd0];\n"
	"mad.lo.u32 %r3, %r3, %r0, %r1; st.global.u32 [%rd0], %r3; ret; }\n";

static CUcontext ctx;
static CUfunction axpb;

struct program {
	unsigned rng;
	CUdeviceptr buf;
	CUstream stream[STREAMS];
	CUevent event;
	uint32_t model[WORDS];
	int last;
};

static unsigned draw(struct program *p, unsigned n)
{
	p->rng = p->rng * 1664525u + 1013904223u;
	return (p->rng >> 8) % n;
}

/* The next stream, ordered behind the last one. */
static CUstream next_stream(struct program *p)
{
	int s = (int)draw(p, STREAMS);

	if (s != p->last) {
		OK(cuEventRecord(p->event, p->stream[p->last]));
		OK(cuStreamWaitEvent(p->stream[s], p->event, 0));
	}
	p->last = s;
	return p->stream[s];
}

static void kernel(struct program *p, CUstream s, uint32_t a, uint32_t b)
{
	void *args[] = {&p->buf, &a, &b};

	OK(cuLaunchKernel(axpb, 1, 1, 1, WORDS, 1, 1, 0, s, args, NULL));
	for (int i = 0; i < WORDS; i++)
		p->model[i] = p->model[i] * a + b;
}

static void fill(struct program *p, CUstream s)
{
	unsigned at = draw(p, WORDS), n = 1 + draw(p, WORDS - at), v = draw(p, 1000);

	OK(cuMemsetD32Async(p->buf + 4 * at, v, n, s));
	for (unsigned i = at; i < at + n; i++)
		p->model[i] = v;
}

static void upload(struct program *p, CUstream s)
{
	uint32_t src[WORDS];

	for (int i = 0; i < WORDS; i++)
		src[i] = p->model[i] = draw(p, 1u << 20);
	OK(cuMemcpyHtoDAsync_v2(p->buf, src, sizeof(src), s));
	memset(src, 0xee, sizeof(src)); /* pageable: it may go as soon as the call is back */
}

static void move(struct program *p, CUstream s)
{
	OK(cuMemcpyDtoDAsync_v2(p->buf, p->buf + 2 * WORDS, 2 * WORDS, s));
	memcpy(p->model, p->model + WORDS / 2, 2 * WORDS);
}

static void replay(struct program *p, CUstream s)
{
	uint32_t a = 3, b = draw(p, 100), times = 1 + draw(p, 3);
	void *args[] = {&p->buf, &a, &b};
	CUgraph g;
	CUgraphExec x;

	OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_RELAXED));
	for (int i = 0; i < 4; i++)
		OK(cuLaunchKernel(axpb, 1, 1, 1, WORDS, 1, 1, 0, s, args, NULL));
	OK(cuStreamEndCapture(s, &g));
	OK(cuGraphInstantiateWithFlags(&x, g, 0));
	for (uint32_t t = 0; t < times; t++)
		OK(cuGraphLaunch(x, s));
	OK(cuGraphExecDestroy(x));
	OK(cuGraphDestroy(g));
	for (uint32_t t = 0; t < 4 * times; t++)
		for (int i = 0; i < WORDS; i++)
			p->model[i] = p->model[i] * a + b;
}

static void check(struct program *p)
{
	uint32_t got[WORDS];

	OK(cuStreamSynchronize(p->stream[p->last]));
	OK(cuMemcpyDtoH_v2(got, p->buf, sizeof(got)));
	for (int i = 0; i < WORDS; i++)
		if (got[i] != p->model[i]) {
			fprintf(stderr, "word %d is %u, should be %u\n", i, got[i], p->model[i]);
			exit(1);
		}
}

static void step(struct program *p)
{
	CUstream s = next_stream(p);

	switch (draw(p, 16)) {
	case 0: case 1: fill(p, s); break;
	case 2: case 3: upload(p, s); break;
	case 4: move(p, s); break;
	case 5: replay(p, s); break;
	case 6: check(p); break;
	default: kernel(p, s, 1 + draw(p, 5), draw(p, 50)); break;
	}
}

static void *run(void *arg)
{
	struct program p = {.rng = (unsigned)(uintptr_t)arg};

	OK(cuCtxSetCurrent(ctx));
	OK(cuMemAlloc_v2(&p.buf, 4 * WORDS));
	for (int i = 0; i < STREAMS; i++)
		OK(cuStreamCreate(&p.stream[i], CU_STREAM_NON_BLOCKING));
	OK(cuEventCreate(&p.event, CU_EVENT_DISABLE_TIMING));
	OK(cuMemsetD32Async(p.buf, 0, WORDS, p.stream[0]));
	for (int i = 0; i < 300; i++)
		step(&p);
	check(&p);
	OK(cuEventDestroy_v2(p.event));
	for (int i = 0; i < STREAMS; i++)
		OK(cuStreamDestroy_v2(p.stream[i]));
	OK(cuMemFree_v2(p.buf));
	return NULL;
}

int main(void)
{
	pthread_t t[4];
	CUmodule m;

	OK(cuInit(0));
	OK(cuCtxCreate_v2(&ctx, 0, 0));
	OK(cuModuleLoadData(&m, ptx));
	OK(cuModuleGetFunction(&axpb, m, "axpb"));
	for (uintptr_t i = 0; i < 4; i++)
		if (pthread_create(&t[i], NULL, run, (void *)(i + 1)))
			return 1;
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	OK(cuCtxDestroy_v2(ctx));
	if (simcuda_stats("races") || simcuda_stats("misuse")) {
		fprintf(stderr, "races or misuse where there are none\n");
		return 1;
	}
	puts("all as it should be");
	return 0;
}
