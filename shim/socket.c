#include "socket.h"

#include "family.h"
#include "heap.h"
#include "section_lock.h"
#include "settings.h"
#include "stats.h"
#include "sys.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

bool sockets_on;

/* Below ANY_MESSAGE the setting NET_THRESHOLD asks for every connection. */
enum { ANY_MESSAGE = 4096, POOL_BYTES = 256 * 1024 };

/* ---- objects: from pools that are never unmapped, so that a stale pointer still points to a sock */

static struct sock *free_list;
static _Atomic int free_lock;

static void grow_pool(void)
{
	long p = sys_call(SYS_mmap, 0, POOL_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p < 0 && p > -4096)
		return;
	for (struct sock *s = (struct sock *)p; (char *)(s + 1) <= (char *)p + POOL_BYTES; s++) {
		s->next_free = free_list;
		free_list = s;
	}
}

void sock_after_fork(void)
{
	atomic_store(&free_lock, 0);
}

static struct sock *sock_alloc(void)
{
	section_lock(&free_lock);
	if (!free_list)
		grow_pool();
	struct sock *s = free_list;
	if (s)
		free_list = s->next_free;
	section_unlock(&free_lock);
	return s;
}

static void sock_free(struct sock *s)
{
	section_lock(&free_lock);
	s->next_free = free_list;
	free_list = s;
	section_unlock(&free_lock);
}

static void half_init(struct half *h)
{
	atomic_fetch_and(&h->plain, (uint64_t)BUSY_MASK);
	store_rlx(h->look_at, 0);
	store_rlx(h->away, 0);
	store_rlx(h->never, false);
}

/* refs, the waits and the calls under way stay as they are: a stale look-up may be adding and taking back its own at this moment. */
static void sock_init(struct sock *s, int fd, int role, bool nonblock)
{
	store_rlx(s->stream, NULL);
	for (int d = 0; d < 2; d++)
		half_init(&s->half[d]);
	store_rlx(s->next_try, role ? settings.net_threshold : settings.net_threshold / 2);
	store_rlx(s->next_ticks, 0);
	s->retry_gap = 0;
	s->tries = 0;
	store_rlx(s->advancing, false);
	store_rlx(s->never, false);
	store_rlx(s->forked, false);
	store_rlx(s->inherited, false);
	store_rlx(s->nonblock, nonblock);
	store_rlx(s->nodelay, false);
	store_rlx(s->worth, settings.net_threshold < ANY_MESSAGE);
	store_rlx(s->in_row, 0);
	store_rlx(s->told[TX], 0);
	store_rlx(s->told[RX], 0);
	store_rlx(s->epolls, 0);
	store_rlx(s->fds, 0);
	s->role = role;
	s->fd = fd;
	s->rv = (struct rendezvous){ -1, -1 };
	store_rlx(s->meeting, NULL);
	memset(&s->tuple, 0, sizeof(s->tuple));
}

void sock_share(struct sock *s, int fd)
{
	atomic_fetch_add(&s->fds, 1);
	atomic_fetch_add(&s->refs, 1);
	uintptr_t old = fd_set_entry(fd, FD_SOCK, s);
	if (fd_kind(old) == FD_SOCK) /* the number was closed past us */
		sock_unshare(fd_object(old), fd);
}

/* Calls that sleep on this number go on with one of ours, as a file goes on in the kernel. */
static void keep_for_sleepers(struct stream *st, int fd)
{
	if (!load_acq(st->asleep) && !load_acq(st->side->inflight))
		return;
	long copy = sys_call(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 0);
	if (copy >= 0)
		store_rel(st->moved_fd, fd_hide((int)copy));
}

/*
 * TCP answers a close with bytes unread with a reset, and else with an orderly end: neither a doorbell
 * nor a byte that nobody rang for may change that.
 */
static void before_last_close(struct sock *s, int fd)
{
	struct stream *st = sock_stream(s, RX);
	struct linger now = { .l_onoff = 1 };
	bool forked = load_rlx(s->forked); /* another process may go on with it */

	if (!st)
		return;
	if (!forked) {
		stream_reclaim();
		keep_for_sleepers(st, fd);
		if (load_rlx(st->moved_fd) >= 0)
			return;
	}
	stream_quiesce(st, fd, !forked);
	if (stream_close_means_reset(st, fd) && !(forked && family_holds_too(fd)))
		sys_call(SYS_setsockopt, fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

void sock_stop_meeting(struct sock *s)
{
	struct meeting *m = atomic_exchange(&s->meeting, NULL);

	if (s->rv.listener >= 0)
		rendezvous_close(&s->rv);
	if (m)
		verbs_meet_close(m);
}

/* Calls that never return (longjmp, cancellation) may hold the connection for ever; not this. */
static void give_up_rendezvous(struct sock *s)
{
	if (atomic_exchange(&s->advancing, true))
		return;
	store_rlx(s->never, true);
	sock_stop_meeting(s);
	store_rel(s->advancing, false);
}

void sock_unshare(struct sock *s, int fd)
{
	if (atomic_fetch_sub(&s->fds, 1) == 1) {
		give_up_rendezvous(s);
		before_last_close(s, fd);
	}
	sock_release(s);
}

void sock_tell_plain(struct sock *s, enum direction d)
{
	uint64_t n = half_bytes(&s->half[d]);

	stat_add(d == TX ? STAT_net_bytes_plain : STAT_net_recv_plain, (uint32_t)n - atomic_exchange(&s->told[d], (uint32_t)n));
}

void sock_quiesce(struct sock *s, int fd)
{
	struct stream *st = sock_stream(s, RX);

	sock_tell_plain(s, TX);
	sock_tell_plain(s, RX);
	if (st)
		stream_quiesce(st, fd, false);
}

void sock_track(int fd, int role, bool nonblock)
{
	struct sock *s = sock_alloc();

	if (!s)
		return;
	atomic_fetch_add(&s->refs, 1); /* before live: see may_end */
	sock_init(s, fd, role, nonblock);
	store_rel(s->live, true);
	sock_share(s, fd);
	sock_release(s);
	stat_inc(STAT_net_tracked);
}

static bool is_held(const struct sock *s)
{
	return atomic_load(&s->refs) || atomic_load(&s->waiters) ||
	       ((atomic_load(&s->half[TX].plain) | atomic_load(&s->half[RX].plain)) & BUSY_MASK);
}

/*
 * Whoever lets go last, of the references, a half's calls or the waits, comes here; a stale look-up does, too.  `live` first:
 * seen true before `is_held` is false, it is this life's, for the next one is referenced before it is live.
 */
static bool may_end(struct sock *s)
{
	section_lock(&free_lock);
	bool yes = load_acq(s->live) && !is_held(s);
	if (yes)
		store_rlx(s->live, false);
	section_unlock(&free_lock);
	return yes;
}

void sock_end(struct sock *s)
{
	int err = errno;

	if (!may_end(s))
		return;
	struct stream *st = atomic_exchange(&s->stream, NULL);
	sock_stop_meeting(s);
	sock_tell_plain(s, TX);
	sock_tell_plain(s, RX);
	if (st) {
		fd_close_hidden(load_rlx(st->peer_pidfd));
		fd_close_hidden(load_rlx(st->moved_fd));
		stream_destroy(st);
	}
	sock_free(s);
	errno = err;
}

void sock_in_child(struct sock *s)
{
	store_rlx(s->inherited, true);
	store_rlx(s->advancing, false);
	for (int d = 0; d < 2; d++) {
		struct half *h = &s->half[d];
		store_rlx(h->plain, load_rlx(h->plain) & ~(uint64_t)BUSY_MASK);
		store_rlx(s->told[d], (uint32_t)half_bytes(h));
		store_rlx(h->away, load_rlx(h->away) & AWAY_ON);
	}
}

/* ---- data calls of an upgraded direction */

static ssize_t set_errno(ssize_t r)
{
	if (r >= 0)
		return r;
	errno = (int)-r;
	return -1;
}

static void obey_off(struct sock *s, int fd)
{
	if (__builtin_expect(atomic_load_explicit(&dlaccel_stats.off, memory_order_relaxed) & 1, 0) && !load_rlx(s->never))
		sock_make_plain(s, fd, FALLBACK_SWITCHED_OFF);
}

/* `before`: the thread's inline bytes at the call's begin.  A signal handler's calls may have added to them. */
static void record_transfer(enum probe_kind kind, const struct stream *st, int fd, ssize_t moved, uint64_t before)
{
	uint64_t all = moved > 0 ? (uint64_t)moved : 0, kernel = stream_thread_inline - before;

	if (kernel > all)
		kernel = all;
	if (all > kernel)
		probe(kind, (uint64_t)fd, all - kernel, st->ops->stat == STAT_net_verbs ? PATH_VERBS : PATH_RING);
	if (kernel)
		probe(kind, (uint64_t)fd, kernel, PATH_PLAIN);
}

ssize_t sock_send(struct sock *s, int fd, const struct iovec *iov, int cnt, int flags)
{
	struct stream_opts o = { .flags = flags, .mark = signal_mark() };

	obey_off(s, fd);
	add_rlx(s->calls, 1);
	struct stream *st = load_acq(s->stream);
	uint64_t before = stream_thread_inline;
	ssize_t r = stream_send(st, fd, iov, cnt, o);
	if (__builtin_expect(!half_is_on(&s->half[RX]), 0))
		sock_advance(s, fd, 0);
	record_transfer(PROBE_SEND, st, fd, r, before);
	return set_errno(r);
}

ssize_t sock_recv(struct sock *s, int fd, const struct iovec *iov, int cnt, int flags)
{
	struct stream_opts o = { .flags = flags, .mark = signal_mark() };

	obey_off(s, fd);
	add_rlx(s->calls, 1);
	if (__builtin_expect(!half_is_on(&s->half[TX]), 0))
		sock_advance(s, fd, 0);
	struct stream *st = load_acq(s->stream);
	uint64_t before = stream_thread_inline;
	ssize_t r = stream_recv(st, fd, iov, cnt, o);
	if (__builtin_expect(load_rlx(st->lowat_adjusted), 0))
		stream_lowat_drained(st, fd);
	if (!(flags & MSG_PEEK))
		record_transfer(PROBE_RECV, st, fd, r, before);
	if (r >= LARGE)
		heap_look();
	return set_errno(r);
}
