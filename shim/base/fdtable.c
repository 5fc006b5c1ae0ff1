#include "fdtable.h"

#include "sys.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>

_Atomic(fd_entry *) fd_chunks[FD_CHUNKS];
_Atomic int fd_highest = -1;

static fd_entry *chunk_of(int fd)
{
	_Atomic(fd_entry *) *slot = &fd_chunks[fd >> FD_CHUNK_BITS];
	fd_entry *chunk = atomic_load_explicit(slot, memory_order_acquire), *none = NULL;
	size_t bytes = sizeof(fd_entry) << FD_CHUNK_BITS;

	if (chunk)
		return chunk;
	long p = sys_call(SYS_mmap, 0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p < 0 && p > -4096)
		return NULL;
	chunk = (fd_entry *)p;
	if (atomic_compare_exchange_strong(slot, &none, chunk))
		return chunk;
	sys_call(SYS_munmap, p, bytes);
	return none;
}

static void raise_highest(int fd)
{
	int seen = atomic_load(&fd_highest);

	while (seen < fd && !atomic_compare_exchange_weak(&fd_highest, &seen, fd))
		;
}

uintptr_t fd_set_entry(int fd, enum fd_kind kind, void *object)
{
	if ((unsigned)fd >= FD_LIMIT)
		return 0;
	fd_entry *chunk = chunk_of(fd);
	if (!chunk)
		return 0;
	if (kind != FD_FOREIGN)
		raise_highest(fd);
	return atomic_exchange(&chunk[fd & ((1 << FD_CHUNK_BITS) - 1)], (uintptr_t)object | (uintptr_t)kind);
}

/* The upper quarter below the limit, but within what the table covers. */
static int hidden_floor(void)
{
	struct rlimit lim;

	if (sys_call(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, &lim) || lim.rlim_cur > 65536)
		return 49152;
	return (int)(lim.rlim_cur - lim.rlim_cur / 4);
}

int fd_hide(int fd)
{
	int floor = hidden_floor();
	long high = sys_call(SYS_fcntl, fd, F_DUPFD_CLOEXEC, floor > 3 ? floor : 3);

	sys_call(SYS_close, fd);
	if (high < 0)
		return -EMFILE;
	fd_set_entry((int)high, FD_HIDDEN, NULL);
	return (int)high;
}

void fd_close_hidden(int fd)
{
	if (fd < 0)
		return;
	fd_clear(fd);
	sys_call(SYS_close, fd);
}
