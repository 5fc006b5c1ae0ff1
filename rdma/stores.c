/*
 * A line that one core has modified reaches another fast if both share a cache.  If not, as between the halves
 * of a large processor, or on a virtual machine whose cores the host moves about, it takes several times longer
 * than a line from memory: there a sender that stores past its caches (non-temporally) serves its receiver much
 * better, and has less to do itself, since it need not fetch the lines back first.  Which is so can change at any
 * time, so it is measured at work: what the copying alone, without any waiting, costs both ends together.
 */
#include "stores.h"
#include "clock.h"
#include "settings.h"
#include "shm.h"
#include "stats.h"

enum { LEAST = 1024 /* of less, the fence costs more than is gained */, WINDOW = 1 << 20 };

static bool possible(void)
{
#if defined(__x86_64__)
	return settings.store_past;
#else
	return false;
#endif
}

static void begin(struct stream *s)
{
	struct stores_window *w = &s->window;

	if (!tuner_window_begin(&w->t, &s->stores, STORES))
		return;
	w->rr = load_rlx(s->out->rr);
	w->took = load_rlx(s->out->took);
}

/* A receiver that took little meanwhile, or that does not say what it cost it, is left out. */
static void judge(struct stream *s)
{
	struct stores_window *w = &s->window;
	uint64_t taken = load_rlx(s->out->rr) - w->rr, took = load_rlx(s->out->took) - w->took;

	if (taken >= w->t.bytes / 2 && taken < 4 * WINDOW && took < UINT64_MAX / (4 * WINDOW))
		tuner_window_judge(&w->t, &s->stores, took * w->t.bytes / taken);
	tuner_window_drop(&w->t);
}

struct storing stores_begin(struct stream *s, size_t n)
{
	if (n < LEAST || !possible())
		return (struct storing){ .copy = copy_through_caches };
	begin(s);
	return (struct storing){ .copy = s->window.t.way == STORES_PAST ? copy_past_caches : copy_through_caches, .start = clock_ticks() };
}

void stores_end(struct stream *s, const struct storing *w, size_t n)
{
	if (!w->start)
		return;
	bool enough = tuner_window_add(&s->window.t, n, clock_ticks() - w->start, WINDOW);
	if (w->copy == copy_past_caches)
		stat_add(STAT_net_stored_past, n);
	if (enough)
		judge(s);
}

uint64_t stores_take_begin(size_t n)
{
	return n < LEAST ? 0 : clock_ticks();
}

void stores_take_end(struct stream *s, uint64_t start)
{
	if (start)
		store_rlx(s->in->took, load_rlx(s->in->took) + clock_ticks() - start);
}
