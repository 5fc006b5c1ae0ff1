/*
 * A TCP connection that the program made through connect or accept: what we know of it from its first
 * byte on, and its stream once it is upgraded.
 *
 * Threading: found through the fd table and held by a reference for the length of a call; type-stable
 * memory, so that a stale look-up is harmless.  Before the upgrade each call counts its bytes; a
 * direction is handed to the stream when no call of that direction is under way and the kernel's own
 * counters agree with ours.
 */
#pragma once
#include "alone.h"
#include "fdtable.h"
#include "meeting.h"
#include "probe.h"
#include "signals.h"
#include "stream.h"

enum direction { TX, RX };

/* Plain calls under way below, payload counted so far above: a call ends with one operation. */
enum { BUSY_BITS = 16, BUSY_MASK = (1 << BUSY_BITS) - 1 };

/* Sends without a receive between them, and a message that is faster through memory even to a peer that sleeps. */
enum { IN_ROW = 64, LARGE = 16384 };

/* Whether a direction is plain TCP: 0. */
enum { AWAY_SWITCHING = 1, AWAY_ON = 2 };

struct half {
	_Atomic uint64_t plain;   /* see BUSY_BITS; after 2^48 bytes the kernel's count differs */
	_Atomic uint32_t look_at; /* a call that would go beyond these bytes looks at the connection first; the lower half */
	_Atomic uint8_t away;     /* changing hands, or the stream's */
	_Atomic bool never;       /* the kernel's count differs: stays plain */
};

struct sock {
	/* a plain call, and one that registers it, need no more than the first line */
	alignas(64) _Atomic int refs; /* table entries and calls; not those that a half or `waiters` counts */
	_Atomic int fds;              /* table entries alone */
	_Atomic int epolls;           /* registrations in epoll sets */
	_Atomic int waiters;          /* waits that began before there was a stream; they hold it, too */
	_Atomic(struct stream *) stream;
	struct half half[2];
	_Atomic bool live;            /* a stale look-up must not end it twice */
	_Atomic bool never;           /* stays plain TCP */
	_Atomic bool worth;           /* has shown a large message, many in a row, or a wait that can poll: may be upgraded */
	_Atomic bool nonblock;        /* hint */
	_Atomic unsigned in_row;      /* sends since the last receive */
	_Atomic uint32_t told[2];     /* of these plain bytes the process's counters know; the lower half */
	_Atomic bool nodelay;         /* as the program set it; the kernel's is on from the upgrade on */
	_Atomic bool forked;          /* inherited by another process before the upgrade */
	_Atomic bool inherited;       /* from another process, which uses it too */
	_Atomic bool advancing;
	_Atomic unsigned calls;       /* sends and receives of its stream, roughly */
	_Atomic unsigned told_at;     /* `calls` when an epoll wait last told of it */
	_Atomic uint64_t next_try;    /* bytes of both directions at which the handshake goes on */
	_Atomic uint64_t next_ticks;  /* not before */
	uint64_t retry_gap;
	unsigned tries;
	int role, fd;
	struct rendezvous rv;
	_Atomic(struct meeting *) meeting; /* with another host */
	struct tuple tuple;
	struct sock *next_free;
};

extern bool sockets_on; /* DLACCEL and DLACCEL_SOCKETS */

void sock_track(int fd, int role, bool nonblock);
void sock_end(struct sock *s);
void sock_after_fork(void);
void sock_advance(struct sock *s, int fd, uint64_t upcoming);
/* Stays, or goes back to, plain TCP; `why` is a FALLBACK_ id. */
void sock_make_plain(struct sock *s, int fd, int why);
/* The meeting under way is given up: there is a stream, or there will be none. */
void sock_stop_meeting(struct sock *s);
/* Of every connection that is idle. */
void sock_trim_idle(void);
/* What has gone over plain TCP is counted: not worth a visit for every small message, since all threads share the counters. */
void sock_tell_plain(struct sock *s, enum direction d);
/* One more number, or one less, for the same connection. */
void sock_share(struct sock *s, int fd);
void sock_unshare(struct sock *s, int fd);
/* The process ends: nothing of ours may lie unread in TCP. */
void sock_quiesce(struct sock *s, int fd);
/* In the child of a fork: no call is under way, and what the parent moved is not the child's. */
void sock_in_child(struct sock *s);
/* SO_LINGER is set to no time. */
bool sock_is_abortive(int fd);
/* Options that decide how the stream behaves, as the kernel has them now. */
void sock_read_options(struct sock *s, int fd, struct stream *st);
void sock_read_capacity(int fd, struct stream *st);
void sock_read_time_out(int fd, struct stream *st);

/* Of an entry that is a connection's: fd_object with a constant less. */
static inline struct sock *sock_of(uintptr_t entry)
{
	return (struct sock *)(entry - FD_SOCK);
}

static inline void sock_release(struct sock *s)
{
	if (__builtin_expect(count_add(&s->refs, -1) == 1, 0))
		sock_end(s);
}

static inline struct sock *sock_enter_entry(int fd, uintptr_t e)
{
	struct sock *s = fd_object(e);

	count_add(&s->refs, 1);
	if (__builtin_expect(fd_get(fd) == e, 1))
		return s;
	sock_release(s);
	return NULL;
}

/* The connection behind fd, held; NULL: none of ours. */
static inline struct sock *sock_enter(int fd)
{
	uintptr_t e = fd_get(fd);

	if (__builtin_expect(fd_kind(e) != FD_SOCK, 1))
		return NULL;
	return sock_enter_entry(fd, e);
}

static inline void sock_leave(struct sock *s)
{
	sock_release(s);
}

static inline uint64_t half_bytes(const struct half *h)
{
	return load_acq(h->plain) >> BUSY_BITS;
}

/* The next call of either direction looks at the connection. */
static inline void sock_look_soon(struct sock *s)
{
	for (int d = 0; d < 2; d++)
		store_rlx(s->half[d].look_at, (uint32_t)half_bytes(&s->half[d]));
}

static inline void sock_is_worth(struct sock *s)
{
	if (load_rlx(s->worth))
		return;
	store_rlx(s->worth, true);
	sock_look_soon(s);
}

static inline bool half_is_on(const struct half *h)
{
	return load_acq(h->away) & AWAY_ON;
}

/* The stream if it has that direction. */
static inline struct stream *sock_stream(struct sock *s, enum direction d)
{
	return half_is_on(&s->half[d]) ? load_acq(s->stream) : NULL;
}

static inline void sock_wait_end(struct sock *s)
{
	if (__builtin_expect(count_add(&s->waiters, -1) == 1 && !atomic_load(&s->refs), 0))
		sock_end(s);
}

/* A wait that finds no stream; false: not this connection's number any more. */
static inline bool sock_wait_begin(struct fd_look l)
{
	struct sock *s = sock_of(l.entry);

	count_add(&s->waiters, 1);
	if (__builtin_expect(load_acq(*l.at) == l.entry, 1))
		return true;
	sock_wait_end(s);
	return false;
}

/*
 * The shortest way through a plain call, for all but one in some KiB: its count as being under way holds the connection
 * as well, so it changes two words that others see, and looks at nothing but the first line.
 */

/* Nothing to look at. */
static inline bool plain_is_quick(struct sock *s, enum direction d, uint64_t upcoming)
{
	struct half *h = &s->half[d];
	uint32_t all = (uint32_t)(load_rlx(h->plain) >> BUSY_BITS) + (uint32_t)upcoming;
	unsigned row = d == TX ? load_rlx(s->in_row) + 1 : 0;

	if (upcoming >= LARGE || (int32_t)(all - load_rlx(h->look_at)) >= 0 || row == IN_ROW)
		return false;
	store_rlx(s->in_row, row);
	return true;
}

/*
 * False: sock_enter_look and sock_plain_begin, for there is something to look at, or another connection behind the
 * number, or none: then `l->at` is NULL, and the call is counted until sock_enter_look takes it back.
 */
static inline bool plain_enter(struct fd_look *l, enum direction d, uint64_t upcoming)
{
	struct sock *s = sock_of(l->entry);
	struct half *h = &s->half[d];

	if (__builtin_expect(!plain_is_quick(s, d, upcoming), 0))
		return false;
	count_64(&h->plain, 1); /* orders with `away` */
	if (__builtin_expect(load_acq(*l->at) == l->entry && !load_acq(h->away), 1)) /* MUTATE: plain_recheck */
		return true;
	l->at = NULL;
	return false;
}

/* The rest, where the result shows something, or the connection was closed meanwhile. */
ssize_t plain_leave_looking(struct sock *s, int fd, enum direction d, ssize_t r);
ssize_t plain_end(struct sock *s, ssize_t r);

/* As sock_plain_moved: whatever the result, it shows nothing. */
static inline ssize_t plain_leave_moved(struct fd_look l, enum direction d, ssize_t r)
{
	struct sock *s = sock_of(l.entry);

	count_64(&s->half[d].plain, ((r > 0 ? (uint64_t)r : 0) << BUSY_BITS) - 1);
	return __builtin_expect(atomic_load(&s->refs), 1) ? r : plain_end(s, r);
}

static inline ssize_t plain_leave(struct fd_look l, int fd, enum direction d, ssize_t r)
{
	if (__builtin_expect((size_t)r >= LARGE, 0)) /* or an error */
		return plain_leave_looking(sock_of(l.entry), fd, d, r);
	return plain_leave_moved(l, d, r);
}

/* What plain_enter left: the connection, held, or NULL where it is gone. */
struct sock *sock_enter_look(int fd, struct fd_look l, enum direction d);

/* What a plain call's result shows while the connection is held. */
ssize_t plain_look(struct sock *s, int fd, enum direction d, ssize_t r);
/* Begins a plain call; false: the stream has the direction. */
bool sock_plain_begin(struct sock *s, int fd, enum direction d, uint64_t upcoming);
void sock_plain_end(struct sock *s, enum direction d, ssize_t n);
/* The kernel moved the bytes itself and would go on doing so: no reason to upgrade. */
void sock_plain_moved(struct sock *s, enum direction d, ssize_t n);

ssize_t sock_send(struct sock *s, int fd, const struct iovec *iov, int cnt, int flags);
ssize_t sock_recv(struct sock *s, int fd, const struct iovec *iov, int cnt, int flags);
