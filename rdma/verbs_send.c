/*
 * The sending half between hosts.  A call returns only when its bytes lie in the kernel's TCP queue or in
 * the peer's memory, acknowledged by its device: what has been sent needs nothing of us any more, and a
 * link that fails loses nothing.  Everything under side->p, which is let go while the kernel is waited for.
 */
#include "call.h"
#include "clock.h"
#include "copy.h"
#include "real.h"
#include "settings.h"
#include "stats.h"
#include "stream.h"
#include "sys.h"
#include "verbs_sending.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/time.h>

enum {
	PIECE = 65536,        /* of the ring, written at a time */
	FRAME_MOST = 1 << 18, /* what a frame owes is filled by whatever the program sends next */
	INLINE_IOV = 64,
	IN_PLACE_LEAST = 4096, /* of what is registered */
	PLACE_US = 4000, PLACE_ACKS = 64, /* a peer that reads has said where frames may begin by then: so long, and so many acknowledgements */
	PLACE_BACKOFF_MOST = 1 << 16,
};

static bool may_sleep(const struct sending *w)
{
	return !(w->flags & MSG_DONTWAIT) && !(sys_call(SYS_fcntl, w->fd, F_GETFL) & O_NONBLOCK);
}

static bool is_framed(struct verbs_side *v)
{
	return load_rlx(v->tx_at) >= v->frames_from && !load_rlx(v->left);
}

/* The peer has said from where on it understands frames: taken up if we have not passed that place. */
static void agree(struct verbs_stream *vs)
{
	struct verbs_side *v = vs->v;
	uint64_t at = load_acq(link_out(vs)->peer_counted), now = load_rlx(v->tx_at);

	if (v->frames_from != UINT64_MAX || at <= now || load_rlx(v->side.plain))
		return;
	v->frames_from = at - 1;
	if (at - 1 == now)
		frame_out_put(&v->out, v->mark_out, MARK_BYTES);
}

/* The peer has had something large, or is about to, and says where frames may begin. */
static bool place_is_due(struct sending *w)
{
	struct verbs_stream *vs = w->vs;

	if (w->c.left <= SMALL || w->v->frames_from != UINT64_MAX || load_rlx(w->v->side.plain) || !link_is_up(link_out(vs)))
		return false;
	if (!vs->large_sent) {
		vs->large_sent = true;
		return false;
	}
	if (vs->place_skip) {
		vs->place_skip--;
		return false;
	}
	return may_sleep(w) && !signal_in_handler();
}

/* One that goes on sending meanwhile is past whatever place the peer says. */
static void await_place(struct sending *w)
{
	struct verbs_stream *vs = w->vs;
	struct link *l = link_out(vs);
	uint64_t now = load_rlx(w->v->tx_at), seq;

	if (load_acq(l->peer_counted) > now || link_ping(l, &seq) || !link_wait(l, seq)) /* nothing else has been acknowledged yet */
		return;
	struct pause p = link_pause_begin(0);
	while (load_acq(l->peer_counted) <= now && link_is_up(l)) {
		if (clock_ticks() - p.start > us_to_ticks(PLACE_US) + PLACE_ACKS * load_rlx(l->ack_ticks)) {
			vs->place_backoff = vs->place_backoff < PLACE_BACKOFF_MOST ? 2 * vs->place_backoff + 1 : PLACE_BACKOFF_MOST;
			vs->place_skip = vs->place_backoff;
			return;
		}
		link_poll(l);
		link_pause(&p);
	}
}

static void payload_sent(struct verbs_side *v, size_t n)
{
	uint64_t now = load_rlx(v->tx_at), then = now + n;

	store_rlx(v->tx_at, then);
	if (now < v->frames_from && then == v->frames_from)
		frame_out_put(&v->out, v->mark_out, MARK_BYTES);
}

/* ---- through TCP */

static bool is_on_link(struct verbs_stream *vs)
{
	return link_is_up(link_out(vs)) && !vs->v->returning;
}

/* The link is down: from here on all comes in frames, whatever of it may have arrived. */
static void announce_failover(struct verbs_stream *vs)
{
	struct verbs_side *v = vs->v;

	if (v->failed_over || is_on_link(vs) || !is_framed(v) || v->out.owed)
		return;
	v->failed_over = frame_out_head(&v->out, FRAME_FAILOVER, load_rlx(v->tx_at), verbs_ring_position(vs), 0);
	stat_inc(STAT_rdma_failovers);
}

/* Both ends know the new link to be up: what is sent from here on may go by it. */
static void announce_return(struct verbs_stream *vs)
{
	struct verbs_side *v = vs->v;
	struct link *l = link_out(vs);

	if (!v->returning || !link_is_up(l) || !load_acq(l->peer_here) || load_rlx(v->side.plain))
		return;
	announce_failover(vs);
	if (!v->failed_over || v->out.owed ||
	    !frame_out_head(&v->out, FRAME_RETURN, load_rlx(v->tx_at), verbs_ring_position(vs), l->name))
		return;
	v->returning = v->failed_over = false;
	v->name = l->name;
	stat_inc(STAT_rdma_returns);
}

bool send_plain_for_good(struct verbs_stream *vs)
{
	struct verbs_side *v = vs->v;

	if (!is_framed(v) || v->finishing || v->out.owed || !frame_out_head(&v->out, FRAME_PLAIN, load_rlx(v->tx_at), verbs_ring_position(vs), 0))
		return false;
	store_rel(v->left, true); /* what comes next goes behind it, whenever that is */
	return true;
}

/* How much payload may follow at once; a new frame is opened for it where there are frames. */
static size_t open_frame(struct sending *w, bool *ret_opened)
{
	struct verbs_side *v = w->v;
	size_t n = w->c.left < w->limit ? w->c.left : w->limit;

	*ret_opened = false;
	if (load_rlx(v->left))
		return n;
	if (!is_framed(v))
		return n < v->frames_from - load_rlx(v->tx_at) ? n : v->frames_from - load_rlx(v->tx_at);
	if (!v->out.owed && n) {
		n = n < FRAME_MOST ? n : FRAME_MOST;
		*ret_opened = frame_out_head(&v->out, FRAME_DATA, load_rlx(v->tx_at), verbs_ring_position(w->vs), n);
		if (!*ret_opened)
			return 0;
	}
	return n < v->out.owed ? n : v->out.owed;
}

/* One kernel send that does not wait.  Payload bytes taken, or -errno. */
static ssize_t push(struct sending *w)
{
	struct frame_out *o = &w->v->out;
	struct iovec iov[INLINE_IOV + 1];
	bool opened, plain = !is_framed(w->v);
	size_t asked = 0, want = open_frame(w, &opened), tail = frame_out_tail(o);
	struct msghdr m = { .msg_iov = iov };

	iov[0] = (struct iovec){ o->tail + o->begin, tail };
	m.msg_iovlen = 1 + (size_t)cursor_export(&w->c, iov + 1, INLINE_IOV, want, &asked);
	ssize_t k = tail + asked ? real.sendmsg(w->fd, &m, w->flags | MSG_DONTWAIT) : 0;
	if (k < 0) {
		int err = errno;
		if (opened)
			frame_out_take_back(o, want);
		return -err;
	}
	size_t n = plain ? ((size_t)k > tail ? (size_t)k - tail : 0) : frame_out_sent(o, (size_t)k);
	if (plain)
		o->begin += (uint32_t)((size_t)k - n);
	payload_sent(w->v, n);
	cursor_advance(&w->c, n);
	w->done += n;
	count_inline(STAT_net_bytes_inline, n);
	return (ssize_t)n;
}

/* ---- waiting as a blocking send of the kernel's would */

static int send_timeout_ms(int fd)
{
	struct timeval t = { 0 };
	socklen_t len = sizeof(t);

	if (sys_call(SYS_getsockopt, fd, SOL_SOCKET, SO_SNDTIMEO, &t, &len) || (!t.tv_sec && !t.tv_usec))
		return -1;
	return (int)(t.tv_sec * 1000 + (t.tv_usec + 999) / 1000);
}

/* The peer may have had bytes of this call already: these and no others come next in the stream. */
static bool must_go_on(const struct sending *w)
{
	return w->done < w->must;
}

static void end_duty(struct sending *w)
{
	w->must = 0;
	w->v->finishing = 0;
}

/* 0: try again; else what the call ends with. */
static int wait_for_room(struct sending *w)
{
	struct pollfd p = { .fd = w->fd, .events = POLLOUT };
	int limit = send_timeout_ms(w->fd), r;

	if (limit >= 0) {
		int slept = (int)(w->slept_ns / 1000000);
		if (slept >= limit)
			return -EAGAIN;
		limit -= slept;
	}
	side_unlock(&w->v->side.p);
	uint64_t since = clock_monotonic_ns();
	r = signal_mark().breaking != w->mark.breaking ? -EINTR : 0;
	if (must_go_on(w))
		sys_call(SYS_poll, &p, 1, limit); /* nowhere to be cancelled */
	else if (!r && real.poll(&p, 1, limit) < 0 && signal_mark().breaking != w->mark.breaking)
		r = -EINTR;
	w->slept_ns += clock_monotonic_ns() - since;
	side_lock(&w->v->side.p);
	w->fd = stream_fd(&w->vs->base, w->fd);
	return r;
}

/* Until no other call has bytes that must come before ours.  0, or what the call ends with. */
static int let_finish(struct sending *w)
{
	int r = 0;

	while (!r && w->v->finishing && !must_go_on(w)) {
		if (side_thread_dead(w->v->finishing))
			return -ECONNRESET;
		if (!may_sleep(w) || signal_in_handler())
			return -EAGAIN;
		r = wait_for_room(w);
		sched_yield();
	}
	return r;
}

/* Everything through TCP, as far as the call's kind allows.  0: goes on. */
static int send_inline(struct sending *w, size_t upto)
{
	size_t target = w->done + upto;

	do {
		announce_failover(w->vs);
		if (load_rlx(w->v->side.plain))
			send_plain_for_good(w->vs);
		ssize_t k = push(w);
		if (w->must && !must_go_on(w))
			end_duty(w);
		if (k >= 0)
			continue;
		if (k != -EAGAIN || (!may_sleep(w) && !must_go_on(w)))
			return (int)k;
		int r = wait_for_room(w);
		if (!r)
			r = let_finish(w);
		if (r && !must_go_on(w))
			return r;
	} while (w->c.left && w->done < target);
	return 0;
}

/* ---- through the ring */

bool send_tcp_is_clear(struct verbs_stream *vs, int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT | POLLRDHUP };

	sys_call(SYS_poll, &p, 1, 0);
	return p.revents == POLLOUT;
}

bool send_may_use_ring(struct verbs_stream *vs)
{
	struct verbs_side *v = vs->v;

	return is_on_link(vs) && is_framed(v) && frame_out_clean(&v->out) && verbs_is_ours() &&
	       !load_rlx(v->side.plain) && !load_rlx(v->side.shut) && !load_rlx(vs->base.cork) &&
	       !load_rlx(link_out(vs)->peer_inline);
}

static size_t skip_to_start(const struct link *l, uint64_t pos)
{
	size_t rest = l->ring_bytes - pos % l->ring_bytes;

	return rest < RING_TAIL ? rest : 0;
}

static size_t room_at(struct verbs_stream *vs, uint64_t pos)
{
	struct link *l = link_out(vs);
	uint64_t used = pos - load_acq(l->peer_taken), limit = load_rlx(vs->v->side.limit);

	if (limit > l->ring_bytes)
		limit = l->ring_bytes;
	return used < limit ? limit - used : 0;
}

/* The head of a record of `want` bytes or less, where it will lie, and how many they are; 0: no room. */
static size_t put_head(struct verbs_stream *vs, size_t want, uint64_t at, uint64_t *pos, struct ring_head **ret_head)
{
	struct link *l = link_out(vs);
	uint64_t p = *pos + skip_to_start(l, *pos);
	size_t room = room_at(vs, p), rest = l->ring_bytes - p % l->ring_bytes, n = want < PIECE ? want : PIECE;

	if (room > rest)
		room = rest;
	if (room <= sizeof(struct ring_head) + RING_ALIGN)
		return 0;
	room = (room & ~(size_t)(RING_ALIGN - 1)) - sizeof(struct ring_head);
	if (n > room)
		n = room;
	*ret_head = (struct ring_head *)(l->staging + p % l->ring_bytes);
	**ret_head = (struct ring_head){ .at = at, .len = (uint32_t)n };
	*pos = p + sizeof(struct ring_head) + ring_padded(n);
	return n;
}

size_t send_put_record(struct verbs_stream *vs, struct cursor *c, uint64_t *pos, uint64_t at, bool counts)
{
	struct ring_head *head;
	size_t n = put_head(vs, c->left, at, pos, &head);

	if (!n)
		return 0;
	char *to = (char *)(head + 1);
	for (size_t left = n; left;) {
		size_t k = cursor_run(c) < left ? cursor_run(c) : left;
		copy_through_caches(to, cursor_ptr(c), k);
		cursor_advance(c, k);
		to += k;
		left -= k;
	}
	memset(to, 0, ring_padded(n) - n);
	if (counts)
		head->check = ring_check(at, (char *)(head + 1), ring_padded(n));
	return n;
}

/* The same of a run that the device takes from where the program has it. */
static size_t put_in_place(struct verbs_stream *vs, struct cursor *c, uint64_t *pos, uint64_t at)
{
	struct ring_head *head;
	size_t n = put_head(vs, cursor_run(c) & ~(size_t)(RING_ALIGN - 1), at, pos, &head);

	cursor_advance(c, n);
	return n;
}

int send_write_record(struct link *l, uint64_t from, uint64_t to, bool last, uint64_t *ret_seq)
{
	uint64_t start = from + skip_to_start(l, from);

	return link_write(l, start, to - start, last, ret_seq);
}

static bool ring_bell(struct sending *w)
{
	struct frame_out *o = &w->v->out;

	if (!frame_out_head(o, FRAME_BELL, load_rlx(w->v->tx_at), link_out(w->vs)->ring_w, 0))
		return false;
	long k = sys_call(SYS_sendto, w->fd, o->tail + o->begin, frame_out_tail(o), MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0);
	if (k > 0)
		frame_out_sent(o, (size_t)k);
	else if (k != -EAGAIN)
		store_rlx(w->v->side.dead, true);
	side_keep_error(&w->v->side, k);
	stat_inc(STAT_net_doorbells);
	return k > 0;
}

void send_bell(struct sending *w)
{
	if (!ring_bell(w) && !load_rlx(w->v->side.dead))
		flush_tail(w->vs, w->fd);
}

void send_went_by_ring(struct sending *w, size_t n)
{
	store_rlx(w->v->tx_at, load_rlx(w->v->tx_at) + n);
	cursor_advance(&w->c, n);
	w->done += n;
	stat_add(STAT_net_bytes_verbs, n);
}

/* What is not copied here is copied once by the peer: of a block's length, and yet no more than the ring takes easily. */
static struct memreg_hold *register_in_place(struct sending *w)
{
	struct link *l = link_out(w->vs);

	return send_is_long(w) && w->c.left <= l->ring_bytes / 4 ? device_register(l->device, cursor_ptr(&w->c), cursor_run(&w->c)) : NULL;
}

/* A row of records, then their acknowledgement.  Bytes of them, and where they end. */
static size_t write_records(struct sending *w, const struct memreg_hold *in_place, uint64_t *pos)
{
	struct verbs_stream *vs = w->vs;
	struct link *l = link_out(vs);
	struct cursor c = w->c;
	uint64_t at = load_rlx(w->v->tx_at), seq = 0;
	size_t sent = 0;
	bool last = false;

	while (!last) {
		uint64_t from = *pos;
		const char *p = in_place && cursor_run(&c) >= IN_PLACE_LEAST ? cursor_ptr(&c) : NULL;
		size_t n = p ? put_in_place(vs, &c, pos, at + sent) : send_put_record(vs, &c, pos, at + sent, false);
		if (!n)
			break;
		last = !c.left || room_at(vs, *pos) < 4096;
		if (p ? link_write_in_place(l, *pos - n - sizeof(struct ring_head), p, in_place->key.lkey, n, last, &seq)
		      : send_write_record(l, from, *pos, last, &seq)) {
			link_fail(l, FALLBACK_RDMA_FAILED);
			return 0;
		}
		if (p)
			stat_add(STAT_rdma_in_place, n);
		sent += n;
	}
	while (sent && !last && link_ping(l, &seq) == -EAGAIN) /* asks for the completion that the last write did not */
		link_poll(l);
	return sent && link_wait(l, seq) ? sent : 0;
}

/* Records, then one doorbell.  Bytes that have gone this way. */
static size_t send_ring(struct sending *w)
{
	struct link *l = link_out(w->vs);
	uint64_t pos = l->ring_w;

	if (!send_tcp_is_clear(w->vs, w->fd))
		return 0;
	struct device *d = l->device;
	struct memreg_hold *h = register_in_place(w);
	size_t sent = write_records(w, h, &pos);
	if (h)
		device_unregister(d, h);
	if (!sent)
		return 0;
	l->ring_w = pos;
	send_went_by_ring(w, sent);
	send_bell(w);
	return sent;
}

static bool ring_pays(struct sending *w)
{
	struct verbs_stream *vs = w->vs;

	if (w->c.left <= SMALL || !send_may_use_ring(vs))
		return false;
	link_poll(link_out(vs));
	return room_at(vs, link_out(vs)->ring_w) > SMALL;
}

/* The peer is taking things out of the ring at this moment: a little patience saves a copy through TCP. */
static bool room_comes(struct sending *w)
{
	struct link *l = link_out(w->vs);
	uint64_t start = clock_ticks(), taken = load_acq(l->peer_taken);

	if (w->c.left <= SMALL || !send_may_use_ring(w->vs) || (w->waited && !may_sleep(w)))
		return false;
	w->waited = true;
	while (clock_ticks() - start < us_to_ticks(settings.spin)) {
		link_poll(l);
		if (load_acq(l->peer_taken) != taken)
			return true;
		cpu_relax();
	}
	stat_inc(STAT_net_overflow);
	return false;
}

/* The ring is entered at a frame boundary only. */
static void push_tail(struct sending *w)
{
	struct frame_out *o = &w->v->out;

	if (!frame_out_tail(o) || o->owed || !is_framed(w->v))
		return;
	long k = sys_call(SYS_sendto, w->fd, o->tail + o->begin, frame_out_tail(o), MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0);
	if (k > 0)
		frame_out_sent(o, (size_t)k);
	side_keep_error(&w->v->side, k);
}

/*
 * Frames cost a small message a head and its sleeping receiver a second call.  After many of them in a row the direction is plain
 * again, as it was before its first large one, and comes to frames as it did then; the more often that happens, the later.
 */
static void calm_down(struct sending *w)
{
	struct verbs_stream *vs = w->vs;
	struct verbs_side *v = w->v;

	vs->small_row = w->c.left <= SMALL ? vs->small_row + 1 : 0;
	if (load_rlx(v->tx_at) == v->frames_from) /* the peer's word of that place, where the mark went, would count again */
		return;
	if (vs->small_row < vs->calm_after || !link_out(vs)->calms || v->failed_over || !send_may_use_ring(vs) ||
	    !frame_out_head(&v->out, FRAME_CALM, load_rlx(v->tx_at), verbs_ring_position(vs), 0))
		return;
	v->frames_from = UINT64_MAX;
	vs->large_sent = false;
	vs->place_skip = vs->small_row = 0;
	vs->calm_after = vs->calm_after < CALM_AFTER_MOST ? 2 * vs->calm_after : CALM_AFTER_MOST;
	stat_inc(STAT_rdma_calms);
}

static int send_all(struct sending *w)
{
	int r = 0;

	if (w->c.left > SMALL)
		w->vs->small_row = 0;

	while (w->c.left && !r) {
		if (place_is_due(w))
			await_place(w);
		agree(w->vs);
		announce_return(w->vs);
		push_tail(w);
		r = side_kept_error(&w->v->side);
		if (r)
			break;
		if (send_short_pays(w) && send_short(w)) {
			w->vs->small_row = 0;
			continue;
		}
		if (send_place(w))
			continue;
		if (send_block_pays(w) && send_block(w))
			continue;
		if (w->aside)
			return -EAGAIN;
		w->limit = send_lead(w);
		if (w->limit == SIZE_MAX && ring_pays(w) && send_ring(w))
			continue;
		if (w->limit == SIZE_MAX && !ring_pays(w) && room_comes(w))
			continue;
		calm_down(w);
		r = send_inline(w, w->limit < PIECE ? w->limit : PIECE);
	}
	return r;
}

/* The same kernel call as bare. */
static ssize_t send_nothing(int fd, int flags)
{
	ssize_t k = real.send(fd, "", 0, flags);

	return k < 0 ? -errno : k;
}

ssize_t verbs_send(struct stream *s, int fd, const struct iovec *iov, int cnt, struct stream_opts o)
{
	struct verbs_stream *vs = verbs_of(s);
	struct sending w = {
		.vs = vs, .v = vs->v, .fd = fd, .flags = o.flags, .c = cursor_init(iov, cnt), .mark = o.mark,
	};

	if (!w.c.left)
		return send_nothing(fd, o.flags);
	verbs_enter(vs);
	side_lock(&s->side->p);
	int r = let_finish(&w);
	if (!r)
		r = send_all(&w);
	if (w.must)
		end_duty(&w);
	if (w.done)
		side_keep_error(&w.v->side, r);
	side_unlock(&s->side->p);
	return w.done ? (ssize_t)w.done : r;
}

/* What stands before payload and has found no room yet; waits for it no longer than a failure may take. */
bool flush_tail(struct verbs_stream *vs, int fd)
{
	struct frame_out *o = &vs->v->out;
	uint64_t end = clock_monotonic_ns() + settings.rdma_dead * 1000;

	while (frame_out_tail(o)) {
		struct pollfd p = { .fd = fd, .events = POLLOUT };
		long k = sys_call(SYS_sendto, fd, o->tail + o->begin, frame_out_tail(o), MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0);
		side_keep_error(&vs->v->side, k);
		if (k > 0)
			frame_out_sent(o, (size_t)k);
		else if (k != -EAGAIN || clock_monotonic_ns() > end)
			return false;
		else
			sys_call(SYS_poll, &p, 1, 10);
	}
	return true;
}
