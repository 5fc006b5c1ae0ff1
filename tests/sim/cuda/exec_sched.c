/*
 * Who runs inside a block: fragments of a warp, barriers between warps.
 *
 * A warp's lanes are kept in fragments of equal program counter; the fragment with the lowest one runs,
 * so that lanes meet again where their ways join. A fragment that spins on what another one of its
 * warp must do loses its turn when its budget is used up: every lane gets forward, as on sm_70 and later.
 */
#include "exec_sched.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void exec_fault(struct warp *w, const struct insn *in, int code, const char *fmt, ...)
{
	struct exec *x = w->x;
	va_list ap;
	int n;

	if (x->fault)
		return;
	x->fault = code;
	n = snprintf(x->why, sizeof(x->why), "%s, PTX line %u, block (%u,%u,%u), warp %u: ", x->launch->code->name,
		     in ? in->line : 0, w->blk->ctaid[0], w->blk->ctaid[1], w->blk->ctaid[2], w->index);
	if (n < 0 || (size_t)n >= sizeof(x->why))
		return;
	va_start(ap, fmt);
	vsnprintf(x->why + n, sizeof(x->why) - (size_t)n, fmt, ap);
	va_end(ap);
}

static void frag_add(struct warp *w, struct frag f)
{
	w->frag[w->nfrag++] = f;
}

static void frag_drop_empty(struct warp *w)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < w->nfrag; i++)
		if (w->frag[i].mask)
			w->frag[n++] = w->frag[i];
	w->nfrag = n;
}

static void frag_merge(struct warp *w, uint32_t at)
{
	struct frag *f = &w->frag[at];
	bool merged = false;

	for (uint32_t i = 0; i < w->nfrag; i++) {
		struct frag *g = &w->frag[i];

		if (g == f || g->pc != f->pc || g->state != f->state || (f->state != F_RUN && g->want != f->want))
			continue;
		f->mask |= g->mask;
		g->mask = 0;
		merged = true;
	}
	if (!merged)
		return;
	if (at != 0) { /* keep it findable: first after the sweep */
		struct frag t = w->frag[0];

		w->frag[0] = w->frag[at];
		w->frag[at] = t;
	}
	frag_drop_empty(w);
}

static bool conv_ready(const struct warp *w, const struct frag *f)
{
	return !(f->want & w->live & ~f->mask);
}

/* Lanes waiting at a warp-wide instruction: those that are complete may run again. */
static void wake_converged(struct warp *w)
{
	for (uint32_t i = 0; i < w->nfrag; i++) {
		if (w->frag[i].state != F_CONV)
			continue;
		frag_merge(w, i);
		if (i < w->nfrag && w->frag[i].state == F_CONV && conv_ready(w, &w->frag[i]))
			w->frag[i].state = F_RUN;
	}
	if (w->nfrag && w->frag[0].state == F_CONV && conv_ready(w, &w->frag[0]))
		w->frag[0].state = F_RUN;
}

static void wake_warpbar(struct warp *w)
{
	for (uint32_t i = 0; i < w->nfrag; i++) {
		uint32_t want = w->frag[i].want, here = 0;

		if (w->frag[i].state != F_WARPBAR)
			continue;
		for (uint32_t j = 0; j < w->nfrag; j++)
			if (w->frag[j].state == F_WARPBAR && w->frag[j].want == want)
				here |= w->frag[j].mask;
		if (want & w->live & ~here)
			continue;
		for (uint32_t j = 0; j < w->nfrag; j++)
			if (w->frag[j].state == F_WARPBAR && w->frag[j].want == want) {
				w->frag[j].state = F_RUN;
				w->frag[j].pc++;
			}
	}
}

static void barrier_release(struct block *b, uint32_t id)
{
	struct barrier done = b->bar[id];

	memset(&b->bar[id], 0, sizeof(b->bar[id]));
	b->bar[id].all_and = true;
	for (uint32_t i = 0; i < b->nwarps; i++) {
		struct warp *w = &b->warps[i];

		for (uint32_t j = 0; j < w->nfrag; j++) {
			struct frag *f = &w->frag[j];
			const struct insn *in = &b->launch->code->insns[f->pc];
			uint32_t r;

			if (f->state != F_BAR || f->want != id)
				continue;
			if (in->ext[0] == BAR_POPC) {
				uint32_t m = f->mask;

				LANES(m, { R32(in->d)[l] = done.popc; });
			} else if (in->ext[0] == BAR_AND || in->ext[0] == BAR_OR) {
				r = (in->ext[0] == BAR_AND ? done.all_and : done.any_or) ? f->mask : 0;
				PRED(in->d) = (PRED(in->d) & ~f->mask) | r;
			}
			f->state = F_RUN;
			f->pc++;
		}
	}
}

static void barrier_check(struct block *b, uint32_t id)
{
	struct barrier *bar = &b->bar[id];

	if (bar->arrived && (bar->expected ? bar->arrived >= bar->expected : bar->arrived >= b->live_threads))
		barrier_release(b, id);
}

static bool barrier_arrive(struct warp *w, const struct insn *in, uint32_t m)
{
	int lane = __builtin_ctz(m);
	uint32_t id = R32(in->ext[1])[lane] & 15, p = 0, n = (uint32_t)__builtin_popcount(m);
	struct barrier *bar = &w->blk->bar[id];

	if (in->ext[2]) {
		bar->expected = R32(in->ext[2])[lane];
		if (m == w->initial) /* a counted barrier counts whole warps */
			n = 32;
	}
	if (in->ext[0] >= BAR_POPC) {
		p = (PRED(in->ext[3]) ^ (in->ext[4] ? FULL : 0)) & m;
		bar->popc += (uint32_t)__builtin_popcount(p);
		bar->all_and = bar->all_and && p == m;
		bar->any_or = bar->any_or || p;
	}
	bar->arrived += n;
	return bar->expected ? bar->arrived >= bar->expected : bar->arrived >= w->blk->live_threads;
}

static void lanes_exit(struct warp *w, struct frag *f, uint32_t m)
{
	f->mask &= ~m;
	w->live &= ~m;
	w->blk->live_threads -= (uint32_t)__builtin_popcount(m);
	for (uint32_t id = 0; id < 16; id++)
		if (w->blk->live_threads && !w->blk->bar[id].expected)
			barrier_check(w->blk, id);
}

/* Splits off the lanes of m, which stay at pc in the given state; the others go on behind it. */
static void frag_park(struct warp *w, struct frag *f, uint32_t m, enum frag_state state, uint32_t want)
{
	struct frag parked = {m, f->pc, state, want};

	f->mask &= ~m;
	f->pc++;
	frag_add(w, parked);
	frag_drop_empty(w);
}

static void step_barrier(struct warp *w, struct frag *f, const struct insn *in, uint32_t m)
{
	uint32_t id = R32(in->ext[1])[__builtin_ctz(m)] & 15;
	bool complete = barrier_arrive(w, in, m);

	if (in->ext[0] == BAR_ARRIVE)
		f->pc++;
	else
		frag_park(w, f, m, F_BAR, id);
	if (complete)
		barrier_release(w->blk, id);
}

static uint32_t wanted(struct warp *w, const struct insn *in, uint32_t m)
{
	return in->c ? R32(in->c)[__builtin_ctz(m)] : m;
}

static void step_branch(struct warp *w, struct frag *f, uint32_t target, uint32_t m)
{
	struct frag taken = {m, target, F_RUN, 0};

	if (m == f->mask) {
		f->pc = target;
		return;
	}
	f->mask &= ~m;
	f->pc++;
	frag_add(w, taken);
}

static void step_indexed(struct warp *w, struct frag *f, const struct insn *in, uint32_t m)
{
	uint32_t rest = f->mask & ~m, pc = f->pc;

	f->mask = 0;
	for (uint32_t k = m; k;) {
		uint32_t idx = R32(in->a)[__builtin_ctz(k)], same = 0;

		for (uint32_t j = k; j; j &= j - 1)
			if (R32(in->a)[__builtin_ctz(j)] == idx)
				same |= j & -j;
		k &= ~same;
		if (idx >= (uint32_t)in->imm) {
			exec_fault(w, in, ERR_LAUNCH_FAILED, "brx.idx past its targets");
			return;
		}
		frag_add(w, (struct frag){same, in->ext[idx], F_RUN, 0});
	}
	if (rest)
		frag_add(w, (struct frag){rest, pc + 1, F_RUN, 0});
	frag_drop_empty(w);
}

/* One instruction that is not plain. Returns false when the fragment must be chosen anew. */
static bool step_special(struct warp *w, struct frag *f, const struct insn *in, uint32_t m)
{
	uint32_t want;

	if (!m) {
		f->pc++;
		return true;
	}
	switch (in->kind) {
	case K_BRA:
		step_branch(w, f, (uint32_t)in->imm, m);
		return f->mask == m;
	case K_BRX:
		step_indexed(w, f, in, m);
		return false;
	case K_EXIT:
		lanes_exit(w, f, m);
		f->pc++;
		frag_drop_empty(w);
		return false;
	case K_BAR:
		step_barrier(w, f, in, m);
		return false;
	case K_CONV:
		want = wanted(w, in, m);
		if (want & w->live & ~m) {
			frag_park(w, f, m, F_CONV, want);
			return false;
		}
		in->fn(w, in, m);
		if (w->x->fault) /* ldmatrix reads memory */
			return false;
		f->pc++;
		return true;
	case K_WARPBAR:
		frag_park(w, f, m, F_WARPBAR, wanted(w, in, m));
		return false;
	case K_TRAP:
		exec_fault(w, in, ERR_LAUNCH_FAILED, "trap");
		return false;
	default: /* K_YIELD */
		f->pc++;
		return false;
	}
}

static enum turn run_frag(struct warp *w, uint32_t at, uint32_t stop, uint32_t *budget)
{
	const struct insn *code = w->x->launch->code->insns;
	struct frag *f = &w->frag[at];
	uint32_t pc = f->pc, mask = f->mask, left = *budget;

	while (pc < stop && left) {
		const struct insn *in = &code[pc];
		uint32_t m = mask;

		if (in->guard)
			m &= in->gneg ? ~PRED(in->guard) : PRED(in->guard);
		left--;
		if (__builtin_expect(in->kind == K_ALU, 1)) {
			if (m)
				in->fn(w, in, m);
			pc++;
		} else if (in->kind == K_MEM) {
			if (m)
				in->fn(w, in, m);
			if (w->x->fault)
				break;
			pc++;
		} else if (in->kind == K_BRA && (!m || m == mask)) {
			pc = m ? (uint32_t)in->imm : pc + 1;
		} else {
			f->pc = pc;
			if (in->kind == K_YIELD)
				left = 0;
			if (!step_special(w, f, in, m)) {
				*budget = left;
				return w->x->fault ? TURN_FAULT : TURN_SPENT;
			}
			pc = f->pc;
			mask = f->mask;
		}
	}
	f->pc = pc;
	*budget = left;
	return w->x->fault ? TURN_FAULT : TURN_SPENT;
}

/* The fragment to run: the lowest, or another one in turn when the lowest seems to spin. */
static int frag_choose(struct warp *w, uint32_t skip, uint32_t *ret_stop)
{
	int best = -1;
	uint32_t runnable = 0, nth;

	for (uint32_t i = 0; i < w->nfrag; i++) {
		if (w->frag[i].state != F_RUN)
			continue;
		runnable++;
		if (best < 0 || w->frag[i].pc < w->frag[best].pc)
			best = (int)i;
	}
	if (best < 0)
		return -1;
	if (skip && runnable > 1) {
		nth = skip % runnable;
		for (uint32_t i = 0; i < w->nfrag; i++)
			if (w->frag[i].state == F_RUN && nth-- == 0)
				best = (int)i;
	}
	*ret_stop = UINT32_MAX;
	for (uint32_t i = 0; i < w->nfrag; i++)
		if (w->frag[i].state == F_RUN && w->frag[i].pc > w->frag[best].pc && w->frag[i].pc < *ret_stop)
			*ret_stop = w->frag[i].pc;
	return best;
}

enum turn warp_run(struct warp *w, uint32_t budget)
{
	uint32_t skip = 0, given = budget;
	enum turn t = TURN_SPENT;

	/* Every other time that a warp ran out of budget, a fragment other than the lowest goes first. */
	if (w->turn & 1)
		skip = (w->turn >> 1) + 1;
	while (budget && w->nfrag && t != TURN_FAULT) {
		uint32_t stop;
		int at;

		if (w->nfrag > 1)
			wake_converged(w);
		wake_warpbar(w);
		at = frag_choose(w, skip, &stop);
		if (at < 0) {
			t = TURN_WAITS;
			break;
		}
		if (w->nfrag > 1) {
			uint32_t before = w->nfrag;

			frag_merge(w, (uint32_t)at);
			if (w->nfrag != before)
				continue;
		}
		t = run_frag(w, (uint32_t)at, stop, &budget);
	}
	w->x->insns += given - budget;
	if (!budget)
		w->turn++;
	return t == TURN_FAULT ? t : !w->nfrag ? TURN_DONE : t;
}
