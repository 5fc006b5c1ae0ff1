/*
 * The ring of a direction: its hot area, used round and round, and its cold one for what a late receiver
 * leaves unread (wire.h, README).  The sender's half is under side->p, the receiver's under side->c.
 */
#include "budget.h"
#include "clock.h"
#include "headroom.h"
#include "log.h"
#include "shm.h"
#include "stats.h"
#include "sys.h"

#include <string.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

_Atomic uint64_t stream_grown;

enum { QUIET = 1000 }; /* small sends in a row that needed no more than the window: what is beyond it is given back */

size_t ring_hot(const struct stream *s)
{
	return s->ring_bytes < WIRE_HOT ? s->ring_bytes : WIRE_HOT;
}

/* A run of the ring: where it lies and how long it is. */
struct run {
	size_t off, len;
};

static struct run run_at(const struct stream *s, uint64_t pos, uint64_t origin, uint64_t cold_from, uint64_t cold_end)
{
	size_t hot = ring_hot(s), off = (pos - origin) & (hot - 1);
	struct run r = { off, hot - off };

	if (pos < cold_from) {
		if (cold_from - pos < r.len)
			r.len = cold_from - pos;
	} else if (pos < cold_end && pos - cold_from < s->ring_bytes - hot) { /* else the peer lies: any place will do */
		r.off = hot + (pos - cold_from);
		r.len = s->ring_bytes - r.off;
		if (cold_end - pos < r.len)
			r.len = cold_end - pos;
	}
	return r;
}

void ring_put(struct stream *s, uint64_t pos, const char *src, size_t n, copy_fn *copy)
{
	struct side *me = s->side;

	while (n) {
		struct run r = run_at(s, pos, load_rlx(me->origin), load_rlx(me->cold_from), load_rlx(me->cold_end));
		size_t k = r.len < n ? r.len : n;
		copy(s->ring_out + r.off, src, k);
		pos += k;
		src += k;
		n -= k;
	}
}

/*
 * What is unread stands still, and so does the origin while hot bytes are unread.  cold_end before
 * cold_from: the sender writes them the other way round, and so no mixture of an old and a new pair makes
 * a hot position cold.
 */
void ring_get(struct stream *s, char *dst, uint64_t pos, size_t n)
{
	struct wire_dir *d = s->in;

	while (n) {
		uint64_t cold_end = load_acq(d->cold_end), cold_from = load_acq(d->cold_from);
		struct run r = run_at(s, pos, load_acq(d->origin), cold_from, cold_end);
		size_t k = r.len < n ? r.len : n;
		copy_through_caches(dst, s->ring_in + r.off, k);
		pos += k;
		dst += k;
		n -= k;
	}
}

/* What is written next lies in the cold area. */
bool ring_is_cold(struct stream *s)
{
	return load_rlx(s->side->cold_end) == UINT64_MAX && load_rlx(s->side->cold_from) != UINT64_MAX;
}

/* Once nothing in the hot area is unread any more.  False: it is not so yet. */
bool ring_back_to_hot(struct stream *s)
{
	struct side *me = s->side;
	uint64_t rw = load_rlx(me->rw);

	if (!ring_is_cold(s))
		return true;
	if ((int64_t)(load_acq(s->out->rr) - load_rlx(me->cold_from)) < 0)
		return false;
	store_rlx(me->origin, rw);
	store_rlx(me->cold_end, rw);
	store_rel(s->out->origin, rw);
	store_rel(s->out->cold_end, rw);
	return true;
}

/* The ring up to there is what this process lets be touched. */
static bool charge(struct stream *s, const char *ring, uint64_t upto)
{
	_Atomic uint64_t *charged = ring == s->ring_out ? &s->charged_out : &s->charged_in;
	uint64_t had = load_rlx(*charged);

	if (upto <= had)
		return true;
	if (!budget_take(upto - had)) {
		fallback(FALLBACK_MEMORY_CAP);
		return false;
	}
	store_rlx(*charged, upto);
	atomic_fetch_add(&stream_grown, upto - had);
	return true;
}

/* Pages are there before they are touched, so that a full memory is an answer and not a SIGBUS. */
bool ring_populate(struct stream *s, char *ring, uint64_t from, uint64_t to)
{
	long r = -ENOMEM;

	if (!charge(s, ring, to))
		return false;
	if (headroom_for(to - from))
		do
			r = sys_call(SYS_madvise, ring + from, to - from, MADV_POPULATE_WRITE);
		while (r == -EINTR || r == -EAGAIN);
	if (r == 0 || r == -EINVAL)
		return true;
	fallback(FALLBACK_NO_MEMORY);
	return false;
}

/* Nothing is unread: what lies beyond the window goes back to the system. */
static void give_pages_back(struct stream *s)
{
	uint64_t touched = load_rlx(s->side->touched), charged = load_rlx(s->charged_out);

	store_rlx(s->quiet, 0);
	sys_call(SYS_madvise, s->ring_out + RING_WINDOW, touched - RING_WINDOW, MADV_REMOVE);
	store_rlx(s->side->touched, RING_WINDOW);
	store_rlx(s->charged_out, RING_WINDOW);
	budget_give(charged - RING_WINDOW);
	atomic_fetch_sub(&stream_grown, charged - RING_WINDOW);
	stat_inc(STAT_net_trims);
}

static bool is_empty(struct stream *s)
{
	return load_acq(s->out->rr) == load_rlx(s->side->rw) && ring_back_to_hot(s);
}

static void start_again(struct stream *s)
{
	uint64_t rw = load_rlx(s->side->rw);

	store_rlx(s->side->origin, rw);
	store_rel(s->out->origin, rw);
	stat_inc(STAT_net_rewinds);
}

/* An empty ring starts again at its first page before n bytes would go beyond the window: small messages touch little and stay in the cache. */
void ring_rewind_if_empty(struct stream *s, size_t n)
{
	if (!is_empty(s))
		return;
	uint64_t used = load_rlx(s->side->rw) - load_rlx(s->side->origin);
	if (used && used + n > RING_WINDOW)
		start_again(s);
}

static void trim(struct stream *s)
{
	if (!is_empty(s))
		return;
	start_again(s);
	give_pages_back(s);
}

void ring_calms_down(struct stream *s, size_t n)
{
	if (load_rlx(s->side->touched) <= RING_WINDOW)
		return;
	store_rlx(s->quiet, n <= RING_WINDOW ? load_rlx(s->quiet) + 1 : 0);
	if (load_rlx(s->quiet) >= QUIET)
		trim(s);
}

/* As far as a look at the connection, which every send makes, tells it. */
static bool is_idle(struct stream *s, uint64_t idle)
{
	return clock_ticks() - load_rlx(s->last_check) >= idle;
}

void stream_trim(struct stream *s, uint64_t idle)
{
	if (!s->map || load_rlx(s->side->touched) <= RING_WINDOW || !is_idle(s, idle) || !side_trylock(&s->side->p))
		return;
	if (load_rlx(s->side->touched) > RING_WINDOW)
		trim(s);
	side_unlock(&s->side->p);
}

/* The end of the area that is being written, as an offset in the ring, and where writing goes on. */
struct area {
	size_t at, end; /* `at` may be beyond the hot area's end: it is round */
};

static struct area writing_area(struct stream *s)
{
	struct side *me = s->side;
	uint64_t rw = load_rlx(me->rw), rr = load_acq(s->out->rr), origin = load_rlx(me->origin);
	size_t hot = ring_hot(s);

	if (ring_is_cold(s))
		return (struct area){ hot + (rw - load_rlx(me->cold_from)), s->ring_bytes };
	uint64_t taken = (int64_t)(rr - origin) > 0 ? rr - origin : 0;
	return (struct area){ rw - origin, taken + hot };
}

/* The receiver is late: from here on the cold area, if it is empty. */
bool ring_go_cold(struct stream *s)
{
	struct side *me = s->side;
	uint64_t rw = load_rlx(me->rw), end = load_rlx(me->cold_end);

	if (s->ring_bytes == ring_hot(s) || ring_is_cold(s) ||
	    (end != UINT64_MAX && (int64_t)(load_acq(s->out->rr) - end) < 0) ||
	    !charge(s, s->ring_out, ring_hot(s) + RING_WINDOW))
		return false;
	store_rlx(me->cold_from, rw);
	store_rlx(me->cold_end, UINT64_MAX);
	store_rel(s->out->cold_from, rw);
	store_rel(s->out->cold_end, UINT64_MAX);
	stat_inc(STAT_net_cold);
	return true;
}

/* Ring bytes that may be written now, with their pages there. */
size_t ring_room(struct stream *s, size_t wanted)
{
	struct side *me = s->side;
	uint64_t used = stream_unread(s), limit = load_rlx(me->limit);
	size_t room = used < limit ? limit - used : 0;

	if (room > wanted)
		room = wanted;
	ring_back_to_hot(s);
	struct area a = writing_area(s);
	if (room > a.end - a.at)
		room = a.end - a.at;
	size_t at = a.at, end = at + room, top = ring_is_cold(s) ? s->ring_bytes : ring_hot(s), touched = load_rlx(me->touched);
	if (end > top)
		end = top;
	if (end > RING_WINDOW)
		store_rlx(s->quiet, 0);
	if (!room || end <= touched)
		return room;
	uint64_t upto = (end + RING_WINDOW - 1) & ~(uint64_t)(RING_WINDOW - 1);
	if (upto < 2 * touched)
		upto = 2 * touched;
	if (upto > top)
		upto = top;
	if (ring_populate(s, s->ring_out, touched, upto)) {
		store_rlx(me->touched, upto);
		return room;
	}
	return at < touched ? touched - at : 0;
}
