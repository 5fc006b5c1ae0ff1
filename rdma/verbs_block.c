/* Blocks, the receiver's side: read from inside the program's own receive, from the sender's buffer into the program's. */
#include "stats.h"
#include "verbs_recv.h"

#include <string.h>

enum { DIRECT_LEAST = 32768 };

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

/* There is no way to read it, neither into the program's memory nor into ours: what is left of it is to come otherwise. */
static void refuse_block(struct receiving *w)
{
	struct verbs_side *v = w->v;

	v->block.over = true;
	if ((int32_t)(v->block.id - v->answered) > 0)
		v->answered = v->block.id;
	block_is_done(link_in(w->vs), v->block.id, v->block.taken);
}

/* The head stays in TCP for as long as something of the block is to come. */
enum action recv_block_came(struct receiving *w, const struct frame_head *h, const uint8_t *head)
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
	if (!link_wait_bulk(l, &l->reads, seq, n)) {
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

	if (!key)
		refuse_block(w);
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

bool recv_take_bounce(struct receiving *w)
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

bool recv_take_block(struct receiving *w)
{
	if (!recv_block_waits(w))
		return false;
	w->rang = true;
	size_t n = least(w->v->block.length - w->v->block.taken, cursor_run(&w->c));
	return (n >= DIRECT_LEAST && read_direct(w, link_bulk_part(&link_in(w->vs)->reads, n))) || (link_is_up(link_in(w->vs)) && recv_read_bounce(w));
}
