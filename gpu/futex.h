/*
 * A lock of one word: spins a little, then sleeps in the kernel. Unlike a pthread mutex it is never
 * a cancellation point of anybody's, needs no set-up and can be taken in the child of a fork by
 * writing zero.
 */
#pragma once
#include "clock.h"
#include "sys.h"

#include <linux/futex.h>
#include <stdatomic.h>
#include <stdbool.h>

struct lock {
	_Atomic uint32_t word; /* 0 free, 1 held, 2 held and somebody sleeps */
};

static inline void futex_wait(_Atomic uint32_t *word, uint32_t seen)
{
	sys_call(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, 0);
}

static inline void futex_wake(_Atomic uint32_t *word, int n)
{
	sys_call(SYS_futex, word, FUTEX_WAKE_PRIVATE, n);
}

static inline bool lock_try(struct lock *l)
{
	uint32_t free = 0;

	return atomic_compare_exchange_strong_explicit(
		&l->word, &free, 1, memory_order_acquire, memory_order_relaxed);
}

static inline void lock_take(struct lock *l)
{
	for (unsigned i = 0; i < 100; i++) {
		if (lock_try(l))
			return;
		cpu_relax();
	}
	while (atomic_exchange_explicit(&l->word, 2, memory_order_acquire))
		futex_wait(&l->word, 2);
}

static inline void lock_drop(struct lock *l)
{
	if (atomic_exchange_explicit(&l->word, 0, memory_order_release) == 2)
		futex_wake(&l->word, 1);
}
