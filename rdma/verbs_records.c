/* The receiving half's end of the ring: records that a head has told of, those that count by themselves, and credits. */
#include "copy.h"
#include "stats.h"
#include "verbs_recv.h"

#include <string.h>

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

/* Read once: the peer may change it. Others look without the lock while it is wiped. */
static struct ring_head head_at(const struct link *l, size_t off)
{
	const uint64_t *p = (const uint64_t *)(const void *)(l->ring + off);
	uint64_t words[] = { __atomic_load_n(p, __ATOMIC_RELAXED), __atomic_load_n(p + 1, __ATOMIC_RELAXED) };
	struct ring_head h;

	memcpy(&h, words, sizeof(h));
	return h;
}

static void wipe_head(struct link *l, size_t off)
{
	__atomic_store_n((uint64_t *)(void *)(l->ring + off) + 1, 0, __ATOMIC_RELAXED);
}

/* The record at ring position `pos`. */
enum found recv_record_at(struct link *l, uint64_t pos, struct record *ret)
{
	uint64_t arrived = load_acq(l->arrived);

	if (arrived == pos)
		return NOTHING;
	if (arrived - pos > l->ring_bytes)
		return NONSENSE;
	size_t rest, off = place_of_record(l, &pos, &rest);
	struct ring_head h = head_at(l, off);
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

	while ((f = recv_record_at(l, *pos, ret)) == FOUND && is_past(ret, at))
		*pos = ret->end;
	return f;
}

/* A record that counts though nobody has rung for it; of a lap before, its place in the stream would be another. */
static bool counts_at(struct link *l, uint64_t pos, uint64_t at, struct record *ret)
{
	size_t rest, off = place_of_record(l, &pos, &rest);
	struct ring_head h = head_at(l, off);
	size_t padded = ring_padded(h.len);
	if (!h.check || h.at != at || !h.len || h.len > l->ring_bytes || sizeof(h) + padded > rest)
		return false;
	*ret = (struct record){ .at = at, .len = h.len, .end = pos + sizeof(h) + padded, .payload = l->ring + off + sizeof(h) };
	return ring_check(at, ret->payload, padded) == h.check;
}

/*
 * Before the mark none counts: the sender's first one may be here before the mark is, where it takes what we said of polling, back when
 * the direction was in frames before, to hold still.
 */
static bool may_count(struct verbs_stream *vs)
{
	return load_acq(vs->v->framed);
}

/* Such records, in a row behind those that have been rung for. */
void recv_look_ahead(struct verbs_stream *vs)
{
	struct link *l = link_in(vs);
	uint64_t pos = load_rlx(l->ring_r), at = load_rlx(vs->v->rx_at);
	struct record r;

	for (; recv_record_at(l, pos, &r) == FOUND; pos = r.end)
		at = r.at + r.len;
	for (; may_count(vs) && pos == load_acq(l->arrived) && counts_at(l, pos, at, &r); at += r.len) {
		link_arrived(l, r.end);
		pos = l->unrung = r.end;
	}
}

bool verbs_ring_has(struct verbs_stream *vs)
{
	uint64_t pos = load_rlx(link_in(vs)->ring_r), at = load_rlx(vs->v->rx_at);
	struct record r;
	enum found f = recv_next_record(link_in(vs), &pos, at, &r);

	return f == FOUND ? record_covers(&r, at) : f == NOTHING && may_count(vs) && counts_at(link_in(vs), pos, at, &r);
}

static struct control state_of(struct verbs_stream *vs, const struct link *l)
{
	return (struct control){
		.type = CONTROL_STATE, .flags = load_rlx(vs->base.lowat) > 1 || load_rlx(vs->v->side.plain) ? STATE_INLINE : 0,
		.ring = load_rlx(l->ring_r), .at = load_rlx(vs->v->rx_at),
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
		l->told = load_rlx(l->ring_r);
}

/* The sender looks for room before it writes, and never sleeps for it. */
static void leave_records(struct verbs_stream *vs, uint64_t pos)
{
	struct link *l = link_in(vs);

	/* Before it is given back: what a program was sent there must not be taken for a record that counts by itself in the next lap. */
	for (uint64_t at = load_rlx(l->ring_r); at != pos; at += RING_ALIGN)
		wipe_head(l, at % l->ring_bytes);
	store_rlx(l->ring_r, pos);
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
		copy_through_caches(cursor_ptr(&w->c), p, k);
		cursor_advance(&w->c, k);
		p += k;
		n -= k;
	}
}

/* True: bytes came out of the ring. */
bool recv_take_ring(struct receiving *w)
{
	struct verbs_stream *vs = w->vs;
	uint64_t pos = load_rlx(link_in(vs)->ring_r), at = load_rlx(w->v->rx_at);
	struct record r;
	enum found f = recv_next_record(link_in(vs), &pos, at, &r);

	if (f == NOTHING) {
		recv_look_ahead(vs);
		f = recv_next_record(link_in(vs), &pos, at, &r);
	}
	leave_records(vs, pos);
	if (f == NONSENSE)
		recv_violation(w, "impossible record in the ring");
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
