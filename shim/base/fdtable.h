/*
 * What we know about a file descriptor: nothing (a foreign one, the common case), an object of the
 * shim's, or that it is a descriptor of our own which the program does not know of.
 *
 * Threading: look-up is lock-free (two loads); entries are replaced atomically.  Chunks are mapped on
 * first use and never freed.  The table knows nothing of what it points to.
 */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fd_kind { FD_FOREIGN = 0, FD_SOCK = 1, FD_EPOLL = 2, FD_HIDDEN = 3 };

#define FD_CHUNK_BITS 10
#define FD_CHUNKS 1024
#define FD_LIMIT (FD_CHUNKS << FD_CHUNK_BITS)

typedef _Atomic(uintptr_t) fd_entry;
extern _Atomic(fd_entry *) fd_chunks[FD_CHUNKS];
extern _Atomic int fd_highest; /* highest number ever entered; -1: none */

/* An entry, and where it was found: NULL where there is none, nor can be one. */
struct fd_look {
	fd_entry *at;
	uintptr_t entry;
};

static inline struct fd_look fd_look(int fd)
{
	unsigned n = (unsigned)fd;

	if (__builtin_expect(n >= FD_LIMIT, 0))
		return (struct fd_look){ NULL, 0 };
	fd_entry *chunk = atomic_load_explicit(&fd_chunks[n >> FD_CHUNK_BITS], memory_order_acquire);
	if (!chunk)
		return (struct fd_look){ NULL, 0 };
	fd_entry *at = &chunk[n & ((1 << FD_CHUNK_BITS) - 1)];
	return (struct fd_look){ at, atomic_load_explicit(at, memory_order_acquire) };
}

static inline uintptr_t fd_get(int fd)
{
	return fd_look(fd).entry;
}

static inline enum fd_kind fd_kind(uintptr_t entry)
{
	return (enum fd_kind)(entry & 3);
}

static inline void *fd_object(uintptr_t entry)
{
	return (void *)(entry & ~(uintptr_t)3);
}

/* Replaces the entry and returns the old one; object must be 4-aligned.  0 if there is no room. */
uintptr_t fd_set_entry(int fd, enum fd_kind kind, void *object);
static inline uintptr_t fd_clear(int fd)
{
	return fd_get(fd) ? fd_set_entry(fd, FD_FOREIGN, NULL) : 0;
}

/*
 * Moves a descriptor of ours out of the program's sight: close-on-exec, as high as the limit lets it,
 * skipped by close and close_range.  Returns the new number; -EMFILE (and fd is closed) if there is
 * no room up there.
 */
int fd_hide(int fd);
void fd_close_hidden(int fd);
