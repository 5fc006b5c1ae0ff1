/*
 * Looking into a living process: where its libdlaccel.so keeps an exported object, and reading or
 * writing it.  The ELF headers are read from the process's own memory, so a deleted or replaced
 * file, a container or another mount namespace make no difference.  Nothing found there is trusted.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* 0 or -errno; a short transfer is -EFAULT. */
int remote_read(pid_t pid, uint64_t address, void *ret_buf, size_t n);
int remote_write(pid_t pid, uint64_t address, const void *buf, size_t n);

/* -ENOEXEC: no libdlaccel.so in it; -ENOENT: it exports no such name; -ESRCH, -EPERM: as they are. */
int remote_find(pid_t pid, const char *name, uint64_t *ret_address);
