/*
 * The sending half.  MODE_INLINE: the last segment is open, bytes go through TCP.  MODE_RING: bytes
 * go into the ring and the peer is woken by a doorbell unless it polls.  All under side->p.
 */
#include "clock.h"
#include "cursor.h"
#include "real.h"
#include "settings.h"
#include "shm.h"
#include "stats.h"
#include "sys.h"

#include <sched.h>

enum {
	SMALL = 8192,           /* not worth a doorbell of its own */
	PIECE = 16384,          /* published at a time, so that the peer's copy overlaps ours */
	INLINE_PIECE = 65536,   /* of an inline send: then the ring is looked at again */
	INLINE_IOV = 64,
	BACKLOG = 1 << 20,      /* more unread inline bytes than this: stay inline */
	HOT_US = 10,            /* a receiver in its loop has taken a piece within this, */
	SLOW_HOT_US = 50,       /* or within this, where memory is slow between the two cores */
	DEFER_US = 10,          /* costs little more than a doorbell, and saves one at both ends */
	DEFER_FAILS_MOST = 7,
	EDGE_PIECE = 131072,    /* a doorbell for every publish is too dear for less */
	UNTOLD_MOST = 262144,   /* published to an awake peer before it is told all the same */
	PATIENCE = 3,           /* entries of the segment table that must be free to leave inline */
};

bool stream_peer_polls(struct stream *s)
{
	struct wire_dir *o = s->out;

	return load_rlx(o->poller) > 0 && !load_rlx(o->sleepers) && !load_rlx(o->edge);
}

/* It has spun with success lately and does not sleep: it will look in a moment. */
bool stream_peer_will_poll(struct stream *s)
{
	struct wire_dir *o = s->out;

	return load_rlx(o->spinner) && load_rlx(o->sleepers) <= 0 && !load_rlx(o->edge);
}

/* After the peer's FIN every publish rings, so that its RST shows. */
static bool may_elide(struct stream *s)
{
	return stream_peer_polls(s) && !load_rlx(s->side->rdhup);
}

static void count_tx(struct stream *s, uint64_t n)
{
	uint64_t tx = load_rlx(s->side->tx) + n;

	store_rlx(s->side->tx, tx);
	store_rel(s->out->tx, tx);
}

/* A doorbell at a closed socket, or unread in it, would turn the peer's FIN into a reset. */
static bool doorbell(struct stream *s, int fd)
{
	struct wire_dir *o = s->out;
	long r = 1;

	store_rlx(o->ringing, 1);
	full_fence(); /* MUTATE: fence_ringing */
	if (load_rlx(o->closing)) {
		store_rel(o->ringing, 0);
		return true;
	}
	r = sys_call(SYS_sendto, fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0);
	if (r == 1) {
		stat_inc(STAT_net_doorbells);
		count_tx(s, 1);
		store_rlx(s->side->more, false);
	} else if (r != -EAGAIN) {
		s->side->dead = true;
		stream_keep_error(s, fd, r);
	}
	store_rel(o->ringing, 0);
	return r == 1;
}

/* The peer said that it polls: wait for that no longer than a doorbell would cost. */
static bool peer_takes_it_soon(struct stream *s)
{
	uint64_t start = clock_ticks(), rw = load_rlx(s->side->rw);

	do {
		cpu_relax();
		if (load_acq(s->out->rr) == rw)
			return true;
		full_fence(); /* MUTATE: fence_defer */
		if (may_elide(s))
			return true;
		if (load_rlx(s->out->sleepers) > 0)
			return false;
	} while (clock_ticks() - start < us_to_ticks(DEFER_US));
	return false;
}

/* Waiting pays while the peer keeps coming; after failures it is tried ever more rarely. */
static bool defer_pays(struct stream *s)
{
	if (load_rlx(s->defer_skip)) {
		add_rlx(s->defer_skip, -1);
		return false;
	}
	if (peer_takes_it_soon(s)) {
		store_rlx(s->defer_fails, 0);
		return true;
	}
	unsigned fails = load_rlx(s->defer_fails);
	fails = fails < DEFER_FAILS_MOST ? fails + 1 : DEFER_FAILS_MOST;
	store_rlx(s->defer_fails, fails);
	store_rlx(s->defer_skip, (1u << fails) - 2);
	return false;
}

/* Nobody has to be woken, and nothing to be told of, for what has been taken meanwhile. */
static bool is_taken(struct stream *s)
{
	return load_acq(s->out->rr) == load_rlx(s->side->rw) && !load_rlx(s->out->edge) && !load_rlx(s->side->rdhup) &&
	       load_acq(s->out->block.state) == BLOCK_IDLE;
}

/* After a publish.  False: a doorbell was needed and found no room. */
bool stream_notify(struct stream *s, int fd, bool may_defer)
{
	struct wire_dir *o = s->out;
	uint32_t epoch = load_rlx(s->side->segw);

	full_fence(); /* MUTATE: fence_publish */
	if (load_rlx(o->want_inline) && load_acq(o->rr) == load_rlx(s->side->rw)) /* MUTATE: taken_inline */
		return true; /* taken already by one that reads TCP itself from now on */
	if (is_taken(s))
		return true;
	if (may_elide(s)) {
		stat_inc(STAT_net_elided);
		return true;
	}
	if (may_defer && stream_peer_will_poll(s) && load_rlx(o->token) != epoch && !load_rlx(s->side->rdhup) &&
	    defer_pays(s)) {
		stat_inc(STAT_net_elided);
		return true;
	}
	if (atomic_exchange(&o->token, epoch) == epoch && !load_rlx(o->edge) && !load_rlx(s->side->rdhup))
		return true;
	return doorbell(s, fd); /* MUTATE: doorbell */
}

static struct wire_seg *out_seg(struct stream *s, uint32_t i)
{
	return &s->out->seg[i % WIRE_SEGMENTS];
}

/* From here on bytes go inline. */
static void open_segment(struct stream *s)
{
	uint32_t w = load_rlx(s->side->segw);
	struct wire_seg *g = out_seg(s, w);

	store_rlx(g->x, load_rlx(s->side->rw));
	store_rlx(g->a, load_rlx(s->side->tx));
	store_rel(g->b, SEG_OPEN);
	store_rlx(s->side->segw, w + 1);
	store_rel(s->out->segw, w + 1);
	store_rlx(s->side->mode, MODE_INLINE);
	stat_inc(STAT_net_toggles);
}

/* Receivers may not sleep in the plain call. */
static void want_switch(struct stream *s, bool yes)
{
	if (load_rlx(s->side->wants_switch) == yes)
		return;
	store_rlx(s->side->wants_switch, yes);
	store_rel(s->out->want_switch, yes);
}

static bool close_segment(struct stream *s)
{
	uint64_t open = SEG_OPEN;
	struct wire_seg *g = out_seg(s, load_rlx(s->side->segw) - 1);

	bool closed = atomic_compare_exchange_strong(&g->b, &open, load_rlx(s->side->tx));

	want_switch(s, !closed);
	if (!closed)
		stat_inc(STAT_net_blocked_switch);
	return closed;
}

static bool ring_allowed(struct stream *s)
{
	struct side *me = s->side;

	return !load_rlx(me->dead) && !load_rlx(me->shut) && !load_rlx(me->plain) && !load_rlx(s->cork) &&
	       load_acq(s->map->joined[!s->role]) && load_acq(s->out->counted) && !load_rlx(s->out->want_inline);
}

static bool table_has_room(struct stream *s)
{
	if (load_rlx(s->side->segw) - load_acq(s->out->segr) <= WIRE_SEGMENTS - PATIENCE)
		return true;
	stat_inc(STAT_net_table_full);
	return false;
}

/* Bytes in TCP that the peer has not taken; it may swallow a doorbell before we have counted it. */
static uint64_t backlog(struct stream *s)
{
	int64_t n = (int64_t)(load_rlx(s->side->tx) - load_acq(s->out->rx));

	return n > 0 ? (uint64_t)n : 0;
}

static bool may_leave_without_doorbell(struct stream *s)
{
	if (load_rlx(s->side->rdhup) || load_rlx(s->side->more))
		return false;
	return stream_peer_polls(s) ||
	       (stream_peer_will_poll(s) && backlog(s) < 65536);
}

/*
 * Inline -> ring.  The first doorbell goes before the ring data: it must not be found out after
 * publishing that TCP has no room for it.
 */
static bool enter_ring(struct stream *s, int fd)
{
	stream_check_kernel(s, fd);
	if (load_rlx(s->side->dead) || load_rlx(s->side->rdhup)) /* one call, and the kernel's own answer */
		return false;
	if (load_rlx(s->side->mode) == MODE_RING)
		return true;
	if (load_rlx(s->side->inflight) || !table_has_room(s) || !close_segment(s))
		return false;
	store_rlx(s->side->mode, MODE_RING);
	full_fence(); /* MUTATE: fence_enter */
	if (may_leave_without_doorbell(s))
		return true;
	atomic_exchange(&s->out->token, load_rlx(s->side->segw));
	if (doorbell(s, fd)) /* MUTATE: first_doorbell */
		return true;
	stat_inc(STAT_net_no_token_room);
	open_segment(s);
	return false;
}

/* Not one small message for a peer that sleeps. */
static bool is_bulk(struct stream *s, const struct cursor *c)
{
	return c->left > SMALL || load_rlx(s->sends_in_row) > 2 || load_rlx(s->out->poller) > 0 || stream_peer_will_poll(s);
}

/* Too much lies unread for the ring to be taken up again. */
static bool congested(struct stream *s)
{
	return stream_unread(s) > load_rlx(s->side->limit) / 2 || backlog(s) >= BACKLOG;
}

static bool wants_ring(struct stream *s, const struct cursor *c, size_t done)
{
	if (!ring_allowed(s))
		return false;
	if (load_rlx(s->side->mode) == MODE_RING)
		return is_bulk(s, c) || done || stream_unread(s) ||
		       load_rlx(s->out->token) == load_rlx(s->side->segw);
	if (block_wanted(s, cursor_run(c)) && stream_unread(s) + backlog(s) < cursor_run(c) / 4)
		return true;
	return is_bulk(s, c) && !congested(s);
}

/* One send() of the program on its way. */
struct sending {
	struct stream *s;
	int fd, flags;
	struct cursor c;
	size_t done;
	size_t untold; /* published and not yet notified */
	bool may_offer, waited, withdrawn;
	bool lags;   /* the receiver is too far behind for a block */
	uint64_t rr; /* how far it was when the call began */
	size_t by_ring, by_block;
};

static void tell(struct sending *w)
{
	if (w->untold)
		stream_notify(w->s, w->fd, !w->c.left);
	w->untold = 0;
}

/* What was taken back is on its way, or never will be. */
static void withdrawn_is_sent(struct sending *w)
{
	if (w->withdrawn)
		block_let_go(w->s);
	w->withdrawn = false;
}

/* Too much lies before a block of that length, or in the cold area. */
static bool is_behind(struct stream *s, size_t run)
{
	return !ring_back_to_hot(s) || stream_unread(s) + backlog(s) >= run / 4;
}

static bool block_next(struct sending *w)
{
	struct stream *s = w->s;
	size_t run = cursor_run(&w->c);

	if (!w->may_offer || !block_wanted(s, run) || is_behind(s, run))
		return false;
	return stream_peer_polls(s) || stream_peer_will_poll(s) || run > load_rlx(s->side->limit) - stream_unread(s);
}

static bool send_block(struct sending *w)
{
	size_t k = block_offer(w->s, w->fd, cursor_ptr(&w->c), cursor_run(&w->c));

	w->may_offer = false;
	w->withdrawn = load_rlx(w->s->out->block.state) == BLOCK_WITHDRAWN;
	w->untold = 0; /* the offer rang */
	w->done += k;
	w->by_block += k;
	cursor_advance(&w->c, k);
	stat_add(STAT_net_bytes_block, k);
	return k > 0;
}

/* Until the peer has taken something; false: it took nothing within the spin bound. */
static bool progress_within(struct sending *w, uint64_t bound)
{
	struct wire_dir *o = w->s->out;
	uint64_t start = clock_ticks(), rr = load_acq(o->rr), rx = load_acq(o->rx);

	while (clock_ticks() - start < bound) {
		if (load_acq(o->rr) != rr || load_acq(o->rx) != rx)
			return true;
		if (stream_shares_core(w->s))
			sched_yield();
		else
			cpu_relax();
	}
	return false;
}

static bool peer_progresses(struct sending *w)
{
	return progress_within(w, us_to_ticks(settings.spin));
}

static bool may_sleep(const struct sending *w)
{
	return !(w->flags & MSG_DONTWAIT) && !load_rlx(w->s->nonblock);
}

/* The hot area is full: a receiver at work is waited for, for one that is not there is the cold area. */
static bool makes_room(struct sending *w)
{
	bool at_work = may_sleep(w) && load_acq(w->s->out->rr) != w->rr;
	uint64_t us = at_work ? SLOW_HOT_US : HOT_US, bound = us_to_ticks(us < settings.spin ? us : settings.spin);

	if (!ring_is_cold(w->s) && !stream_shares_core(w->s) && progress_within(w, bound))
		return true;
	return ring_go_cold(w->s) || peer_progresses(w);
}

/*
 * A block comes when what lies before it has been read.  A sender that is faster than its receiver has the ring full for good, and
 * would never find out that blocks are faster: one that may sleep waits for a receiver at work, as it would for room, and offers
 * while that one is.
 */
static bool receiver_catches_up(struct sending *w)
{
	struct stream *s = w->s;
	size_t run = cursor_run(&w->c);
	bool waited = false;

	if (!w->may_offer || w->lags || !may_sleep(w) || !block_wanted(s, run))
		return false;
	tell(w);
	for (; is_behind(s, run); waited = true) {
		w->lags = !peer_progresses(w);
		if (w->lags)
			return false;
	}
	return waited;
}

/*
 * A bulk sender that has overflowed waits for the ring rather than fill TCP with what the ring moves
 * three times as fast; one that must not block does so for as long as the receiver is at work.
 */
static bool wait_for_ring(struct sending *w)
{
	struct stream *s = w->s;

	if (!is_bulk(s, &w->c) || !ring_allowed(s) || !congested(s) || (!may_sleep(w) && w->waited))
		return false;
	bool progress = peer_progresses(w);
	w->waited = !progress;
	return progress;
}

/* What is published at once: runs of the vector up to a piece, none of them worth an offer. */
static size_t piece(const struct sending *w)
{
	struct cursor c = w->c;
	size_t n = 0;

	while (c.left && n < PIECE) {
		size_t k = cursor_run(&c) < PIECE - n ? cursor_run(&c) : PIECE - n;
		if (n && w->may_offer && block_wanted(w->s, cursor_run(&c)))
			break;
		n += k;
		cursor_advance(&c, k);
	}
	return n;
}

static void put_runs(struct sending *w, uint64_t at, size_t n)
{
	struct storing storing = stores_begin(w->s, n);

	for (size_t left = n; left;) {
		size_t k = cursor_run(&w->c) < left ? cursor_run(&w->c) : left;
		ring_put(w->s, at, cursor_ptr(&w->c), k, storing.copy);
		cursor_advance(&w->c, k);
		at += k;
		left -= k;
	}
	stores_end(w->s, &storing, n);
}

/* Its doorbell lies unread: the peer has something to do. */
static bool is_rung_for(struct stream *s)
{
	return load_rlx(s->out->token) == load_rlx(s->side->segw);
}

/*
 * In the middle of a send.  A preamble and the block behind it are announced together, an awake peer finds the rest by itself, and
 * who does not wait for this one has others to serve meanwhile.  An edge stands for what has come up to then, at least one
 * behind the last byte: more of them are dear, and tell a peer that has not come yet nothing.
 */
static bool may_stay_untold(struct sending *w)
{
	struct stream *s = w->s;

	if (load_rlx(s->out->edge) && (w->untold < EDGE_PIECE || is_rung_for(s)))
		return true;
	return w->untold < UNTOLD_MOST && (block_next(w) || stream_peer_will_poll(s) || !may_sleep(w));
}

/* False: the ring is full and stays so. */
static bool send_ring(struct sending *w)
{
	struct stream *s = w->s;
	size_t want = piece(w), k;

	ring_rewind_if_empty(s, want);
	k = ring_room(s, want);
	while (!k) {
		if (!is_rung_for(s))
			tell(w);
		if (!makes_room(w)) {
			stat_inc(STAT_net_overflow);
			return false;
		}
		ring_rewind_if_empty(s, want);
		k = ring_room(s, want);
	}
	uint64_t rw = load_rlx(s->side->rw);
	put_runs(w, rw, k);
	store_rlx(s->side->rw, rw + k);
	store_rel(s->out->rw, rw + k);
	withdrawn_is_sent(w);
	stat_add(STAT_net_bytes_ring, k);
	w->done += k;
	w->by_ring += k;
	w->untold += k;
	if (w->c.left && !may_stay_untold(w))
		tell(w);
	return true;
}

/* The first send after an end goes nowhere, as into a connection whose other end is closed; the next one hears of it. */
static ssize_t send_nowhere(struct sending *w, size_t n)
{
	store_rlx(w->s->side->ended, END_ANSWERED);
	w->done += n;
	cursor_advance(&w->c, n);
	return (ssize_t)n;
}

/*
 * Through TCP by the real call, which may sleep: the lock is let go meanwhile, and `inflight` keeps
 * the segment open.  Returns what the call returned; *ret_asked is what it was given.
 */
static ssize_t send_inline(struct sending *w, size_t *ret_asked)
{
	struct side *me = w->s->side;
	struct iovec iov[INLINE_IOV];
	struct msghdr m = { .msg_iov = iov };
	ssize_t k;

	m.msg_iovlen = (size_t)cursor_export(&w->c, iov, INLINE_IOV, INLINE_PIECE, ret_asked);
	if (__builtin_expect(load_rlx(me->ended) == END_TOLD, 0))
		return send_nowhere(w, *ret_asked);
	if (load_rlx(me->mode) == MODE_RING)
		open_segment(w->s);
	atomic_fetch_add(&me->inflight, 1);
	side_unlock(&me->p);
	k = m.msg_iovlen == 1 ? real.send(w->fd, iov[0].iov_base, iov[0].iov_len, w->flags)
			      : real.sendmsg(w->fd, &m, w->flags);
	if (k < 0)
		k = -errno;
	side_lock(&me->p);
	atomic_fetch_sub(&me->inflight, 1);
	w->fd = stream_fd(w->s, w->fd);
	if (k > 0) {
		count_tx(w->s, (uint64_t)k);
		withdrawn_is_sent(w);
		store_rlx(me->more, !!(w->flags & MSG_MORE));
		count_inline(STAT_net_bytes_inline, (uint64_t)k);
		w->done += (size_t)k;
		cursor_advance(&w->c, (size_t)k);
	} else if (stream_reset_is_end(w->s, w->fd, k)) {
		return send_nowhere(w, *ret_asked);
	}
	return k;
}

static ssize_t send_all(struct sending *w)
{
	while (w->c.left) {
		size_t asked;
		if (__builtin_expect(load_rlx(w->s->side->err), 0))
			return w->done ? (ssize_t)w->done : side_kept_error(w->s->side);
		bool want = wants_ring(w->s, &w->c, w->done);
		if (!want && load_rlx(w->s->side->wants_switch) && !is_bulk(w->s, &w->c))
			want_switch(w->s, false);
		if (want && enter_ring(w->s, w->fd)) {
			if (block_next(w) || receiver_catches_up(w)) {
				send_block(w);
				continue;
			}
			if (send_ring(w))
				continue;
		}
		if (!want && wait_for_ring(w))
			continue;
		tell(w); /* MUTATE: tell_before_inline */
		ssize_t k = send_inline(w, &asked);
		if (k < 0 && w->done)
			side_keep_error(w->s->side, k);
		if (k < 0)
			return w->done ? (ssize_t)w->done : k;
		if ((size_t)k < asked)
			break;
	}
	tell(w); /* MUTATE: tell_at_end */
	return (ssize_t)w->done;
}

/* The same kernel call as bare, with nothing of ours that needs undoing. */
static ssize_t send_nothing(int fd, int flags)
{
	ssize_t k = real.send(fd, "", 0, flags);

	return k < 0 ? -errno : k;
}

/* Through the ring, copied by each end once, or straight between the processes. */
enum route { ROUTE_RING, ROUTE_BLOCK, ROUTES };

enum { MEASURED = 2 * WIRE_HOT }; /* less may be over before the receiver has begun: as many sends one way */

/* A send that went another way than was wanted, or through TCP, or took up memory, says nothing. */
static bool says_something(const struct sending *w, enum route way, uint64_t touched)
{
	struct stream *s = w->s;
	size_t n = w->by_ring + w->by_block;

	return n == w->done && load_rlx(s->side->touched) == touched &&
	       (way == ROUTE_BLOCK ? w->by_block >= n - SMALL : !w->by_block);
}

static void measure(struct sending *w, uint64_t start, uint64_t touched)
{
	struct stream *s = w->s;
	struct tuner_window *t = &s->route_window;

	if (w->done && !says_something(w, (enum route)t->way, touched))
		tuner_window_drop(t);
	else if (tuner_window_add(t, w->done, clock_ticks() - start, MEASURED))
		tuner_window_judge(t, &s->route, 0);
}

static enum route choose_route(struct stream *s)
{
	tuner_window_begin(&s->route_window, &s->route, ROUTES);
	return (enum route)s->route_window.way;
}

/* Straight between the processes, if there is something for that and it is not the slower way. */
static bool prefers_block(struct stream *s, size_t n)
{
	if (load_rlx(s->offer_skip) && n < 4u << 20)
		return false;
	return settings.block_always || choose_route(s) == ROUTE_BLOCK;
}

/* A message that does not wait, in a stream that is in TCP and has no reason to leave it. */
static bool is_quick(struct stream *s, const struct iovec *iov, int cnt, int flags)
{
	const struct side *me = s->side;

	return cnt == 1 && iov->iov_len && iov->iov_len <= SMALL && !(flags & ~(MSG_DONTWAIT | MSG_NOSIGNAL)) &&
	       (load_rlx(s->nonblock) || flags & MSG_DONTWAIT) && load_rlx(real_data_is_direct) && load_rlx(me->mode) == MODE_INLINE &&
	       load_rlx(s->sends_in_row) < 2 && !load_rlx(s->offer_skip) && !load_rlx(me->wants_switch) && !load_rlx(me->err) &&
	       !load_rlx(me->ended) && load_rlx(me->touched) <= RING_WINDOW && !load_rlx(s->out->poller) && !stream_peer_will_poll(s);
}

/*
 * What send_all makes of it, in a few steps and under the lock.  Less than all, 0 at least, is no answer yet: `nonblock` is a hint, and
 * where there is no room the real call decides.
 */
static ssize_t send_quick(struct stream *s, int fd, const struct iovec *v, int flags)
{
	struct side *me = s->side;
	ssize_t k = -EAGAIN;

	side_lock(&me->p);
	if (load_rlx(me->mode) == MODE_INLINE)
		k = sys_call(SYS_sendto, fd, v->iov_base, v->iov_len, flags | MSG_DONTWAIT, 0, 0);
	if (k > 0) {
		count_tx(s, (uint64_t)k);
		store_rlx(me->more, false);
		count_inline(STAT_net_bytes_inline, (uint64_t)k);
		add_rlx(s->sends_in_row, 1);
	} else if (stream_reset_is_end(s, fd, k)) {
		store_rlx(me->ended, END_ANSWERED);
		k = (ssize_t)v->iov_len;
	}
	side_unlock(&me->p);
	return k == -EAGAIN ? 0 : k;
}

static ssize_t send_beyond(struct stream *s, int fd, const struct iovec *iov, int cnt, int flags, size_t done)
{
	struct sending w = { .s = s, .fd = fd, .flags = flags, .c = cursor_init(iov, cnt), .rr = load_acq(s->out->rr), .done = done };
	bool large = w.c.left >= block_min();

	cursor_advance(&w.c, done);
	side_lock(&s->side->p);
	if (w.c.left > SMALL)
		stream_note_core(s);
	ring_calms_down(s, w.c.left);
	add_rlx(s->sends_in_row, 1);
	if (load_rlx(s->offer_skip))
		add_rlx(s->offer_skip, -1);
	w.may_offer = large && prefers_block(s, w.c.left);
	uint64_t touched = load_rlx(s->side->touched), start = large ? clock_ticks() : 0;
	ssize_t ret = send_all(&w);
	withdrawn_is_sent(&w);
	if (large)
		measure(&w, start, touched);
	side_unlock(&s->side->p);
	return ret;
}

static bool is_empty(const struct iovec *iov, int cnt)
{
	while (cnt && !iov[cnt - 1].iov_len)
		cnt--;
	return !cnt;
}

ssize_t shm_send(struct stream *s, int fd, const struct iovec *iov, int cnt, struct stream_opts o)
{
	if (is_empty(iov, cnt))
		return send_nothing(fd, o.flags);
	if (!is_quick(s, iov, cnt, o.flags))
		return send_beyond(s, fd, iov, cnt, o.flags, 0);
	ssize_t k = send_quick(s, fd, iov, o.flags);
	return k < 0 || k == (ssize_t)iov->iov_len ? k : send_beyond(s, fd, iov, cnt, o.flags, (size_t)k);
}

void shm_begin_raw_send(struct stream *s)
{
	side_lock(&s->side->p);
	if (load_rlx(s->side->mode) == MODE_RING)
		open_segment(s);
	atomic_fetch_add(&s->side->inflight, 1);
	side_unlock(&s->side->p);
}

/* What others send on the socket from here on is payload, not doorbells. */
void stream_leave_ring(struct stream *s)
{
	side_lock(&s->side->p);
	if (load_rlx(s->side->mode) == MODE_RING)
		open_segment(s);
	side_unlock(&s->side->p);
}

void shm_end_raw_send(struct stream *s, ssize_t sent)
{
	side_lock(&s->side->p);
	atomic_fetch_sub(&s->side->inflight, 1);
	if (sent > 0) {
		count_tx(s, (uint64_t)sent);
		count_inline(STAT_net_bytes_inline, (uint64_t)sent);
	}
	side_unlock(&s->side->p);
}
