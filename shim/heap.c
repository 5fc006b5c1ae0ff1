/*
 * glibc gives the free end of a heap back to the kernel where it is longer than a threshold, twice the size from which blocks get
 * a mapping of their own; and it raises both by itself when such a block of up to 32 MiB is freed (mallopt(3), M_MMAP_THRESHOLD),
 * so that a program that once freed a large block keeps its memory.  One whose blocks are 4 MiB each frees, with a message and
 * its copy, a little more than the 8 MiB that this allows, and pays two thousand page faults for each message.  So a block is
 * freed here, untouched, and only where the program's faults have shown the need; what the program has set itself, glibc
 * leaves as it is, and another allocator takes no notice.
 */
#include "heap.h"

#include "log.h"
#include "process.h"
#include "settings.h"
#include "signals.h"
#include "stats.h"
#include "sys.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
	MIB = 1 << 20,
	LOOK_BYTES = 32 * MIB, /* received between two looks */
	LOOKS = 2, /* in a row that show the need */
	STEPS = 2,
};

/* The last is the most that glibc learns from, less its own header and what is lost to a page. */
static const size_t step[STEPS] = { 16 * MIB, 32 * MIB - 65536 };

static _Atomic bool looking; /* and stays so where there is nothing to do any more */
static _Atomic uint64_t looked_at; /* bytes received then */
static struct {
	uint64_t faults;
	unsigned needy, steps;
} heap; /* of the one that is looking */

static uint64_t received(void)
{
	return stat_get(STAT_net_recv_ring) + stat_get(STAT_net_recv_block) + stat_get(STAT_net_recv_verbs);
}

static uint64_t page_faults(void)
{
	struct rusage use;

	return sys_call(SYS_getrusage, RUSAGE_SELF, &use) ? 0 : (uint64_t)use.ru_minflt;
}

/* The compiler must not see that nobody uses it. */
static void free_untouched(size_t n)
{
	void *volatile block = malloc(n);

	free(block);
}

static void keep_more(uint64_t faults)
{
	size_t block = step[heap.steps++];

	if (heap.steps == 1)
		stat_set(STAT_heap_faults_before, faults);
	stat_inc(STAT_heap_raised);
	log_info("malloc may keep %zu MiB more of a heap: messages took %llu page faults a MiB", 2 * block / MIB,
		(unsigned long long)(faults / (LOOK_BYTES / MIB)));
	free_untouched(block);
}

/*
 * The faults of LOOK_BYTES: where an eighth of them, or more, lay in pages that were not there, there is need.  False: there is
 * no more to do.
 */
static bool weigh(uint64_t faults)
{
	bool need = faults * (uint64_t)getpagesize() >= LOOK_BYTES / 8;

	if (heap.steps)
		stat_set(STAT_heap_faults_after, faults);
	heap.needy = need ? heap.needy + 1 : 0;
	if (heap.needy < LOOKS)
		return true;
	heap.needy = 0;
	if (heap.steps == STEPS) {
		fallback(FALLBACK_HEAP);
		return false;
	}
	keep_more(faults);
	return true;
}

void heap_look(void)
{
	uint64_t now = received(), before = atomic_load_explicit(&looked_at, memory_order_relaxed);

	if (now - before < LOOK_BYTES || !settings.keep_freed || signal_in_handler())
		return;
	if (!process_is_owner() || atomic_exchange(&looking, true))
		return;
	uint64_t faults = page_faults();
	/* the first look only begins; the child of a fork counts from zero, and so does the kernel for it */
	bool more = !before || now < before || weigh((faults - heap.faults) * LOOK_BYTES / (now - before));

	heap.faults = faults;
	atomic_store(&looked_at, now);
	if (more)
		atomic_store(&looking, false);
}

void heap_leave_alone(void)
{
	atomic_store(&looking, true);
}
