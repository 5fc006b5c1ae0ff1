/* Steps in the life of a descriptor: options, copies, processes, the end. */
#include "step_model.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void step_shutdown(struct run *r)
{
	struct end e;
	int how = pick(r, 3);

	if (!chance(r, 30) || !pick_end(r, &e) || e.c->tight)
		return;
	if (tell(r, e.side, e.proc, CMD(shutdown, handle(&e), how)).ret)
		return;
	if (how != SHUT_RD)
		e.c->fin[e.side] = 1;
	if (how != SHUT_WR)
		e.c->shut_rd[e.side] = 1;
	settle(r, e.conn);
}

void step_close(struct run *r)
{
	struct end e;

	if (!pick_end(r, &e))
		return;
	if (chance(r, 10) && side_holds(e.c, !e.side)) {
		tell(r, e.side, e.proc, CMD(setopt, handle(&e), OPT_LINGER, 0));
		e.c->linger0[e.side] = 1;
	}
	tell(r, e.side, e.proc, CMD(close, handle(&e), pick(r, r->traits.raw ? 3 : 2)));
	e.c->has[e.side][e.proc][e.k] = 0;
	side_closed(r, e.conn, e.side);
}

void step_dup(struct run *r)
{
	struct end e;
	int k;

	if (!pick_end(r, &e) || (k = free_handle(&e)) < 0)
		return;
	tell(r, e.side, e.proc, CMD(dup, handle(&e), e.conn * HANDLES_PER_CONN + k,
		pick(r, DUP_KINDS)));
	e.c->has[e.side][e.proc][k] = 1;
}

void step_nonblock(struct run *r)
{
	struct end e;
	int on = pick(r, 2);

	if (!pick_end(r, &e))
		return;
	tell(r, e.side, e.proc, CMD(nonblock, handle(&e), on, pick(r, 2)));
	e.c->nonblock[e.side] = on;
}

void step_setopt(struct run *r)
{
	static const struct {
		int which, values[2];
	} plain[] = { { OPT_NODELAY, { 0, 1 } }, { OPT_KEEPALIVE, { 0, 1 } },
		{ OPT_QUICKACK, { 1, 1 } }, { OPT_USER_TIMEOUT, { 0, 30000 } } };
	struct end e;
	int i = pick(r, 4);

	if (pick_end(r, &e))
		tell(r, e.side, e.proc, CMD(setopt, handle(&e), plain[i].which,
			plain[i].values[pick(r, 2)]));
}

void step_lowat(struct run *r)
{
	struct end e;
	int n = chance(r, 40) ? 1 : 1 + pick(r, 4000);

	if (!pick_end(r, &e) || e.c->tight)
		return;
	tell(r, e.side, e.proc, CMD(setopt, handle(&e), OPT_RCVLOWAT, n));
	e.c->lowat[e.side] = n;
}

void step_getopt(struct run *r)
{
	static const int which[] = { OPT_NODELAY, OPT_CORK, OPT_RCVLOWAT, OPT_RCVTIMEO, OPT_SNDTIMEO,
		OPT_KEEPALIVE, OPT_LINGER, OPT_ERROR, OPT_TYPE, OPT_OOBINLINE, OPT_USER_TIMEOUT };
	struct end e;

	if (pick_end(r, &e))
		tell(r, e.side, e.proc, CMD(getopt, handle(&e),
			which[pick(r, sizeof(which) / sizeof(*which))]));
}

void step_fork(struct run *r)
{
	int side = pick(r, 2);
	struct side *s = &r->side[side];

	if (!r->traits.fork)
		return;
	for (int child = 1; child < MAX_PROCS; child++) {
		/* A child's control socket serves one life. */
		if (s->alive[child])
			continue;
		if (s->ctl[child] < 0)
			continue;
		if (tell(r, side, 0, CMD(fork, child, r->seed % 2)).ret)
			return;
		s->alive[child] = 1;
		memcpy(s->ep[child], s->ep[0], sizeof(s->ep[0]));
		for (int i = 0; i < MAX_CONNS; i++)
			memcpy(r->conn[i].has[side][child], r->conn[i].has[side][0], HANDLES_PER_CONN);
		return;
	}
}

void proc_gone(struct run *r, int side, int proc)
{
	struct side *s = &r->side[side];

	s->alive[proc] = 0;
	if (proc) {
		close(s->ctl[proc]);
		s->ctl[proc] = -1;
	}
	memset(s->ep[proc], 0, MAX_EPOLLS);
	for (int i = 0; i < MAX_CONNS; i++) {
		if (!r->conn[i].open)
			continue;
		memset(r->conn[i].has[side][proc], 0, HANDLES_PER_CONN);
		side_closed(r, i, side);
	}
}

void step_child_ends(struct run *r)
{
	int side = pick(r, 2), child = 1 + pick(r, MAX_PROCS - 1);

	if (!r->side[side].alive[child] || !chance(r, 40) || holds_unread(r, side, child))
		return;
	if (chance(r, 50))
		tell(r, side, child, CMD(die, 0));
	else
		tell(r, side, child, CMD(exit, pick(r, 2)));
	proc_gone(r, side, child);
}

/* A descriptor travels over a unix socket to another process of the same side. */
void step_pass(struct run *r)
{
	struct end e;
	int to, k;

	/* Bytes that lie in shared memory cannot follow the descriptor (rdma/README.md). */
	if (!r->traits.pass || !pick_end(r, &e) || unread(e.c, e.side))
		return;
	to = pick_proc(r, e.side);
	struct end t = { e.conn, e.side, to, 0, e.c };

	if ((k = free_handle(&t)) < 0)
		return;
	t.k = k;
	if (tell(r, e.side, e.proc, CMD(pass, handle(&e))).ret)
		return;
	tell(r, e.side, to, CMD(take, handle(&t)));
	e.c->has[e.side][to][k] = 1;
}

/* A program that writes through the socket as its stdout; that one reads, exec_children.c tries. */
void step_exec(struct run *r)
{
	struct end e;
	int n = 1 + pick(r, 3000);
	int kind = pick(r, EX_KINDS) | (chance(r, 40) ? EX_CLEAN : 0);
	struct cmd c;
	struct reply p;

	if (!r->traits.exec || !pick_end(r, &e) || e.c->tight || e.c->reset ||
		e.c->closed[!e.side])
		return;
	if (!room_for(&e, n) || e.c->fin[e.side])
		return;
	c = CMD(exec, handle(&e), kind, 1, n);
	c.key = dir_key(r, &e, e.side);
	c.off = e.c->sent[e.side];
	p = tell(r, e.side, e.proc, c);
	e.c->nonblock[e.side] = 0;
	if (p.ret)
		return;
	sent(r, &e, n);
	settle(r, e.conn);
}
