/* One to three operations again and again: known after as many as say so, and never of anything longer. */
#include <criterion/criterion.h>

#include "repeat.h"

static void feed(struct repeat *r, uint32_t period, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		repeat_feed(r, 100 + i % period);
}

Test(repeat, is_known_and_predicts_what_comes)
{
	for (uint32_t period = 1; period <= REPEAT_LONGEST; period++) {
		struct repeat r = { 0 };
		uint32_t ahead[10], first;

		feed(&r, period, period + REPEAT_SURE - 1);
		cr_assert_not(repeat_known(&r), "%u: too early", period);
		repeat_feed(&r, 100 + (period + REPEAT_SURE - 1) % period);
		cr_assert_eq(r.period, period);
		first = r.position;
		for (uint32_t i = period + REPEAT_SURE, k = 0; k < 20; i++, k++) {
			cr_expect_eq(r.position, (first + k) % period);
			repeat_predict(&r, ahead, 10);
			for (uint32_t j = 0; j < 10; j++)
				cr_expect_eq(ahead[j], 100 + (i + j) % period, "%u: %u", period, j);
			repeat_feed(&r, 100 + i % period);
		}
		cr_expect_eq(r.generation, 1);
	}
}

Test(repeat, is_over_with_the_first_other_token)
{
	struct repeat r = { 0 };

	feed(&r, 1, 2 * REPEAT_SURE);
	cr_assert(repeat_known(&r));
	repeat_feed(&r, 7);
	cr_assert_not(repeat_known(&r));
	feed(&r, 1, REPEAT_SURE);
	cr_assert_not(repeat_known(&r));
	feed(&r, 1, 1);
	cr_assert(repeat_known(&r));
	cr_expect_eq(r.generation, 2);
}

Test(repeat, is_not_what_is_longer)
{
	struct repeat r = { 0 };

	for (uint32_t i = 0; i < 10000; i++) {
		repeat_feed(&r, 100 + i % (REPEAT_LONGEST + 1));
		cr_assert_not(repeat_known(&r));
	}
}
