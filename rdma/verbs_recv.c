/*
 * The receiving half between hosts.  Every piece, in the ring or on TCP, says where in the stream it
 * belongs: the next one is the one that covers rx_at, and what lies before that has been had already
 * (a failover repeats).  Heads are taken out of TCP as they come, but for a doorbell, which stays for as
 * long as what it rang for is unread: the kernel's receive queue says readable exactly while it is so.
 */
#include "call.h"
#include "clock.h"
#include "cursor.h"
#include "real.h"
#include "stats.h"
#include "stream.h"
#include "sys.h"
#include "verbs.h"
#include "verbs_io.h"

#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>

/* MARK_SURE: a connection that ends behind so much of the mark ended there; less of it is payload. */
enum { MARK_SURE = 4, DIRECT_LEAST = 32768, READ_MOST = 1 << 24, WINDOW = 8192, INLINE_IOV = 64, GAP_FIRST = 65536, GAP_MOST = 1 << 28 };

struct receiving {
	struct verbs_stream *vs;
	struct verbs_side *v;
	int fd, flags;
	struct cursor c;
	size_t got;
	bool peek, eof, rang;
	int err;
};

static void violation(struct receiving *w, const char *what)
{
	link_fail(w->vs->link, 0);
	stream_violation(&w->vs->base, w->fd, what);
}

/* ---- the ring */

static size_t padded(size_t n)
{
	return (n + RING_ALIGN - 1) & ~(size_t)(RING_ALIGN - 1);
}

struct record {
	uint64_t at, end; /* end: ring position behind it */
	uint32_t len;
	const char *payload;
};

enum found { FOUND, NOTHING, NONSENSE };

/* The record at ring position `pos`; the head is read once, the peer may change it. */
static enum found record_at(struct link *l, uint64_t pos, struct record *ret)
{
	uint64_t arrived = load_acq(l->arrived);

	if (arrived == pos)
		return NOTHING;
	if (arrived - pos > l->ring_bytes)
		return NONSENSE;
	size_t off = pos % l->ring_bytes, rest = l->ring_bytes - off;
	if (rest < RING_TAIL) {
		pos += rest;
		off = 0;
		rest = l->ring_bytes;
	}
	struct ring_head h = *(volatile struct ring_head *)(l->ring + off);
	size_t whole = sizeof(h) + padded(h.len);
	if (!h.len || h.len > l->ring_bytes || whole > rest || (int64_t)(arrived - pos - whole) < 0)
		return NONSENSE;
	*ret = (struct record){ .at = h.at, .len = h.len, .end = pos + whole, .payload = l->ring + off + sizeof(h) };
	return FOUND;
}

static bool covers(const struct record *r, uint64_t at)
{
	return at - r->at < r->len;
}

static bool is_past(const struct record *r, uint64_t at)
{
	return (int64_t)(at - r->at - r->len) >= 0;
}

/* The first record, from *pos on, that is not past `at`. */
static enum found next_record(struct link *l, uint64_t *pos, uint64_t at, struct record *ret)
{
	enum found f;

	while ((f = record_at(l, *pos, ret)) == FOUND && is_past(ret, at))
		*pos = ret->end;
	return f;
}

bool verbs_ring_has(struct verbs_stream *vs)
{
	uint64_t pos = vs->link->ring_r, at = load_rlx(vs->v->rx_at);
	struct record r;

	return next_record(vs->link, &pos, at, &r) == FOUND && covers(&r, at);
}

void verbs_tell_state(struct verbs_stream *vs)
{
	struct link *l = vs->link;
	struct control c = {
		.type = CONTROL_STATE, .flags = load_rlx(vs->base.lowat) > 1 || load_rlx(vs->v->side.plain) ? STATE_INLINE : 0,
		.ring = l->ring_r, .at = load_rlx(vs->v->rx_at),
	};

	if (!link_control(l, &c))
		l->told = l->ring_r;
}

static void leave_records(struct verbs_stream *vs, uint64_t pos)
{
	struct link *l = vs->link;

	if (pos == l->ring_r)
		return;
	l->ring_r = pos;
	if (pos - l->told >= l->ring_bytes / 4)
		verbs_tell_state(vs);
}

static void copy_out(struct receiving *w, const char *p, size_t n)
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

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* True: bytes came out of the ring. */
static bool take_ring(struct receiving *w)
{
	struct verbs_stream *vs = w->vs;
	uint64_t pos = vs->link->ring_r, at = load_rlx(w->v->rx_at);
	struct record r;
	enum found f = next_record(vs->link, &pos, at, &r);

	leave_records(vs, pos);
	if (f == NONSENSE)
		violation(w, "impossible record in the ring");
	if (f != FOUND || !covers(&r, at))
		return false;
	size_t off = at - r.at, n = least(r.len - off, w->c.left);
	copy_out(w, r.payload + off, n);
	store_rlx(w->v->rx_at, at + n);
	stat_add(STAT_net_recv_verbs, n);
	if (off + n == r.len)
		leave_records(vs, r.end);
	w->rang = true;
	return true;
}

/* ---- TCP */

static void kernel_answer(struct receiving *w, long k)
{
	if (k == 0) {
		w->eof = true;
	} else if (k < 0 && k != -EAGAIN && k != -EINTR) {
		w->err = (int)-k;
		store_rlx(w->v->side.reset_told, true);
	}
}

static void payload_taken(struct receiving *w, size_t n)
{
	store_rlx(w->v->rx_at, load_rlx(w->v->rx_at) + n);
	stat_add(STAT_net_recv_inline, n);
}

/* Straight into the program's buffer. */
static long receive_into(struct receiving *w, size_t limit)
{
	struct iovec iov[INLINE_IOV];
	struct msghdr m = { .msg_iov = iov };
	size_t asked;

	m.msg_iovlen = (size_t)cursor_export(&w->c, iov, INLINE_IOV, limit, &asked);
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
	store_rlx(vs->v->mark_at, link_control(vs->link, &c) ? UINT64_MAX : at);
}

/* The sender was past that place when it heard of it: what looked like the mark was payload. */
static void no_mark(struct receiving *w)
{
	struct verbs_side *v = w->v;
	int queued = 0;

	v->spare_at = 0;
	v->spare_end = v->mark_seen;
	store_rlx(v->mark_at, UINT64_MAX);
	v->mark_gap = v->mark_gap ? 2 * v->mark_gap : GAP_FIRST;
	if (v->mark_gap > GAP_MOST)
		return;
	sys_call(SYS_ioctl, w->fd, FIONREAD, &queued);
	uint64_t seen = v->mark_seen;
	verbs_propose(w->vs, load_rlx(v->rx_at) + seen + (uint64_t)queued + v->mark_gap);
}

static bool look_for_mark(struct receiving *w)
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

	copy_out(w, (char *)v->mark_in + v->spare_at, n);
	v->spare_at += (uint32_t)n;
	payload_taken(w, n);
	return n > 0;
}

static bool take_plain(struct receiving *w)
{
	uint64_t at = load_rlx(w->v->rx_at), mark = load_rlx(w->v->mark_at);

	if (w->v->spare_at != w->v->spare_end)
		return take_spare(w);
	if (at == mark)
		return look_for_mark(w);
	size_t want = mark - at < w->c.left ? mark - at : w->c.left;
	return want && receive_into(w, want) > 0;
}

/* The sender says how much of the ring it knows to have arrived. */
static bool believe_ring(struct receiving *w, uint32_t ring)
{
	struct link *l = w->vs->link;
	int32_t ahead = (int32_t)(ring - (uint32_t)l->ring_r);

	if (ahead > 0 && (uint64_t)ahead > l->ring_bytes)
		return false;
	if (ahead > 0)
		link_arrived(l, l->ring_r + (uint64_t)ahead);
	return true;
}

enum action { TAKEN, HELD, WRONG };

/* ---- blocks: read from inside the program's own receive, from the sender's buffer into the program's */

static void block_is_done(struct verbs_stream *vs, uint32_t id, uint64_t bytes)
{
	struct control c = { .type = CONTROL_DONE, .id = id, .ring = bytes };

	while (link_control(vs->link, &c) == -EAGAIN)
		link_poll(vs->link);
}

void verbs_answer_withdrawal(struct verbs_stream *vs)
{
	struct verbs_side *v = vs->v;
	uint32_t id = load_acq(vs->link->withdrawn);

	if (!id || (int32_t)(id - v->answered) <= 0)
		return;
	v->answered = id;
	bool known = v->block.length && v->block.id == id;
	if ((int32_t)(id - v->finished) <= 0) /* its DONE is under way */
		return;
	if (known)
		v->block.over = true;
	block_is_done(vs, id, known ? v->block.taken : 0);
}

static bool bounce_has(const struct verbs_side *v)
{
	return v->bounce_at != v->bounce_end;
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
	bool ends = v->block.over || v->block.taken == v->block.length || !link_is_up(w->vs->link);
	if (bounce_has(v) || !ends)
		return HELD;
	v->block.length = 0;
	v->in.have = 0;
	return TAKEN;
}

static bool read_block(struct receiving *w, void *to, uint32_t lkey, size_t n)
{
	struct verbs_side *v = w->v;
	uint64_t seq;

	if (link_read(w->vs->link, to, lkey, v->block.address + v->block.taken, v->block.rkey, n, &seq) ||
	    !link_wait_long(w->vs->link, seq))
		return false;
	v->block.taken += n;
	if (v->block.taken == v->block.length) {
		stat_inc(STAT_net_blocks);
		v->finished = v->block.id;
		block_is_done(w->vs, v->block.id, v->block.length);
	}
	return true;
}

/* For a small receive, a peek, FIONREAD, or memory that cannot be registered. */
static bool read_bounce(struct receiving *w)
{
	struct verbs_side *v = w->v;
	size_t n = least(v->block.length - v->block.taken, BOUNCE_BYTES);

	if (!read_block(w, w->vs->link->bounce, w->vs->link->lkey, n))
		return false;
	v->bounce_at = 0;
	v->bounce_end = (uint32_t)n;
	stat_add(STAT_rdma_bounced, n);
	return true;
}

static bool block_waits(struct receiving *w)
{
	struct verbs_side *v = w->v;

	return v->block.length > v->block.taken && !v->block.over && !bounce_has(v) && link_is_up(w->vs->link) &&
	       verbs_is_ours() && v->block.at + v->block.taken == load_rlx(v->rx_at);
}

/* One READ; true: bytes came. */
static bool read_direct(struct receiving *w, size_t n)
{
	struct device *d = w->vs->link->device;
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

	copy_out(w, w->vs->link->bounce + v->bounce_at, n);
	v->bounce_at += (uint32_t)n;
	store_rlx(v->rx_at, load_rlx(v->rx_at) + n);
	stat_add(STAT_net_recv_verbs, n);
	w->rang = true;
	return n > 0;
}

static bool take_block(struct receiving *w)
{
	if (!block_waits(w))
		return false;
	w->rang = true;
	size_t n = least(w->v->block.length - w->v->block.taken, cursor_run(&w->c));
	return (n >= DIRECT_LEAST && read_direct(w, least(n, READ_MOST))) || (link_is_up(w->vs->link) && read_bounce(w));
}

static enum action head_came(struct receiving *w, const uint8_t *head)
{
	struct verbs_side *v = w->v;
	struct frame_head h;

	memcpy(&h, head, sizeof(h));
	if (!believe_ring(w, h.ring))
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
		link_fail(w->vs->link, FALLBACK_RDMA_FAILED);
		break;
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
		copy_out(w, p, k);
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

/* True: something moved. */
static bool take_frames(struct receiving *w)
{
	struct frame_in *f = &w->v->in;
	uint8_t window[WINDOW];

	if (f->left && f->at == load_rlx(w->v->rx_at) && w->c.left) {
		size_t want = least(f->left, w->c.left);
		long k = receive_into(w, want);
		f->left -= (uint32_t)k;
		f->at += (uint64_t)k;
		return k > 0 && (size_t)k == want;
	}
	long n = sys_call(SYS_recvfrom, w->fd, window, sizeof(window), MSG_PEEK | MSG_DONTWAIT, 0, 0);
	if (n <= 0) {
		kernel_answer(w, n);
		return false;
	}
	uint32_t left = f->left;
	size_t used = parse_window(w, window, (size_t)n);
	discard(w, used);
	return used || f->left != left;
}

static bool take_tcp(struct receiving *w)
{
	return load_rlx(w->v->framed) ? take_frames(w) : take_plain(w);
}

/* Inline bytes are sent only after the ring's before them have been acknowledged: there is no gap. */
static void check_order(struct receiving *w)
{
	struct verbs_side *v = w->v;
	struct record r;

	if (record_at(w->vs->link, w->vs->link->ring_r, &r) == NONSENSE)
		violation(w, "impossible record in the ring");
	else if (v->in.left && !bounce_has(v) && (int64_t)(v->in.at - load_rlx(v->rx_at)) > 0 && !verbs_ring_has(w->vs))
		violation(w, "gap before a frame");
}

/* Everything that is there now. */
static void take(struct receiving *w)
{
	while (w->c.left && !w->eof && !w->err && !load_rlx(w->v->side.broken))
		if (!take_bounce(w) && !take_ring(w) && !take_tcp(w) && !verbs_ring_has(w->vs) && !take_block(w) && !bounce_has(w->v)) {
			check_order(w);
			return;
		}
}

static void settle(struct receiving *w)
{
	struct cursor c = w->c;

	w->c.left = 0;
	while (load_rlx(w->v->framed) && !w->v->in.left && !bounce_has(w->v) && !verbs_ring_has(w->vs) && !load_rlx(w->v->side.broken) && take_frames(w))
		;
	check_order(w);
	w->c = c;
}

/* ---- looking without taking: MSG_PEEK, FIONREAD */

struct walk {
	struct receiving *w;
	uint8_t window[16384];
	size_t n, used, queued; /* queued: all that TCP holds */
	uint64_t at, ring;
	struct frame_in in;
	bool count_only;
	size_t sum;
};

static bool walk_out(struct walk *k, const void *p, size_t n)
{
	if (!k->count_only) {
		n = least(n, k->w->c.left);
		copy_out(k->w, p, n);
	}
	k->at += n;
	k->sum += n;
	return k->count_only || k->w->c.left;
}

static bool walk_ring(struct walk *k)
{
	struct record r;

	if (next_record(k->w->vs->link, &k->ring, k->at, &r) != FOUND || !covers(&r, k->at))
		return false;
	size_t off = k->at - r.at;
	return walk_out(k, r.payload + off, r.len - off);
}

static bool walk_payload(struct walk *k)
{
	size_t here = least(k->in.left, k->n - k->used), skip = k->at - k->in.at;

	if (k->at < k->in.at)
		return false;
	if (k->count_only && k->in.left > here) /* behind the window nobody has looked */
		here = least(k->in.left, k->queued - k->used);
	if (skip > here)
		skip = here;
	bool more = walk_out(k, k->window + k->used + skip, here - skip);
	k->used += here;
	k->in.left -= (uint32_t)here;
	k->in.at += here;
	return more && k->used < k->n;
}

static bool walk_head(struct walk *k)
{
	uint8_t head[sizeof(k->in.head)];
	struct frame_head h;
	bool whole;

	k->used += frame_in_look(&k->in, k->window + k->used, k->n - k->used, head, &whole);
	if (!whole)
		return false;
	memcpy(&h, head, sizeof(h));
	if (!believe_ring(k->w, h.ring))
		return false;
	k->in.have = 0;
	if (h.type == FRAME_DATA)
		frame_in_open(&k->in, &h);
	return h.type != FRAME_PLAIN && h.type != FRAME_BLOCK;
}

static void walk_plain(struct walk *k)
{
	struct verbs_side *v = k->w->v;
	size_t spare = v->spare_end - v->spare_at;
	uint64_t mark = load_rlx(v->mark_at);

	if (spare && !walk_out(k, v->mark_in + v->spare_at, spare))
		return;
	size_t n = least(k->count_only ? k->queued : k->n, mark - k->at);
	if (n)
		walk_out(k, k->window, n);
}

static size_t walk(struct receiving *w, bool count_only)
{
	struct walk k = {
		.w = w, .at = load_rlx(w->v->rx_at), .ring = w->vs->link->ring_r, .in = w->v->in, .count_only = count_only,
	};
	int queued = 0;
	long n;

	if (load_rlx(w->v->mark_at) == k.at)
		look_for_mark(w);
	if (block_waits(w) && !read_bounce(w))
		settle(w);
	if (bounce_has(w->v) && !walk_out(&k, w->vs->link->bounce + w->v->bounce_at, w->v->bounce_end - w->v->bounce_at))
		return k.sum;
	n = sys_call(SYS_recvfrom, w->fd, k.window, sizeof(k.window), MSG_PEEK | MSG_DONTWAIT, 0, 0);
	k.n = n > 0 ? (size_t)n : 0;
	sys_call(SYS_ioctl, w->fd, FIONREAD, &queued);
	k.queued = queued > (int)k.n ? (size_t)queued : k.n;
	if (!load_rlx(w->v->framed)) {
		walk_plain(&k);
		return k.sum;
	}
	while (count_only || w->c.left)
		if (!walk_ring(&k) && !(k.used < k.n && (k.in.left ? walk_payload(&k) : walk_head(&k))))
			break;
	return k.sum;
}

/* ---- calls */

static void take_locked(struct receiving *w)
{
	struct side *me = &w->v->side;

	side_lock(&me->c);
	int kept = load_rlx(me->err);
	if (kept) {
		w->err = kept;
		if (!w->peek)
			store_rlx(me->err, 0);
	} else if (w->peek) {
		settle(w);
		walk(w, false);
	} else {
		take(w);
		if (w->err && w->got)
			store_rlx(me->err, w->err);
		if (w->rang && !w->err)
			settle(w);
	}
	verbs_answer_withdrawal(w->vs);
	side_unlock(&me->c);
}

static bool is_blocking(const struct receiving *w)
{
	return !load_rlx(w->vs->base.nonblock) && !(w->flags & MSG_DONTWAIT);
}

static bool satisfied(const struct receiving *w)
{
	int lowat = load_rlx(w->vs->base.lowat);

	if (!w->c.left)
		return true;
	if (!w->got || (w->flags & MSG_WAITALL && !w->peek && is_blocking(w)))
		return false;
	return w->peek || !is_blocking(w) || lowat <= 1 || w->got >= (size_t)lowat;
}

static ssize_t answer(const struct receiving *w, ssize_t otherwise)
{
	return w->got ? (ssize_t)w->got : otherwise;
}

static ssize_t peek_byte(struct receiving *w)
{
	struct stream *s = &w->vs->base;
	char byte;
	ssize_t k;

	call_sleeps(s, NULL, false);
	pthread_cleanup_push(call_cancelled, s);
	k = real.recv(w->fd, &byte, 1, (w->flags & ~MSG_WAITALL) | MSG_PEEK);
	if (k < 0)
		k = -errno;
	pthread_cleanup_pop(0);
	call_wakes(s);
	return k;
}

/* The kernel's answer is ours.  False: there is something to take. */
static bool sleep_in_kernel(struct receiving *w, struct signal_mark mark, ssize_t *ret)
{
	ssize_t k;

	if (is_blocking(w) && signal_mark().breaking != mark.breaking)
		k = -EINTR;
	else
		k = peek_byte(w);
	w->fd = stream_fd(&w->vs->base, w->fd);
	if (k > 0)
		return false;
	*ret = k;
	return !verbs_ring_has(w->vs);
}

static ssize_t receive(struct receiving *w, struct signal_mark mark)
{
	ssize_t k;

	for (;;) {
		w->fd = stream_fd(&w->vs->base, w->fd);
		take_locked(w);
		if (satisfied(w))
			return (ssize_t)w->got;
		if (w->err)
			return answer(w, -w->err);
		if (load_rlx(w->v->side.broken))
			return answer(w, -ECONNRESET);
		if (w->eof) {
			if (!verbs_ring_has(w->vs))
				return answer(w, 0);
			w->eof = false;
			continue;
		}
		if (sleep_in_kernel(w, mark, &k))
			return answer(w, k);
	}
}

static ssize_t receive_nothing(struct verbs_stream *vs, int fd, int flags)
{
	char byte;

	if (verbs_ring_has(vs))
		return 0;
	ssize_t k = real.recv(fd, &byte, 0, flags);
	return k < 0 ? -errno : k;
}

ssize_t verbs_recv(struct stream *s, int fd, const struct iovec *iov, int cnt, struct stream_opts o)
{
	struct verbs_stream *vs = verbs_of(s);
	struct receiving w = {
		.vs = vs, .v = vs->v, .fd = fd, .flags = o.flags, .c = cursor_init(iov, cnt), .peek = !!(o.flags & MSG_PEEK),
	};

	stream_reclaim();
	verbs_enter(vs);
	if (!w.c.left)
		return receive_nothing(vs, fd, o.flags);
	call_begin(s);
	ssize_t ret = receive(&w, o.mark);
	call_end();
	return ret;
}

int verbs_available(struct stream *s, int fd)
{
	struct verbs_stream *vs = verbs_of(s);
	struct receiving w = { .vs = vs, .v = vs->v, .fd = fd };

	side_lock(&s->side->c);
	settle(&w);
	size_t n = walk(&w, true);
	side_unlock(&s->side->c);
	return n < INT32_MAX ? (int)n : INT32_MAX;
}

void verbs_settle(struct verbs_stream *vs, int fd)
{
	struct receiving w = { .vs = vs, .v = vs->v, .fd = fd };

	side_lock(&vs->v->side.c);
	settle(&w);
	side_unlock(&vs->v->side.c);
}

/* Heads without payload behind them are none of the program's business. */
bool verbs_really_readable(struct stream *s, int fd)
{
	struct verbs_stream *vs = verbs_of(s);
	char byte;

	if (verbs_ring_has(vs) || bounce_has(vs->v) || load_rlx(s->side->err) || load_rlx(s->side->broken))
		return true;
	side_lock(&s->side->c);
	struct receiving w = { .vs = vs, .v = vs->v, .fd = fd };
	while (!load_rlx(vs->v->framed) && vs->v->spare_at == vs->v->spare_end && load_rlx(vs->v->rx_at) == load_rlx(vs->v->mark_at) &&
	       look_for_mark(&w))
		;
	settle(&w);
	side_unlock(&s->side->c);
	if (verbs_ring_has(vs) || vs->v->spare_at != vs->v->spare_end)
		return true;
	return sys_call(SYS_recvfrom, fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT, 0, 0) != -EAGAIN;
}

enum readiness verbs_wait_ready(struct stream *s)
{
	struct verbs_stream *vs = verbs_of(s);

	if (load_rlx(s->lowat) > 1 || load_rlx(s->side->broken))
		return READY_KERNEL;
	return verbs_ring_has(vs) || bounce_has(vs->v) || vs->v->spare_at != vs->v->spare_end ? READY_YES : READY_KERNEL;
}
