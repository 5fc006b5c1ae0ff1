/*
 * For the copy of the tree that mutate.py builds, never for the product: before a thread reads or changes what
 * others see, and after it has written, it now and then sleeps, so that they get in between.
 */
#pragma once
#include "sys.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

/* Where spinning is to pay they must be rare: once in PAUSE_ONE_IN accesses. */
static inline uint32_t pause_one_in(void)
{
	static uint32_t n;
	const char *asked = n ? NULL : getenv("PAUSE_ONE_IN");

	if (!n)
		n = asked ? (uint32_t)atoi(asked) : 256;
	return n;
}

static inline void pause_sometimes(void)
{
	static __thread __attribute__((tls_model("initial-exec"))) uint32_t chance;

	chance = chance * 1664525u + 1013904223u;
	if ((chance >> 8) % pause_one_in())
		return;
	struct timespec t = { .tv_nsec = chance >> 15 };
	sys_call(SYS_nanosleep, &t, NULL);
}

#undef atomic_fetch_add
#undef atomic_fetch_sub
#undef atomic_exchange
#undef atomic_compare_exchange_strong
#define atomic_fetch_add(p, v) (pause_sometimes(), atomic_fetch_add_explicit(p, v, memory_order_seq_cst))
#define atomic_fetch_sub(p, v) (pause_sometimes(), atomic_fetch_sub_explicit(p, v, memory_order_seq_cst))
#define atomic_exchange(p, v) (pause_sometimes(), atomic_exchange_explicit(p, v, memory_order_seq_cst))
#define atomic_compare_exchange_strong(p, e, v) \
	(pause_sometimes(), atomic_compare_exchange_strong_explicit(p, e, v, memory_order_seq_cst, memory_order_seq_cst))
