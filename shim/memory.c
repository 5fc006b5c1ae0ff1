#include "memory.h"
#include "memwatch.h"
#include "real.h"
#include "stats.h"
#include "sys.h"

#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

static void changed(uintptr_t start, uintptr_t end)
{
	memwatch_unreported_end(start, end);
	stat_inc(STAT_rdma_unreported);
}

/* Not libc's, whose first call would look for its name: allocators call this from inside their own start. */
static int kernel_madvise(void *addr, size_t n, int advice)
{
	long r = sys_call(SYS_madvise, addr, n, advice);

	if (r < 0)
		errno = (int)-r;
	return r < 0 ? -1 : 0;
}

int memory_madvise(void *addr, size_t n, int advice)
{
	if (advice != MADV_GUARD_INSTALL)
		return kernel_madvise(addr, n, advice);
	memwatch_unreported_begin();
	int r = kernel_madvise(addr, n, advice);
	changed((uintptr_t)addr, (uintptr_t)addr + n);
	return r;
}

/* By number: a libc without it has kernels that know it.  What lies in iov is the kernel's to read. */
ssize_t memory_process_madvise(int pidfd, const struct iovec *iov, size_t n, int advice, unsigned flags)
{
	if (advice != MADV_GUARD_INSTALL)
		return real.syscall(SYS_process_madvise, pidfd, (long)iov, (long)n, advice, flags, 0);
	memwatch_unreported_begin();
	ssize_t r = real.syscall(SYS_process_madvise, pidfd, (long)iov, (long)n, advice, flags, 0);
	changed(0, UINTPTR_MAX);
	return r;
}

/* The segment's length is not known here. */
void *memory_shmat(int id, const void *addr, int flags)
{
	if (!(flags & SHM_REMAP))
		return real.shmat(id, addr, flags);
	memwatch_unreported_begin();
	void *p = real.shmat(id, addr, flags);
	changed(0, UINTPTR_MAX);
	return p;
}
