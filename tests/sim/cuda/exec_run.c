/* Who runs when: the warps of a block in turn, the resident blocks of a grid. */
#include "exec_sched.h"
#include "residency.h"
#include "watch.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WARP_TURN 8192

/* Nobody in the block can move: lanes of a warp-wide instruction wait for lanes that will never come. */
static bool break_convergence(struct block *b)
{
	for (uint32_t i = 0; i < b->nwarps; i++)
		for (uint32_t j = 0; j < b->warps[i].nfrag; j++) {
			struct frag *f = &b->warps[i].frag[j];

			if (f->state != F_CONV && f->state != F_WARPBAR)
				continue;
			exec_fault(&b->warps[i], &b->launch->code->insns[f->pc], ERR_LAUNCH_TIMEOUT,
				   "a warp-wide instruction waits for lanes that never come");
			return true;
		}
	return false;
}

static enum turn block_run(struct block *b, uint32_t budget)
{
	bool moved = false;
	uint32_t done = 0;

	for (uint32_t i = 0; i < b->nwarps; i++) {
		struct warp *w = &b->warps[(b->next_warp + i) % b->nwarps];
		enum turn t = warp_run(w, budget);

		if (t == TURN_FAULT)
			return t;
		moved |= t == TURN_SPENT;
		done += t == TURN_DONE;
	}
	b->next_warp++;
	if (done == b->nwarps)
		return TURN_DONE;
	/* A later warp may have released an earlier one. */
	for (uint32_t i = 0; i < b->nwarps && !moved; i++)
		for (uint32_t j = 0; j < b->warps[i].nfrag; j++)
			moved |= b->warps[i].frag[j].state == F_RUN;
	if (moved)
		return TURN_SPENT;
	if (!break_convergence(b))
		exec_fault(&b->warps[0], NULL, ERR_LAUNCH_TIMEOUT, "all threads wait at barriers that nobody completes");
	return TURN_FAULT;
}

static void set_special(struct warp *w, const struct code *c, enum special s, uint32_t v)
{
	uint32_t *p;

	if (!c->special[s])
		return;
	p = R32(c->special[s]);
	for (int l = 0; l < 32; l++)
		p[l] = v;
}

static void set_thread_ids(struct warp *w, const struct launch *l)
{
	const struct code *c = l->code;

	for (uint32_t i = 0; i < 32; i++) {
		uint32_t t = w->index * 32 + i;

		if (c->special[SR_TID_X])
			R32(c->special[SR_TID_X])[i] = t % l->block[0];
		if (c->special[SR_TID_Y])
			R32(c->special[SR_TID_Y])[i] = t / l->block[0] % l->block[1];
		if (c->special[SR_TID_Z])
			R32(c->special[SR_TID_Z])[i] = t / l->block[0] / l->block[1];
		if (c->special[SR_LANEID])
			R32(c->special[SR_LANEID])[i] = i;
		if (c->special[SR_MASK_EQ])
			R32(c->special[SR_MASK_EQ])[i] = 1u << i;
		if (c->special[SR_MASK_LT])
			R32(c->special[SR_MASK_LT])[i] = (1u << i) - 1;
		if (c->special[SR_MASK_LE])
			R32(c->special[SR_MASK_LE])[i] = ((1u << i) - 1) | 1u << i;
		if (c->special[SR_MASK_GE])
			R32(c->special[SR_MASK_GE])[i] = ~((1u << i) - 1);
		if (c->special[SR_MASK_GT])
			R32(c->special[SR_MASK_GT])[i] = ~(((1u << i) - 1) | 1u << i);
	}
}

/* What stays the same for every block that this warp's frame serves. */
static void warp_prepare(struct warp *w, const struct launch *l, uint32_t nwarps)
{
	const struct code *c = l->code;

	for (uint32_t i = 0; i < c->nconsts; i++)
		for (int lane = 0; lane < 32; lane++) {
			if (c->consts[i].width == 8)
				R64(c->consts[i].off)[lane] = c->consts[i].val;
			else
				R32(c->consts[i].off)[lane] = (uint32_t)c->consts[i].val;
		}
	set_thread_ids(w, l);
	for (int i = 0; i < 3; i++) {
		set_special(w, c, SR_NTID_X + i, l->block[i]);
		set_special(w, c, SR_NCTAID_X + i, l->grid[i]);
	}
	set_special(w, c, SR_WARPID, w->index);
	set_special(w, c, SR_NWARPID, nwarps);
	set_special(w, c, SR_NSMID, 4);
	set_special(w, c, SR_TOTAL_SMEM, l->code->shared_size + l->dyn_shared);
	set_special(w, c, SR_DYN_SMEM, l->dyn_shared);
	set_special(w, c, SR_ENVREG1, (uint32_t)(l->workspace >> 32));
	set_special(w, c, SR_ENVREG2, (uint32_t)l->workspace);
	set_special(w, c, SR_ONE, 1);
}

static struct block *block_create(struct exec *x)
{
	const struct launch *l = x->launch;
	uint32_t threads = l->block[0] * l->block[1] * l->block[2], nwarps = (threads + 31) / 32;
	struct block *b = calloc(1, sizeof(*b));

	if (!b)
		abort();
	b->launch = x->launch;
	b->nwarps = nwarps;
	b->warps = calloc(nwarps, sizeof(*b->warps));
	b->shared_size = l->code->shared_size + l->dyn_shared;
	b->shared = aligned_alloc(128, (b->shared_size + 128 + 127) & ~127u);
	for (uint32_t i = 0; i < nwarps; i++) {
		struct warp *w = &b->warps[i];

		w->r = aligned_alloc(64, (l->code->frame_size + 63) & ~63u);
		w->local = malloc(l->code->local_size * 32 + 16);
		if (!w->r || !w->local || !b->shared)
			abort();
		memset(w->r, 0xa5, l->code->frame_size);
		memset(w->r, 0, FRAME_FIRST);
		w->blk = b;
		w->x = x;
		w->index = i;
		w->initial = threads - i * 32 >= 32 ? FULL : (1u << (threads - i * 32)) - 1;
		warp_prepare(w, l, nwarps);
	}
	memset(b->shared, 0xa5, b->shared_size);
	return b;
}

static void block_destroy(struct block *b)
{
	watch_block_end(b);
	for (uint32_t i = 0; i < b->nwarps; i++) {
		free(b->warps[i].r);
		free(b->warps[i].local);
	}
	free(b->warps);
	free(b->shared);
	free(b);
}

static void block_start(struct block *b, uint64_t index)
{
	const struct launch *l = b->launch;
	uint64_t gx = l->grid[0], gy = l->grid[1];

	b->index = index;
	b->ctaid[0] = (uint32_t)(index % gx);
	b->ctaid[1] = (uint32_t)(index / gx % gy);
	b->ctaid[2] = (uint32_t)(index / gx / gy);
	b->live_threads = l->block[0] * l->block[1] * l->block[2];
	b->next_warp = 0;
	b->spins = 0;
	memset(b->bar, 0, sizeof(b->bar));
	for (int i = 0; i < 16; i++)
		b->bar[i].all_and = true;
	for (uint32_t i = 0; i < b->nwarps; i++) {
		struct warp *w = &b->warps[i];

		w->live = w->initial;
		w->nfrag = 1;
		w->turn = 0;
		w->frag[0] = (struct frag){w->initial, 0, F_RUN, 0};
		for (int d = 0; d < 3; d++)
			set_special(w, l->code, SR_CTAID_X + d, b->ctaid[d]);
		set_special(w, l->code, SR_SMID, (uint32_t)(index % 4));
		set_special(w, l->code, SR_ZERO, 0);
	}
	if (b->warps[0].x->watch)
		watch_block_start(b);
}

/* The blocks of one grid that hold a place on the device. */
struct grid {
	struct exec *x;
	struct block **resident, **idle;
	uint32_t n, nidle, cap;
	uint64_t next, total, turns;
	uint32_t seed;
};

static bool grid_admit(struct grid *g, bool wait)
{
	struct block *b;

	if (g->next == g->total || g->n == g->cap)
		return false;
	if (!g->x->launch->cooperative && !residency_take(1, wait))
		return false;
	b = g->nidle ? g->idle[--g->nidle] : block_create(g->x);
	block_start(b, g->next++);
	g->resident[g->n++] = b;
	return true;
}

static void grid_retire(struct grid *g, uint32_t i)
{
	g->idle[g->nidle++] = g->resident[i];
	g->resident[i] = g->resident[--g->n];
	if (!g->x->launch->cooperative)
		residency_give(1);
}

/*
 * Fair: each in its turn. Starving: one block, chosen by the seed, gets nearly all the turns, and the
 * first to come are passed over longest.
 */
static uint32_t grid_choose(struct grid *g)
{
	uint64_t t = g->turns++;

	if (!residency_starves())
		return (uint32_t)(t % g->n);
	g->seed = g->seed * 1664525u + 1013904223u;
	return t % 64 == 63 ? (g->seed >> 16) % g->n : g->n - 1;
}

static void grid_run(struct grid *g)
{
	while (!g->x->fault) {
		uint32_t i;
		enum turn t;

		if (!g->n && !grid_admit(g, true))
			return;
		i = grid_choose(g);
		g->x->blk = g->resident[i];
		t = block_run(g->resident[i], residency_interleaves() ? 64 : WARP_TURN);
		if (t == TURN_DONE) {
			grid_retire(g, i);
			continue;
		}
		/* This one takes long, perhaps because it waits for a block that has not begun. */
		grid_admit(g, false);
		if (++g->resident[g->n > i ? i : 0]->spins % 64 == 0)
			sched_yield();
		if (residency_expired(g->x->insns))
			exec_fault(&g->resident[0]->warps[0], NULL, ERR_LAUNCH_TIMEOUT, "still running after %llu instructions",
				   (unsigned long long)g->x->insns);
	}
}

static void grid_finish(struct grid *g)
{
	if (g->x->launch->cooperative)
		residency_give(g->cap);
	else if (g->n)
		residency_give(g->n);
	for (uint32_t i = 0; i < g->n; i++)
		block_destroy(g->resident[i]);
	for (uint32_t i = 0; i < g->nidle; i++)
		block_destroy(g->idle[i]);
	free(g->resident);
	free(g->idle);
}

int exec_grid(struct launch *l, char *why, size_t whylen)
{
	struct watch watch = {.key = l->key, .stale = residency_stale()};
	struct exec x = {.launch = l, .watch = watch.key || watch.stale ? &watch : NULL};
	uint64_t total = (uint64_t)l->grid[0] * l->grid[1] * l->grid[2];
	struct grid g = {.x = &x, .total = total, .seed = residency_seed()};

	g.cap = l->cooperative ? (uint32_t)total : residency_capacity();
	if (g.cap > total)
		g.cap = (uint32_t)total;
	g.resident = calloc(g.cap, sizeof(*g.resident));
	g.idle = calloc(g.cap, sizeof(*g.idle));
	if (!g.resident || !g.idle)
		abort();
	if (l->cooperative) /* all or nothing */
		residency_take(g.cap, true);
	grid_run(&g);
	grid_finish(&g);
	residency_count(x.insns);
	if (x.fault)
		snprintf(why, whylen, "%s", x.why);
	return x.fault;
}
