/*
 * Which of our registered address ranges still show the pages that were registered.
 *
 * The kernel tells: userfaultfd's events report every munmap, mremap, brk, MAP_FIXED and
 * MADV_DONTNEED/FREE on a range, from whatever code they come (glibc's own calls inside free and
 * inline system calls included), and hold the caller until the event is read.  The proof that no
 * answer here is late, and what the kernel does not report, stand in README-memreg.md.
 *
 * Threading: one thread of ours reads the events (memwatch_start makes it; the one named exception
 * to "no helper thread", made only when RDMA is in use).  It takes no lock and allocates nothing,
 * because a thread that holds malloc's lock may be waiting for it inside munmap.  All other calls
 * may come from any thread.
 */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MEMWATCH_ROOM = 1024 };

enum memwatch_state { WATCH_FREE, WATCH_ARMING, WATCH_TRUE, WATCH_STALE };

/* 0, or -errno where this kernel or sandbox has no such events; self-tested before it says 0. One watch for all
 * devices: a second call does nothing. Not from two threads at a time. */
int memwatch_start(void);
void memwatch_stop(void);

/* A slot that watches whole pages, or -errno: the pages must be private anonymous memory. */
int memwatch_arm(uintptr_t start, uintptr_t end);

/* After the pages were registered: true if they still are the ones that the slot watches. */
bool memwatch_confirm(int slot);

/* Whether what was confirmed is true at this moment. */
bool memwatch_holds(int slot);

/* Whether it is known to be over; and a number that changes when any slot may have gone stale. */
bool memwatch_stale(int slot);
uint64_t memwatch_news(void);

void memwatch_disarm(int slot);

/* Around a call that may change pages without an event: nothing is believed until its range has been marked. */
void memwatch_unreported_begin(void);
void memwatch_unreported_end(uintptr_t start, uintptr_t end);

/* In the child of a fork: forgets everything; the watch belongs to the parent. */
void memwatch_after_fork_child(void);
