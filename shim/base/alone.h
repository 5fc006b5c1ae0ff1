/*
 * Counts and locks that threads share, at the price of plain ones while the process has a single thread: the
 * C library says so (sys/single_threaded.h), and it changes in that thread alone.  A handler may come between
 * any two instructions, so a count still changes in one.  Not for memory that another process maps.
 */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/single_threaded.h>

static inline bool process_alone(void)
{
	return __libc_single_threaded;
}

/* Both return what was there before. */
static inline int count_add(_Atomic int *p, int n)
{
#if defined(__x86_64__)
	if (process_alone()) {
		__asm__ volatile("xaddl %0, %1" : "+r"(n), "+m"(*(volatile int *)p) : : "memory", "cc");
		return n;
	}
#endif
	return atomic_fetch_add(p, n);
}

static inline uint64_t count_add_64(_Atomic uint64_t *p, uint64_t n)
{
#if defined(__x86_64__)
	if (process_alone()) {
		__asm__ volatile("xaddq %0, %1" : "+r"(n), "+m"(*(volatile uint64_t *)p) : : "memory", "cc");
		return n;
	}
#endif
	return atomic_fetch_add(p, n);
}
