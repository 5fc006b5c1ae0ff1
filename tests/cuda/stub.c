#include "stub.h"

#include "driver.h"

#include <stdlib.h>
#include <string.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

EXPORT struct stub stub = { .result = 0 };

static const struct cuda_row_info rows[] = {
#define LEGACY false
#define PER_THREAD true
#define CU(barrier, symbol, name, version, form) { #name, #symbol, version, form },
#include "driver.def"
#undef CU
};

#define CU(barrier, symbol, name, version, form) EXPORT CUresult name();
#pragma GCC diagnostic ignored "-Wstrict-prototypes"
#include "driver.def"
#undef CU

static void *const entry[] = {
#define CU(barrier, symbol, name, version, form) name,
#include "driver.def"
#undef CU
};

/* From beyond the table, by two digits; each answers how many kernels have run. */
#define NEWER(n) EXPORT int cuNewer##n(void) { return (int)stub.ran; }
#define NEWER_TEN(n)                                                                               \
	NEWER(n##0) NEWER(n##1) NEWER(n##2) NEWER(n##3) NEWER(n##4)                                \
	NEWER(n##5) NEWER(n##6) NEWER(n##7) NEWER(n##8) NEWER(n##9)
NEWER_TEN(0) NEWER_TEN(1) NEWER_TEN(2) NEWER_TEN(3) NEWER_TEN(4) NEWER_TEN(5) NEWER_TEN(6)

static struct { char c[64]; } context[4];
static __thread CUcontext current = (CUcontext)&context[0];

static void note(int row, const uint64_t *arg)
{
	unsigned i = __atomic_fetch_add(&stub.count, 1, __ATOMIC_SEQ_CST);

	if (i >= STUB_LOG)
		return;
	memcpy(stub.call[i].arg, arg, sizeof(stub.call[i].arg));
	stub.call[i].thread = (int)syscall(SYS_gettid);
	__atomic_store_n(&stub.call[i].row, row, __ATOMIC_RELEASE);
}

static CUresult stub_noted(int row, const uint64_t *a)
{
	note(row, a);
	return stub.result;
}

static bool finds_no_memory(int row)
{
	bool is_short = stub.short_row == row + 1;

	if (is_short)
		stub.short_row = 0;
	return is_short;
}

static CUresult call(int row, const uint64_t *a);

static CUresult not_exported(uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f)
{
	return call(ROW_cuStreamSynchronize, (uint64_t[]){ a, b, c, d, e, f });
}

/* What a name stands for besides what the table says. */
static const struct {
	const char *symbol;
	int since;
	bool legacy_only;
	void *entry;
} given[] = {
	{ "cuGraphInstantiate", 12000, false, cuGraphInstantiateWithFlags },
	{ "cuMemFree", 14000, false, cuNewer00 },
	{ "cuStreamSynchronize", 0, true, not_exported },
};

static void *given_as(const char *symbol, int version, bool per_thread)
{
	for (unsigned i = 0; i < sizeof(given) / sizeof(*given); i++)
		if (!strcmp(given[i].symbol, symbol) && given[i].since <= version &&
			!(given[i].legacy_only && per_thread))
			return given[i].entry;
	return NULL;
}

#define FIRST_PER_THREAD 7000 /* given to who asks for that form of an older version, too */

static CUresult get_proc(const uint64_t *a)
{
	const char *symbol = (const char *)a[0];
	void **fn = (void **)a[1];
	int best = -1, want_pt = a[3] & 2, version = (int)a[2];

	*fn = given_as(symbol, version, want_pt);
	if (*fn)
		return 0;
	if (want_pt && version < FIRST_PER_THREAD)
		version = FIRST_PER_THREAD;
	for (int pt = want_pt ? 1 : 0; pt >= 0 && best < 0; pt--)
		for (unsigned i = 0; i < ROW_COUNT; i++)
			if (!strcmp(rows[i].symbol, symbol) && rows[i].per_thread == pt &&
				rows[i].version <= version &&
				(best < 0 || rows[i].version > rows[best].version))
				best = (int)i;
	*fn = best < 0 ? NULL : entry[best];
	return best < 0 ? 500 : 0;
}

static CUresult param_info(const uint64_t *a)
{
	if (a[1] > 1)
		return CUDA_ERROR_INVALID_VALUE;
	*(size_t *)a[2] = a[1] * 8;
	*(size_t *)a[3] = a[1] ? 4 : 8;
	return 0;
}

static CUresult launched(void)
{
	int fail = stub.fail_launch;

	if (__atomic_load_n(&stub.hold, __ATOMIC_SEQ_CST)) {
		__atomic_store_n(&stub.held, 1, __ATOMIC_SEQ_CST);
		while (__atomic_load_n(&stub.hold, __ATOMIC_SEQ_CST))
			sched_yield();
		__atomic_store_n(&stub.held, 0, __ATOMIC_SEQ_CST);
	}
	if (fail)
		stub.fail_launch = 0;
	return fail;
}

/* A kernel takes one pointer and one int, by pointers or in one buffer. */
static void run(void **params, void **extra)
{
	unsigned i = __atomic_fetch_add(&stub.ran, 1, __ATOMIC_SEQ_CST);

	if (i < STUB_LOG && (params || extra))
		memcpy(&stub.param[i], params ? params[0] : extra[1], 8);
}

#define MAX_NODES 1024
struct stub_graph {
	unsigned count, records, exits; /* kernels, events that are recorded, those of them that cuEventCreate gave */
	uint64_t param[MAX_NODES];
};

static CUresult graph_create(CUgraph *ret)
{
	*ret = calloc(1, sizeof(struct stub_graph));
	return 0;
}

static void set_node(uint64_t *param, const struct cuda_kernel_node *n)
{
	memcpy(param, n->params ? n->params[0] : n->extra[1], 8);
}

static CUresult graph_add(CUgraphNode *ret, struct stub_graph *g, const struct cuda_kernel_node *n)
{
	set_node(&g->param[g->count], n);
	*ret = (CUgraphNode)(uintptr_t)++g->count;
	return 0;
}

static CUresult graph_instantiate(CUgraphExec *ret, const struct stub_graph *g)
{
	*ret = malloc(sizeof(*g));
	memcpy(*ret, g, sizeof(*g));
	__atomic_fetch_add(&stub.live_graphs, 1, __ATOMIC_SEQ_CST);
	return 0;
}

static CUresult add_record(CUgraphNode *ret, struct stub_graph *g, uint64_t event)
{
	g->exits += event > STUB_EVENTS;
	*ret = (CUgraphNode)(uintptr_t)(MAX_NODES + ++g->records);
	return 0;
}

static CUresult event_create(CUevent *ret)
{
	static uintptr_t last = STUB_EVENTS;

	*ret = (CUevent)__atomic_add_fetch(&last, 16, __ATOMIC_SEQ_CST);
	return 0;
}

static CUresult graph_launch(const struct stub_graph *g)
{
	int fail = stub.fail_graph;

	stub.fail_graph = 0;
	if (fail)
		return fail;
	if (stub.graph_us)
		usleep(stub.graph_us);
	if (stub.graphs < STUB_GRAPHS)
		stub.graph_size[stub.graphs] = g->count;
	stub.graphs++;
	for (unsigned i = 0; i < g->count; i++)
		run((void *[]){ (void *)&g->param[i] }, NULL);
	return 0;
}

static void hold_current(void)
{
	int me = (int)syscall(SYS_gettid);

	if (!__atomic_compare_exchange_n(&stub.hold_current, &me, -me, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		return;
	while (__atomic_load_n(&stub.hold_current, __ATOMIC_SEQ_CST))
		sched_yield();
}

static CUresult call(int row, const uint64_t *a)
{
	if (finds_no_memory(row))
		return CUDA_ERROR_OUT_OF_MEMORY;
	switch (row) {
	case ROW_cuCtxGetCurrent:
		if (__atomic_load_n(&stub.hold_current, __ATOMIC_RELAXED))
			hold_current();
		*(CUcontext *)a[0] = current;
		return 0;
	case ROW_cuCtxSetCurrent:
	case ROW_cuCtxPushCurrent_v2:
		current = (CUcontext)a[0];
		return 0;
	case ROW_cuCtxPopCurrent_v2:
		return 0;
	case ROW_cuDevicePrimaryCtxRetain:
		if (a[0])
			*(CUcontext *)a[0] = (CUcontext)&context[a[1] & 3];
		return stub_noted(row, a);
	case ROW_cuCtxFromGreenCtx: /* a green context is its own here */
		if (!a[0])
			break;
		*(CUcontext *)a[0] = (CUcontext)a[1];
		return 0;
	case ROW_cuEventCreate:
		if (a[0])
			event_create((CUevent *)a[0]);
		return stub_noted(row, a);
	case ROW_cuStreamGetFlags: /* of a number without bit 4: it is blocking */
		if (a[1])
			*(unsigned *)a[1] = a[0] & 16 ? CU_STREAM_NON_BLOCKING : 0;
		return stub_noted(row, a);
	case ROW_cuStreamIsCapturing:
	case ROW_cuStreamIsCapturing_ptsz:
		if (!a[1])
			break;
		*(int *)a[1] = 0;
		return 0;
	case ROW_cuStreamGetCtx:
		*(CUcontext *)a[1] = (CUcontext)&context[0];
		return 0;
	case ROW_cuStreamGetPriority:
		if (a[1])
			*(int *)a[1] = stub.stream_priority;
		return stub_noted(row, a);
	case ROW_cuStreamGetAttribute:
		if (a[2])
			*(int *)a[2] = stub.stream_attribute;
		return stub_noted(row, a);
	case ROW_cuGraphKernelNodeSetAttribute:
		return stub_noted(row, a[2] ? (uint64_t[6]){ a[0], a[1], *(unsigned *)a[2] } : a);
	case ROW_cuStreamQuery:
		note(row, a);
		return stub.busy && !(stub.idle && a[0] == stub.idle) ? CUDA_ERROR_NOT_READY : stub.result;
	case ROW_cuFuncGetParamInfo:
		return param_info(a);
	case ROW_cuThreadExchangeStreamCaptureMode:
		return stub_noted(row, a[0] ? (uint64_t[6]){ *(unsigned *)a[0] } : a);
	case ROW_cuMemGetAddressRange_v2:
		stub.ranges++;
		*(CUdeviceptr *)a[0] = STUB_DEVICE;
		*(size_t *)a[1] = STUB_DEVICE;
		return a[2] - STUB_DEVICE < STUB_DEVICE ? 0 : CUDA_ERROR_INVALID_VALUE;
	case ROW_cuPointerGetAttribute: /* pageable, but for what lies behind device memory */
		if (a[0] && a[1] == CU_POINTER_ACCESS)
			*(unsigned *)a[0] = stub.read_only ? 1 : CU_ACCESS_READ_WRITE;
		return a[2] - STUB_DEVICE < STUB_DEVICE + STUB_LOCKED ? 0 : CUDA_ERROR_INVALID_VALUE;
	case ROW_cuGetProcAddress:
	case ROW_cuGetProcAddress_v2:
		return a[0] && a[1] ? get_proc(a) : 1;
	case ROW_cuLaunchKernel:
	case ROW_cuLaunchKernelEx:
	case ROW_cuLaunchKernel_ptsz:
	case ROW_cuLaunchKernelEx_ptsz:
		note(row, a);
		return launched();
	case ROW_cuGraphCreate:
		return a[0] ? graph_create((CUgraph *)a[0]) : stub_noted(row, a);
	case ROW_cuGraphAddKernelNode_v2:
		return a[0] ? graph_add((void *)a[0], (void *)a[1], (void *)a[4]) : stub_noted(row, a);
	case ROW_cuGraphInstantiateWithFlags:
		return a[0] ? graph_instantiate((void *)a[0], (void *)a[1]) : stub_noted(row, a);
	case ROW_cuGraphExecKernelNodeSetParams_v2:
		if (!a[0])
			break;
		stub.updates++;
		set_node(&((struct stub_graph *)a[0])->param[a[1] - 1], (void *)a[2]);
		return 0;
	case ROW_cuGraphAddEventRecordNode:
		return a[0] ? add_record((void *)a[0], (void *)a[1], a[4]) : stub_noted(row, a);
	case ROW_cuGraphLaunch:
		note(row, a[0] ? (uint64_t[6]){ a[0], a[1], ((struct stub_graph *)a[0])->exits } : a);
		return a[0] ? graph_launch((void *)a[0]) : stub.result;
	case ROW_cuGraphExecDestroy:
		__atomic_fetch_sub(&stub.live_graphs, a[0] != 0, __ATOMIC_SEQ_CST); /* fallthrough */
	case ROW_cuGraphDestroy:
		free((void *)a[0]);
		break;
	}
	return stub_noted(row, a);
}

/* The parameters are the tenth and eleventh argument. */
#define cuLaunchKernel plain_cuLaunchKernel
#define cuLaunchKernel_ptsz plain_cuLaunchKernel_ptsz
#define cuLaunchKernelEx plain_cuLaunchKernelEx
#define cuLaunchKernelEx_ptsz plain_cuLaunchKernelEx_ptsz
#define CU(barrier, symbol, name, version, form)                                                   \
	CUresult name(uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f)      \
	{                                                                                          \
		return call(ROW_##name, (uint64_t[]){ a, b, c, d, e, f });                         \
	}
#include "driver.def"
#undef CU
#undef cuLaunchKernel
#undef cuLaunchKernel_ptsz
#undef cuLaunchKernelEx
#undef cuLaunchKernelEx_ptsz

#define LAUNCH(name)                                                                               \
	CUresult name CUDA_LAUNCH_PARAMS                                                           \
	{                                                                                          \
		CUresult r = call(ROW_##name, (uint64_t[]){ (uint64_t)f, gx, bx, shared,           \
						      (uint64_t)s, (uint64_t)params });            \
		if (!r)                                                                            \
			run(params, extra);                                                        \
		return r;                                                                          \
	}
LAUNCH(cuLaunchKernel)
LAUNCH(cuLaunchKernel_ptsz)

/* Of attributes the first one is noted. */
#define LAUNCH_EX(name)                                                                            \
	CUresult name(const struct cuda_launch_config *c, CUfunction f, void **params,             \
		void **extra)                                                                      \
	{                                                                                          \
		bool attr = c && c->attr_count;                                                    \
		CUresult r = call(ROW_##name, (uint64_t[]){ (uint64_t)f,                           \
						      attr ? c->attrs[0].id : 0,                   \
						      attr ? c->attrs[0].value.dim[0] : 0, 0,      \
						      c ? (uint64_t)c->stream : 0, 0 });           \
		if (!r)                                                                            \
			run(params, extra);                                                        \
		return r;                                                                          \
	}
LAUNCH_EX(cuLaunchKernelEx)
LAUNCH_EX(cuLaunchKernelEx_ptsz)
