/*
 * What a graph keeps of the order of a run, against that order itself: on random runs the edges must
 * lead from one node to another exactly if the program's streams and events do.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "plan.h"

#define MOST 60
#define STREAMS 5

static struct plan plan;
static struct plan_kind run[MOST];
static bool before[MOST][MOST]; /* by streams and events */
static bool edge[MOST][MOST];   /* by the graph's nodes, and what follows from them */

static uint32_t rnd(uint32_t n)
{
	static uint64_t x = 88172645463325252u;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return (uint32_t)(x >> 20) % n;
}

static struct plan_kind some_kind(void)
{
	static const uint8_t class[] = { PLAN_NODE, PLAN_NODE, PLAN_NODE, PLAN_RECORD, PLAN_WAIT };

	return (struct plan_kind){ class[rnd(5)], (uint8_t)(1 + rnd(STREAMS - 1)), (uint8_t)(1 + rnd(STREAMS - 1)) };
}

static void comes_after(uint32_t i, uint32_t k)
{
	before[k][i] = true;
	for (uint32_t j = 0; j < k; j++)
		before[j][i] |= before[j][k];
}

/* Behind the stream's last operation; a wait, behind the latest record of its source, too. */
static void order_by_definition(uint32_t i)
{
	for (uint32_t k = 0; k < i; k++) {
		bool same = run[k].stream == run[i].stream;
		bool told = run[i].class == PLAN_WAIT && run[k].class == PLAN_RECORD && run[k].stream == run[i].source;
		for (uint32_t later = k + 1; later < i && told; later++)
			told = run[later].class != PLAN_RECORD || run[later].stream != run[k].stream;
		if (same || told)
			comes_after(i, k);
	}
}

static void order_by_edges(uint32_t i)
{
	for (uint32_t e = 0; e < plan.after_count; e++) {
		edge[plan.after[e]][i] = true;
		for (uint32_t j = 0; j < i; j++)
			edge[j][i] |= edge[j][plan.after[e]];
	}
}

/* Whether whatever comes next on home comes after all that the other streams have done. */
static bool joined(uint32_t n)
{
	for (uint32_t k = 0; k < n; k++) {
		bool seen = run[k].stream == plan.home;
		for (uint32_t h = k + 1; h < n && !seen; h++)
			seen = run[h].stream == plan.home && before[k][h];
		if (!seen)
			return false;
	}
	return true;
}

static bool is_node(uint32_t i)
{
	return run[i].class == PLAN_NODE;
}

static uint32_t random_run(uint32_t *ret_closed)
{
	uint32_t n = 0;

	memset(before, 0, sizeof(before));
	memset(edge, 0, sizeof(edge));
	plan_begin(&plan);
	for (uint32_t tries = 0; n < MOST && tries < 200; tries++) {
		struct plan copy = plan;
		run[n] = some_kind();
		if (!plan_add(&plan, run[n])) {
			plan = copy;
			continue;
		}
		order_by_definition(n);
		if (run[n].class != PLAN_WAIT)
			order_by_edges(n);
		n++;
		cr_assert_eq(plan_closed(&plan), joined(n));
		*ret_closed += plan_closed(&plan);
	}
	return n;
}

Test(plan, edges_are_the_order, .timeout = 120)
{
	uint32_t closed = 0, pairs = 0;

	for (int round = 0; round < 2000; round++) {
		uint32_t n = random_run(&closed);
		for (uint32_t i = 0; i < n; i++)
			for (uint32_t j = i + 1; j < n; j++) {
				if (!is_node(i) || run[j].class == PLAN_WAIT)
					continue;
				cr_assert_eq(edge[i][j], before[i][j], "round %d: %u and %u", round, i, j);
				pairs += before[i][j];
			}
	}
	cr_assert_gt(closed, 2000);
	cr_assert_gt(pairs, 100000);
}

static bool add(enum plan_class class, uint8_t stream, uint8_t source)
{
	return plan_add(&plan, (struct plan_kind){ (uint8_t)class, stream, source });
}

Test(plan, only_behind_home)
{
	plan_begin(&plan);
	cr_assert(add(PLAN_NODE, 1, 0));
	cr_assert_not(add(PLAN_NODE, 2, 0), "another stream that nothing orders");
	plan_begin(&plan);
	cr_assert(add(PLAN_NODE, 1, 0));
	cr_assert_not(add(PLAN_WAIT, 2, 1), "an event from before, when home has gone on");
	plan_begin(&plan);
	cr_assert(add(PLAN_WAIT, 2, 1));
	cr_assert_eq(plan.home, 1);
	cr_assert(add(PLAN_NODE, 2, 0) && add(PLAN_WAIT, 3, 1));
	cr_assert_not(plan_closed(&plan));
}

Test(plan, the_legacy_stream_alone)
{
	plan_begin(&plan);
	cr_assert(add(PLAN_NODE, PLAN_LEGACY, 0) && add(PLAN_RECORD, PLAN_LEGACY, 0));
	cr_assert(plan_closed(&plan));
	cr_assert_not(add(PLAN_WAIT, 1, PLAN_LEGACY));
	plan_begin(&plan);
	cr_assert(add(PLAN_NODE, 1, 0) && add(PLAN_RECORD, 1, 0));
	cr_assert_not(add(PLAN_WAIT, PLAN_LEGACY, 1));
}

Test(plan, has_an_end)
{
	plan_begin(&plan);
	for (int i = 0; i < PLAN_MOST; i++)
		cr_assert(add(PLAN_NODE, 1, 0));
	cr_assert_not(add(PLAN_NODE, 1, 0));
	plan_begin(&plan);
	cr_assert_not(add(PLAN_OTHER, 1, 0));
}
