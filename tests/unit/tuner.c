/* The fastest of several ways is found whatever the order, found again when it changes, and one that cannot be measured
 * does not keep the others from being taken.  A window keeps its way until it is judged, by what moved something. */
#include <criterion/criterion.h>

#include "tuner.h"

/* How often each way was taken in n turns in which `bytes` took ticks[way]; 0: it cannot be measured. */
static void work(struct tuner *t, unsigned ways, const uint64_t *ticks, unsigned n, unsigned *ret_taken)
{
	for (unsigned i = 0; i < ways; i++)
		ret_taken[i] = 0;
	for (unsigned i = 0; i < n; i++) {
		unsigned way = tuner_choose(t, ways);
		cr_assert_lt(way, ways);
		ret_taken[way]++;
		if (ticks[way])
			tuner_took(t, way, 1 << 20, ticks[way] + i % 7);
	}
}

Test(tuner, finds_the_fastest_wherever_it_is)
{
	for (unsigned ways = 2; ways <= TUNER_WAYS; ways++)
		for (unsigned best = 0; best < ways; best++) {
			struct tuner t = { 0 };
			uint64_t ticks[TUNER_WAYS];
			unsigned taken[TUNER_WAYS];
			for (unsigned i = 0; i < ways; i++)
				ticks[i] = i == best ? 1000 : 1500 + 100 * i;
			work(&t, ways, ticks, 1000, taken);
			cr_expect_gt(taken[best], 950, "%u of %u: %u", best, ways, taken[best]);
			for (unsigned i = 0; i < ways; i++)
				cr_expect_geq(taken[i], 3, "%u was never tried", i);
		}
}

Test(tuner, follows_a_change)
{
	for (unsigned ways = 2; ways <= TUNER_WAYS; ways++) {
		struct tuner t = { 0 };
		uint64_t ticks[TUNER_WAYS] = { 1000, 2000, 3000 };
		unsigned taken[TUNER_WAYS];
		work(&t, ways, ticks, 200, taken);
		cr_expect_gt(taken[0], 180);
		ticks[0] = 4000;
		work(&t, ways, ticks, 2000, taken);
		cr_expect_gt(taken[1], 1500, "of %u: %u", ways, taken[1]);
	}
}

Test(tuner, does_without_what_cannot_be_measured)
{
	for (unsigned ways = 2; ways <= TUNER_WAYS; ways++) {
		struct tuner t = { 0 };
		uint64_t ticks[TUNER_WAYS] = { 1000, 0, 0 };
		unsigned taken[TUNER_WAYS];
		work(&t, ways, ticks, 1000, taken);
		cr_expect_gt(taken[0], 900);
	}
}

Test(tuner, tries_all_for_as_long_as_nothing_is_known)
{
	struct tuner t = { 0 };
	uint64_t ticks[TUNER_WAYS] = { 0 };
	unsigned taken[TUNER_WAYS];

	work(&t, TUNER_WAYS, ticks, 3000, taken);
	for (unsigned i = 0; i < TUNER_WAYS; i++)
		cr_expect_eq(taken[i], 1000);
}

Test(tuner, a_window_keeps_its_way_until_it_is_judged)
{
	struct tuner t = { 0 };
	struct tuner_window w = { 0 };

	cr_expect(tuner_window_begin(&w, &t, 2));
	cr_expect_eq(w.way, 0);
	cr_expect(!tuner_window_add(&w, 100, 10, 256));
	cr_expect(!tuner_window_begin(&w, &t, 2), "begun twice");
	cr_expect(!tuner_window_add(&w, 0, 1u << 30, 256), "what moved nothing was counted");
	cr_expect(tuner_window_add(&w, 156, 6, 256));
	tuner_window_judge(&w, &t, 16);
	cr_expect_eq(t.rate[0], (256u << 10) / 32);
	cr_expect(tuner_window_begin(&w, &t, 2));
	cr_expect_eq(w.way, 1);
	tuner_window_add(&w, 1, 1u << 30, 256);
	tuner_window_drop(&w);
	cr_expect(tuner_window_begin(&w, &t, 2));
	cr_expect_eq(w.ticks, 0);
	cr_expect_eq(t.samples[1], 0);
}
