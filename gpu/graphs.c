#include "graphs.h"

#include "settings.h"

#define GRAPHS 256
#define FEW 64

#define each_graph(g, gs)                                                                          \
	(struct handle_slot *slot = (gs)->made.slot; slot < (gs)->made.slot + (gs)->made.size; slot++)      \
		for (struct graph *g = slot->used ? (struct graph *)(uintptr_t)slot->value : NULL; g; g = NULL)

int graphs_init(struct graphs *gs)
{
	int rc = handles_init(&gs->made, GRAPHS);

	return rc ? rc : handles_init(&gs->seen, GRAPHS);
}

void graphs_finish(struct graphs *gs)
{
	handles_finish(&gs->made);
	handles_finish(&gs->seen);
}

bool graphs_drop(struct graphs *gs)
{
	bool some = gs->made.count;

	for each_graph (g, gs)
		graph_destroy(g);
	handles_clear(&gs->made);
	return some;
}

/*
 * A whole chunk will come again; part of one, too, where the program waits, if there are not many of
 * them; where the window changed, what came up to there must have come before.
 */
static bool worth_making(struct graphs *gs, uint64_t key, bool whole, bool as_expected)
{
	if (whole || handles_find(&gs->seen, key) || (as_expected && gs->made.count < FEW))
		return true;
	handles_put_anyway(&gs->seen, key, 1);
	return false;
}

/* Full of graphs: those of windows long gone make room, but not twice for one window. */
static bool make_room(struct graphs *gs)
{
	if (gs->made.count < GRAPHS / 4 * 3)
		return true;
	if (!gs->changed)
		return false;
	gs->changed = false;
	graphs_drop(gs);
	return true;
}

static struct graph *make(struct graphs *gs, uint64_t key, const struct graph_run *run, struct streams *st)
{
	struct graph *g = streams_prepare(st, graph_run_streams(run)) ? NULL : graph_create(key, run, st->exit);

	if (g && handles_put(&gs->made, key, (uintptr_t)g)) {
		graph_destroy(g);
		return NULL;
	}
	return g;
}

struct graph *graphs_get(struct graphs *gs, uint64_t key, const struct graph_run *run, struct streams *st,
	bool whole, bool as_expected)
{
	const uint64_t *known = handles_find(&gs->made, key);

	if (known)
		return (struct graph *)(uintptr_t)*known;
	return worth_making(gs, key, whole, as_expected) && make_room(gs) ? make(gs, key, run, st) : NULL;
}

void graphs_plain_took(struct graphs *gs, uint64_t ticks)
{
	gs->plain_ticks = (gs->plain_ticks * 15 + ticks) / 16;
}

void graphs_judge(const struct graphs *gs, struct graph *g, uint64_t ticks)
{
	if (!settings.cuda_adapt || !gs->plain_ticks)
		return;
	g->slow = ticks > gs->plain_ticks * g->count ? g->slow + 1 : 0;
	if (g->slow >= 3)
		graph_give_up(g);
}

void graphs_forget_event(struct graphs *gs, CUevent e)
{
	for each_graph (g, gs)
		graph_forget_event(g, e);
}
