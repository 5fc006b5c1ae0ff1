#include <criterion/criterion.h>
#include <stdlib.h>

#include "iteration_run.h"

/* ---- predictions ---- */

Test(iteration_rules, predicts_the_window_that_comes_back, .timeout = 60)
{
	for (unsigned k = 0; k < trace_name_count; k++) {
		struct trace *tr = trace(k);
		struct stream *s = plain_stream(tr, 16, 5);
		struct run *r = run_new(ITERATION_HISTORY, false);
		uint32_t ahead[4096], n, right = 0, all = 0, at = 9 * tr->step[0].count;

		run_feed(r, s, 0, at);
		for (; at + 1200 < s->count; at += 1000) {
			n = iteration_predict(r->it, ahead, 1000);
			cr_assert_eq(n, 1000, "%s: %u", trace_names[k], n);
			for (uint32_t j = 0; j < n; j++)
				right += ahead[j] == s->t[at + j].token;
			all += n;
			run_feed(r, s, at, at + 1000);
		}
		cr_assert_gt(all, 3000);
		/* the rest are copies whose sizes depend on the data */
		cr_expect_geq(
			right * 100ull, all * 96ull, "%s: %u of %u", trace_names[k], right, all);
		run_free(r);
		stream_free(s);
		trace_free(tr);
	}
}

/* The pair names a place: the same one for the same tokens of every later step. */
Test(iteration_rules, a_place_comes_back_with_its_tokens, .timeout = 60)
{
	struct trace *tr = trace(2);
	struct stream *s = plain_stream(tr, 16, 5);
	struct run *r = run_new(ITERATION_HISTORY, false);
	uint32_t period = tr->step[0].count, at = 9 * period, generation[2], position[2];

	run_feed(r, s, 0, at);
	cr_assert(iteration_place(r->it, &generation[0], &position[0]));
	for (uint32_t k = 1; k <= 2 * period; k++) {
		run_feed(r, s, at + k - 1, at + k);
		cr_assert(iteration_place(r->it, &generation[1], &position[1]));
		cr_assert_eq(generation[1], generation[0]);
		cr_assert_eq(position[1], (position[0] + k) % period, "after %u", k);
	}
	run_free(r);
	stream_free(s);
	trace_free(tr);
}

static uint32_t changed_token(uint32_t k, uint32_t every)
{
	uint32_t x = (k + 1) * 2654435761u;

	return ((x ^ x >> 15) * 2246822519u) ^ (every && k % every == 0);
}

/* A part of the step that is another from now on is expected as it comes now, in the same places each time. */
static void change_for_good(uint32_t period, uint32_t every, uint32_t at)
{
	struct run *r = run_new(ITERATION_HISTORY, false);
	uint32_t ahead[100], generation[2], position[2], n = at + 8 * period;

	for (uint32_t i = 0; i < n; i++)
		iteration_feed(r->it, changed_token(i % period, i >= at ? every : 0), 1000 * i);
	cr_assert(iteration_place(r->it, &generation[0], &position[0]), "%u of %u", every, period);
	for (uint32_t i = 0; i < 10 * period; i++) {
		cr_assert_eq(iteration_predict(r->it, ahead, period), period);
		for (uint32_t k = 0; k < period; k++)
			cr_assert_eq(ahead[k], changed_token((n + i + k) % period, every), "%u ahead of %u", k, i);
		iteration_feed(r->it, changed_token((n + i) % period, every), 1000 * (n + i));
	}
	cr_assert(iteration_place(r->it, &generation[1], &position[1]));
	cr_assert_eq(generation[1], generation[0]);
	cr_assert_eq(position[1], position[0]);
	run_free(r);
}

/* Of a step that is known, and of one that is only being tried; also where no three tokens in a row are the old ones. */
Test(iteration_rules, what_changes_for_good_is_expected)
{
	for (uint32_t every = 1; every <= 4; every++)
		for (uint32_t period = 20; period <= 100; period += 40) {
			change_for_good(period, every, 3010);
			change_for_good(period, every, 610);
		}
}

Test(iteration_rules, never_predicts_more_than_a_step)
{
	struct run *r = run_new(ITERATION_HISTORY, false);
	uint32_t ahead[512], next, n, i;
	struct iteration_stat st;

	cr_expect_eq(iteration_predict(r->it, ahead, 512), 0);
	cr_expect_not(iteration_next(r->it, &next));
	cr_expect_not(iteration_place(r->it, &next, &n));
	for (i = 0; i < 6000; i++)
		iteration_feed(r->it, i % 100 * 7 + 1, i * 1000);
	n = iteration_predict(r->it, ahead, 512);
	cr_expect_eq(n, 100);
	for (i = 0; i < n; i++)
		cr_expect_eq(ahead[i], (6000 + i) % 100 * 7 + 1);
	cr_expect(iteration_next(r->it, &next));
	cr_expect_eq(next, 1);
	iteration_stat(r->it, &st);
	cr_expect_eq(st.period, 100);
	cr_expect_eq(st.period_ns, 100000);
	run_free(r);
}

/* A window of 1,000 launches that comes back unchanged is usable at its fourth time. */
Test(iteration_rules, a_clean_window_is_a_candidate_after_three_times)
{
	struct run *r = run_new(ITERATION_HISTORY, false);
	uint64_t state = 11;
	uint32_t kind[1000], ahead[1000], i;

	for (i = 0; i < 1000; i++)
		kind[i] = (uint32_t)random_next(&state) % 300;
	for (i = 0; i < 3000; i++)
		note_events(r, iteration_feed(r->it, kind[i % 1000], i * 3000), i);
	cr_expect_eq(r->stat.state, ITERATION_TRYING);
	cr_expect_eq(r->stat.period, 1000, "%u", r->stat.period);
	cr_expect_eq(iteration_predict(r->it, ahead, 1000), 1000);
	for (i = 0; i < 1000; i++)
		cr_expect_eq(ahead[i], kind[i], "at %u", i);
	run_free(r);
}

/* ---- change, loss, return ---- */

Test(iteration_rules, a_change_of_program_is_noticed, .timeout = 60)
{
	struct trace *a = trace(0), *b = trace(2);
	struct stream *s = plain_stream(a, 20, 1);
	uint32_t change = s->count;
	struct run *r;

	stream_steps(s, b, 30);
	r = run_new(ITERATION_HISTORY, false);
	run_feed(r, s, 0, change);
	cr_assert_eq(r->stat.state, ITERATION_KNOWN);
	cr_expect_eq(r->lost, 0);
	run_feed(r, s, change, change + 4 * a->step[0].count);
	cr_expect_eq(r->lost, 1, "%u losses within four of its periods", r->lost);
	run_feed(r, s, change + 4 * a->step[0].count, s->count);
	cr_expect_eq(r->stat.state, ITERATION_KNOWN);
	cr_expect_eq(r->stat.period, b->step[0].count, "%u", r->stat.period);
	run_free(r);
	stream_free(s);
	trace_free(a);
	trace_free(b);
}

Test(iteration_rules, a_step_that_ends_is_lost_for_good)
{
	struct trace *tr = trace(3);
	struct stream *s = plain_stream(tr, 16, 1);
	struct run *r = run_new(ITERATION_HISTORY, false);
	uint64_t state = 5;
	uint32_t i, ahead;

	run_feed(r, s, 0, s->count);
	cr_assert_eq(r->stat.state, ITERATION_KNOWN);
	for (i = 0; i < 30000; i++)
		note_events(
			r, iteration_feed(r->it, (uint32_t)random_next(&state), s->now += 1000), i);
	cr_expect_eq(r->lost, 1, "%u losses", r->lost);
	cr_expect_leq(r->lost_at, 4 * (int64_t)tr->step[0].count);
	cr_expect_eq(r->found, 1);
	cr_expect_eq(r->stat.state, ITERATION_NONE);
	cr_expect_eq(r->stat.period, 0);
	cr_expect_eq(iteration_predict(r->it, &ahead, 1), 0);
	run_free(r);
	stream_free(s);
	trace_free(tr);
}

/* Half of each step still comes, but no two of them have the same length any more. */
Test(iteration_rules, steps_of_ever_other_lengths_are_lost)
{
	struct run *r = run_new(ITERATION_HISTORY, false);
	uint64_t state = 3, now = 0, i = 0;
	uint32_t k, n, rest;

	for (k = 0; k < 200; k++) {
		rest = k < 50 ? 0 : 60 + (uint32_t)random_next(&state) % 200;
		for (n = 0; n < (k < 50 ? 200 : 120); n++)
			note_events(r, iteration_feed(r->it, n, now += 5000), i++);
		if (k == 49)
			cr_assert_eq(r->stat.state, ITERATION_KNOWN);
		while (rest--)
			note_events(r,
				iteration_feed(r->it, (uint32_t)random_next(&state), now += 5000),
				i++);
	}
	cr_expect_eq(r->lost, 1, "%u losses", r->lost);
	cr_expect_neq(r->stat.state, ITERATION_KNOWN);
	run_free(r);
}

/* A long pause in the training (saving, a long evaluation): the step is known again at once. */
Test(iteration_rules, a_step_that_returns_is_known_again_soon)
{
	struct trace *tr = trace(1);
	struct stream *s = plain_stream(tr, 14, 1);
	struct run *r = run_new(ITERATION_HISTORY, false);
	uint32_t i, before = s->count;
	uint64_t state = 9;

	run_feed(r, s, 0, before);
	for (i = 0; i < 15000; i++)
		note_events(
			r, iteration_feed(r->it, (uint32_t)random_next(&state), s->now += 1000), i);
	cr_assert_eq(r->lost, 1, "%u", r->lost);
	stream_steps(s, tr, 3);
	run_feed(r, s, before, s->count);
	cr_expect_eq(r->found, 2, "not found again within three steps");
	cr_expect_eq(r->stat.state, ITERATION_KNOWN);
	run_free(r);
	stream_free(s);
	trace_free(tr);
}

/* ---- where no step may be claimed ---- */

static void expect_no_claim(const struct stream *s, const char *what, uint64_t seed)
{
	struct run *r = run_stream(s);

	cr_expect_eq(r->found, 0, "%s, seed %lu: claimed %u tokens at %ld", what, seed,
		r->stat.window, (long)r->found_at);
	cr_expect_neq(r->stat.state, ITERATION_KNOWN);
	run_free(r);
}

/* Where only a few kinds of tokens exist, chance alone predicts many of them. */
static void expect_no_candidate(const struct stream *s, uint32_t kinds, uint64_t seed)
{
	struct run *r = run_stream(s);

	cr_expect_eq(
		r->candidates, 0, "%u kinds, seed %lu: %u tokens", kinds, seed, r->first_candidate);
	run_free(r);
}

Test(iteration_rules, random_streams_have_no_step, .timeout = 240)
{
	for (uint32_t kinds = 1; kinds <= 16384; kinds += kinds < 6 ? 1 : 3 * kinds) {
		for (uint64_t seed = 1; seed <= SEEDS; seed++) {
			struct stream *s = stream_new();
			uint64_t state = seed * 1000 + kinds;

			for (int i = 0; i < 30000; i++)
				stream_add(s, (uint32_t)(random_next(&state) % kinds),
					s->now += 2000, -1, -1);
			expect_no_claim(s, "random", seed);
			expect_no_candidate(s, kinds, seed);
			stream_free(s);
		}
	}
}

/* Runs of real launches, but in no order that comes back. */
Test(iteration_rules, shuffled_pieces_have_no_step, .timeout = 240)
{
	struct trace *tr[4];

	for (unsigned k = 0; k < 4; k++)
		tr[k] = trace(k);
	for (uint64_t seed = 1; seed <= 2 * SEEDS; seed++) {
		struct stream *s = stream_new();
		uint64_t state = seed;

		while (s->count < 40000) {
			const struct trace *from = tr[random_next(&state) % 4];
			uint32_t n = 8 + random_next(&state) % 60,
				 at = random_next(&state) % (from->count - n);

			for (uint32_t i = 0; i < n; i++)
				stream_add(s, from->token[at + i], s->now += 5000, -1, -1);
		}
		expect_no_claim(s, "shuffled", seed);
		stream_free(s);
	}
	for (unsigned k = 0; k < 4; k++)
		trace_free(tr[k]);
}

Test(iteration_rules, too_short_or_aperiodic, .timeout = 120)
{
	for (unsigned k = 0; k < trace_name_count; k++) {
		struct trace *tr = trace(k);

		for (int steps = 1; steps <= 3; steps++) {
			struct stream *s = plain_stream(tr, steps, 1);

			expect_no_claim(s, "too short", (uint64_t)steps);
			stream_free(s);
		}
		trace_free(tr);
	}
	struct stream *growing = stream_new(), *morse = stream_new(), *distinct = stream_new();
	for (uint32_t n = 10; n < 300; n += 3)
		for (uint32_t i = 0; i < n; i++)
			stream_add(growing, i, growing->now += 2000, -1, -1);
	for (uint32_t i = 0; i < 40000; i++) {
		stream_add(morse, (uint32_t)__builtin_popcount(i) & 1, i * 2000ull, -1, -1);
		stream_add(distinct, i, i * 2000ull, -1, -1);
	}
	expect_no_claim(growing, "growing", 0);
	expect_no_claim(morse, "Thue-Morse", 0);
	expect_no_claim(distinct, "all distinct", 0);
	stream_free(growing);
	stream_free(morse);
	stream_free(distinct);
}

/* One step after another in which loops over the parameters are most of the tokens. */
Test(iteration_rules, inner_loops_are_not_claimed, .timeout = 120)
{
	struct stream *s = stream_new();
	struct run *r;
	uint32_t k, l, i;

	for (k = 0; k < 40; k++) {
		for (i = 0; i < 60; i++)
			stream_add(
				s, 100 + i, s->now += i ? 8000 : 2000000, (int32_t)k, (int32_t)i);
		for (l = 0; l < 12; l++)
			for (i = 0; i < 30; i++)
				stream_add(s, 1000 + i, s->now += 8000, (int32_t)k, 1000);
		for (l = 0; l < 12; l++)
			for (i = 0; i < 60; i++)
				stream_add(s, 2000 + i, s->now += 8000, (int32_t)k, 1000);
		for (l = 0; l < 100; l++)
			for (i = 0; i < 4; i++)
				stream_add(s, 3000 + i, s->now += 8000, (int32_t)k, 1000);
	}
	r = run_stream(s);
	cr_expect_eq(r->stat.state, ITERATION_KNOWN);
	cr_expect_eq(r->stat.period, 60 + 12 * 90 + 400, "%u", r->stat.period);
	cr_expect_eq(r->found, 1, "an inner loop was claimed before");
	run_free(r);
	stream_free(s);
}

static void layers(struct stream *s, int step, uint32_t first, uint32_t size, uint32_t times)
{
	while (times--)
		for (uint32_t i = 0; i < size; i++)
			stream_add(s, first + i, s->now += 8000, step, 1 << 20);
}

/* A model of like layers only: they begin without a pause, the step does not. */
Test(iteration_rules, layers_are_no_steps, .timeout = 60)
{
	struct stream *s = stream_new();
	struct run *r;

	for (int k = 0; k < 30; k++) {
		s->now += 900000;
		layers(s, k, 100, 60, 1);
		layers(s, k, 1000, 70, 20);
	}
	r = run_stream(s);
	cr_expect_eq(r->stat.state, ITERATION_KNOWN);
	cr_expect_eq(r->stat.period, 1460, "%u", r->stat.period);
	run_free(r);
	stream_free(s);
}

/* Inner loops come and go; the step, once seen in a history that barely holds it, stays. */
Test(iteration_rules, loops_do_not_displace_the_step, .timeout = 60)
{
	struct stream *s = stream_new();
	struct run *r = run_new(16384, false);

	for (int k = 0; k < 30; k++) {
		s->now += 900000;
		layers(s, k, 100, 40, 1);
		layers(s, k, 1000, 50, 24);
		layers(s, k, 200, 30, 1);
		layers(s, k, 2000, 100, 24);
		layers(s, k, 3000, 4, 150);
	}
	run_feed(r, s, 0, s->count);
	cr_expect_eq(r->stat.state, ITERATION_KNOWN);
	cr_expect_eq(r->stat.period, 4270, "%u", r->stat.period);
	cr_expect_eq(r->lost, 0);
	run_free(r);
	stream_free(s);
}

/* The same beginning every time, and then something of ever another length. */
Test(iteration_rules, a_beginning_alone_is_no_step, .timeout = 120)
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct stream *s = stream_new();
		uint64_t state = seed;

		for (int k = 0; k < 2500; k++) {
			uint32_t rest = (uint32_t)(random_next(&state) % 16) * 10;

			layers(s, -1, 100, 80, 1);
			while (rest--)
				stream_add(
					s, (uint32_t)random_next(&state), s->now += 8000, -1, -1);
		}
		expect_no_claim(s, "a beginning", seed);
		stream_free(s);
	}
}

/* ---- the program's own marks ---- */

Test(iteration_rules, marks_override_what_is_guessed)
{
	struct run *r = run_new(4096, false);
	struct iteration_stat st;
	unsigned events, boundaries = 0, found = 0;
	uint32_t i, token;

	for (i = 0; i < 3000; i++) {
		/* a period of 50, but the program says that every third one begins a step */
		if (i % 150 == 30)
			iteration_mark(r->it);
		events = iteration_feed(r->it, i % 50, i * 1000ull);
		iteration_stat(r->it, &st);
		boundaries += !!(events & ITERATION_BOUNDARY);
		found += !!(events & ITERATION_FOUND);
		if (i < 180) { /* one mark makes no step: one boundary is guessed before the second */
			cr_assert_not(st.marked);
			cr_assert_eq(!!(events & ITERATION_BOUNDARY), i == 165);
			continue;
		}
		cr_assert(st.marked);
		cr_assert_eq(st.state, ITERATION_KNOWN);
		cr_assert_eq(st.start, i < 30 ? 0 : (i - 30) / 150 * 150 + 30, "at %u: %lu", i,
			st.start);
		cr_assert_eq(!!(events & ITERATION_BOUNDARY), i % 150 == 30);
		cr_assert_eq(st.position, (i - 30 + 1) % 150, "at %u: %u", i, st.position);
		cr_assert(iteration_next(r->it, &token));
		cr_assert_eq(token, (i + 1) % 50);
	}
	cr_expect_eq(st.period, 150);
	cr_expect_eq(st.period_ns, 150000);
	cr_expect_eq(boundaries, 20);
	cr_expect_eq(found, 1);
	iteration_reset(r->it);
	iteration_stat(r->it, &st);
	cr_expect_not(st.marked);
	cr_expect_eq(st.state, ITERATION_NONE);
	run_free(r);
}

/* Marks may be further apart than any step that could be found; they still count. */
Test(iteration_rules, marks_beyond_the_history)
{
	struct run *r = run_new(1024, false);
	struct iteration_stat st;
	uint32_t i;

	for (i = 0; i < 20001; i++) {
		if (i % 5000 == 0)
			iteration_mark(r->it);
		iteration_feed(r->it, i % 5000, i * 1000ull);
	}
	iteration_stat(r->it, &st);
	cr_expect_eq(st.state, ITERATION_KNOWN);
	cr_expect_eq(st.steps, 4);
	cr_expect_eq(st.period, 5000);
	cr_expect_eq(iteration_predict(r->it, &i, 1), 0);
	run_free(r);
}

/* ---- the frame ---- */

Test(iteration_rules, deferred_searches_find_the_same)
{
	struct trace *tr = trace(0);
	struct stream *s = plain_stream(tr, 16, 1);
	struct run *now = run_stream(s), *later = run_new(ITERATION_HISTORY, true);

	run_feed(later, s, 0, s->count);
	cr_expect_gt(later->due, 0);
	cr_expect_eq(now->due, 0);
	cr_expect_eq(later->stat.state, ITERATION_KNOWN);
	cr_expect_eq(later->stat.period, now->stat.period);
	cr_expect_eq(later->stat.start, now->stat.start);
	cr_expect_eq(later->stat.support, now->stat.support);
	run_free(later);
	run_free(now);
	stream_free(s);
	trace_free(tr);
}

Test(iteration_rules, bad_configurations_are_refused)
{
	struct iteration_config cfg = ITERATION_CONFIG_DEFAULT;
	struct iteration *it = NULL;
	uint64_t mem[64];

	cr_expect_eq(iteration_init(mem, sizeof(mem), &cfg, &it), -12);
	cr_expect_eq(iteration_init(NULL, 1 << 30, &cfg, &it), -22);
	cr_expect_eq(iteration_init((char *)mem + 1, 1 << 30, &cfg, &it), -22);
	cfg.history = 10;
	cr_expect_eq(iteration_size(&cfg), 0);
	cr_expect_eq(iteration_init(mem, sizeof(mem), &cfg, &it), -22);
	cfg.history = UINT32_MAX;
	cr_expect_eq(iteration_init(mem, sizeof(mem), &cfg, &it), -22);
	cr_expect_null(it);
}

/* Steps longer than a third of the history cannot be found and must not upset anything. */
Test(iteration_rules, a_small_history_finds_small_steps_only)
{
	struct run *small = run_new(1024, false), *large = run_new(1024, false);
	uint32_t i;

	for (i = 0; i < 40000; i++) {
		note_events(small, iteration_feed(small->it, i % 300, i * 1000ull), i);
		note_events(large, iteration_feed(large->it, i % 400, i * 1000ull), i);
	}
	cr_expect_eq(small->stat.state, ITERATION_KNOWN);
	cr_expect_eq(small->stat.period, 300);
	cr_expect_eq(large->found, 0);
	run_free(small);
	run_free(large);
}

Test(iteration_rules, tokens_tell_operations_apart)
{
	uint32_t g[3] = {4, 1, 1}, b[3] = {128, 1, 1}, g2[3] = {1, 4, 1};
	uint32_t one = iteration_token_launch(77, g, b, 0, 0);

	cr_expect_eq(one, iteration_token_launch(77, g, b, 0, 0));
	cr_expect_neq(one, iteration_token_launch(78, g, b, 0, 0));
	cr_expect_neq(one, iteration_token_launch(77, g2, b, 0, 0));
	cr_expect_neq(one, iteration_token_launch(77, b, g, 0, 0));
	cr_expect_neq(one, iteration_token_launch(77, g, b, 4, 0));
	cr_expect_neq(one, iteration_token_launch(77, g, b, 0, 4));
	cr_expect_neq(one, iteration_token_launch(77ull << 32, g, b, 0, 0));
	cr_expect_neq(iteration_token_copy(1, 4096, 0), iteration_token_copy(2, 4096, 0));
	cr_expect_neq(iteration_token_copy(1, 4096, 0), iteration_token_copy(1, 4097, 0));
	cr_expect_neq(iteration_token_graph(1, 0), iteration_token_copy(1, 0, 0));
	/* size classes: about a quarter of an octave */
	cr_expect_eq(iteration_token_alloc(1000), iteration_token_alloc(1023));
	cr_expect_neq(iteration_token_alloc(1000), iteration_token_alloc(1300));
	cr_expect_eq(iteration_token_socket(0, 65536), iteration_token_socket(0, 65600));
	cr_expect_neq(iteration_token_socket(0, 65536), iteration_token_socket(1, 65536));
	cr_expect_neq(iteration_token_alloc(7), iteration_token_alloc(6));
	cr_expect_neq(iteration_token_alloc(UINT64_MAX), iteration_token_alloc(UINT64_MAX / 2));
}
