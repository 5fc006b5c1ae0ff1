/* The stream between hosts without a device: frames, marks and ring records, over a TCP connection of
 * this host, in every split and order that the protocol allows; and then in those that it forbids. */
#include "verbs_meeting.h"
#include "verbs_pair.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sha256.h"

enum { ROUNDS = 300, FAILOVERS = 6, LONGEST = 700, ROOM = 1 << 20 };

static uint64_t dice;

static unsigned roll(unsigned sides)
{
	dice = dice * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(dice >> 33) % sides;
}

static uint8_t byte_at(uint64_t at)
{
	return (uint8_t)((at * 2654435761u) >> 13 ^ at);
}

static void check(const uint8_t *buf, size_t n, uint64_t at)
{
	for (size_t i = 0; i < n; i++)
		cr_assert_eq(buf[i], byte_at(at + i), "byte %llu", (unsigned long long)(at + i));
}

/* Reads a little in one of the ways there are; what came is right, and in its place. */
static size_t read_some(struct pair *p, uint64_t at)
{
	static uint8_t buf[ROOM], peeked[ROOM];
	size_t n = 1 + roll(roll(2) ? 20 : 20000);
	int said = roll(3) ? -1 : stream_available(p->s[1], p->fd[1]);
	ssize_t k = roll(3) ? 0 : get(p, peeked, n, MSG_PEEK), r = get(p, buf, n, 0);

	if (r < 0) {
		cr_assert_eq(r, -EAGAIN);
		cr_assert(k <= 0 && said <= 0, "%zd peeked, %d said", k, said);
		return 0;
	}
	if (said >= 0)
		cr_assert(r == (ssize_t)n || r >= said, "%d said, %zd came", said, r);
	if (k > 0)
		cr_assert(r >= k && !memcmp(buf, peeked, (size_t)k), "%zd peeked, %zd came", k, r);
	check(buf, (size_t)r, at);
	return (size_t)r;
}

/* ---- our sender, our receiver; a send buffer so small that frames are cut anywhere */

static void shrink(struct pair *p)
{
	int small = 4608;

	setsockopt(p->fd[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
}

static void exchange(uint64_t from, uint64_t total)
{
	static uint8_t buf[ROOM];
	struct pair p = make_pair();
	uint64_t sent = 0, had = 0;

	shrink(&p);
	verbs_of(p.s[0])->v->frames_from = from;
	store_rlx(verbs_of(p.s[1])->v->mark_at, from);
	if (!from) {
		store_rlx(p.link[0]->peer_counted, 1);
		verbs_of(p.s[0])->v->frames_from = UINT64_MAX;
	}
	while (had < total) {
		size_t n = 1 + roll(roll(2) ? 30 : 30000);
		if (n > total - sent)
			n = total - sent;
		for (size_t i = 0; i < n; i++)
			buf[i] = byte_at(sent + i);
		ssize_t r = n ? put(&p, buf, n) : 0;
		memset(buf, 0xee, n);
		cr_assert(r >= 0 || r == -EAGAIN);
		sent += r > 0 ? (uint64_t)r : 0;
		for (unsigned i = roll(4); i; i--)
			had += read_some(&p, had);
	}
	cr_assert_eq(had, total);
	cr_assert_eq(get(&p, buf, 1, 0), -EAGAIN);
	end_pair(&p);
}

Test(verbs_stream, frames_cut_anywhere)
{
	for (dice = 1; dice < 20; dice++) {
		uint64_t seed = dice;
		exchange(roll(3) ? roll(100000) : 0, 300000);
		dice = seed;
	}
}

/* Small frames and large ones in one queue: a look shows all of it, and what it is said to be. */
Test(verbs_stream, looks_see_all)
{
	static uint8_t buf[ROOM], peeked[ROOM];

	for (dice = 1; dice < 20; dice++) {
		struct pair p = make_pair();
		size_t sent = 0;
		verbs_of(p.s[0])->v->frames_from = dice % 3 ? 0 : UINT64_MAX;
		store_rel(verbs_of(p.s[1])->v->framed, dice % 3 != 0);
		for (int i = 0; i < 30; i++) {
			size_t n = 1 + roll(roll(2) ? 30 : 3000);
			for (size_t j = 0; j < n; j++)
				buf[j] = byte_at(sent + j);
			cr_assert_eq(put(&p, buf, n), (ssize_t)n);
			sent += n;
		}
		cr_assert_eq(stream_available(p.s[1], p.fd[1]), (int)sent);
		cr_assert_eq(get(&p, peeked, ROOM, MSG_PEEK), (ssize_t)sent);
		check(peeked, sent, 0);
		cr_assert_eq(get(&p, peeked, sent - 1, MSG_PEEK), (ssize_t)sent - 1);
		cr_assert_eq(get(&p, buf, ROOM, 0), (ssize_t)sent);
		check(buf, sent, 0);
		end_pair(&p);
	}
}

/* The sender heard too late: what stands at the place is payload, even if it begins like the mark. */
Test(verbs_stream, no_mark)
{
	for (unsigned same = 0; same < MARK_BYTES; same++) {
		struct pair p = make_pair();
		uint8_t bytes[100] = { 0 }, got[100];
		store_rlx(verbs_of(p.s[1])->v->mark_at, 10);
		memcpy(bytes + 10, verbs_of(p.s[1])->v->mark_in, same);
		bytes[10 + same] = 0xff;
		for (size_t i = 0; i < sizeof(bytes); i++)
			cr_assert_eq(write(p.fd[0], bytes + i, 1), 1);
		for (size_t n = 0; n < sizeof(got);) {
			ssize_t r = get(&p, got + n, sizeof(got) - n, 0);
			cr_assert(r > 0 || r == -EAGAIN, "%zd", r);
			n += r > 0 ? (size_t)r : 0;
		}
		cr_assert(!memcmp(got, bytes, sizeof(got)));
		end_pair(&p);
	}
}

/* ---- a reset is told once, by whichever call comes next: as the kernel would have */

static void reset_by_peer(struct pair *p)
{
	struct linger l = { 1, 0 };
	struct pollfd gone = { .fd = p->fd[0] };

	setsockopt(p->fd[1], SOL_SOCKET, SO_LINGER, &l, sizeof(l));
	close(p->fd[1]);
	cr_assert_eq(poll(&gone, 1, -1), 1);
}

static void expect_told(struct pair *p)
{
	cr_expect_eq(put(p, "x", 1), -ECONNRESET);
	cr_expect_eq(put(p, "x", 1), -EPIPE);
	close(p->fd[0]);
}

/* What stands before payload meets the reset first. */
/* ---- plain for good, from frames */

static void in_frames(struct pair *p)
{
	settings.rdma_dead = 20000;
	verbs_of(p->s[0])->v->frames_from = 0;
	store_rel(verbs_of(p->s[1])->v->framed, true);
}

static ssize_t put_next(struct pair *p, size_t n, uint64_t *sent)
{
	static uint8_t buf[ROOM];

	for (size_t i = 0; i < n; i++)
		buf[i] = byte_at(*sent + i);
	ssize_t k = put(p, buf, n);
	*sent += k > 0 ? (uint64_t)k : 0;
	return k;
}

static void get_until(struct pair *p, uint64_t *had, uint64_t sent)
{
	static uint8_t buf[ROOM];
	struct pollfd in = { .fd = p->fd[1], .events = POLLIN };

	while (*had != sent) {
		ssize_t k = get(p, buf, sizeof(buf), 0);
		cr_assert(k > 0 || (k == -EAGAIN && poll(&in, 1, 10000) == 1), "%zd, %llu of %llu", k, (unsigned long long)*had,
			(unsigned long long)sent);
		if (k > 0)
			check(buf, (size_t)k, *had);
		*had += k > 0 ? (uint64_t)k : 0;
	}
}

/* The head finds no room in TCP: what is sent later is payload, not frames, behind it. */
Test(verbs_stream, plain_without_room)
{
	for (size_t n = 100; n < 5000; n += 37) {
		struct pair p = make_pair();
		uint64_t sent = 0, had = 0;
		in_frames(&p);
		while (put_next(&p, n, &sent) > 0)
			;
		if (frame_out_clean(&verbs_of(p.s[0])->v->out)) {
			stream_make_plain(p.s[0], p.fd[0]);
			get_until(&p, &had, sent);
			for (int i = 0; i < 5; i++)
				cr_assert_eq(put_next(&p, n, &sent), (ssize_t)n);
			get_until(&p, &had, sent);
		}
		end_pair(&p);
	}
}

/* A frame is owed its rest: the head comes behind that, and then even what others write is the stream's. */
Test(verbs_stream, plain_once_a_frame_is_paid)
{
	struct pair p = make_pair();
	struct frame_out *o = &verbs_of(p.s[0])->v->out;
	uint64_t sent = 0, had = 0;

	in_frames(&p);
	while (put_next(&p, 1 << 18, &sent) > 0)
		;
	cr_assert(o->owed);
	stream_make_plain(p.s[0], p.fd[0]);
	get_until(&p, &had, sent);
	cr_assert_eq(put_next(&p, o->owed + 1000, &sent), (ssize_t)(sent - had));
	get_until(&p, &had, sent);
	uint8_t byte = byte_at(sent);
	cr_assert_eq(write(p.fd[0], &byte, 1), 1);
	get_until(&p, &had, sent + 1);
	end_pair(&p);
}

/* A record that nobody has rung for lies before the place where plain TCP begins. */
Test(verbs_stream, plain_behind_an_unrung_record)
{
	enum { FIRST = 10, RECORD = 20, LAST = 10 };
	struct pair p = make_pair();
	struct ring_head *h = (struct ring_head *)p.link[1]->ring;
	struct { struct frame_head data; uint8_t first[FIRST]; struct frame_head plain; uint8_t last[LAST]; } __attribute__((packed)) tcp = {
		.data = { .type = FRAME_DATA, .len = FIRST },
		.plain = { .type = FRAME_PLAIN, .ring = sizeof(*h) + 32, .at = FIRST + RECORD },
	};
	uint8_t *record = (uint8_t *)(h + 1), buf[FIRST];
	uint64_t had = FIRST;

	in_frames(&p);
	for (int i = 0; i < FIRST; i++)
		tcp.first[i] = byte_at((uint64_t)i);
	for (int i = 0; i < RECORD; i++)
		record[i] = byte_at(FIRST + (uint64_t)i);
	for (int i = 0; i < LAST; i++)
		tcp.last[i] = byte_at(FIRST + RECORD + (uint64_t)i);
	*h = (struct ring_head){ .at = FIRST, .len = RECORD, .check = ring_check(FIRST, (char *)record, 32) };
	cr_assert_eq(write(p.fd[0], &tcp, sizeof(tcp)), (ssize_t)sizeof(tcp));
	cr_assert_eq(get(&p, buf, FIRST, 0), FIRST);
	check(buf, FIRST, 0);
	fcntl(p.fd[1], F_SETFL, 0);
	store_rlx(p.s[1]->nonblock, false); /* by the kernel's own call, where it is plain */
	struct iovec v = { buf, FIRST };
	cr_assert_eq(stream_recv(p.s[1], p.fd[1], &v, 1, (struct stream_opts){ .mark = signal_mark() }), FIRST);
	check(buf, FIRST, FIRST);
	had += FIRST;
	get_until(&p, &had, FIRST + RECORD + LAST);
	end_pair(&p);
}

Test(verbs_stream, reset_before_a_head)
{
	struct pair p = make_pair();

	signal(SIGPIPE, SIG_IGN);
	verbs_of(p.s[0])->v->frames_from = 0;
	cr_assert(frame_out_head(&verbs_of(p.s[0])->v->out, FRAME_FAILOVER, 0, 0, 0));
	reset_by_peer(&p);
	expect_told(&p);
}

static void *sends_all(void *arg)
{
	static char buf[8 * ROOM];
	struct pair *p = arg;
	struct iovec v = { buf, sizeof(buf) };

	ssize_t n = stream_send(p->s[0], p->fd[0], &v, 1, (struct stream_opts){ .mark = signal_mark() });
	cr_expect(n > 0 && n < (ssize_t)sizeof(buf), "%zd", n);
	return NULL;
}

/* A call that has sent something returns that; the next one hears. */
Test(verbs_stream, reset_within_a_call)
{
	struct pair p = make_pair();
	struct pollfd begun = { .fd = p.fd[1], .events = POLLIN };
	pthread_t t;

	signal(SIGPIPE, SIG_IGN);
	verbs_of(p.s[0])->v->frames_from = 0;
	fcntl(p.fd[0], F_SETFL, 0);
	store_rlx(p.s[0]->nonblock, false);
	cr_assert(!pthread_create(&t, NULL, sends_all, &p));
	cr_assert_eq(poll(&begun, 1, -1), 1);
	reset_by_peer(&p);
	pthread_join(t, NULL);
	expect_told(&p);
}

/* A look that the program never sees, a wait's or FIONREAD's, takes nothing away from it. */
Test(verbs_stream, reset_behind_a_look)
{
	uint8_t buf[16];

	for (int how = 0; how < 6; how++) {
		struct pair p = make_pair();
		struct linger l = { 1, 0 };
		store_rel(verbs_of(p.s[1])->v->framed, how % 2);
		setsockopt(p.fd[0], SOL_SOCKET, SO_LINGER, &l, sizeof(l));
		close(p.fd[0]);
		if (how / 2 == 0)
			cr_expect_eq(stream_really_readable(p.s[1], p.fd[1]), READABLE_YES);
		else if (how / 2 == 1)
			cr_expect_eq(stream_available(p.s[1], p.fd[1]), 0);
		cr_expect_eq(get(&p, buf, sizeof(buf), 0), -ECONNRESET, "%d", how);
		cr_expect_eq(get(&p, buf, sizeof(buf), 0), 0, "%d", how);
		close(p.fd[1]);
	}
}

/* What came before the reset is read first, whoever has met it. */
Test(verbs_stream, reset_behind_bytes)
{
	uint8_t buf[16];
	struct pair p = make_pair();

	signal(SIGPIPE, SIG_IGN);
	cr_assert_eq(write(p.fd[1], "bytes", 5), 5);
	verbs_of(p.s[0])->v->frames_from = 0;
	store_rlx(verbs_of(p.s[0])->v->side.err, ECONNRESET);
	struct iovec v = { buf, sizeof(buf) };
	struct stream_opts o = { .flags = MSG_DONTWAIT, .mark = signal_mark() };
	cr_expect_eq(stream_recv(p.s[0], p.fd[0], &v, 1, o), 5);
	cr_expect_eq(stream_recv(p.s[0], p.fd[0], &v, 1, o), -ECONNRESET);
	cr_expect_eq(stream_recv(p.s[0], p.fd[0], &v, 1, o), -EAGAIN);
	end_pair(&p);
}

/* ---- a sender made by hand: every legal order of ring, frames, doorbells and repetitions */

struct hand {
	struct pair p;
	uint8_t tcp[ROOM];
	size_t begin, end;      /* frames not yet given to TCP */
	uint64_t at, told;      /* stream offset produced; and what the receiver must be able to read by now */
	uint64_t tell[ROUNDS + FAILOVERS];  /* of the piece whose last frame byte is at `when` */
	size_t when[ROUNDS + FAILOVERS];
	unsigned tells, telling;
	uint64_t ring_w;
	struct link *to;        /* whose ring it is; */
	bool over;              /* or none's */
};

static void put_head(struct hand *h, enum frame_type type, uint64_t at, size_t len)
{
	struct frame_head f = { .type = type, .len = (uint32_t)len, .ring = (uint32_t)h->ring_w, .at = at };

	memcpy(h->tcp + h->end, &f, sizeof(f));
	h->end += sizeof(f);
}

static void put_data(struct hand *h, uint64_t at, size_t n)
{
	put_head(h, FRAME_DATA, at, n);
	for (size_t i = 0; i < n; i++)
		h->tcp[h->end++] = byte_at(at + i);
}

static void piece_ends(struct hand *h)
{
	h->tell[h->tells] = h->at;
	h->when[h->tells++] = h->end;
}

/* False: the ring is full. */
static bool put_record(struct hand *h, size_t n)
{
	struct link *l = h->to;
	size_t rest = RING - h->ring_w % RING, whole = sizeof(struct ring_head) + ((n + 15) & ~(size_t)15);
	uint64_t pos = h->ring_w + (rest < RING_TAIL ? rest : 0);

	if (pos + whole - load_rlx(l->ring_r) > RING || whole > RING - pos % RING)
		return false;
	*(struct ring_head *)(l->ring + pos % RING) = (struct ring_head){ .at = h->at, .len = (uint32_t)n };
	for (size_t i = 0; i < n; i++)
		l->ring[pos % RING + sizeof(struct ring_head) + i] = (char)byte_at(h->at + i);
	h->ring_w = pos + whole;
	h->at += n;
	return true;
}

static void produce(struct hand *h)
{
	size_t n = 1 + roll(LONGEST);

	if (!h->over && roll(2) && put_record(h, n)) {
		put_head(h, FRAME_BELL, h->at, 0);
	} else {
		put_data(h, h->at, n);
		h->at += n;
	}
	piece_ends(h);
}

/* What has not been acknowledged comes again, though it may have arrived. */
static void fail_over(struct hand *h)
{
	uint64_t from = h->at;
	size_t n = 1 + roll(LONGEST);

	uint64_t ring = h->ring_w;
	if (put_record(h, n)) {
		h->at = from;
		h->ring_w = ring;
	}
	put_head(h, FRAME_FAILOVER, from, 0);
	put_data(h, from, n);
	h->at = from + n;
	h->over = true;
	piece_ends(h);
}

/* The receiver has come up to the link that failed: only then is there another. */
static void come_back(struct hand *h)
{
	struct links *ls = h->to->links;
	struct verbs_side *v = ls->reader->v;
	uint32_t i = (uint32_t)(h->to - ls->link);

	if (i != load_rlx(v->reads_by))
		return;
	i = (i + 1) % LINKS;
	h->to = &ls->link[i];
	link_clear(h->to);
	h->to->name = (uint32_t)h->tells;
	store_rel(h->to->state, LINK_DOWN);
	store_rel(v->last_up, i);
	put_head(h, FRAME_RETURN, h->at, h->to->name);
	h->ring_w = 0;
	h->over = false;
}

static void deliver(struct hand *h)
{
	size_t n = h->end - h->begin;

	if (n > 40 && roll(2))
		n = 1 + roll(40);
	ssize_t k = n ? write(h->p.fd[0], h->tcp + h->begin, n) : 0;
	cr_assert(k >= 0 || errno == EAGAIN);
	h->begin += k > 0 ? (size_t)k : 0;
	while (h->telling < h->tells && h->when[h->telling] <= h->begin)
		h->told = h->tell[h->telling++];
}

static bool readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

static void by_hand(unsigned failovers)
{
	static struct hand h;
	uint64_t had = 0;
	unsigned produced = 0, failed = 0;

	memset(&h, 0, sizeof(h));
	h.p = make_pair();
	h.to = h.p.link[1];
	store_rel(verbs_of(h.p.s[1])->v->framed, true);
	while (had < h.at || produced < ROUNDS) {
		if (produced < ROUNDS && !roll(3)) {
			produce(&h);
			produced++;
		}
		if (failed < failovers && produced > (failed + 1) * ROUNDS / (failovers + 1) && !h.over) {
			fail_over(&h);
			failed++;
		} else if (h.over && failovers > 1 && !roll(20)) {
			come_back(&h);
		}
		deliver(&h);
		if (h.told > had) /* what a raw wait would see */
			cr_assert(readable(h.p.fd[1]), "%llu of %llu read and not readable", (unsigned long long)had,
				(unsigned long long)h.told);
		if (!roll(3))
			had += read_some(&h.p, had);
		cr_assert(had <= h.at);
	}
	cr_assert_eq(had, h.at);
	cr_assert(!stream_really_readable(h.p.s[1], h.p.fd[1]));
	cr_assert(!readable(h.p.fd[1]));
	end_pair(&h.p);
}

Test(verbs_stream, ring_and_frames)
{
	for (uint64_t seed = 1; seed < 40; seed++) {
		dice = seed;
		by_hand(0);
	}
}

Test(verbs_stream, failover)
{
	for (uint64_t seed = 1; seed < 40; seed++) {
		dice = seed;
		by_hand(1);
	}
}

Test(verbs_stream, failover_and_return)
{
	for (uint64_t seed = 1; seed < 40; seed++) {
		dice = seed;
		by_hand(FAILOVERS);
	}
}

/* ---- a peer that writes anything: its own connection ends, or goes on; nothing else */

static void hostile(void)
{
	struct pair p = make_pair();
	struct link *l = p.link[1];
	uint8_t buf[4096];

	store_rel(verbs_of(p.s[1])->v->framed, true);
	for (int i = 0; i < RING; i++)
		l->ring[i] = (char)roll(roll(2) ? 4 : 256);
	for (int turn = 0; turn < 60; turn++) {
		struct frame_head f = { .type = roll(8), .len = roll(2) ? roll(64) : roll(1 << 24), .ring = roll(2 * RING),
			.at = load_rlx(verbs_of(p.s[1])->v->rx_at) + roll(5) - 2 };
		send(p.fd[0], &f, 1 + roll(sizeof(f)), MSG_NOSIGNAL);
		if (!roll(3))
			link_arrived(l, roll(4 * RING));
		if (!roll(3)) {
			struct control c = { .type = (uint8_t)roll(7), .flags = (uint8_t)roll(4), .id = roll(5), .ring = roll(4 * RING), .at = roll(4 * RING) };
			link_told(l, &c, roll(9) ? sizeof(c) : roll(sizeof(c)));
		}
		ssize_t r = get(&p, buf, sizeof(buf), roll(3) ? 0 : MSG_PEEK);
		cr_assert(r >= -4096 && r <= (ssize_t)sizeof(buf));
		cr_assert(stream_available(p.s[1], p.fd[1]) >= 0);
		stream_really_readable(p.s[1], p.fd[1]);
	}
	end_pair(&p);
}

Test(verbs_stream, hostile_peer)
{
	for (uint64_t seed = 1; seed < 400; seed++) {
		dice = seed;
		hostile();
	}
}

Test(verbs_stream, message_that_cannot_be)
{
	for (int how = 0; how < 3; how++) {
		struct pair p = make_pair();
		struct control c = { .type = how ? CONTROL_STATE : 99 };
		uint8_t buf[16];

		if (how < 2)
			link_told(p.link[1], &c, how ? sizeof(c) - 1 : sizeof(c));
		cr_expect_eq(get(&p, buf, sizeof(buf), 0), how < 2 ? -ECONNRESET : -EAGAIN, "%d", how);
		end_pair(&p);
	}
}

/* ---- the hash, by the vectors of FIPS 180-4 and RFC 4231 */

static void expect_hex(const uint8_t *digest, const char *hex)
{
	char text[65];

	for (int i = 0; i < 32; i++)
		sprintf(text + 2 * i, "%02x", digest[i]);
	cr_assert_str_eq(text, hex);
}

static void expect_hash(const char *text, size_t times, const char *hex)
{
	struct sha256 h;
	uint8_t digest[32];

	sha256_init(&h);
	while (times--)
		sha256_add(&h, text, strlen(text));
	sha256_end(&h, digest);
	expect_hex(digest, hex);
}

static void expect_hmac(const char *key, size_t n, const char *text, const char *hex)
{
	struct hmac h;
	uint8_t digest[32];

	hmac_init(&h, key, n);
	hmac_add(&h, text, strlen(text));
	hmac_end(&h, digest);
	expect_hex(digest, hex);
}

Test(sha256, vectors)
{
	char key[131];

	expect_hash("", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	expect_hash("abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	expect_hash("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
		"248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
	expect_hash("a", 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
	memset(key, 0x0b, 20);
	expect_hmac(key, 20, "Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
	expect_hmac("Jefe", 4, "what do ya want for nothing?",
		"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	memset(key, 0xaa, sizeof(key));
	expect_hmac(key, sizeof(key), "Test Using Larger Than Block-Size Key - Hash Key First",
		"60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

/* What is proven is a matter of both ends and of every version: the two addresses and ports, and not this end's number of the device. */
Test(intro, the_proof_is_of_what_both_ends_know)
{
	struct link l = { .ring_bytes = 1 << 16 };
	struct meeting m = { .role = 1, .version = VERBS_VERSION_MAX, .link = &l, .key = "a secret of sixteen bytes or more", .key_bytes = 33,
		.tuple = { .connect_port = 1, .accept_port = 2, .scope = 7 } };
	uint8_t who = 1, addresses[36] = { 0 }, proof[32];
	struct intro i;
	struct hmac h;

	memset(m.tuple.connect_addr, 3, 16);
	memset(m.tuple.accept_addr, 4, 16);
	memset(m.nonce, 5, sizeof(m.nonce));
	memset(addresses, 3, 16);
	memset(addresses + 16, 4, 16);
	memcpy(addresses + 32, &m.tuple.connect_port, 2);
	memcpy(addresses + 34, &m.tuple.accept_port, 2);
	introduce(&m, &i);
	hmac_init(&h, m.key, m.key_bytes);
	hmac_add(&h, "dlaccel rdma", 12);
	hmac_add(&h, &who, 1);
	hmac_add(&h, m.nonce, sizeof(m.nonce));
	hmac_add(&h, addresses, sizeof(addresses));
	hmac_add(&h, &i, offsetof(struct intro, proof));
	hmac_end(&h, proof);
	cr_assert_arr_eq(i.proof, proof, sizeof(proof));
}
