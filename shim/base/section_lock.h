/*
 * A lock for a few instructions: the thread that has it is in a section, so no handler of the program runs
 * meanwhile.  0 is free; a fork's child sets it to that.
 */
#pragma once
#include "alone.h"
#include "clock.h"
#include "signals.h"

#include <stdatomic.h>

static inline void section_lock(_Atomic int *l)
{
	section_enter();
	if (process_alone()) {
		atomic_store_explicit(l, 1, memory_order_relaxed);
		return;
	}
	while (atomic_exchange_explicit(l, 1, memory_order_acquire))
		cpu_relax();
}

static inline void section_unlock(_Atomic int *l)
{
	atomic_store_explicit(l, 0, memory_order_release);
	section_leave();
}
