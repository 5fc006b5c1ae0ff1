/*
 * A lock of one side of a stream, shared by the processes that a fork has left with that side, in
 * memory that the peer cannot reach.  Held for copies only, never while sleeping in the kernel.  It
 * survives the death of its holder: what the holder had published is complete, what it had not is
 * unseen.  While it is held no handler of the program runs in this thread (signals.h).
 */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct side_lock {
	_Atomic uint32_t word; /* 0, or the holder's thread id; bit 31: somebody waits */
};

void side_lock(struct side_lock *l);
bool side_trylock(struct side_lock *l);
void side_unlock(struct side_lock *l);
bool side_thread_dead(uint32_t tid);
