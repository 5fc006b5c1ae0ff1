/*
 * Waits for readiness: poll, select, epoll.  The kernel's answer is the base; streams add what the
 * kernel cannot know (unread ring bytes that nobody rang for) and take away what is no news to the
 * program (doorbells).  A wait that may sleep first says so to every stream it watches, then looks at
 * each once more.
 */
#pragma once
#include "socket.h"
#include "sys.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <time.h>

/* The process has waits that we do not see (io_uring, raw epoll): every publish to it must ring. */
bool waits_are_blind(void);
void waits_go_blind(void);
/* Its stream, if it has one, leaves out no doorbell any more: not all of its waits are seen. */
void wait_ring_for_everything(struct sock *s);

/* A wait on more descriptors than this rarely finds what it waits for while it spins. */
enum { FEW_WATCHED = 4 };

int wait_poll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask);
int wait_select(int n, fd_set *rd, fd_set *wr, fd_set *ex, struct timespec *timeout, const sigset_t *mask);
/* Begins every epoll set's object: how many connections and how many other sets are registered there. */
struct epset_head {
	_Atomic int regs;   /* under the set's lock */
	_Atomic int nested; /* under the lock of the list of sets */
};

/* The set of this epoll descriptor, if it has anything of ours in it. */
static inline struct epset_head *wait_epoll_concerns(int ep)
{
	uintptr_t e = fd_get(ep);
	struct epset_head *h = fd_object(e);

	return fd_kind(e) == FD_EPOLL && load_rlx(h->regs) + load_rlx(h->nested) > 0 ? h : NULL;
}

/* A time-out in milliseconds, as poll and epoll_wait have it. */
static inline struct timespec *wait_from_ms(int ms, struct timespec *room)
{
	if (ms < 0)
		return NULL;
	room->tv_sec = ms / 1000;
	room->tv_nsec = (long)(ms % 1000) * 1000000;
	return room;
}

/* As wait_epoll, of a set that has something of ours in it. */
int wait_epoll_ms(struct epset_head *h, int ep, struct epoll_event *evs, int max, int timeout);
int wait_epoll(int ep, struct epoll_event *evs, int max, const struct timespec *timeout, const sigset_t *mask);
/* A connection that is in some epoll set has got its stream. */
void wait_stream_adopted(void);
extern _Atomic bool wait_any_stream; /* some connection of the process has ever had one */
/* A registration that the kernel has taken already. */
void wait_epoll_note(int ep, int op, int fd, const struct epoll_event *ev);
int wait_epoll_ctl(int ep, int op, int fd, struct epoll_event *ev);
void wait_epoll_created(int ep);
/* Somebody waits on this epoll descriptor itself (nested, poll): its streams ring for everything. */
void wait_epoll_unseen(int ep);
/* A level-triggered stream of the set, or of one within it, has data from before its set was unseen that the kernel
 * does not know of. */
bool wait_epoll_holds_unrung(int ep);
/* An epoll descriptor is closed; a connection leaves every set. */
void wait_epoll_closed(void *set);
void wait_sock_closed(struct sock *s, int fd);
void wait_after_fork(void);

/*
 * A wait with a mask looks at the kernel more than once, each time with that mask: in between, too, what it keeps out is kept out.
 * Without a mask (NULL) nothing changes.  Returns which signals the wait is to take for old.
 */
static inline struct signal_mark wait_keep_out(const sigset_t *mask, sigset_t *ret_before, struct signal_mark mark)
{
	if (!mask)
		return mark;
	sys_call(SYS_rt_sigprocmask, SIG_BLOCK, mask, ret_before, _NSIG / 8);
	return signal_mark();
}

/* The wait is over; its errno stays, whatever a handler makes of it. */
static inline void wait_let_in(const sigset_t *mask, const sigset_t *before)
{
	int err = errno;

	if (mask)
		sys_call(SYS_rt_sigprocmask, SIG_SETMASK, before, NULL, _NSIG / 8);
	errno = err;
}

/* The kernel would end a wait with this mask at once, unless it has something to tell. */
static inline bool wait_meets_signal(const sigset_t *mask)
{
	sigset_t pending;

	sigemptyset(&pending);
	sys_call(SYS_rt_sigpending, &pending, _NSIG / 8);
	for (int sig = 1; sig < _NSIG; sig++)
		if (sigismember(&pending, sig) == 1 && !sigismember(mask, sig))
			return true;
	return false;
}

/* ---- within the waits: one watched stream */
struct watch {
	struct stream *st;
	struct sock *sock;
	int fd;
};

struct deadline {
	bool forever;
	uint64_t end_ns;
};

struct deadline deadline_in(const struct timespec *timeout);
/* What is left, never negative; returns whether it is over. */
bool deadline_left(const struct deadline *d, struct timespec *ret_left);

/*
 * How long a wait is to sleep in the kernel at once; NULL: for ever.  At first no longer than the connections take to be idle, where
 * there are rings to give pages back then, which wait_slept does; twice as long each time, since a peer may be late in reading.
 */
struct doze {
	struct timespec time;
	bool now;
};
const struct timespec *wait_doze(struct doze *z, const struct deadline *d, const struct timespec *left);
void wait_slept(struct doze *z, int events);

/* Is any ready by what is in shared memory? */
bool watch_any_ready(const struct watch *w, int n);
void watch_sleep_begin(const struct watch *w, int n);
void watch_sleep_end(const struct watch *w, int n);

enum watch_end { WATCH_NOTHING, WATCH_READY, WATCH_KERNEL, WATCH_INTERRUPTED };
/*
 * Polls shared memory; `kernel_poll(arg)` is asked now and then where `ask_kernel` says that the
 * kernel may know something that memory does not.
 */
enum watch_end watch_spin(const struct watch *w, int n, bool ask_kernel, bool (*kernel_poll)(void *), void *arg,
	struct signal_mark mark);
