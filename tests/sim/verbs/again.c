#include "again.h"

#include <stdlib.h>
#include <time.h>

static unsigned roll(uint64_t *dice, unsigned sides)
{
	*dice = *dice * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(*dice >> 33) % sides;
}

static struct link *newest(const struct sim_end *e)
{
	return e->links->reader ? link_out(e->links->reader) : NULL;
}

static void give_up(struct sim_end *e)
{
	if (e->next)
		link_let_go(e->next);
	e->next = NULL;
}

/* It has seen its link fail, and has room for another. */
static bool is_ready(struct sim_end *e, int role)
{
	struct link *old = newest(e);
	struct device *d;

	if (e->next)
		return true;
	if (!old || load_acq(old->state) == LINK_UP)
		return false;
	if (old->device)
		link_let_go(old);
	e->next = verbs_return_prepare(e->links, &e->name);
	if (!e->next)
		return false;
	sim_id_destroy(e->id);
	e->id = sim_id_create(role);
	if (device_of(e->id, &d) || link_open(e->next, d, e->id, false))
		abort();
	return true;
}

static bool up(struct sim_end *e, const struct sim_end *peer, uint32_t name)
{
	e->next->name = name;
	e->next->peer_ring = (uintptr_t)peer->next->ring;
	e->next->peer_rkey = peer->next->rkey;
	e->next->intro_here = e->next->adverts = true;
	return verbs_return_up(e->next, peer->name);
}

static void pass(uint64_t *dice)
{
	struct timespec t = { .tv_nsec = roll(dice, 4) ? 0 : roll(dice, 3000000) };

	nanosleep(&t, NULL);
}

/* The calling side is up first; the other may fail before it is, or before it has said so. */
static bool meet(struct sim_end end[2], uint64_t *dice)
{
	static uint32_t names;
	uint32_t name = ++names % (1 << NAME_BITS);

	sim_connect(end[0].id, end[1].id);
	if (!up(&end[1], &end[0], name))
		return false;
	pass(dice);
	if (!roll(dice, 8) || !up(&end[0], &end[1], name))
		return false;
	verbs_return_tell(end[1].next);
	pass(dice);
	if (!roll(dice, 8))
		link_fail(end[roll(dice, 2)].next, FALLBACK_RDMA_PORT);
	verbs_return_tell(end[0].next);
	return true;
}

bool sim_meet_again(struct sim_end end[2], uint64_t *dice)
{
	for (int i = 0; i < 2; i++)
		verbs_return_release(end[i].links);
	if (!is_ready(&end[0], 0) || !is_ready(&end[1], 1) || roll(dice, 4))
		return false;
	bool met = meet(end, dice);
	for (int i = 0; i < 2; i++) {
		if (!met) {
			link_fail(end[i].next, FALLBACK_RDMA_FAILED);
			give_up(&end[i]);
		}
		end[i].next = NULL;
	}
	return met;
}
