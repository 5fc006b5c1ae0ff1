#include "lock.h"

#include "process.h"
#include "signals.h"
#include "sys.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define WAITERS 0x80000000u

/* A zombie's thread id still answers signals, so the state letter in its stat file decides. */
bool side_thread_dead(uint32_t t)
{
	char path[48], text[512];

	snprintf(path, sizeof(path), "/proc/%u/stat", t);
	long fd = sys_call(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
	if (fd == -ENOENT)
		return true;
	if (fd < 0)
		return false;
	long n = sys_call(SYS_read, fd, text, sizeof(text) - 1);
	sys_call(SYS_close, fd);
	if (n <= 0)
		return n == -ESRCH;
	text[n] = 0;
	char *p = strrchr(text, ')');
	return p && p[1] && (p[2] == 'Z' || p[2] == 'X');
}

static bool take_over(struct side_lock *l, uint32_t seen)
{
	return side_thread_dead(seen & ~WAITERS) &&
	       atomic_compare_exchange_strong(&l->word, &seen, thread_id() | WAITERS);
}

static void wait_for(struct side_lock *l)
{
	struct timespec patience = { .tv_nsec = 50000000 };

	for (;;) {
		uint32_t w = atomic_load(&l->word);
		if (!w) {
			if (atomic_compare_exchange_strong(&l->word, &w, thread_id() | WAITERS))
				return;
			continue;
		}
		if (!(w & WAITERS) && !atomic_compare_exchange_strong(&l->word, &w, w | WAITERS))
			continue;
		w |= WAITERS;
		long r = sys_call(SYS_futex, &l->word, FUTEX_WAIT, w, &patience, 0, 0);
		if (r == -ETIMEDOUT && take_over(l, w))
			return;
	}
}

void side_lock(struct side_lock *l)
{
	uint32_t free = 0;

	section_enter();
	if (!atomic_compare_exchange_strong_explicit(&l->word, &free, thread_id(), memory_order_acquire,
		    memory_order_relaxed))
		wait_for(l);
}

bool side_trylock(struct side_lock *l)
{
	uint32_t free = 0;

	section_enter();
	if (atomic_compare_exchange_strong_explicit(&l->word, &free, thread_id(), memory_order_acquire,
		    memory_order_relaxed))
		return true;
	section_leave();
	return false;
}

void side_unlock(struct side_lock *l)
{
	uint32_t w = atomic_exchange_explicit(&l->word, 0, memory_order_release);

	if (w & WAITERS)
		sys_call(SYS_futex, &l->word, FUTEX_WAKE, 1, 0, 0, 0);
	section_leave();
}
