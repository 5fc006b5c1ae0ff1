/* The profiler's iteration finder, as gpu/ wants to see it. */
#include "finder.h"
#include "profiler/iteration.h"

#define HISTORY 32768
#define MIN_CLAIM ITERATION_MIN_CLAIM

static const struct iteration_config config = { .history = HISTORY, .min_claim = MIN_CLAIM };

static size_t size(void)
{
	return iteration_size(&config);
}

static int init(void *mem, size_t bytes, void **ret_finder)
{
	return iteration_init(mem, bytes, &config, (struct iteration **)ret_finder);
}

static void feed(void *finder, uint32_t token, uint64_t ns)
{
	iteration_feed(finder, token, ns);
}

/* A step that is only being tried is good enough: what is queued is compared with it anyway. */
static bool where(const void *finder, struct finder_place *ret_place)
{
	struct iteration_stat st;

	iteration_stat(finder, &st);
	*ret_place = (struct finder_place){ st.position, st.window, st.generation };
	return st.state >= ITERATION_TRYING && st.in_step && st.window;
}

static uint32_t predict(const void *finder, uint32_t *ret_tokens, uint32_t max)
{
	return iteration_predict(finder, ret_tokens, max);
}

static void reset(void *finder)
{
	iteration_reset(finder);
}

static const struct finder_ops ops = { size, init, feed, where, predict, reset };
const struct finder_ops *gpu_finder = &ops;
