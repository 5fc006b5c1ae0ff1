/* Steps that make connections and move bytes. */
#include "step_model.h"

#include <poll.h>
#include <sys/socket.h>

#include "step_bulk.h"

static int free_conn(struct run *r)
{
	for (int i = 0; i < MAX_CONNS; i++)
		if (!r->conn[i].open)
			return i;
	return -1;
}

/* `total` bytes from p to e while both are at it. */
static void move_bulk(struct run *r, const struct end *p, const struct end *e, int total,
	int send_chunk, int recv_chunk)
{
	struct cmd c = CMD(bulk_send, handle(p), total, send_chunk, pick(r, BULK_STYLES));
	struct reply a, b;

	/* A mark that nothing reaches blocks a reader in any run. */
	tell(r, e->side, e->proc, CMD(setopt, handle(e), OPT_RCVLOWAT, 1));
	e->c->lowat[e->side] = 1;
	c.thread = 2;
	c.key = dir_key(r, p, p->side);
	c.off = e->c->sent[p->side];
	tell(r, p->side, p->proc, c);
	c.op = OP_bulk_recv;
	c.thread = 0;
	c.a[0] = handle(e);
	c.a[2] = recv_chunk;
	c.a[3] = pick(r, BULK_STYLES);
	/* A blocking style on a non-blocking socket only stops early. */
	if (e->c->nonblock[e->side] && !c.a[3])
		c.a[3] = BULK_POLL;
	a = tell(r, e->side, e->proc, c);
	b = tell(r, p->side, p->proc, CMD(join, 2, 12000));
	count_moved(e->c, p->side, a.ret < b.ret ? a.ret : b.ret);
	settle(r, e->conn);
}

/* Enough both ways for an upgrade, if there is to be one. */
static void warm(struct run *r, int conn)
{
	struct end e[2];

	for (int i = 0; i < 6; i++) {
		if (!pick_handle(r, conn, CLIENT, &e[CLIENT]) || !pick_handle(r, conn, SERVER, &e[SERVER]))
			return;
		move_bulk(r, &e[i % 2], &e[!(i % 2)], 3000 << i, 1000 << i, 2000);
	}
}

void step_connect(struct run *r)
{
	int i = free_conn(r), v6 = chance(r, 30), nb = chance(r, 30);
	int cp = pick_proc(r, CLIENT), sp = pick_proc(r, SERVER);
	int flags = (chance(r, 30) ? SOCK_NONBLOCK : 0) | (chance(r, 50) ? SOCK_CLOEXEC : 0);
	struct conn *c = &r->conn[i];
	struct reply a, b;

	if (i < 0)
		return;
	c->tight = r->traits.tight && chance(r, 50);
	a = tell(r, CLIENT, cp, CMD(connect, i * HANDLES_PER_CONN, v6, r->side[SERVER].port[v6], nb,
		c->tight ? 8192 : 0));
	b = tell(r, SERVER, sp, CMD(accept, i * HANDLES_PER_CONN, v6, flags));
	if (a.ret || b.ret)
		return;
	c->open = 1;
	c->v6 = v6;
	c->nonblock[CLIENT] = nb;
	c->nonblock[SERVER] = !!(flags & SOCK_NONBLOCK);
	c->lowat[0] = c->lowat[1] = 1;
	c->has[CLIENT][cp][0] = c->has[SERVER][sp][0] = 1;
	if (chance(r, 75))
		warm(r, i);
}

static int send_size(struct run *r)
{
	switch (pick(r, 5)) {
	case 0:
		return pick(r, 3);
	case 1:
		return 1 + pick(r, 200);
	case 2:
		return 1 + pick(r, 3000);
	case 3:
		return 1 + pick(r, 9000);
	}
	return 1 + pick(r, 30000);
}

void step_send(struct run *r)
{
	struct end e;
	int n = send_size(r), kind = pick(r, S_KINDS), flags = 0;

	if (!pick_end(r, &e) || !room_for(&e, n))
		return;
	if (kind < S_FLAGLESS)
		flags = (chance(r, 40) ? MSG_NOSIGNAL : 0) | (chance(r, 40) ? MSG_DONTWAIT : 0);
	/* sendfile and splice of nothing say nothing about the socket. */
	if (kind == S_SENDFILE || kind == S_SPLICE)
		n += !n;
	send_once(r, &e, kind, n, flags);
	settle(r, e.conn);
}

/* Several sends that the sender asks to hold together, then the push. */
void step_corked(struct run *r)
{
	struct end e;
	int by_option = chance(r, 50), n = 1 + pick(r, 2000), times = 1 + pick(r, 3);

	if (!pick_end(r, &e) || !room_for(&e, n * 4) || e.c->fin[e.side] || e.c->reset)
		return;
	if (by_option)
		tell(r, e.side, e.proc, CMD(setopt, handle(&e), OPT_CORK, 1));
	for (int i = 0; i < times; i++)
		send_once(r, &e, pick(r, by_option ? S_SENDFILE : S_FLAGLESS), n,
			by_option ? 0 : MSG_MORE);
	if (by_option)
		tell(r, e.side, e.proc, CMD(setopt, handle(&e), OPT_CORK, 0));
	else
		send_once(r, &e, S_SEND, n, 0);
	settle(r, e.conn);
}

static int recv_size(struct run *r, const struct end *e)
{
	uint64_t have = unread(e->c, e->side);

	if (have && chance(r, 30))
		return have;
	if (have > 1 && chance(r, 30))
		return 1 + pick(r, have);
	return 1 + pick(r, chance(r, 50) ? 300 : 20000);
}

void step_recv(struct run *r)
{
	struct end e;
	int kind = pick(r, R_KINDS), flags = 0, n;
	struct reply p;

	if (!pick_end(r, &e) || e.c->tight)
		return;
	n = recv_size(r, &e);
	int have = unread(e.c, e.side), low = e.c->lowat[e.side];
	int enough = at_end(&e) || have >= (low < n ? low : n);

	if (kind >= R_FLAGLESS && !enough && !e.c->nonblock[e.side])
		kind = pick(r, R_FLAGLESS);
	if (kind < R_FLAGLESS) {
		flags = !enough || chance(r, 40) ? MSG_DONTWAIT : 0;
		flags |= chance(r, 25) ? MSG_PEEK : 0;
		flags |= chance(r, 15) && (have >= n || at_end(&e)) ? MSG_WAITALL : 0;
		flags |= chance(r, 4) ? MSG_TRUNC : 0;
	}
	/* Two messages of half the size each: the first must be there. */
	if (kind == R_RECVMMSG && (flags & (MSG_WAITALL | MSG_PEEK)))
		kind = R_RECV;
	p = tell(r, e.side, e.proc, recv_cmd(r, &e, kind, n, flags));
	if (!(flags & MSG_PEEK))
		received(e.c, e.side, p.ret);
}

void step_drain_some(struct run *r)
{
	struct end e;

	if (!pick_end(r, &e) || e.c->tight || !unread(e.c, e.side))
		return;
	received(e.c, e.side, tell(r, e.side, e.proc,
		recv_cmd(r, &e, R_RECV, unread(e.c, e.side), MSG_DONTWAIT)).ret);
}

void step_bulk(struct run *r)
{
	static const int chunks[] = { 700, 4096, 20000, 65536, 300000, 1 << 20 };
	struct end e, p;
	int chunk = chunks[pick(r, 6)], rchunk = chunks[pick(r, 6)];

	if (!pick_end(r, &e) || at_end(&e) || e.c->fin[e.side] || e.c->closed[!e.side] ||
		unread(e.c, e.side) || !pick_peer(r, &e, &p))
		return;
	move_bulk(r, &p, &e, 1 + pick(r, e.c->tight || chunk < 4096 || rchunk < 4096 ? 100000 : 3000000),
		chunk, rchunk);
}

/* What lies unread shows, though not how much of it there is. */
static void look_at_full(struct run *r, const struct end *p, int64_t there)
{
	int inq = tell_quietly(r, p->side, p->proc, CMD(settle, handle(p), -1, 0)).v[0];

	note(r, "    FIONREAD: %s\n", inq > 0 && inq <= there ? "some" : inq ? "more than was sent" : "none");
	tell(r, p->side, p->proc, recv_cmd(r, p, R_RECV, 512, MSG_PEEK | MSG_DONTWAIT));
}

static void drain(struct run *r, const struct end *p, int64_t total, int chunk, int greedy)
{
	struct cmd c = CMD(drain, handle(p), (int)total, chunk < 512 ? 512 : chunk, BULK_POLL, greedy);

	c.key = dir_key(r, p, !p->side);
	c.off = p->c->rcvd[p->side];
	tell(r, p->side, p->proc, c);
	p->c->rcvd[p->side] += total;
}

/* Of what the fill has sent the half is read, as much as there is room for sent again, and then there is no byte more than that. */
static void full(struct run *r, const struct end *e, const struct end *p, struct cmd fill, int64_t there, int chunk)
{
	look_at_full(r, p, there);
	drain(r, p, there / 2, chunk, 0);
	fill.off += there;
	fill.a[2] = 1;
	there += tell(r, e->side, e->proc, fill).ret;
	e->c->sent[e->side] += there;
	drain(r, p, unread(e->c, p->side), chunk, 1);
	tell(r, p->side, p->proc, recv_cmd(r, p, R_RECV, 1, MSG_DONTWAIT));
}

/* Until there is no room: back-pressure must show, and end when the other side has read. */
void step_fill(struct run *r)
{
	struct end e, p;
	struct cmd c;
	struct reply f;
	int kind = pick(r, W_KINDS);

	if (!pick_end(r, &e) || e.c->fin[e.side] || e.c->reset || e.c->closed[!e.side] ||
		unread(e.c, !e.side) || !pick_peer(r, &e, &p) || at_end(&p))
		return;
	tell(r, p.side, p.proc, CMD(setopt, handle(&p), OPT_RCVLOWAT, 1));
	e.c->lowat[p.side] = 1;
	c = CMD(fill, handle(&e), chance(r, 30) ? 1500 : 1 + (int)pick(r, 200000));
	c.a[1] = c.a[1] < 1000 ? 1000 : c.a[1];
	c.key = dir_key(r, &e, e.side);
	c.off = e.c->sent[e.side];
	f = tell(r, e.side, e.proc, c);
	tell(r, e.side, e.proc, CMD(wait, handle(&e), kind, POLLOUT, 0));
	tell(r, p.side, p.proc, CMD(wait, handle(&p), kind, POLLIN, 0));
	if (!e.c->nonblock[e.side]) {
		tell(r, e.side, e.proc, CMD(setopt, handle(&e), OPT_SNDTIMEO, 12));
		tell(r, e.side, e.proc, CMD(wait, handle(&e), kind, POLLOUT, 5));
		tell(r, e.side, e.proc, CMD(setopt, handle(&e), OPT_SNDTIMEO, 0));
	}
	full(r, &e, &p, c, f.ret, 1 << pick(r, 20));
	tell(r, e.side, e.proc, CMD(wait, handle(&e), kind, POLLOUT, 3000));
	settle(r, e.conn);
}

void step_oob(struct run *r)
{
	struct end e, p;
	struct cmd c;

	if (!r->traits.oob || !pick_end(r, &e))
		return;
	/* Whatever lies unread; no urgent byte is sent that way from then on. */
	if (chance(r, 20)) {
		tell(r, e.side, e.proc, CMD(setopt, handle(&e), OPT_OOBINLINE, 1));
		e.c->in_line[e.side] = 1;
		return;
	}
	if (!idle_and_alive(&e) || !pick_peer(r, &e, &p) || unread(e.c, p.side) || e.c->in_line[p.side] || at_end(&p))
		return;
	tell(r, e.side, e.proc, CMD(send, handle(&e), S_SEND, 1, MSG_OOB));
	tell(r, p.side, p.proc, CMD(settle, handle(&p), -1, POLLPRI));
	tell(r, p.side, p.proc, CMD(wait, handle(&p), W_POLL, POLLIN | POLLPRI, 0));
	tell(r, p.side, p.proc, CMD(atmark, handle(&p)));
	tell(r, p.side, p.proc, CMD(recv, handle(&p), R_RECV, 1, MSG_OOB));
	c = CMD(recv, handle(&p), R_RECV, 1, 0);
	send_once(r, &e, S_SEND, 1, 0);
	c.key = dir_key(r, &e, e.side);
	c.off = e.c->rcvd[p.side];
	/* The urgent byte keeps FIONREAD at 0 until it is passed. */
	received(e.c, p.side, tell(r, p.side, p.proc, c).ret);
	settle(r, e.conn);
}

void step_outq(struct run *r)
{
	struct end e;

	if (pick_end(r, &e) && !e.c->tight && !e.c->reset)
		tell(r, e.side, e.proc, CMD(outq, handle(&e)));
}

void step_refused(struct run *r)
{
	if (chance(r, 30))
		tell(r, CLIENT, pick_proc(r, CLIENT), CMD(refused, 1, pick(r, 2)));
}
