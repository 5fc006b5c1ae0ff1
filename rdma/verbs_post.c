/* Posting to a link, and waiting for what was posted. */
#include "clock.h"
#include "settings.h"
#include "stats.h"
#include "sys.h"
#include "verbs.h"
#include "verbs_api.h"
#include "verbs_device.h"

#include <linux/futex.h>
#include <sched.h>

enum {
	SIGNAL_EVERY = 16,
	POLITE_US = 20, /* of polling; then the core is offered to others between looks */
	YIELD_US = 100, /* then slept away from */
	EVENT_LEAST = 4 << 20, /* a block that takes long enough for its end to wake somebody; the others are looked for */
	READ_LEAST = 4 * PACE_BYTES, READ_MOST = 1 << 24, READ_SHARE = 8,
	NAP_MOST_NS = 20000000,
};

/* Numbers a row of requests; its last, and how many there are then in a row without a completion. */
static struct ibv_send_wr *number(struct link *l, struct ibv_send_wr *wr, uint64_t *ret_unsignalled)
{
	uint64_t n = l->unsignalled;

	wr->wr_id = l->posted + 1;
	for (; wr->next; wr = wr->next) {
		wr->next->wr_id = wr->wr_id + 1;
		n = wr->send_flags & IBV_SEND_SIGNALED ? 0 : n + 1;
	}
	*ret_unsignalled = n + 1;
	return wr;
}

/* A row goes by one doorbell; `signalled` is of its last, whose number is *ret_seq. */
static int post(struct link *l, struct ibv_send_wr *wr, bool signalled, uint64_t *ret_seq)
{
	struct ibv_send_wr *bad = wr;
	int r = -EAGAIN;

	if (!verbs_is_ours())
		return -ENOTCONN;
	verbs_lock(&l->sq_lock);
	uint64_t unsignalled;
	struct ibv_send_wr *last = number(l, wr, &unsignalled);
	if (load_rlx(l->state) == LINK_DOWN) {
		r = -ENOTCONN;
	} else if (l->qp && last->wr_id - load_acq(l->acked) < LINK_SENDS && device_takes(l->device, last->wr_id - l->posted)) {
		if (signalled || unsignalled >= SIGNAL_EVERY || device_is_busy(l->device))
			last->send_flags |= IBV_SEND_SIGNALED;
		r = -ibv_post_send(l->qp, wr, &bad);
		l->posted = r ? bad->wr_id - 1 : last->wr_id; /* what a refused row begins with goes all the same */
		device_ends(l->device, last->wr_id - l->posted);
	}
	if (!r) {
		*ret_seq = last->wr_id;
		l->unsignalled = last->send_flags & IBV_SEND_SIGNALED ? 0 : unsignalled;
	}
	verbs_unlock(&l->sq_lock);
	return r;
}

/* The queue of sends is full for as long as the peer's device acknowledges nothing. */
static int post_patiently(struct link *l, struct ibv_send_wr *wr, bool signalled, uint64_t *ret_seq)
{
	uint64_t start = clock_ticks();
	int r;

	while ((r = post(l, wr, signalled, ret_seq)) == -EAGAIN) {
		if (clock_ticks() - start > us_to_ticks(settings.rdma_dead))
			return -ETIMEDOUT;
		link_poll(l);
		sched_yield();
	}
	return r;
}

static int write_ring(struct link *l, uint64_t pos, struct ibv_sge *parts, int n, bool last, uint64_t *ret_seq)
{
	struct ibv_send_wr wr = {
		.sg_list = parts, .num_sge = n, .opcode = IBV_WR_RDMA_WRITE,
		.send_flags = n == 1 && parts->length <= LINK_INLINE ? IBV_SEND_INLINE : 0,
		.wr.rdma = { l->peer_ring + pos % l->ring_bytes, l->peer_rkey },
	};

	return post_patiently(l, &wr, last, ret_seq);
}

static struct ibv_sge staged(const struct link *l, uint64_t pos, size_t n)
{
	return (struct ibv_sge){ (uintptr_t)l->staging + pos % l->ring_bytes, (uint32_t)n, l->lkey };
}

int link_write(struct link *l, uint64_t pos, size_t n, bool last, uint64_t *ret_seq)
{
	struct ibv_sge all = staged(l, pos, n);

	return write_ring(l, pos, &all, 1, last, ret_seq);
}

int link_write_in_place(struct link *l, uint64_t pos, const void *p, uint32_t lkey, size_t n, bool last, uint64_t *ret_seq)
{
	struct ibv_sge parts[] = { staged(l, pos, sizeof(struct ring_head)), { (uintptr_t)p, (uint32_t)n, lkey } };

	return write_ring(l, pos, parts, 2, last, ret_seq);
}

int link_read_block(struct link *l, const struct block_part *b, uint64_t *ret_seq)
{
	struct block_claim c = { .upto = b->from + b->bytes, .id = b->id };
	struct control d = { .type = CONTROL_DONE, .id = b->id, .ring = b->from + b->bytes };
	struct ibv_sge claim_at = { (uintptr_t)&c, sizeof(c), 0 };
	struct ibv_sge to = { (uintptr_t)b->to, (uint32_t)b->bytes, b->lkey };
	struct ibv_sge done_at = { (uintptr_t)&d, sizeof(d), 0 };
	struct ibv_send_wr done = {
		.sg_list = &done_at, .num_sge = 1, .opcode = IBV_WR_SEND,
		.send_flags = IBV_SEND_INLINE | IBV_SEND_FENCE | (b->from + b->bytes >= EVENT_LEAST ? IBV_SEND_SOLICITED : 0),
	};
	struct ibv_send_wr read = {
		.next = b->ends ? &done : NULL, .sg_list = &to, .num_sge = 1, .opcode = IBV_WR_RDMA_READ,
		.send_flags = IBV_SEND_SIGNALED, .wr.rdma = { b->address + b->from, b->rkey },
	};
	struct ibv_send_wr claim = {
		.next = &read, .sg_list = &claim_at, .num_sge = 1, .opcode = IBV_WR_RDMA_WRITE, .send_flags = IBV_SEND_INLINE,
		.wr.rdma = { l->peer_ring + l->ring_bytes, l->peer_rkey },
	};
	uint64_t last;
	int r = post_patiently(l, &claim, !b->ends, &last);

	if (!r)
		*ret_seq = read.wr_id;
	return r;
}

/* With a key of which nobody knows.  Under sq_lock, since the thread may let go of the device. */
static struct ibv_mw *window_of(struct link *l, void **window, uint32_t *ret_key)
{
	verbs_lock(&l->sq_lock);
	if (!*window && l->qp && l->device->windows)
		*window = ibv_alloc_mw(l->device->pd, IBV_MW_TYPE_2);
	struct ibv_mw *mw = *window;
	*ret_key = mw ? ibv_inc_rkey(mw->rkey) : 0;
	verbs_unlock(&l->sq_lock);
	return mw;
}

/* The driver does not keep it. */
static void note_window_key(struct link *l, void **window, uint32_t key)
{
	verbs_lock(&l->sq_lock);
	if (*window)
		((struct ibv_mw *)*window)->rkey = key;
	verbs_unlock(&l->sq_lock);
}

int link_advertise(struct link *l, struct advert *a, struct memreg_hold *h)
{
	struct ibv_mw *mw = window_of(l, &l->window, &a->rkey);
	struct ibv_sge sge = { (uintptr_t)a, sizeof(*a), 0 };
	struct ibv_send_wr send = { .sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_SEND, .send_flags = IBV_SEND_INLINE };
	uint64_t seq;

	if (!mw)
		return -ENOTSUP;
	struct ibv_send_wr bind = {
		.next = &send, .opcode = IBV_WR_BIND_MW,
		.bind_mw = { mw, a->rkey, { h->key.handle, a->address, a->length, IBV_ACCESS_REMOTE_WRITE } },
	};
	int r = post(l, &bind, false, &seq);
	if (r != -EAGAIN) {
		note_window_key(l, &l->window, a->rkey);
		l->window_rkey = a->rkey;
	}
	return r;
}

int link_place(struct link *l, const struct placement *p, uint64_t *ret_seq)
{
	struct placed said = { .bytes = p->bytes, .id = p->id };
	struct ibv_sge from = { (uintptr_t)p->from, (uint32_t)p->bytes, p->lkey }, said_at = { (uintptr_t)&said, sizeof(said), 0 };
	struct ibv_send_wr say = {
		.sg_list = &said_at, .num_sge = 1, .opcode = IBV_WR_RDMA_WRITE, .send_flags = IBV_SEND_INLINE,
		.wr.rdma = { l->peer_ring + l->ring_bytes + offsetof(struct peer_words, placed), l->peer_rkey },
	};
	struct ibv_send_wr write = {
		.next = &say, .sg_list = &from, .num_sge = 1, .opcode = IBV_WR_RDMA_WRITE, .wr.rdma = { p->to, p->rkey },
	};

	return post_patiently(l, &write, true, ret_seq);
}

int link_tell_polls(struct link *l, bool yes, uint64_t *ret_seq)
{
	uint64_t polls = yes;
	struct ibv_sge sge = { (uintptr_t)&polls, sizeof(polls), 0 };
	struct ibv_send_wr wr = {
		.sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_RDMA_WRITE, .send_flags = IBV_SEND_INLINE,
		.wr.rdma = { l->peer_ring + l->ring_bytes + offsetof(struct peer_words, polls), l->peer_rkey },
	};

	return yes ? post(l, &wr, false, ret_seq) : post_patiently(l, &wr, true, ret_seq);
}

static int send_message(struct link *l, const void *p, size_t n, unsigned flags, __typeof__(post) *how)
{
	struct ibv_sge sge = { (uintptr_t)p, (uint32_t)n, 0 };
	struct ibv_send_wr wr = {
		.sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_SEND,
		.send_flags = IBV_SEND_INLINE | flags,
	};
	uint64_t seq;

	return how(l, &wr, false, &seq);
}

int link_control(struct link *l, const struct control *c)
{
	return send_message(l, c, sizeof(*c), IBV_SEND_SOLICITED, post);
}

int link_control_quietly(struct link *l, const struct control *c)
{
	return send_message(l, c, sizeof(*c), 0, post);
}

void link_answer(struct link *l, const struct control *c)
{
	if (send_message(l, c, sizeof(*c), IBV_SEND_SOLICITED, post_patiently) == -ETIMEDOUT)
		link_fail(l, FALLBACK_RDMA_SILENT);
}

int link_introduce(struct link *l, const struct intro *i)
{
	struct ibv_sge sge = { (uintptr_t)i, sizeof(*i), 0 };
	struct ibv_send_wr send = { .sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_SEND, .send_flags = IBV_SEND_INLINE | IBV_SEND_SOLICITED };
	struct ibv_send_wr bind = {
		.next = &send, .opcode = IBV_WR_BIND_MW,
		.bind_mw = { l->ring_window, l->rkey, { l->memory, (uintptr_t)l->ring, link_rings_bytes(l->ring_bytes) - l->ring_bytes, IBV_ACCESS_REMOTE_WRITE } },
	};
	uint64_t seq;

	return post(l, l->ring_window ? &bind : &send, false, &seq);
}

/* Nothing, written to nowhere: that the peer's device acknowledges it is all. */
int link_ping(struct link *l, uint64_t *ret_seq)
{
	struct ibv_send_wr wr = { .opcode = IBV_WR_RDMA_WRITE, .wr.rdma = { l->peer_ring, l->peer_rkey } };

	return post(l, &wr, true, ret_seq);
}

bool link_is_acked(struct link *l, uint64_t seq)
{
	return (int64_t)(seq - load_acq(l->acked)) <= 0;
}

struct pause link_pause_begin(uint64_t expected)
{
	return (struct pause){ .start = clock_ticks(), .expected = expected, .yield_at = us_to_ticks(POLITE_US) };
}

/* Most of a wait that is known to be long at once; then the longer the wait, the longer the sleep.  0: none yet. */
static struct timespec nap_of(const struct pause *p, uint64_t waited)
{
	uint64_t due = p->expected / 8 * 7, yields = us_to_ticks(YIELD_US), ticks = 0;

	if (waited >= us_to_ticks(POLITE_US) && due > yields && waited < due)
		ticks = due - waited;
	else if (waited >= yields)
		ticks = waited / 4;
	uint64_t ns = ticks * 1000 / us_to_ticks(1);

	return (struct timespec){ .tv_nsec = ns < NAP_MOST_NS ? (long)ns : NAP_MOST_NS };
}

/* The core is offered to others twice before the first nap. */
static void stay_awake(struct pause *p, uint64_t waited)
{
	if (waited < p->yield_at) {
		cpu_relax();
		return;
	}
	sched_yield();
	p->yield_at = 3 * waited;
}

void link_pause(struct pause *p)
{
	uint64_t waited = clock_ticks() - p->start;
	struct timespec nap = nap_of(p, waited);

	if (nap.tv_nsec)
		sys_call(SYS_nanosleep, &nap, 0);
	else
		stay_awake(p, waited);
}

void link_pause_for_done(struct pause *p, struct link *l, uint32_t seen_id)
{
	uint64_t waited = clock_ticks() - p->start;
	struct timespec most = nap_of(p, waited);

	if (!most.tv_nsec) {
		stay_awake(p, waited);
		return;
	}
	atomic_fetch_add(&l->done_waits, 1);
	sys_call(SYS_futex, &l->done_id, FUTEX_WAIT, seen_id, &most, 0, 0);
	atomic_fetch_sub(&l->done_waits, 1);
}

/* What has come is looked at before the time is up: this process may have been stopped meanwhile. */
static bool wait_within(struct link *l, uint64_t seq, uint64_t limit, uint64_t expected)
{
	struct pause p = link_pause_begin(expected);

	while (!link_is_acked(l, seq)) {
		uint64_t waited = clock_ticks() - p.start;
		link_poll(l);
		if (load_acq(l->state) == LINK_DOWN)
			return false;
		if (waited > limit && !link_is_acked(l, seq)) {
			link_fail(l, FALLBACK_RDMA_SILENT);
			return false;
		}
		link_pause(&p);
	}
	return true;
}

uint64_t link_expected(const struct pace *p, size_t bytes)
{
	uint64_t least = UINT64_MAX;

	for (int i = 0; i < PACE_LAST; i++)
		least = load_rlx(p->took[i]) < least ? load_rlx(p->took[i]) : least;
	return least * (bytes / PACE_BYTES + 1);
}

void link_learn(struct pace *p, size_t bytes, uint64_t took)
{
	unsigned i = load_rlx(p->next);

	store_rlx(p->took[i % PACE_LAST], took / (bytes / PACE_BYTES + 1));
	store_rlx(p->next, i + 1);
}

bool link_wait(struct link *l, uint64_t seq)
{
	uint64_t start = clock_ticks();
	bool ok = wait_within(l, seq, us_to_ticks(settings.rdma_dead), link_expected(&l->acks, 0));
	uint64_t took = clock_ticks() - start;

	store_rlx(l->ack_ticks, (7 * load_rlx(l->ack_ticks) + took) / 8);
	link_learn(&l->acks, 0, took);
	return ok;
}

/* By the slowest of the last few; before there are any, and at least, what no fabric takes that long for. */
static size_t bulk_most(const struct pace *p)
{
	uint64_t slowest = 0, share = us_to_ticks(settings.rdma_dead / READ_SHARE);
	bool known = true;

	for (int i = 0; i < PACE_LAST; i++) {
		uint64_t took = load_rlx(p->took[i]);
		known &= took != 0;
		slowest = took > slowest ? took : slowest;
	}
	uint64_t most = known ? share / slowest * PACE_BYTES : READ_LEAST;
	return most < READ_LEAST ? READ_LEAST : most < READ_MOST ? most : READ_MOST;
}

/* What would be left and is too short to go by itself goes with it: it would be copied. */
size_t link_bulk_part(const struct pace *p, size_t n)
{
	size_t most = bulk_most(p);

	return n < most + PACE_BYTES ? n : most;
}

bool link_wait_bulk(struct link *l, struct pace *p, uint64_t seq, size_t bytes)
{
	uint64_t start = clock_ticks();
	bool ok = wait_within(l, seq, us_to_ticks(settings.rdma_dead), link_expected(p, bytes));

	link_learn(p, bytes, clock_ticks() - start);
	return ok;
}

bool link_revoke(struct link *l, uint32_t rkey)
{
	struct ibv_send_wr wr = { .opcode = IBV_WR_LOCAL_INV, .invalidate_rkey = rkey };
	uint64_t seq;
	int r = post_patiently(l, &wr, true, &seq);

	if (r)
		link_fail(l, FALLBACK_RDMA_FAILED);
	return !r && wait_within(l, seq, us_to_ticks(settings.rdma_dead), 0);
}

/* The offer goes over TCP, which nothing on the fabric is ordered with: the window is there before it goes. */
static bool bind_block(struct link *l, const void *p, size_t n, const struct memreg_hold *h)
{
	struct ibv_mw *mw = window_of(l, &l->block_window, &l->block_rkey);
	struct ibv_send_wr wr = {
		.opcode = IBV_WR_BIND_MW,
		.bind_mw = { mw, l->block_rkey, { h->key.handle, (uintptr_t)p, n, IBV_ACCESS_REMOTE_READ } },
	};
	uint64_t seq;

	if (!mw)
		return false;
	int r = post_patiently(l, &wr, true, &seq);
	if (r) {
		l->block_rkey = 0;
		link_fail(l, FALLBACK_RDMA_FAILED);
		return false;
	}
	note_window_key(l, &l->block_window, l->block_rkey);
	return wait_within(l, seq, us_to_ticks(settings.rdma_dead), 0);
}

uint32_t link_open_block(struct link *l, const void *p, size_t n, const struct memreg_hold *h)
{
	if (!l->device->windows)
		return h->key.rkey;
	if (bind_block(l, p, n, h))
		return l->block_rkey;
	link_close_block(l);
	return 0;
}

void link_close_block(struct link *l)
{
	uint32_t key = l->block_rkey;

	l->block_rkey = 0;
	if (!key || (link_is_up(l) && link_revoke(l, key)))
		return;
	link_quiet(l);
	link_drop_block_window(l);
}

bool link_wait_recalled(struct link *l, uint32_t id)
{
	struct pause p = link_pause_begin(0);

	while (load_acq(l->recalled) != id) {
		link_poll(l);
		if (load_acq(l->recalled) == id)
			break;
		if (load_acq(l->state) == LINK_DOWN)
			return false;
		if (clock_ticks() - p.start > us_to_ticks(settings.rdma_dead)) {
			link_fail(l, FALLBACK_RDMA_SILENT);
			return false;
		}
		link_pause(&p);
	}
	return true;
}
