/* Posting to a link, and waiting for what was posted. */
#include "clock.h"
#include "settings.h"
#include "stats.h"
#include "sys.h"
#include "verbs.h"
#include "verbs_api.h"

#include <linux/futex.h>
#include <sched.h>

enum {
	SIGNAL_EVERY = 16,
	POLITE_US = 20, /* of polling; then the core is offered to others between looks */
	YIELD_US = 100, /* then slept away from */
	RELAX = 64,
	NAP_MOST_NS = 20000000,
};

static int post(struct link *l, struct ibv_send_wr *wr, bool signalled, uint64_t *ret_seq)
{
	struct ibv_send_wr *bad;
	int r = -EAGAIN;

	if (!verbs_is_ours())
		return -ENOTCONN;
	verbs_lock(&l->sq_lock);
	if (load_rlx(l->state) == LINK_DOWN) {
		r = -ENOTCONN;
	} else if (l->qp && l->posted - load_acq(l->acked) < LINK_SENDS - 1) {
		wr->wr_id = l->posted + 1;
		if (signalled || l->unsignalled + 1 >= SIGNAL_EVERY)
			wr->send_flags |= IBV_SEND_SIGNALED;
		r = -ibv_post_send(l->qp, wr, &bad);
	}
	if (!r) {
		*ret_seq = ++l->posted;
		l->unsignalled = wr->send_flags & IBV_SEND_SIGNALED ? 0 : l->unsignalled + 1;
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

int link_write(struct link *l, uint64_t pos, size_t n, bool last, uint64_t *ret_seq)
{
	struct ibv_sge sge = { (uintptr_t)l->staging + pos % l->ring_bytes, (uint32_t)n, l->lkey };
	struct ibv_send_wr wr = {
		.sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_RDMA_WRITE,
		.send_flags = n <= LINK_INLINE ? IBV_SEND_INLINE : 0,
		.wr.rdma = { l->peer_ring + pos % l->ring_bytes, l->peer_rkey },
	};

	return post_patiently(l, &wr, last, ret_seq);
}

int link_read(struct link *l, void *to, uint32_t lkey, uint64_t from, uint32_t rkey, size_t n, uint64_t *ret_seq)
{
	struct ibv_sge sge = { (uintptr_t)to, (uint32_t)n, lkey };
	struct ibv_send_wr wr = {
		.sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_RDMA_READ, .wr.rdma = { from, rkey },
	};

	return post_patiently(l, &wr, true, ret_seq);
}

int link_claim(struct link *l, uint32_t id, uint64_t upto)
{
	struct block_claim c = { .upto = upto, .id = id };
	struct ibv_sge sge = { (uintptr_t)&c, sizeof(c), 0 };
	struct ibv_send_wr wr = {
		.sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_RDMA_WRITE, .send_flags = IBV_SEND_INLINE,
		.wr.rdma = { l->peer_ring + l->ring_bytes, l->peer_rkey },
	};
	uint64_t seq;

	return post_patiently(l, &wr, false, &seq);
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

static int send_message(struct link *l, const void *p, size_t n, __typeof__(post) *how)
{
	struct ibv_sge sge = { (uintptr_t)p, (uint32_t)n, 0 };
	struct ibv_send_wr wr = {
		.sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_SEND,
		.send_flags = IBV_SEND_INLINE | IBV_SEND_SOLICITED,
	};
	uint64_t seq;

	return how(l, &wr, false, &seq);
}

int link_control(struct link *l, const struct control *c)
{
	return send_message(l, c, sizeof(*c), post);
}

void link_answer(struct link *l, const struct control *c)
{
	if (send_message(l, c, sizeof(*c), post_patiently) == -ETIMEDOUT)
		link_fail(l, FALLBACK_RDMA_SILENT);
}

int link_introduce(struct link *l, const struct intro *i)
{
	return send_message(l, i, sizeof(*i), post);
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

static void yield(void)
{
	sched_yield();
	for (int i = 0; i < RELAX; i++)
		cpu_relax();
}

/* The longer the wait, the longer the sleep: a wait of any length costs some tens of calls. */
static struct timespec quarter_of(uint64_t ticks)
{
	uint64_t ns = ticks / us_to_ticks(1) * 250;

	return (struct timespec){ .tv_nsec = ns < NAP_MOST_NS ? (long)ns : NAP_MOST_NS };
}

void link_pause(uint64_t waited)
{
	struct timespec nap = quarter_of(waited);

	if (waited < us_to_ticks(POLITE_US))
		cpu_relax();
	else if (waited < us_to_ticks(YIELD_US))
		yield();
	else
		sys_call(SYS_nanosleep, &nap, 0);
}

void link_pause_for_done(struct link *l, uint32_t seen_id, uint64_t waited)
{
	struct timespec most = quarter_of(waited);

	if (waited < us_to_ticks(YIELD_US)) {
		link_pause(waited);
		return;
	}
	atomic_fetch_add(&l->done_waits, 1);
	sys_call(SYS_futex, &l->done_id, FUTEX_WAIT, seen_id, &most, 0, 0);
	atomic_fetch_sub(&l->done_waits, 1);
}

/* What has come is looked at before the time is up: this process may have been stopped meanwhile. */
static bool wait_within(struct link *l, uint64_t seq, uint64_t limit)
{
	uint64_t start = clock_ticks();

	while (!link_is_acked(l, seq)) {
		uint64_t waited = clock_ticks() - start;
		link_poll(l);
		if (load_acq(l->state) == LINK_DOWN)
			return false;
		if (waited > limit && !link_is_acked(l, seq)) {
			link_fail(l, FALLBACK_RDMA_SILENT);
			return false;
		}
		link_pause(waited);
	}
	return true;
}

bool link_wait(struct link *l, uint64_t seq)
{
	uint64_t start = clock_ticks();
	bool ok = wait_within(l, seq, us_to_ticks(settings.rdma_dead));

	store_rlx(l->ack_ticks, (7 * load_rlx(l->ack_ticks) + clock_ticks() - start) / 8);
	return ok;
}

/* Retries end it if the peer's device is gone: no time-out of ours may, or a slow one would. */
bool link_wait_long(struct link *l, uint64_t seq)
{
	return wait_within(l, seq, UINT64_MAX);
}
