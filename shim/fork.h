/*
 * Forks that run no handlers of pthread_atfork: _Fork, clone, and all of them by number.  As _Fork may be, they are called from
 * signal handlers: nothing here, nor in what process_at_fork was given, takes a lock that outlives a section, or uses the heap.
 */
#pragma once
#include <sys/types.h>

pid_t fork_without_handlers(void);
int fork_by_clone(int (*fn)(void *), void *stack, int flags, void *arg, pid_t *ptid, void *tls, pid_t *ctid);
/* SYS_fork, SYS_clone or SYS_clone3 with its arguments. */
long fork_by_number(long n, const long *a);
