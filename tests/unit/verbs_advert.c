/*
 * Buffers that the library's receives advertise, and those that the peer does: written to while a call waits there, and not for a moment longer,
 * whatever ends the call and whatever the peer says.  The peer is one by hand (peer.h).
 */
#include "callsite.h"
#include "peer.h"

#include "real.h"
#include "settings.h"
#include "signals.h"
#include "stats.h"
#include "verbs_io.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <string.h>
#include <sys/socket.h>

enum { DEAD_US = 20000, LONG_US = 30000000, IDLE_US = 120000000, LENGTH = 100000, PART = 70000, GONE = 0xa5,
	AT_ONCE = 262144, TAIL = 8192 }; /* as long as a request is before it is known how long one takes; too little for another */

static struct peer p;
static uint8_t buffer[LENGTH];
static _Atomic pthread_t reader;
static _Atomic bool leaps; /* the handler never comes back */
static _Atomic bool lags;  /* the kernel has woken the reader, which does not get to run */
static sigjmp_buf outside;

static uint64_t count_of(enum stat_id id)
{
	return atomic_load(&dlaccel_stats.slot[id].value);
}

static struct stream_opts options(int flags)
{
	return (struct stream_opts){ .flags = flags, .mark = signal_mark() };
}

/* ---- the library's program */

static ssize_t receive(void)
{
	struct iovec v = { buffer, LENGTH };

	return stream_recv(p.stream, p.lib_fd, &v, 1, options(0));
}

/* The same room, in two places of the program. */
static __attribute__((noinline)) ssize_t receive_tensor(void)
{
	ssize_t r = receive();

	__asm__ volatile("");
	return r;
}

static __attribute__((noinline)) ssize_t receive_word(void)
{
	ssize_t r = receive();

	__asm__ volatile("");
	return r;
}

static ssize_t (*volatile place)(void) = receive_tensor;

static void *receives(void *unused)
{
	if (sigsetjmp(outside, 1))
		return (void *)(intptr_t)-EINTR;
	return (void *)(intptr_t)place();
}

static void handler(int unused)
{
	if (leaps)
		siglongjmp(outside, 1);
}

static pthread_t begin(void)
{
	pthread_t t;

	if (pthread_create(&t, NULL, receives, NULL))
		sim_wrong("no thread");
	reader = t;
	return t;
}

static ssize_t end(pthread_t t)
{
	void *r;

	pthread_join(t, &r);
	return r == PTHREAD_CANCELED ? -ECANCELED : (ssize_t)(intptr_t)r;
}

/* ---- the peer */

static void fill(uint8_t byte)
{
	memset(p.bulk, byte, PEER_BULK);
}

static void expect(const uint8_t *at, size_t n, uint8_t byte, const char *what)
{
	for (size_t i = 0; i < n; i++)
		if (at[i] != byte)
			sim_wrong("%s: byte %zu is %02x, not %02x", what, i, at[i], byte);
}

static void offer(size_t n)
{
	struct { struct frame_head head; struct frame_block block; } f = {
		.head = { .type = FRAME_BLOCK, .ring = (uint32_t)p.ring_w, .at = p.out_at },
		.block = { .address = (uintptr_t)p.bulk, .length = n, .rkey = p.mr->rkey, .id = 1 },
	};

	if (send(p.fd, &f, sizeof(f), MSG_NOSIGNAL) != sizeof(f))
		sim_wrong("no block can be offered");
}

/* Something long comes once after such a wait: by a block. */
static void learns(void)
{
	pthread_t t = begin();

	fill('l');
	p.heard = (struct control){ 0 };
	PEER_WAIT(load_rlx(p.stream->asleep));
	offer(LENGTH);
	if (end(t) != LENGTH)
		sim_wrong("no block is received");
	expect(buffer, LENGTH, 'l', "a block");
	p.out_at += LENGTH;
	while (p.heard.type != CONTROL_DONE)
		peer_await(&p, true);
}

static pthread_t waits(void)
{
	p.advert = (struct advert){ 0 };
	memset(buffer, GONE, LENGTH);
	pthread_t t = begin();
	for (bool message; !p.advert.id;)
		if (!peer_listen(&p, &message))
			peer_nap();
	if (p.advert.at != p.out_at || p.advert.length != LENGTH || p.advert.address != (uintptr_t)buffer)
		sim_wrong("another buffer, or another place in the stream");
	PEER_WAIT(load_rlx(p.stream->asleep));
	return t;
}

static void start(void)
{
	peer_start(&p, 0);
	peer_meet(&p);
	peer_agree(&p);
	learns();
}

static void write_there(uint8_t byte, size_t n)
{
	fill(byte);
	peer_write_by(&p, p.advert.rkey, p.bulk, p.advert.address, n);
	peer_await(&p, false);
}

static void say_placed(uint64_t bytes)
{
	struct placed *said = (struct placed *)p.memory;

	*said = (struct placed){ .bytes = bytes, .id = p.advert.id };
	peer_write(&p, said, p.theirs.ring_address + PEER_RING + offsetof(struct peer_words, placed), sizeof(*said));
	peer_await(&p, false);
}

static void rings(size_t n)
{
	p.out_at += n;
	peer_say_head(&p, FRAME_BELL, 0);
}

static void await_recall(void)
{
	while (p.heard.type != CONTROL_RECALL || p.heard.id != p.advert.id)
		peer_await(&p, true);
}

static void gives_back(void)
{
	struct control c = { .type = CONTROL_RECALLED, .id = p.advert.id };

	peer_message(&p, &c, sizeof(c));
}

/* The key that it has had opens nothing any more; a link that is down answers nothing. */
static void is_closed(void)
{
	uint64_t before = sim_wire.bad_keys;
	bool up = load_acq(link_in(verbs_of(p.stream))->state) == LINK_UP;

	memset(buffer, GONE, LENGTH);
	fill('X');
	peer_write_by(&p, p.advert.rkey, p.bulk, p.advert.address, LENGTH);
	for (int i = 0; i < 100 && !up; i++)
		peer_nap();
	if (up)
		peer_await(&p, false);
	if (up && sim_wire.bad_keys == before)
		sim_wrong("a buffer can be written to behind its call");
	expect(buffer, LENGTH, GONE, "behind the call");
}

static void ends(void)
{
	peer_end(&p);
	PEER_WAIT(!count_of(STAT_net_ring_pages)); /* the thread has given all back */
}

/* ---- the library receives */

static void is_placed(void)
{
	start();
	for (int i = 0; i < 3; i++) { /* the window is bound anew each time */
		size_t n = i == 1 ? PART : LENGTH;
		pthread_t t = waits();
		write_there((uint8_t)('a' + i), n);
		say_placed(n);
		rings(n);
		ssize_t r = end(t);
		if (r != (ssize_t)n)
			sim_wrong("%zd of %zu", r, n);
		expect(buffer, n, (uint8_t)('a' + i), "placed");
		expect(buffer + n, LENGTH - n, GONE, "behind what was placed");
	}
	peer_say_by_tcp(&p);
	peer_say_by_ring(&p);
	is_closed();
	ends();
}

/* The peer sends in another way: its advert is of no use, and it is not asked for it. */
static void is_passed_by(void)
{
	start();
	pthread_t t = waits();
	peer_say_by_tcp(&p);
	if (end(t) <= 0)
		sim_wrong("nothing by TCP");
	if (p.heard.type == CONTROL_RECALL)
		sim_wrong("asked for nothing");
	is_closed();
	ends();
}

static void time_passes(void)
{
	setsockopt(p.lib_fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){ .tv_usec = 200000 }, sizeof(struct timeval));
}

static void signal_comes(void)
{
	pthread_kill(reader, SIGUSR1);
}

static void signal_leaps(void)
{
	leaps = true;
	pthread_kill(reader, SIGUSR1);
}

static void is_cancelled(void)
{
	pthread_cancel(reader);
}

static void peer_shuts(void)
{
	shutdown(p.fd, SHUT_WR);
}

static const struct {
	const char *what;
	void (*before)(void), (*happens)(void);
	ssize_t ret;
} ways[] = {
	{ "time", time_passes, NULL, -EAGAIN },
	{ "a signal", NULL, signal_comes, -EINTR },
	{ "a signal's longjmp", NULL, signal_leaps, -EINTR },
	{ "cancellation", NULL, is_cancelled, -ECANCELED },
	{ "the end of the stream", NULL, peer_shuts, 0 },
};
enum { WAYS = sizeof(ways) / sizeof(*ways), ANSWERS = 3 };

/* However the call ends: the peer gives the buffer back, or has just written there and not rung yet, or says nothing. */
static void is_ended(int which)
{
	int way = which / ANSWERS, how = which % ANSWERS;
	bool lives = way == 2 || way == 3; /* there is nobody any more who could say what came */

	signals_sigaction(SIGUSR1, &(struct sigaction){ .sa_handler = handler }, NULL);
	start();
	settings.rdma_dead = how == 2 ? DEAD_US : LONG_US;
	if (ways[way].before)
		ways[way].before();
	pthread_t t = waits();
	if (how == 1) {
		write_there('p', PART);
		say_placed(PART);
	}
	if (ways[way].happens)
		ways[way].happens();
	if (how < 2) {
		await_recall();
		gives_back();
	}
	ssize_t r = end(t), wanted = how == 1 && !lives ? PART : ways[way].ret;
	if (r != wanted)
		sim_wrong("%s, %d: %zd, not %zd", ways[way].what, how, r, wanted);
	if (how == 1)
		expect(buffer, PART, 'p', "placed before the end");
	is_closed();
	if (how == 1 && way < 2) { /* what was rung for late has been read */
		rings(PART);
		if (stream_available(p.stream, p.lib_fd))
			sim_wrong("a late doorbell counts");
	}
	ends();
}

/* The link fails while a packet for the buffer is in the device's hand: that it may still finish, and the call waits for it. */
static void is_in_hand(void)
{
	start();
	pthread_t t = waits();
	sim_wire.hold = true;
	fill('h');
	peer_write_by(&p, p.advert.rkey, p.bulk, p.advert.address, PART);
	PEER_WAIT(sim_wire.held);
	link_fail(link_in(verbs_of(p.stream)), FALLBACK_RDMA_PORT);
	peer_shuts();
	for (int i = 0; i < 300; i++)
		peer_nap();
	if (!pthread_tryjoin_np(t, NULL))
		sim_wrong("a call has returned, and its buffer is written");
	sim_wire.hold = false;
	if (end(t))
		sim_wrong("not the end of the stream");
	is_closed();
	ends();
}

/* The thread gives it back, while the call sleeps: nothing wakes it. */
static void device_goes(void)
{
	start();
	pthread_t t = waits();
	sim_remove(0);
	PEER_WAIT(!sim_wire.locked);
	if (!load_rlx(p.stream->asleep))
		sim_wrong("the call has been woken");
	peer_shuts();
	if (end(t))
		sim_wrong("not the end of the stream");
	is_closed();
	ends();
}

/* In place of the C library's, for the library. */
static ssize_t recv_late(int fd, void *bytes, size_t n, int flags)
{
	ssize_t r = recv(fd, bytes, n, flags);

	while (lags && pthread_equal(pthread_self(), reader))
		peer_nap();
	return r;
}

/*
 * The link fails, and another receive goes on by the next ones while the call with the buffer does not run. No link is made in the room of
 * its own until it has looked there, or it would take its window back from one that never had it.
 */
static void is_overtaken(void)
{
	real.recv = recv_late;
	start();
	lags = true;
	pthread_t t = waits();
	p.had_at = p.out_at;
	for (int i = 0; i < LINKS; i++) {
		peer_fail(&p);
		peer_meet_again(&p);
		peer_say_failover(&p);
		peer_say_return(&p);
		peer_say_by_ring(&p);
		peer_library_reads(&p, 1);
	}
	peer_say_by_ring(&p);
	lags = false;
	if (end(t) != (ssize_t)(p.out_at - p.had_at))
		sim_wrong("not what came last");
	p.had_at = p.out_at;
	peer_converse(&p);
	is_closed();
	ends();
}

/* How many adverts a wait in that place makes. */
static uint64_t adverts_of(ssize_t (*where)(void))
{
	uint64_t before = count_of(STAT_rdma_adverts);

	place = where;
	pthread_t t = begin();
	PEER_WAIT(load_rlx(p.stream->asleep));
	uint64_t made = count_of(STAT_rdma_adverts) - before;
	peer_say_by_tcp(&p);
	if (end(t) <= 0)
		sim_wrong("nothing by TCP");
	return made;
}

static void tells_places_apart(void)
{
#ifdef __SANITIZE_THREAD__ /* what libunwind does at a thread's end comes after ThreadSanitizer's own */
	return;
#endif
	if (callsite_init()) {
		fprintf(stderr, "no libunwind: receives are told apart by length alone\n");
		return;
	}
	start();
	for (int i = 0; i < 4; i++) { /* by length alone the words would outweigh the tensors */
		adverts_of(receive_word);
		place = receive_tensor;
		learns();
	}
	if (adverts_of(receive_word))
		sim_wrong("an advert for a word");
	if (!adverts_of(receive_tensor))
		sim_wrong("no advert for a tensor");
	ends();
}

static void expect_the_end(pthread_t t, const char *what)
{
	ssize_t r = end(t);

	if (r != -ECONNRESET || !load_rlx(p.stream->side->broken))
		sim_wrong("%s: %zd", what, r);
	is_closed();
	ends();
}

static void peer_lies(int which)
{
	pthread_t t;

	start();
	t = waits();
	switch (which) {
	case 0:
		say_placed(LENGTH + 1);
		rings(LENGTH + 1);
		expect_the_end(t, "more than there is room for");
		break;
	case 1:
		say_placed(0);
		rings(PART);
		expect_the_end(t, "nothing");
		break;
	case 2:
		p.advert.id++;
		say_placed(PART);
		rings(PART);
		expect_the_end(t, "another buffer");
		break;
	default: { /* beyond the window, on a page that is registered for it */
		uint64_t before = sim_wire.bad_keys;
		p.advert.address++;
		write_there('X', LENGTH);
		if (sim_wire.bad_keys == before)
			sim_wrong("a byte beyond the window can be written to");
		peer_shuts();
		end(t);
		expect(buffer + LENGTH - 1, 1, GONE, "the last byte");
		ends();
	}
	}
}

/* ---- the library sends */

static uint8_t sent[LENGTH];

static ssize_t sends(void)
{
	struct iovec v = { sent, LENGTH };

	memset(sent, 's', LENGTH);
	return stream_send(p.stream, p.lib_fd, &v, 1, options(MSG_DONTWAIT | MSG_NOSIGNAL));
}

static void advertise(uint64_t at, uint32_t key)
{
	struct advert a = { .at = at, .address = (uintptr_t)p.bulk, .length = PART, .rkey = key, .id = 7 };
	struct link *l = link_out(verbs_of(p.stream));

	fill(GONE);
	peer_message(&p, &a, sizeof(a));
	PEER_WAIT((link_poll(l), link_advert(l).id == 7));
}

static const struct placed *placed(void)
{
	return &((const struct peer_words *)(p.memory + 2 * PEER_RING))->placed;
}

/* The rest of the message finds no advert. */
static void uses_an_advert(void)
{
	uint64_t before = count_of(STAT_rdma_placed);
	struct frame_head h;

	peer_start(&p, 1);
	peer_meet(&p);
	peer_agree(&p);
	advertise(p.in_at, p.mr->rkey);
	if (sends() < PART || count_of(STAT_rdma_placed) != before + PART)
		sim_wrong("it is not written to");
	expect((uint8_t *)p.bulk, PART, 's', "the peer's buffer");
	expect((uint8_t *)p.bulk + PART, PEER_BULK - PART, GONE, "behind the peer's buffer");
	if (placed()->id != 7 || placed()->bytes != PART)
		sim_wrong("the peer is told of %llu bytes", (unsigned long long)placed()->bytes);
	if (recv(p.fd, &h, sizeof(h), MSG_WAITALL) != sizeof(h) || h.type != FRAME_BELL || h.at != p.in_at + PART)
		sim_wrong("it is not rung for");
	ends();
}

static void advertise_much(void)
{
	struct advert a = { .at = p.in_at, .address = (uintptr_t)p.bulk, .length = AT_ONCE + TAIL, .rkey = p.mr->rkey, .id = 7 };
	struct link *l = link_out(verbs_of(p.stream));

	peer_message(&p, &a, sizeof(a));
	PEER_WAIT((link_poll(l), link_advert(l).id == 7));
}

static void *receives_much(void *much)
{
	struct iovec v = { much, AT_ONCE + TAIL };

	return (void *)stream_recv(p.stream, p.lib_fd, &v, 1, options(MSG_WAITALL));
}

/* A request that is a little longer than the others are: nothing is copied for that. */
static void leaves_no_tail(void)
{
	static char much[AT_ONCE + TAIL];
	struct iovec v = { much, sizeof(much) };
	pthread_t t;

	peer_start(&p, 0);
	peer_meet(&p);
	peer_agree(&p);
	advertise_much();
	if (stream_send(p.stream, p.lib_fd, &v, 1, options(MSG_NOSIGNAL)) != sizeof(much) || count_of(STAT_rdma_placed) != sizeof(much))
		sim_wrong("%llu bytes are placed", (unsigned long long)count_of(STAT_rdma_placed));
	offer(sizeof(much));
	pthread_create(&t, NULL, receives_much, much);
	if (end(t) != sizeof(much) || count_of(STAT_rdma_direct) != sizeof(much))
		sim_wrong("%llu bytes are read straight", (unsigned long long)count_of(STAT_rdma_direct));
	ends();
}

/* Of another place, of what can only be read, of what has been asked back: nothing is written there. */
static void leaves_it(int which)
{
	struct control c = { .type = CONTROL_RECALL, .id = 7 };
	struct ibv_mr *readable;

	peer_start(&p, 1);
	peer_meet(&p);
	peer_agree(&p);
	readable = verbs.ibv_reg_mr(p.pd, p.bulk, PEER_BULK, IBV_ACCESS_REMOTE_READ);
	advertise(p.in_at + (which == 0), which == 1 ? readable->rkey : p.mr->rkey);
	if (which == 2) {
		peer_message(&p, &c, sizeof(c));
		while (p.heard.type != CONTROL_RECALLED)
			peer_await(&p, true);
		if (p.heard.id != 7)
			sim_wrong("another is given back");
	}
	if (sends() <= 0)
		sim_wrong("nothing is sent");
	expect((uint8_t *)p.bulk, PEER_BULK, GONE, "the peer's buffer");
	if (which == 1 && load_acq(link_out(verbs_of(p.stream))->state) == LINK_UP)
		sim_wrong("a write was refused, and nobody minds");
	verbs.ibv_dereg_mr(readable);
	ends();
}

/* A peer of before knows no adverts, and is told of none. */
static void an_older_peer(void)
{
	peer_start(&p, 0);
	p.version = VERSION_ADVERTS - 1;
	peer_meet(&p);
	peer_agree(&p);
	learns();
	pthread_t t = begin();
	PEER_WAIT(load_rlx(p.stream->asleep));
	peer_say_by_tcp(&p);
	if (end(t) <= 0 || count_of(STAT_rdma_adverts))
		sim_wrong("adverts for one who knows none");
	ends();
}

/* ---- */

static void alone(int which)
{
	static void (*const tests[])(void) = {
		is_placed, is_passed_by, uses_an_advert, an_older_peer, is_in_hand, is_overtaken, device_goes, leaves_no_tail, tells_places_apart,
	};

	tests[which]();
}

int main(void)
{
	for (int i = 0; i < 9; i++)
		peer_apart(LONG_US, IDLE_US, alone, i);
	for (int i = 0; i < WAYS * ANSWERS; i++)
		peer_apart(LONG_US, IDLE_US, is_ended, i);
	for (int i = 0; i < 4; i++)
		peer_apart(LONG_US, IDLE_US, peer_lies, i);
	for (int i = 0; i < 3; i++)
		peer_apart(LONG_US, IDLE_US, leaves_it, i);
	return 0;
}
