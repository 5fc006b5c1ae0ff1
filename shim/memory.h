/*
 * Calls that may put other pages at an address without userfaultfd's saying so (rdma/README-memreg.md): around them nothing that is
 * registered for RDMA is believed.  Results as libc's.
 */
#pragma once
#include <stddef.h>
#include <sys/uio.h>

int memory_madvise(void *addr, size_t n, int advice);
ssize_t memory_process_madvise(int pidfd, const struct iovec *iov, size_t n, int advice, unsigned flags);
void *memory_shmat(int id, const void *addr, int flags);
