#include <errno.h>
#include <string.h>

#include "iteration_internal.h"

#define MIN_HISTORY 1024
#define MAX_HISTORY (1U << 22)
#define MIN_WINDOW 64
#define MIN_MORE 32
#define CONFIRM 3
#define DULL_PPM 200000
#define AGAIN_PPM 500000
#define WELL_PPM 970000
#define RESTLESS 16
#define CERTAIN 12
#define WAIT_AFTER 64 /* so long into a step a boundary is told even if the place is uncertain */
#define FIT_RANGE 32
#define IDLE_SEARCHES 4

/* ---- memory ---- */

static uint32_t pow2(uint32_t n)
{
	return n <= 1 ? 1 : 1U << (32 - __builtin_clz(n - 1));
}

static uint32_t longest(uint32_t history)
{
	return history / 3;
}

static size_t part(size_t count, size_t size)
{
	return (count * size + 7) & ~(size_t)7;
}

static size_t track_size(uint32_t history)
{
	return 2 * part(longest(history), 4) + part(pow2(longest(history)), 4);
}

static bool sane(const struct iteration_config *cfg)
{
	return cfg->history >= MIN_HISTORY && cfg->history <= MAX_HISTORY;
}

size_t iteration_size(const struct iteration_config *cfg)
{
	size_t h;

	if (!sane(cfg))
		return 0;
	h = pow2(cfg->history);
	return part(1, sizeof(struct iteration)) + 3 * part(h, 4) + part(h, 8) +
	       part(2 * h, sizeof(struct anchor_slot)) + 2 * track_size((uint32_t)h);
}

static void *carve(char **mem, size_t count, size_t size)
{
	void *p = *mem;

	*mem += part(count, size);
	return p;
}

static void carve_track(struct track *t, char **mem, uint32_t history)
{
	t->step = carve(mem, longest(history), 4);
	t->chain = carve(mem, longest(history), 4);
	t->buckets = pow2(longest(history));
	t->heads = carve(mem, t->buckets, 4);
}

int iteration_init(
	void *mem, size_t len, const struct iteration_config *cfg, struct iteration **ret_it)
{
	struct iteration *it = mem;
	char *at = mem;
	uint32_t h;

	if (!mem || !sane(cfg) || (uintptr_t)mem % sizeof(uint64_t))
		return -EINVAL;
	if (len < iteration_size(cfg))
		return -ENOMEM;
	h = pow2(cfg->history);
	carve(&at, 1, sizeof(*it));
	memset(it, 0, sizeof(*it));
	it->cfg = *cfg;
	it->mask = h - 1;
	it->max_period = longest(h);
	it->tok = carve(&at, h, 4);
	it->prev = carve(&at, h, 4);
	it->levels = carve(&at, h, 4);
	it->ns = carve(&at, h, 8);
	it->slot_count = 2 * h;
	it->slots = carve(&at, it->slot_count, sizeof(*it->slots));
	carve_track(&it->live, &at, h);
	carve_track(&it->trial, &at, h);
	iteration_reset(it);
	*ret_it = it;
	return 0;
}

void iteration_reset(struct iteration *it)
{
	it->n = it->base = it->start = it->adopted = it->steps = it->last_mark = 0;
	it->state = ITERATION_NONE;
	it->started = it->resume = it->marked = it->mark_next = false;
	it->marks = it->recent = it->predictions = it->dull_blocks = it->support = 0;
	it->block_seen = it->block_hits = it->explained_ppm = it->idle_searches = 0;
	it->next_search = MIN_WINDOW;
	it->live.len = it->trial.len = 0;
}

/* ---- the figures of the last steps ---- */

static void note_step(struct iteration *it, uint64_t from, uint64_t to)
{
	uint32_t at = it->recent++ % RECENT_STEPS;

	it->steps++;
	it->lens[at] = (uint32_t)(to - from);
	it->times[at] =
		it->n - from > it->mask ? 0 : it->ns[to & it->mask] - it->ns[from & it->mask];
}

static uint64_t median_step(const struct iteration *it, bool time)
{
	uint64_t v[RECENT_STEPS];
	uint32_t k, n = it->recent < RECENT_STEPS ? it->recent : RECENT_STEPS;

	for (k = 0; k < n; k++)
		v[k] = time ? it->times[k] : it->lens[k];
	return n ? select_u64(v, n, n / 2) : 0;
}

/* ---- adopting and losing a reference step ---- */

static uint64_t oldest(const struct iteration *it)
{
	return it->n > it->mask ? it->n - it->mask : 0;
}

/* What came since a step was lost, or everything held. */
static uint64_t window_start(const struct iteration *it)
{
	return it->base > oldest(it) ? it->base : oldest(it);
}

static void forget_figures(struct iteration *it)
{
	it->followed = it->whole = 0;
	it->tried = it->n;
	it->recent = it->predictions = it->dull_blocks = 0;
	it->block_seen = it->block_hits = it->block_breaks = it->restless = 0;
	it->steps = 0;
	it->started = it->resume = false;
}

static void adopt_step(struct iteration *it, uint64_t from, uint32_t len)
{
	track_load(&it->live, it, from, len);
	it->generation++;
	it->adopted = it->n;
	it->again = 0;
}

static unsigned loss(const struct iteration *it)
{
	if (it->state == ITERATION_NONE)
		return 0;
	return it->state == ITERATION_KNOWN ? ITERATION_LOST : ITERATION_DROPPED;
}

static unsigned lose(struct iteration *it)
{
	unsigned events = loss(it);

	it->resume = it->state == ITERATION_KNOWN;
	it->state = ITERATION_NONE;
	it->predictions = it->again = 0;
	it->base = it->n > it->live.len ? it->n - it->live.len : 0;
	it->next_search = it->base + MIN_WINDOW > it->n ? it->base + MIN_WINDOW : it->n + 64;
	it->idle_searches = 0;
	return events;
}

/* ---- following it ---- */

/* Steps of ever other lengths are no steps; excursions are shorter than what lies between them. */
static void note_share(struct iteration *it, uint64_t len, bool whole)
{
	it->followed += len;
	it->whole += whole ? len : 0;
	if (it->followed > (uint64_t)it->live.len * 2 * RECENT_STEPS) {
		it->followed /= 2;
		it->whole /= 2;
	}
}

static bool confirmed(const struct iteration *it)
{
	return it->predictions >= CONFIRM && it->n - it->tried >= it->cfg.min_claim &&
	       it->whole * 5 >= it->followed * 3;
}

static bool same_tokens(const struct iteration *it, uint64_t a, uint64_t b, uint64_t n)
{
	for (uint64_t k = 0; k < n; k++)
		if (token_at(it, a + k) != token_at(it, b + k))
			return false;
	return true;
}

static bool is_reference(const struct iteration *it, uint64_t from, uint64_t len)
{
	for (uint64_t k = 0; k < len; k++)
		if (it->live.len != len || token_at(it, from + k) != it->live.step[k])
			return false;
	return true;
}

/* The step that ended at `at` is what is expected from now on. */
static void expect_instead(struct iteration *it, uint64_t at, uint64_t len)
{
	if (is_reference(it, at - len, len))
		return;
	adopt_step(it, at - len, (uint32_t)len);
	it->live.run = SHINGLE;
	it->live.pos = (uint32_t)((it->n - at) % len);
	it->block_breaks = 0;
}

/* What has changed for good is the reference once it has come three times, as any step is one then. */
static void renew(struct iteration *it, uint64_t at, uint64_t len)
{
	if (at >= oldest(it) + 3 * len && len <= it->max_period &&
		same_tokens(it, at - 3 * len, at - 2 * len, 2 * len))
		expect_instead(it, at, len);
}

/*
 * The same, of one that kept its length, wherever it begins: among changed tokens no beginning may ever be certain
 * enough to be told.
 */
static void renew_of_this_length(struct iteration *it, uint64_t i)
{
	uint32_t len = it->live.len;
	uint64_t since;

	it->again = i >= len && token_at(it, i) == token_at(it, i - len) ? it->again + 1 : 0;
	if (it->again < 2 * (uint64_t)len || it->again % len || it->live.run >= len)
		return;
	since = it->started ? (it->n - it->start) % len : it->live.pos;
	expect_instead(it, it->n - since, len);
}

static unsigned step_began(struct iteration *it, uint64_t at)
{
	uint64_t len = at - it->start;
	bool first = !it->started;
	unsigned whole;

	it->started = true;
	if (first) {
		it->start = at;
		return ITERATION_BOUNDARY;
	}
	whole = about(len, it->live.len) ? ITERATION_WHOLE : 0;
	it->predictions = whole ? it->predictions + 1 : 0;
	if (whole)
		note_step(it, it->start, at);
	note_share(it, len, whole);
	it->start = at;
	if (whole)
		renew(it, at, len);
	if (it->state == ITERATION_KNOWN && it->whole * 3 < it->followed)
		return ITERATION_BOUNDARY | whole | lose(it);
	if (it->state != ITERATION_TRYING || !confirmed(it))
		return ITERATION_BOUNDARY | whole;
	it->state = ITERATION_KNOWN;
	return ITERATION_BOUNDARY | whole | ITERATION_FOUND;
}

/*
 * Among changed tokens the place is known only roughly; the start is where the tokens around it fit
 * best, the nearest such place if several do.
 */
static uint64_t fit_start(const struct iteration *it, uint64_t about_at, uint64_t upto)
{
	uint64_t best = about_at, try;
	uint32_t by, score, best_score = track_fit(&it->live, it, about_at, upto);

	for (by = 1; by <= FIT_RANGE; by++) {
		for (try = about_at - by; try <= about_at + by; try += 2 * by) {
			score = track_fit(&it->live, it, try, upto);
			if (score <= best_score)
				continue;
			best = try;
			best_score = score;
		}
	}
	return best;
}

/* A step of an unexpected length needs more to be believed: the place itself may be wrong. */
static bool place_certain(const struct track *t, bool expected)
{
	uint32_t run = expected ? CERTAIN : 2 * CERTAIN;

	if (t->run >= run || (t->run >= run / 2 && t->pos >= run / 2))
		return true;
	return expected ? t->pos >= WAIT_AFTER : t->pos >= 2 * WAIT_AFTER && track_sure(t);
}

/* Where the step stands as of now decides; small corrections of the place are no new step. */
static unsigned look_for_boundary(struct iteration *it, uint64_t i)
{
	const struct track *t = &it->live;
	uint64_t pos = t->pos ? t->pos - 1 : t->len - 1, at;
	bool expected;

	if (!track_solid(t) || pos > i)
		return 0;
	at = i - pos;
	expected = it->started && about(at - it->start, t->len);
	if (it->started && at < it->start + t->len / 4)
		return 0;
	if (!it->started && at < it->adopted)
		return 0;
	/* into the middle of a step it may jump from anywhere: nothing began where it would have */
	if (at + WAIT_AFTER < t->jumped && !(expected && it->state == ITERATION_KNOWN))
		return 0;
	if (!place_certain(t, expected))
		return 0;
	if (t->run <= pos && pos >= SHINGLE && at > FIT_RANGE)
		at = fit_start(it, at, i);
	return step_began(it, at);
}

static unsigned close_block(struct iteration *it)
{
	uint32_t ppm = (uint32_t)(it->block_hits * 1000000 / it->block_seen);

	it->explained_ppm = ppm;
	it->block_seen = it->block_hits = 0;
	if (ppm < WELL_PPM || it->live.breaks != it->block_breaks)
		it->restless = RESTLESS;
	else if (it->restless)
		it->restless--;
	it->block_breaks = it->live.breaks;
	it->dull_blocks = ppm < DULL_PPM ? it->dull_blocks + 1 : 0;
	if (it->resume && ppm >= AGAIN_PPM) {
		it->resume = false;
		it->state = ITERATION_KNOWN;
		return ITERATION_FOUND;
	}
	return it->state != ITERATION_NONE && it->dull_blocks >= 2 ? lose(it) : 0;
}

static bool following(const struct iteration *it)
{
	return it->live.len && (it->state != ITERATION_NONE || it->resume);
}

static unsigned follow(struct iteration *it, uint64_t i)
{
	uint64_t before = it->live.hits;
	unsigned events;

	track_step(&it->live, it, i);
	it->block_hits += it->live.hits - before;
	if (it->state != ITERATION_NONE)
		renew_of_this_length(it, i);
	events = look_for_boundary(it, i);
	/* short steps are judged over several of them */
	if (++it->block_seen >= it->live.len && it->block_seen >= 128)
		events |= close_block(it);
	return events;
}

/* ---- searching ---- */

static void plan_search(struct iteration *it)
{
	uint64_t w = it->n - window_start(it), more = w / 8;

	if (it->state == ITERATION_KNOWN || w >= it->mask)
		more = w / 2;
	if (it->idle_searches > IDLE_SEARCHES)
		more = 4 * (uint64_t)it->mask;
	it->next_search = it->n + (more < MIN_MORE ? MIN_MORE : more);
}

static bool same_step(const struct iteration *it, const struct level *l)
{
	return it->state != ITERATION_NONE && about(l->period, it->live.len);
}

/* A step that is followed well is left alone; one that is not may turn out to be an inner level. */
static bool contented(const struct iteration *it)
{
	return it->state == ITERATION_KNOWN && !it->restless;
}

/* An outer level may replace a step that is in use; a shorter one must wait until that one fails.
 */
static bool replaces(const struct iteration *it, const struct level *l)
{
	if (it->state == ITERATION_NONE || l->period > it->live.len + it->live.len / 2)
		return true;
	if (it->state == ITERATION_KNOWN)
		return false;
	return it->dull_blocks || (!it->predictions && it->n - it->tried > 3 * it->live.len);
}

static unsigned try_step(struct iteration *it, uint64_t lo, const struct level *l)
{
	unsigned events = loss(it);

	adopt_step(it, lo + l->from, l->to - l->from);
	forget_figures(it);
	it->state = ITERATION_TRYING;
	it->support = l->support;
	it->idle_ns = l->idle_ns;
	it->idle_searches = 0;
	return events | ITERATION_CANDIDATE;
}

/* Early on few anchors have come back, and the boundary is the best of those few. */
static void improve_step(struct iteration *it, uint64_t lo, const struct level *l)
{
	it->support = l->support;
	if (it->state != ITERATION_TRYING || l->idle_ns <= it->idle_ns + it->idle_ns / 4)
		return;
	adopt_step(it, lo + l->from, l->to - l->from);
	it->idle_ns = l->idle_ns;
	it->started = false;
}

/*
 * First everything held: an inner level that was lost must not hide the outer one. Then what came
 * since the loss: a program that changed must not wait until the old steps are forgotten.
 */
static int search_windows(struct iteration *it, uint64_t *ret_lo, struct level *ret_best)
{
	*ret_lo = oldest(it);
	if (!search_levels(it, *ret_lo, ret_best))
		return 0;
	*ret_lo = window_start(it);
	if (*ret_lo == oldest(it) || it->n - *ret_lo < MIN_WINDOW)
		return -1;
	return search_levels(it, *ret_lo, ret_best);
}

unsigned iteration_search(struct iteration *it)
{
	struct level best;
	unsigned events = 0;
	uint64_t lo;
	bool full = it->n - window_start(it) >= it->mask;

	if (it->marked || it->n < MIN_WINDOW)
		return 0;
	if (search_windows(it, &lo, &best)) {
		it->idle_searches += full;
		plan_search(it);
		return 0;
	}
	if (same_step(it, &best))
		improve_step(it, lo, &best);
	else if (replaces(it, &best))
		events = try_step(it, lo, &best);
	if (it->state == ITERATION_KNOWN)
		it->idle_searches += full;
	plan_search(it);
	return events;
}

static unsigned maybe_search(struct iteration *it)
{
	if (it->n < it->next_search || it->marked || contented(it))
		return 0;
	if (!it->cfg.deferred)
		return iteration_search(it);
	plan_search(it);
	return ITERATION_DUE;
}

/* ---- the program's own marks ---- */

void iteration_mark(struct iteration *it)
{
	it->mark_next = true;
}

static unsigned marked_step(struct iteration *it)
{
	uint64_t from = it->last_mark, len = it->n - from;
	bool was = it->state == ITERATION_KNOWN;
	bool usable = it->marks && len <= it->max_period;

	it->mark_next = false;
	it->last_mark = it->n;
	if (!it->marks++)
		return 0;
	if (!it->marked)
		forget_figures(it);
	it->marked = true;
	note_step(it, from, it->n);
	it->start = it->n;
	it->state = ITERATION_KNOWN;
	it->support = it->marks;
	if (usable) {
		track_load(&it->live, it, from, (uint32_t)len);
		it->live.run = SHINGLE;
		it->generation++;
	}
	return ITERATION_BOUNDARY | ITERATION_WHOLE | (was ? 0 : ITERATION_FOUND);
}

/* ---- feeding ---- */

unsigned iteration_feed(struct iteration *it, uint32_t token, uint64_t ns)
{
	uint64_t i = it->n;
	unsigned events = 0;

	it->tok[i & it->mask] = token;
	it->ns[i & it->mask] = ns;
	if (it->mark_next)
		events = marked_step(it);
	it->n++;
	if (it->marked && it->live.len)
		track_step(&it->live, it, i);
	else if (following(it))
		events |= follow(it, i);
	return events | maybe_search(it);
}

/* ---- asking ---- */

void iteration_stat(const struct iteration *it, struct iteration_stat *ret_stat)
{
	bool any = it->state != ITERATION_NONE;
	uint32_t period = any ? (uint32_t)median_step(it, false) : 0;

	*ret_stat = (struct iteration_stat){
		.state = it->state,
		.marked = it->marked,
		.fed = it->n,
		.start = any ? it->start : 0,
		.steps = it->steps,
		.period = any && !period ? it->live.len : period,
		.period_ns = any ? median_step(it, true) : 0,
		.window = any ? it->live.len : 0,
		.position = any ? it->live.pos : 0,
		.in_step = any && track_solid(&it->live),
		.support = any ? it->support : 0,
		.generation = it->generation,
		.explained_ppm = any ? it->explained_ppm : 0,
	};
}

static bool expects(const struct iteration *it)
{
	return it->state != ITERATION_NONE && it->live.len && track_solid(&it->live);
}

uint32_t iteration_predict(const struct iteration *it, uint32_t *ret_tokens, uint32_t max)
{
	const struct track *t = &it->live;
	uint32_t k, n = max < t->len ? max : t->len;

	if (!expects(it))
		return 0;
	for (k = 0; k < n; k++)
		ret_tokens[k] = t->step[(t->pos + k) % t->len];
	return n;
}

bool iteration_next(const struct iteration *it, uint32_t *ret_token)
{
	if (!expects(it))
		return false;
	*ret_token = it->live.step[it->live.pos];
	return true;
}

bool iteration_place(const struct iteration *it, uint32_t *ret_generation, uint32_t *ret_position)
{
	if (!expects(it))
		return false;
	*ret_generation = it->generation;
	*ret_position = it->live.pos;
	return true;
}
