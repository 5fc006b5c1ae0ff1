/*
 * Steps of two streams that go out as graphs, on a driver that writes down what it is told: what makes a graph of both,
 * what does not; that each stream is told to wait for the other where the graph does not say so; and what ends graphs.
 */
#include "counters.h"
#include "hold.h"

#include <pthread.h>

#define ROUNDS 40
#define BLOCKING ((CUstream)0x5500)
#define BLOCKING_TOO ((CUstream)0x5600)
#define HOME ((CUstream)0x5510)
#define OTHER ((CUstream)0x5610)
#define SECOND ((CUstream)0x5710)

static CUstream home, other;
static bool shared; /* another thread has called */
static CUcontext own;
static CUfunction kernel = (CUfunction)0x1000; /* another one in each run: no step is like one of the run before */

static void launch(CUstream s, unsigned shape)
{
	uint64_t param = 1;
	int n = 0;
	void *params[] = { &param, &n };

	OK(cu.cuLaunchKernel(kernel, 1 + shape, 1, 1, 32, 1, 1, 0, s, params, NULL));
}

/* Different ones, for a step that no shorter period explains. */
static void launches(CUstream s, unsigned first, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		launch(s, first + i * i);
}

static CUevent event(uintptr_t n)
{
	return (CUevent)(0x70 + n);
}

static void fork_and_join(CUevent waited_for)
{
	launches(home, 0, 10);
	OK(cu.cuEventRecord(event(0), home));
	launches(home, 1000, 5);
	OK(cu.cuEventRecord(event(1), home));
	OK(cu.cuStreamWaitEvent(other, waited_for, 0));
	launches(other, 2000, 10);
	OK(cu.cuEventRecord(event(2), other));
	OK(cu.cuStreamWaitEvent(home, event(2), 0));
	launches(home, 3000, 10);
}

static void plain(void)
{
	fork_and_join(event(1));
}

static void earlier_record(void)
{
	fork_and_join(event(0));
}

static void other_goes_on(void)
{
	fork_and_join(event(1));
	launches(other, 4000, 20);
}

/* Something else each time, so that it goes by itself. */
static void other_does_more(void)
{
	static unsigned more = 10000;

	fork_and_join(event(1));
	launch(other, more++);
}

/* The same other stream with two that never meet. */
static void second_home(void)
{
	CUstream first = home;

	fork_and_join(event(1));
	home = SECOND;
	launches(home, 5000, 10);
	fork_and_join(event(1));
	home = first;
}

static bool launched_in(const struct stub_call *c, CUstream s)
{
	return (c->row == ROW_cuLaunchKernel && c->arg[4] == (uintptr_t)s) ||
	       (c->row == ROW_cuGraphLaunch && c->arg[1] == (uintptr_t)s);
}

static void *call_once(void *arg)
{
	OK(cu.cuCtxSetCurrent(own));
	launch(HOME, 1);
	return NULL;
}

static bool is_of_both(const struct stub_call *c)
{
	return c->row == ROW_cuGraphLaunch && c->arg[2];
}

static bool is_ours(uint64_t e)
{
	return e > STUB_EVENTS;
}

struct side {
	CUstream s;
	bool owed;         /* it has a part of a graph that was launched in the other */
	bool unseen;       /* it did something for which the other has not been told to wait */
	uint64_t entry;    /* what was recorded on it for the other, by the library */
};

static void side_did(struct side *me, struct side *other_one, const struct stub_call *c)
{
	if (c->row == ROW_cuEventRecord && is_ours(c->arg[0]) && c->arg[1] == (uintptr_t)me->s)
		me->entry = c->arg[0];
	if (c->row == ROW_cuStreamWaitEvent && is_ours(c->arg[1]) && c->arg[0] == (uintptr_t)me->s) {
		if (c->arg[1] == other_one->entry)
			other_one->unseen = false;
		else
			me->owed = false;
	}
	if (!launched_in(c, me->s))
		return;
	CHECK(!me->owed);
	me->unseen = true;
	if (!is_of_both(c))
		return;
	CHECK(!other_one->unseen);
	other_one->owed = true;
	other_one->unseen = shared;
}

/*
 * Behind a graph of both, the other stream is told to wait before it does anything else; before one, home is told to
 * wait for what the other did outside of one, and always if another thread may have been at it. A second home has none
 * of the other while that still has to wait for its part of a graph of the first. Returns how many there were.
 */
static unsigned read_log(void)
{
	struct side one = { home, false, true, 0 }, two = { other, false, true, 0 };
	unsigned both = 0;

	for (unsigned i = 0; i < stub.count && i < STUB_LOG; i++) {
		const struct stub_call *c = &stub.call[i];
		side_did(&one, &two, c);
		side_did(&two, &one, c);
		both += is_of_both(c);
		CHECK(!two.owed || !is_of_both(c) || !launched_in(c, SECOND));
	}
	return both;
}

/* How many graphs of both there were. Waiting: the program waits for the GPU behind each step; else seldom. */
static unsigned steps(void (*step)(void), CUstream in, CUstream with, bool waiting)
{
	kernel = (CUfunction)((uintptr_t)kernel + 16);
	home = in;
	other = with;
	clear_log();
	for (int i = 0; i < ROUNDS; i++) {
		step();
		if (waiting || i % 8 == 7)
			OK(cu.cuCtxSynchronize());
	}
	OK(cu.cuCtxSynchronize());
	return read_log();
}

/* Handles come back, code and limits change: graphs end with what they were made of. */
static void graphs_end(void)
{
	static const struct {
		unsigned row;
		uint64_t arg, second;
	} ends[] = { { ROW_cuModuleUnload, 1 }, { ROW_cuLibraryUnload, 1 }, { ROW_cuCtxSetLimit, 0, 77 },
		{ ROW_cuStreamDestroy_v2, (uintptr_t)OTHER }, { ROW_cuCtxDestroy_v2, 0 } };

	for (unsigned i = 0; i < sizeof(ends) / sizeof(*ends); i++) {
		uint64_t args[6] = { ends[i].arg ? ends[i].arg : (uintptr_t)own, ends[i].second };
		if (ends[i].row == ROW_cuCtxSetLimit)
			args[0] = 0;
		steps(plain, HOME, OTHER, false);
		CHECK(stub.live_graphs > 0);
		OK(call(ends[i].row, args));
		CHECK_EQ(stub.live_graphs, 0);
	}
}

int main(void)
{
	pthread_t t;

	CHECK(!api_load());
	OK(cu.cuInit(0));
	OK(cu.cuCtxGetCurrent(&own));
	stub.busy = 1;
	CHECK(steps(plain, HOME, OTHER, false) > 5);
	CHECK(steps(plain, BLOCKING, BLOCKING_TOO, true) > 5);
	CHECK(steps(plain, BLOCKING, OTHER, true) > 5);
	/* The legacy stream is ordered with a blocking stream, and would not be with its part of such a graph. */
	CHECK_EQ(steps(plain, HOME, BLOCKING, true), 0);
	/* What the graph would wait for is more than the program said. */
	CHECK_EQ(steps(earlier_record, HOME, OTHER, true), 0);
	CHECK(steps(other_goes_on, HOME, OTHER, true) > 5);
	CHECK(steps(other_does_more, HOME, OTHER, true) > 5);
	/* Its part of the first graph may wait for what the second home is to do. */
	stub.idle = (uintptr_t)OTHER;
	CHECK(steps(second_home, HOME, OTHER, true) > 5);
	stub.idle = 0;
	graphs_end();
	CHECK(!pthread_create(&t, NULL, call_once, NULL));
	pthread_join(t, NULL);
	shared = true;
	CHECK(steps(plain, HOME, OTHER, false) > 5);
	return 0;
}
