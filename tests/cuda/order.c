/*
 * The barrier table, row by row: a launch is held inside the driver, a second one waits in the queue,
 * and then the entry is called. Unless its row says that it need not see the past, the driver must
 * hear of the second launch before it hears of the entry; of an entry that waits in the queue itself
 * likewise. Errors of deferred launches come out of every row that says SYNC, of a wait for their
 * stream, event or context whatever context is current, and of every row that ends their context; and launches
 * wait again after every row that ends a capture.
 * Launches by entries that cannot wait are counted.
 * Argument: the name of one entry, or none for all.
 */
#include "counters.h"
#include "hold.h"

#include <pthread.h>
#include <sys/syscall.h>

#define SECOND 0x22220000u

#define STREAM ((CUstream)0x5550)
#define EVENT ((CUevent)0x77)

static CUfunction const kernel = (CUfunction)0x1000;

static void launch(uint64_t param)
{
	int n = 0;
	void *params[] = { &param, &n };

	OK(cu.cuLaunchKernel(kernel, 1, 1, 1, 32, 1, 1, 0, NULL, params, NULL));
}

/* A launch inside the driver, in the submitter's hands, that does not return until told. */
static void hold_one(void)
{
	stub.busy = 1;
	launch(1);
	launch(2);
	launch(3);
	__atomic_store_n(&stub.hold, 1, __ATOMIC_SEQ_CST);
	launch(4);
	while (!__atomic_load_n(&stub.held, __ATOMIC_SEQ_CST))
		sched_yield();
}

static bool sees_the_past(unsigned row)
{
	switch (gpu_barrier_class[row]) {
	case BARRIER_DRAIN:
	case BARRIER_SYNC:
	case BARRIER_WAIT:
	case BARRIER_ALLOC:
		return true;
	case BARRIER_QUEUE:
		return row != ROW_cuEventQuery;
	case BARRIER_HOOK:
		return strstr(cuda_rows[row].name, "Capture") ? !strstr(cuda_rows[row].name, "End")
							       : strstr(cuda_rows[row].name, "Async") != NULL;
	}
	return false;
}

/* Arguments with which the entry could wait in the queue, where it may. */
static void arguments(unsigned row, uint64_t *a)
{
	static char pageable[64];

	memset(a, 0, 6 * sizeof(*a));
	if (strstr(cuda_rows[row].name, "cuMemsetD"))
		a[0] = 0x10000000, a[2] = 16;
	if (strstr(cuda_rows[row].name, "cuMemcpyHtoDAsync"))
		a[0] = 0x10000000, a[1] = (uintptr_t)pageable, a[2] = 64;
	if (strstr(cuda_rows[row].name, "cuMemcpyDtoDAsync") || row == ROW_cuMemcpyAsync)
		a[0] = 0x10000000, a[1] = 0x10000100, a[2] = 64;
	if (strstr(cuda_rows[row].name, "cuEventRecord"))
		a[0] = (uintptr_t)EVENT;
	if (strstr(cuda_rows[row].name, "cuStreamWaitEvent"))
		a[1] = (uintptr_t)EVENT;
	if (strstr(cuda_rows[row].name, "cuLaunchHostFunc"))
		a[1] = (uintptr_t)releaser;
}

/* Launches run in the driver so far; the one that waited has run when this has grown by two. */
static unsigned second_place(void)
{
	for (unsigned i = watched.from; i < stub.count; i++)
		if (stub.call[i].row == ROW_cuLaunchKernel && stub.call[i].arg[1] == 77)
			return i;
	return stub.count;
}

static void second_launch(void)
{
	uint64_t param = SECOND;
	int n = 0;
	void *params[] = { &param, &n };

	OK(cu.cuLaunchKernel(kernel, 77, 1, 1, 32, 1, 1, 0, NULL, params, NULL));
}

static int check_row(unsigned row)
{
	bool returned = false;
	pthread_t thread;
	uint64_t a[6];
	int place;

	clear_log();
	stub.result = 0;
	arguments(row, a);
	OK(cu.cuEventRecord(EVENT, NULL));
	hold_one();
	second_launch();
	watched.caller = (pid_t)syscall(SYS_gettid);
	watched.from = stub.count;
	watched.row = (int)row;
	stub.result = gpu_barrier_class[row] == BARRIER_HOOK;
	CHECK(!pthread_create(&thread, NULL, releaser, &returned));
	call(row, a);
	__atomic_store_n(&returned, true, __ATOMIC_SEQ_CST);
	pthread_join(thread, NULL);
	stub.result = 0;
	stub.busy = 0;
	OK(cu.cuCtxSynchronize());
	place = place_of((int)row);
	if (row == ROW_cuLaunchKernel || (place >= 0 && (unsigned)place > second_place()))
		return 0;
	fprintf(stderr, "%s %s\n", cuda_rows[row].name, place < 0 ? "did not come to the driver" : "overtook a launch");
	return 1;
}

/* One that the driver will refuse, when the program has gone on already. */
static void refused_launch(void)
{
	hold_one();
	stub.fail_launch = 701;
	second_launch();
	__atomic_store_n(&stub.hold, 0, __ATOMIC_SEQ_CST);
}

/* How often the driver has heard of the entry from this thread. */
static unsigned heard_from_here(unsigned row)
{
	unsigned n = 0;

	for (unsigned i = 0; i < stub.count; i++)
		n += stub.call[i].row == (int)row && stub.call[i].thread == (int)syscall(SYS_gettid);
	return n;
}

static int check_error(unsigned row)
{
	static const uint64_t none[6];
	CUresult first, second;
	unsigned heard;

	refused_launch();
	heard = heard_from_here(row);
	first = call(row, none);
	heard = heard_from_here(row) - heard;
	stub.busy = 0;
	second = call(row, none);
	if (first == 701 && second == 0 && heard)
		return 0;
	fprintf(stderr, "%s: %d and then %d, not 701 and 0; the driver heard of it %u times\n", cuda_rows[row].name,
		first, second, heard);
	return 1;
}

static void wait_for_refusal(void)
{
	uint64_t refused = counter("cuda.late_errors");

	refused_launch();
	while (counter("cuda.late_errors") == refused)
		sched_yield();
}

/* A call with an error of its own tells that one; nobody was told of the other yet. */
static int check_error_stays(unsigned row)
{
	static const uint64_t none[6];
	CUresult own, late, then;

	wait_for_refusal();
	stub.busy = 0;
	stub.result = 201;
	own = call(row, none);
	stub.result = 0;
	late = call(row, none);
	then = call(row, none);
	if (own == 201 && late == 701 && then == 0)
		return 0;
	fprintf(stderr, "%s: %d, %d, %d, not 201, 701, 0\n", cuda_rows[row].name, own, late, then);
	return 1;
}

/* A wait for one context leaves the errors of another to it, the current one included. */
static int check_error_of_named_context(unsigned row)
{
	static struct { char c[64]; } other;
	uint64_t args[6] = { (uintptr_t)&other };
	CUcontext own;
	CUresult first, second;

	OK(cu.cuCtxGetCurrent(&own));
	wait_for_refusal();
	stub.busy = 0;
	first = call(row, args);
	args[0] = (uintptr_t)own;
	second = call(row, args);
	if (first == 0 && second == 701)
		return 0;
	fprintf(stderr, "%s: %d of another context and then %d, not 0 and 701\n", cuda_rows[row].name, first, second);
	return 1;
}

/* The runtime lets a program wait for a stream of one device while another is current. */
static int check_error_of_other_context(unsigned row, uint64_t waits_for)
{
	static struct { char c[64]; } other;
	uint64_t args[6] = { waits_for };
	CUcontext own;
	CUresult first, second;

	OK(cu.cuEventRecord(EVENT, STREAM));
	wait_for_refusal();
	OK(cu.cuCtxGetCurrent(&own));
	OK(cu.cuCtxSetCurrent((CUcontext)&other));
	stub.busy = 0;
	first = call(row, args);
	second = call(row, args);
	OK(cu.cuCtxSetCurrent(own));
	OK(cu.cuCtxSynchronize());
	if (first == 701 && second == 0)
		return 0;
	fprintf(stderr, "%s from another context: %d and then %d, not 701 and 0\n", cuda_rows[row].name, first,
		second);
	return 1;
}

static int check_errors_of_other_context(unsigned row)
{
	CUcontext own;

	switch (row) {
	case ROW_cuCtxSynchronize_v2:
		OK(cu.cuCtxGetCurrent(&own));
		return check_error_of_named_context(row) + check_error_of_other_context(row, (uintptr_t)own);
	case ROW_cuStreamSynchronize:
	case ROW_cuStreamSynchronize_ptsz:
	case ROW_cuStreamQuery:
	case ROW_cuStreamQuery_ptsz:
		return check_error_of_other_context(row, (uintptr_t)STREAM);
	case ROW_cuEventSynchronize:
	case ROW_cuEventQuery:
		return check_error_of_other_context(row, (uintptr_t)EVENT);
	}
	return 0;
}

/* The end of another context, or one that is refused, leaves an error to the next wait. */
static int ends_another(unsigned row, uint64_t own)
{
	uint64_t args[6] = { own ? 0 : 5 };
	CUresult other, refused, told;

	wait_for_refusal();
	stub.busy = 0;
	other = call(row, args);
	args[0] = own;
	stub.result = 201;
	refused = call(row, args);
	stub.result = 0;
	told = cu.cuCtxSynchronize();
	if (other == 0 && refused == 201 && told == 701)
		return 0;
	fprintf(stderr, "%s: %d of another context, %d and then %d, not 0, 201 and 701\n", cuda_rows[row].name, other,
		refused, told);
	return 1;
}

/* Nobody else will be told of the error, and the context must be gone all the same. */
static int check_error_at_end(unsigned row)
{
	CUcontext own;
	uint64_t args[6] = { 0 };
	CUresult first, second;
	int bad;

	OK(cu.cuCtxGetCurrent(&own));
	if (strstr(cuda_rows[row].name, "Primary"))
		OK(cu.cuDevicePrimaryCtxRetain(&own, 0));
	else
		args[0] = (uintptr_t)own;
	bad = ends_another(row, args[0]);
	clear_log();
	refused_launch();
	first = call(row, args);
	watched.from = 0;
	int place = place_of((int)row);
	stub.busy = 0;
	second = call(row, args);
	OK(cu.cuCtxSynchronize());
	if (first == 701 && second == 0 && place >= 0 && stub.call[place].arg[0] == args[0])
		return bad;
	fprintf(stderr, "%s: %d and then %d, not 701 and 0; the driver heard of it%s\n", cuda_rows[row].name, first,
		second, place < 0 ? " never" : "");
	return 1;
}

static bool ends_context(unsigned row)
{
	switch (row) {
	case ROW_cuCtxDestroy:
	case ROW_cuCtxDestroy_v2:
	case ROW_cuCtxDetach:
	case ROW_cuDevicePrimaryCtxRelease:
	case ROW_cuDevicePrimaryCtxRelease_v2:
	case ROW_cuDevicePrimaryCtxReset:
	case ROW_cuDevicePrimaryCtxReset_v2:
	case ROW_cuGreenCtxDestroy:
		return true;
	}
	return false;
}

static int check_capture_ends(unsigned row)
{
	CUgraph graph = NULL;
	uint64_t direct, args[6] = { 0, (uintptr_t)&graph };
	bool own = cuda_rows[row].per_thread;
	api_cuStreamBeginCapture_v2 *begin = (api_cuStreamBeginCapture_v2 *)dlsym(
		api_driver, own ? "cuStreamBeginCapture_v2_ptsz" : "cuStreamBeginCapture_v2");

	launch(1);
	stub.busy = 1;
	OK(begin(NULL, CU_STREAM_CAPTURE_RELAXED));
	OK(call(row, args));
	direct = counter("cuda.direct");
	launch(2);
	direct = counter("cuda.direct") - direct;
	stub.busy = 0;
	OK(cu.cuCtxSynchronize());
	if (!direct)
		return 0;
	fprintf(stderr, "%s: launches go straight after it\n", cuda_rows[row].name);
	return 1;
}

static int check_event_query(void)
{
	CUevent e = EVENT;
	int bad = 0;

	OK(cu.cuEventRecord(e, NULL));
	hold_one();
	OK(cu.cuEventRecord(e, NULL));
	clear_log();
	bad |= cu.cuEventQuery(e) != CUDA_ERROR_NOT_READY;
	__atomic_store_n(&stub.hold, 0, __ATOMIC_SEQ_CST);
	stub.busy = 0;
	OK(cu.cuCtxSynchronize());
	bad |= cu.cuEventQuery(e) != CUDA_SUCCESS;
	if (bad)
		fprintf(stderr, "cuEventQuery spoke of the record before the one that waits\n");
	return bad;
}

/* Launches that cannot wait are counted, each kind by itself. */
static int check_counted(unsigned row)
{
	static const struct {
		const char *start, *counter;
	} kinds[] = { { "cuGraphLaunch", "cuda.program_graphs" }, { "cuLaunchCooperative", "cuda.cooperative" },
		{ "cuLaunch", "cuda.old_launches" } };
	enum { KINDS = sizeof(kinds) / sizeof(*kinds) };
	static const uint64_t none[6];
	unsigned i = 0;

	if (gpu_barrier_class[row] != BARRIER_ALLOC)
		return 0;
	while (i < KINDS && strncmp(cuda_rows[row].name, kinds[i].start, strlen(kinds[i].start)))
		i++;
	if (i == KINDS)
		return 0;
	uint64_t before = counter(kinds[i].counter);
	call(row, none);
	if (counter(kinds[i].counter) == before + 1)
		return 0;
	fprintf(stderr, "%s is not counted as %s\n", cuda_rows[row].name, kinds[i].counter);
	return 1;
}

static void call_on_null_stream(unsigned row)
{
	uint64_t param = 1, a[6];
	int n = 0;
	void *params[] = { &param, &n };

	arguments(row, a);
	if (row == ROW_cuLaunchKernel || row == ROW_cuLaunchKernel_ptsz)
		OK(((api_cuLaunchKernel *)dlsym(api_driver, cuda_rows[row].name))(
			kernel, 1, 1, 1, 32, 1, 1, 0, NULL, params, NULL));
	else
		OK(call(row, a));
}

/* Nobody else can submit to the calling thread's own stream: when a call returns, the driver has heard of it. */
static int check_calling_thread(unsigned row)
{
	bool good = true;

	stub.busy = 1;
	for (int i = 0; i < 3; i++) {
		call_on_null_stream(ROW_cuLaunchKernel);
		OK(cu.cuEventRecord(EVENT, NULL));
	}
	OK(cu.cuCtxSynchronize());
	clear_log();
	for (unsigned i = 1; i <= 4; i++) {
		call_on_null_stream(row);
		good &= heard_from_here(row) == i;
	}
	stub.busy = 0;
	OK(cu.cuCtxSynchronize());
	if (good)
		return 0;
	fprintf(stderr, "%s of the calling thread's stream was left to another\n", cuda_rows[row].name);
	return 1;
}

/* What comes first after the program has waited finds the GPU idle, and nobody need be woken for it. */
static int check_first_after_wait(void)
{
	bool good = true;

	for (int i = 0; i < 20; i++) {
		OK(cu.cuCtxSynchronize());
		clear_log();
		launch(1);
		good &= heard_from_here(ROW_cuLaunchKernel) == 1;
	}
	if (good)
		return 0;
	fprintf(stderr, "a launch on an idle GPU was left to another thread\n");
	return 1;
}

int main(int argc, char **argv)
{
	unsigned bad = 0, checked = 0;

	CHECK(!api_load());
	OK(cu.cuInit(0));
	for (unsigned row = 0; row < ROW_COUNT; row++) {
		if (argc > 1 && strcmp(argv[1], cuda_rows[row].name))
			continue;
		if (row == ROW_cuEventQuery)
			bad += (unsigned)check_event_query();
		if (row == ROW_cuLaunchKernel)
			bad += (unsigned)check_first_after_wait();
		if (gpu_barrier_class[row] == BARRIER_QUEUE && cuda_rows[row].per_thread)
			bad += (unsigned)check_calling_thread(row);
		bad += (unsigned)check_errors_of_other_context(row) + (unsigned)check_counted(row);
		if (!strncmp(cuda_rows[row].name, "cuStreamEndCapture", 18))
			bad += check_capture_ends(row);
		if (ends_context(row))
			bad += check_error_at_end(row);
		if (!sees_the_past(row))
			continue;
		checked++;
		bad += check_row(row);
		if (gpu_barrier_class[row] == BARRIER_SYNC && !cuda_rows[row].per_thread)
			bad += check_error(row) + check_error_stays(row);
	}
	printf("%u entries checked, %u wrong\n", checked, bad);
	return bad != 0;
}
