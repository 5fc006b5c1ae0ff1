/*
 * Streams between hosts under faults, over the simulated devices: two ends, each with one or two threads that
 * send and one that receives, and the progress thread's work beside them.  Whatever fails, at whatever moment: each
 * end has what each of the other's threads was told to have sent, in order, once, and then the end of the stream; and
 * nothing is written into a buffer whose call has returned, whether what came, a signal or a time-out has ended it.  Against a peer that neither reads nor answers, a call
 * that must not block does not.  Where the fault passes the two ends meet again, and fail again.
 *
 *   verbs-faults [FIRST:LAST[:STEP]]     seeds
 *   verbs-starved ...                    with threads that lose their cores (starve.h)
 */
#include "again.h"
#include "starve.h"

#include "clock.h"
#include "process.h"
#include "real.h"
#include "settings.h"
#include "signals.h"
#include "tcp_pair.h"
#include "verbs_io.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { TOTAL = 1500000, CHAT = 200000, CREDIT = 500, SENDERS = 2, THREADS = 2 * (SENDERS + 1), ROOM = 400000, IN_PLACE = 65536, GUARD = 64, EMPTY = 0x5a, GONE = 0xa5, HUNG_S = 90, ASIDE_MOST = 16 };

enum fault { NO_FAULT, HOLE, LONG_HOLE, BROKEN, PORT, REMOVED, LOST_ACKS, STOPPED, AGAIN, FAULTS };
static const char *const fault_names[] = { "nothing", "hole", "long hole", "broken", "port", "removed", "lost acks", "stopped", "again" };

struct sender {
	struct end *end;
	uint8_t tag; /* the high bit of all its bytes */
	uint64_t dice;
	uint8_t *said; /* what its sends said to have taken */
	size_t sent, total;
};

struct end {
	int fd, role;
	struct sim_end sim;
	struct stream *s;
	struct sender senders[SENDERS];
	_Atomic unsigned sending;
	uint64_t recv_dice;
	bool blocking, chats; /* chats: small messages, each side waits for the other's; its receiver polls */
	bool calms;           /* and goes from frames to plain TCP and back as often as it can */
	bool loops;           /* sends and receives under one lock, as a loop does, and waits level-triggered */
	bool stubborn;        /* and reads nothing before all is sent */
	bool disturbed;       /* signals end its receives, or time does */
	bool lazy;            /* computes between sends, so that the other end waits */
	_Atomic pthread_t receiver;
	_Atomic bool receiving;
	pthread_mutex_t turn;
	uint8_t *had; /* what its receives gave */
	_Atomic size_t got;
};

static struct end ends[2];
static uint64_t seed, ring_bytes;
static enum fault fault;
static struct { unsigned failed[FAULTS], runs[FAULTS], returned; } tally;
static _Atomic unsigned running;

static void __attribute__((noreturn, format(printf, 1, 2))) wrong(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "seed %llu, %s: ", (unsigned long long)seed, fault_names[fault]);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	_exit(1);
}

static unsigned roll(uint64_t *dice, unsigned sides)
{
	*dice = *dice * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(*dice >> 33) % sides;
}

static struct link *newest(const struct end *e)
{
	return link_out(verbs_of(e->s));
}

/* ---- two ends */

static void connect_tcp(void)
{
	int fd[2];

	if (!tcp_pair(fd))
		wrong("no connection: %s", strerror(errno));
	for (int i = 0; i < 2; i++)
		ends[i].fd = fd[i];
}

static void choose_buffers(uint64_t *dice)
{
	int bytes = fault == STOPPED ? 65536 : 65536 << roll(dice, 4);

	for (int i = 0; i < 2 && (roll(dice, 2) || fault == STOPPED); i++) {
		setsockopt(ends[i].fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
		setsockopt(ends[!i].fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	}
}

static void share_out(struct end *e, bool alone, uint64_t dice)
{
	size_t total = e->chats ? CHAT : TOTAL;

	e->sending = SENDERS;
	for (int i = 0; i < SENDERS; i++) {
		struct sender *s = &e->senders[i];
		s->end = e;
		s->tag = i ? 0x80 : 0;
		s->dice = dice + ((uint64_t)i << 40);
		s->sent = 0;
		s->total = alone ? (i ? 0 : total) : total / SENDERS;
	}
}

static void make_end(int i, bool chats, uint64_t *dice)
{
	static char no_meeting[4096];
	struct end *e = &ends[i];
	struct link *l;

	e->role = i;
	e->recv_dice = seed * 4 + 2 + (unsigned)i;
	e->blocking = roll(dice, 2);
	e->chats = chats;
	e->calms = chats && seed / FAULTS % 2;
	e->got = 0;
	share_out(e, roll(dice, 2) || chats, seed * 4 + (unsigned)i);
	e->loops = !e->blocking && seed / FAULTS % 2;
	e->stubborn = e->loops && i && !chats && seed / FAULTS % 4 == 3;
	e->sim = (struct sim_end){ .id = sim_id_create(i) };
	struct device *d;
	if (device_of(e->sim.id, &d) || link_create(d, e->sim.id, (struct meeting *)no_meeting, ring_bytes, false, &l))
		wrong("no link");
	e->sim.links = l->links;
	fcntl(e->fd, F_SETFL, e->blocking ? 0 : O_NONBLOCK);
	e->disturbed = e->blocking && !chats && seed / FAULTS % 3 == 1;
	e->lazy = !chats && seed / FAULTS % 2;
	if (e->disturbed && seed / FAULTS % 2)
		setsockopt(e->fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){ .tv_usec = 2000 }, sizeof(struct timeval));
}

static void make_ends(uint64_t *dice, bool framed)
{
	static const uint8_t mark[2][MARK_BYTES] = { "from connecting", "from accepting " };

	connect_tcp();
	choose_buffers(dice);
	bool chats = fault != STOPPED && !roll(dice, 3);
	ring_bytes = UINT64_C(1) << (RING_SHIFT_LEAST + 2 * roll(dice, 3));
	settings.spin = chats ? 2000 : 50;
	for (int i = 0; i < 2; i++)
		make_end(i, chats, dice);
	sim_connect(ends[0].sim.id, ends[1].sim.id);
	for (int i = 0; i < 2; i++) {
		struct link *l = &ends[i].sim.links->link[0], *peer = &ends[!i].sim.links->link[0];
		l->peer_ring = (uintptr_t)peer->ring;
		l->peer_rkey = peer->rkey;
		l->intro_here = l->adverts = l->calms = true;
		store_rel(l->state, LINK_UP);
		if (verbs_stream_create(l, i, mark, &ends[i].s))
			wrong("no stream");
		store_rlx(ends[i].s->nonblock, !ends[i].blocking);
		store_rlx(ends[i].s->watched, ends[i].loops);
		verbs_of(ends[i].s)->calm_after = 1 + seed / FAULTS % 4; /* doubled each time */
	}
	for (int i = 0; i < 2; i++) {
		store_rlx(verbs_of(ends[i].s)->frames_pay, framed);
		stream_take_tx(ends[i].s, ends[i].fd, 0);
		stream_take_rx(ends[i].s, ends[i].fd, 0);
	}
}

/* Most conversations are in frames from their first byte on; the others' receivers find on their way that it pays. */
static void agree_first(void)
{
	for (int i = 0; i < 2; i++)
		while (!load_acq(newest(&ends[i])->peer_counted))
			link_poll(newest(&ends[i]));
}

static void end_ends(void)
{
	for (int i = 0; i < 2; i++) {
		struct verbs_stream *vs = verbs_of(ends[i].s);
		links_destroy(vs->links);
		sim_id_destroy(ends[i].sim.id);
		munmap(vs->v, sizeof(*vs->v));
		free(vs);
		close(ends[i].fd);
	}
	sim_reap();
}

/* ---- the program's threads */

static void wait_for(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	int r;

	while ((r = poll(&p, 1, HUNG_S * 1000)) < 0 && errno == EINTR)
		;
	if (r != 1)
		wrong("nothing for %d s", HUNG_S);
}

static size_t some(const struct end *e, uint64_t *dice)
{
	static const unsigned most[] = { 40, 9000, 60000, ROOM };

	if (e->calms) /* now and then what frames pay for */
		return roll(dice, 8) ? 1 + roll(dice, roll(dice, 2) ? 40 : 600) : 8193 + roll(dice, 800);
	unsigned m = most[roll(dice, e->chats ? 2 : 4)];

	return m == ROOM && !roll(dice, 3) ? IN_PLACE : 1 + roll(dice, m);
}

/* A program's buffers have few lengths: those that come back are advertised. */
static size_t some_room(const struct end *e, uint64_t *dice)
{
	static const unsigned rooms[] = { IN_PLACE, 200000, ROOM };

	return e->chats || roll(dice, e->lazy ? 8 : 2) == 1 ? some(e, dice) : rooms[roll(dice, 3)];
}

static void nap(void)
{
	struct timespec t = { .tv_nsec = 10000 };

	nanosleep(&t, NULL);
}

/* As poll does for a program: what the kernel is not rung for is looked at. */
static void wait_for_input(const struct end *e)
{
	stream_sleep_begin(e->s);
	if (stream_wait_ready(e->s) != READY_YES)
		wait_for(e->fd, POLLIN);
	stream_sleep_end(e->s);
}

/* New bytes for every try: only what the call says to have taken may arrive. */
static void fill(uint8_t *p, size_t n, uint8_t tag, uint64_t *dice)
{
	uint64_t x = ((uint64_t)roll(dice, 1 << 30) << 30) | roll(dice, 1 << 30);

	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)((x += 0x9e3779b97f4a7c15) >> 57) | tag;
}

static struct stream_opts options(int flags)
{
	return (struct stream_opts){ .flags = flags | MSG_NOSIGNAL, .mark = signal_mark() };
}

static void take_turn(struct end *e)
{
	if (e->loops)
		pthread_mutex_lock(&e->turn);
}

static void end_turn(struct end *e)
{
	if (e->loops)
		pthread_mutex_unlock(&e->turn);
}

/* A preamble and a block in one call, or one piece. */
static ssize_t send_piece(struct sender *s, uint8_t *buf, size_t n, int flags)
{
	size_t head = n > 48 && !roll(&s->dice, 4) ? 48 : n;
	struct iovec v[] = { { buf, head }, { buf + head, n - head } };

	take_turn(s->end);
	ssize_t r = stream_send(s->end->s, s->end->fd, v, 2, options(flags));
	end_turn(s->end);
	return r;
}

static void last_closes(struct end *e)
{
	if (--e->sending)
		return;
	stream_shutdown_write(e->s);
	shutdown(e->fd, SHUT_WR);
}

/* False: not now. */
static bool send_some(struct sender *s, uint8_t *buf, size_t n, int flags)
{
	const struct end *e = s->end;

	if (n > s->total - s->sent)
		n = s->total - s->sent;
	fill(buf, n, s->tag, &s->dice);
	ssize_t r = send_piece(s, buf, n, flags);
	if (r < 0 && r != -EAGAIN)
		wrong("end %d: send at %zu: %s", e->role, s->sent, strerror((int)-r));
	if (r > (ssize_t)n || !r)
		wrong("end %d: %zd of %zu sent", e->role, r, n);
	if (r > 0) {
		memcpy(s->said + s->sent, buf, (size_t)r);
		s->sent += (size_t)r;
	}
	memset(buf, GONE, n);
	return r > 0;
}

static void compute(uint64_t *dice)
{
	struct timespec t = { .tv_nsec = roll(dice, 1500000) };

	nanosleep(&t, NULL);
}

/* Not twice as late each time. */
static void calms_soon(struct sender *s)
{
	verbs_of(s->end->s)->calm_after = 1 + roll(&s->dice, 4);
}

static void *sends(void *arg)
{
	struct sender *s = arg;
	struct end *e = s->end;
	uint8_t *buf = malloc(ROOM);

	starve_begin(seed, (unsigned)(e->role + 2 * (s - e->senders)));
	while (s->sent < s->total) {
		while (e->chats && s->sent > e->got + CREDIT)
			nap();
		if (e->calms)
			calms_soon(s);
		if (e->lazy)
			compute(&s->dice);
		size_t n = e->stubborn ? ROOM : e->lazy ? IN_PLACE + roll(&s->dice, 100000) : some(e, &s->dice);
		if (!send_some(s, buf, n, roll(&s->dice, 8) ? 0 : MSG_DONTWAIT))
			wait_for(e->fd, POLLOUT);
	}
	last_closes(e);
	free(buf);
	running--;
	return NULL;
}

static void must_be_empty(const struct end *e, const uint8_t *buf, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++)
		if (buf[i] != EMPTY)
			wrong("end %d: byte %zu of a buffer written behind its call, at %zu", e->role, i, e->got);
}

static ssize_t receive(struct end *e, uint8_t *buf, size_t n)
{
	struct iovec v = { buf, n };
	int flags = (int[]){ 0, 0, 0, 0, 0, MSG_DONTWAIT, e->chats ? 0 : MSG_WAITALL, MSG_PEEK }[roll(&e->recv_dice, 8)];
	ssize_t k = stream_recv(e->s, e->fd, &v, 1, options(flags));

	if (flags != MSG_PEEK)
		return k;
	ssize_t r = stream_recv(e->s, e->fd, &v, 1, options(0));
	if (k > 0 && r < (k < (ssize_t)n ? k : (ssize_t)n) && !(e->disturbed && r < 0))
		wrong("end %d: %zd peeked, then %zd", e->role, k, r);
	return r;
}

static void *receives(void *arg)
{
	struct end *e = arg;
	uint8_t *buf = malloc(ROOM + GUARD);
	ssize_t r;

	starve_begin(seed, (unsigned)(e->role + 2 * SENDERS));
	memset(buf, EMPTY, ROOM + GUARD);
	e->receiver = pthread_self();
	e->receiving = true;
	while (e->stubborn && e->sending)
		nap();
	for (;;) {
		size_t n = some_room(e, &e->recv_dice);
		if (!roll(&e->recv_dice, 10))
			stream_available(e->s, e->fd);
		if (e->chats && roll(&e->recv_dice, 4)) /* spins are rare where six threads share two cores */
			stream_poll_begin(e->s);
		for (unsigned i = e->chats ? roll(&e->recv_dice, 8) : 0; i; i--)
			nap();
		if (e->calms)
			starve_between_calls();
		must_be_empty(e, buf, 0, n + GUARD);
		take_turn(e);
		r = receive(e, buf, n);
		end_turn(e);
		if (!r)
			break;
		if (r < 0 && r != -EAGAIN && (r != -EINTR || !e->disturbed))
			wrong("end %d: recv at %zu: %s", e->role, e->got, strerror((int)-r));
		if (r > (ssize_t)n || (r > 0 && e->got + (size_t)r > TOTAL))
			wrong("end %d: %zd bytes at %zu", e->role, r, e->got);
		must_be_empty(e, buf, n, n + GUARD);
		if (r > 0)
			memcpy(e->had + e->got, buf, (size_t)r);
		e->got += r > 0 ? (size_t)r : 0;
		memset(buf, EMPTY, n);
		if (r == -EAGAIN)
			wait_for_input(e);
	}
	must_be_empty(e, buf, 0, ROOM + GUARD);
	e->receiving = false;
	free(buf);
	running--;
	return NULL;
}

/* Nobody reads or answers at the other end; one who waits for that is ended by the alarm. */
static void send_to_stopped(struct sender *s)
{
	uint8_t *buf = malloc(ROOM);

	alarm(HUNG_S);
	while (s->sent < s->total && send_some(s, buf, ROOM, MSG_DONTWAIT))
		;
	alarm(0);
	free(buf);
}

/* ---- the progress thread, and what goes wrong */

static void strike(enum fault with, int which)
{
	switch (with) {
	case HOLE:
		sim_wire.hole_from = sim_wire.packets;
		break;
	case BROKEN:
		sim_break(ends[which].sim.id);
		break;
	case PORT:
		link_fail(newest(&ends[which]), FALLBACK_RDMA_PORT);
		if (seed & 1)
			link_fail(newest(&ends[!which]), FALLBACK_RDMA_PORT);
		break;
	case REMOVED:
		if (newest(&ends[which])->device)
			link_let_go(newest(&ends[which]));
		break;
	default:
		break;
	}
}

/* Whatever has failed, up to some times in a conversation. */
static void meet_again(uint64_t *dice, uint64_t *strike_at)
{
	static const enum fault ways[] = { HOLE, BROKEN, PORT, REMOVED };
	struct sim_end both[2] = { ends[0].sim, ends[1].sim };

	if (sim_wire.packets >= *strike_at && *strike_at) {
		strike(ways[roll(dice, 4)], (int)roll(dice, 2));
		*strike_at = roll(dice, 3) ? sim_wire.packets + 1 + roll(dice, 60) : 0;
	}
	sim_meet_again(both, dice);
	for (int i = 0; i < 2; i++)
		ends[i].sim = both[i];
}

static size_t sent_by(const struct end *e)
{
	return e->senders[0].sent + e->senders[1].sent;
}

static void handler(int sig)
{
}

static void disturb(void)
{
	for (int i = 0; i < 2; i++)
		if (ends[i].disturbed && ends[i].receiving)
			pthread_kill(ends[i].receiver, SIGUSR1);
}

static void tend(uint64_t *dice, uint64_t strike_at)
{
	struct timespec nap = { .tv_nsec = 100000 };
	uint64_t end = clock_monotonic_ns() + (uint64_t)HUNG_S * 1000000000;
	bool struck = false;
	unsigned turns = 0;

	while (running) {
		for (struct device *d = device_next(NULL); d; d = device_next(d))
			device_poll(d);
		thread_tend_links();
		if (fault == AGAIN) {
			meet_again(dice, &strike_at);
		} else if (!struck && sim_wire.packets >= strike_at) {
			strike(fault, (int)roll(dice, 2));
			struck = true;
		}
		if (turns++ % 8 == 0)
			disturb();
		if (clock_monotonic_ns() > end)
			wrong("hangs; ends have sent %zu and %zu, received %zu and %zu, links %u %u", sent_by(&ends[0]), sent_by(&ends[1]),
				ends[0].got, ends[1].got, newest(&ends[0])->state, newest(&ends[1])->state);
		nanosleep(&nap, NULL);
	}
}

/* Whose bytes come when is nobody's promise, each sender's come in its order. */
static void compare(const struct end *from, const struct end *to)
{
	size_t at[SENDERS] = { 0 };

	for (size_t i = 0; i < to->got; i++) {
		const struct sender *s = &from->senders[to->had[i] >> 7];
		size_t *k = &at[to->had[i] >> 7];
		if (*k == s->sent)
			wrong("end %d: byte %zu, %02x, is one too many", to->role, i, to->had[i]);
		if (s->said[*k] != to->had[i])
			wrong("end %d: byte %zu is %02x, not %02x", to->role, i, to->had[i], s->said[*k]);
		++*k;
	}
	if (to->got != sent_by(from))
		wrong("end %d: %zu of %zu received", to->role, to->got, sent_by(from));
	if (load_rlx(to->s->side->broken))
		wrong("end %d: a violation", to->role);
}

static void set_wire(uint64_t *dice, uint64_t strike_at)
{
	sim_wire.packets = 0;
	sim_wire.hole_from = fault == HOLE || fault == LONG_HOLE ? strike_at : UINT64_MAX;
	sim_wire.hole_us = fault == HOLE || fault == AGAIN ? 500 + roll(dice, 30000) : UINT64_MAX;
	sim_wire.retry_us = 2000 + roll(dice, 30000);
	sim_wire.ack_loss = fault == LOST_ACKS ? 40 : 0;
	sim_wire.slow = roll(dice, 2) ? 0 : roll(dice, 40);
}

static bool has_failed(const struct end *e)
{
	return newest(e) != &e->sim.links->link[0] || load_acq(newest(e)->state) != LINK_UP;
}

/* And something was sent by the new one's ring. */
static bool has_returned(const struct end *e)
{
	return verbs_of(e->s)->v->name && newest(e)->ring_w;
}

static uint64_t asides(void)
{
	return atomic_load(&dlaccel_stats.slot[STAT_net_asides].value);
}

static void run_seed(void)
{
	uint64_t dice = seed, asides_before = asides();
	pthread_t t[THREADS];

	fault = (enum fault)(seed % FAULTS);
	for (int i = 0; i < 5; i++)
		roll(&dice, 2);
	uint64_t strike_at = 1 + roll(&dice, roll(&dice, 2) ? 30 : 200);
	sim_wire.hole_from = UINT64_MAX;
	sim_wire.ack_loss = 0;
	sim_start(seed);
	bool framed = roll(&dice, 4);
	make_ends(&dice, framed);
	if (framed)
		agree_first();
	set_wire(&dice, strike_at);
	if (fault == STOPPED)
		send_to_stopped(&ends[0].senders[0]);
	running = THREADS;
	for (int i = 0; i < THREADS; i++) {
		struct end *e = &ends[i % 2];
		bool sender = i / 2 < SENDERS;
		if (pthread_create(&t[i], NULL, sender ? sends : receives, sender ? (void *)&e->senders[i / 2] : e))
			wrong("no thread");
	}
	tend(&dice, strike_at);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	compare(&ends[0], &ends[1]);
	compare(&ends[1], &ends[0]);
	if (ends[1].stubborn && asides() - asides_before > ASIDE_MOST)
		wrong("one that does not read was told to %llu times", (unsigned long long)(asides() - asides_before));
	tally.runs[fault]++;
	tally.failed[fault] += has_failed(&ends[0]) || has_failed(&ends[1]);
	tally.returned += has_returned(&ends[0]) + has_returned(&ends[1]);
	end_ends();
}

static void set_up(void)
{
	real_init();
	process_note();
	clock_init();
	settings.rdma_devices = "";
	settings.rdma_dead = 20000;
	settings.rdma_idle = 60000;
	settings.net_memory = UINT64_C(1) << 30;
	settings.spin = 50;
	signals_sigaction(SIGUSR1, &(struct sigaction){ .sa_handler = handler }, NULL);
	sim_verbs_install();
	for (int i = 0; i < 2; i++) {
		pthread_mutex_init(&ends[i].turn, NULL);
		for (int k = 0; k < SENDERS; k++)
			ends[i].senders[k].said = malloc(TOTAL);
		ends[i].had = malloc(TOTAL);
	}
}

static void give_back(void)
{
	for (int i = 0; i < 2; i++) {
		struct rdma_cm_id *id = sim_id_create(i);
		device_close(id->verbs);
		sim_id_destroy(id);
	}
}

/* That many conversations take every way. */
static const struct {
	enum stat_id stat;
	const char *missing;
} ways[] = {
	{ STAT_rdma_unrung, "nothing went without a doorbell" },
	{ STAT_rdma_in_place, "nothing was taken from where the program had it" },
	{ STAT_rdma_placed, "nothing was written into a buffer that was advertised" },
	{ STAT_rdma_calms, "no direction went back from frames to plain TCP" },
};

int main(int argc, char **argv)
{
	unsigned long first = 0, last = 240, step = 1;

	if (argc > 1 && sscanf(argv[1], "%lu:%lu:%lu", &first, &last, &step) < 2)
		return 2;
	set_up();
	for (seed = first; seed < last; seed += step)
		run_seed();
	give_back();
	if (atomic_load(&dlaccel_stats.slot[STAT_net_ring_pages].value)) {
		fprintf(stderr, "memory is still counted\n");
		return 1;
	}
	for (size_t i = 0; last - first >= 100 && i < sizeof(ways) / sizeof(*ways); i++)
		if (!atomic_load(&dlaccel_stats.slot[ways[i].stat].value)) {
			fprintf(stderr, "%s\n", ways[i].missing);
			return 1;
		}
	if (last - first >= 100 && !asides()) {
		fprintf(stderr, "no send of a loop stepped aside\n");
		return 1;
	}
	if (last - first >= 100 && !tally.returned) {
		fprintf(stderr, "nothing went by a second link\n");
		return 1;
	}
	for (int i = 0; i < FAULTS; i++)
		printf("%-10s %u conversations, %u links failed\n", fault_names[i], tally.runs[i], tally.failed[i]);
	printf("%u directions went by a new link again\n", tally.returned);
	printf("%llu bytes into buffers of %llu adverts\n", (unsigned long long)atomic_load(&dlaccel_stats.slot[STAT_rdma_placed].value),
		(unsigned long long)atomic_load(&dlaccel_stats.slot[STAT_rdma_adverts].value));
	printf("%llu times back from frames to plain TCP\n", (unsigned long long)atomic_load(&dlaccel_stats.slot[STAT_rdma_calms].value));
	printf("%llu messages without a doorbell\n", (unsigned long long)atomic_load(&dlaccel_stats.slot[STAT_rdma_unrung].value));
	return 0;
}
