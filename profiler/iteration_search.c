#include <string.h>

#include "iteration_internal.h"

#define MAX_LEVELS 6
#define GAPS 32
#define MIN_OCCURRENCES 4
#define MIN_SUPPORT 3
#define MISSED 4 /* a gap of up to so many periods is the same anchor, changed in between */
#define MIN_EXPLAINED_PPM 280000
#define STRANGE_PPM 500000
#define NOISY_PPM 900000
#define NOISE_GAIN_PPM 30000
#define NO_PAUSE 8
#define SHORT_STEP 64
#define EXAMPLES 6

static void sift(uint32_t *v, uint32_t root, uint32_t n)
{
	uint32_t child, x = v[root];

	for (; (child = 2 * root + 1) < n; root = child) {
		if (child + 1 < n && v[child + 1] > v[child])
			child++;
		if (v[child] <= x)
			break;
		v[root] = v[child];
	}
	v[root] = x;
}

/* Not qsort(): glibc's may allocate. */
void sort_u32(uint32_t *v, uint32_t n)
{
	uint32_t i, x;

	for (i = n / 2; i--;)
		sift(v, i, n);
	for (i = n; i-- > 1;) {
		x = v[0];
		v[0] = v[i];
		v[i] = x;
		sift(v, 0, i);
	}
}

/* The k-th smallest, by insertion: for the few dozen values that a median is taken of. */
uint64_t select_u64(uint64_t *v, uint32_t n, uint32_t k)
{
	uint32_t i, j;
	uint64_t x;

	for (i = 1; i < n; i++) {
		x = v[i];
		for (j = i; j && v[j - 1] > x; j--)
			v[j] = v[j - 1];
		v[j] = x;
	}
	return v[k];
}

static struct anchor_slot *slot_of(struct iteration *it, uint32_t key, uint32_t slots)
{
	uint32_t at = key & (slots - 1);

	while (it->slots[at].last && it->slots[at].key != key)
		at = (at + 1) & (slots - 1);
	return &it->slots[at];
}

/* Offsets of shingles are those of their last token. */
static void chain_shingles(struct iteration *it, uint64_t lo, uint32_t w, uint32_t slots)
{
	struct anchor_slot *s;
	uint32_t off, key;
	uint64_t i;

	memset(it->slots, 0, sizeof(*it->slots) * slots);
	for (off = SHINGLE - 1; off < w; off++) {
		i = lo + off;
		key = shingle(token_at(it, i - 2), token_at(it, i - 1), token_at(it, i));
		s = slot_of(it, key, slots);
		it->prev[off] = s->last;
		s->key = key;
		s->last = off + 1;
		s->count++;
	}
}

static uint32_t median_gap(const struct iteration *it, const struct anchor_slot *s)
{
	uint64_t gaps[GAPS];
	uint32_t n = 0, at = s->last - 1;

	for (; it->prev[at] && n < GAPS; at = it->prev[at] - 1)
		gaps[n++] = at - (it->prev[at] - 1);
	return (uint32_t)select_u64(gaps, n, n / 2);
}

static bool regular(uint32_t gap, uint32_t period)
{
	uint32_t m = (gap + period / 2) / period, want = m * period;
	uint32_t d = gap > want ? gap - want : want - gap;

	return m >= 1 && m <= MISSED && (uint64_t)d * 100 <= (uint64_t)period * 8;
}

/*
 * The period this shingle votes for, or 0: >= 4 occurrences, >= 70% of the gaps regular, covering
 * half of the window. Three occurrences at exactly equal distances are taken as well, so that a
 * window that comes back unchanged is known after its third time.
 */
static uint32_t vote(const struct iteration *it, const struct anchor_slot *s, uint32_t w)
{
	uint32_t period, at, gap, gaps = 0, good = 0, covered = 0, exact = 0;

	if (s->count < MIN_OCCURRENCES - 1)
		return 0;
	period = median_gap(it, s);
	if (period < MIN_PERIOD || period > it->max_period)
		return 0;
	for (at = s->last - 1; it->prev[at]; at = it->prev[at] - 1, gaps++) {
		gap = at - (it->prev[at] - 1);
		exact += gap == period;
		if (!regular(gap, period))
			continue;
		good++;
		covered += gap;
	}
	if (s->count < MIN_OCCURRENCES && exact != gaps)
		return 0;
	return good * 10 >= gaps * 7 && covered * 2 >= w ? period : 0;
}

static uint32_t collect_votes(struct iteration *it, uint32_t w, uint32_t slots)
{
	uint32_t at, period, n = 0;

	for (at = 0; at < slots; at++) {
		if (!it->slots[at].last)
			continue;
		period = it->slots[at].vote = vote(it, &it->slots[at], w);
		if (period)
			it->levels[n++] = period;
	}
	sort_u32(it->levels, n);
	return n;
}

/* The most frequent value of a sorted run where it has a third of the votes, else the median. */
static uint32_t centre(const uint32_t *v, uint32_t n)
{
	uint32_t i, run = 0, best = 0, at = 0;

	for (i = 0; i < n; i++) {
		run = i && v[i] == v[i - 1] ? run + 1 : 1;
		if (run > best) {
			best = run;
			at = i;
		}
	}
	return best * 3 >= n ? v[at] : v[n / 2];
}

/* Takes the largest group of votes that lie within the tolerance out of the sorted list. */
static uint32_t take_cluster(uint32_t *v, uint32_t n, struct level *ret_level)
{
	uint32_t lo = 0, hi, from = 0, size = 0;

	for (hi = 0; hi < n; hi++) {
		while ((uint64_t)v[hi] * 100 > (uint64_t)v[lo] * 108)
			lo++;
		if (hi - lo + 1 > size) {
			size = hi - lo + 1;
			from = lo;
		}
	}
	*ret_level = (struct level){.period = centre(v + from, size), .support = size};
	memmove(v + from, v + from + size, sizeof(*v) * (n - from - size));
	return n - size;
}

static uint32_t cluster_votes(uint32_t *v, uint32_t n, struct level levels[MAX_LEVELS])
{
	uint32_t count = 0, first = 0;

	while (n && count < MAX_LEVELS) {
		n = take_cluster(v, n, &levels[count]);
		if (!first)
			first = levels[0].support;
		/* a handful of votes, or fewer than some beside hundreds, are chance */
		if (levels[count].support < MIN_SUPPORT || levels[count].support * 50 < first)
			break;
		count++;
	}
	return count;
}

/* The pause before a shingle's first token. */
static uint64_t pause_before(const struct iteration *it, uint64_t lo, uint32_t off)
{
	uint64_t i = lo + off - (SHINGLE - 1);

	return i > it->base && i > 0 && i > lo ? it->ns[i & it->mask] - it->ns[(i - 1) & it->mask]
					       : 0;
}

static uint64_t median_pause(const struct iteration *it, uint64_t lo, const struct anchor_slot *s)
{
	uint64_t pauses[GAPS];
	uint32_t n = 0, off = s->last;

	for (; off && n < GAPS; off = it->prev[off - 1])
		pauses[n++] = pause_before(it, lo, off - 1);
	return select_u64(pauses, n, n / 2);
}

/* The latest example whose length is the nearest to the period. */
static void choose_example(const struct iteration *it, const struct anchor_slot *s, struct level *l)
{
	uint32_t at, gap, d, best = UINT32_MAX;

	for (at = s->last - 1; it->prev[at]; at = it->prev[at] - 1) {
		gap = at - (it->prev[at] - 1);
		d = gap > l->period ? gap - l->period : l->period - gap;
		if (d >= best)
			continue;
		best = d;
		l->to = at - (SHINGLE - 1);
		l->from = l->to - gap;
	}
}

static bool clear_of(const struct anchor_slot *s, const struct iteration *it, uint32_t period)
{
	return !it->prev[s->last - 1] || s->last - it->prev[s->last - 1] >= period / 2;
}

/* The boundary is the anchor after the largest pause. */
static bool place_boundary(const struct iteration *it, uint64_t lo, uint32_t slots, struct level *l)
{
	const struct anchor_slot *s, *best = NULL;
	uint64_t pause;
	uint32_t at;

	for (at = 0; at < slots; at++) {
		s = &it->slots[at];
		if (!s->vote || !about(s->vote, l->period) || !clear_of(s, it, s->vote))
			continue;
		pause = median_pause(it, lo, s);
		if (best && pause <= l->idle_ns)
			continue;
		best = s;
		l->idle_ns = pause;
	}
	if (best)
		choose_example(it, best, l);
	return best && l->to - l->from >= MIN_PERIOD && l->to - l->from <= it->max_period;
}

static uint32_t share_ppm(uint64_t part, uint64_t whole)
{
	return whole ? (uint32_t)(part * 1000000 / whole) : 0;
}

/* How often two tokens of the step are the same by chance: much, where there are few kinds. */
static uint32_t chance_ppm(const struct track *t, uint32_t *scratch)
{
	uint64_t pairs = 0;
	uint32_t k, run = 0;

	memcpy(scratch, t->step, sizeof(*scratch) * t->len);
	sort_u32(scratch, t->len);
	for (k = 0; k < t->len; k++) {
		run = k && scratch[k] == scratch[k - 1] ? run + 1 : 1;
		pairs += 2 * run - 1;
	}
	return (uint32_t)(pairs * 1000000 / t->len / t->len);
}

static uint32_t beyond_chance(uint32_t ppm, uint32_t chance)
{
	return ppm > chance ? share_ppm(ppm - chance, 1000000 - chance) : 0;
}

/* How much of the last `range` tokens the level's example explains, itself left out. */
static void explain(struct iteration *it, uint64_t lo, uint64_t range, struct level *l)
{
	struct track *t = &it->trial;
	uint64_t i, counted = 0, late_hits = 0, late_seen = 0;
	uint32_t all, late;

	track_load(t, it, lo + l->from, l->to - l->from);
	for (i = it->n - range < lo + SHINGLE ? lo + SHINGLE : it->n - range; i < it->n; i++) {
		/* among like parts of a step its place is found only after a while */
		if (i == it->n - range + range / 3) {
			t->breaks = t->rest = t->strange = 0;
			counted = t->seen;
		}
		if (i == it->n - range / 3) {
			late_hits = t->hits;
			late_seen = t->seen;
		}
		if (i - lo < l->from || i - lo >= l->to)
			track_step(t, it, i);
	}
	/* what only explains the past is over */
	all = share_ppm(t->hits, t->seen);
	late = t->seen > late_seen ? share_ppm(t->hits - late_hits, t->seen - late_seen) : all;
	l->explained_ppm = beyond_chance(all < late ? all : late, chance_ppm(t, it->levels));
	counted = t->seen - counted;
	l->rest_ppm = share_ppm(t->rest, counted);
	l->strange_ppm = share_ppm(t->strange, t->rest);
	l->apart = t->breaks ? (uint32_t)(counted / t->breaks) : UINT32_MAX;
}

/*
 * Two levels can both be real: micro-batches within a step, and steps within a schedule that
 * evaluates every so often. The runs of tokens that the inner one cannot place decide. A short run
 * of operations found nowhere else is the optimizer, and the outer level is the step. A long one,
 * or one made of the step's own operations, is an excursion, unless the inner level begins without
 * any pause, as layers do.
 */
static bool outer_wins(const struct level *in, const struct level *out)
{
	uint64_t rest = (uint64_t)in->rest_ppm * out->period / 1000000;

	/* within a few tokens there are no runs to speak of */
	if (in->period < SHORT_STEP)
		return (1000000 - out->explained_ppm) * 2 < 1000000 - in->explained_ppm;
	/* among many changed tokens any multiple looks like a level: it must explain that rest */
	if (in->explained_ppm + in->rest_ppm < NOISY_PPM &&
		out->explained_ppm < in->explained_ppm + in->rest_ppm / 2 + NOISE_GAIN_PPM)
		return false;
	if (!rest || out->apart < 2 * (uint64_t)in->apart || in->strange_ppm < STRANGE_PPM)
		return false;
	/* what breaks each inner step is no part of an outer one */
	if (in->apart * 5 < out->period * 3 || in->apart > out->period * 2)
		return false;
	return rest * 4 < (uint64_t)in->period * 3 || in->idle_ns * NO_PAUSE < out->idle_ns;
}

static bool better(const struct level *l, const struct level *best)
{
	if (l->period > best->period + best->period / 2)
		return outer_wins(best, l);
	if (best->period > l->period + l->period / 2)
		return !outer_wins(l, best) && l->explained_ppm + 30000 >= best->explained_ppm;
	return l->support > best->support;
}

static uint32_t slots_for(const struct iteration *it, uint32_t w)
{
	uint32_t slots = 64;

	while (slots < w + w / 2 && slots < it->slot_count)
		slots *= 2;
	return slots;
}

/* The same tokens for all levels: shares over different ones cannot be compared. */
static uint64_t common_range(const struct level *levels, uint32_t count, uint32_t w)
{
	uint64_t longest = 0;
	uint32_t k;

	for (k = 0; k < count; k++)
		longest = levels[k].period > longest ? levels[k].period : longest;
	return longest * EXAMPLES < w ? longest * EXAMPLES : w;
}

int search_levels(struct iteration *it, uint64_t lo, struct level *ret_best)
{
	struct level levels[MAX_LEVELS];
	uint32_t w = (uint32_t)(it->n - lo), slots = slots_for(it, w), count, k;
	const struct level *best = NULL;
	uint64_t range;

	chain_shingles(it, lo, w, slots);
	count = cluster_votes(it->levels, collect_votes(it, w, slots), levels);
	range = common_range(levels, count, w);
	for (k = 0; k < count; k++) {
		if (!place_boundary(it, lo, slots, &levels[k]))
			continue;
		explain(it, lo, range, &levels[k]);
		if (levels[k].explained_ppm < MIN_EXPLAINED_PPM)
			continue;
		if (!best || better(&levels[k], best))
			best = &levels[k];
	}
	if (!best)
		return -1;
	*ret_best = *best;
	return 0;
}
