/* What the three files of the receiving half share: `verbs_take`, `verbs_look`, `verbs_recv`. All under side->c. */
#pragma once
#include "cursor.h"
#include "verbs_io.h"

enum { WINDOW = 8192 }; /* of TCP, looked at before anything is taken */

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

static inline bool recv_bounce_has(const struct verbs_side *v)
{
	return v->bounce_at != v->bounce_end;
}

/* The first record, from *pos on, that is not past `at`. */
enum found recv_next_record(struct link *l, uint64_t *pos, uint64_t at, struct record *ret);
/* Finds those that no head has told of. */
void recv_look_ahead(struct verbs_stream *vs);
void recv_copy_out(struct receiving *w, const char *p, size_t n);
/* True: look again. */
bool recv_look_for_mark(struct receiving *w);
/* How much of the ring a head says to be there; false: it cannot be. */
bool recv_believe_ring(struct receiving *w, uint32_t ring);
/* Is there an offered block that continues the stream?  Its next bytes into the bounce buffer. */
bool recv_block_waits(struct receiving *w);
bool recv_read_bounce(struct receiving *w);
/* Everything that is there now; and what stands in TCP for nothing any more. */
void recv_take(struct receiving *w);
void recv_settle(struct receiving *w);
/* What is there, copied out or only counted, and left where it is. */
size_t recv_walk(struct receiving *w, bool count_only);
