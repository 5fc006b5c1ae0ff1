/* Exported symbols: what changes the pages at an address. */
#include "export.h"
#include "memory.h"

#include <sys/mman.h>
#include <sys/shm.h>

EXPORT int madvise(void *addr, size_t n, int advice)
{
	return memory_madvise(addr, n, advice);
}

EXPORT ssize_t process_madvise(int pidfd, const struct iovec *iov, size_t n, int advice, unsigned flags)
{
	return memory_process_madvise(pidfd, iov, n, advice, flags);
}

EXPORT void *shmat(int id, const void *addr, int flags)
{
	return memory_shmat(id, addr, flags);
}
