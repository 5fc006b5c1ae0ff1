/*
 * A direction between hosts that nothing large comes by stays plain, and its receive is the kernel's own call; what is large, or
 * comes while a spin would have lasted, turns it to frames.  Where bytes have been taken that are not counted, by a receive that
 * is still inside, that was left or killed there, or that a handler has forked in, no place for the mark is said: it would be
 * another than the sender's.  Over simulated devices, both ends the library's; real.recv stands still where a test wants it to.
 */
#include "verbs_ends.h"

#include "clock.h"
#include "process.h"
#include "real.h"
#include "settings.h"
#include "verbs_sending.h"

#include <pthread.h>
#include <setjmp.h>
#include <string.h>
#include <sys/wait.h>

enum { FEW = 64, MUCH = 20000, ALARM_S = 30 };

/* ---- the kernel's call, and what a test does before it and behind it */

static __typeof__(real.recv) kernel_recv;
static _Atomic unsigned receives;
static void (*_Atomic before)(void), (*_Atomic behind)(void);

static void once(void (*_Atomic *what)(void))
{
	void (*f)(void) = atomic_exchange(what, NULL);

	if (f)
		f();
}

static ssize_t watched_recv(int fd, void *buf, size_t n, int flags)
{
	receives++;
	once(&before);
	ssize_t k = kernel_recv(fd, buf, n, flags);
	once(&behind);
	return k;
}

/* TCP has room for what stands before payload, and not for payload. */
static ssize_t full_sendmsg(int fd, const struct msghdr *m, int flags)
{
	errno = EAGAIN;
	return -1;
}

/* ---- what a test asks */

static void nothing_there(int i)
{
	ssize_t k = take(i, FEW, MSG_DONTWAIT);

	if (k != -EAGAIN)
		sim_wrong("end %d: %zd where nothing is", i, k);
}

static bool has_proposed(int i)
{
	return load_rlx(side_of(i)->mark_at) != UINT64_MAX || load_rlx(side_of(i)->framed);
}

static void must_be_plain(int i, const char *why)
{
	if (has_proposed(i))
		sim_wrong("%s: a place for the mark", why);
}

/* Something large has come to end 1, which looks for more. */
static void large_comes(void)
{
	put(0, MUCH);
	get(1, MUCH, MSG_DONTWAIT);
	nothing_there(1);
}

/* From here on large messages come by the ring. */
static void comes_to_frames(void)
{
	if (load_rlx(side_of(1)->mark_at) != ends[0].sent)
		sim_wrong("the mark at %llu, not at %llu", (unsigned long long)load_rlx(side_of(1)->mark_at), (unsigned long long)ends[0].sent);
	listen_to_devices();
	put(0, MUCH);
	get(1, MUCH, MSG_WAITALL);
	put(0, FEW);
	get(1, FEW, 0);
	if (!load_rlx(side_of(1)->framed) || !load_rlx(link_in(verbs_of(ends[1].s))->ring_r))
		sim_wrong("nothing comes by the ring");
}

/* ---- what stays plain, and what does not */

static void small_messages(void)
{
	for (int i = 0; i < 2000; i++) {
		put(i % 2, FEW);
		get(!(i % 2), i % 3 ? FEW : FEW / 2, 0);
		if (i % 3 == 0)
			get(!(i % 2), FEW / 2, 0);
	}
	for (int i = 0; i < 40; i++) { /* past the bytes at which the kernel is asked for more */
		put(0, 4096);
		get(1, 4096, MSG_WAITALL);
	}
	must_be_plain(1, "small messages");
	must_be_plain(0, "small messages");
	if (receives != 2000 + 667 + 40)
		sim_wrong("%u calls", receives);
}

static void large_message(void)
{
	put(0, FEW);
	get(1, FEW, 0);
	large_comes();
	comes_to_frames();
	must_be_plain(0, "the other direction");
}

static void large_message_in_pieces(void)
{
	put(0, 5 * MUCH);
	for (int i = 0; i < 25; i++)
		get(1, 5 * MUCH / 25, 0);
	nothing_there(1);
	comes_to_frames();
}

static void *sends_flood(void *unused)
{
	for (int i = 0; i < 8; i++)
		put(0, ROOM);
	return NULL;
}

static void give_patience(void)
{
	store_rlx(link_out(verbs_of(ends[0].s))->ack_ticks, us_to_ticks(1000000));
}

/* A sender that could have sent all of it before the peer reads any comes to frames all the same. */
static void flood(void)
{
	struct timespec nap = { .tv_nsec = 50000000 };
	pthread_t t;

	give_patience();
	pthread_create(&t, NULL, sends_flood, NULL);
	nanosleep(&nap, NULL);
	for (int i = 0; i < 16; i++)
		get(1, ROOM / 2, MSG_WAITALL);
	pthread_join(t, NULL);
	if (!load_rlx(side_of(1)->framed) || side_of(0)->frames_from > 2 * ROOM)
		sim_wrong("frames from %llu on", (unsigned long long)side_of(0)->frames_from);
}

/* Nobody reads: it does not wait for ever. */
static void flood_to_nobody(void)
{
	put(0, ROOM);
	put(0, ROOM);
	if (!verbs_of(ends[0].s)->place_backoff)
		sim_wrong("it has not waited");
}

/* More than a receive has place for comes from its first byte on by one call. */
static void many_buffers(void)
{
	enum { PARTS = 100 };
	uint8_t buf[PARTS];
	struct iovec v[PARTS];

	for (int i = 0; i < PARTS; i++)
		v[i] = (struct iovec){ buf + i, 1 };
	put(0, PARTS);
	ssize_t k = stream_recv(ends[1].s, ends[1].fd, v, PARTS, options(0));
	if (k != PARTS || buf[PARTS - 1] != byte_at(PARTS - 1))
		sim_wrong("%zd", k);
}

static void *sends_later(void *unused)
{
	struct timespec nap = { .tv_nsec = 5000000 };

	nanosleep(&nap, NULL);
	put(0, FEW);
	return NULL;
}

static void sleeps(int times)
{
	pthread_t t;

	for (int i = 0; i < times; i++) {
		pthread_create(&t, NULL, sends_later, NULL);
		get(1, FEW, 0);
		pthread_join(t, NULL);
	}
	nothing_there(1);
}

/* As long as a spin lasts, nearly. */
static void short_sleeps(void)
{
	sleeps(20);
	must_be_plain(1, "no spins");
	settings.spin = 10000000;
	store_rlx(ends[1].s->watched, true);
	sleeps(20);
	must_be_plain(1, "one that may not spin");
	store_rlx(ends[1].s->watched, false);
	sleeps(8);
	comes_to_frames();
}

static void *gets_much(void *unused)
{
	get(1, MUCH, MSG_WAITALL);
	return NULL;
}

/* One that sleeps when the frames come takes none of them for payload. */
static void mark_while_asleep(void)
{
	struct timespec nap = { .tv_nsec = 20000000 };
	pthread_t t;

	large_comes();
	listen_to_devices();
	pthread_create(&t, NULL, gets_much, NULL);
	nanosleep(&nap, NULL);
	put(0, MUCH);
	pthread_join(t, NULL);
}

/* What was taken for a part of the mark is the program's, and comes first. */
static void spare_first(void)
{
	struct verbs_side *v = side_of(1);
	uint8_t buf[FEW];
	struct iovec to = { buf, sizeof(buf) };

	v->spare_end = 4;
	if (stream_recv(ends[1].s, ends[1].fd, &to, 1, options(0)) != 4 || memcmp(buf, v->mark_in, 4))
		sim_wrong("other bytes");
}

/* ---- back from frames */

static void in_frames(void)
{
	large_comes();
	comes_to_frames();
}

static bool is_calm(void)
{
	return side_of(0)->frames_from == UINT64_MAX;
}

/* So many small ones that the sender leaves frames. */
static void small_ones(void)
{
	for (unsigned n = verbs_of(ends[0].s)->calm_after + 2; n; n--)
		put(0, FEW);
}

/* Again and again, and each time the receive is the kernel's own call. */
static void calms_down(void)
{
	for (int round = 0; round < 3; round++) {
		in_frames();
		for (int i = 0; i < CALM_AFTER << round && !is_calm(); i++) {
			put(0, FEW);
			get(1, FEW, 0);
		}
		receives = 0;
		put(0, FEW);
		get(1, FEW, 0);
		if (!is_calm() || load_rlx(side_of(1)->framed) || receives != 1)
			sim_wrong("round %d: %u calls", round, receives);
	}
}

static void get_all(void)
{
	for (uint64_t n; (n = ends[0].sent - ends[1].had) > 0;)
		get(1, n < ROOM ? n : ROOM, MSG_WAITALL);
}

/* Nobody has read what comes before, in the ring and in frames, nor what comes behind: all of it shows. */
static void calm_unread(void)
{
	in_frames();
	put(0, MUCH);
	small_ones();
	size_t n = ends[0].sent - ends[1].had;
	if (!is_calm())
		sim_wrong("still in frames");
	while (stream_available(ends[1].s, ends[1].fd) != (int)n) /* the kernel takes its time for so many small packets */
		sched_yield();
	get(1, n, MSG_PEEK);
	ends[1].had -= n;
	get(1, MUCH + FEW, 0);
	get(1, n - MUCH - FEW, MSG_WAITALL);
	nothing_there(1);
	in_frames();
}

/* The receiver is still believed to poll when the direction comes to frames again: a record is in its memory before it has read the mark. */
static void unrung_at_the_mark(void)
{
	in_frames();
	small_ones();
	get_all();
	large_comes();
	listen_to_devices();
	link_out(verbs_of(ends[0].s))->words->polls = 1;
	put(0, FEW);
	link_out(verbs_of(ends[0].s))->words->polls = 0;
	put(0, FEW);
	get_all();
	nothing_there(1);
}

/* Only the mark has gone.  Were the direction plain again there, what the peer has said of that place would put the mark a second time. */
static void not_calm_at_the_mark(void)
{
	__typeof__(real.sendmsg) send = real.sendmsg;
	uint8_t buf[FEW] = { 0 };
	struct iovec v = { buf, sizeof(buf) };

	large_comes();
	listen_to_devices();
	verbs_of(ends[0].s)->calm_after = 1;
	real.sendmsg = full_sendmsg;
	if (stream_send(ends[0].s, ends[0].fd, &v, 1, options(MSG_DONTWAIT)) != -EAGAIN)
		sim_wrong("sent without room");
	real.sendmsg = send;
	put(0, FEW);
	get_all();
	nothing_there(1);
}

/* What was sent while the receiver polled is in its memory, and nothing on TCP says so. */
static void calm_behind_unrung(void)
{
	struct link *l;

	in_frames();
	l = link_out(verbs_of(ends[0].s));
	l->words->polls = 1;
	put(0, FEW);
	l->words->polls = 0;
	verbs_of(ends[0].s)->calm_after = 1;
	put(0, FEW);
	if (!is_calm())
		sim_wrong("still in frames");
	while (stream_available(ends[1].s, ends[1].fd) != 2 * FEW)
		sched_yield();
	get(1, 2 * FEW, MSG_PEEK);
	ends[1].had -= 2 * FEW;
	get_all();
	nothing_there(1);
}

/* Headers of large messages are no reason. */
static void not_calm(void)
{
	in_frames();
	for (int i = 0; i < 2 * CALM_AFTER; i++) {
		put(0, FEW);
		put(0, MUCH);
		get_all();
	}
	if (is_calm())
		sim_wrong("it leaves frames");
}

static void calm_to_old_peer(void)
{
	in_frames();
	link_out(verbs_of(ends[0].s))->calms = false;
	small_ones();
	if (is_calm())
		sim_wrong("it does not know such a frame");
	get_all();
}

static bool put_if_room(void)
{
	uint8_t buf[FEW];
	struct iovec v = { buf, FEW };

	for (size_t i = 0; i < FEW; i++)
		buf[i] = byte_at(ends[0].sent + i);
	ssize_t k = stream_send(ends[0].s, ends[0].fd, &v, 1, options(MSG_DONTWAIT));
	if (k <= 0 && k != -EAGAIN)
		sim_wrong("%zd", k);
	ends[0].sent += k > 0 ? (size_t)k : 0;
	return k > 0;
}

static void full_when_calm(void)
{
	in_frames();
	verbs_of(ends[0].s)->calm_after = UINT32_MAX;
	while (put_if_room())
		;
	verbs_of(ends[0].s)->calm_after = 1;
	for (int i = 0; i < 3; i++)
		if (put_if_room())
			sim_wrong("room");
}

/* TCP has no room for the head: it goes first when there is. */
static void calm_without_room(void)
{
	full_when_calm();
	get_all();
	small_ones();
	get_all();
	if (!is_calm() || load_rlx(side_of(1)->framed))
		sim_wrong("still in frames");
	in_frames();
}

/* The same, and the connection is plain for good before there is. */
static void calm_for_good(void)
{
	full_when_calm();
	get_all();
	stream_make_plain(ends[0].s, ends[0].fd);
	if (write(ends[0].fd, "plain", 5) != 5)
		sim_wrong("no plain write");
	char buf[8];
	struct iovec v = { buf, sizeof(buf) };
	if (stream_recv(ends[1].s, ends[1].fd, &v, 1, options(0)) != 5 || memcmp(buf, "plain", 5))
		sim_wrong("other bytes");
}

/* What the program has set as its buffer is no more in the ring, either. */
static void bounded_by_sndbuf(void)
{
	enum { LIMIT = RING_BYTES / 2 };
	struct link *l = link_out(verbs_of(ends[0].s));

	in_frames();
	uint64_t before = l->ring_w;
	store_rlx(ends[0].s->side->limit, LIMIT);
	put(0, LIMIT);
	uint64_t n = l->ring_w - load_acq(l->peer_taken);
	if (l->ring_w == before || n > LIMIT)
		sim_wrong("%llu bytes", (unsigned long long)n);
	get_all();
}

/* ---- bytes that nobody has read, and the kernel knows of none */

static void expect_close(bool resets, const char *what)
{
	if (stream_close_means_reset(ends[1].s, ends[1].fd) != resets)
		sim_wrong("%s: %s reset", what, resets ? "no" : "a");
}

static void closes_unread(void)
{
	struct peer_words *words = link_out(verbs_of(ends[0].s))->words;

	in_frames();
	expect_close(false, "all is read");
	words->polls = 1;
	put(0, FEW);
	expect_close(true, "nothing was rung for");
	words->polls = 0;
	put(0, FEW);
	expect_close(false, "more lies in TCP");
	get(1, 2 * FEW, MSG_WAITALL);
	expect_close(false, "all is read again");
}

/* ---- bytes that come next, which somebody else has to send */

static void *is_to_finish(void *unused)
{
	side_of(0)->finishing = thread_id();
	return NULL;
}

static void finisher_is_dead(void)
{
	struct iovec v = { "x", 1 };
	pthread_t t;

	pthread_create(&t, NULL, is_to_finish, NULL);
	pthread_join(t, NULL);
	ssize_t k = stream_send(ends[0].s, ends[0].fd, &v, 1, options(0));
	if (k != -ECONNRESET)
		sim_wrong("%zd", k);
}

/* ---- what a program sends is never more than that */

static uint8_t said[1 << 17];

static void say(size_t n)
{
	struct iovec v = { said + ends[0].sent, n };

	if (stream_send(ends[0].s, ends[0].fd, &v, 1, options(0)) != (ssize_t)n)
		sim_wrong("it does not send %zu", n);
	ends[0].sent += n;
	listen_to_devices();
}

static ssize_t hear(size_t n, int flags)
{
	static uint8_t heard[sizeof(said)];
	struct iovec v = { heard, n };
	ssize_t k = stream_recv(ends[1].s, ends[1].fd, &v, 1, options(flags));

	if (k > 0 && memcmp(heard, said + ends[1].had, (size_t)k))
		sim_wrong("other bytes at %llu", (unsigned long long)ends[1].had);
	ends[1].had += k > 0 ? (uint64_t)k : 0;
	return k;
}

static void framed_at_once(void)
{
	store_rlx(verbs_of(ends[1].s)->frames_pay, true);
	side_of(0)->frames_from = 0;
	store_rel(side_of(1)->framed, true);
}

/* In the first message stands a record that would count by itself, where the next lap's second will begin. */
static void forged_record(void)
{
	enum { MUCH_OF_IT = 16384 - sizeof(struct ring_head), LESS = 12288 - sizeof(struct ring_head), FORGED = 32 };
	uint64_t where = 4 * MUCH_OF_IT + LESS;

	framed_at_once();
	struct ring_head h = { .at = where, .len = FORGED, .check = ring_check(where, (char *)said + LESS + sizeof(h), FORGED) };
	memcpy(said + LESS, &h, sizeof(h));
	for (int i = 0; i < 4; i++) {
		say(MUCH_OF_IT);
		hear(MUCH_OF_IT, MSG_WAITALL);
	}
	say(LESS);
	hear(LESS, MSG_WAITALL);
	if (ends[1].had != where || link_in(verbs_of(ends[1].s))->ring_r != RING_BYTES + LESS + sizeof(h))
		sim_wrong("it stands elsewhere");
	ssize_t k = hear(FORGED, MSG_DONTWAIT);
	if (k != -EAGAIN)
		sim_wrong("%zd bytes that nobody sent", k);
}

/* ---- the kernel's answers are the program's */

static void sends_half(void)
{
	put(0, FEW / 2);
}

static void answers(void)
{
	struct timeval soon = { .tv_usec = 1000 };
	struct linger reset = { 1, 0 };
	struct stream_opts o = options(0);
	uint8_t buf[FEW];
	struct iovec v = { buf, sizeof(buf) };

	store_rlx(side_of(1)->side.err, ETIMEDOUT);
	if (take(1, FEW, 0) != -ETIMEDOUT)
		sim_wrong("an error that was kept");
	o.mark.breaking--; /* as if a handler had run since the call began */
	if (stream_recv(ends[1].s, ends[1].fd, &v, 1, o) != -EINTR)
		sim_wrong("no interruption");
	put(0, FEW);
	ssize_t k = stream_recv(ends[1].s, ends[1].fd, &v, 1, o);
	if (k != FEW)
		sim_wrong("interrupted with bytes there: %zd", k);
	ends[1].had += FEW;
	setsockopt(ends[1].fd, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof(soon));
	if (take(1, FEW, 0) != -EAGAIN)
		sim_wrong("no time-out");
	put(0, FEW / 2);
	atomic_store(&behind, sends_half);
	get(1, FEW, MSG_WAITALL);
	put(0, FEW / 2);
	k = take(1, FEW, MSG_WAITALL);
	if (k != FEW / 2)
		sim_wrong("a time-out behind bytes: %zd", k);
	put(0, FEW);
	get(1, FEW, MSG_PEEK);
	ends[1].had -= FEW;
	get(1, FEW, 0);
	setsockopt(ends[0].fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(ends[0].fd);
	if (take(1, FEW, 0) != -ECONNRESET || take(1, FEW, 0) != 0)
		sim_wrong("no reset");
}

static void impossible_message(void)
{
	link_told(link_in(verbs_of(ends[1].s)), "", 1);
	if (take(1, FEW, 0) != -ECONNRESET)
		sim_wrong("it goes on");
}

/* Before the call returns. */
static void closes_with_reset(void)
{
	struct linger reset = { 1, 0 };

	setsockopt(ends[0].fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(ends[0].fd);
}

/* Met by a call that returns bytes, it is the next one's. */
static void reset_behind_bytes(void)
{
	put(0, FEW / 2);
	atomic_store(&behind, closes_with_reset);
	ssize_t k = take(1, FEW, MSG_WAITALL);
	if (k != FEW / 2 || take(1, FEW, 0) != -ECONNRESET || take(1, FEW, 0) != 0)
		sim_wrong("%zd, and no reset", k);
}

/* ---- bytes that are taken and not counted */

static int gate[2], there[2];

static void stands_still(void)
{
	char byte = 0;

	if (write(there[1], &byte, 1) != 1 || read(gate[0], &byte, 1) != 1)
		_exit(1);
}

/* Somebody has taken the next bytes, and is to go on when it is let. */
static pthread_t *stands_inside(void *(*who)(void *))
{
	static pthread_t t;
	char byte;

	put(0, FEW);
	atomic_store(&behind, stands_still);
	pthread_create(&t, NULL, who, NULL);
	if (read(there[0], &byte, 1) != 1)
		sim_wrong("nobody is inside");
	ends[1].had += FEW; /* counted here */
	return &t;
}

static void *gets_uncounted(void *unused)
{
	uint8_t buf[FEW];
	struct iovec v = { buf, sizeof(buf) };

	if (stream_recv(ends[1].s, ends[1].fd, &v, 1, options(0)) != FEW)
		sim_wrong("not what was taken");
	return NULL;
}

static void beside_another(void)
{
	pthread_t *t = stands_inside(gets_uncounted);

	large_comes();
	must_be_plain(1, "a receive is inside");
	if (write(gate[1], "", 1) != 1)
		sim_wrong("no gate");
	pthread_join(*t, NULL);
	nothing_there(1);
	comes_to_frames();
}

/* Two of them, where it is wanted that they stop: none goes inside any more. */
static void no_more_inside(void)
{
	pthread_t *t = stands_inside(gets_uncounted);
	unsigned was;

	large_comes();
	put(0, FEW);
	was = load_rlx(side_of(1)->direct);
	get(1, FEW, 0);
	if (was != 1 || atomic_load(&dlaccel_stats.slot[STAT_net_direct].value) != 1)
		sim_wrong("%u inside", was);
	if (write(gate[1], "", 1) != 1)
		sim_wrong("no gate");
	pthread_join(*t, NULL);
	nothing_there(1);
	comes_to_frames();
}

static void goes_on_in_tcp(const char *why)
{
	large_comes();
	must_be_plain(1, why);
	for (int i = 0; i < 20; i++) {
		put(0, i % 2 ? MUCH : FEW);
		get(1, i % 2 ? MUCH : FEW, MSG_WAITALL);
	}
	must_be_plain(1, why);
}

static void cancelled(void)
{
	pthread_t *t = stands_inside(gets_uncounted);

	pthread_cancel(*t);
	pthread_join(*t, NULL);
	goes_on_in_tcp("a receive was cancelled");
}

static sigjmp_buf out;

static void jumps(int unused)
{
	siglongjmp(out, 1);
}

static void raises(void)
{
	raise(SIGUSR1);
}

static void handle(void (*handler)(int))
{
	struct sigaction act = { .sa_handler = handler };

	signals_sigaction(SIGUSR1, &act, NULL);
}

static void left_by_longjmp(void)
{
	handle(jumps);
	put(0, FEW);
	atomic_store(&behind, raises);
	if (!sigsetjmp(out, 1))
		get(1, FEW, 0);
	ends[1].had += FEW;
	goes_on_in_tcp("a receive was left");
	if (load_rlx(ends[1].links->sleepers))
		sim_wrong("it is still asleep");
}

static void dies(void)
{
	raise(SIGKILL);
}

static void killed(void)
{
	int status;

	put(0, FEW);
	pid_t pid = fork();
	if (!pid) {
		process_note();
		verbs_after_fork();
		atomic_store(&behind, dies);
		get(1, FEW, 0);
		_exit(1);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status))
		sim_wrong("the child lives");
	ends[1].had += FEW;
	goes_on_in_tcp("a receiver was killed");
}

static pid_t forked;

static void forks(int unused)
{
	forked = fork();
	if (!forked) {
		process_note();
		verbs_after_fork();
		alarm(ALARM_S);
	}
}

static void forks_and_stands(void)
{
	raise(SIGUSR1);
	if (!forked)
		stands_still();
}

static int touches(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask)
{
	_exit(1);
}

/* A child reads that the link has failed: the queue pair is its parent's, and so is what becomes of it. */
static void failover_in_child(void)
{
	int status;

	framed_at_once();
	put(0, FEW);
	get(1, FEW, 0);
	pid_t pid = fork();
	if (!pid) {
		process_note();
		verbs_after_fork();
		verbs.ibv_modify_qp = touches;
		alarm(ALARM_S);
		get(1, FEW, 0);
		_exit(0);
	}
	link_fail(link_out(verbs_of(ends[0].s)), FALLBACK_RDMA_FAILED);
	put(0, FEW);
	if (waitpid(pid, &status, 0) != pid || status)
		sim_wrong("the child touches it");
}

/* The parent is stopped, or has ended: its receive had polled, and nobody takes that back for the child, who is not rung for. */
static void left_by_its_parent(void)
{
	int status;

	in_frames();
	link_out(verbs_of(ends[0].s))->words->polls = 1;
	store_rlx(link_in(verbs_of(ends[1].s))->told_polls, true);
	settings.rdma_dead = 20000;
	pid_t pid = fork();
	if (!pid) {
		process_note();
		verbs_after_fork();
		alarm(ALARM_S);
		get(1, FEW, 0);
		_exit(0);
	}
	while (!load_rlx(ends[1].links->sleepers))
		sched_yield();
	usleep(50000); /* the child is in the kernel */
	put(0, FEW);
	if (waitpid(pid, &status, 0) != pid || status)
		sim_wrong("the child sleeps through it");
}

/* A child uses the stream: its parent's thread takes the link down, and what was said of polling back, before the child sleeps. */
static void taken_down_for_child(void)
{
	struct link *l = link_in(verbs_of(ends[1].s));
	int status;

	in_frames();
	settings.rdma_dead = ALARM_S * UINT64_C(2000000);
	stream_poll_begin(ends[1].s);
	if (!load_rlx(l->told_polls))
		sim_wrong("it does not poll");
	pid_t pid = fork();
	if (!pid) {
		process_note();
		verbs_after_fork();
		alarm(ALARM_S);
		nothing_there(1);
		_exit(load_acq(l->state) != LINK_DOWN || load_acq(l->told_polls));
	}
	while (!waitpid(pid, &status, WNOHANG))
		thread_tend_links();
	if (status)
		sim_wrong("the child goes on with its parent's link: %x", status);
}

/* A handler forks inside a receive: both go on in there. */
static void forked_inside(void)
{
	char byte;
	int status;

	handle(forks);
	pthread_atfork(stream_before_fork, NULL, NULL);
	put(0, FEW);
	atomic_store(&behind, forks_and_stands);
	get(1, FEW, 0);
	if (!forked)
		_exit(0);
	if (read(there[0], &byte, 1) != 1)
		sim_wrong("no child");
	goes_on_in_tcp("a child is inside");
	if (write(gate[1], "", 1) != 1 || waitpid(forked, &status, 0) != forked)
		sim_wrong("no gate");
}

static void receives_too(int unused)
{
	get(1, FEW, 0);
}

/* A handler receives above the receive that it interrupts: both are counted. */
static void handler_receives(void)
{
	handle(receives_too);
	put(0, 2 * FEW);
	atomic_store(&before, raises);
	get(1, FEW, 0);
	if (load_rlx(side_of(1)->direct))
		sim_wrong("somebody is inside");
	large_comes();
	comes_to_frames();
}

/* ---- */

static const struct {
	const char *name;
	void (*run)(void);
} tests[] = {
	{ "small messages", small_messages }, { "large message", large_message },
	{ "large message in pieces", large_message_in_pieces }, { "flood", flood }, { "flood to nobody", flood_to_nobody },
	{ "many buffers", many_buffers }, { "short sleeps", short_sleeps }, { "mark while asleep", mark_while_asleep },
	{ "calms down", calms_down }, { "calm, unread", calm_unread }, { "calm, old peer", calm_to_old_peer },
	{ "unrung at the mark", unrung_at_the_mark }, { "not calm at the mark", not_calm_at_the_mark }, { "calm behind unrung", calm_behind_unrung }, { "not calm", not_calm },
	{ "calm without room", calm_without_room }, { "calm for good", calm_for_good },
	{ "forged record", forged_record }, { "spare first", spare_first }, { "answers", answers }, { "impossible message", impossible_message },
	{ "reset behind bytes", reset_behind_bytes }, { "beside another", beside_another }, { "no more inside", no_more_inside },
	{ "cancelled", cancelled }, { "left by longjmp", left_by_longjmp }, { "killed", killed }, { "forked inside", forked_inside },
	{ "failover in a child", failover_in_child }, { "left by its parent", left_by_its_parent },
	{ "taken down for a child", taken_down_for_child },
	{ "bounded by SO_SNDBUF", bounded_by_sndbuf }, { "closes unread", closes_unread }, { "finisher is dead", finisher_is_dead },
	{ "handler receives", handler_receives },
};

static void set_up(void)
{
	real_init();
	process_note();
	clock_init();
	settings.rdma_devices = "";
	settings.rdma_dead = 1000000;
	settings.rdma_idle = 60000000;
	settings.net_memory = UINT64_C(1) << 30;
	settings.spin = 0;
	sim_wire.retry_us = UINT64_MAX;
	sim_wire.hole_from = UINT64_MAX;
	sim_verbs_install();
	sim_start(1);
	if (!verbs_is_ours()) /* the first that asks */
		sim_wrong("no devices");
	kernel_recv = real.recv;
	real.recv = watched_recv;
	if (pipe(gate) || pipe(there))
		sim_wrong("no pipe");
}

static bool passes(void (*run)(void))
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		set_up();
		make_ends();
		alarm(ALARM_S);
		run();
		_exit(0);
	}
	return waitpid(pid, &status, 0) == pid && !status;
}

int main(int argc, char **argv)
{
	int failed = 0;

	for (size_t i = 0; i < sizeof(tests) / sizeof(*tests); i++) {
		if (argc > 1 && strcmp(argv[1], tests[i].name))
			continue;
		if (!passes(tests[i].run)) {
			fprintf(stderr, "failed: %s\n", tests[i].name);
			failed = 1;
		}
	}
	return failed;
}
