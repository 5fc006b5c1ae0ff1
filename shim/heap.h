/*
 * Memory for received messages that malloc takes from the kernel and gives back with each of them: a page fault for
 * every page, which costs more than the transfer.  Seen by the process's own page faults.
 */
#pragma once

/* Where a wait begins, or much was received: may call malloc, so not in a signal handler. */
void heap_look(void);
/* In a process whose malloc may not be called. */
void heap_leave_alone(void);
