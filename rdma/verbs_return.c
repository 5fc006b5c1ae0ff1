/*
 * A stream whose link has failed goes over to a new one.  The thread makes it (verbs_meet) in a room that nobody needs,
 * beside the old one, whose ring may have bytes to be read; each half goes over at a place of its own, which
 * FRAME_RETURN marks in TCP.
 */
#include "verbs_io.h"

#include <string.h>

static bool has_been_up(const struct link *l)
{
	return load_acq(l->state) != LINK_MAKING;
}

/* The peer may send us to the last that was up, if it is not on the one that it said it was on. */
static bool is_needed(const struct links *ls, uint32_t i)
{
	const struct verbs_side *v = ls->reader->v;
	const struct link *l = &ls->link[i];

	return i == load_acq(v->reads_by) || load_acq(l->advert_out) || (has_been_up(l) && (i == load_acq(v->last_up) || l->name == load_rlx(v->peer_name)));
}

/* LINKS: none. */
static uint32_t find(const struct links *ls, uint32_t name)
{
	uint32_t i = 0;

	while (i < LINKS && !(has_been_up(&ls->link[i]) && ls->link[i].name == name && is_needed(ls, i)))
		i++;
	return i;
}

/* Round about, but for one that never came up: whoever has just read by one may look at it for a moment longer. */
static uint32_t find_room(const struct links *ls)
{
	uint32_t i = load_rlx(ls->reader->v->sends_by), n = LINKS;

	for (; n && is_needed(ls, i); n--)
		i = (i + 1) % LINKS;
	return n ? i : LINKS;
}

/* Plain for good, or broken: it stays in frames. */
static bool may_return(const struct verbs_side *v)
{
	return !load_rlx(v->side.plain) && !load_rlx(v->peer_left) && !load_rlx(v->side.broken) && !load_rlx(v->side.dead);
}

/* Sending is on no link until the new one is up; what its peer has counted holds for that, too. */
static struct link *prepare(struct links *ls)
{
	struct verbs_side *v = ls->reader->v;
	struct link *old = link_out(ls->reader);
	uint32_t i = find_room(ls);

	if (i == LINKS || load_rlx(v->forked) || !may_return(v))
		return NULL;
	uint64_t counted = load_rlx(old->peer_counted);
	if (!v->returning)
		v->left_ring = old->ring_w;
	v->returning = true;
	link_clear(&ls->link[i]);
	store_rlx(ls->link[i].peer_counted, counted);
	store_rel(v->sends_by, i);
	return &ls->link[i];
}

struct link *verbs_return_prepare(struct links *ls, uint32_t *ret_name)
{
	struct link *l = NULL;
	struct side *side;

	verbs_lock(&ls->lock);
	side = ls->reader ? &ls->reader->v->side : NULL;
	if (side && side_trylock(&side->p)) {
		if (side_trylock(&side->c)) {
			l = prepare(ls);
			*ret_name = ls->reader->v->name;
			side_unlock(&side->c);
		}
		side_unlock(&side->p);
	}
	verbs_unlock(&ls->lock);
	return l;
}

/* A fork's child that uses the stream sees the link, or is seen: see verbs_enter. */
static bool come_up(struct links *ls, struct link *l, uint32_t peer_name)
{
	struct verbs_side *v = ls->reader->v;

	if (!may_return(v) || find(ls, peer_name) == LINKS || find(ls, l->name) != LINKS)
		return false;
	store_rlx(v->peer_name, peer_name);
	store_rel(v->last_up, (uint32_t)(l - ls->link));
	store_rel(l->state, LINK_UP);
	full_fence();
	if (!load_rlx(v->forked))
		return true;
	link_fail(l, FALLBACK_RDMA_FORKED);
	return false;
}

bool verbs_return_up(struct link *l, uint32_t peer_name)
{
	struct links *ls = l->links;

	verbs_lock(&ls->lock);
	bool ok = ls->reader && come_up(ls, l, peer_name);
	verbs_unlock(&ls->lock);
	return ok;
}

void verbs_return_tell(struct link *l)
{
	struct links *ls = l->links;

	verbs_lock(&ls->lock);
	if (ls->reader)
		verbs_say_state(ls->reader, l);
	verbs_unlock(&ls->lock);
}

void verbs_return_release(struct links *ls)
{
	verbs_lock(&ls->lock);
	for (uint32_t i = 0; ls->reader && i < LINKS; i++)
		if (load_rlx(ls->link[i].counted) && i != load_rlx(ls->reader->v->sends_by) && !is_needed(ls, i))
			link_give_back(&ls->link[i]);
	verbs_unlock(&ls->lock);
}

bool verbs_read_by(struct verbs_stream *vs, uint32_t name)
{
	struct verbs_side *v = vs->v;
	uint32_t i = find(vs->links, name);

	if (i == LINKS || i == load_rlx(v->reads_by))
		return false;
	v->link_over = false;
	store_rlx(v->peer_name, name);
	store_rlx(vs->unrung, 0);
	store_rel(v->reads_by, i);
	verbs_tell_state(vs);
	return true;
}
