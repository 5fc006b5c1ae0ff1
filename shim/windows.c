/* The profiler's iteration finder, as gpu/ wants to see it. What it finds is told here, too. */
#include "finder.h"
#include "log.h"
#include "profile.h"
#include "profiler/iteration.h"
#include "profiler/repeat.h"
#include "stats.h"

#define HISTORY 32768
#define MIN_CLAIM ITERATION_MIN_CLAIM
#define OF_REPEAT (1u << 31) /* generations of the one finder are not those of the other */

static const struct iteration_config config = { .history = HISTORY, .min_claim = MIN_CLAIM };

struct window {
	struct iteration *it;
	struct repeat repeat;
	uint64_t began_ns, began; /* the step that goes on: when, and after how many operations */
};

static size_t size(void)
{
	return sizeof(struct window) + iteration_size(&config);
}

static int init(void *mem, size_t bytes, void **ret_finder)
{
	struct window *w = mem;
	int rc = iteration_init(w + 1, bytes - sizeof(*w), &config, &w->it);

	if (rc)
		return rc;
	w->repeat = (struct repeat){ 0 };
	profile_activate();
	*ret_finder = w;
	return 0;
}

static void tell_found(const struct window *w)
{
	struct iteration_stat st;

	iteration_stat(w->it, &st);
	stat_set(STAT_cuda_step_operations, st.period);
	stat_set(STAT_cuda_step_us, st.period_ns / 1000);
	profile_found(st.period, st.period_ns, st.support);
	log_info("step found: %u operations, %.1f ms (%llu steps)%s", st.period,
		(double)st.period_ns / 1e6, (unsigned long long)st.steps,
		st.marked ? ", by DLACCEL_STEP_MARK" : "");
}

static void tell_boundary(struct window *w, unsigned events, uint64_t ns)
{
	struct iteration_stat st;

	iteration_stat(w->it, &st);
	if (st.state == ITERATION_KNOWN && events & ITERATION_WHOLE) {
		stat_inc(STAT_cuda_steps);
		profile_step(w->began_ns, ns - w->began_ns, (uint32_t)(st.start - w->began));
	}
	w->began_ns = ns;
	w->began = st.start;
}

static void feed(void *finder, uint32_t token, uint64_t ns, bool marked)
{
	struct window *w = finder;
	unsigned events;

	if (marked)
		iteration_mark(w->it);
	events = iteration_feed(w->it, token, ns);
	repeat_feed(&w->repeat, token);
	if (events & ITERATION_FOUND)
		tell_found(w);
	if (events & ITERATION_BOUNDARY)
		tell_boundary(w, events, ns);
}

static bool where_of_repeat(const struct repeat *r, struct finder_place *ret_place)
{
	if (!repeat_known(r))
		return false;
	*ret_place = (struct finder_place){ r->position, r->period, OF_REPEAT | r->generation };
	return true;
}

/* A step that is only being tried is good enough: what is queued is compared with it anyway. */
static bool where(const void *finder, struct finder_place *ret_place)
{
	const struct window *w = finder;
	uint32_t generation, position;
	struct iteration_stat st;

	if (!iteration_place(w->it, &generation, &position))
		return where_of_repeat(&w->repeat, ret_place);
	iteration_stat(w->it, &st);
	*ret_place = (struct finder_place){ position, st.window, generation & ~OF_REPEAT };
	return true;
}

static uint32_t predict(const void *finder, uint32_t *ret_tokens, uint32_t max)
{
	const struct window *w = finder;
	uint32_t generation, position;

	if (iteration_place(w->it, &generation, &position) || !repeat_known(&w->repeat))
		return iteration_predict(w->it, ret_tokens, max);
	repeat_predict(&w->repeat, ret_tokens, max);
	return max;
}

static void reset(void *finder)
{
	struct window *w = finder;

	iteration_reset(w->it);
	w->repeat = (struct repeat){ 0 };
}

static const struct finder_ops ops = { size, init, feed, where, predict, reset };
const struct finder_ops *gpu_finder = &ops;
