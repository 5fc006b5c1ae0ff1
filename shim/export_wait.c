/* Exported symbols: waits.  A set with nothing of ours passes through. */
#include "export.h"
#include "real.h"
#include "wait.h"

#include <errno.h>

static inline bool any_ours(const struct pollfd *fds, nfds_t n)
{
	for (nfds_t i = 0; i < n; i++)
		if (fd_get(fds[i].fd))
			return true;
	return false;
}

/* Only what is read matters: the rest is the kernel's. */
__attribute__((noinline)) static bool any_in_large_set(int n, const fd_set *rd)
{
	const unsigned long *words = (const unsigned long *)rd;
	const int bits = 8 * sizeof(long);

	for (int base = 0; base < n; base += bits)
		for (unsigned long w = words[base / bits]; w; w &= w - 1) {
			int fd = base + __builtin_ctzl(w);
			if (fd < n && fd_get(fd))
				return true;
		}
	return false;
}

/* Numbers below 64 lie in the first word of the set and in the first chunk of the table. */
static inline bool any_in_set(int n, const fd_set *rd)
{
	if (!rd || n <= 0)
		return false;
	fd_entry *chunk = load_acq(fd_chunks[0]);
	if (n > 64)
		return any_in_large_set(n, rd);
	if (!chunk)
		return false;
	for (unsigned long w = *(const unsigned long *)rd; w; w &= w - 1)
		if (load_rlx(chunk[__builtin_ctzl(w)]))
			return true;
	return false;
}

__attribute__((noinline)) static int poll_ours(struct pollfd *fds, nfds_t n, int timeout)
{
	struct timespec t;
	return wait_poll(fds, n, wait_from_ms(timeout, &t), NULL);
}

EXPORT int poll(struct pollfd *fds, nfds_t n, int timeout)
{
	return any_ours(fds, n) ? poll_ours(fds, n, timeout) : real.poll(fds, n, timeout);
}

EXPORT int __poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t room)
{
	struct timespec t;
	if (n * sizeof(*fds) > room || !any_ours(fds, n))
		return real.__poll_chk(fds, n, timeout, room);
	return wait_poll(fds, n, wait_from_ms(timeout, &t), NULL);
}

EXPORT int ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
	return any_ours(fds, n) ? wait_poll(fds, n, timeout, mask) : real.ppoll(fds, n, timeout, mask);
}

EXPORT int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask, size_t room)
{
	if (n * sizeof(*fds) > room || !any_ours(fds, n))
		return real.__ppoll_chk(fds, n, timeout, mask, room);
	return wait_poll(fds, n, timeout, mask);
}

__attribute__((noinline)) static int select_ours(int n, fd_set *rd, fd_set *wr, fd_set *ex, struct timeval *timeout)
{
	struct timespec t;

	if (timeout && (timeout->tv_sec < 0 || timeout->tv_usec < 0))
		return real.select(n, rd, wr, ex, timeout);
	if (timeout)
		t = (struct timespec){ timeout->tv_sec + timeout->tv_usec / 1000000, timeout->tv_usec % 1000000 * 1000 };
	int r = wait_select(n, rd, wr, ex, timeout ? &t : NULL, NULL);
	if (timeout)
		*timeout = (struct timeval){ t.tv_sec, t.tv_nsec / 1000 };
	return r;
}

EXPORT int select(int n, fd_set *rd, fd_set *wr, fd_set *ex, struct timeval *timeout)
{
	return any_in_set(n, rd) ? select_ours(n, rd, wr, ex, timeout) : real.select(n, rd, wr, ex, timeout);
}

__attribute__((noinline)) static int pselect_ours(int n, fd_set *rd, fd_set *wr, fd_set *ex, const struct timespec *timeout,
	const sigset_t *mask)
{
	struct timespec t;

	if (timeout)
		t = *timeout;
	return wait_select(n, rd, wr, ex, timeout ? &t : NULL, mask);
}

EXPORT int pselect(int n, fd_set *rd, fd_set *wr, fd_set *ex, const struct timespec *timeout, const sigset_t *mask)
{
	return any_in_set(n, rd) ? pselect_ours(n, rd, wr, ex, timeout, mask) : real.pselect(n, rd, wr, ex, timeout, mask);
}

EXPORT int epoll_create(int size)
{
	int ep = real.epoll_create(size);
	if (ep >= 0 && sockets_on)
		wait_epoll_created(ep);
	return ep;
}

EXPORT int epoll_create1(int flags)
{
	int ep = real.epoll_create1(flags);
	if (ep >= 0 && sockets_on)
		wait_epoll_created(ep);
	return ep;
}

EXPORT int epoll_ctl(int ep, int op, int fd, struct epoll_event *ev)
{
	return fd_get(fd) || fd_get(ep) ? wait_epoll_ctl(ep, op, fd, ev) : real.epoll_ctl(ep, op, fd, ev);
}

EXPORT int epoll_wait(int ep, struct epoll_event *evs, int max, int timeout)
{
	struct epset_head *h = wait_epoll_concerns(ep);
	return h ? wait_epoll_ms(h, ep, evs, max, timeout) : real.epoll_wait(ep, evs, max, timeout);
}

__attribute__((noinline)) static int epoll_masked(int ep, struct epoll_event *evs, int max, int timeout, const sigset_t *mask)
{
	struct timespec t;
	return wait_epoll(ep, evs, max, wait_from_ms(timeout, &t), mask);
}

EXPORT int epoll_pwait(int ep, struct epoll_event *evs, int max, int timeout, const sigset_t *mask)
{
	struct epset_head *h = wait_epoll_concerns(ep);
	if (!h)
		return real.epoll_pwait(ep, evs, max, timeout, mask);
	return mask ? epoll_masked(ep, evs, max, timeout, mask) : wait_epoll_ms(h, ep, evs, max, timeout);
}

EXPORT int epoll_pwait2(int ep, struct epoll_event *evs, int max, const struct timespec *timeout, const sigset_t *mask)
{
	if (!real.epoll_pwait2) {
		errno = ENOSYS;
		return -1;
	}
	return wait_epoll_concerns(ep) ? wait_epoll(ep, evs, max, timeout, mask)
				       : real.epoll_pwait2(ep, evs, max, timeout, mask);
}
