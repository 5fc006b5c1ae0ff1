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

void recv_violation(struct receiving *w, const char *what)
{
	link_fail(link_in(w->vs), 0);
	link_fail(link_out(w->vs), 0);
	stream_violation(&w->vs->base, w->fd, what);
}

/* The sender says how much of the ring it knows to have arrived. */
bool recv_believe_ring(struct receiving *w, uint32_t ring)
{
	struct link *l = link_in(w->vs);
	int32_t ahead = (int32_t)(ring - (uint32_t)load_rlx(l->ring_r));

	if (ahead > 0 && (uint64_t)ahead > l->ring_bytes)
		return false;
	if (ahead > 0)
		link_arrived(l, load_rlx(l->ring_r) + (uint64_t)ahead);
	return true;
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

/* It stays for as long as what it rings for is unread. */
static enum action bell_came(struct receiving *w, uint64_t at)
{
	if ((int64_t)(at - load_rlx(w->v->rx_at)) <= 0)
		return TAKEN;
	if (verbs_ring_has(w->vs))
		return HELD;
	enum action a = recv_placed_came(w);
	return a == TAKEN && (int64_t)(at - load_rlx(w->v->rx_at)) > 0 ? HELD : a;
}

/* Something that has come beside TCP is to be read first. */
static bool lies_before(struct receiving *w, uint64_t at)
{
	return (int64_t)(at - load_rlx(w->v->rx_at)) > 0 && (verbs_ring_has(w->vs) || recv_bounce_has(w->v));
}

/* The direction is what it was before the mark; another place for that is said when there is need of frames again. */
static enum action calm_came(struct receiving *w, uint64_t at)
{
	struct verbs_side *v = w->v;

	if (lies_before(w, at))
		return HELD;
	if (at != load_rlx(v->rx_at))
		return WRONG;
	store_rlx(w->vs->frames_pay, false);
	store_rlx(w->vs->short_sleeps, 0);
	store_rlx(v->mark_at, UINT64_MAX);
	store_rel(v->framed, false);
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
	case FRAME_BELL: {
		enum action a = bell_came(w, h.at);
		if (a != TAKEN)
			return a;
		stat_inc(STAT_net_swallowed);
		break;
	}
	case FRAME_BLOCK:
		return recv_block_came(w, &h, head);
	case FRAME_FAILOVER:
		link_fail(link_in(w->vs), FALLBACK_RDMA_FAILED);
		v->link_over = true;
		break;
	case FRAME_RETURN:
		return return_came(w, &h);
	case FRAME_CALM: {
		enum action a = calm_came(w, h.at);
		if (a != TAKEN)
			return a;
		break;
	}
	case FRAME_PLAIN:
		if (lies_before(w, h.at))
			return HELD;
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
		recv_payload_taken(w, k);
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
			recv_violation(w, "impossible frame");
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
		long k = recv_into(w, want);
		f->left -= (uint32_t)k;
		f->at += (uint64_t)k;
		return k > 0 && (size_t)k == want;
	}
	long n = look_at_tcp(w, room, &window);
	if (n <= 0) {
		recv_kernel_answer(w, n);
		return false;
	}
	uint32_t left = f->left;
	size_t used = parse_window(w, window, (size_t)n);
	recv_discard(w, used);
	w->emptied = used == (size_t)n && used < WINDOW;
	return used || f->left != left;
}

static bool take_tcp(struct receiving *w)
{
	if (w->beside)
		return false;
	return load_rlx(w->v->framed) ? take_frames(w) : recv_take_plain(w);
}

/* Inline bytes are sent only after the ring's before them have been acknowledged: there is no gap. */
static void check_order(struct receiving *w)
{
	struct verbs_side *v = w->v;
	struct record r;

	if (load_rlx(link_in(w->vs)->broken) || load_rlx(link_out(w->vs)->broken))
		recv_violation(w, "impossible message");
	else if (recv_record_at(link_in(w->vs), load_rlx(link_in(w->vs)->ring_r), &r) == NONSENSE)
		recv_violation(w, "impossible record in the ring");
	else if (v->in.left && !recv_bounce_has(v) && (int64_t)(v->in.at - load_rlx(v->rx_at)) > 0 && !verbs_ring_has(w->vs))
		recv_violation(w, "gap before a frame");
}

/* Everything that is there now. */
void recv_take(struct receiving *w)
{
	while (w->c.left && !w->eof && !w->err && !load_rlx(w->v->side.broken))
		if (!recv_take_bounce(w) && !recv_take_ring(w) && !take_tcp(w) && !verbs_ring_has(w->vs) && !recv_take_block(w) && !recv_bounce_has(w->v)) {
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
