/*
 * From plain TCP to a stream: who counts its bytes, which connections are worth it, the handshake a step at a time, and
 * each direction's change of hands.
 */
#include "socket.h"

#include "budget.h"
#include "clock.h"
#include "family.h"
#include "log.h"
#include "process.h"
#include "profile.h"
#include "proof.h"
#include "section_lock.h"
#include "settings.h"
#include "signals.h"
#include "stats.h"
#include "sys.h"
#include "wait.h"

#include <fcntl.h>
#include <netinet/tcp.h>

#ifndef TCP_INQ
#define TCP_INQ 36
#endif

enum { GAP_FIRST_US = 20, GAP_MOST_US = 10000, TRIES_MOST = 200, TELL_BYTES = 4096, TELL_MOST = 65536 };

/* ---- handing a direction to the stream */

static void hand_over(struct sock *s, int fd, struct stream *st, enum direction d)
{
	uint64_t n = half_bytes(&s->half[d]);

	if (d == TX)
		stream_take_tx(st, fd, n);
	else
		stream_take_rx(st, fd, n);
	store_rel(s->half[d].away, AWAY_ON);
}

/* A direction changes hands while no call of it is under way; whoever comes meanwhile waits here. */
static void try_switch(struct sock *s, int fd, struct stream *st, enum direction d)
{
	struct half *h = &s->half[d];

	if (load_rlx(h->away) || load_rlx(h->never))
		return;
	store_rel(h->away, AWAY_SWITCHING);
	full_fence(); /* MUTATE: fence_switch */
	if (!(load_acq(h->plain) & BUSY_MASK)) { /* MUTATE: switch_recheck */
		enum proof m = d == TX ? proof_tx(fd, half_bytes(h), s->role) : proof_rx(fd, half_bytes(h));
		if (m == PROOF_MATCH) {
			hand_over(s, fd, st, d);
		} else if (m == PROOF_DIFFERS) {
			store_rlx(h->never, true);
			fallback(FALLBACK_UNCOUNTED);
		}
	}
	if (!half_is_on(h))
		store_rel(h->away, 0);
}

static uint64_t carried(struct sock *s)
{
	return half_bytes(&s->half[TX]) + half_bytes(&s->half[RX]);
}

/*
 * A receive that blocks can spin; after a wait for the descriptor it hardly blocks.  Small messages without an answer
 * save a system call each at both ends.
 */
static bool shows_worth(struct sock *s, enum direction d, uint64_t upcoming)
{
	unsigned n = d == TX ? load_rlx(s->in_row) + 1 : 0;

	store_rlx(s->in_row, n);
	return upcoming >= LARGE || n >= IN_ROW || (d == RX && !load_rlx(s->nonblock) && !load_rlx(s->epolls));
}

/*
 * How many bytes the direction may carry before a call looks at the connection again: more the longer it has been plain.
 * Both directions count for the next try, so the two together must not reach it unseen.
 */
static uint64_t quiet_bytes(struct sock *s, struct half *h)
{
	bool tries = load_rlx(s->worth) && !load_rlx(s->never) && !load_rlx(h->never);
	uint64_t sixteenth = half_bytes(h) / 16;

	if (tries)
		return carried(s) + 2 * TELL_BYTES > load_rlx(s->next_try) ? 0 : TELL_BYTES;
	return sixteenth < TELL_BYTES ? TELL_BYTES : sixteenth > TELL_MOST ? TELL_MOST : sixteenth;
}

static void tell_plain(struct sock *s, enum direction d, uint64_t all)
{
	if ((uint32_t)all - load_rlx(s->told[d]) >= TELL_BYTES)
		sock_tell_plain(s, d);
}

static void look(struct sock *s, int fd, enum direction d, uint64_t upcoming)
{
	struct half *h = &s->half[d];
	uint64_t all = half_bytes(h);

	tell_plain(s, d, all);
	if (load_rlx(s->worth))
		store_rlx(s->in_row, 0);
	else if (shows_worth(s, d, upcoming))
		sock_is_worth(s);
	if (load_rlx(s->worth) && !load_rlx(s->never) && carried(s) + upcoming >= load_rlx(s->next_try))
		sock_advance(s, fd, upcoming);
	store_rlx(h->look_at, (uint32_t)(all + quiet_bytes(s, h)));
}

bool sock_plain_begin(struct sock *s, int fd, enum direction d, uint64_t upcoming)
{
	struct half *h = &s->half[d];

	if (half_is_on(h))
		return false;
	look(s, fd, d, upcoming);
	for (;;) {
		count_64(&h->plain, 1); /* orders with `away` */
		if (!load_acq(h->away)) /* MUTATE: plain_recheck */
			return true;
		count_64(&h->plain, (uint64_t)-1);
		if (half_is_on(h))
			return false;
		cpu_relax();
	}
}

/* An error may be one of the stream that has the other direction: what ended that is not what the kernel says. */
ssize_t plain_look(struct sock *s, int fd, enum direction d, ssize_t r)
{
	struct stream *st = load_acq(s->stream);

	if (r >= LARGE)
		sock_is_worth(s);
	return d == RX && r < 0 && st && stream_reset_is_end(st, fd, -errno) ? 0 : r;
}

static void let_go(struct sock *s, enum direction d, uint64_t moved)
{
	count_64(&s->half[d].plain, (moved << BUSY_BITS) - 1);
	if (!atomic_load(&s->refs))
		sock_end(s);
}

ssize_t plain_leave_looking(struct sock *s, int fd, enum direction d, ssize_t r)
{
	r = plain_look(s, fd, d, r);
	let_go(s, d, r > 0 ? (uint64_t)r : 0);
	return r;
}

ssize_t plain_end(struct sock *s, ssize_t r)
{
	sock_end(s);
	return r;
}

struct sock *sock_enter_look(int fd, struct fd_look l, enum direction d)
{
	struct sock *s = sock_of(l.entry);

	if (!l.at) {
		store_rlx(s->half[d].look_at, (uint32_t)half_bytes(&s->half[d]));
		let_go(s, d, 0);
	}
	return sock_enter_entry(fd, l.entry);
}

void sock_plain_moved(struct sock *s, enum direction d, ssize_t n)
{
	struct half *h = &s->half[d];
	uint64_t moved = n > 0 ? (uint64_t)n : 0;
	uint64_t all = (count_add_64(&h->plain, (moved << BUSY_BITS) - 1) >> BUSY_BITS) + moved;

	tell_plain(s, d, all);
}

void sock_plain_end(struct sock *s, enum direction d, ssize_t n)
{
	if (n >= LARGE)
		sock_is_worth(s);
	sock_plain_moved(s, d, n);
}

/* ---- the handshake, a step at a time */

static void try_again_at(struct sock *s, uint64_t bytes)
{
	store_rlx(s->next_try, bytes);
}

/* Often at first, then ever more rarely: the peer may have no shim. */
static void try_again_later(struct sock *s)
{
	s->retry_gap = s->retry_gap ? s->retry_gap * 2 : us_to_ticks(GAP_FIRST_US);
	if (s->retry_gap > us_to_ticks(GAP_MOST_US))
		s->retry_gap = us_to_ticks(GAP_MOST_US);
	store_rlx(s->next_ticks, clock_ticks() + s->retry_gap);
}

static int option(int fd, int level, int name, int otherwise)
{
	int v = 0;
	socklen_t len = sizeof(v);

	return sys_call(SYS_getsockopt, fd, level, name, &v, &len) ? otherwise : v;
}

/* A buffer size of the program's own choice bounds the ring as it bounds TCP. */
static uint64_t capacity_asked(int fd, uint64_t ring)
{
	enum { SO_BUF_LOCK_ = 72, SNDBUF_LOCKED = 1 };

	if (!(option(fd, SOL_SOCKET, SO_BUF_LOCK_, 0) & SNDBUF_LOCKED))
		return ring;
	uint64_t snd = (uint64_t)option(fd, SOL_SOCKET, SO_SNDBUF, 0);
	return snd < 65536 ? 65536 : snd < ring ? snd : ring;
}

void sock_read_capacity(int fd, struct stream *st)
{
	store_rlx(st->side->limit, capacity_asked(fd, st->ring_bytes));
}

bool sock_is_abortive(int fd)
{
	struct linger l = { 0 };
	socklen_t len = sizeof(l);

	return !sys_call(SYS_getsockopt, fd, SOL_SOCKET, SO_LINGER, &l, &len) && l.l_onoff && !l.l_linger;
}

void sock_read_time_out(int fd, struct stream *st)
{
	store_rlx(st->timed, stream_time_out_ns(fd) != 0);
}

void sock_read_options(struct sock *s, int fd, struct stream *st)
{
	long fl = sys_call(SYS_fcntl, fd, F_GETFL);
	int on = 1;

	if (fl >= 0) {
		store_rlx(s->nonblock, !!(fl & O_NONBLOCK));
		store_rlx(st->nonblock, !!(fl & O_NONBLOCK));
	}
	if (fl >= 0 && (fl & O_ASYNC))
		sock_make_plain(s, fd, FALLBACK_ASYNC);
	if (option(fd, SOL_SOCKET, SO_OOBINLINE, 0))
		sock_make_plain(s, fd, FALLBACK_OOB);
	stream_set_abortive(st, sock_is_abortive(fd));
	sock_read_time_out(fd, st);
	store_rlx(st->cork, !!option(fd, IPPROTO_TCP, TCP_CORK, 0));
	st->inq = !!option(fd, IPPROTO_TCP, TCP_INQ, 0);
	sock_read_capacity(fd, st);
	stream_set_lowat(st, fd, option(fd, SOL_SOCKET, SO_RCVLOWAT, 1));
	store_rlx(s->nodelay, !!option(fd, IPPROTO_TCP, TCP_NODELAY, 0));
	/* from here on the kernel must not hold doorbells back */
	sys_call(SYS_setsockopt, fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static void call_abandoned(void *s)
{
	sock_release(s);
}

static void adopt(struct sock *s, int fd, struct stream *st)
{
	st->owner = s;
	st->let_go = call_abandoned;
	store_rlx(wait_any_stream, true);
	store_rel(s->stream, st);
	sock_read_options(s, fd, st);
	store_rlx(st->watched, load_rlx(s->epolls) > 0);
	/* a wait that sleeps at this moment does not know of the stream: ring for everything until it is out */
	stream_set_edge(st, load_rlx(s->waiters) || load_rlx(s->epolls) || waits_are_blind());
	if (load_rlx(s->epolls))
		wait_stream_adopted();
	stream_adopted(st, fd);
	sock_look_soon(s);
	stat_inc(STAT_net_upgraded);
	stat_inc(st->ops->stat);
	probe(PROBE_UPGRADE, (uint64_t)fd, 0, 0);
	log_info("fd %d: %s with pid %u after %llu bytes", fd, st->ops->name, st->peer_pid,
		(unsigned long long)carried(s));
}

enum { TRIM_EVERY_US = 100000 };

/* Connections with nothing under way give back what they do not need. */
static void trim_all(uint64_t idle_us)
{
	static _Atomic uint64_t last;
	uint64_t now = clock_ticks();

	if (now - load_rlx(last) < us_to_ticks(TRIM_EVERY_US))
		return;
	store_rlx(last, now);
	for (int fd = 0; fd <= atomic_load(&fd_highest); fd++) {
		struct sock *s = sock_enter(fd);
		struct stream *st = s ? load_acq(s->stream) : NULL;
		if (st)
			stream_trim(st, us_to_ticks(idle_us));
		if (s)
			sock_leave(s);
	}
}

void sock_trim_idle(void)
{
	trim_all(DOZE_FIRST_S * 1000000);
}

static bool over_memory_cap(void)
{
	if (budget_fits(SHM_LEAST, settings.net_memory))
		return false;
	trim_all(0);
	if (budget_fits(SHM_LEAST, settings.net_memory))
		return false;
	fallback(FALLBACK_MEMORY_CAP);
	return true;
}

/* On this host: shared memory. */
static int meet_here(struct sock *s, struct stream **ret_stream)
{
	if (!settings.shm)
		return s->role ? -ENOENT : -EAGAIN;
	if (s->role)
		return rendezvous_call(&s->tuple, ret_stream);
	if (s->rv.listener >= 0)
		return rendezvous_take(&s->rv, &s->tuple, ret_stream);
	int r = rendezvous_open(&s->tuple, &s->rv);
	return r ? r : -EAGAIN;
}

/* On another: RDMA.  A call that found nobody is made again when more has been carried. */
static int meet_there(struct sock *s, struct stream **ret_stream)
{
	struct meeting *m = load_rlx(s->meeting);

	if (!m) {
		if (!verbs_may_meet(&s->tuple) || verbs_meet_open(&s->tuple, s->role, &m))
			return -ENOENT;
		store_rlx(s->meeting, m);
		return -EAGAIN;
	}
	int r = verbs_meet_take(m, s->role, ret_stream);
	if (r == -EAGAIN)
		return r;
	store_rlx(s->meeting, NULL);
	if (r)
		verbs_meet_close(m);
	return r == -EPERM ? -ENOENT : r;
}

/* -EAGAIN: look again soon; -ENOENT: when more has been carried. */
static int meet(struct sock *s, struct stream **ret_stream)
{
	int here = load_rlx(s->meeting) && s->role ? -ENOENT : meet_here(s, ret_stream);

	if (here != -ENOENT && here != -EAGAIN)
		return here;
	int there = meet_there(s, ret_stream);
	return there == -ENOENT ? here : there;
}

static bool still_shared(struct sock *s, int fd)
{
	if (!load_rlx(s->forked))
		return false;
	if (family_holds_too(fd)) {
		fallback(FALLBACK_FORKED);
		return true;
	}
	store_rlx(s->forked, false);
	return false;
}

static void find_peer(struct sock *s, int fd)
{
	struct stream *st = NULL;

	stats_activate();
	profile_activate();
	clock_init();
	if (!s->tuple.connect_port) {
		int r = tuple_of(fd, s->role, &s->tuple);
		if (r) {
			if (r == -EINVAL)
				fallback(FALLBACK_SELF_CONNECT);
			store_rlx(s->never, true);
			return;
		}
	}
	if (still_shared(s, fd) || over_memory_cap()) {
		try_again_at(s, 2 * carried(s) + 1);
		return;
	}
	int r = meet(s, &st);
	if (!r) {
		adopt(s, fd, st);
		sock_stop_meeting(s);
	} else if (r == -EAGAIN) {
		if (carried(s) < 64 * settings.net_threshold || ++s->tries < TRIES_MOST)
			try_again_later(s);
		else
			store_rlx(s->never, true);
	} else if (r == -EPERM || r == -ENOMEM) {
		store_rlx(s->never, true);
	} else {
		try_again_at(s, 2 * carried(s) + 1);
	}
	if (load_rlx(s->never))
		sock_stop_meeting(s);
}

static void step(struct sock *s, int fd)
{
	struct stream *st = load_acq(s->stream);

	if (!st)
		find_peer(s, fd);
	st = load_acq(s->stream);
	if (!st)
		return;
	try_switch(s, fd, st, TX);
	try_switch(s, fd, st, RX);
}

/* A child of vfork must leave the parent's memory alone; and a signal handler may have interrupted malloc, which a step may call. */
static bool may_advance(void)
{
	return process_is_owner() && !signal_in_handler() && !(atomic_load_explicit(&dlaccel_stats.off, memory_order_relaxed) & 1);
}

/* One step, by one thread at a time; whoever comes meanwhile goes on. */
void sock_advance(struct sock *s, int fd, uint64_t upcoming)
{
	struct stream *st = load_acq(s->stream);

	if (!st && clock_ticks() < load_rlx(s->next_ticks))
		return;
	section_enter(); /* no handler may leave from here by longjmp */
	if (!atomic_exchange(&s->advancing, true)) {
		if (may_advance())
			step(s, fd);
		store_rel(s->advancing, false);
	}
	section_leave();
}

void sock_make_plain(struct sock *s, int fd, int why)
{
	struct stream *st = load_acq(s->stream);

	if (!atomic_exchange(&s->never, true))
		fallback((enum stat_id)why);
	if (st)
		stream_make_plain(st, fd);
}
