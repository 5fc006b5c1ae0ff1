/*
 * Time for spin bounds and rates: the time-stamp counter where it is invariant, scaled to
 * microseconds by one short calibration at first relevant use; the monotonic clock elsewhere.
 */
#pragma once
#include <stdint.h>
#include <time.h>

extern uint64_t clock_ticks_per_us; /* 0 until clock_init */
void clock_init(void);

static inline uint64_t clock_monotonic_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The monotonic clock at the kernel's last tick: up to some milliseconds ago, at a fifth of the price. */
static inline uint64_t clock_coarse_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline uint64_t clock_ticks(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
	uint64_t t;
	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(t));
	return t;
#else
	return clock_monotonic_ns();
#endif
}

static inline void cpu_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

static inline uint64_t us_to_ticks(uint64_t us)
{
	return us * clock_ticks_per_us;
}
