#include "fork.h"

#include "heap.h"
#include "process.h"
#include "real.h"
#include "signals.h"

#include <sched.h>

/* What of clone3's arguments says where the child runs. */
struct clone_head {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack;
};

/*
 * A child that shares the memory does not own it (process_is_owner), as one of vfork does not.  Nor is it made an owner where it
 * shares the descriptors alone, and would close ours under its parent, or has other thread-local memory than this thread's.
 * Within a section only a handler for a fault of the program's own comes here: its child would wait for a lock that it holds itself.
 */
static bool copies(uint64_t flags)
{
	return !(flags & (CLONE_VM | CLONE_FILES | CLONE_SETTLS)) && !signal_thread.section;
}

/* Malloc's locks are as they were at the fork, whoever held them. */
static void in_child(void)
{
	process_in_child();
	heap_leave_alone();
}

pid_t fork_without_handlers(void)
{
	bool copied = copies(0);

	if (copied)
		process_before_fork();
	pid_t pid = real._Fork();
	if (copied && !pid)
		in_child();
	return pid;
}

struct start {
	int (*fn)(void *);
	void *arg;
};

/* In the child's copy of the frame that called clone. */
static int start(void *arg)
{
	struct start *s = arg;

	in_child();
	return s->fn(s->arg);
}

int fork_by_clone(int (*fn)(void *), void *stack, int flags, void *arg, pid_t *ptid, void *tls, pid_t *ctid)
{
	struct start s = { fn, arg };

	if (!fn || !stack || !copies((unsigned)flags))
		return real.clone(fn, stack, flags, arg, ptid, tls, ctid);
	process_before_fork();
	return real.clone(start, stack, flags, &s, ptid, tls, ctid);
}

/* On a stack of its own a child returns past us. */
static bool copies_by_number(long n, const long *a)
{
	const struct clone_head *c = (const void *)a[0];

	if (n == SYS_clone)
		return !a[1] && copies((unsigned long)a[0]);
	if (n == SYS_clone3)
		return c && (size_t)a[1] >= sizeof(*c) && !c->stack && copies(c->flags);
	return copies(0);
}

long fork_by_number(long n, const long *a)
{
	bool copied = copies_by_number(n, a);

	if (copied)
		process_before_fork();
	long r = real.syscall(n, a[0], a[1], a[2], a[3], a[4], a[5]);
	if (copied && !r)
		in_child();
	return r;
}
