/*
 * What a peer may say over the fabric and should not: calls and answers, introductions, messages, records, claims,
 * frames, and silence.  It ends its own connection, or loses it to plain TCP, and nothing else: beside it another
 * connection of the same process goes on by RDMA, and new ones are made.
 *
 *   verbs-hostile [FIRST:LAST]     seeds of garbage on a connection that is there
 */
#include "peer.h"

#include "clock.h"
#include "handshake.h"
#include "process.h"
#include "settings.h"
#include "verbs_io.h"
#include "verbs_meeting.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { HUNG_S = 120, STEPS = 150, ROOM = 200000, SRQ_SLOTS = 1024, PATIENT_US = 30000000, IDLE_US = 120000000, HASTY_US = 20000, SLOW_US = 1000000000 };

static struct peer honest;
static uint64_t dice;

static unsigned roll(uint64_t *d, unsigned sides)
{
	*d = *d * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(*d >> 33) % sides;
}

static uint64_t count_of(enum stat_id id)
{
	return atomic_load(&dlaccel_stats.slot[id].value);
}

/* ---- what must go on */

static void expect_a_new_one(void)
{
	for (int role = 0; role < 2; role++) {
		struct peer p;
		peer_start(&p, role);
		peer_meet(&p);
		peer_agree(&p);
		peer_converse(&p);
		peer_end(&p);
	}
}

/* ---- meetings */

struct lie {
	const char *what;
	size_t at, n;      /* the bytes of the call or intro that it changes */
	uint64_t value;
	enum stat_id why;  /* 0: met all the same */
	const void *bytes; /* in place of a number */
};

static uint8_t our_boot[16];

/* Of calls and introductions; those behind 0 are met all the same, by a version that both know. */
#define AT(type, field) offsetof(type, field), sizeof(((type *)0)->field)
#define CALL(field, value, why) { "call: " #field " " #value, AT(struct verbs_call, field), value, why }
#define INTRO(field, value, why) { "intro: " #field " " #value, AT(struct intro, field), value, why }

static const struct lie calls[] = {
	CALL(magic, 0x76616c65, FALLBACK_BAD_HELLO),
	CALL(version_min, VERBS_VERSION_MAX + 1, FALLBACK_VERSION),
	CALL(version_max, VERBS_VERSION_MIN - 1, FALLBACK_VERSION),
	CALL(version_min, 0, 0), /* a peer that knows more versions, older and newer */
	CALL(version_max, 255, 0),
	CALL(ring_shift, RING_SHIFT_LEAST - 1, FALLBACK_BAD_HELLO),
	CALL(ring_shift, RING_SHIFT_MOST + 1, FALLBACK_BAD_HELLO),
	CALL(ring_shift, 255, FALLBACK_BAD_HELLO),
	CALL(secret, 1, FALLBACK_SECRET),
	CALL(tuple, 0, FALLBACK_BAD_HELLO),
	{ "call: from our own host", AT(struct verbs_call, boot), 0, FALLBACK_FOREIGN_NS, our_boot },
};

static const struct lie intros[] = {
	INTRO(magic, 0x76616c65, FALLBACK_BAD_HELLO),
	INTRO(version, VERBS_VERSION_MIN - 1, FALLBACK_BAD_HELLO),
	INTRO(version, VERBS_VERSION_MAX + 1, FALLBACK_BAD_HELLO),
	INTRO(ring_shift, RING_SHIFT_MOST + 1, FALLBACK_BAD_HELLO),
	INTRO(ring_shift, 0, FALLBACK_BAD_HELLO),
	INTRO(ring_shift, 64, FALLBACK_BAD_HELLO),
	INTRO(proof, 1, FALLBACK_SECRET),
	{ "intro: from our own host", AT(struct intro, boot), 0, FALLBACK_FOREIGN_NS, our_boot },
	INTRO(ring_address, 4096, 0), /* its own ring: what is written there finds no key, and the link is down */
	INTRO(ring_rkey, 0xffffff, 0),
};

static void tell_lie(const struct lie *l, void *message)
{
	memset((char *)message + l->at, 0, l->n);
	if (l->bytes)
		memcpy((char *)message + l->at, l->bytes, l->n);
	else
		memcpy((char *)message + l->at, &l->value, l->n < sizeof(l->value) ? l->n : sizeof(l->value));
}

/* Met or not; plain TCP is there in any case. */
static void expect_outcome(struct peer *p, const char *what, enum stat_id why, uint64_t before)
{
	int r = peer_outcome(p);

	if (!r != !why)
		sim_wrong("%s: %s", what, r ? strerror(-r) : "met");
	if (why && count_of(why) == before)
		sim_wrong("%s: counted as something else", what);
}

static void lying_call(const struct lie *l)
{
	struct peer p;
	uint64_t before = count_of(l->why);

	peer_start(&p, 0);
	struct verbs_call c = peer_call_of(&p);
	struct intro i = peer_intro_of(&p);
	tell_lie(l, &c);
	if (peer_call(&p, &c, sizeof(c)) != !l->why)
		sim_wrong("%s: %s", l->what, l->why ? "taken" : "refused");
	if (l->why && count_of(l->why) == before)
		sim_wrong("%s: counted as something else", l->what);
	if (!l->why && p.theirs.version != VERBS_VERSION_MAX)
		sim_wrong("%s: version %u", l->what, p.theirs.version);
	if (!l->why) {
		peer_message(&p, &i, sizeof(i));
		expect_outcome(&p, l->what, 0, 0);
	}
	peer_end(&p);
	peer_converse(&honest);
}

/* As the answer to the library's call (role 1), or the first message of a caller; or behind an honest answer. */
static void lying_introduction(const struct lie *l, int role, bool behind)
{
	struct peer p;
	uint64_t before = count_of(l->why);

	peer_start(&p, role);
	struct intro i = peer_begin(&p);
	if (behind)
		peer_answer(&p, &i, sizeof(i));
	tell_lie(l, &i);
	if (behind)
		peer_message(&p, &i, sizeof(i));
	else
		peer_introduce(&p, &i, sizeof(i));
	expect_outcome(&p, l->what, l->why, before);
	peer_end(&p);
	peer_converse(&honest);
}

/* Zeroes stand for what is missing; whoever is met all the same has said enough. */
static void truncated(int role, size_t n)
{
	struct peer p;

	peer_start(&p, role);
	struct verbs_call c = peer_call_of(&p);
	struct intro i = peer_intro_of(&p);
	bool enough = n >= offsetof(struct verbs_call, boot);
	if (role) {
		peer_take_call(&p);
		peer_answer(&p, &i, n);
		peer_message(&p, &i, sizeof(i));
		peer_outcome(&p);
	} else if (peer_call(&p, &c, n) != enough) {
		sim_wrong("%zu bytes of a call: %s", n, enough ? "refused" : "taken");
	}
	peer_end(&p);
}

/* There is an answer, and whoever is to speak then says nothing, or what by its length is no introduction: what was made for it goes. */
static void no_introduction(size_t n, int role)
{
	struct peer p;
	char message[PEER_SLOT] = { 0 };
	uint64_t before = count_of(FALLBACK_RDMA_SILENT);

	peer_start(&p, role);
	struct intro i = peer_begin(&p);
	memcpy(message, &i, sizeof(i));
	if (role)
		peer_answer(&p, &i, sizeof(i));
	if (n)
		peer_message(&p, message, n);
	expect_outcome(&p, "no introduction", FALLBACK_RDMA_SILENT, before);
	if (count_of(STAT_net_ring_pages))
		sim_wrong("no introduction: its rings are kept");
	peer_end(&p);
}

/* Whoever listens again has been called by nobody yet, whose introduction might be late. */
static void listens_again(void)
{
	struct peer p;

	peer_start(&p, 0);
	peer_meet(&p);
	link_fail(link_in(verbs_of(p.stream)), FALLBACK_RDMA_FAILED);
	while (load_acq(p.meeting->state) != MEET_RESTS)
		peer_nap();
	while (load_acq(p.meeting->state) == MEET_RESTS)
		peer_nap();
	peer_end(&p);
}

/* ---- a connection that is there: the library's thread has others to tend */

static void make_victim(struct peer *p)
{
	peer_start(p, (int)roll(&dice, 2));
	peer_meet(p);
	peer_agree(p);
}

/* A receive of another process of the family is stopped, or dead, while it has the lock. */
static void withdrawal_while_reading(void)
{
	struct peer p;
	struct control c = { .type = CONTROL_WITHDRAW, .id = 1 };

	make_victim(&p);
	struct verbs_stream *vs = verbs_of(p.stream);
	side_lock(&vs->v->side.c);
	peer_message(&p, &c, sizeof(c));
	while (load_acq(link_in(vs)->withdrawn) != 1)
		peer_nap();
	expect_a_new_one();
	side_unlock(&vs->v->side.c);
	for (bool message; p.heard.type != CONTROL_DONE;)
		if (!peer_listen(&p, &message))
			peer_nap();
	peer_end(&p);
}

/* Where plain TCP would begin is not where the stream stands. */
static void calm_elsewhere(int64_t beside)
{
	struct peer p;
	char byte;
	struct iovec v = { &byte, 1 };

	make_victim(&p);
	struct frame_head h = { .type = FRAME_CALM, .ring = (uint32_t)p.ring_w, .at = p.out_at + (uint64_t)beside };
	if (send(p.fd, &h, sizeof(h), MSG_NOSIGNAL) != sizeof(h))
		sim_wrong("no frame can be sent");
	ssize_t k = stream_recv(p.stream, p.lib_fd, &v, 1, (struct stream_opts){ .mark = signal_mark() });
	if (k != -ECONNRESET)
		sim_wrong("plain TCP from elsewhere: %zd", k);
	peer_end(&p);
}

static void late(int unused)
{
	sim_wrong("a receive that must not block does");
}

/* A block is offered that there is no way to read: it is refused, and what cannot wait does not. */
static void no_way_to_read(bool lockable)
{
	struct peer p;
	char room[100];
	struct iovec v = { room, sizeof(room) };
	uint64_t memory = settings.net_memory, lock = sim_wire.lockable;

	make_victim(&p);
	store_rlx(p.stream->nonblock, true);
	if (lockable)
		settings.net_memory = 1;
	else
		sim_wire.lockable = sim_wire.locked;
	struct { struct frame_head head; struct frame_block block; } f = {
		.head = { .type = FRAME_BLOCK, .ring = (uint32_t)p.ring_w, .at = p.out_at },
		.block = { .address = (uintptr_t)p.memory, .length = PEER_RING, .rkey = p.mr->rkey, .id = 1 },
	};
	if (send(p.fd, &f, sizeof(f), MSG_NOSIGNAL) != sizeof(f))
		sim_wrong("no block can be offered");
	signal(SIGALRM, late);
	alarm(HUNG_S / 4);
	ssize_t k = stream_recv(p.stream, p.lib_fd, &v, 1, (struct stream_opts){ .flags = MSG_DONTWAIT, .mark = signal_mark() });
	if (k != -EAGAIN)
		sim_wrong("a block that cannot be read: %zd", k);
	for (bool message; p.heard.type != CONTROL_DONE;)
		if (!peer_listen(&p, &message))
			peer_nap();
	if (p.heard.id != 1 || p.heard.ring)
		sim_wrong("refused with %llu bytes read", (unsigned long long)p.heard.ring);
	settings.net_memory = memory;
	sim_wire.lockable = lock;
	peer_end(&p);
	alarm(HUNG_S);
}

static void *reads_a_block(void *arg)
{
	struct peer *p = arg;
	static char room[PEER_RING];
	struct iovec v = { room, sizeof(room) };

	return (void *)(intptr_t)stream_recv(p->stream, p->lib_fd, &v, 1, (struct stream_opts){ .flags = MSG_WAITALL, .mark = signal_mark() });
}

/* A READ has ended and the peer been told so, who will not send the block again; the link fails before this end has seen it. */
static void failure_behind_a_read(void)
{
	struct peer p;
	pthread_t t;
	void *got;

	make_victim(&p);
	peer_patience(PATIENT_US);
	store_rel(sim_wire.blind, true);
	struct { struct frame_head head; struct frame_block block; } f = {
		.head = { .type = FRAME_BLOCK, .ring = (uint32_t)p.ring_w, .at = p.out_at },
		.block = { .address = (uintptr_t)p.memory, .length = PEER_RING, .rkey = p.mr->rkey, .id = 1 },
	};
	if (send(p.fd, &f, sizeof(f), MSG_NOSIGNAL) != sizeof(f) || pthread_create(&t, NULL, reads_a_block, &p))
		sim_wrong("no block can be offered");
	for (bool message; p.heard.type != CONTROL_DONE;)
		if (!peer_listen(&p, &message))
			peer_nap();
	link_fail(link_in(verbs_of(p.stream)), FALLBACK_RDMA_FAILED);
	for (int i = 0; i < 100; i++) /* it may see the failure first */
		peer_nap();
	store_rel(sim_wire.blind, false);
	shutdown(p.fd, SHUT_WR);
	pthread_join(t, &got);
	peer_patience(HASTY_US);
	if ((intptr_t)got != PEER_RING)
		sim_wrong("%zd bytes of a block that was read", (ssize_t)(intptr_t)got);
	peer_end(&p);
}

/* Answers are asked for and never taken: the queue of sends fills up. */
static void flood_of_withdrawals(void)
{
	struct peer p;

	make_victim(&p);
	p.deaf = true;
	struct link *l = link_in(verbs_of(p.stream));
	for (uint32_t id = 1; load_acq(l->state) == LINK_UP; id++) {
		struct control c = { .type = CONTROL_WITHDRAW, .id = id };
		peer_message(&p, &c, sizeof(c));
		while (load_acq(l->withdrawn) != id && load_acq(l->state) == LINK_UP)
			peer_nap();
	}
	expect_a_new_one();
	peer_end(&p);
}

static bool is_down(const struct link *l)
{
	return load_acq(l->state) != LINK_UP;
}

/* Messages that wake nobody use up what all peers' messages need. */
static void flood_of_messages(void)
{
	struct peer p;
	struct control c = { .type = CONTROL_STATE };
	uint64_t before = count_of(FALLBACK_RDMA_FLOOD);

	make_victim(&p);
	PEER_WAIT((peer_message_quietly(&p, &c, sizeof(c)), is_down(link_in(verbs_of(p.stream)))));
	peer_say_state(&honest);
	if (count_of(FALLBACK_RDMA_FLOOD) != before + 1)
		sim_wrong("a flood is taken for something else");
	expect_a_new_one();
	peer_end(&p);
}

/* An honest one whose message finds no place meanwhile comes again in time. */
static void flood_and_an_honest_one(void)
{
	struct peer p;
	struct control c = { .type = CONTROL_STATE };

	make_victim(&p);
	store_rel(sim_wire.blind, true);
	sim_wire.not_ready_us = 0;
	PEER_WAIT((peer_message_quietly(&p, &c, sizeof(c)), sim_wire.not_ready_us));
	sim_wire.not_ready_us = 0;
	peer_message(&honest, &c, sizeof(c));
	PEER_WAIT(sim_wire.not_ready_us);
	if (sim_wire.not_ready_us > HASTY_US)
		sim_wrong("whoever finds no place comes again after %llu us", (unsigned long long)sim_wire.not_ready_us);
	store_rel(sim_wire.blind, false);
	link_poll(link_in(verbs_of(p.stream)));
	peer_converse(&honest);
	peer_end(&p);
}

static void expect_the_end(struct peer *p, const char *what)
{
	char byte;
	struct iovec v = { &byte, 1 };
	ssize_t r;

	PEER_WAIT((r = stream_recv(p->stream, p->lib_fd, &v, 1, (struct stream_opts){ .flags = MSG_DONTWAIT, .mark = signal_mark() })) != -EAGAIN);
	if (r != -ECONNRESET || !load_rlx(p->stream->side->broken))
		sim_wrong("%s: %zd", what, r);
}

/* As long as a message, and its slot holds one that somebody sent before. */
static void write_told_of_as_a_message(void)
{
	struct peer p;
	struct control c = { .type = CONTROL_STATE };

	make_victim(&p);
	struct link *l = link_in(verbs_of(p.stream));
	for (c.at = 1; c.at <= SRQ_SLOTS; c.at++) {
		peer_message(&p, &c, sizeof(c));
		PEER_WAIT(load_acq(l->peer_at) == c.at);
	}
	peer_write_with_imm(&p, p.memory, sizeof(c));
	expect_the_end(&p, "a write with immediate");
	peer_converse(&honest);
	peer_end(&p);
}

/* ---- garbage */

static uint64_t some_number(uint64_t *d, uint64_t near)
{
	switch (roll(d, 5)) {
	case 0:
		return roll(d, 4);
	case 1:
		return UINT64_MAX - roll(d, 3);
	case 2:
		return (uint64_t)roll(d, UINT32_MAX) << roll(d, 33);
	default:
		return near + roll(d, 9) - 4;
	}
}

static void say_control(struct peer *p, uint64_t *d)
{
	struct control c[4] = { { .type = (uint8_t)roll(d, CONTROL_RECALLED + 3), .flags = (uint8_t)roll(d, 4), .id = (uint32_t)some_number(d, 2),
		.ring = some_number(d, p->ring_w), .at = some_number(d, p->out_at) } };

	peer_message(p, c, roll(d, 12) ? sizeof(c[0]) : roll(d, sizeof(c)));
}

static void say_intro(struct peer *p, uint64_t *d)
{
	struct intro i = peer_intro_of(p);

	((uint8_t *)&i)[roll(d, sizeof(i))] ^= (uint8_t)roll(d, 256);
	peer_message(p, &i, sizeof(i));
}

static void write_record(struct peer *p, uint64_t *d)
{
	size_t off = roll(d, PEER_RING / RING_ALIGN) * RING_ALIGN;
	struct ring_head *h = (struct ring_head *)(p->memory + off);
	uint32_t len = roll(d, 3) ? roll(d, 5000) : (uint32_t)some_number(d, PEER_RING);
	size_t n = sizeof(*h) + roll(d, PEER_RING / 2);

	*h = (struct ring_head){ .at = some_number(d, p->out_at), .len = len, .check = roll(d, 2) ? roll(d, 3) : 0 };
	if (len < PEER_RING - off - sizeof(*h) && !roll(d, 3)) /* it counts, wherever it lies */
		h->check = ring_check(h->at, (char *)(h + 1), ring_padded(len) < PEER_RING - off - sizeof(*h) ? ring_padded(len) : 0);
	peer_write(p, h, p->theirs.ring_address + (roll(d, 8) ? off : roll(d, 64)), n < PEER_RING - off ? n : PEER_RING - off);
}

/* A buffer of its own, or what is none. */
static void say_advert(struct peer *p, uint64_t *d)
{
	struct advert a = { .at = roll(d, 4) ? load_rlx(verbs_of(p->stream)->v->tx_at) : some_number(d, p->in_at),
		.address = roll(d, 4) ? (uintptr_t)p->bulk : some_number(d, 0), .length = roll(d, 4) ? PEER_BULK : some_number(d, PEER_BULK),
		.rkey = roll(d, 4) ? p->mr->rkey : roll(d, 99999), .id = roll(d, 9) };

	peer_message(p, &a, sizeof(a));
}

static void write_words(struct peer *p, uint64_t *d)
{
	struct peer_words *w = (struct peer_words *)p->memory;

	*w = (struct peer_words){ .claim = { .upto = some_number(d, 70000), .id = roll(d, 4) },
		.placed = { .bytes = some_number(d, 70000), .id = roll(d, 4) }, .polls = some_number(d, 1) };
	peer_write(p, w, p->theirs.ring_address + PEER_RING, sizeof(*w));
}

/* Most are nearly what they should be: what follows the first that is not is never read. */
static void say_frame(struct peer *p, uint64_t *d)
{
	static const uint8_t types[] = { FRAME_DATA, FRAME_DATA, FRAME_DATA, FRAME_BLOCK, FRAME_BLOCK, FRAME_BLOCK, FRAME_BELL, FRAME_BELL,
		FRAME_FAILOVER, FRAME_RETURN, FRAME_CALM, FRAME_PLAIN, 0, FRAME_CALM + 1 };
	uint8_t type = types[roll(d, sizeof(types))];
	struct { struct frame_head head; struct frame_block block; uint8_t more[64]; } f = {
		.head = { .type = type, .len = roll(d, 12) ? (type == FRAME_DATA) * (1 + roll(d, 63)) : roll(d, 1 << 24),
			.ring = (uint32_t)(roll(d, 8) ? p->ring_w : some_number(d, p->ring_w)), .at = roll(d, 8) ? p->out_at : some_number(d, p->out_at) },
		.block = { .address = roll(d, 4) ? (uintptr_t)p->memory : some_number(d, 0),
			.length = roll(d, 4) ? roll(d, PEER_RING) : some_number(d, ROOM), .rkey = roll(d, 4) ? p->mr->rkey : roll(d, 99999),
			.id = roll(d, 4) },
	};
	size_t n = sizeof(f.head) + (type == FRAME_DATA ? f.head.len : type == FRAME_BLOCK ? sizeof(f.block) : 0);

	if (n > sizeof(f) || !roll(d, 12))
		n = 1 + roll(d, sizeof(f));
	else if (type == FRAME_DATA && f.head.at == p->out_at)
		p->out_at += f.head.len;
	send(p->fd, &f, n, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void drain(struct peer *p)
{
	static uint8_t bytes[1 << 16];

	while (recv(p->fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
	for (bool message; peer_listen(p, &message);)
		;
}

static char lent[1 << 17];

static void *sends_a_block(void *arg)
{
	struct peer *p = arg;
	struct iovec v = { lent, sizeof(lent) };

	return (void *)stream_send(p->stream, p->lib_fd, &v, 1, (struct stream_opts){ .mark = signal_mark() });
}

/* The library's program is in a call that offers this one. */
static struct frame_block offered_block(struct peer *p, pthread_t *ret_t)
{
	struct { struct frame_head head; struct frame_block block; } f;

	peer_converse(p); /* one that has something to read offers none */
	memset(lent, 'l', sizeof(lent));
	if (pthread_create(ret_t, NULL, sends_a_block, p) || recv(p->fd, &f, sizeof(f), MSG_WAITALL) != sizeof(f) || f.head.type != FRAME_BLOCK)
		sim_wrong("no block is offered");
	return f.block;
}

/* What a peer is to read it cannot write, and the sender goes on without the link. */
static void key_of_a_block(void)
{
	struct peer p;
	pthread_t t;
	void *sent;

	make_victim(&p);
	struct frame_block b = offered_block(&p, &t);
	uint64_t before = sim_wire.bad_keys;
	peer_write_by(&p, b.rkey, p.memory, b.address, 64);
	peer_await(&p, false);
	if (sim_wire.bad_keys == before || lent[0] != 'l')
		sim_wrong("a peer writes where it may only read");
	while (pthread_tryjoin_np(t, &sent))
		drain(&p);
	if ((ssize_t)sent != sizeof(lent))
		sim_wrong("the sender is told %zd", (ssize_t)sent);
	peer_end(&p);
}

static void must_not_read(struct peer *p, const struct frame_block *b, const char *what)
{
	uint64_t before = sim_wire.bad_keys;

	memset(p->bulk, 0, 64);
	peer_read_by(p, b->rkey, p->bulk, b->address, 64);
	peer_await(p, false);
	if (sim_wire.bad_keys == before || p->bulk[0])
		sim_wrong("%s", what);
}

/* A block is its reader's alone, from when it is offered until the call that offers it returns. */
static void key_of_anothers_block(void)
{
	struct peer reader, p;
	pthread_t t;
	void *sent;

	make_victim(&reader);
	make_victim(&p);
	peer_patience(PATIENT_US);
	struct frame_block b = offered_block(&reader, &t);
	must_not_read(&p, &b, "a peer reads what is offered to another");
	peer_read_by(&reader, b.rkey, reader.bulk, b.address, b.length);
	peer_await(&reader, false);
	if (b.length != sizeof(lent) || memcmp(reader.bulk, lent, sizeof(lent)))
		sim_wrong("other bytes of a block");
	struct control c = { .type = CONTROL_DONE, .id = b.id, .ring = b.length };
	peer_message(&reader, &c, sizeof(c));
	pthread_join(t, &sent);
	if ((ssize_t)sent != sizeof(lent))
		sim_wrong("the sender is told %zd", (ssize_t)sent);
	must_not_read(&reader, &b, "a peer reads what it was offered by a call that has returned");
	peer_patience(HASTY_US);
	peer_end(&p);
	peer_end(&reader);
	peer_converse(&honest);
}

/* Both have something to send: the accepting end gives way soon, however long acknowledgements have taken at first. */
static void gives_way(void)
{
	struct peer p;
	pthread_t t;
	void *sent;

	peer_start(&p, 1);
	peer_meet(&p);
	peer_agree(&p);
	peer_patience(PATIENT_US);
	store_rlx(link_out(verbs_of(p.stream))->ack_ticks, us_to_ticks(SLOW_US));
	struct frame_block b = offered_block(&p, &t);
	p.heard.type = 0;
	peer_say_by_tcp(&p);
	while (p.heard.type != CONTROL_WITHDRAW)
		peer_await(&p, true);
	struct control c = { .type = CONTROL_DONE, .id = b.id };
	peer_message(&p, &c, sizeof(c));
	while (pthread_tryjoin_np(t, &sent))
		drain(&p);
	peer_patience(HASTY_US);
	if ((ssize_t)sent != sizeof(lent))
		sim_wrong("the sender is told %zd", (ssize_t)sent);
	peer_end(&p);
}

/* It knows where another connection's ring lies, and its key. */
static void key_of_anothers_ring(void)
{
	struct peer p;

	make_victim(&p);
	uint64_t before = sim_wire.bad_keys;
	char *ring = (char *)honest.theirs.ring_address, was = *ring;
	memset(p.memory, 'X', 64);
	peer_write_by(&p, honest.theirs.ring_rkey, p.memory, honest.theirs.ring_address, 64);
	peer_await(&p, false);
	if (sim_wire.bad_keys == before || *ring != was)
		sim_wrong("a peer writes into another's ring");
	peer_end(&p);
	peer_converse(&honest);
}

static _Atomic bool attacking;

/* One kind alone goes further than all kinds: some end the connection at once. */
static void *attacks(void *arg)
{
	enum { DEEDS = 6, ALL = DEEDS };
	static void (*const deeds[DEEDS])(struct peer *p, uint64_t *d) = { say_control, say_frame, write_record, write_words, say_intro, say_advert };
	struct peer *p = arg;
	uint64_t d = dice + 1;
	unsigned kind = roll(&d, ALL + 1);

	while (attacking) {
		if (roll(&d, 2))
			deeds[kind == ALL ? roll(&d, DEEDS) : kind](p, &d);
		drain(p);
		peer_nap();
	}
	return NULL;
}

static void use(struct peer *p, uint64_t *d)
{
	static uint8_t bytes[ROOM];
	static const unsigned most[] = { 40, 9000, 60000, ROOM };
	struct iovec v = { bytes, 1 + roll(d, most[roll(d, 4)]) };
	struct stream_opts o = { .flags = MSG_DONTWAIT | MSG_NOSIGNAL, .mark = signal_mark() };
	ssize_t r = 0;

	switch (roll(d, 5)) {
	case 0:
		r = stream_send(p->stream, p->lib_fd, &v, 1, o);
		break;
	case 1:
		o.flags |= MSG_PEEK;
		/* fallthrough */
	case 2:
		r = stream_recv(p->stream, p->lib_fd, &v, 1, o);
		break;
	case 3:
		r = stream_available(p->stream, p->lib_fd) < 0 ? -ERANGE : 0;
		break;
	default:
		stream_really_readable(p->stream, p->lib_fd);
	}
	if (r > (ssize_t)v.iov_len || r < -4095 || r == -ERANGE)
		sim_wrong("a call says %zd", r);
}

static void garbage(uint64_t seed)
{
	struct peer p;
	pthread_t t;
	uint64_t d = seed;

	dice = seed * 2;
	make_victim(&p);
	fcntl(p.lib_fd, F_SETFL, O_NONBLOCK);
	store_rlx(p.stream->nonblock, true);
	attacking = true;
	if (pthread_create(&t, NULL, attacks, &p))
		sim_wrong("no thread");
	for (int i = 0; i < STEPS; i++) {
		use(&p, &d);
		peer_nap();
	}
	attacking = false;
	pthread_join(t, NULL);
	peer_converse(&honest);
	peer_end(&p);
}

/* ---- */

static void introductions(int unused)
{
	for (size_t n = 0; n < PEER_SLOT; n++)
		if (n != sizeof(struct intro))
			no_introduction(n, n % 2);
	listens_again();
	no_introduction(0, 1);
	no_introduction(0, 0); /* the thread lives */
}

static void lies(void)
{
	for (size_t n = 0; n < sizeof(struct verbs_call); n++)
		truncated(0, n);
	for (size_t n = 0; n < sizeof(struct intro); n++)
		truncated(1, n);
	peer_converse(&honest);
	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++)
		lying_call(&calls[i]);
	for (size_t i = 0; i < sizeof(intros) / sizeof(*intros); i++) {
		lying_introduction(&intros[i], 1, false);
		lying_introduction(&intros[i], 1, true);
		lying_introduction(&intros[i], 0, false);
	}
}

int main(int argc, char **argv)
{
	unsigned long first = 0, last = 60;

	if (argc > 1 && sscanf(argv[1], "%lu:%lu", &first, &last) != 2)
		return 2;
	boot_id(our_boot);
	peer_apart(HASTY_US, HASTY_US, introductions, 0); /* its patience is short */
	peer_set_up(HASTY_US, IDLE_US); /* no heartbeat helps */
	alarm(HUNG_S);
	peer_start(&honest, 0);
	peer_meet(&honest);
	peer_agree(&honest);
	lies();
	withdrawal_while_reading();
	failure_behind_a_read();
	key_of_a_block();
	key_of_anothers_block();
	gives_way();
	key_of_anothers_ring();
	no_way_to_read(true);
	no_way_to_read(false);
	calm_elsewhere(1);
	calm_elsewhere(-1);
	flood_of_withdrawals();
	flood_of_messages();
	flood_and_an_honest_one();
	write_told_of_as_a_message();
	for (uint64_t seed = first; seed < last; seed++) {
		alarm(HUNG_S);
		garbage(seed);
	}
	expect_a_new_one();
	peer_end(&honest);
	while (count_of(STAT_net_ring_pages)) /* until the thread has given all back */
		peer_nap();
	printf("%lu seeds, %llu violations, %llu bytes of blocks read, %llu requests for what is not there\n", last - first,
		(unsigned long long)count_of(STAT_net_violations),
		(unsigned long long)(count_of(STAT_rdma_direct) + count_of(STAT_rdma_bounced)), (unsigned long long)sim_wire.bad_keys);
	return 0;
}
