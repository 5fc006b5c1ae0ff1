/*
 * A byte stream with TCP underneath, over one of two transports: shared memory (shm.h) or verbs
 * (verbs.h).  Both directions are independent; each is a sequence of pieces that lie either beside TCP
 * or in it.  rdma/README.md has the rules and why they are so.
 *
 * Threading: any thread of any process that holds the socket may call anything.  Sending takes
 * side->p, receiving side->c; neither is held while the kernel sleeps.
 * Ownership: the stream belongs to the shim's socket object, which keeps it until the last call and
 * the last fd of this process are gone.  The file descriptor stays the program's.
 * Errors: -errno, as the real call would have set it.
 */
#pragma once
#include "lock.h"
#include "signals.h"
#include "stats.h"
#include "stores.h"
#include "sys.h"
#include "tuner.h"
#include "wire.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

enum mode { MODE_INLINE, MODE_RING };

/* A reset that is the end to the program; it has sent once since, which bare TCP would have taken. */
enum ended { END_NOT, END_TOLD, END_ANSWERED };

/* What one side knows and the peer cannot touch; shared by the processes a fork left with this side. */
struct side {
	alignas(64) struct side_lock p;
	_Atomic uint32_t mode;
	_Atomic uint32_t segw, inflight; /* inflight: kernel sends running outside the lock */
	_Atomic uint64_t rw, tx, origin;
	_Atomic uint64_t cold_from, cold_end;
	_Atomic uint64_t touched;        /* ring bytes populated */
	_Atomic bool reset_told;         /* the program has seen ECONNRESET once */
	_Atomic bool shut, dead, plain;  /* dead: the kernel says the connection is over */
	_Atomic bool rdhup;
	_Atomic uint32_t ended;          /* enum ended */
	_Atomic bool more;               /* the kernel holds back a tail sent with MSG_MORE: push before eliding */
	_Atomic bool wants_switch;       /* as it is in the map, where it lies beside what the peer writes for each message */
	_Atomic uint64_t limit;          /* most unread ring bytes: SO_SNDBUF + SO_RCVBUF if the program chose them */
	alignas(64) struct side_lock c;
	_Atomic uint32_t segr;
	_Atomic uint64_t rr, rx;
	_Atomic int err;                 /* error met after bytes were taken: the next call's */
	_Atomic bool broken;             /* the peer broke the protocol */
	_Atomic uint32_t reader;         /* thread that has marked the open segment as READING */
};

struct transport_ops;

/*
 * An empty ring starts again at its first page rather than go beyond the window, so that is all that small messages touch.
 * With the header it is what a connection over shared memory costs each process at least.
 */
enum { RING_WINDOW = 16384, SHM_LEAST = WIRE_HEADER + RING_WINDOW };

/* Gives back what an empty ring does not need, if nobody has sent for that long (clock ticks); nothing to do over verbs. */
void stream_trim(struct stream *s, uint64_t idle);
/* Bytes beyond their windows that this process's rings have. */
extern _Atomic uint64_t stream_grown;
/* Of every connection of the process that is idle; the shim's. */
extern void (*stream_trim_idle)(void);
/*
 * The first sleep of a wait while there are such bytes, in seconds: no longer than connections take to be idle.  Twice as long each time,
 * since a peer may be late in reading, and then for ever.
 */
enum { DOZE_FIRST_S = 1, DOZE_MOST_S = 1 << 16 };
/*
 * Links of whose peers nobody can say that they ring: a forked child's whose parent does not take back that it polls.  While there are any, sleeps
 * are no longer than this, and whoever sleeps looks at its rings in between.
 */
extern _Atomic int stream_unsure;
enum { UNSURE_NS = 20000000 };

struct stream {
	const struct transport_ops *ops;
	struct side *side;
	struct wire_map *map; /* shared memory only, down to ring_out */
	size_t map_bytes;
	struct wire_dir *in, *out;
	char *ring_in, *ring_out;
	uint64_t ring_bytes;
	_Atomic uint64_t charged_out, charged_in; /* of each ring, what this process has counted as touched by it */
	int role; /* 0: connecting side, 1: accepting side */
	bool self; /* both ends in one process */
	bool inq;  /* TCP_INQ asked for */
	_Atomic int lowat;           /* SO_RCVLOWAT as the program set it */
	_Atomic bool lowat_adjusted; /* the kernel has it less the bytes unread in the ring */
	void (*let_go)(void *owner); /* gives up the reference of a call that will not return */
	void *owner;
	_Atomic int asleep;    /* receives inside the kernel, by the number they were called with */
	_Atomic int moved_fd;  /* the program closed that number meanwhile: ours for the same socket; -1: not */
	_Atomic bool nonblock; /* hint; the kernel's own flag decides */
	_Atomic bool cork;     /* TCP_CORK: inline */
	_Atomic bool timed;    /* hint: SO_RCVTIMEO is set */
	_Atomic bool watched;  /* in an epoll set: only its waits may poll, a recv must not */

	/* hints of this process, all threads together; stale values cost time only */
	_Atomic uint64_t last_check, spin_off_until, spin_backoff;
	_Atomic unsigned spin_fails, spin_hits, sends_in_row;
	_Atomic unsigned quiet; /* small sends in a row for which the window was enough */
	_Atomic unsigned offer_skip, offer_backoff, defer_skip, defer_fails;
	struct tuner route;  /* enum route; under side->p */
	struct tuner_window route_window;
	struct tuner stores; /* enum stores; under side->p */
	struct stores_window window;
	struct tuner chunks; /* sizes of a block's chunks; under side->c */
	uint32_t peer_pid;
	_Atomic int peer_pidfd;
	_Atomic uint32_t cma; /* enum cma_result of our calls into the peer; never WORKS again after FAILED */
};

/* What a wait may know without asking the kernel. */
enum readiness { READY_NO, READY_YES, READY_KERNEL };

struct stream_opts {
	int flags;               /* MSG_* */
	struct signal_mark mark; /* at the entry of the call */
};

/*
 * What stands behind input that the kernel tells of: nothing for the program; something; or an end that is a reset,
 * which the kernel did not know and says from now on: it is to be asked again.
 */
enum readable { READABLE_NO, READABLE_YES, READABLE_RESET };

/* What a transport is.  No slot is empty; `fd` is always the program's TCP socket. */
struct transport_ops {
	const char *name;
	enum stat_id stat;	/* connections moved to it */
	bool raw_sends;		/* the kernel may send on the socket by itself (sendfile), see begin_raw_send */
	ssize_t (*send)(struct stream *s, int fd, const struct iovec *iov, int cnt, struct stream_opts o);
	ssize_t (*recv)(struct stream *s, int fd, const struct iovec *iov, int cnt, struct stream_opts o);
	bool (*recvmsg_inline)(struct stream *s, int fd, struct msghdr *msg, int flags, ssize_t *ret);
	void (*shutdown_write)(struct stream *s);
	int (*available)(struct stream *s, int fd);
	void (*begin_raw_send)(struct stream *s);
	void (*end_raw_send)(struct stream *s, ssize_t sent);
	enum readiness (*wait_ready)(struct stream *s);
	enum readable (*really_readable)(struct stream *s, int fd);
	void (*set_lowat)(struct stream *s, int fd, int v);
	void (*lowat_drained)(struct stream *s, int fd);
	void (*make_plain)(struct stream *s, int fd);
	void (*quiesce)(struct stream *s, int fd, bool for_good);
	void (*set_edge)(struct stream *s, bool yes);
	bool (*is_edge)(struct stream *s);
	bool (*close_means_reset)(struct stream *s, int fd);
	void (*sleep_begin)(struct stream *s);
	void (*sleep_end)(struct stream *s);
	void (*poll_begin)(struct stream *s);
	void (*poll_end)(struct stream *s);
	bool (*may_spin)(struct stream *s);
	void (*spin_result)(struct stream *s, bool hit);
	void (*spin_preempted)(struct stream *s);
	void (*adopted)(struct stream *s, int fd);
	void (*take_tx)(struct stream *s, int fd, uint64_t carried);
	void (*take_rx)(struct stream *s, int fd, uint64_t carried);
	void (*destroy)(struct stream *s);
};

static inline void stream_destroy(struct stream *s)
{
	if (s)
		s->ops->destroy(s);
}

/* It belongs to a connection now, whose options it knows. */
static inline void stream_adopted(struct stream *s, int fd)
{
	s->ops->adopted(s, fd);
}

/* A direction is its own from here on; `carried` payload bytes have gone over TCP, counted and proven. */
static inline void stream_take_tx(struct stream *s, int fd, uint64_t carried)
{
	s->ops->take_tx(s, fd, carried);
}

static inline void stream_take_rx(struct stream *s, int fd, uint64_t carried)
{
	s->ops->take_rx(s, fd, carried);
}

/* The program's own calls. */
static inline ssize_t stream_send(struct stream *s, int fd, const struct iovec *iov, int cnt, struct stream_opts o)
{
	return s->ops->send(s, fd, iov, cnt, o);
}

static inline ssize_t stream_recv(struct stream *s, int fd, const struct iovec *iov, int cnt, struct stream_opts o)
{
	return s->ops->recv(s, fd, iov, cnt, o);
}

/* The program's own recvmsg, where the kernel alone can answer it.  False: nothing done. */
static inline bool stream_recvmsg_inline(struct stream *s, int fd, struct msghdr *msg, int flags, ssize_t *ret)
{
	return s->ops->recvmsg_inline(s, fd, msg, flags, ret);
}

static inline void stream_shutdown_write(struct stream *s)
{
	s->ops->shutdown_write(s);
}

/* Payload bytes that a recv could take now (FIONREAD), possibly after pulling from an offer. */
static inline int stream_available(struct stream *s, int fd)
{
	return s->ops->available(s, fd);
}

/*
 * Kernel calls on the socket that a transport does not make itself (sendfile, splice): inline before,
 * counted after.  Only where ops->raw_sends.
 */
static inline void stream_begin_raw_send(struct stream *s)
{
	s->ops->begin_raw_send(s);
}

static inline void stream_end_raw_send(struct stream *s, ssize_t sent)
{
	s->ops->end_raw_send(s, sent);
}

/* For a wait: less than SO_RCVLOWAT beside TCP is the kernel's to judge. */
static inline enum readiness stream_wait_ready(struct stream *s)
{
	return s->ops->wait_ready(s);
}

/* The kernel says readable: is it so for the program?  Swallows doorbells that have no data. */
static inline enum readable stream_really_readable(struct stream *s, int fd)
{
	return s->ops->really_readable(s, fd);
}

/*
 * SO_RCVLOWAT: the peer is asked to stay inline, and while bytes beside TCP are left the kernel's mark
 * is lowered by them.  stream_lowat_drained puts it back after a receive.
 */
static inline void stream_set_lowat(struct stream *s, int fd, int v)
{
	s->ops->set_lowat(s, fd, v);
}

static inline void stream_lowat_drained(struct stream *s, int fd)
{
	s->ops->lowat_drained(s, fd);
}

/* Back to plain TCP for good: what we send from now on, and what the peer sends as soon as it sees it. */
static inline void stream_make_plain(struct stream *s, int fd)
{
	s->ops->make_plain(s, fd);
}

/*
 * The socket is about to be closed, or to be read by others: doorbells that have no data any more are
 * taken out of TCP, one that is under way is waited for.
 */
static inline void stream_quiesce(struct stream *s, int fd, bool for_good)
{
	s->ops->quiesce(s, fd, for_good);
}

/* An edge-triggered or unknown wait watches this stream. */
static inline void stream_set_edge(struct stream *s, bool yes)
{
	s->ops->set_edge(s, yes);
}

static inline bool stream_is_edge(struct stream *s)
{
	return s->ops->is_edge(s);
}

/* Unread data at close that the kernel does not know of: TCP would answer with a reset. */
static inline bool stream_close_means_reset(struct stream *s, int fd)
{
	return s->ops->close_means_reset(s, fd);
}

/* Waits: announce a sleeping or a spinning thread. */
static inline void stream_sleep_begin(struct stream *s)
{
	s->ops->sleep_begin(s);
}

static inline void stream_sleep_end(struct stream *s)
{
	s->ops->sleep_end(s);
}

static inline void stream_poll_begin(struct stream *s)
{
	s->ops->poll_begin(s);
}

static inline void stream_poll_end(struct stream *s)
{
	s->ops->poll_end(s);
}

static inline bool stream_may_spin(struct stream *s)
{
	return s->ops->may_spin(s);
}

static inline void stream_spin_result(struct stream *s, bool hit)
{
	s->ops->spin_result(s, hit);
}

static inline void stream_spin_preempted(struct stream *s)
{
	s->ops->spin_preempted(s);
}

/* SO_LINGER has no time: a close is a reset. */
void stream_set_abortive(struct stream *s, bool yes);

/*
 * A call of the kernel's returned k; true: ECONNRESET, which it says once, for nothing but a doorbell that a killed peer
 * had not read, so that it is the end to the program.
 */
bool stream_reset_is_end(struct stream *s, int fd, long k);
/* What a wait found on a connection that is over, made true for the program: poll's bits, which are epoll's too. */
uint32_t stream_over_events(struct stream *s, int fd, uint32_t events);

/* SO_RCVTIMEO as the kernel has it; 0: none. */
uint64_t stream_time_out_ns(int fd);
/* Before this thread forks. */
void stream_before_fork(void);
/* What a call of this thread that never returned (longjmp, cancellation) still holds is given back. */
void stream_reclaim(void);
/* The peer broke the protocol: the connection ends as by a reset. */
void stream_violation(struct stream *s, int fd, const char *what);

/* Payload that this thread moved through TCP inside streams: the difference over a call is that call's. */
extern __thread TLS_IE uint64_t stream_thread_inline;

/* ---- within rdma/ ---- */
static inline void count_inline(enum stat_id id, uint64_t n)
{
	stream_thread_inline += n;
	stat_add(id, n);
}

static inline void full_fence(void)
{
	atomic_thread_fence(memory_order_seq_cst);
}
#define load_acq(p) atomic_load_explicit(&(p), memory_order_acquire)
#define load_rlx(p) atomic_load_explicit(&(p), memory_order_relaxed)
#define store_rel(p, v) atomic_store_explicit(&(p), v, memory_order_release)
#define store_rlx(p, v) atomic_store_explicit(&(p), v, memory_order_relaxed)
/* For hints, which may lose one of two additions. */
#define add_rlx(p, n) store_rlx(p, load_rlx(p) + (n))

/*
 * The kernel says once that a connection is reset or timed out.  Where it says so to a look of ours, or to a call that has
 * moved something already, the program's next call hears it.  EPIPE it says again.
 */
static inline void side_keep_error(struct side *side, long k)
{
	if (k >= 0 || k == -EAGAIN || k == -EINTR || k == -EPIPE)
		return;
	store_rlx(side->reset_told, true);
	store_rlx(side->err, (int)-k);
}

static inline void stream_keep_error(struct stream *s, int fd, long k)
{
	if (!stream_reset_is_end(s, fd, k))
		side_keep_error(s->side, k);
}

/* 0, or -errno for the program to hear now. */
static inline int side_kept_error(struct side *side)
{
	return load_rlx(side->err) ? -atomic_exchange(&side->err, 0) : 0;
}

/* What the kernel holds against the connection, wherever it stands; the kernel tells it once. */
static inline int stream_take_error(int fd)
{
	int err = 0;
	socklen_t len = sizeof(err);

	sys_call(SYS_getsockopt, fd, SOL_SOCKET, SO_ERROR, &err, &len);
	return err;
}

static inline int stream_fd(struct stream *s, int fd)
{
	int moved = load_rlx(s->moved_fd);
	return moved < 0 ? fd : moved;
}
