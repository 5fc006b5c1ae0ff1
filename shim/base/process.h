/*
 * Which process this is.  A child of vfork shares the parent's memory, so whatever changes tables or
 * counters must first ask whether the process that runs it is the one that owns the memory.
 */
#pragma once
#include "sys.h"

#include <stdbool.h>
#include <stdint.h>

extern int process_id; /* of the process that owns this memory; renewed in the child of a fork */

static inline bool process_is_owner(void)
{
	return (int)sys_call(SYS_getpid) == process_id;
}

/* At the start and in the child of a fork. */
void process_note(void);
/* `before`, which may be NULL, ahead of every fork, and `in_child` in its child.  Not before the constructor. */
void process_at_fork(void (*before)(void), void (*in_child)(void));
/* For a fork that libc runs no handlers of. */
void process_before_fork(void);
void process_in_child(void);
/* The kernel's id of this thread, asked for once. */
uint32_t thread_id(void);
