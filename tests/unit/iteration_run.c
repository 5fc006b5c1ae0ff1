#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "iteration_run.h"

#define FRAME 64

struct run *run_new(uint32_t history, bool deferred)
{
	struct iteration_config cfg = ITERATION_CONFIG_DEFAULT;
	struct run *r = calloc(1, sizeof(*r));

	cfg.history = history;
	cfg.deferred = deferred;
	r->size = iteration_size(&cfg);
	r->mem = malloc(r->size + FRAME);
	memset(r->mem, 0xa5, r->size + FRAME);
	cr_assert_eq(iteration_init(r->mem, r->size, &cfg, &r->it), 0);
	r->found_at = r->lost_at = -1;
	return r;
}

void run_free(struct run *r)
{
	for (size_t k = 0; k < FRAME; k++)
		cr_assert_eq((unsigned char)r->mem[r->size + k], 0xa5, "wrote past its memory");
	free(r->mem);
	free(r);
}

static void note_boundary(struct run *r, unsigned events)
{
	if (events & ITERATION_FOUND)
		r->boundaries = r->whole = 0;
	if (!(events & ITERATION_BOUNDARY) || r->stat.state != ITERATION_KNOWN)
		return;
	cr_assert_lt(r->boundaries, MAX_BOUNDARIES);
	r->whole += !!(events & ITERATION_WHOLE);
	r->start[r->boundaries++] = r->stat.start;
}

void note_events(struct run *r, unsigned events, uint64_t i)
{
	iteration_stat(r->it, &r->stat);
	if (events & ITERATION_CANDIDATE && !r->candidates++)
		r->first_candidate = r->stat.window;
	if (events & ITERATION_FOUND && !r->found++)
		r->found_at = (int64_t)i;
	if (events & ITERATION_LOST && !r->lost++)
		r->lost_at = (int64_t)i;
	note_boundary(r, events);
}

void run_feed(struct run *r, const struct stream *s, uint32_t from, uint32_t to)
{
	unsigned events;
	uint32_t i;

	for (i = from; i < to; i++) {
		events = iteration_feed(r->it, s->t[i].token, s->t[i].ns);
		if (events & ITERATION_DUE) {
			r->due++;
			events |= iteration_search(r->it);
		}
		if (events)
			note_events(r, events, i);
	}
	iteration_stat(r->it, &r->stat);
}

struct run *run_stream(const struct stream *s)
{
	struct run *r = run_new(ITERATION_HISTORY, false);

	run_feed(r, s, 0, s->count);
	return r;
}

/* The phase at which most boundaries lie. */
static int32_t common_phase(const struct run *r, const struct stream *s)
{
	int32_t best = -1;
	uint32_t k, j, n, most = 0;

	for (k = 0; k < r->boundaries; k++) {
		for (j = 0, n = 0; j < r->boundaries; j++)
			n += s->t[r->start[j]].phase == s->t[r->start[k]].phase;
		if (n <= most || s->t[r->start[k]].phase < 0)
			continue;
		most = n;
		best = s->t[r->start[k]].phase;
	}
	return best;
}

int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Index of the first token of each step at or after the phase: where a boundary should be. */
static uint32_t true_places(const struct stream *s, int32_t phase, uint64_t *places, uint32_t room)
{
	int32_t last = -1;
	uint32_t i, n = 0;

	for (i = 0; i < s->count && n < room; i++) {
		if (s->t[i].step <= last || s->t[i].phase < phase)
			continue;
		last = s->t[i].step;
		places[n++] = i;
	}
	return n;
}

uint64_t away(uint64_t a, uint64_t b)
{
	return a > b ? a - b : b - a;
}

static void judge_place(
	const struct run *r, uint64_t place, uint64_t tolerance, bool *used, struct verdict *v)
{
	uint64_t best = UINT64_MAX;
	uint32_t k, at = 0;

	for (k = 0; k < r->boundaries; k++) {
		if (away(r->start[k], place) >= best)
			continue;
		best = away(r->start[k], place);
		at = k;
	}
	v->steps++;
	v->exact += best == 0;
	v->off += best > 0 && best <= tolerance;
	v->missed += best > tolerance;
	used[at] |= best <= tolerance;
}

struct verdict judge(const struct run *r, const struct stream *s, uint64_t tolerance)
{
	struct verdict v = {.phase = common_phase(r, s)};
	static uint64_t places[MAX_BOUNDARIES], lengths[MAX_BOUNDARIES];
	bool used[MAX_BOUNDARIES] = {false};
	uint32_t k, n = true_places(s, v.phase, places, MAX_BOUNDARIES);

	cr_assert_gt(r->boundaries, 0);
	for (k = 0; k < n; k++) {
		if (k)
			lengths[k - 1] = places[k] - places[k - 1];
		/* the last one may lie too near to the end to be told */
		if (places[k] + tolerance >= r->start[0] && places[k] + 200 < s->count)
			judge_place(r, places[k], tolerance, used, &v);
	}
	for (k = 0; k < r->boundaries; k++)
		v.extra += !used[k] && s->t[r->start[k]].step >= 0 && r->start[k] + 200 < s->count;
	qsort(lengths, n - 1, sizeof(*lengths), by_value);
	v.median_length = lengths[(n - 1) / 2];
	return v;
}

struct trace *trace(unsigned k)
{
	return trace_load(trace_names[k]);
}

struct stream *plain_stream(const struct trace *tr, int steps, uint64_t order)
{
	struct stream *s = stream_new();

	s->order = order;
	stream_steps(s, tr, steps);
	return s;
}
