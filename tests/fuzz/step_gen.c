#include "step_model.h"

#include <stdlib.h>
#include <string.h>

static const struct {
	void (*step)(struct run *);
	int weight;
} steps[] = { { step_connect, 8 }, { step_send, 30 }, { step_recv, 22 }, { step_drain_some, 12 },
	{ step_corked, 4 }, { step_wait, 14 }, { step_shutdown, 3 }, { step_close, 3 },
	{ step_dup, 4 }, { step_nonblock, 4 }, { step_setopt, 4 }, { step_lowat, 3 },
	{ step_getopt, 4 }, { step_outq, 4 }, { step_rcvtimeo, 2 }, { step_ep_create, 4 },
	{ step_ep_ctl, 12 }, { step_ep_nest, 3 }, { step_ep_wait, 18 }, { step_ep_close, 1 },
	{ step_blocked, 10 }, { step_waitall, 3 }, { step_signalled, 3 }, { step_bulk, 7 },
	{ step_fill, 2 }, { step_oob, 5 }, { step_fork, 3 }, { step_child_ends, 2 },
	{ step_pass, 3 }, { step_exec, 7 }, { step_uring, 3 }, { step_refused, 1 } };

void step_random(struct run *r)
{
	int total = 0, at;

	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++)
		total += steps[i].weight;
	at = pick(r, total);
	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
		if (at < steps[i].weight) {
			steps[i].step(r);
			return;
		}
		at -= steps[i].weight;
	}
}

static void pick_traits(struct run *r)
{
	struct traits *t = &r->traits;

	t->uring = chance(r, 10);
	t->raw = chance(r, 25);
	t->oob = chance(r, 20);
	t->pass = chance(r, 10);
	t->exec = chance(r, 35);
	t->fork = chance(r, 35);
	t->tight = chance(r, 15);
	note(r, "seed %lu: uring %d raw %d oob %d pass %d exec %d fork %d tight %d\n",
		(unsigned long)r->seed, t->uring, t->raw, t->oob, t->pass, t->exec, t->fork, t->tight);
}

void step_prologue(struct run *r)
{
	pick_traits(r);
	for (int v6 = 0; v6 < 2; v6++)
		r->side[SERVER].port[v6] = tell(r, SERVER, 0, CMD(listen, v6)).v[0];
	step_connect(r);
	step_connect(r);
	/* Or most of what is done with sets would find none. */
	for (int i = 0; i < 3; i++)
		step_ep_create(r);
}

static void close_handles(struct run *r, int side, int proc)
{
	for (int i = 0; i < MAX_CONNS; i++) {
		struct conn *c = &r->conn[i];

		for (int k = 0; k < HANDLES_PER_CONN; k++) {
			if (!c->open || !c->has[side][proc][k])
				continue;
			tell(r, side, proc, CMD(close, i * HANDLES_PER_CONN + k, 0));
			c->has[side][proc][k] = 0;
			side_closed(r, i, side);
		}
	}
}

/* Sometimes a side is killed as it stands; else all is closed and nothing may be left. */
void step_epilogue(struct run *r)
{
	int victim = chance(r, 25) ? (int)pick(r, 2) : -1;

	if (victim >= 0 && holds_unread(r, victim, 0))
		victim = -1;
	for (int side = 0; side < 2; side++)
		for (int p = MAX_PROCS - 1; p >= 0; p--) {
			if (!r->side[side].alive[p] || (p == 0 && side != victim))
				continue;
			if (holds_unread(r, side, p))
				close_handles(r, side, p);
			tell(r, side, p, CMD(die, 0));
			proc_gone(r, side, p);
		}
	if (victim >= 0)
		run_reap(r, victim);
	for (int i = 0; i < MAX_CONNS; i++)
		for (int side = 0; side < 2; side++) {
			struct end e;

			while (r->side[side].alive[0] && pick_handle(r, i, side, &e)) {
				tell(r, side, 0, CMD(close, handle(&e), 0));
				e.c->has[side][0][e.k] = 0;
			}
			if (r->conn[i].open)
				side_closed(r, i, side);
		}
	for (int side = 0; side < 2; side++) {
		if (!r->side[side].alive[0])
			continue;
		for (int i = 0; i < MAX_EPOLLS; i++)
			if (r->side[side].ep[0][i])
				tell(r, side, 0, CMD(ep_close, i));
		tell(r, side, 0, CMD(census, 1));
		tell(r, side, 0, CMD(exit, 0));
		run_reap(r, side);
	}
}
