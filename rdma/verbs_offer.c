/* Blocks, the sender's side: the peer reads them out of the program's buffer, from inside its own receive. */
#include "clock.h"
#include "process.h"
#include "settings.h"
#include "stats.h"
#include "sys.h"
#include "verbs_sending.h"

#include <fcntl.h>
#include <poll.h>

enum {
	BLOCK_MOST = 1 << 30,
	CLAIM_US = 4000, CLAIM_ACKS = 64, /* a peer that reads has begun by then: so long, and so many acknowledgements */
	TIE_US = 300, TIE_ACKS = 16, TIE_MOST_US = CLAIM_US / 2, /* before the other gives up, whatever each has seen of acknowledgements */
	ASIDE_MOST = 16, /* times in a row, without anything received */
	BACKOFF_MOST = 8,
	ANSWER_BYTES_PER_US = 5,
};

/* The peer has sent what the program has not read, and may be waiting for that: the accepting side steps back. */
static bool tie(struct sending *w)
{
	struct pollfd p = { .fd = w->fd, .events = POLLIN };

	if (!w->vs->base.role || sys_call(SYS_poll, &p, 1, 0) != 1)
		return false;
	stat_inc(STAT_net_ties);
	return true;
}

/*
 * A loop that sends and receives under one lock (gloo's) cannot read what the peer has for it while it is in here, and the peer may
 * wait for just that.  It is told that there is no room, and that there is at its next wait: in between it reads.  For loops alone,
 * whose every wait is level-triggered, since no edge follows; one that does not come to read has its bytes taken in another way.
 */
static bool steps_aside(struct sending *w)
{
	struct verbs_stream *vs = w->vs;
	struct stream *s = &vs->base;
	uint64_t at = load_rlx(w->v->rx_at);

	if (vs->aside_at != at)
		vs->asides = 0;
	if (vs->asides >= ASIDE_MOST || w->must || !load_rlx(s->watched) || stream_is_edge(s) ||
	    !(sys_call(SYS_fcntl, w->fd, F_GETFL) & O_NONBLOCK))
		return false;
	vs->aside_at = at;
	vs->asides++;
	stat_inc(STAT_net_asides);
	w->aside = true;
	return true;
}

bool send_is_long(const struct sending *w)
{
	return cursor_run(&w->c) >= BLOCK_LEAST;
}

bool send_block_pays(struct sending *w)
{
	struct stream *s = &w->vs->base;

	if (!send_is_long(w) || w->c.left <= link_out(w->vs)->ring_bytes / 4 || !send_may_use_ring(w->vs) || signal_in_handler())
		return false;
	if (s->offer_skip) {
		s->offer_skip--;
		return false;
	}
	if (!tie(w))
		return true;
	steps_aside(w);
	return false;
}

/* A small piece before a block goes by itself, so that the block can go straight (a preamble and its tensor). */
size_t send_lead(const struct sending *w)
{
	struct cursor c = w->c;
	size_t n = cursor_run(&c);

	if (n > SMALL || n == c.left || !send_may_use_ring(w->vs) || w->vs->base.offer_skip)
		return SIZE_MAX;
	cursor_advance(&c, n);
	return cursor_run(&c) >= BLOCK_LEAST ? n : SIZE_MAX;
}

/* Whoever does not read does not block us: after a while the block is taken back, more and more rarely offered. */
static void withdrawn(struct stream *s)
{
	stat_inc(STAT_net_withdrawn);
	s->offer_backoff = s->offer_backoff ? s->offer_backoff * 2 : 1;
	if (s->offer_backoff > BACKOFF_MOST)
		s->offer_backoff = BACKOFF_MOST;
	s->offer_skip = s->offer_backoff;
}

static bool offer(struct sending *w, uint32_t key, uint32_t id, size_t n)
{
	struct frame_out *o = &w->v->out;
	struct frame_block b = { .address = (uintptr_t)cursor_ptr(&w->c), .length = n, .rkey = key, .id = id };

	return frame_out_head(o, FRAME_BLOCK, load_rlx(w->v->tx_at), link_out(w->vs)->ring_w, 0) &&
	       frame_out_put(o, &b, sizeof(b)) && flush_tail(w->vs, w->fd);
}

/* False: the link is down.  The peer's device lives, since it acknowledges what we ask it now and then. */
static bool wait_done(struct sending *w, uint32_t id, uint64_t expected, uint64_t limit, uint64_t tie_limit)
{
	struct link *l = link_out(w->vs);
	struct pause p = link_pause_begin(expected);
	uint64_t start = p.start, asked = start, seq = 0;

	for (uint32_t seen; (seen = load_acq(l->done_id)) != id;) {
		uint64_t now = clock_ticks();
		link_poll(l);
		if (load_acq(l->done_id) == id)
			break;
		if (load_acq(l->state) == LINK_DOWN)
			return false;
		if (now - start > limit || (now - start > tie_limit && (w->tied = tie(w))))
			return true;
		if (now - asked > us_to_ticks(settings.rdma_dead / 2)) {
			if (seq && !link_wait(l, seq))
				return false;
			link_ping(l, &seq);
			asked = now;
		}
		link_pause_for_done(&p, l, seen);
	}
	return true;
}

/* How much the peer may have read at most: for certain when the link is quiet. */
static size_t claimed(const struct link *l, uint32_t id, size_t n)
{
	struct block_claim c = *(volatile struct block_claim *)&l->words->claim;

	return c.id != id ? 0 : c.upto < n ? c.upto : n;
}

static void take_back(struct sending *w, uint32_t id, size_t n)
{
	struct link *l = link_out(w->vs);
	struct control c = { .type = CONTROL_WITHDRAW, .id = id };

	link_answer(l, &c);
	bool up = wait_done(w, id, 0, us_to_ticks(2 * settings.rdma_dead), UINT64_MAX);
	if (up && load_acq(l->done_id) != id && claimed(l, id, n))
		wait_done(w, id, 0, us_to_ticks(n / ANSWER_BYTES_PER_US), UINT64_MAX);
}

/* What has become of it: bytes that the peer has read; -1: nobody knows, and the link is quiet. */
static ssize_t block_outcome(struct sending *w, uint32_t id, size_t n)
{
	struct link *l = link_out(w->vs);
	uint64_t acks = load_rlx(l->ack_ticks), start = clock_ticks(), expected = link_expected(&l->blocks, n);

	w->tied = false;
	uint64_t tie_limit = us_to_ticks(TIE_US) + TIE_ACKS * acks, most = us_to_ticks(TIE_MOST_US);
	bool up = wait_done(w, id, expected, us_to_ticks(CLAIM_US) + CLAIM_ACKS * acks, tie_limit < most ? tie_limit : most);

	link_learn(&l->blocks, n, clock_ticks() - start);
	if (up && load_acq(l->done_id) != id)
		take_back(w, id, n);
	if (load_acq(l->done_id) == id) {
		uint64_t done = load_rlx(l->done_bytes); /* once: a peer may go on to say others */
		if (up && done < n && (!w->tied || !steps_aside(w))) /* or refused */
			withdrawn(&w->vs->base);
		return done <= n ? (ssize_t)done : 0;
	}
	link_fail(l, FALLBACK_RDMA_SILENT);
	link_quiet(l); /* a READ that ends later would have read what the program writes next */
	return -1;
}

/* Offered and over; -1: nobody knows what of it has been read, and the link is quiet.  Nothing of it can be read any more. */
static ssize_t lend(struct sending *w, const struct memreg_hold *h, size_t n)
{
	struct link *l = link_out(w->vs);
	uint32_t key = link_open_block(l, cursor_ptr(&w->c), n, h);

	if (!key)
		return 0;
	uint32_t id = ++w->v->block_id;
	stat_inc(STAT_net_offers);
	if (!offer(w, key, id, n))
		link_fail(l, FALLBACK_RDMA_FAILED);
	ssize_t k = block_outcome(w, id, n);
	link_close_block(l);
	return k;
}

size_t send_block(struct sending *w)
{
	struct link *l = link_out(w->vs);
	size_t n = cursor_run(&w->c) < BLOCK_MOST ? cursor_run(&w->c) : BLOCK_MOST;
	struct device *d = l->device;
	struct memreg_hold *h = send_tcp_is_clear(w->vs, w->fd) ? device_register(d, cursor_ptr(&w->c), n) : NULL;

	if (!h)
		return 0;
	ssize_t k = lend(w, h, n);
	device_unregister(d, h);
	if (k < 0) {
		size_t had = claimed(l, w->v->block_id, n);
		w->must = had ? w->done + had : 0;
		w->v->finishing = had ? thread_id() : 0;
		return 0;
	}
	if (k)
		w->vs->base.offer_backoff = 0;
	store_rlx(w->v->tx_at, load_rlx(w->v->tx_at) + (uint64_t)k);
	cursor_advance(&w->c, (size_t)k);
	w->done += (size_t)k;
	stat_add(STAT_net_bytes_verbs, (uint64_t)k);
	return (size_t)k;
}
