/*
 * The receiving half between hosts.  Every piece, in the ring or on TCP, says where in the stream it
 * belongs: the next one is the one that covers rx_at, and what lies before that has been had already
 * (a failover repeats).  Heads are taken out of TCP as they come, but for a doorbell, which stays for as
 * long as what it rang for is unread: the kernel's receive queue says readable exactly while it is so.
 */
#include "stats.h"
#include "sys.h"
#include "verbs_recv.h"

#include <string.h>
#include <sys/ioctl.h>

/* MARK_SURE: a connection that ends behind so much of the mark ended there; less of it is payload. */
enum { MARK_SURE = 4, DIRECT_LEAST = 32768, READ_MOST = 1 << 24, INLINE_IOV = 64, GAP_FIRST = 65536, GAP_MOST = 1 << 28 };

static void violation(struct receiving *w, const char *what)
{
	link_fail(link_in(w->vs), 0);
	link_fail(link_out(w->vs), 0);
	stream_violation(&w->vs->base, w->fd, what);
}

/* ---- the ring */

/* Where a record that begins at *pos or, where no head is put, behind the ring's end lies; *ret_rest: the room up to there. */
static size_t place_of_record(const struct link *l, uint64_t *pos, size_t *ret_rest)
{
	size_t off = *pos % l->ring_bytes, rest = l->ring_bytes - off;

	if (rest < RING_TAIL) {
		*pos += rest;
		off = 0;
		rest = l->ring_bytes;
	}
	*ret_rest = rest;
	return off;
}

/* The record at ring position `pos`; the head is read once, the peer may change it. */
static enum found record_at(struct link *l, uint64_t pos, struct record *ret)
{
	uint64_t arrived = load_acq(l->arrived);

	if (arrived == pos)
		return NOTHING;
	if (arrived - pos > l->ring_bytes)
		return NONSENSE;
	size_t rest, off = place_of_record(l, &pos, &rest);
	struct ring_head h = *(volatile struct ring_head *)(l->ring + off);
	size_t whole = sizeof(h) + ring_padded(h.len);
	if (!h.len || h.len > l->ring_bytes || whole > rest || (int64_t)(arrived - pos - whole) < 0)
		return NONSENSE;
	*ret = (struct record){ .at = h.at, .len = h.len, .end = pos + whole, .payload = l->ring + off + sizeof(h) };
	return FOUND;
}

static bool is_past(const struct record *r, uint64_t at)
{
	return (int64_t)(at - r->at - r->len) >= 0;
}

enum found recv_next_record(struct link *l, uint64_t *pos, uint64_t at, struct record *ret)
{
	enum found f;

	while ((f = record_at(l, *pos, ret)) == FOUND && is_past(ret, at))
		*pos = ret->end;
	return f;
}

/* A record that counts though nobody has rung for it; of a lap before, its place in the stream would be another. */
static bool counts_at(struct link *l, uint64_t pos, uint64_t at, struct record *ret)
{
	size_t rest, off = place_of_record(l, &pos, &rest);
	struct ring_head h = *(volatile struct ring_head *)(l->ring + off);
	size_t padded = ring_padded(h.len);
	if (!h.check || h.at != at || !h.len || h.len > l->ring_bytes || sizeof(h) + padded > rest)
		return false;
	*ret = (struct record){ .at = at, .len = h.len, .end = pos + sizeof(h) + padded, .payload = l->ring + off + sizeof(h) };
	return ring_check(at, ret->payload, padded) == h.check;
}

/* Such records, in a row behind those that have been rung for. */
void recv_look_ahead(struct verbs_stream *vs)
{
	struct link *l = link_in(vs);
	uint64_t pos = l->ring_r, at = load_rlx(vs->v->rx_at);
	struct record r;

	for (; record_at(l, pos, &r) == FOUND; pos = r.end)
		at = r.at + r.len;
	for (; pos == load_acq(l->arrived) && counts_at(l, pos, at, &r); at += r.len) {
		link_arrived(l, r.end);
		pos = l->unrung = r.end;
	}
}

bool verbs_ring_has(struct verbs_stream *vs)
{
	uint64_t pos = link_in(vs)->ring_r, at = load_rlx(vs->v->rx_at);
	struct record r;
	enum found f = recv_next_record(link_in(vs), &pos, at, &r);

	return f == FOUND ? record_covers(&r, at) : f == NOTHING && counts_at(link_in(vs), pos, at, &r);
}

static struct control state_of(struct verbs_stream *vs, const struct link *l)
{
	return (struct control){
		.type = CONTROL_STATE, .flags = load_rlx(vs->base.lowat) > 1 || load_rlx(vs->v->side.plain) ? STATE_INLINE : 0,
		.ring = l->ring_r, .at = load_rlx(vs->v->rx_at),
	};
}

int verbs_say_state(struct verbs_stream *vs, struct link *l)
{
	struct control c = state_of(vs, l);

	return link_control(l, &c);
}

void verbs_tell_state(struct verbs_stream *vs)
{
	struct link *l = link_in(vs);

	if (!verbs_say_state(vs, l))
		l->told = l->ring_r;
}

/* The sender looks for room before it writes, and never sleeps for it. */
static void leave_records(struct verbs_stream *vs, uint64_t pos)
{
	struct link *l = link_in(vs);

	l->ring_r = pos;
	if (pos - l->told < l->ring_bytes / 2)
		return;
	struct control c = state_of(vs, l);
	if (!link_control_quietly(l, &c))
		l->told = pos;
}

void recv_copy_out(struct receiving *w, const char *p, size_t n)
{
	w->got += n;
	while (n) {
		size_t k = n < cursor_run(&w->c) ? n : cursor_run(&w->c);
		memcpy(cursor_ptr(&w->c), p, k);
		cursor_advance(&w->c, k);
		p += k;
		n -= k;
	}
}

/* True: bytes came out of the ring. */
static bool take_ring(struct receiving *w)
{
	struct verbs_stream *vs = w->vs;
	uint64_t pos = link_in(vs)->ring_r, at = load_rlx(w->v->rx_at);
	struct record r;
	enum found f = recv_next_record(link_in(vs), &pos, at, &r);

	if (f == NOTHING) {
		recv_look_ahead(vs);
		f = recv_next_record(link_in(vs), &pos, at, &r);
	}
	leave_records(vs, pos);
	if (f == NONSENSE)
		violation(w, "impossible record in the ring");
	if (f != FOUND || !record_covers(&r, at))
		return false;
	size_t off = at - r.at, n = least(r.len - off, w->c.left);
	recv_copy_out(w, r.payload + off, n);
	store_rlx(w->v->rx_at, at + n);
	stat_add(STAT_net_recv_verbs, n);
	if (off + n == r.len)
		leave_records(vs, r.end);
	bool unrung = (int64_t)(link_in(vs)->unrung - r.end) >= 0;
	store_rlx(vs->unrung, unrung ? load_rlx(vs->unrung) + 1 : 0);
	w->rang |= !unrung || !load_rlx(link_in(vs)->told_polls); /* its sender may have seen that we had stopped */
	return true;
}

/* ---- TCP */

static void kernel_answer(struct receiving *w, long k)
{
	w->eof |= k == 0;
	side_keep_error(&w->v->side, k);
	w->err = load_rlx(w->v->side.err);
}

static void payload_taken(struct receiving *w, size_t n)
{
	store_rlx(w->v->rx_at, load_rlx(w->v->rx_at) + n);
	store_rlx(w->vs->unrung, 0);
	count_inline(STAT_net_recv_inline, n);
}

/* Straight into the program's buffer. */
static long receive_into(struct receiving *w, size_t limit)
{
	struct iovec iov[INLINE_IOV];
	struct msghdr m = { .msg_iov = iov };
	size_t asked;

	m.msg_iovlen = (size_t)cursor_export(&w->c, iov, INLINE_IOV, limit, &asked);
	add_rlx(w->v->taken, 1);
	long k = sys_call(SYS_recvmsg, w->fd, &m, MSG_DONTWAIT);
	if (k <= 0) {
		kernel_answer(w, k);
		return 0;
	}
	w->got += (size_t)k;
	cursor_advance(&w->c, (size_t)k);
	payload_taken(w, (size_t)k);
	return k;
}

/* What has been looked at is there to be taken. */
static void discard(struct receiving *w, size_t n)
{
	add_rlx(w->v->taken, 1);
	for (long k; n; n -= (size_t)k) {
		k = sys_call(SYS_recvfrom, w->fd, 0, n, MSG_TRUNC | MSG_DONTWAIT, 0, 0);
		if (k <= 0)
			return;
	}
}

void verbs_propose(struct verbs_stream *vs, uint64_t at)
{
	struct control c = { .type = CONTROL_COUNTED, .at = at };

	vs->v->mark_seen = 0;
	bool said = link_is_up(link_out(vs)) && !link_control(link_out(vs), &c);
	store_rlx(vs->v->mark_at, said ? at : UINT64_MAX);
}

/* Behind what lies in TCP now, and `more`. */
static void propose_behind(struct receiving *w, uint64_t more)
{
	int queued = 0;

	sys_call(SYS_ioctl, w->fd, FIONREAD, &queued);
	verbs_propose(w->vs, load_rlx(w->v->rx_at) + (uint64_t)queued + more);
}

/* No link carried the last proposal. */
static bool may_propose(struct receiving *w)
{
	return load_rlx(w->v->mark_at) == UINT64_MAX && w->v->mark_gap <= GAP_MOST && !load_rlx(w->v->peer_left) &&
	       !load_rlx(w->v->side.plain) && link_is_up(link_out(w->vs));
}

/* The sender was past that place when it heard of it: what looked like the mark was payload. */
static void no_mark(struct receiving *w)
{
	struct verbs_side *v = w->v;

	v->spare_at = 0;
	v->spare_end = v->mark_seen;
	store_rlx(v->mark_at, UINT64_MAX);
	v->mark_gap = v->mark_gap ? 2 * v->mark_gap : GAP_FIRST;
	if (v->mark_gap <= GAP_MOST)
		propose_behind(w, v->mark_seen + v->mark_gap);
}

bool recv_look_for_mark(struct receiving *w)
{
	struct verbs_side *v = w->v;
	uint8_t room[MARK_BYTES];
	long n = sys_call(SYS_recvfrom, w->fd, room, MARK_BYTES - v->mark_seen, MSG_PEEK | MSG_DONTWAIT, 0, 0);

	if (n <= 0) {
		kernel_answer(w, n);
		if (!w->eof || !v->mark_seen || v->mark_seen >= MARK_SURE)
			return false;
		w->eof = false;
		no_mark(w);
		return true;
	}
	if (memcmp(room, v->mark_in + v->mark_seen, (size_t)n)) {
		no_mark(w);
		return true;
	}
	discard(w, (size_t)n);
	v->mark_seen += (uint32_t)n;
	if (v->mark_seen == MARK_BYTES)
		store_rel(v->framed, true);
	return true;
}

static bool take_spare(struct receiving *w)
{
	struct verbs_side *v = w->v;
	size_t n = least(v->spare_end - v->spare_at, w->c.left);

	recv_copy_out(w, (char *)v->mark_in + v->spare_at, n);
	v->spare_at += (uint32_t)n;
	payload_taken(w, n);
	return n > 0;
}

static bool take_plain(struct receiving *w)
{
	if (w->v->spare_at != w->v->spare_end)
		return take_spare(w);
	if (may_propose(w))
		propose_behind(w, w->v->mark_gap);
	uint64_t at = load_rlx(w->v->rx_at), mark = load_rlx(w->v->mark_at);
	if (at == mark)
		return recv_look_for_mark(w);
	size_t want = mark - at < w->c.left ? mark - at : w->c.left;
	return want && receive_into(w, want) > 0;
}

/* The sender says how much of the ring it knows to have arrived. */
bool recv_believe_ring(struct receiving *w, uint32_t ring)
{
	struct link *l = link_in(w->vs);
	int32_t ahead = (int32_t)(ring - (uint32_t)l->ring_r);

	if (ahead > 0 && (uint64_t)ahead > l->ring_bytes)
		return false;
	if (ahead > 0)
		link_arrived(l, l->ring_r + (uint64_t)ahead);
	return true;
}

enum action { TAKEN, HELD, WRONG };

/* ---- blocks: read from inside the program's own receive, from the sender's buffer into the program's */

static void block_is_done(struct link *l, uint32_t id, uint64_t bytes)
{
	struct control c = { .type = CONTROL_DONE, .id = id, .ring = bytes };

	link_answer(l, &c);
}

void verbs_answer_withdrawal(struct verbs_stream *vs, struct link *l)
{
	struct verbs_side *v = vs->v;
	uint32_t id = load_acq(l->withdrawn);

	if (!id || (int32_t)(id - v->answered) <= 0)
		return;
	v->answered = id;
	bool known = v->block.length && v->block.id == id;
	if ((int32_t)(id - v->finished) <= 0) /* its DONE is under way */
		return;
	if (known)
		v->block.over = true;
	block_is_done(l, id, known ? v->block.taken : 0);
}

/* The head stays in TCP for as long as something of the block is to come. */
static enum action block_came(struct receiving *w, const struct frame_head *h, const uint8_t *head)
{
	struct verbs_side *v = w->v;
	struct frame_block b;
	uint64_t at = load_rlx(v->rx_at);

	memcpy(&b, head + sizeof(*h), sizeof(b));
	if (h->len || !b.length || b.length > (uint64_t)1 << 40)
		return WRONG;
	if ((int64_t)(h->at - at) > 0)
		return verbs_ring_has(w->vs) ? HELD : WRONG;
	if (!v->block.length || v->block.id != b.id) {
		if (h->at != at)
			return WRONG;
		v->block = (__typeof__(v->block)){
			.at = at, .address = b.address, .length = b.length, .rkey = b.rkey, .id = b.id,
			.over = (int32_t)(v->answered - b.id) >= 0,
		};
	}
	bool ends = v->block.over || v->block.taken == v->block.length || !link_is_up(link_in(w->vs));
	if (recv_bounce_has(v) || !ends)
		return HELD;
	v->block.length = 0;
	v->in.have = 0;
	return TAKEN;
}

static bool read_block(struct receiving *w, void *to, uint32_t lkey, size_t n)
{
	struct verbs_side *v = w->v;
	struct link *l = link_in(w->vs);
	struct block_part part = {
		.to = to, .lkey = lkey, .rkey = v->block.rkey, .id = v->block.id, .address = v->block.address, .from = v->block.taken,
		.bytes = n, .ends = v->block.taken + n == v->block.length,
	};
	uint64_t seq;

	if (link_read_block(l, &part, &seq)) {
		link_fail(l, FALLBACK_RDMA_FAILED); /* some of the row may have gone */
		link_quiet(l);
		return false;
	}
	if (!link_wait_read(l, seq, n)) {
		link_quiet(l); /* `to` is the program's again */
		if (!link_is_acked(l, seq))
			return false; /* and the peer has not been told otherwise */
	}
	v->block.taken += n;
	if (part.ends) {
		stat_inc(STAT_net_blocks);
		v->finished = v->block.id;
	}
	return true;
}

/* For a small receive, a peek, FIONREAD, or memory that cannot be registered. */
bool recv_read_bounce(struct receiving *w)
{
	struct verbs_side *v = w->v;
	size_t n = least(v->block.length - v->block.taken, BOUNCE_BYTES);

	uint32_t key = link_bounce(link_in(w->vs));

	if (!key || !read_block(w, link_in(w->vs)->bounce, key, n))
		return false;
	v->bounce_at = 0;
	v->bounce_end = (uint32_t)n;
	stat_add(STAT_rdma_bounced, n);
	return true;
}

bool recv_block_waits(struct receiving *w)
{
	struct verbs_side *v = w->v;

	return v->block.length > v->block.taken && !v->block.over && !recv_bounce_has(v) && link_is_up(link_in(w->vs)) &&
	       verbs_is_ours() && v->block.at + v->block.taken == load_rlx(v->rx_at);
}

/* One READ; true: bytes came. */
static bool read_direct(struct receiving *w, size_t n)
{
	struct device *d = link_in(w->vs)->device;
	struct memreg_hold *h = device_register(d, cursor_ptr(&w->c), n);

	if (!h)
		return false;
	bool ok = read_block(w, cursor_ptr(&w->c), h->key.lkey, n);
	device_unregister(d, h);
	if (!ok)
		return false;
	w->got += n;
	cursor_advance(&w->c, n);
	store_rlx(w->v->rx_at, load_rlx(w->v->rx_at) + n);
	stat_add(STAT_net_recv_verbs, n);
	stat_add(STAT_rdma_direct, n);
	return true;
}

static bool take_bounce(struct receiving *w)
{
	struct verbs_side *v = w->v;
	size_t n = least(v->bounce_end - v->bounce_at, w->c.left);

	if (!n)
		return false;
	recv_copy_out(w, link_in(w->vs)->bounce + v->bounce_at, n);
	v->bounce_at += (uint32_t)n;
	store_rlx(v->rx_at, load_rlx(v->rx_at) + n);
	stat_add(STAT_net_recv_verbs, n);
	w->rang = true;
	return true;
}

static bool take_block(struct receiving *w)
{
	if (!recv_block_waits(w))
		return false;
	w->rang = true;
	size_t n = least(w->v->block.length - w->v->block.taken, cursor_run(&w->c));
	return (n >= DIRECT_LEAST && read_direct(w, least(n, READ_MOST))) || (link_is_up(link_in(w->vs)) && recv_read_bounce(w));
}

/* What lies in the new link's ring counts from here on; what lay in the old one's must have been read. */
static enum action return_came(struct receiving *w, const struct frame_head *h)
{
	if (!w->v->link_over)
		return WRONG;
	if ((int64_t)(h->at - load_rlx(w->v->rx_at)) > 0)
		return verbs_ring_has(w->vs) ? HELD : WRONG;
	if (!verbs_read_by(w->vs, h->len))
		return WRONG;
	w->v->in.have = 0;
	return TAKEN;
}

static enum action head_came(struct receiving *w, const uint8_t *head)
{
	struct verbs_side *v = w->v;
	struct frame_head h;

	memcpy(&h, head, sizeof(h));
	if (!recv_believe_ring(w, h.ring))
		return WRONG;
	switch (h.type) {
	case FRAME_DATA:
		if (!h.len)
			return WRONG;
		frame_in_open(&v->in, &h);
		return TAKEN;
	case FRAME_BELL:
		if ((int64_t)(h.at - load_rlx(v->rx_at)) > 0)
			return verbs_ring_has(w->vs) ? HELD : WRONG;
		stat_inc(STAT_net_swallowed);
		break;
	case FRAME_BLOCK:
		return block_came(w, &h, head);
	case FRAME_FAILOVER:
		link_fail(link_in(w->vs), FALLBACK_RDMA_FAILED);
		v->link_over = true;
		break;
	case FRAME_RETURN:
		return return_came(w, &h);
	case FRAME_PLAIN:
		store_rel(v->peer_left, true);
		store_rel(v->framed, false);
		store_rlx(v->mark_at, UINT64_MAX);
		break;
	default:
		return WRONG;
	}
	v->in.have = 0;
	return TAKEN;
}

/* Payload of the open frame out of the window; returns how much of the window is done with. */
static size_t take_window(struct receiving *w, const char *p, size_t n)
{
	struct frame_in *f = &w->v->in;
	uint64_t at = load_rlx(w->v->rx_at);
	size_t k;

	if ((int64_t)(at - f->at) > 0) {
		k = least(least(f->left, n), at - f->at);
	} else if (at == f->at) {
		k = least(least(f->left, n), w->c.left);
		recv_copy_out(w, p, k);
		payload_taken(w, k);
	} else {
		return 0;
	}
	f->at += k;
	f->left -= (uint32_t)k;
	return k;
}

/* Heads, and payload that comes whole with them; what is longer goes straight into the program's buffer. */
static size_t parse_window(struct receiving *w, const uint8_t *p, size_t n)
{
	struct verbs_side *v = w->v;
	size_t used = 0;

	while (used < n && load_rlx(v->framed)) {
		uint8_t head[sizeof(v->in.head)];
		bool whole;
		if (v->in.left) {
			if (v->in.at == load_rlx(v->rx_at) && v->in.left > n - used && w->c.left > n - used)
				break;
			size_t k = take_window(w, (const char *)p + used, n - used);
			used += k;
			if (!k)
				break;
			continue;
		}
		size_t k = frame_in_look(&v->in, p + used, n - used, head, &whole);
		if (!whole) {
			frame_in_keep(&v->in, p + used, k);
			return used + k;
		}
		enum action a = head_came(w, head);
		if (a == WRONG)
			violation(w, "impossible frame");
		if (a != TAKEN)
			break;
		used += k;
	}
	return used;
}

/* What TCP begins with, as it was seen in sleep or as it is now; nothing, or the kernel's answer. */
static long look_at_tcp(struct receiving *w, uint8_t *room, const uint8_t **ret_window)
{
	struct ahead *a = w->ahead;

	if (a && a->n && a->taken == load_rlx(w->v->taken)) {
		*ret_window = a->bytes;
		return (long)a->n;
	}
	*ret_window = room;
	return sys_call(SYS_recvfrom, w->fd, room, WINDOW, MSG_PEEK | MSG_DONTWAIT, 0, 0);
}

/* True: something moved. */
static bool take_frames(struct receiving *w)
{
	struct frame_in *f = &w->v->in;
	uint8_t room[WINDOW];
	const uint8_t *window;

	if (f->left && f->at == load_rlx(w->v->rx_at) && w->c.left) {
		size_t want = least(f->left, w->c.left);
		long k = receive_into(w, want);
		f->left -= (uint32_t)k;
		f->at += (uint64_t)k;
		return k > 0 && (size_t)k == want;
	}
	long n = look_at_tcp(w, room, &window);
	if (n <= 0) {
		kernel_answer(w, n);
		return false;
	}
	uint32_t left = f->left;
	size_t used = parse_window(w, window, (size_t)n);
	discard(w, used);
	w->emptied = used == (size_t)n && used < WINDOW;
	return used || f->left != left;
}

static bool take_tcp(struct receiving *w)
{
	if (w->beside)
		return false;
	return load_rlx(w->v->framed) ? take_frames(w) : take_plain(w);
}

/* Inline bytes are sent only after the ring's before them have been acknowledged: there is no gap. */
static void check_order(struct receiving *w)
{
	struct verbs_side *v = w->v;
	struct record r;

	if (load_rlx(link_in(w->vs)->broken) || load_rlx(link_out(w->vs)->broken))
		violation(w, "impossible message");
	else if (record_at(link_in(w->vs), link_in(w->vs)->ring_r, &r) == NONSENSE)
		violation(w, "impossible record in the ring");
	else if (v->in.left && !recv_bounce_has(v) && (int64_t)(v->in.at - load_rlx(v->rx_at)) > 0 && !verbs_ring_has(w->vs))
		violation(w, "gap before a frame");
}

/* Everything that is there now. */
void recv_take(struct receiving *w)
{
	while (w->c.left && !w->eof && !w->err && !load_rlx(w->v->side.broken))
		if (!take_bounce(w) && !take_ring(w) && !take_tcp(w) && !verbs_ring_has(w->vs) && !take_block(w) && !recv_bounce_has(w->v)) {
			check_order(w);
			return;
		}
}

/* Heads, and payload that a failover has sent a second time.  What has come since TCP was empty stays for the next look. */
static bool stands_for_nothing(struct receiving *w)
{
	struct verbs_side *v = w->v;

	return load_rlx(v->framed) && (!v->in.left || (int64_t)(load_rlx(v->rx_at) - v->in.at) > 0) && !recv_bounce_has(v) &&
	       !verbs_ring_has(w->vs) && !load_rlx(v->side.broken);
}

void recv_settle(struct receiving *w)
{
	struct cursor c = w->c;

	w->c.left = 0;
	while (stands_for_nothing(w) && take_frames(w) && !w->emptied)
		;
	check_order(w);
	w->c = c;
}
