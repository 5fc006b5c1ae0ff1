/*
 * Polling between hosts: a receiver that looks at its ring says so in a word of the sender's memory, and is not rung
 * for.  It takes that back, and has the acknowledgement, before it looks at the ring a last time and sleeps; the sender
 * looks at the word behind the acknowledgement of its record.  So one of the two sees the other.
 */
#include "clock.h"
#include "process.h"
#include "settings.h"
#include "spin.h"
#include "stats.h"
#include "verbs_recv.h"
#include "verbs_sending.h"

enum { LOOK_US = 10000, UNRUNG_SURE = 4, SHORT_SURE = 8 };

/* ---- the receiver */

/* All its waits are seen, and none is in the kernel. */
static bool all_waits_seen(struct verbs_stream *vs)
{
	struct verbs_side *v = vs->v;

	return link_is_up(link_in(vs)) && !load_rlx(v->edge) && !load_rlx(v->side.plain) && !load_rlx(vs->base.watched) &&
	       !load_rlx(vs->links->sleepers) && load_rlx(vs->base.lowat) <= 1;
}

static bool may_poll(struct verbs_stream *vs)
{
	return load_rlx(vs->v->framed) && all_waits_seen(vs);
}

/* Of a plain stream: would a spin have found what came? */
static void note_sleep(struct verbs_stream *vs)
{
	bool is_short = clock_ticks() - load_rlx(vs->slept_at) < us_to_ticks(settings.spin) && all_waits_seen(vs);

	store_rlx(vs->short_sleeps, is_short ? load_rlx(vs->short_sleeps) + 1 : 0);
	if (load_rlx(vs->short_sleeps) >= SHORT_SURE)
		store_rlx(vs->frames_pay, true);
}

bool verbs_may_spin(struct stream *s)
{
	return spin_is_due(s) && may_poll(verbs_of(s));
}

/* Stays said when the poll is over, so that a program that comes back in time says it once. */
void verbs_poll_begin(struct stream *s)
{
	struct verbs_stream *vs = verbs_of(s);
	struct link *l = link_in(vs);
	uint64_t seq;

	if (load_rlx(l->told_polls))
		return;
	verbs_lock(&vs->links->poll_lock);
	if (may_poll(vs) && !link_tell_polls(l, true, &seq))
		store_rlx(l->told_polls, true);
	verbs_unlock(&vs->links->poll_lock);
}

/* The request that takes it back, 0: there is none.  False: the link is down, the peer may have rung for nothing. */
static bool take_back(struct link *l, int sleepers, uint64_t *ret_seq)
{
	verbs_lock(&l->links->poll_lock);
	atomic_fetch_add(&l->links->sleepers, sleepers);
	if (load_rlx(l->told_polls) && !link_tell_polls(l, false, &l->told_seq))
		store_rlx(l->told_polls, false);
	*ret_seq = l->told_seq;
	bool ok = !load_rlx(l->told_polls);
	verbs_unlock(&l->links->poll_lock);
	return ok;
}

void link_polls_no_more(struct link *l)
{
	link_quiet(l);
	verbs_lock(&l->links->poll_lock);
	store_rlx(l->told_polls, false);
	l->told_seq = 0;
	verbs_unlock(&l->links->poll_lock);
}

/* Until whatever comes is rung for; what came before is there to be seen. */
static void stop_polling(struct verbs_stream *vs, int sleepers)
{
	struct link *l = link_in(vs);
	uint64_t seq;
	bool ok = take_back(l, sleepers, &seq);

	if (!ok && !verbs_is_ours()) {
		link_leave_to_parent(l);
	} else if (!ok || (seq && !link_is_acked(l, seq) && !link_wait(l, seq))) {
		link_fail(l, FALLBACK_RDMA_FAILED);
		link_polls_no_more(l);
	}
	full_fence();
}

void verbs_stop_polling(struct stream *s)
{
	stop_polling(verbs_of(s), 0);
}

void verbs_sleep_begin(struct stream *s)
{
	stop_polling(verbs_of(s), 1);
	store_rlx(verbs_of(s)->slept_at, clock_ticks());
}

void verbs_sleep_end(struct stream *s)
{
	struct verbs_stream *vs = verbs_of(s);

	atomic_fetch_sub(&vs->links->sleepers, 1);
	if (!load_rlx(vs->v->framed) && !load_rlx(vs->frames_pay))
		note_sleep(vs);
}

bool verbs_is_unrung(struct verbs_stream *vs)
{
	return load_rlx(vs->unrung) >= UNRUNG_SURE && load_rlx(link_in(vs)->told_polls) && link_is_up(link_in(vs));
}

/* ---- the sender */

static bool peer_polls(const struct link *l)
{
	return __atomic_load_n(&l->words->polls, __ATOMIC_ACQUIRE) == 1;
}

/* A peer that has gone takes its link with it; this is for one that has ended in another way. */
static bool kernel_agrees(struct sending *w)
{
	uint64_t now = clock_ticks();

	if (now - w->vs->last_look < us_to_ticks(LOOK_US))
		return true;
	w->vs->last_look = now;
	return send_tcp_is_clear(w->vs, w->fd);
}

bool send_short_pays(struct sending *w)
{
	return w->c.left <= SMALL && send_may_use_ring(w->vs) && peer_polls(link_out(w->vs)) && !signal_in_handler() && kernel_agrees(w);
}

/*
 * The peer takes it as soon as it lies there: from the request on these bytes and no others come next, over TCP if the
 * link fails, whatever the call's kind.
 */
size_t send_short(struct sending *w)
{
	struct link *l = link_out(w->vs);
	uint64_t pos = l->ring_w, at = load_rlx(w->v->tx_at), seq;
	struct cursor c = w->c;
	size_t n = send_put_record(w->vs, &c, &pos, at, true);

	if (!n || n < w->c.left) {
		link_poll(l); /* nothing else looks for credits while small messages go through TCP */
		return 0;
	}
	if (send_write_record(l, l->ring_w, pos, true, &seq)) {
		link_fail(l, FALLBACK_RDMA_FAILED);
		return 0;
	}
	if (!link_wait(l, seq)) {
		w->must = w->done + n;
		w->v->finishing = thread_id();
		return 0;
	}
	l->ring_w = pos;
	send_went_by_ring(w, n);
	full_fence();
	if (peer_polls(l))
		stat_inc(STAT_rdma_unrung);
	else
		send_bell(w);
	return n;
}
