/*
 * A byte stream over shared memory with TCP underneath.  Both directions are independent; each is a
 * sequence of pieces that lie either in the ring or in TCP (struct wire_seg).  rdma/README.md has the
 * rules and why they are so.
 *
 * Threading: any thread of any process that holds the socket may call anything.  Sending takes
 * side->p, receiving side->c; neither is held while the kernel sleeps.
 * Ownership: the stream belongs to the shim's socket object, which keeps it until the last call and
 * the last fd of this process are gone.  The file descriptor stays the program's.
 * Errors: -errno, as the real call would have set it.
 */
#pragma once
#include "lock.h"
#include "route.h"
#include "signals.h"
#include "wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

enum mode { MODE_INLINE, MODE_RING };

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
	_Atomic bool more;               /* the kernel holds back a tail sent with MSG_MORE: push before eliding */
	_Atomic uint64_t limit;          /* most unread ring bytes: SO_SNDBUF + SO_RCVBUF if the program chose them */
	alignas(64) struct side_lock c;
	_Atomic uint32_t segr;
	_Atomic uint64_t rr, rx;
	_Atomic int err;                 /* error met after bytes were taken: the next call's */
	_Atomic bool broken;             /* the peer broke the protocol */
	_Atomic uint32_t reader;         /* thread that has marked the open segment as READING */
};

struct stream {
	struct wire_map *map;
	size_t map_bytes;
	struct side *side;
	struct wire_dir *in, *out;
	char *ring_in, *ring_out;
	uint64_t ring_bytes;
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
	_Atomic bool watched;  /* in an epoll set: only its waits may poll, a recv must not */

	/* hints of this process, all threads together; stale values cost time only */
	_Atomic uint64_t last_check, spin_off_until, spin_backoff;
	_Atomic unsigned spin_fails, spin_hits, sends_in_row;
	_Atomic unsigned offer_skip, offer_backoff, defer_skip, defer_fails;
	struct router router; /* under side->p */
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
 * create: takes over the mapping (not the memfd).  -ENOMEM; nothing is kept then.
 * `tx`, `rx`: TCP payload bytes already carried each way, counted and proven.
 */
int stream_create(struct stream **ret_stream, struct wire_map *map, size_t map_bytes, int role);
void stream_destroy(struct stream *s, int fd);

/* The program's own calls; `fd` is the TCP socket. */
ssize_t stream_send(struct stream *s, int fd, const struct iovec *iov, int cnt, struct stream_opts o);
ssize_t stream_recv(struct stream *s, int fd, const struct iovec *iov, int cnt, struct stream_opts o);
bool stream_recvmsg_inline(struct stream *s, int fd, struct msghdr *msg, int flags, ssize_t *ret);
void stream_shutdown_write(struct stream *s);

/* Payload bytes that a recv could take now (FIONREAD), possibly after pulling from an offer. */
int stream_available(struct stream *s, int fd);

/* Kernel calls on the socket that this engine does not make itself (sendfile, splice): inline
 * before, counted after. */
void stream_begin_raw_send(struct stream *s);
void stream_end_raw_send(struct stream *s, ssize_t sent);

enum readiness stream_ready(struct stream *s);
/* The same for a wait: less than SO_RCVLOWAT in the ring is the kernel's to judge. */
enum readiness stream_wait_ready(struct stream *s);
/*
 * SO_RCVLOWAT: the peer is asked to stay inline, and while ring bytes are left the kernel's mark is
 * lowered by them.  stream_lowat_drained puts it back after a receive.
 */
void stream_set_lowat(struct stream *s, int fd, int v);
void stream_lowat_drained(struct stream *s, int fd);
/* The kernel says readable: is it so for the program?  Swallows doorbells that have no data. */
bool stream_really_readable(struct stream *s, int fd);

/* Back to plain TCP for good: what we send from now on, and what the peer sends as soon as it sees it. */
void stream_make_plain(struct stream *s, int fd);
/* While true the peer is asked to stay inline (SO_RCVLOWAT). */
void stream_prefer_inline(struct stream *s, bool yes);
/*
 * The socket is about to be closed, or to be read by others: doorbells that have no data any more are
 * taken out of TCP, one that is under way is waited for.
 */
void stream_quiesce(struct stream *s, int fd, bool for_good);
/* An edge-triggered or unknown wait watches this stream. */
void stream_set_edge(struct stream *s, bool yes);
/* Unread ring data at close that the kernel does not know of: TCP would answer with a reset. */
bool stream_close_means_reset(struct stream *s, int fd);

/* Waits: announce a sleeping or a spinning thread. */
void stream_sleep_begin(struct stream *s);
void stream_sleep_end(struct stream *s);
void stream_poll_begin(struct stream *s);
void stream_poll_end(struct stream *s);
bool stream_may_spin(struct stream *s);
void stream_spin_result(struct stream *s, bool hit);
void stream_spin_preempted(struct stream *s);

/* ---- within rdma/ ---- */
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

static inline int stream_fd(struct stream *s, int fd)
{
	int moved = load_rlx(s->moved_fd);
	return moved < 0 ? fd : moved;
}

struct cursor;
void stream_leave_ring(struct stream *s);
void stream_violation(struct stream *s, int fd, const char *what);
void ring_put(struct stream *s, uint64_t pos, const char *src, size_t n);
void ring_get(struct stream *s, char *dst, uint64_t pos, size_t n);
size_t ring_hot(const struct stream *s);
bool ring_is_cold(struct stream *s);
bool ring_back_to_hot(struct stream *s);
bool ring_populate(struct stream *s, char *ring, uint64_t from, uint64_t to);
uint64_t stream_unread(struct stream *s);
void stream_check_kernel(struct stream *s, int fd);
bool stream_notify(struct stream *s, int fd, bool may_defer);
bool stream_peer_polls(struct stream *s);
bool stream_peer_will_poll(struct stream *s);
void stream_note_core(struct stream *s); /* says where this side runs; leaves a shared core if it may */
bool stream_shares_core(struct stream *s); /* both ends run on one: spinning keeps the other away */
bool stream_peer_gone(struct stream *s); /* needs an open pidfd */
bool stream_peer_dead(struct stream *s); /* asks for one */
bool stream_inline_open(struct stream *s);
void stream_call_polls(bool yes);
void stream_reclaim(void); /* what a call of this thread that never returned still holds */
bool stream_settle(struct stream *s, int fd); /* side->c held */

enum spin_end { SPIN_NOTHING, SPIN_DATA, SPIN_INTERRUPTED };
enum spin_end stream_spin(struct stream *s, int fd, struct signal_mark mark);

size_t block_min(void);
bool block_wanted(struct stream *s, size_t run);
size_t block_offer(struct stream *s, int fd, const char *p, size_t len); /* side->p held */
enum { BLOCK_AGAIN = -1 };
ssize_t block_claim(struct stream *s, int fd, char *dst, size_t room); /* side->c held */
void block_self_test(struct stream *s);
