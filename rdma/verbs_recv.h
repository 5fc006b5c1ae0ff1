/* What the files of the receiving half share: `verbs_recv`, `verbs_take`, `verbs_records`, `verbs_plain`, `verbs_block`, `verbs_advert`, `verbs_look`. All under side->c. */
#pragma once
#include "call.h"
#include "cursor.h"
#include "verbs_io.h"

enum {
	WINDOW = 8192, /* of TCP, looked at before anything is taken */
	INLINE_IOV = 64,
};

/* What a receive saw in TCP when it slept there: good for as long as nobody has taken anything since. */
struct ahead {
	size_t n;
	uint32_t taken;
	uint8_t bytes[WINDOW];
};

struct receiving {
	struct verbs_stream *vs;
	struct verbs_side *v;
	int fd, flags;
	struct cursor c;
	size_t got;
	bool peek, eof, rang;
	bool beside; /* nothing is taken from TCP yet */
	bool emptied; /* TCP held no more than what has been taken */
	int err;
	struct ahead *ahead; /* NULL: none */
	uint32_t advert;     /* ours that is out; 0: none */
	size_t waits_for;    /* bytes that the call had room for when it found nothing; 0: it has not */
	uint64_t waits_at;   /* call site, where the length alone does not tell; else 0 */
	struct patience patience;
};

static inline size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

struct record {
	uint64_t at, end; /* end: ring position behind it */
	uint32_t len;
	const char *payload;
};

static inline bool record_covers(const struct record *r, uint64_t at)
{
	return at - r->at < r->len;
}

enum found { FOUND, NOTHING, NONSENSE };
enum action { TAKEN, HELD, WRONG }; /* of a head */

static inline bool recv_bounce_has(const struct verbs_side *v)
{
	return v->bounce_at != v->bounce_end;
}

/* The peer has said what cannot be: the end of the connection. */
void recv_violation(struct receiving *w, const char *what);

/* ---- records */
/* The record at ring position `pos`; the head is read once, the peer may change it. */
enum found recv_record_at(struct link *l, uint64_t pos, struct record *ret);
/* The first record, from *pos on, that is not past `at`. */
enum found recv_next_record(struct link *l, uint64_t *pos, uint64_t at, struct record *ret);
/* Finds those that no head has told of. */
void recv_look_ahead(struct verbs_stream *vs);
void recv_copy_out(struct receiving *w, const char *p, size_t n);
/* True: bytes came out of the ring. */
bool recv_take_ring(struct receiving *w);

/* ---- TCP */
/* No bytes: the end, or an error, which is kept. */
void recv_kernel_answer(struct receiving *w, long k);
void recv_payload_taken(struct receiving *w, size_t n);
/* Straight into the program's buffer; bytes. */
long recv_into(struct receiving *w, size_t limit);
/*
 * Plain TCP of which nothing is known but that it is the program's: its receive may be the kernel's own call.  Until
 * that is over no place for the mark is proposed, so that any number of receives may be in there, as of a bare socket.
 */
bool recv_begin_direct(struct receiving *w);
void recv_end_direct(struct receiving *w, long k);
/* What has been looked at is there to be taken. */
void recv_discard(struct receiving *w, size_t n);
bool recv_take_plain(struct receiving *w);
/* True: look again. */
bool recv_look_for_mark(struct receiving *w);
/* How much of the ring a head says to be there; false: it cannot be. */
bool recv_believe_ring(struct receiving *w, uint32_t ring);

/* ---- adverts */
/* A call that is about to wait: its buffer is lent to the peer, where that has been worth it lately. */
void recv_advertise(struct receiving *w);
/* A doorbell rings for more than there is: is it in our buffer?  True: taken.  HELD: another call's. */
enum action recv_placed_came(struct receiving *w);
/* The buffer is the call's alone again, with what has come; if `always` is false, only where nothing can come there any more. */
void recv_end_advert(struct receiving *w, bool always);
/* What came after a wait. */
void recv_learn(struct receiving *w, size_t came);

/* ---- blocks */
/* The head stays in TCP for as long as something of the block is to come. */
enum action recv_block_came(struct receiving *w, const struct frame_head *h, const uint8_t *head);
/* True: bytes came of an offered block, or out of what was read of one. */
bool recv_take_block(struct receiving *w);
bool recv_take_bounce(struct receiving *w);
/* Is there an offered block that continues the stream?  Its next bytes into the bounce buffer. */
bool recv_block_waits(struct receiving *w);
bool recv_read_bounce(struct receiving *w);

/* Everything that is there now; and what stands in TCP for nothing any more. */
void recv_take(struct receiving *w);
void recv_settle(struct receiving *w);
/* What is there, copied out or only counted, and left where it is. */
size_t recv_walk(struct receiving *w, bool count_only);
