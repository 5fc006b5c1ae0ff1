/*
 * Memory for received messages that malloc takes from the kernel and gives back with each of them: a page fault for
 * every page, which costs more than the transfer.  Seen by the process's own page faults.
 */
#pragma once

/* From a call that malloc may be called in (not one that a signal handler may make). */
void heap_look(void);
