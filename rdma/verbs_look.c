/* Looking at the stream without taking from it: MSG_PEEK, FIONREAD. */
#include "sys.h"
#include "verbs_recv.h"

#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

enum { FIRST_LOOK = 16384 };

struct walk {
	struct receiving *w;
	uint8_t *window;
	size_t size, n, used, queued; /* queued: all that TCP holds */
	uint64_t at, ring;
	struct frame_in in;
	bool count_only;
	bool calm; /* what is left of the window is plain */
	size_t sum;
};

static bool walk_out(struct walk *k, const void *p, size_t n)
{
	if (!k->count_only) {
		n = least(n, k->w->c.left);
		recv_copy_out(k->w, p, n);
	}
	k->at += n;
	k->sum += n;
	return k->count_only || k->w->c.left;
}

static bool walk_ring(struct walk *k)
{
	struct record r;

	if (recv_next_record(link_in(k->w->vs), &k->ring, k->at, &r) != FOUND || !record_covers(&r, k->at))
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
	if (!recv_believe_ring(k->w, h.ring))
		return false;
	k->in.have = 0;
	if (h.type == FRAME_DATA)
		frame_in_open(&k->in, &h);
	k->calm = h.type == FRAME_CALM && h.at == k->at;
	return h.type != FRAME_PLAIN && h.type != FRAME_BLOCK && h.type != FRAME_RETURN;
}

static bool walk_calm(struct walk *k)
{
	walk_out(k, k->window + k->used, (k->count_only ? k->queued : k->n) - k->used);
	k->used = k->n;
	return false;
}

static bool walk_tcp(struct walk *k)
{
	if (k->used >= k->n)
		return false;
	return k->calm ? walk_calm(k) : k->in.left ? walk_payload(k) : walk_head(k);
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

static void look_at_tcp(struct walk *k)
{
	int queued = 0;
	long n = sys_call(SYS_recvfrom, k->w->fd, k->window, k->size, MSG_PEEK | MSG_DONTWAIT, 0, 0);

	side_keep_error(&k->w->v->side, n);
	k->n = n > 0 ? (size_t)n : 0;
	sys_call(SYS_ioctl, k->w->fd, FIONREAD, &queued);
	k->queued = queued > (int)k->n ? (size_t)queued : k->n;
}

/* *ret_queued: all that TCP held, of which no more than `size` bytes were looked at. */
static size_t walk_within(struct receiving *w, bool count_only, uint8_t *window, size_t size, size_t *ret_queued)
{
	struct walk k = {
		.w = w, .at = load_rlx(w->v->rx_at), .ring = load_rlx(link_in(w->vs)->ring_r), .in = w->v->in, .count_only = count_only,
		.window = window, .size = size,
	};

	*ret_queued = 0;
	recv_look_ahead(w->vs);
	if (!load_rlx(w->v->framed) && load_rlx(w->v->mark_at) == k.at)
		recv_look_for_mark(w);
	if (recv_block_waits(w) && !recv_read_bounce(w))
		recv_settle(w);
	if (recv_bounce_has(w->v) && !walk_out(&k, link_in(w->vs)->bounce + w->v->bounce_at, w->v->bounce_end - w->v->bounce_at))
		return k.sum;
	look_at_tcp(&k);
	*ret_queued = k.queued;
	if (!load_rlx(w->v->framed)) {
		walk_plain(&k);
		return k.sum;
	}
	while (count_only || w->c.left)
		if (!walk_ring(&k) && !walk_tcp(&k))
			break;
	return k.sum;
}

/* Rarely is there more than the first look shows; then the whole is looked at, heads may stand anywhere in it. */
size_t recv_walk(struct receiving *w, bool count_only)
{
	uint8_t room[FIRST_LOOK];
	struct cursor c = w->c;
	size_t got = w->got, queued, sum = walk_within(w, count_only, room, sizeof(room), &queued);

	if (queued <= sizeof(room) || (!count_only && !w->c.left))
		return sum;
	void *all = mmap(NULL, queued, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (all == MAP_FAILED)
		return sum;
	w->c = c;
	w->got = got;
	sum = walk_within(w, count_only, all, queued, &(size_t){ 0 });
	munmap(all, queued);
	return sum;
}
