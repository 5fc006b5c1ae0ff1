/* Creation and end of a stream, and what both directions share. */

#include "budget.h"
#include "clock.h"
#include "log.h"
#include "shm.h"
#include "stats.h"
#include "sys.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

__thread TLS_IE uint64_t stream_thread_inline;
_Atomic int stream_unsure;

static void nobody_trims(void)
{
}
void (*stream_trim_idle)(void) = nobody_trims;

static void set_up_side(struct side *side, uint64_t ring_bytes)
{
	side->segw = 1;
	side->limit = ring_bytes;
	side->cold_from = side->cold_end = UINT64_MAX;
	side->mode = MODE_INLINE;
}

int shm_create(struct stream **ret_stream, struct wire_map *map, size_t map_bytes, int role)
{
	if (!budget_take(SHM_LEAST))
		return -ENOMEM;
	struct stream *s = calloc(1, sizeof(*s));
	void *side = mmap(NULL, sizeof(struct side), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!s || side == MAP_FAILED) {
		if (side != MAP_FAILED)
			munmap(side, sizeof(struct side));
		free(s);
		budget_give(SHM_LEAST);
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
	s->charged_out = RING_WINDOW;
	stat_inc(STAT_net_open);
	*ret_stream = s;
	return 0;
}

void shm_destroy(struct stream *s)
{
	stat_add(STAT_net_open, (uint64_t)-1);
	uint64_t charged = load_rlx(s->charged_out) + load_rlx(s->charged_in);
	budget_give(WIRE_HEADER + charged);
	atomic_fetch_sub(&stream_grown, charged - RING_WINDOW);
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

/* Bytes that the peer has not taken yet.  More than the ring holds: the peer lies; nothing fits then. */
uint64_t stream_unread(struct stream *s)
{
	uint64_t used = load_rlx(s->side->rw) - load_acq(s->out->rr);

	return used <= s->ring_bytes ? used : s->ring_bytes;
}

static void ask_kernel(struct stream *s, int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLRDHUP };
	bool told;
	int n;

	if (sys_call(SYS_poll, &p, 1, 0) != 1)
		return;
	if (p.revents & (POLLERR | POLLHUP | POLLNVAL))
		s->side->dead = true;
	if (!(p.revents & POLLRDHUP))
		return;
	s->side->rdhup = true;
	/* what lies in TCP would be lost */
	if (!s->side->dead && !sys_call(SYS_ioctl, fd, FIONREAD, &n) && !n)
		stream_end_is_reset(s, fd, &told);
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
	full_fence(); /* MUTATE: fence_plain */
	stream_leave_ring(s);
	shm_quiesce(s, fd, false);
}

void stream_prefer_inline(struct stream *s, bool yes)
{
	store_rel(s->in->want_inline, yes || load_rlx(s->side->plain));
	full_fence(); /* MUTATE: fence_prefer */
}

void shm_set_edge(struct stream *s, bool yes)
{
	store_rel(s->in->edge, yes);
	full_fence(); /* MUTATE: fence_edge */
}

void shm_sleep_begin(struct stream *s)
{
	atomic_fetch_add(&s->in->sleepers, 1);
	full_fence(); /* MUTATE: fence_sleep */
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
	full_fence(); /* MUTATE: fence_poll_end */
}

void shm_shutdown_write(struct stream *s)
{
	side_lock(&s->side->p);
	s->side->shut = true;
	side_unlock(&s->side->p);
}
