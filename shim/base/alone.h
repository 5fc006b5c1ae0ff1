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

/* The others return what was there before. */
#if defined(__x86_64__)
static inline void count_64(_Atomic uint64_t *p, uint64_t n)
{
	if (process_alone())
		__asm__ volatile("addq %1, %0" : "+m"(*(volatile uint64_t *)p) : "er"(n) : "memory", "cc");
	else
		atomic_fetch_add(p, n);
}

#define COUNT_ADD(name, type)                                                                      \
	static inline type name(_Atomic type *p, type n)                                           \
	{                                                                                          \
		if (!process_alone())                                                              \
			return atomic_fetch_add(p, n);                                             \
		__asm__ volatile("xadd %0, %1" : "+r"(n), "+m"(*(volatile type *)p) : : "memory", "cc"); \
		return n;                                                                          \
	}
#else
static inline void count_64(_Atomic uint64_t *p, uint64_t n)
{
	atomic_fetch_add(p, n);
}

#define COUNT_ADD(name, type)                                                                      \
	static inline type name(_Atomic type *p, type n)                                           \
	{                                                                                          \
		return atomic_fetch_add(p, n);                                                     \
	}
#endif
COUNT_ADD(count_add, int)
COUNT_ADD(count_add_64, uint64_t)
#undef COUNT_ADD
