/* Advice and attaching that may change pages, by name and by number, done and refused.
 * At the ends of a connection, since nothing is counted for a process without one. */
#include "pair.h"

#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif

enum { PAGE = 4096, SIZE = 4 * PAGE };

static char *p;

static void what_lies_there(const char *after)
{
	unsigned sum = 0;

	for (int i = 0; i < SIZE; i += PAGE)
		sum = sum * 10 + (unsigned char)p[i];
	say("%s: %04u", after, sum);
	memset(p, 1, SIZE);
}

static void advise(void)
{
	say("MADV_DONTNEED %s", result(madvise(p + PAGE, PAGE, MADV_DONTNEED)));
	what_lies_there("after it");
	say("MADV_DONTNEED by number %s", result((int)syscall(SYS_madvise, p, PAGE, MADV_DONTNEED)));
	what_lies_there("after it");
	say("not an advice %s", result(madvise(p, PAGE, 4711)));
	say("not a page %s", result(madvise(p + 1, PAGE, MADV_GUARD_INSTALL)));
	say("nothing there %s", result(madvise(NULL, PAGE, MADV_GUARD_INSTALL)));
}

static void guard(void)
{
	struct iovec v = { p + 2 * PAGE, PAGE };
	int self = (int)syscall(SYS_pidfd_open, getpid(), 0);

	say("guard %s", result(madvise(p, PAGE, MADV_GUARD_INSTALL)));
	say("guard by number %s", result((int)syscall(SYS_madvise, p + PAGE, PAGE, MADV_GUARD_INSTALL)));
	say("guard by a descriptor %s", result((int)syscall(SYS_process_madvise, self, &v, 1, MADV_GUARD_INSTALL, 0)));
	say("of a bad one %s", result((int)syscall(SYS_process_madvise, -1, &v, 1, MADV_GUARD_INSTALL, 0)));
	say("of bad memory %s", result((int)syscall(SYS_process_madvise, self, (void *)8, 1, MADV_GUARD_INSTALL, 0)));
	say("cold by a descriptor %s", result((int)syscall(SYS_process_madvise, self, &v, 1, MADV_COLD, 0)));
	say("guards away %s", result(madvise(p, SIZE, MADV_GUARD_REMOVE)));
	what_lies_there("after them");
	close(self);
}

static void attach(void)
{
	int id = shmget(IPC_PRIVATE, SIZE, 0600);
	void *elsewhere = shmat(id, NULL, 0);

	check(id >= 0 && elsewhere != MAP_FAILED);
	memset(elsewhere, 2, SIZE);
	say("attached over it %d", shmat(id, p, SHM_REMAP) == p);
	what_lies_there("after it");
	say("what the other sees: %d", *(char *)elsewhere);
	say("detached %s", result(shmdt(p)));
	say("by number %d", (void *)syscall(SYS_shmat, id, p, SHM_REMAP) == p);
	what_lies_there("after it");
	check(shmat(id, NULL, SHM_REMAP) == MAP_FAILED);
	say("nowhere %s", err_name(errno));
	check(shmat(-1, p, SHM_REMAP) == MAP_FAILED);
	say("no segment %s", err_name(errno));
	shmctl(id, IPC_RMID, NULL);
}

static void each(struct end *e)
{
	p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check(p != MAP_FAILED);
	memset(p, 1, SIZE);
	advise();
	guard();
	attach();
}

const struct pair pair = { .client = each, .server = each };
