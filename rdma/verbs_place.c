/*
 * Adverts, the sender's side: a receive of the peer's program waits with a buffer, of which we have been told before we send.  What it waits
 * for is written there at once; the doorbell behind it is all that the peer's program has to wake for.
 */
#include "process.h"
#include "signals.h"
#include "stats.h"
#include "verbs_sending.h"

/* For what comes next in the stream, and not used yet. */
static bool is_wanted(struct sending *w, struct advert *ret)
{
	struct link *l = link_out(w->vs);

	link_poll(l);
	*ret = link_advert(l);
	return ret->id != l->advert_done && ret->at == load_rlx(w->v->tx_at) && ret->length >= BLOCK_LEAST;
}

/* False: the link is down; *ret_had: it lies there all the same, or may. */
static bool place(struct sending *w, const struct placement *p, bool *ret_had)
{
	struct link *l = link_out(w->vs);
	uint64_t seq;
	int r = link_place(l, p, &seq);

	*ret_had = r != -ENOTCONN;
	if (!r && link_wait_bulk(l, &l->places, seq, p->bytes))
		return true;
	link_fail(l, FALLBACK_RDMA_FAILED);
	link_quiet(l); /* the buffer is the program's again */
	return !r && link_is_acked(l, seq);
}

/* As long as the peer may wait for it when it wants its buffer back. */
static size_t length_of(struct sending *w, const struct advert *a)
{
	size_t run = cursor_run(&w->c), n = run < a->length ? run : a->length;

	return link_bulk_part(&link_out(w->vs)->places, n);
}

size_t send_place(struct sending *w)
{
	struct link *l = link_out(w->vs);
	struct advert a;
	bool had;

	if (!send_is_long(w) || !send_may_use_ring(w->vs) || signal_in_handler() || !is_wanted(w, &a) || !send_tcp_is_clear(w->vs, w->fd))
		return 0;
	size_t n = length_of(w, &a);
	struct device *d = l->device;
	struct memreg_hold *h = device_register(d, cursor_ptr(&w->c), n);
	if (!h)
		return 0;
	l->advert_done = a.id;
	struct placement p = { .from = cursor_ptr(&w->c), .lkey = h->key.lkey, .rkey = a.rkey, .id = a.id, .to = a.address, .bytes = n };
	bool ok = place(w, &p, &had);
	device_unregister(d, h);
	if (!ok) { /* these bytes and no others come next, over TCP */
		w->must = had ? w->done + n : 0;
		w->v->finishing = had ? thread_id() : 0;
		return 0;
	}
	send_went_by_ring(w, n);
	stat_add(STAT_rdma_placed, n);
	send_bell(w);
	return n;
}

void verbs_answer_recall(struct link *l)
{
	uint32_t id = load_acq(l->recall);
	struct control c = { .type = CONTROL_RECALLED, .id = id };

	if (id == l->recall_answered)
		return;
	l->recall_answered = l->advert_done = id;
	link_answer(l, &c);
}
