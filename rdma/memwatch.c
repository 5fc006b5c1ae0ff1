#include "memwatch.h"
#include "log.h"
#include "sys.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

enum { DISCARD_ROOM = 256 };

struct range {
	_Atomic uintptr_t start, end;
};

static struct {
	int fd, wake; /* wake: an eventfd that ends the reader */
	bool running;
	pthread_t reader;
	pthread_mutex_t arming; /* slots and the kernel's watch change together; never the reader's */
	_Atomic uint64_t reading; /* odd from before an event is taken until it has been marked */
	_Atomic bool broken;	  /* nothing can be trusted any more */
	_Atomic int unreported;	  /* calls under way of which the kernel tells nothing */
	struct {
		struct range r;
		_Atomic int state;
	} slots[MEMWATCH_ROOM];
	struct range discarded[DISCARD_ROOM]; /* seen in MADV_DONTNEED or FREE: never watched again */
	_Atomic unsigned n_discarded;
} watch = {.fd = -1, .wake = -1, .arming = PTHREAD_MUTEX_INITIALIZER};

/* ---- what the reader does; no locks, no allocation ---- */

static bool meets(const struct range *r, uintptr_t start, uintptr_t end)
{
	return atomic_load(&r->start) < end && start < atomic_load(&r->end);
}

static void mark(uintptr_t start, uintptr_t end)
{
	for (int i = 0; i < MEMWATCH_ROOM; i++) {
		int state = atomic_load(&watch.slots[i].state);

		while ((state == WATCH_ARMING || state == WATCH_TRUE) &&
			meets(&watch.slots[i].r, start, end) &&
			!atomic_compare_exchange_weak(&watch.slots[i].state, &state, WATCH_STALE))
			;
	}
}

/* The event comes before the pages go, and nothing says when they are gone: not again. */
static void note_discarded(uintptr_t start, uintptr_t end)
{
	unsigned n = atomic_load(&watch.n_discarded);

	if (n == DISCARD_ROOM) {
		atomic_store(&watch.broken, true);
		return;
	}
	atomic_store(&watch.discarded[n].start, start);
	atomic_store(&watch.discarded[n].end, end);
	atomic_store(&watch.n_discarded, n + 1);
}

static void take(const struct uffd_msg *m)
{
	switch (m->event) {
	case UFFD_EVENT_REMOVE:
		note_discarded(m->arg.remove.start, m->arg.remove.end);
		mark(m->arg.remove.start, m->arg.remove.end);
		break;
	case UFFD_EVENT_UNMAP:
		mark(m->arg.remove.start, m->arg.remove.end);
		break;
	case UFFD_EVENT_REMAP:
		mark(m->arg.remap.from, m->arg.remap.from + m->arg.remap.len);
		break;
	default:
		atomic_store(&watch.broken, true);
	}
}

/* The count is odd before the kernel can let the unmapping thread go on. */
static bool take_one(void)
{
	struct uffd_msg m;
	long r;

	atomic_fetch_add(&watch.reading, 1);
	r = sys_call(SYS_read, watch.fd, &m, sizeof(m));
	if (r == sizeof(m))
		take(&m);
	else if (r != -EAGAIN && r != -EINTR)
		atomic_store(&watch.broken, true);
	atomic_fetch_add(&watch.reading, 1);
	return r == sizeof(m);
}

static void take_all(void)
{
	while (take_one())
		;
}

static void *read_events(void *unused)
{
	struct pollfd p[] = {{watch.fd, POLLIN, 0}, {watch.wake, POLLIN, 0}};

	while (!p[1].revents) {
		sys_call(SYS_ppoll, p, 2, NULL, NULL, 0);
		if (p[0].revents)
			take_all();
	}
	return NULL;
}

/* ---- is anything under way? ---- */

/* With an empty range the ioctl does nothing, but says EAGAIN first while any unmapping of a watched
 * range is under way, from before its pages go until its event has been read. */
static bool quiet(void)
{
	struct uffdio_writeprotect none = {0};

	return sys_call(SYS_ioctl, watch.fd, UFFDIO_WRITEPROTECT, &none) == -EINVAL;
}

/* The order matters: what quiet() no longer sees has made `reading` odd before. */
static bool settled(void)
{
	return quiet() && !atomic_load(&watch.unreported) && !(atomic_load(&watch.reading) & 1) &&
		!atomic_load(&watch.broken);
}

void memwatch_unreported_begin(void)
{
	atomic_fetch_add(&watch.unreported, 1);
}

/* Two more readings: the count stays as odd or even as the reader has it. */
void memwatch_unreported_end(uintptr_t start, uintptr_t end)
{
	mark(start, end);
	atomic_fetch_add(&watch.reading, 2);
	atomic_fetch_sub(&watch.unreported, 1);
}

uint64_t memwatch_news(void)
{
	return atomic_load(&watch.reading);
}

bool memwatch_stale(int slot)
{
	return atomic_load(&watch.slots[slot].state) == WATCH_STALE;
}

bool memwatch_holds(int slot)
{
	return settled() && atomic_load(&watch.slots[slot].state) == WATCH_TRUE;
}

bool memwatch_confirm(int slot)
{
	int arming = WATCH_ARMING;

	return settled() &&
		atomic_compare_exchange_strong(&watch.slots[slot].state, &arming, WATCH_TRUE);
}

/* ---- arming ---- */

static bool was_discarded(uintptr_t start, uintptr_t end)
{
	unsigned n = atomic_load(&watch.n_discarded);

	for (unsigned i = 0; i < n; i++)
		if (meets(&watch.discarded[i], start, end))
			return true;
	return false;
}

static int claim_slot(uintptr_t start, uintptr_t end)
{
	for (int i = 0; i < MEMWATCH_ROOM; i++) {
		int unused = WATCH_FREE;

		if (atomic_load(&watch.slots[i].state) != WATCH_FREE)
			continue;
		/* Stale until its range stands: the reader looks at live slots only. */
		if (!atomic_compare_exchange_strong(&watch.slots[i].state, &unused, WATCH_STALE))
			continue;
		atomic_store(&watch.slots[i].r.start, start);
		atomic_store(&watch.slots[i].r.end, end);
		atomic_store(&watch.slots[i].state, WATCH_ARMING);
		return i;
	}
	return -ENOSPC;
}

/* One line of maps: "start-end perms offset dev inode path"; private and without a file. */
static bool private_anonymous(const char *line, uintptr_t *ret_start, uintptr_t *ret_end)
{
	unsigned long start, end, inode;
	char perms[5];

	if (sscanf(line, "%lx-%lx %4s %*x %*x:%*x %lu", &start, &end, perms, &inode) != 4)
		return false;
	*ret_start = start;
	*ret_end = end;
	return perms[3] == 'p' && !inode;
}

/* Shared memory changes its pages from elsewhere, without a word to us. */
static bool line_allows(const char *line, uintptr_t start, uintptr_t end, uintptr_t *ret_done)
{
	uintptr_t from = 0, to = 0;
	bool good = private_anonymous(line, &from, &to);

	if (!to || to <= start || from >= end)
		return true;
	*ret_done = to;
	return good;
}

static bool all_private_anonymous(uintptr_t start, uintptr_t end)
{
	char buf[8192];
	size_t have = 0;
	uintptr_t done = start;
	bool good = true;
	long r, fd = sys_call(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	while (good && done < end && (r = sys_call(SYS_read, fd, buf + have, sizeof(buf) - 1 - have)) > 0) {
		char *line = buf, *nl;

		have += r;
		buf[have] = 0;
		for (; good && (nl = strchr(line, '\n')); line = nl + 1)
			good = line_allows(line, start, end, &done);
		have -= line - buf;
		memmove(buf, line, have);
	}
	sys_call(SYS_close, fd);
	return good && done >= end;
}

static void disarm(int slot);

static int arm(uintptr_t start, uintptr_t end)
{
	struct uffdio_register reg = {{start, end - start}, UFFDIO_REGISTER_MODE_WP, 0};
	long r;
	int slot;

	if (watch.fd < 0 || atomic_load(&watch.broken) || was_discarded(start, end))
		return -ENOTSUP;
	slot = claim_slot(start, end);
	if (slot < 0)
		return slot;
	r = sys_call(SYS_ioctl, watch.fd, UFFDIO_REGISTER, &reg);
	if (!r && !all_private_anonymous(start, end))
		r = -ENOTSUP;
	/* Again, now that every discard is reported. */
	if (!r && was_discarded(start, end))
		r = -ENOTSUP;
	if (r) {
		disarm(slot);
		return (int)r;
	}
	return slot;
}

int memwatch_arm(uintptr_t start, uintptr_t end)
{
	int slot;

	pthread_mutex_lock(&watch.arming);
	slot = arm(start, end);
	pthread_mutex_unlock(&watch.arming);
	return slot;
}

static bool shared_with_other(int slot)
{
	uintptr_t start = atomic_load(&watch.slots[slot].r.start);
	uintptr_t end = atomic_load(&watch.slots[slot].r.end);

	for (int i = 0; i < MEMWATCH_ROOM; i++)
		if (i != slot && atomic_load(&watch.slots[i].state) != WATCH_FREE &&
			meets(&watch.slots[i].r, start, end))
			return true;
	return false;
}

/* The kernel's watch goes only where no other slot may need it. */
static void disarm(int slot)
{
	struct uffdio_range r = {atomic_load(&watch.slots[slot].r.start), 0};

	r.len = atomic_load(&watch.slots[slot].r.end) - r.start;
	if (!shared_with_other(slot))
		sys_call(SYS_ioctl, watch.fd, UFFDIO_UNREGISTER, &r);
	atomic_store(&watch.slots[slot].state, WATCH_FREE);
}

void memwatch_disarm(int slot)
{
	pthread_mutex_lock(&watch.arming);
	disarm(slot);
	pthread_mutex_unlock(&watch.arming);
}

/* ---- start and end ---- */

static int open_uffd(void)
{
	struct uffdio_api api = {.api = UFFD_API,
		.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_EVENT_UNMAP |
			UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE};
	long r, fd = sys_call(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

	if (fd < 0)
		return (int)fd;
	r = sys_call(SYS_ioctl, fd, UFFDIO_API, &api);
	if (r) {
		sys_call(SYS_close, fd);
		return (int)r;
	}
	return (int)fd;
}

/* The self-test, before there is a reader: two unmappings at a time. Each is seen as under way until
 * its own event is taken; kernels before 5.15 forget the second when the first is done. */
struct trial {
	char *page;
	pthread_t th;
	atomic_int *returned;
};

/* Replaced and not just unmapped: in a hole another thread of the program might map its own. */
static void *replace_page(void *arg)
{
	struct trial *t = arg;

	mmap(t->page, getpagesize(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	atomic_fetch_add(t->returned, 1);
	return NULL;
}

static bool still_there(void *page)
{
	unsigned char in_core = 0;

	sys_call(SYS_mincore, page, getpagesize(), &in_core);
	return in_core & 1;
}

static bool arm_page(char *page)
{
	int slot = memwatch_arm((uintptr_t)page, (uintptr_t)page + getpagesize());

	*page = 1;
	return slot >= 0 && memwatch_confirm(slot) && memwatch_holds(slot);
}

static bool each_is_seen(struct trial *t)
{
	bool both, second;

	while (still_there(t[0].page) || still_there(t[1].page))
		sched_yield();
	both = !quiet() && !memwatch_holds(0) && !memwatch_holds(1);
	while (!take_one() && atomic_load(t[0].returned) < 2)
		sched_yield();
	while (!atomic_load(t[0].returned))
		sched_yield();
	second = !quiet();
	while (atomic_load(t[0].returned) < 2) {
		take_all();
		sched_yield();
	}
	return both && second && quiet() && memwatch_stale(0) && memwatch_stale(1);
}

static bool behaves(char *pages)
{
	atomic_int returned = 0;
	struct trial t[2] = {{.page = pages, .returned = &returned},
		{.page = pages + 2 * getpagesize(), .returned = &returned}};
	bool good;

	if (!arm_page(t[0].page) || !arm_page(t[1].page))
		return false;
	if (pthread_create(&t[0].th, NULL, replace_page, &t[0]))
		return false;
	if (pthread_create(&t[1].th, NULL, replace_page, &t[1])) {
		while (!atomic_load(&returned))
			take_all();
		pthread_join(t[0].th, NULL);
		return false;
	}
	good = each_is_seen(t);
	pthread_join(t[0].th, NULL);
	pthread_join(t[1].th, NULL);
	memwatch_disarm(0);
	memwatch_disarm(1);
	return good;
}

static void give_up(int err)
{
	memwatch_stop();
	log_info("registrations are not kept: the kernel reports no unmapping (error %d)", -err);
}

static int start(void)
{
	char *pages = mmap(NULL, 3 * getpagesize(), PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int r;

	watch.fd = open_uffd();
	watch.wake = (int)sys_call(SYS_eventfd2, 0, O_CLOEXEC | O_NONBLOCK);
	atomic_store(&watch.broken, false);
	if (watch.fd < 0 || watch.wake < 0 || pages == MAP_FAILED)
		r = watch.fd < 0 ? watch.fd : -ENOMEM;
	else if (!behaves(pages))
		r = -EPROTO;
	else
		r = -pthread_create(&watch.reader, NULL, read_events, NULL);
	watch.running = !r;
	if (r)
		give_up(r);
	/* Not before: while they are watched and nobody reads of it, their unmapping does not end. */
	munmap(pages, 3 * getpagesize());
	return r;
}

/* Threads of ours run no handler of the program: they inherit the mask. */
int memwatch_start(void)
{
	sigset_t all, before;
	int r;

	if (watch.running)
		return 0;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = start();
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r;
}

static void close_fds(void)
{
	if (watch.fd >= 0)
		sys_call(SYS_close, watch.fd);
	if (watch.wake >= 0)
		sys_call(SYS_close, watch.wake);
	watch.fd = watch.wake = -1;
}

static void forget(void)
{
	for (int i = 0; i < MEMWATCH_ROOM; i++)
		atomic_store(&watch.slots[i].state, WATCH_FREE);
	atomic_store(&watch.n_discarded, 0);
	atomic_store(&watch.reading, 0);
	watch.running = false;
	close_fds();
}

void memwatch_stop(void)
{
	uint64_t one = 1;

	if (watch.running) {
		sys_call(SYS_write, watch.wake, &one, sizeof(one));
		pthread_join(watch.reader, NULL);
	}
	forget();
}

/* Those who were at a call of their own are not in the child. */
void memwatch_after_fork_child(void)
{
	if (atomic_load(&watch.unreported))
		atomic_store(&watch.unreported, 0);
	if (watch.fd < 0)
		return;
	watch.arming = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
	forget();
}
