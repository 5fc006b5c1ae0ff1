/* The peer's part of the stream: frames on TCP, records in both rings. */
#include "peer.h"

#include "process.h"
#include "sha256.h"
#include "verbs_io.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

enum { PIECE = 4080, MUCH = 10000 }; /* a piece with its head is a quarter of the ring; much goes by the ring, not by TCP */

static void mark_of(const struct peer *p, uint8_t direction, uint8_t ret_mark[MARK_BYTES])
{
	struct sha256 h;
	uint8_t digest[32];

	sha256_init(&h);
	sha256_add(&h, "mark", 4);
	sha256_add(&h, &direction, 1);
	sha256_add(&h, p->nonce, sizeof(p->nonce));
	sha256_end(&h, digest);
	memcpy(ret_mark, digest, MARK_BYTES);
}

static void to_tcp(struct peer *p, const void *bytes, size_t n)
{
	if (send(p->fd, bytes, n, MSG_NOSIGNAL) != (ssize_t)n)
		sim_wrong("TCP: %s", strerror(errno));
}

static void from_tcp(struct peer *p, void *bytes, size_t n)
{
	struct pollfd in = { .fd = p->fd, .events = POLLIN };

	if (poll(&in, 1, PEER_PATIENCE_S * 1000) != 1 || recv(p->fd, bytes, n, MSG_WAITALL) != (ssize_t)n)
		sim_wrong("nothing more from the library: %s", strerror(errno));
}

/* The library may send frames from here on. */
static void say_place(struct peer *p)
{
	struct control c = { .type = CONTROL_COUNTED, .at = p->in_at };

	peer_message(p, &c, sizeof(c));
	PEER_WAIT(load_acq(link_out(verbs_of(p->stream))->peer_counted) == p->in_at + 1);
}

static void expect_mark(struct peer *p)
{
	uint8_t mark[MARK_BYTES], other[MARK_BYTES];

	from_tcp(p, other, sizeof(other));
	mark_of(p, (uint8_t)p->role, mark);
	if (memcmp(mark, other, sizeof(mark)))
		sim_wrong("not the mark");
}

void peer_agree(struct peer *p)
{
	uint8_t mark[MARK_BYTES], byte;

	store_rlx(verbs_of(p->stream)->frames_pay, true);
	stream_take_tx(p->stream, p->lib_fd, 0);
	stream_take_rx(p->stream, p->lib_fd, 0);
	peer_await(p, true);
	say_place(p);
	mark_of(p, (uint8_t)!p->role, mark);
	to_tcp(p, mark, sizeof(mark));
	if (stream_send(p->stream, p->lib_fd, &(struct iovec){ "x", 1 }, 1, (struct stream_opts){ .mark = signal_mark() }) != 1)
		sim_wrong("the library cannot send");
	expect_mark(p);
	struct frame_head h;
	from_tcp(p, &h, sizeof(h));
	from_tcp(p, &byte, 1);
	p->in_at = 1;
}

static uint8_t byte_at(uint64_t at)
{
	return (uint8_t)((at * 2654435761u) >> 13 ^ at);
}

static void check(const uint8_t *bytes, size_t n, uint64_t at)
{
	for (size_t i = 0; i < n; i++)
		if (bytes[i] != byte_at(at + i))
			sim_wrong("byte %llu", (unsigned long long)(at + i));
}

void peer_say_head(struct peer *p, enum frame_type type, uint32_t len)
{
	struct frame_head h = { .type = type, .len = len, .ring = (uint32_t)p->ring_w, .at = p->out_at };

	to_tcp(p, &h, sizeof(h));
}

void peer_say_by_ring(struct peer *p)
{
	size_t off = p->ring_w % PEER_RING, whole = sizeof(struct ring_head) + ring_padded(PIECE);

	*(struct ring_head *)(p->memory + off) = (struct ring_head){ .at = p->out_at, .len = PIECE };
	for (size_t i = 0; i < PIECE; i++)
		p->memory[off + sizeof(struct ring_head) + i] = (char)byte_at(p->out_at + i);
	peer_write(p, p->memory + off, p->theirs.ring_address + off, whole);
	peer_await(p, false);
	p->ring_w += whole;
	p->out_at += PIECE;
	peer_say_head(p, FRAME_BELL, 0);
}

void peer_say_by_tcp(struct peer *p)
{
	uint8_t bytes[PIECE];

	for (size_t i = 0; i < PIECE; i++)
		bytes[i] = byte_at(p->out_at + i);
	peer_say_head(p, FRAME_DATA, PIECE);
	to_tcp(p, bytes, sizeof(bytes));
	p->out_at += PIECE;
}

void peer_say_failover(struct peer *p)
{
	peer_say_head(p, FRAME_FAILOVER, 0);
	p->over = true;
}

void peer_say_return(struct peer *p)
{
	peer_say_head(p, FRAME_RETURN, p->name);
	p->over = false;
	p->sends_by = p->name;
	p->ring_w = 0;
}

void peer_library_reads(struct peer *p, int pieces)
{
	static uint8_t bytes[PEER_RING];
	size_t n = (size_t)pieces * PIECE;
	struct iovec v = { bytes, n };

	if (stream_recv(p->stream, p->lib_fd, &v, 1, (struct stream_opts){ .flags = MSG_WAITALL, .mark = signal_mark() }) != (ssize_t)n)
		sim_wrong("an honest peer's bytes do not come");
	check(bytes, n, p->had_at);
	p->had_at += n;
}

static void library_sends(struct peer *p, size_t n)
{
	uint8_t bytes[MUCH];
	struct iovec v = { bytes, n };

	for (size_t i = 0; i < n; i++)
		bytes[i] = byte_at(p->in_at + i);
	if (stream_send(p->stream, p->lib_fd, &v, 1, (struct stream_opts){ .mark = signal_mark() }) != (ssize_t)n)
		sim_wrong("the library cannot send to an honest peer");
}

static void returned(struct peer *p, const struct frame_head *h)
{
	if (!p->they_left || h->len != p->name || h->ring != (uint32_t)p->ring_r)
		sim_wrong("a return out of place");
	p->they_left = false;
	p->ring_r = 0;
}

/* The next that carries payload; those before it say by which link the library sends. */
static struct frame_head next_head(struct peer *p)
{
	for (;;) {
		struct frame_head h;
		from_tcp(p, &h, sizeof(h));
		if (h.type == FRAME_RETURN)
			returned(p, &h);
		else if (h.type != FRAME_FAILOVER)
			return h;
		else if (p->they_left)
			sim_wrong("a second failover");
		else
			p->they_left = true;
	}
}

void peer_library_says(struct peer *p)
{
	uint8_t got[PIECE];

	library_sends(p, PIECE);
	if (p->calm)
		expect_mark(p);
	struct frame_head h = next_head(p);
	p->calm = h.type == FRAME_CALM;
	if ((!p->calm && (h.type != FRAME_DATA || h.len != PIECE)) || h.at != p->in_at)
		sim_wrong("frame %u of %u bytes at %llu", h.type, h.len, (unsigned long long)h.at);
	from_tcp(p, got, PIECE);
	check(got, PIECE, p->in_at);
	p->in_at += PIECE;
	if (p->calm)
		say_place(p);
}

static void read_record(struct peer *p)
{
	size_t off = p->ring_r % PEER_RING, rest = PEER_RING - off;

	if (rest < RING_TAIL) {
		p->ring_r += rest;
		off = 0;
	}
	const struct ring_head *h = (const void *)(p->memory + PEER_RING + off);
	if (h->at != p->in_at || h->len > PEER_RING - off - sizeof(*h))
		sim_wrong("a record of %u bytes at %llu", h->len, (unsigned long long)h->at);
	check((const uint8_t *)(h + 1), h->len, p->in_at);
	p->in_at += h->len;
	p->ring_r += sizeof(*h) + ring_padded(h->len);
}

void peer_say_state(struct peer *p)
{
	struct control c = { .type = CONTROL_STATE, .ring = p->ring_r, .at = p->in_at };
	struct link *l = link_out(verbs_of(p->stream));

	peer_message(p, &c, sizeof(c));
	PEER_WAIT(load_acq(l->peer_here) && load_acq(l->peer_taken) == p->ring_r);
}

void peer_library_says_by_ring(struct peer *p)
{
	uint64_t end = p->in_at + MUCH;

	library_sends(p, MUCH);
	struct frame_head h = next_head(p);
	if (h.type != FRAME_BELL || h.at != end)
		sim_wrong("frame %u up to %llu", h.type, (unsigned long long)h.at);
	while (p->in_at != end)
		read_record(p);
	if (h.ring != (uint32_t)p->ring_r)
		sim_wrong("a ring up to %u", h.ring);
	peer_say_state(p);
}

void peer_converse(struct peer *p)
{
	if (load_acq(link_in(verbs_of(p->stream))->state) != LINK_UP)
		sim_wrong("an honest peer's link is down");
	peer_say_by_ring(p);
	peer_library_reads(p, 1);
	peer_say_by_tcp(p);
	peer_library_reads(p, 1);
	peer_library_says(p);
}
