/*
 * The graphs of one queue, by key of the run they were made of: which are worth making, what makes
 * room for them, and which do not pay.
 *
 * Threading: under the submit lock of the queue they belong to.
 */
#pragma once
#include "graph.h"
#include "handles.h"
#include "streams.h"

struct graphs {
	struct handles made;  /* key: struct graph */
	struct handles seen;  /* keys that may become one */
	bool changed;         /* another window than when room was made last */
	uint64_t plain_ticks; /* of one launch alone, averaged */
};

int graphs_init(struct graphs *gs);
void graphs_finish(struct graphs *gs);
/*
 * The graph of this run, made now if that is worth it, or NULL. whole: all of a chunk; as_expected: so
 * far as it has come, it is what the window says.
 */
struct graph *graphs_get(struct graphs *gs, uint64_t key, const struct graph_run *run, struct streams *st,
	bool whole, bool as_expected);
void graphs_plain_took(struct graphs *gs, uint64_t ticks);
/* It took so long to launch: slower than its launches one by one, three times running, it is given up. */
void graphs_judge(const struct graphs *gs, struct graph *g, uint64_t ticks);
void graphs_forget_event(struct graphs *gs, CUevent e);
/* False if there was none. */
bool graphs_drop(struct graphs *gs);
