/*
 * Adverts, the receiver's side: a receive that has to wait tells its peer where, before the peer sends.  A window is opened onto the
 * program's buffer, for that peer alone and for as long as the call waits: what ends the wait, be it a handler of the program that may never come
 * back, closes it before anything else happens.
 *
 * Which receives: learned for each stream from its first ones.  Training repeats its shapes, so a receive of a length after which
 * something long came is likely to wait for that again; where a length does not tell, the place in the program does.
 */
#include "call.h"
#include "callsite.h"
#include "process.h"
#include "signals.h"
#include "stats.h"
#include "verbs_device.h"
#include "verbs_recv.h"

enum { ADVERT_LEAST = 65536, WORTH_MOST = 4, WORTH_LOST = 2 };

/* ---- what is learned */

enum { SEEN_SHORT = 1, SEEN_LONG = 2, SEEN_BOTH = 3 };

static struct habit *habit_of(struct receiving *w, uint64_t site)
{
	struct habit *h = w->vs->habits;

	for (int i = 0; i < HABITS; i++)
		if (h[i].length == w->waits_for && h[i].site == site)
			return &h[i];
	h += w->vs->habit_next++ % HABITS;
	*h = (struct habit){ .length = w->waits_for, .site = site };
	return h;
}

/* A control message and a tensor may be waited for with the same room: then it is who waits that tells. */
static bool is_worth(struct receiving *w)
{
	w->waits_at = habit_of(w, 0)->seen == SEEN_BOTH ? callsite_key() : 0;
	return habit_of(w, w->waits_at)->worth;
}

static void judge(struct habit *h, bool is_long)
{
	h->seen |= is_long ? SEEN_LONG : SEEN_SHORT;
	if (is_long)
		h->worth += h->worth < WORTH_MOST;
	else
		h->worth -= h->worth < WORTH_LOST ? h->worth : WORTH_LOST;
}

void recv_learn(struct receiving *w, size_t came)
{
	if (w->waits_for < ADVERT_LEAST || !came)
		return;
	judge(habit_of(w, w->waits_at), came >= ADVERT_LEAST);
	w->waits_for = 0;
}

/* ---- out and back */

static bool is_mine(const struct receiving *w)
{
	return w->advert && load_rlx(w->v->advert.owner) && w->v->advert.id == w->advert;
}

static struct link *link_of_advert(const struct receiving *w)
{
	return &w->vs->links->link[w->v->advert.link];
}

static bool may_advertise(struct receiving *w)
{
	struct verbs_side *v = w->v;
	struct link *l = link_in(w->vs);

	return link_is_up(l) && l->adverts && l->device->windows && load_rlx(v->framed) && !load_rlx(v->side.plain) && !v->in.left &&
	       !v->block.length && !recv_bounce_has(v) && !load_rlx(v->advert.owner) && !verbs_ring_has(w->vs) && !signal_in_handler();
}

static void close_window(struct receiving *w, struct link *l)
{
	store_rlx(w->v->advert.owner, 0);
	link_close_window(l);
	store_rel(l->advert_out, false);
	w->advert = 0;
}

static void take_back(void *call)
{
	struct receiving *w = call;

	side_lock(&w->v->side.c);
	recv_end_advert(w, true);
	side_unlock(&w->v->side.c);
}

static void open_window(struct receiving *w)
{
	struct verbs_side *v = w->v;
	struct link *l = link_in(w->vs);
	size_t n = cursor_run(&w->c);
	struct memreg_hold *h = device_register(l->device, cursor_ptr(&w->c), n);

	if (!h)
		return;
	v->advert_id += v->advert_id == UINT32_MAX ? 2 : 1;
	struct advert a = { .at = load_rlx(v->rx_at), .address = (uintptr_t)cursor_ptr(&w->c), .length = n, .id = v->advert_id };
	store_rel(l->advert_out, true);
	store_rel(l->window_memory, h);
	v->advert.at = a.at;
	v->advert.length = n;
	v->advert.id = w->advert = a.id;
	v->advert.link = (uint32_t)(l - w->vs->links->link);
	store_rlx(v->advert.owner, thread_id());
	int r = link_advertise(l, &a, h);
	if (!r) {
		stat_inc(STAT_rdma_adverts);
		call_lends(take_back, w);
		return;
	}
	if (r != -EAGAIN && r != -ENOTSUP) { /* a part of it may have gone */
		link_fail(l, FALLBACK_RDMA_FAILED);
		link_quiet(l);
	}
	close_window(w, l);
}

void recv_advertise(struct receiving *w)
{
	w->waits_for = cursor_run(&w->c);
	if (w->waits_for < ADVERT_LEAST || w->advert || load_rlx(w->vs->base.lowat) > 1)
		return;
	side_lock(&w->v->side.c);
	if (is_worth(w) && may_advertise(w))
		open_window(w);
	side_unlock(&w->v->side.c);
}

/* Is it what comes next?  Believed once it cannot change any more. */
static bool is_next(const struct receiving *w, size_t *ret_bytes)
{
	struct placed p = *(volatile struct placed *)&link_of_advert(w)->words->placed;

	*ret_bytes = p.bytes;
	return p.id == w->v->advert.id && load_rlx(w->v->rx_at) == w->v->advert.at;
}

static enum action take_placed(struct receiving *w, size_t n)
{
	if (!n || n > w->v->advert.length)
		return WRONG;
	if (is_mine(w)) {
		if (w->c.left < n) /* the call looks, and takes nothing */
			return HELD;
		w->got += n;
		cursor_advance(&w->c, n);
	}
	store_rlx(w->v->rx_at, w->v->advert.at + n);
	stat_add(STAT_net_recv_verbs, n);
	stat_add(STAT_rdma_direct, n);
	return TAKEN;
}

/* Another call's are for that to take; with one that was killed they are gone, as what a killed one has received always is. */
enum action recv_placed_came(struct receiving *w)
{
	uint32_t owner = load_rlx(w->v->advert.owner);
	size_t n;

	if (!owner || !is_next(w, &n))
		return WRONG;
	if (!is_mine(w) && !side_thread_dead(owner))
		return HELD;
	enum action a = take_placed(w, n);
	if (a == TAKEN && !is_mine(w))
		store_rlx(w->v->advert.owner, 0);
	return a;
}

/* Something may still come there. */
static bool stands(const struct receiving *w)
{
	return is_mine(w) && load_rlx(w->v->rx_at) == w->v->advert.at && link_is_up(link_of_advert(w));
}

void recv_end_advert(struct receiving *w, bool always)
{
	if (!w->advert || (!always && stands(w)))
		return;
	struct link *l = link_of_advert(w);
	struct control c = { .type = CONTROL_RECALL, .id = w->advert };
	size_t n;
	call_lends(NULL, NULL);
	if (stands(w)) {
		link_answer(l, &c);
		link_wait_recalled(l, w->advert);
	}
	if (!link_revoke(l, l->window_rkey))
		link_quiet(l);
	if (is_mine(w) && is_next(w, &n) && take_placed(w, n) == WRONG)
		recv_violation(w, "impossible length in an advertised buffer");
	close_window(w, l);
}
