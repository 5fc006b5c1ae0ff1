#include "step_model.h"

#include <poll.h>
#include <string.h>

/* What may lie unread in one direction without coming near a limit of the kernel's buffers. */
#define MAX_UNREAD 40000
#define MAX_UNREAD_MSGS 40

int handle(const struct end *e)
{
	return e->conn * HANDLES_PER_CONN + e->k;
}

uint32_t pick(struct run *r, uint32_t n)
{
	return rng_below(&r->rng, n);
}

int chance(struct run *r, int percent)
{
	return (int)pick(r, 100) < percent;
}

uint64_t dir_key(const struct run *r, const struct end *e, int sender)
{
	return mix64(r->seed * 1024 + e->c->generation * 8 + e->conn * 2 + sender);
}

uint64_t unread(const struct conn *c, int side)
{
	return c->sent[!side] - c->rcvd[side];
}

int side_holds(const struct conn *c, int side)
{
	for (int p = 0; p < MAX_PROCS; p++)
		for (int k = 0; k < HANDLES_PER_CONN; k++)
			if (c->has[side][p][k])
				return 1;
	return 0;
}

/* A random handle on the given side of the connection; 0 if there is none. */
int pick_handle(struct run *r, int conn, int side, struct end *ret)
{
	struct conn *c = &r->conn[conn];
	int n = 0;

	for (int p = 0; p < MAX_PROCS; p++)
		for (int k = 0; k < HANDLES_PER_CONN; k++)
			if (c->has[side][p][k] && pick(r, ++n) == 0)
				*ret = (struct end){ conn, side, p, k, c };
	return n;
}

int pick_end(struct run *r, struct end *ret)
{
	int conn = pick(r, MAX_CONNS);

	return r->conn[conn].open && pick_handle(r, conn, pick(r, 2), ret);
}

int pick_peer(struct run *r, const struct end *e, struct end *ret)
{
	return pick_handle(r, e->conn, !e->side, ret);
}

int at_end(const struct end *e)
{
	return e->c->fin[!e->side] || e->c->reset || e->c->shut_rd[e->side];
}

int idle_and_alive(const struct end *e)
{
	return !e->c->tight && !at_end(e) && !unread(e->c, e->side) && !e->c->fin[e->side] &&
		!e->c->closed[!e->side];
}

/* Where both ends had finished already, nobody is told. */
void set_reset(struct conn *c)
{
	if (!c->reset)
		c->reset = c->fin[0] && c->fin[1] ? TOLD : FRESH;
}

short expected_events(const struct conn *c, int side)
{
	if (c->reset)
		return c->reset == FRESH ? POLLHUP | POLLERR : POLLHUP;
	return c->fin[!side] ? POLLRDHUP : 0;
}

void settle(struct run *r, int conn)
{
	struct conn *c = &r->conn[conn];

	for (int side = 0; side < 2; side++) {
		struct end e;
		short ev = expected_events(c, side);
		int want = c->reset ? -1 : (int)unread(c, side);

		if (pick_handle(r, conn, side, &e))
			tell(r, side, e.proc, CMD(settle, handle(&e), want, ev));
	}
	if (c->reset)
		c->reset = TOLD;
}

/* Where nobody rang for what lies unread, the kernel of a process that dies knows nothing of it and ends the
 * connection in order; the other side's recv knows better, its poll does not. */
int holds_unread(const struct run *r, int side, int proc)
{
	for (int i = 0; i < MAX_CONNS; i++)
		for (int k = 0; k < HANDLES_PER_CONN; k++)
			if (r->conn[i].open && r->conn[i].has[side][proc][k] && unread(&r->conn[i], side))
				return 1;
	return 0;
}

/* A side has given up its last descriptor: FIN, or RST if something lies unread. */
void side_closed(struct run *r, int conn, int side)
{
	struct conn *c = &r->conn[conn];

	if (c->closed[side] || side_holds(c, side))
		return;
	c->closed[side] = 1;
	if (unread(c, side) || c->linger0[side])
		set_reset(c);
	c->fin[side] = 1;
	settle(r, conn);
	if (c->closed[0] && c->closed[1]) {
		unsigned g = c->generation + 1;

		memset(c, 0, sizeof(*c));
		c->generation = g;
	}
}

int pick_proc(struct run *r, int side)
{
	int p = pick(r, MAX_PROCS);

	return r->side[side].alive[p] ? p : 0;
}

int room_for(const struct end *e, int n)
{
	const struct conn *c = e->c;

	return !c->tight && unread(c, !e->side) + n <= MAX_UNREAD &&
		c->msgs[e->side] < MAX_UNREAD_MSGS;
}

void sent(struct run *r, const struct end *e, int64_t n)
{
	struct conn *c = e->c;

	if (n <= 0)
		return;
	c->sent[e->side] += n;
	c->msgs[e->side]++;
	/* Nobody is there to read it, or nobody will: the answer is a reset. */
	if (c->closed[!e->side] || (c->shut_rd[!e->side] && c->fin[!e->side]))
		set_reset(c);
}

int64_t send_once(struct run *r, const struct end *e, int kind, int n, int flags)
{
	struct cmd c = CMD(send, handle(e), kind, n, flags);
	struct reply p;

	c.key = dir_key(r, e, e->side);
	c.off = e->c->sent[e->side];
	p = tell(r, e->side, e->proc, c);
	sent(r, e, p.ret);
	return p.ret;
}

/* A kind of send that puts everything into the stream at once: a sleeping reader that is woken by
 * the first of two messages may or may not see the second. */
int whole_send(struct run *r)
{
	int kind = pick(r, S_SENDFILE);

	return kind == S_SENDMMSG ? S_SENDMSG : kind;
}

void received(struct conn *c, int side, int64_t n)
{
	if (n <= 0)
		return;
	c->rcvd[side] += n;
	if (!unread(c, side))
		c->msgs[!side] = 0;
}

struct cmd recv_cmd(struct run *r, const struct end *e, int kind, int n, int flags)
{
	struct cmd c = CMD(recv, handle(e), kind, n, flags);

	c.key = dir_key(r, e, !e->side);
	c.off = e->c->rcvd[e->side];
	return c;
}

void count_moved(struct conn *c, int from, int64_t n)
{
	c->sent[from] += n;
	c->rcvd[!from] += n;
}

int pick_epoll(struct run *r, int side, int proc)
{
	int have[MAX_EPOLLS], n = 0;

	for (int i = 0; i < MAX_EPOLLS; i++)
		if (r->side[side].ep[proc][i])
			have[n++] = i;
	return n ? have[pick(r, n)] : -1;
}

int free_handle(const struct end *e)
{
	for (int k = 0; k < HANDLES_PER_CONN; k++)
		if (!e->c->has[e->side][e->proc][k])
			return k;
	return -1;
}
