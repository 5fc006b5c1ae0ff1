/* What completions tell: messages of the peer, and how far our own requests have come. */
#include "log.h"
#include "stats.h"
#include "sys.h"
#include "verbs_api.h"
#include "verbs_device.h"

#include <linux/futex.h>
#include <string.h>

enum { BATCH = 32, HEARD_MOST = 128 };
static const uint64_t RECEIVE = UINT64_C(1) << 63; /* in wr_id: a slot, not a sequence number */

int device_give_slot(struct device *d, uint64_t i)
{
	struct ibv_sge sge = { (uintptr_t)d->slots[i], SLOT, d->slots_mr->lkey };
	struct ibv_recv_wr wr = { .wr_id = RECEIVE | i, .sg_list = &sge, .num_sge = 1 }, *bad;

	return -ibv_post_srq_recv(d->srq, &wr, &bad);
}

static void raise_to(_Atomic uint64_t *p, uint64_t v)
{
	uint64_t old = load_rlx(*p);

	while ((int64_t)(v - old) > 0 && !atomic_compare_exchange_weak(p, &old, v))
		;
}

void link_arrived(struct link *l, uint64_t ring)
{
	raise_to(&l->arrived, ring);
}

void link_wake_done(struct link *l)
{
	full_fence();
	if (load_rlx(l->done_waits))
		sys_call(SYS_futex, &l->done_id, FUTEX_WAKE, INT32_MAX, 0, 0, 0);
}

static void note_control(struct link *l, const struct control *c)
{
	switch (c->type) {
	case CONTROL_STATE:
		store_rlx(l->peer_inline, !!(c->flags & STATE_INLINE));
		store_rel(l->peer_here, true);
		raise_to(&l->peer_at, c->at);
		raise_to(&l->peer_taken, c->ring);
		break;
	case CONTROL_COUNTED:
		store_rel(l->peer_counted, c->at + 1);
		break;
	case CONTROL_DONE:
		store_rlx(l->done_bytes, c->ring);
		store_rel(l->done_id, c->id);
		link_wake_done(l);
		break;
	case CONTROL_WITHDRAW:
		store_rel(l->withdrawn, c->id);
		store_rel(l->news, true);
		break;
	case CONTROL_RECALL:
		store_rel(l->recall, c->id);
		store_rel(l->news, true);
		break;
	case CONTROL_RECALLED:
		store_rel(l->recalled, c->id);
		break;
	default:
		store_rel(l->broken, true);
	}
}

/* Whoever sends may be reading the last one. */
static void note_advert(struct link *l, const void *p)
{
	uint64_t words[sizeof(struct advert) / 8];
	uint32_t turn = load_rlx(l->advert_turn);

	memcpy(words, p, sizeof(words));
	store_rlx(l->advert_turn, turn + 1);
	for (size_t i = 0; i < sizeof(words) / 8; i++)
		store_rel(l->advert[i], words[i]);
	store_rel(l->advert_turn, turn + 2);
}

struct advert link_advert(struct link *l)
{
	uint64_t words[sizeof(struct advert) / 8];
	struct advert a;
	uint32_t turn = load_acq(l->advert_turn);

	for (size_t i = 0; i < sizeof(words) / 8; i++)
		words[i] = load_acq(l->advert[i]);
	if (turn & 1 || load_rlx(l->advert_turn) != turn)
		return (struct advert){ 0 };
	memcpy(&a, words, sizeof(a));
	return a;
}

void link_told(struct link *l, const void *p, uint32_t n)
{
	if (!load_rlx(l->intro_here) && n == sizeof(l->intro)) {
		memcpy(&l->intro, p, n);
		store_rel(l->intro_here, true);
		store_rel(l->news, true);
	} else if (n == sizeof(struct control)) {
		note_control(l, p);
	} else if (n == sizeof(struct advert)) {
		note_advert(l, p);
	} else {
		store_rel(l->broken, true);
	}
}

/* A WRITE with immediate uses up a slot, too, in which nothing has been put. */
static bool is_message(const struct ibv_wc *wc)
{
	return wc->opcode == IBV_WC_RECV && !(wc->wc_flags & IBV_WC_WITH_IMM);
}

/* An honest peer says some twenty things at most before it has to hear of us. */
static void note_heard(const struct device *d, struct link *l)
{
	l->heard = l->heard_turn == d->turn ? l->heard + 1 : 1;
	l->heard_turn = d->turn;
	if (l->heard > HEARD_MOST)
		link_fail(l, FALLBACK_RDMA_FLOOD);
}

static void note_received(struct device *d, struct link *l, const struct ibv_wc *wc)
{
	uint64_t i = wc->wr_id & ~RECEIVE;

	if (l)
		note_heard(d, l);
	if (l && wc->status == IBV_WC_SUCCESS && is_message(wc))
		link_told(l, d->slots[i], wc->byte_len);
	else if (l && wc->status == IBV_WC_SUCCESS)
		store_rel(l->broken, true);
	device_give_slot(d, i);
}

static void note_end(struct link *l, uint64_t seq)
{
	uint64_t old = load_rlx(l->completed);

	if ((int64_t)(seq - old) <= 0)
		return;
	store_rel(l->completed, seq);
	device_ends(l->device, seq - old);
}

static void note_sent(struct link *l, const struct ibv_wc *wc)
{
	if (wc->status == IBV_WC_SUCCESS) {
		raise_to(&l->acked, wc->wr_id);
		note_end(l, wc->wr_id);
		return;
	}
	if (link_is_up(l))
		log_info("RDMA: %s", verbs.ibv_wc_status_str(wc->status));
	link_fail(l, FALLBACK_RDMA_FAILED); /* the device may say so before its queue pair is in error */
	note_end(l, wc->wr_id);
}

struct link *device_find_link(struct device *d, uint32_t qpn)
{
	struct link *l = d->links[qpn % HASH];

	while (l && l->qpn != qpn)
		l = l->next;
	return l;
}

static bool note(struct device *d, const struct ibv_wc *wc)
{
	struct link *l = device_find_link(d, wc->qp_num);

	if (wc->wr_id & RECEIVE)
		note_received(d, l, wc);
	else if (l)
		note_sent(l, wc);
	return l && load_rlx(l->news);
}

/* What lies there at this moment.  True: there are news for the thread. */
static bool note_all(struct device *d)
{
	struct ibv_wc wc[BATCH];
	bool news = false;
	int n = d->cq ? BATCH : 0;

	for (d->turn++; n == BATCH;) {
		n = ibv_poll_cq(d->cq, BATCH, wc);
		for (int i = 0; i < n; i++)
			news |= note(d, &wc[i]);
	}
	return news;
}

void device_poll(struct device *d)
{
	bool news = false;

	section_enter();
	if (!atomic_exchange_explicit(&d->cq_lock, 1, memory_order_acquire)) {
		news = note_all(d);
		atomic_store_explicit(&d->cq_lock, 0, memory_order_release);
	}
	section_leave();
	if (news)
		thread_wake();
}

void device_drain(struct device *d)
{
	verbs_lock(&d->cq_lock);
	bool news = note_all(d);
	verbs_unlock(&d->cq_lock);
	if (news)
		thread_wake();
}

void device_completions(struct device *d)
{
	struct ibv_cq *cq;
	void *context;

	if (verbs.ibv_get_cq_event(d->channel, &cq, &context))
		return;
	verbs.ibv_ack_cq_events(cq, 1);
	ibv_req_notify_cq(cq, 1);
	device_poll(d);
}

void link_poll(struct link *l)
{
	if (verbs_is_ours() && l->device)
		device_poll(l->device);
}
