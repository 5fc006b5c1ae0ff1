/*
 * What is fastest depends on the caches, the kernel and the memory, so it is measured at work, in the
 * stream's first large messages: they try all ways in turn.  After that the fastest is taken, and
 * another once in a while.
 */
#include "tuner.h"

enum { SAMPLES = 3, TURNS_FOR_EACH = 12, AGAIN_EVERY = 128, WEIGHT = 4 };

static unsigned known(const struct tuner *t, unsigned ways)
{
	unsigned n = 0;

	for (unsigned i = 0; i < ways; i++)
		n += t->samples[i] >= SAMPLES;
	return n;
}

/* For ever while nothing can be measured, not for ever while one way cannot. */
static bool still_trying(const struct tuner *t, unsigned ways, unsigned turn)
{
	unsigned n = known(t, ways);

	return !n || (n < ways && turn < TURNS_FOR_EACH * ways);
}

static unsigned fastest(const struct tuner *t, unsigned ways)
{
	unsigned best = 0;

	for (unsigned i = 1; i < ways; i++)
		if (t->rate[i] > t->rate[best])
			best = i;
	return best;
}

unsigned tuner_choose(struct tuner *t, unsigned ways)
{
	unsigned turn = t->turn++, best = fastest(t, ways);

	if (still_trying(t, ways, turn))
		return turn % ways;
	return turn % AGAIN_EVERY ? best : (best + 1 + turn / AGAIN_EVERY % (ways - 1)) % ways;
}

void tuner_took(struct tuner *t, unsigned way, size_t n, uint64_t ticks)
{
	uint64_t now = ((uint64_t)n << 10) / (ticks ? ticks : 1), was = t->rate[way];

	t->rate[way] = t->samples[way] ? (was * (WEIGHT - 1) + now) / WEIGHT : now;
	if (t->samples[way] < SAMPLES)
		t->samples[way]++;
}

bool tuner_window_begin(struct tuner_window *w, struct tuner *t, unsigned ways)
{
	if (w->bytes)
		return false;
	*w = (struct tuner_window){ .way = tuner_choose(t, ways) };
	return true;
}

bool tuner_window_add(struct tuner_window *w, size_t n, uint64_t ticks, uint64_t enough)
{
	if (!n)
		return false;
	w->bytes += n;
	w->ticks += ticks;
	return w->bytes >= enough;
}

void tuner_window_judge(struct tuner_window *w, struct tuner *t, uint64_t more)
{
	tuner_took(t, w->way, w->bytes, w->ticks + more);
	tuner_window_drop(w);
}
