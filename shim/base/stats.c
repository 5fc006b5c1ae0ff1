#include "stats.h"

#include "log.h"
#include "settings.h"
#include "sys.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

__attribute__((visibility("default"), aligned(4096))) union {
	struct stats stats;
	char room[STATS_BYTES];
} stats_room __asm__("dlaccel_stats") = { .stats = {
	.magic = STATS_MAGIC,
	.version = 1,
	.count = STAT_COUNT,
	.slot = {
#define STAT(field, n, doc) { .name = n },
#include "stats.def"
#undef STAT
#define FALLBACK(id, n, doc) { .name = n },
#include "fallback.def"
#undef FALLBACK
	},
} };

_Static_assert(sizeof(struct stats) <= STATS_BYTES, "counters outgrew their pages");

static const char *const fallback_text[] = {
#define FALLBACK(id, n, doc) doc,
#include "fallback.def"
#undef FALLBACK
};

enum { FIRST_FALLBACK = STAT_COUNT - sizeof(fallback_text) / sizeof(*fallback_text) };

static void put_in_place(long pages)
{
	if (sys_call(SYS_mremap, pages, STATS_BYTES, STATS_BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, &stats_room) != (long)&stats_room)
		sys_call(SYS_munmap, pages, STATS_BYTES);
}

/* Mapped elsewhere first: a file system that cannot share (9p) would leave nothing mapped at all here. */
static void move_onto(long fd)
{
	long p = sys_call(SYS_mmap, 0, STATS_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p >= 0 || p <= -4096)
		put_in_place(p);
}

static void map_onto_file(void)
{
	char path[512];
	int n = snprintf(path, sizeof(path), "%s/%d.stats", settings.dir, (int)sys_call(SYS_getpid));
	if (n < 0 || (size_t)n >= sizeof(path) || !sys_file_may_reach(STATS_BYTES))
		return;
	long fd = sys_call(SYS_openat, AT_FDCWD, path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return;
	if (sys_call(SYS_pwrite64, fd, &stats_room, STATS_BYTES, 0) == STATS_BYTES)
		move_onto(fd);
	else
		sys_call(SYS_ftruncate, fd, 0); /* a full disk shows as an empty file, not as counters that stand still */
	sys_call(SYS_close, fd);
}

void stats_activate(void)
{
	static _Atomic uint32_t active_pid;
	uint32_t pid = (uint32_t)sys_call(SYS_getpid);
	struct timespec now;

	if (atomic_exchange(&active_pid, pid) == pid)
		return;
	atomic_store(&dlaccel_stats.pid, pid);
	long fd = sys_call(SYS_openat, AT_FDCWD, "/proc/self/comm", O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		long n = sys_call(SYS_read, fd, dlaccel_stats.program, sizeof(dlaccel_stats.program) - 1);
		if (n > 0)
			dlaccel_stats.program[n - 1] = 0;
		sys_call(SYS_close, fd);
	}
	clock_gettime(CLOCK_REALTIME, &now);
	dlaccel_stats.started_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	if (settings.dir && *settings.dir)
		map_onto_file();
}

/*
 * The parent's counters may be mapped shared onto its file, so the child needs pages of its own
 * before it counts anything.  Its stack may be a small one: clone's, or a signal handler's.
 */
void stats_after_fork(void)
{
	long p = sys_call(SYS_mmap, 0, STATS_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct stats *mine = (struct stats *)p;

	if (p < 0 && p > -4096)
		return;
	mine->magic = dlaccel_stats.magic;
	mine->off = dlaccel_stats.off;
	mine->version = 1;
	mine->count = STAT_COUNT;
	for (unsigned i = 0; i < STAT_COUNT; i++)
		memcpy(mine->slot[i].name, dlaccel_stats.slot[i].name, STATS_NAME);
	mine->slot[STAT_net_open].value = dlaccel_stats.slot[STAT_net_open].value;
	mine->slot[STAT_net_ring_pages].value = dlaccel_stats.slot[STAT_net_ring_pages].value;
	put_in_place(p);
}

/* Their lines could not be written: no descriptor was left for the log. */
static _Atomic bool unsaid[STAT_COUNT - FIRST_FALLBACK];

static void say(unsigned i)
{
	if (!log_warn("%s", fallback_text[i]))
		atomic_store(&unsaid[i], true);
}

void fallback(enum stat_id id)
{
	if (atomic_fetch_add_explicit(&dlaccel_stats.slot[id].value, 1, memory_order_relaxed) == 0)
		say(id - FIRST_FALLBACK);
}

void fallback_say_rest(void)
{
	for (unsigned i = 0; i < STAT_COUNT - FIRST_FALLBACK; i++)
		if (atomic_exchange(&unsaid[i], false))
			say(i);
}
