/* The registration cache against every way of changing what lies at an address. The registrar here
 * notes the stamp that it finds in the memory: a registration is stale if its stamp is not the one
 * that lies there now, which is exactly a device that reads pages the program no longer has. */
#include <criterion/criterion.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "export.h"
#include "log.h"
#include "memreg.h"
#include "memwatch.h"
#include "settings.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif

enum { PAGES = 16, SIZE = PAGES * 4096 };

struct pinned {
	uint64_t stamp;
};

static atomic_int live, registered;
static size_t pinned_bytes, pin_limit = SIZE_MAX;

static int fake_reg(void *device, uintptr_t start, size_t len, struct memreg_key *ret_key)
{
	struct pinned *p;

	if (pinned_bytes + len > pin_limit)
		return -ENOMEM;
	p = malloc(sizeof(*p));
	p->stamp = *(volatile uint64_t *)start;
	pinned_bytes += len;
	live++;
	registered++;
	*ret_key = (struct memreg_key){.handle = p, .lkey = (uint32_t)len};
	return 0;
}

static void fake_dereg(void *device, struct memreg_key *key)
{
	pinned_bytes -= key->lkey;
	live--;
	free(key->handle);
}

static const struct memreg_ops watched = {fake_reg, fake_dereg, false};
static const struct memreg_ops unwatched = {fake_reg, fake_dereg, true}; /* a cache that believes */

static struct memreg *cache(const struct memreg_ops *ops, size_t limit)
{
	struct memreg *m;

	cr_assert_eq(memreg_create(ops, NULL, limit, &m), 0);
	return m;
}

static struct memreg_counts counts_of(struct memreg *m)
{
	struct memreg_counts c;

	memreg_count(m, &c);
	return c;
}

static uint64_t next_stamp = 1;

static void stamp(void *p)
{
	*(uint64_t *)p = next_stamp++;
}

/* The stamp that a transfer from p would carry. */
static uint64_t seen(struct memreg *m, void *p, size_t len)
{
	struct memreg_hold *h;
	uint64_t s;

	cr_assert_eq(memreg_get(m, p, len, &h), 0);
	s = ((struct pinned *)h->key.handle)->stamp;
	memreg_put(m, h);
	return s;
}

static void *map_at(void *at)
{
	void *p = mmap(at, SIZE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | (at ? MAP_FIXED : 0), -1, 0);

	cr_assert_neq(p, MAP_FAILED);
	return p;
}

static void need_watch(void)
{
	int r = memwatch_start();

	cr_assert_eq(r, 0, "this kernel reports no unmapping (%d): nothing would be kept", r);
}

/* ---- ways to change what lies there; each leaves writable memory at p ---- */

static void by_munmap(char *p)
{
	munmap(p, SIZE);
	map_at(p);
}

static void by_map_fixed(char *p)
{
	map_at(p);
}

static void by_raw_munmap(char *p)
{
	syscall(SYS_munmap, p, SIZE);
	map_at(p);
}

static void by_one_page(char *p)
{
	munmap(p, 4096);
	cr_assert_eq(mmap(p, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
			     0), p);
}

static void by_dontneed(char *p)
{
	madvise(p, SIZE, MADV_DONTNEED);
}

static void by_free_advice(char *p)
{
	madvise(p, SIZE, MADV_FREE);
	by_munmap(p); /* what MADV_FREE does by itself comes when memory is short */
}

static void by_move(char *p)
{
	void *to = mremap(p, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, p + (64L << 20));

	cr_assert_neq(to, MAP_FAILED);
	map_at(p);
}

static void by_move_onto(char *p)
{
	char *from = map_at(NULL);

	from[4096] = 1;
	cr_assert_eq(mremap(from, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, p), p);
}

static void by_move_leaving(char *p)
{
	cr_assert_neq(mremap(p, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL), MAP_FAILED);
}

static void by_shrink(char *p)
{
	cr_assert_eq(mremap(p, SIZE, 4096, 0), p);
	munmap(p, 4096);
	map_at(p);
}

/* The kernel tells of none of these: the shim's own symbols are linked in. */
static void by_guard(char *p)
{
	madvise(p + 4096, 4096, MADV_GUARD_INSTALL);
	madvise(p + 4096, 4096, MADV_GUARD_REMOVE);
}

static void by_process_guard(char *p)
{
	struct iovec v = {p + 4096, 4096};
	int self = (int)syscall(SYS_pidfd_open, getpid(), 0);

	process_madvise(self, &v, 1, MADV_GUARD_INSTALL, 0);
	madvise(p + 4096, 4096, MADV_GUARD_REMOVE);
	close(self);
}

static void by_attaching(char *p)
{
	int id = shmget(IPC_PRIVATE, SIZE, 0600);

	cr_assert_eq(shmat(id, p, SHM_REMAP), p);
	shmctl(id, IPC_RMID, NULL);
}

static const struct {
	const char *name;
	void (*change)(char *p);
} ways[] = {{"munmap", by_munmap}, {"mmap over it", by_map_fixed}, {"raw munmap", by_raw_munmap},
	{"one page of it", by_one_page}, {"MADV_DONTNEED", by_dontneed},
	{"MADV_FREE", by_free_advice}, {"mremap away", by_move}, {"mremap onto", by_move_onto},
	{"MREMAP_DONTUNMAP", by_move_leaving}, {"mremap shorter", by_shrink},
	{"MADV_GUARD_INSTALL", by_guard}, {"process_madvise", by_process_guard}, {"SHM_REMAP", by_attaching}};

static void change_and_check(struct memreg *m, size_t way, bool believing)
{
	char *p = map_at(NULL);
	uint64_t first, second;

	stamp(p);
	first = seen(m, p, SIZE);
	cr_assert_eq(first, *(uint64_t *)p);
	ways[way].change(p);
	stamp(p);
	second = seen(m, p, SIZE);
	if (believing)
		cr_assert_eq(second, first, "%s: the test shows no stale page", ways[way].name);
	else
		cr_assert_eq(second, *(uint64_t *)p, "%s: a stale page", ways[way].name);
}

Test(memreg, no_change_of_memory_is_missed, .timeout = 60)
{
	struct memreg *m = cache(&watched, SIZE_MAX);

	need_watch();
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		change_and_check(m, i, false);
	memreg_destroy(m);
	cr_assert_eq(live, 0);
}

/* The control: a cache that does not watch serves a stale page in every one of these. */
Test(memreg, each_change_deceives_a_cache_that_believes, .timeout = 60)
{
	struct memreg *m = cache(&unwatched, SIZE_MAX);

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		change_and_check(m, i, true);
	memreg_destroy(m);
}

/* glibc's own munmap inside free: the same address comes back at once. */
Test(memreg, free_and_malloc_of_a_large_block, .timeout = 60)
{
	struct memreg *m = cache(&watched, SIZE_MAX);
	int same = 0;

	need_watch();
	mallopt(M_MMAP_THRESHOLD, 1 << 20);
	for (int i = 0; i < 50; i++) {
		static char *before;
		char *p = malloc(4 << 20);

		same += p == before;
		before = p;
		stamp((void *)(((uintptr_t)p + 4095) & ~4095ul));
		cr_assert_eq(seen(m, (void *)(((uintptr_t)p + 4095) & ~4095ul), 1 << 20), next_stamp - 1);
		free(p);
	}
	cr_assert_gt(same, 40, "malloc gave other addresses: nothing was tested");
	memreg_destroy(m);
}

Test(memreg, heap_that_shrinks_and_grows, .timeout = 60)
{
	struct memreg *m = cache(&watched, SIZE_MAX);
	char *base = (char *)(((uintptr_t)sbrk(0) + 4095) & ~4095ul);

	need_watch();
	for (int i = 0; i < 20; i++) {
		cr_assert_eq(brk(base + SIZE), 0);
		stamp(base);
		cr_assert_eq(seen(m, base, SIZE), next_stamp - 1);
		cr_assert_eq(brk(base), 0);
	}
	memreg_destroy(m);
}

Test(memreg, malloc_trim_and_arenas, .timeout = 60)
{
	struct memreg *m = cache(&watched, SIZE_MAX);

	need_watch();
	mallopt(M_MMAP_THRESHOLD, 64 << 20);
	for (int i = 0; i < 20; i++) {
		char *p = malloc(2 << 20), *page = (char *)(((uintptr_t)p + 4095) & ~4095ul);

		stamp(page);
		cr_assert_eq(seen(m, page, 1 << 20), next_stamp - 1);
		free(p);
		malloc_trim(0);
	}
	memreg_destroy(m);
}

/* ---- two threads: one unmaps, the other gets the address before the first is back ---- */

static char *_Atomic contested;
static atomic_bool over;

static void *unmapper(void *unused)
{
	while (!over) {
		char *p = atomic_exchange(&contested, NULL);
		if (p)
			munmap(p, SIZE);
	}
	return NULL;
}

Test(memreg, address_taken_by_another_thread_during_the_unmapping, .timeout = 120)
{
	struct memreg *m = cache(&watched, SIZE_MAX);
	char *at = map_at(NULL);
	pthread_t th;

	need_watch();
	stamp(at);
	seen(m, at, SIZE);
	cr_assert_eq(pthread_create(&th, NULL, unmapper, NULL), 0);
	for (int i = 0; i < 3000; i++) {
		void *p;

		contested = at;
		do
			p = mmap(at, SIZE, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
		while (p == MAP_FAILED);
		cr_assert_eq(p, at);
		stamp(at);
		cr_assert_eq(seen(m, at, SIZE), next_stamp - 1, "round %d: a stale page", i);
	}
	over = true;
	pthread_join(th, NULL);
	memreg_destroy(m);
	cr_assert_eq(live, 0);
}

/* ---- the cache as a cache ---- */

Test(memreg, same_buffer_is_registered_once, .timeout = 60)
{
	struct memreg *m = cache(&watched, SIZE_MAX);
	char *p = map_at(NULL);
	struct memreg_counts c;

	need_watch();
	for (int i = 0; i < 100; i++) {
		seen(m, p, SIZE);
		seen(m, p + 5000, 9000);
	}
	memreg_count(m, &c);
	cr_assert_eq(registered, 1);
	cr_assert_eq(c.hits, 199);
	cr_assert_eq(c.bytes, SIZE);
	memreg_destroy(m);
	cr_assert_eq(live, 0);
}

/* A second device: what is kept for the first goes on being watched. */
Test(memreg, started_twice_it_is_one_watch, .timeout = 60)
{
	struct memreg *m = cache(&watched, SIZE_MAX);
	char *p = map_at(NULL);

	need_watch();
	seen(m, p, SIZE);
	need_watch();
	seen(m, p, SIZE);
	cr_assert_eq(registered, 1);
	by_munmap(p);
	stamp(p);
	cr_assert_eq(seen(m, p, SIZE), next_stamp - 1);
	memreg_destroy(m);
	cr_assert_eq(live, 0);
}

Test(memreg, intervals, .timeout = 60)
{
	struct memreg *m = cache(&watched, SIZE_MAX);
	char *p = map_at(NULL);
	struct memreg_counts c;

	need_watch();
	seen(m, p + 8 * 4096, 4096);
	seen(m, p, 2 * 4096);
	seen(m, p + 4096, 2 * 4096); /* overlaps, is contained in neither */
	memreg_count(m, &c);
	cr_assert_eq(c.entries, 3);
	seen(m, p + 2 * 4096 - 1, 2); /* inside the third only */
	cr_assert_eq(registered, 3);
	seen(m, p, SIZE); /* contains all */
	memreg_count(m, &c);
	cr_assert_eq(c.entries, 1);
	cr_assert_eq(live, 1);
	memreg_destroy(m);
}

Test(memreg, limit_gives_back_the_oldest_idle_one, .timeout = 60)
{
	struct memreg *m = cache(&watched, 3 * SIZE);
	char *p[4];
	struct memreg_hold *held, *other, *never;
	struct memreg_counts c;

	need_watch();
	for (int i = 0; i < 4; i++)
		p[i] = map_at(NULL);
	cr_assert_eq(memreg_get(m, p[0], SIZE, &held), 0);
	seen(m, p[1], SIZE);
	seen(m, p[2], SIZE);
	seen(m, p[1], SIZE);
	cr_assert_eq(memreg_get(m, p[3], SIZE, &other), 0);
	memreg_count(m, &c);
	cr_assert_eq(c.evicted, 1);
	cr_assert_eq(c.bytes, 3 * SIZE);
	seen(m, p[1], SIZE);
	cr_assert_eq(registered, 4, "the one that had been used again was given back");
	cr_assert_eq(memreg_get(m, p[2], 3 * SIZE + 1, &never), -ENOMEM);
	memreg_put(m, held);
	memreg_put(m, other);
	memreg_destroy(m);
	cr_assert_eq(live, 0);
}

static char *fill(struct memreg *m, int buffers)
{
	char *p = mmap(NULL, (size_t)buffers * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	cr_assert_neq(p, MAP_FAILED);
	for (int i = 0; i < buffers; i++)
		seen(m, p + i * 4096, 4096);
	return p;
}

/* As many as a cache keeps, and the watch has slots: the buffers after them are kept too. */
Test(memreg, full_table_gives_back_the_oldest_idle_one, .timeout = 60)
{
	struct memreg *m = cache(&watched, SIZE_MAX);
	char *first = map_at(NULL), *p;
	struct memreg_hold *held;

	need_watch();
	cr_assert_eq(memreg_get(m, first, 4096, &held), 0);
	p = fill(m, MEMWATCH_ROOM + 9);
	cr_assert_eq(counts_of(m).entries, MEMWATCH_ROOM);
	cr_assert_eq(counts_of(m).evicted, 10);
	cr_assert_eq(counts_of(m).once, 0);
	for (int i = 10; i < MEMWATCH_ROOM + 9; i++)
		seen(m, p + i * 4096, 4096);
	seen(m, first, 4096);
	cr_assert_eq(registered, MEMWATCH_ROOM + 10, "another one than the oldest idle one was given back");
	memreg_put(m, held);
	memreg_destroy(m);
	cr_assert_eq(live, 0);
}

/* Two devices: what one has of the watch's slots, the other has not. */
Test(memreg, slots_that_another_cache_has, .timeout = 60)
{
	struct memreg *one = cache(&watched, SIZE_MAX), *other = cache(&watched, SIZE_MAX);

	need_watch();
	fill(one, MEMWATCH_ROOM - 4);
	fill(other, 10);
	cr_assert_eq(counts_of(other).entries, 4);
	cr_assert_eq(counts_of(other).once, 0);
	cr_assert_eq(counts_of(one).evicted, 0);
	memreg_destroy(one);
	memreg_destroy(other);
	cr_assert_eq(live, 0);
}

static int log_to_memory(void)
{
	int fd = memfd_create("log", 0);

	settings.log = LOG_WARN;
	cr_assert_eq(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	return fd;
}

/* Refused twice, said once. */
Test(memreg, device_without_room, .timeout = 60)
{
	struct memreg *m = cache(&watched, SIZE_MAX);
	char *p[3];
	struct memreg_hold *held, *never;
	char said[512] = "";
	int log;

	need_watch();
	pin_limit = SIZE;
	for (int i = 0; i < 3; i++)
		p[i] = map_at(NULL);
	seen(m, p[0], SIZE);
	log = log_to_memory();
	cr_assert_eq(memreg_get(m, p[1], SIZE, &held), 0); /* after the first was given back */
	for (int i = 0; i < 2; i++)
		cr_assert_eq(memreg_get(m, p[2], SIZE, &never), -ENOMEM);
	cr_assert_eq(pread(log, said, sizeof(said) - 1, 0), (ssize_t)strcspn(said, "\n") + 1, "not one line: %s", said);
	cr_assert(strstr(said, "cannot register 65536 bytes beside 65536; raise the limit of locked memory (ulimit -l)"), "%s", said);
	memreg_put(m, held);
	memreg_destroy(m);
	cr_assert_eq(live, 0);
}

Test(memreg, hold_outlives_its_memory, .timeout = 60)
{
	struct memreg *m = cache(&watched, SIZE_MAX);
	char *p = map_at(NULL);
	struct memreg_hold *h;
	struct memreg_counts c;

	need_watch();
	stamp(p);
	cr_assert_eq(memreg_get(m, p, SIZE, &h), 0);
	munmap(p, SIZE);
	do {
		memreg_sweep(m);
		memreg_count(m, &c);
	} while (!c.stale);
	cr_assert_eq(live, 1, "given back under its holder");
	memreg_put(m, h);
	cr_assert_eq(live, 0);
	memreg_count(m, &c);
	cr_assert_eq(c.bytes, 0);
	memreg_destroy(m);
}

/* Nobody says when another process changes shared memory: never kept. */
Test(memreg, shared_memory_is_not_kept, .timeout = 60)
{
	struct memreg *m = cache(&watched, SIZE_MAX);
	int fd = memfd_create("shared", 0);
	char *p;
	struct memreg_counts c;

	need_watch();
	cr_assert_eq(ftruncate(fd, SIZE), 0);
	p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(ftruncate(fd, 0) | ftruncate(fd, SIZE), 0);
		stamp(p);
		cr_assert_eq(seen(m, p, SIZE), next_stamp - 1);
	}
	memreg_count(m, &c);
	cr_assert_eq(c.once, 3);
	cr_assert_eq(c.entries, 0);
	cr_assert_eq(live, 0);
	memreg_destroy(m);
}

/* The event comes before the pages go: whoever registers in between must not be believed later,
 * and nobody says when that is over. */
Test(memreg, discarded_memory_is_not_kept_again, .timeout = 60)
{
	struct memreg *m = cache(&watched, SIZE_MAX);
	char *p = map_at(NULL), *q = map_at(NULL);

	need_watch();
	seen(m, p, SIZE);
	madvise(p + 4096, 4096, MADV_DONTNEED);
	for (int i = 0; i < 3; i++)
		seen(m, p, SIZE);
	cr_assert_eq(counts_of(m).once, 3);
	cr_assert_eq(counts_of(m).hits, 0);
	while (!counts_of(m).hits) /* at once, or as soon as the reader has done with the event */
		seen(m, q, SIZE);
	cr_assert_eq(counts_of(m).entries, 1);
	memreg_destroy(m);
}

Test(memreg, more_discards_than_can_be_noted, .timeout = 60)
{
	struct memreg *m = cache(&watched, SIZE_MAX);
	char *p = map_at(NULL);

	need_watch();
	for (int i = 0; i < 257; i++) {
		char *q = map_at(NULL);
		uint64_t before = counts_of(m).hits;

		for (int tries = 0; counts_of(m).hits == before && tries < 20000; tries++)
			seen(m, q, 4096);
		cr_assert(i == 256 || counts_of(m).hits > before, "not kept after %d discards", i);
		madvise(q, 4096, MADV_DONTNEED);
	}
	for (int i = 0; i < 3; i++)
		seen(m, p, SIZE);
	cr_assert_eq(counts_of(m).entries, 0, "kept although discards are no longer noted");
	memreg_destroy(m);
	cr_assert_eq(live, 0);
}

/* Another thread may have seen the new pages already. */
Test(memreg, nothing_is_believed_during_an_unreported_change, .timeout = 60)
{
	struct memreg *m = cache(&watched, SIZE_MAX);
	char *p = map_at(NULL), *q = map_at(NULL);

	need_watch();
	seen(m, p, SIZE);
	seen(m, q, SIZE);
	memwatch_unreported_begin();
	stamp(p);
	cr_assert_eq(seen(m, p, SIZE), next_stamp - 1);
	cr_assert_eq(counts_of(m).once, 1);
	memwatch_unreported_end((uintptr_t)p + 5000, (uintptr_t)p + 5001);
	memreg_sweep(m);
	cr_assert_eq(counts_of(m).stale, 1);
	seen(m, q, SIZE);
	cr_assert_eq(counts_of(m).hits, 1);
	memreg_destroy(m);
	cr_assert_eq(live, 0);
}

/* Without the kernel's events: right, and nothing kept. */
Test(memreg, without_a_watch, .timeout = 60)
{
	struct memreg *m = cache(&watched, SIZE_MAX);

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		change_and_check(m, i, false);
	cr_assert_eq(live, 0);
	memreg_destroy(m);
}

static int find_fd(const char *what)
{
	char path[64], to[64];

	for (int fd = 3; fd < 256; fd++) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		n = readlink(path, to, sizeof(to) - 1);
		to[n < 0 ? 0 : n] = 0;
		if (strstr(to, what))
			return fd;
	}
	return -1;
}

/* Our descriptor closed behind our back: nothing is believed any more. */
Test(memreg, watch_closed_by_the_program, .timeout = 60)
{
	struct memreg *m = cache(&watched, SIZE_MAX);
	char *p = map_at(NULL);

	need_watch();
	stamp(p);
	seen(m, p, SIZE);
	cr_assert_eq(syscall(SYS_close, find_fd("userfaultfd")), 0);
	by_munmap(p);
	stamp(p);
	cr_assert_eq(seen(m, p, SIZE), next_stamp - 1);
}

Test(memreg, child_of_a_fork, .timeout = 60)
{
	struct memreg *m = cache(&watched, SIZE_MAX);
	char *p = map_at(NULL);
	struct memreg_hold *h;
	int status;
	pid_t pid;

	need_watch();
	stamp(p);
	seen(m, p, SIZE);
	pid = fork();
	if (!pid) {
		if (memreg_get(m, p, SIZE, &h) != -EPERM)
			_exit(1);
		memwatch_after_fork_child();
		munmap(p, SIZE); /* must not wait for the parent's reader, nor tell it */
		memreg_destroy(m);
		_exit(live == 1 ? 0 : 2);
	}
	waitpid(pid, &status, 0);
	cr_assert_eq(status, 0);
	seen(m, p, SIZE);
	cr_assert_eq(registered, 1, "a child's munmap made the parent register again");
	memreg_destroy(m);
}

/* Its self-test does not pass; no call hangs, and the next start finds a watch. */
Test(memreg, started_during_an_unreported_change, .timeout = 60)
{
	memwatch_unreported_begin();
	cr_assert_eq(memwatch_start(), -EPROTO);
	memwatch_unreported_end(0, 0);
	need_watch();
}

/* The thread that changes something is not in the child: what the child makes for itself is believed. */
Test(memreg, child_forked_during_an_unreported_change, .timeout = 60)
{
	int status;
	pid_t pid;

	memwatch_unreported_begin();
	pid = fork();
	if (!pid) {
		struct memreg *m = cache(&watched, SIZE_MAX);
		char *p = map_at(NULL);

		memwatch_after_fork_child();
		if (memwatch_start())
			_exit(2);
		seen(m, p, SIZE);
		seen(m, p, SIZE);
		_exit(counts_of(m).hits == 1 ? 0 : 1);
	}
	waitpid(pid, &status, 0);
	cr_assert_eq(status, 0);
}

Test(memreg, limit_of_locked_memory, .timeout = 60)
{
	struct rlimit r = {65536, 65536};

	cr_assert_eq(setrlimit(RLIMIT_MEMLOCK, &r), 0);
	if (geteuid() == 0 && setresuid(65534, 65534, 65534))
		cr_assert_fail("setresuid");
	cr_assert_eq(memreg_limit(1 << 30), 65536);
	cr_assert_eq(memreg_limit(4096), 4096);
}
