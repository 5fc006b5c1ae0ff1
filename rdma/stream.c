/* Creation and end of a stream, its rings, and what both directions share. */

#include "clock.h"
#include "headroom.h"
#include "log.h"
#include "settings.h"
#include "shm.h"
#include "stats.h"
#include "sys.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

static void set_up_side(struct side *side, uint64_t ring_bytes)
{
	side->segw = 1;
	side->limit = ring_bytes;
	side->cold_from = side->cold_end = UINT64_MAX;
	side->mode = MODE_INLINE;
}

int shm_create(struct stream **ret_stream, struct wire_map *map, size_t map_bytes, int role)
{
	struct stream *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	void *side = mmap(NULL, sizeof(struct side), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (side == MAP_FAILED) {
		free(s);
		return -ENOMEM;
	}
	clock_init();
	s->ops = &transport_shm;
	s->map = map;
	s->map_bytes = map_bytes;
	s->side = side;
	s->role = role;
	s->ring_bytes = (map_bytes - WIRE_HEADER) / 2;
	s->out = &map->dir[role];
	s->in = &map->dir[!role];
	s->ring_out = (char *)map + WIRE_HEADER + (size_t)role * s->ring_bytes;
	s->ring_in = (char *)map + WIRE_HEADER + (size_t)!role * s->ring_bytes;
	s->peer_pidfd = -1;
	s->moved_fd = -1;
	set_up_side(s->side, s->ring_bytes);
	stat_inc(STAT_net_open);
	*ret_stream = s;
	return 0;
}

void shm_destroy(struct stream *s)
{
	stat_add(STAT_net_open, (uint64_t)-1);
	stat_add(STAT_net_ring_pages, -load_rlx(s->side->touched));
	munmap(s->map, s->map_bytes);
	munmap(s->side, sizeof(struct side));
	free(s);
}

/*
 * What the peer wrote cannot be: the connection ends as if it had been reset, and nothing else
 * happens.
 */
void stream_violation(struct stream *s, int fd, const char *what)
{
	if (atomic_exchange(&s->side->broken, true))
		return;
	s->side->dead = true;
	stat_inc(STAT_net_violations);
	fallback(FALLBACK_VIOLATION);
	log_warn("protocol violation by pid %u: %s", s->peer_pid, what);
	sys_call(SYS_shutdown, fd, SHUT_RDWR);
}

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

void ring_put(struct stream *s, uint64_t pos, const char *src, size_t n)
{
	struct side *me = s->side;

	while (n) {
		struct run r = run_at(s, pos, load_rlx(me->origin), load_rlx(me->cold_from), load_rlx(me->cold_end));
		size_t k = r.len < n ? r.len : n;
		memcpy(s->ring_out + r.off, src, k);
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
		memcpy(dst, s->ring_in + r.off, k);
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

/* Pages are there before they are touched, so that a full memory is an answer and not a SIGBUS. */
bool ring_populate(struct stream *s, char *ring, uint64_t from, uint64_t to)
{
	long r = -ENOMEM;

	if (headroom_for(to - from))
		do
			r = sys_call(SYS_madvise, ring + from, to - from, MADV_POPULATE_WRITE);
		while (r == -EINTR || r == -EAGAIN);
	if (r == 0 || r == -EINVAL) {
		stat_add(STAT_net_ring_pages, to - from);
		return true;
	}
	fallback(FALLBACK_NO_MEMORY);
	return false;
}

/* Bytes that the peer has not taken yet.  More than the ring holds: the peer lies; nothing fits then. */
uint64_t stream_unread(struct stream *s)
{
	uint64_t used = load_rlx(s->side->rw) - load_acq(s->out->rr);

	return used <= s->ring_bytes ? used : s->ring_bytes;
}

static void ask_kernel(struct stream *s, int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLRDHUP };

	if (sys_call(SYS_poll, &p, 1, 0) != 1)
		return;
	if (p.revents & (POLLERR | POLLHUP | POLLNVAL))
		s->side->dead = true;
	if (p.revents & POLLRDHUP)
		s->side->rdhup = true;
}

/* Nobody pours megabytes into a dead peer's ring: the kernel is asked every 100 us of sending. */
void stream_check_kernel(struct stream *s, int fd)
{
	uint64_t now = clock_ticks();

	if (now - load_rlx(s->last_check) < us_to_ticks(100))
		return;
	store_rlx(s->last_check, now);
	ask_kernel(s, fd);
}

/* What others may do with the socket from here on must find payload in TCP, not doorbells. */
void shm_make_plain(struct stream *s, int fd)
{
	if (!atomic_exchange(&s->side->plain, true))
		stat_inc(STAT_net_plain_again);
	store_rel(s->in->want_inline, 1);
	full_fence();
	stream_leave_ring(s);
	shm_quiesce(s, fd, false);
}

void stream_prefer_inline(struct stream *s, bool yes)
{
	store_rel(s->in->want_inline, yes || load_rlx(s->side->plain));
	full_fence();
}

void shm_set_edge(struct stream *s, bool yes)
{
	store_rel(s->in->edge, yes);
	full_fence();
}

void shm_sleep_begin(struct stream *s)
{
	atomic_fetch_add(&s->in->sleepers, 1);
	full_fence();
}

void shm_sleep_end(struct stream *s)
{
	atomic_fetch_sub(&s->in->sleepers, 1);
}

void shm_poll_begin(struct stream *s)
{
	atomic_fetch_add(&s->in->poller, 1);
	if (!load_rlx(s->in->spinner))
		store_rlx(s->in->spinner, 1);
}

void shm_poll_end(struct stream *s)
{
	atomic_fetch_sub(&s->in->poller, 1);
	full_fence();
}

void shm_shutdown_write(struct stream *s)
{
	side_lock(&s->side->p);
	s->side->shut = true;
	side_unlock(&s->side->p);
}
