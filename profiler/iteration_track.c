#include <string.h>

#include "iteration_internal.h"

/* A wrong jump costs a boundary, a late one only a few unexplained tokens: far jumps need more. */
#define NEAR_JUMP 8
#define FAR_LOOK 12
#define FAR_MATCHES 7
#define FAR_BETTER 3
#define FAR_CERTAIN 8
#define LOST_LOOK                                                                                  \
	31 /* with at most a quarter of so many explained, the place is not known any more */
#define CHAIN_LOOK 32
#define SETTLED 12
#define FIT_LOOK 4
#define MIN_BREAK 4

static uint32_t wrap(const struct track *t, uint32_t pos)
{
	return pos == t->len ? 0 : pos;
}

static uint32_t back(const struct track *t, uint32_t pos, uint32_t by)
{
	return (pos + t->len - by % t->len) % t->len;
}

static uint32_t *bucket(const struct track *t, uint32_t key)
{
	return &t->heads[key & (t->buckets - 1)];
}

void track_load(struct track *t, const struct iteration *it, uint64_t from, uint32_t len)
{
	uint32_t p, *head;

	t->len = len;
	t->pos = t->run = t->path = 0;
	t->seen = t->hits = t->astray = t->breaks = t->rest = t->strange = 0;
	t->placed = false;
	t->shift = 0;
	t->jumped = 0;
	for (p = 0; p < len; p++)
		t->step[p] = token_at(it, from + p);
	memset(t->heads, 0, sizeof(*t->heads) * t->buckets);
	/* keyed by the position of the shingle's last token; the step is a ring */
	for (p = 0; p < len; p++) {
		head = bucket(
			t, shingle(t->step[back(t, p, 2)], t->step[back(t, p, 1)], t->step[p]));
		t->chain[p] = *head;
		*head = p + 1;
	}
}

static uint32_t matches(
	const struct track *t, const struct iteration *it, uint64_t i, uint32_t at, uint32_t look)
{
	uint32_t k, n = 0;

	for (k = 0; k < look && k <= i; k++) {
		n += token_at(it, i - k) == t->step[at];
		at = at ? at - 1 : t->len - 1;
	}
	return n;
}

static uint32_t explained(const struct track *t, uint32_t look)
{
	return (uint32_t)__builtin_popcount(t->path & ((1U << look) - 1));
}

static bool believable(uint32_t score, uint32_t stay, bool lost)
{
	if (score + 1 >= FAR_LOOK && score >= stay + FAR_CERTAIN)
		return true;
	return lost && score >= FAR_MATCHES && score >= stay + FAR_BETTER;
}

/* A token or two more or less: the nearest place that explains the last three tokens. */
static bool find_near(
	const struct track *t, const struct iteration *it, uint64_t i, uint32_t *ret_at)
{
	uint32_t here = back(t, t->pos, 1), d;

	for (d = 1; d <= NEAR_JUMP; d++) {
		*ret_at = back(t, here, d);
		if (matches(t, it, i, *ret_at, SHINGLE) == SHINGLE)
			return true;
		*ret_at = (here + d) % t->len;
		if (matches(t, it, i, *ret_at, SHINGLE) == SHINGLE)
			return true;
	}
	return false;
}

/* A far place must explain the last dozen tokens clearly better than staying does. */
static bool find_far(const struct track *t, const struct iteration *it, uint64_t i,
	uint32_t *ret_at, bool *ret_like)
{
	uint32_t key = shingle(token_at(it, i - 2), token_at(it, i - 1), token_at(it, i));
	/* the path was already corrected for tokens more or less, a straight look back is not */
	uint32_t stay = explained(t, FAR_LOOK), next, at, score, best = 0, look = 0;
	bool lost = explained(t, LOST_LOOK) <= LOST_LOOK / 4;

	*ret_like = false;
	for (next = *bucket(t, key); next && look < CHAIN_LOOK; next = t->chain[at], look++) {
		at = next - 1;
		if (matches(t, it, i, at, SHINGLE) != SHINGLE)
			continue;
		*ret_like = true;
		score = matches(t, it, i, at, FAR_LOOK);
		if (score <= best || !believable(score, stay, lost))
			continue;
		best = score;
		*ret_at = at;
	}
	return best;
}

/*
 * The shift from one stretch that is followed well to the next one says how many tokens the stream
 * has more, or fewer, than the step. What is merely different and keeps its length (copies whose
 * sizes depend on the data) shifts nothing.
 */
static void note_break(struct track *t)
{
	uint64_t size = (uint64_t)(t->shift < 0 ? -t->shift : t->shift);

	t->breaks++;
	/* a short part that is only there in some steps is as special as a short strange run */
	if (t->shift > 0 && about(t->len - size, t->len))
		t->astray = (uint32_t)size;
	t->rest += size > t->astray ? size : t->astray;
	t->strange += t->astray;
}

static void settle(struct track *t)
{
	if (t->placed && (t->shift >= MIN_BREAK || t->shift <= -MIN_BREAK))
		note_break(t);
	t->placed = true;
	t->shift = 0;
	t->astray = 0;
}

/* The shorter way round. */
static int64_t shift_to(const struct track *t, uint32_t to)
{
	uint32_t on = back(t, to, t->pos);

	return on <= t->len / 2 ? on : (int64_t)on - t->len;
}

static void move_to(struct track *t, uint32_t to, uint64_t i)
{
	uint32_t just = (1U << SHINGLE) - 1;
	int64_t by = shift_to(t, to);

	/* explained after all, but not predicted: these are no hits */
	t->path |= just;
	t->run = SHINGLE;
	t->shift = (t->shift + by) % (int64_t)t->len;
	if (by > NEAR_JUMP || by < -NEAR_JUMP)
		t->jumped = i;
	t->pos = to;
}

void track_step(struct track *t, const struct iteration *it, uint64_t i)
{
	bool hit = token_at(it, i) == t->step[t->pos], like = true;
	uint32_t at;

	t->seen++;
	t->hits += hit;
	t->run = hit ? t->run + 1 : 0;
	t->path = t->path << 1 | hit;
	t->pos = wrap(t, t->pos + 1);
	if (t->run == SETTLED)
		settle(t);
	if (track_solid(t) || i < SHINGLE - 1)
		return;
	if (find_near(t, it, i, &at) || find_far(t, it, i, &at, &like))
		move_to(t, wrap(t, at + 1), i);
	else
		t->astray += !like;
}

/* How many of the tokens around `at` are those around the beginning of the step. */
uint32_t track_fit(const struct track *t, const struct iteration *it, uint64_t at, uint64_t upto)
{
	uint32_t k, n = 0;

	for (k = 0; k < 2 * FIT_LOOK && at + k <= upto + FIT_LOOK; k++)
		n += token_at(it, at + k - FIT_LOOK) ==
		     t->step[(t->len - FIT_LOOK % t->len + k) % t->len];
	return n;
}
