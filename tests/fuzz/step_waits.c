/* Steps that wait: readiness, blocked calls, time-outs, signals. */
#include "step_model.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

void step_wait(struct run *r)
{
	static const short sets[] = { POLLIN, POLLOUT, POLLIN | POLLOUT, POLLIN | POLLRDHUP,
		POLLPRI, POLLIN | POLLOUT | POLLPRI | POLLRDHUP, 0 };
	struct end e;

	if (pick_end(r, &e) && !e.c->tight)
		tell(r, e.side, e.proc, CMD(wait, handle(&e), pick(r, W_KINDS), sets[pick(r, 7)],
			chance(r, 70) ? 0 : 2));
}

/* A time-out on a socket with nothing to read. */
void step_rcvtimeo(struct run *r)
{
	struct end e;

	/* io_uring's work for the task interrupts a call with a time-out, when it pleases. */
	if (!pick_end(r, &e) || !idle_and_alive(&e) || e.c->nonblock[e.side] || r->traits.uring)
		return;
	tell(r, e.side, e.proc, CMD(setopt, handle(&e), OPT_RCVTIMEO, 12));
	tell(r, e.side, e.proc, recv_cmd(r, &e, pick(r, R_KINDS), 1 + pick(r, 2000), 0));
	tell(r, e.side, e.proc, CMD(setopt, handle(&e), OPT_RCVTIMEO, 0));
}

void step_ep_create(struct run *r)
{
	int side = pick(r, 2), proc = pick_proc(r, side), i = pick(r, MAX_EPOLLS);

	if (r->side[side].ep[proc][i])
		return;
	tell(r, side, proc, CMD(ep_create, i, pick(r, 2)));
	r->side[side].ep[proc][i] = 1;
}

void step_ep_ctl(struct run *r)
{
	static const unsigned sets[] = { EPOLLIN, EPOLLIN | EPOLLET, EPOLLIN | EPOLLOUT | EPOLLET,
		EPOLLIN | EPOLLRDHUP, EPOLLIN | EPOLLRDHUP | EPOLLET, EPOLLIN | EPOLLONESHOT,
		EPOLLOUT, EPOLLIN | EPOLLOUT, EPOLLIN | EPOLLEXCLUSIVE,
		EPOLLIN | EPOLLET | EPOLLEXCLUSIVE, EPOLLIN | EPOLLET | EPOLLONESHOT, 0 };
	static const int ops[] = { EPOLL_CTL_ADD, EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL };
	struct end e;
	int i;

	if (!pick_end(r, &e) || e.c->tight || (i = pick_epoll(r, e.side, e.proc)) < 0)
		return;
	tell(r, e.side, e.proc, CMD(ep_ctl, i, ops[pick(r, 4)], handle(&e), sets[pick(r, 12)],
		r->traits.raw && chance(r, 30)));
}

void step_ep_nest(struct run *r)
{
	int side = pick(r, 2), proc = pick_proc(r, side);
	int a = pick_epoll(r, side, proc), b = pick_epoll(r, side, proc);

	if (a >= 0 && b >= 0)
		tell(r, side, proc, CMD(ep_nest, a, chance(r, 70) ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, b,
			EPOLLIN | (chance(r, 40) ? EPOLLET : 0)));
}

void step_ep_wait(struct run *r)
{
	int side = pick(r, 2), proc = pick_proc(r, side), i = pick_epoll(r, side, proc);
	int kind = pick(r, EW_KINDS);

	if (i < 0)
		return;
	if (kind == EW_SYSCALL && !r->traits.raw)
		kind = EW_WAIT;
	tell(r, side, proc, CMD(ep_wait, i, kind, chance(r, 70) ? 0 : 2, 16));
}

void step_ep_close(struct run *r)
{
	int side = pick(r, 2), proc = pick_proc(r, side), i = pick_epoll(r, side, proc);

	if (i < 0 || !chance(r, 30))
		return;
	tell(r, side, proc, CMD(ep_close, i));
	r->side[side].ep[proc][i] = 0;
}

/* Starts a call that blocks, on thread 1 of the reader. */
static void start_blocked(struct run *r, const struct end *e, int how, int n)
{
	struct cmd c;
	int ep = pick_epoll(r, e->side, e->proc);

	if (how == 0) {
		c = recv_cmd(r, e, pick(r, R_KINDS), n, 0);
	} else if (how == 1 || ep < 0) {
		c = CMD(wait, handle(e), pick(r, W_KINDS), POLLIN, -1);
	} else {
		tell(r, e->side, e->proc, CMD(ep_ctl, ep, EPOLL_CTL_DEL, handle(e), 0));
		tell(r, e->side, e->proc, CMD(ep_ctl, ep, EPOLL_CTL_ADD, handle(e),
			EPOLLIN | (chance(r, 40) ? EPOLLET : 0)));
		tell(r, e->side, e->proc, CMD(ep_wait, ep, EW_WAIT, 0, 16));
		c = CMD(wait, handle(e), W_POLL, POLLIN, -1);
	}
	c.thread = 1;
	tell(r, e->side, e->proc, c);
}

static struct reply join(struct run *r, const struct end *e)
{
	return tell(r, e->side, e->proc, CMD(join, 1, 0));
}

static void close_all_of(struct run *r, const struct end *e)
{
	for (int p = 0; p < MAX_PROCS; p++)
		for (int k = 0; k < HANDLES_PER_CONN; k++)
			if (e->c->has[e->side][p][k]) {
				tell(r, e->side, p, CMD(close, e->conn * HANDLES_PER_CONN + k, 0));
				e->c->has[e->side][p][k] = 0;
			}
}

/* A reader sleeps (or still spins); then the peer sends, ends or closes. */
void step_blocked(struct run *r)
{
	struct end e, p;
	int how = pick(r, 3), event = pick(r, 10), n = 1 + pick(r, 4000);
	struct reply got;

	if (!pick_end(r, &e) || !idle_and_alive(&e) || !pick_peer(r, &e, &p))
		return;
	if (how == 0 && e.c->nonblock[e.side])
		how = 1;
	start_blocked(r, &e, how, how ? n : 1 + (int)pick(r, 6000));
	if (chance(r, 60))
		tell_quietly(r, e.side, e.proc, CMD(asleep, 1));
	if (event < 8) {
		send_once(r, &p, whole_send(r), n + e.c->lowat[e.side], 0);
	} else if (event == 8) {
		tell(r, p.side, p.proc, CMD(shutdown, handle(&p), SHUT_WR));
		e.c->fin[p.side] = 1;
	} else {
		close_all_of(r, &p);
	}
	got = join(r, &e);
	if (!how)
		received(e.c, e.side, got.ret);
	if (event > 8)
		side_closed(r, e.conn, p.side);
	else
		settle(r, e.conn);
}

/* One recv that wants all of what comes in two parts. */
void step_waitall(struct run *r)
{
	struct end e, p;
	int a = 1 + pick(r, 3000), b = 1 + pick(r, 3000);
	struct cmd c;

	/* With a mark, whether the second part wakes the reader depends on when it took the first. */
	if (!pick_end(r, &e) || !idle_and_alive(&e) || !pick_peer(r, &e, &p) ||
		e.c->nonblock[e.side] || e.c->lowat[e.side] > 1)
		return;
	c = recv_cmd(r, &e, pick(r, R_RECVMMSG), a + b, MSG_WAITALL);
	c.thread = 1;
	tell(r, e.side, e.proc, c);
	send_once(r, &p, whole_send(r), a, 0);
	if (chance(r, 50))
		tell_quietly(r, e.side, e.proc, CMD(asleep, 1));
	send_once(r, &p, whole_send(r), b, 0);
	received(e.c, e.side, join(r, &e).ret);
	settle(r, e.conn);
}

/* A signal for a reader that sleeps: EINTR, or not noticed, as its handler says. */
void step_signalled(struct run *r)
{
	struct end e, p;
	int restart = pick(r, 2), polls = pick(r, 2), n = 1 + pick(r, 2000);
	struct cmd c;

	if (!pick_end(r, &e) || !idle_and_alive(&e) || !pick_peer(r, &e, &p) ||
		e.c->nonblock[e.side])
		return;
	c = polls ? CMD(wait, handle(&e), pick(r, W_KINDS), POLLIN, -1) :
		recv_cmd(r, &e, pick(r, R_SPLICE), n, 0);
	c.thread = 1;
	tell(r, e.side, e.proc, c);
	tell_quietly(r, e.side, e.proc, CMD(asleep, 1));
	tell(r, e.side, e.proc, CMD(signal, 1, restart));
	if (restart && !polls)
		send_once(r, &p, whole_send(r), n + e.c->lowat[e.side], 0);
	received(e.c, e.side, polls ? 0 : join(r, &e).ret);
	if (polls)
		join(r, &e);
	settle(r, e.conn);
}

void step_uring(struct run *r)
{
	struct end e;
	int low;

	if (!r->traits.uring || !pick_end(r, &e) || e.c->tight || e.c->reset)
		return;
	low = unread(e.c, e.side) >= (uint64_t)e.c->lowat[e.side];
	tell(r, e.side, e.proc, CMD(uring_poll, handle(&e), low ? POLLIN : POLLOUT));
}
