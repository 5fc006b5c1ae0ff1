#include <criterion/criterion.h>
#include <stdlib.h>

#include "iteration_run.h"

/* ---- the steps of real runs ---- */

Test(iteration, traces_are_what_they_should_be)
{
	static const struct {
		uint32_t steps, size;
	} want[] = {{6, 1575}, {6, 2503}, {3, 1258}, {5, 1375}};

	for (unsigned k = 0; k < trace_name_count; k++) {
		struct trace *tr = trace(k);

		cr_expect_eq(tr->steps, want[k].steps, "%s", trace_names[k]);
		for (uint32_t n = 0; n < tr->steps; n++) {
			cr_expect_eq(tr->step[n].count, want[k].size, "%s %u", trace_names[k], n);
			cr_expect_lt(tr->step[n].forward, tr->step[n].optimizer);
			cr_expect_lt(tr->step[n].optimizer, tr->step[n].count);
		}
		trace_free(tr);
	}
}

/* The rows as they were recorded, nothing repeated: what three to six steps are enough for. */
Test(iteration, recorded_rows_give_the_period, .timeout = 60)
{
	for (unsigned k = 0; k < trace_name_count; k++) {
		struct trace *tr = trace(k);
		struct stream *s = stream_new();

		for (uint32_t i = 0; i < tr->count; i++)
			stream_add(s, tr->token[i], tr->ns[i], 0, (int32_t)i);
		struct run *r = run_stream(s);
		cr_expect_eq(r->stat.state, ITERATION_TRYING, "%s", trace_names[k]);
		cr_expect_eq(r->stat.window, tr->step[0].count, "%s: %u", trace_names[k],
			r->stat.window);
		cr_expect_eq(r->candidates, 1, "%s: %u candidates", trace_names[k], r->candidates);
		cr_expect_eq(r->lost, 0);
		run_free(r);
		stream_free(s);
		trace_free(tr);
	}
}

Test(iteration, clean_runs_are_exact, .timeout = 120)
{
	for (unsigned k = 0; k < trace_name_count; k++) {
		struct trace *tr = trace(k);

		for (uint64_t order = 1; order <= SEEDS; order++) {
			struct stream *s = plain_stream(tr, 24, order);
			struct run *r = run_stream(s);
			struct verdict v = judge(r, s, 0);

			cr_expect_eq(r->stat.state, ITERATION_KNOWN);
			cr_expect_eq(r->stat.period, tr->step[0].count, "%s: %u", trace_names[k],
				r->stat.period);
			cr_expect_eq(r->found, 1);
			cr_expect_eq(r->lost, 0);
			cr_expect_leq(r->found_at, 8 * (int64_t)tr->step[0].count);
			cr_expect_eq(v.missed + v.extra, 0, "%s: %u missed, %u extra",
				trace_names[k], v.missed, v.extra);
			cr_expect_geq(v.exact, 15);
			cr_expect_eq(r->whole + 1, r->boundaries + 1, "a step was not whole");
			cr_expect_geq(r->stat.support, 100, "%s: %u anchors", trace_names[k],
				r->stat.support);
			run_free(r);
			stream_free(s);
		}
		trace_free(tr);
	}
}

/* The figure of the first vision trace, known from elsewhere. */
Test(iteration, support_is_the_number_of_anchors)
{
	struct trace *tr = trace(0);
	struct stream *s = plain_stream(tr, 8, 1);
	struct run *r = run_stream(s);

	cr_expect_eq(r->stat.support, 718, "%u", r->stat.support);
	run_free(r);
	stream_free(s);
	trace_free(tr);
}

Test(iteration, boundary_follows_the_largest_pause, .timeout = 60)
{
	for (unsigned k = 0; k < trace_name_count; k++) {
		struct trace *tr = trace(k);
		struct stream *s = plain_stream(tr, 16, 7);
		struct run *r = run_stream(s);
		uint64_t pause = s->t[r->start[2]].ns - s->t[r->start[2] - 1].ns;
		uint32_t longer = 0;

		for (uint64_t i = r->start[2]; i + 1 < r->start[3]; i++)
			longer += s->t[i + 1].ns - s->t[i].ns > pause;
		cr_expect_leq(longer, 3, "%s: %u pauses are longer", trace_names[k], longer);
		run_free(r);
		stream_free(s);
		trace_free(tr);
	}
}

Test(iteration, period_in_time_is_the_median)
{
	struct trace *tr = trace(2);
	struct stream *s = plain_stream(tr, 30, 3);
	struct run *r = run_stream(s);
	uint64_t times[16], median;

	cr_assert_geq(r->boundaries, 17);
	for (uint32_t k = 0; k < 16; k++) {
		uint32_t b = r->boundaries - 17 + k + 1;

		times[k] = s->t[r->start[b]].ns - s->t[r->start[b - 1]].ns;
	}
	qsort(times, 16, sizeof(*times), by_value);
	median = times[8];
	cr_expect_eq(r->stat.period_ns, median, "%lu, not %lu", r->stat.period_ns, median);
	run_free(r);
	stream_free(s);
	trace_free(tr);
}

/* ---- changed tokens ---- */

static void check_changed(unsigned k, const struct trace *tr, const struct change *c)
{
	struct stream *plain = plain_stream(tr, 26, c->seed), *s = stream_changed(plain, c);
	struct run *r = run_stream(s);
	/* among so many changed tokens the beginning itself is often gone */
	uint64_t tolerance = c->ppm >= 100000 ? tr->step[0].count / 50 : 8;
	struct verdict v = judge(r, s, tolerance);
	uint32_t most = c->ppm >= 100000 ? 1 : 0;

	cr_expect_eq(
		r->stat.state, ITERATION_KNOWN, "%s %u seed %lu", trace_names[k], c->ppm, c->seed);
	cr_expect_eq(r->lost, 0, "%s %u seed %lu: lost", trace_names[k], c->ppm, c->seed);
	/* so it is found within 16 steps of 26, within 13 where less is changed */
	cr_expect_geq(v.steps, c->ppm >= 100000 ? 10 : 13,
		"%s %u seed %lu: only %u steps, found at %ld", trace_names[k], c->ppm, c->seed,
		v.steps, (long)r->found_at);
	cr_expect_leq(v.missed, most, "%s %u seed %lu: %u of %u missed", trace_names[k], c->ppm,
		c->seed, v.missed, v.steps);
	cr_expect_leq(v.extra, most + 1, "%s %u seed %lu: %u extra", trace_names[k], c->ppm,
		c->seed, v.extra);
	cr_expect_geq(v.exact * 100, v.steps * (c->ppm >= 100000 ? 40 : 85),
		"%s %u seed %lu: %u of %u exact", trace_names[k], c->ppm, c->seed, v.exact,
		v.steps);
	cr_expect_leq(away(r->stat.period, v.median_length), tr->step[0].count / 100,
		"%s %u seed %lu: %u, not %lu", trace_names[k], c->ppm, c->seed, r->stat.period,
		v.median_length);
	if (c->only_substitute)
		cr_expect_eq(r->stat.period, tr->step[0].count, "%s %u seed %lu: %u",
			trace_names[k], c->ppm, c->seed, r->stat.period);
	run_free(r);
	stream_free(s);
	stream_free(plain);
}

static void check_rate(uint32_t ppm, int only_substitute)
{
	for (unsigned k = 0; k < trace_name_count; k++) {
		struct trace *tr = trace(k);

		for (uint64_t seed = 1; seed <= SEEDS; seed++)
			check_changed(k, tr, &(struct change){ppm, seed, only_substitute});
		trace_free(tr);
	}
}

Test(iteration, half_a_percent_changed, .timeout = 240)
{
	check_rate(5000, 0);
}

Test(iteration, three_percent_changed, .timeout = 240)
{
	check_rate(30000, 0);
}

Test(iteration, twenty_percent_changed, .timeout = 240)
{
	check_rate(200000, 0);
}

Test(iteration, half_a_percent_substituted, .timeout = 240)
{
	check_rate(5000, 1);
}

Test(iteration, three_percent_substituted, .timeout = 240)
{
	check_rate(30000, 1);
}

Test(iteration, twenty_percent_substituted, .timeout = 240)
{
	check_rate(200000, 1);
}

/* ---- schedules ---- */

static void check_evaluation(
	unsigned k, const struct trace *tr, int batches, uint32_t ppm, uint64_t seed)
{
	struct stream *plain = stream_new(), *s;
	struct run *r;
	struct verdict v;

	plain->order = seed;
	for (int n = 0; n < 6; n++) {
		stream_steps(plain, tr, 5);
		stream_evaluation(plain, tr, batches);
	}
	s = stream_changed(plain, &(struct change){ppm, seed, 0});
	r = run_stream(s);
	v = judge(r, s, ppm ? 8 : 0);
	cr_expect_eq(r->stat.state, ITERATION_KNOWN);
	cr_expect_eq(r->lost, 0, "%s %d batches seed %lu: lost", trace_names[k], batches, seed);
	cr_expect_geq(v.steps, 20);
	cr_expect_eq(v.missed, 0, "%s %d batches %u seed %lu: %u missed", trace_names[k], batches,
		ppm, seed, v.missed);
	cr_expect_eq(v.extra, 0, "%s %d batches %u seed %lu: %u extra", trace_names[k], batches,
		ppm, seed, v.extra);
	cr_expect_leq(away(r->stat.period, tr->step[0].count), ppm ? 8 : 0, "%s: %u",
		trace_names[k], r->stat.period);
	run_free(r);
	stream_free(s);
	stream_free(plain);
}

static void check_evaluations(uint32_t ppm)
{
	for (unsigned k = 0; k < trace_name_count; k++) {
		struct trace *tr = trace(k);

		for (uint64_t seed = 1; seed <= 2; seed++) {
			check_evaluation(k, tr, 1, ppm, seed);
			check_evaluation(k, tr, 3, ppm, seed);
		}
		trace_free(tr);
	}
}

Test(iteration, an_evaluation_every_five_steps, .timeout = 240)
{
	check_evaluations(0);
}

Test(iteration, an_evaluation_every_five_changed_steps, .timeout = 240)
{
	check_evaluations(30000);
}

static void check_accumulation(unsigned k, const struct trace *tr, int micro, uint64_t order)
{
	struct stream *s = stream_new();
	struct verdict v;
	struct run *r;

	s->order = order;
	stream_accumulated(s, tr, 18, micro);
	r = run_stream(s);
	v = judge(r, s, 0);
	cr_expect_eq(
		r->stat.state, ITERATION_KNOWN, "%s x%d order %lu", trace_names[k], micro, order);
	cr_expect_eq(r->stat.period, accumulated_period(tr, micro), "%s x%d order %lu: %u, not %u",
		trace_names[k], micro, order, r->stat.period, accumulated_period(tr, micro));
	cr_expect_eq(v.missed, 0, "%s x%d: %u missed", trace_names[k], micro, v.missed);
	cr_expect_leq(v.extra, 1, "%s x%d: %u extra", trace_names[k], micro, v.extra);
	run_free(r);
	stream_free(s);
}

/* Micro-batches alone are seen first; the step that the optimizer ends is what counts. */
Test(iteration, gradient_accumulation, .timeout = 240)
{
	for (unsigned k = 0; k < trace_name_count; k++) {
		struct trace *tr = trace(k);

		for (uint64_t order = 1; order <= 2; order++) {
			check_accumulation(k, tr, 2, order);
			check_accumulation(k, tr, 4, order);
		}
		trace_free(tr);
	}
}

/* With changed tokens as well: the micro-batch or the whole step, never anything else. */
Test(iteration, gradient_accumulation_changed, .timeout = 240)
{
	for (unsigned k = 0; k < trace_name_count; k++) {
		struct trace *tr = trace(k);
		struct stream *plain = stream_new(), *s;
		uint32_t outer = accumulated_period(tr, 4), inner = tr->step[0].optimizer;
		struct run *r;

		stream_accumulated(plain, tr, 12, 4);
		s = stream_changed(plain, &(struct change){30000, k + 1, 0});
		r = run_stream(s);
		cr_expect_eq(r->stat.state, ITERATION_KNOWN);
		cr_expect(away(r->stat.period, outer) <= outer / 100 ||
				  away(r->stat.period, inner) <= inner / 100,
			"%s: %u, neither %u nor %u", trace_names[k], r->stat.period, inner, outer);
		run_free(r);
		stream_free(s);
		stream_free(plain);
		trace_free(tr);
	}
}
