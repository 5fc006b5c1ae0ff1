/*
 * Exported symbols: forks, programs that replace this one, and system calls by number.  libuv closes and
 * waits through syscall(); what it asks for there goes the same way as through the names.
 */
#include "export.h"
#include "fork.h"
#include "life.h"
#include "memory.h"
#include "real.h"
#include "uring.h"
#include "wait.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>

/* _Exit is the same function under another name. */
EXPORT void _exit(int status)
{
	life_exit();
	real._exit(status);
	__builtin_unreachable();
}

EXPORT void _Exit(int status)
{
	_exit(status);
}

EXPORT pid_t _Fork(void)
{
	if (real._Fork)
		return fork_without_handlers();
	errno = ENOSYS;
	return -1;
}

EXPORT int export_clone(int (*fn)(void *), void *stack, int flags, void *arg, pid_t *ptid, void *tls, pid_t *ctid)
{
	return fork_by_clone(fn, stack, flags, arg, ptid, tls, ctid);
}

EXPORT int export___clone(int (*fn)(void *), void *stack, int flags, void *arg, pid_t *ptid, void *tls, pid_t *ctid)
{
	return fork_by_clone(fn, stack, flags, arg, ptid, tls, ctid);
}

EXPORT int execve(const char *path, char *const *argv, char *const *env)
{
	life_before_exec();
	return real.execve(path, argv, env);
}

EXPORT int execv(const char *path, char *const *argv)
{
	life_before_exec();
	return real.execv(path, argv);
}

EXPORT int execvp(const char *file, char *const *argv)
{
	life_before_exec();
	return real.execvp(file, argv);
}

EXPORT int execvpe(const char *file, char *const *argv, char *const *env)
{
	life_before_exec();
	return real.execvpe(file, argv, env);
}

EXPORT int fexecve(int fd, char *const *argv, char *const *env)
{
	life_before_exec();
	return real.fexecve(fd, argv, env);
}

EXPORT int execveat(int dir, const char *path, char *const *argv, char *const *env, int flags)
{
	life_before_exec();
	if (real.execveat)
		return real.execveat(dir, path, argv, env, flags);
	return (int)real.syscall(SYS_execveat, dir, (long)path, (long)argv, (long)env, flags, 0);
}

static int count_args(va_list ap)
{
	int n = 1;

	while (va_arg(ap, char *))
		n++;
	return n;
}

/* argv of `first` and what follows it, up to NULL, on the caller's stack: exec may run in a child of vfork. */
#define LIST_ARGS(argv, first, ap)                                                                 \
	va_list counted;                                                                           \
	va_copy(counted, ap);                                                                      \
	char **argv = __builtin_alloca(sizeof(char *) * (size_t)(count_args(counted) + 1));        \
	va_end(counted);                                                                           \
	argv[0] = (char *)(first);                                                                 \
	for (int i = 0; argv[i]; i++)                                                              \
		argv[i + 1] = va_arg(ap, char *)

EXPORT int execl(const char *path, const char *arg, ...)
{
	va_list ap;

	va_start(ap, arg);
	LIST_ARGS(argv, arg, ap);
	va_end(ap);
	return execv(path, argv);
}

EXPORT int execlp(const char *file, const char *arg, ...)
{
	va_list ap;

	va_start(ap, arg);
	LIST_ARGS(argv, arg, ap);
	va_end(ap);
	return execvp(file, argv);
}

/* The environment stands behind the last argument. */
EXPORT int execle(const char *path, const char *arg, ...)
{
	va_list ap;

	va_start(ap, arg);
	LIST_ARGS(argv, arg, ap);
	char *const *env = va_arg(ap, char *const *);
	va_end(ap);
	return execve(path, argv, env);
}

/* By number a wait tells what is left of its time, whatever the end. */
static long told_left(const struct deadline *d, struct timespec *timeout, int r)
{
	if (timeout && (r >= 0 || errno == EINTR))
		deadline_left(d, timeout);
	return r;
}

static long ppoll_by_number(const long *a)
{
	struct timespec *timeout = (struct timespec *)a[2];
	struct deadline d = deadline_in(timeout);
	int r = ppoll((struct pollfd *)a[0], (nfds_t)a[1], timeout, (const sigset_t *)a[3]);

	return told_left(&d, timeout, r);
}

static long pselect_by_number(const long *a)
{
	struct timespec *timeout = (struct timespec *)a[4];
	struct deadline d = deadline_in(timeout);
	const sigset_t *const *mask = (const sigset_t *const *)a[5];
	int r = pselect((int)a[0], (fd_set *)a[1], (fd_set *)a[2], (fd_set *)a[3], timeout, mask ? *mask : NULL);

	return told_left(&d, timeout, r);
}

EXPORT long syscall(long n, ...)
{
	long a[6];
	va_list ap;

	va_start(ap, n);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	switch (n) {
	case SYS_close:
		return close((int)a[0]);
	case SYS_epoll_ctl:
		return epoll_ctl((int)a[0], (int)a[1], (int)a[2], (struct epoll_event *)a[3]);
#ifdef SYS_epoll_wait
	case SYS_epoll_wait:
		return epoll_wait((int)a[0], (struct epoll_event *)a[1], (int)a[2], (int)a[3]);
#endif
	case SYS_epoll_pwait:
		return epoll_pwait((int)a[0], (struct epoll_event *)a[1], (int)a[2], (int)a[3], (const sigset_t *)a[4]);
	case SYS_epoll_pwait2:
		return epoll_pwait2((int)a[0], (struct epoll_event *)a[1], (int)a[2], (const struct timespec *)a[3], (const sigset_t *)a[4]);
#ifdef SYS_poll
	case SYS_poll:
		return poll((struct pollfd *)a[0], (nfds_t)a[1], (int)a[2]);
#endif
	case SYS_read:
		return read((int)a[0], (void *)a[1], (size_t)a[2]);
	case SYS_write:
		return write((int)a[0], (const void *)a[1], (size_t)a[2]);
	case SYS_readv:
		return readv((int)a[0], (const struct iovec *)a[1], (int)a[2]);
	case SYS_writev:
		return writev((int)a[0], (const struct iovec *)a[1], (int)a[2]);
	case SYS_recvfrom:
		return recvfrom((int)a[0], (void *)a[1], (size_t)a[2], (int)a[3], (struct sockaddr *)a[4], (socklen_t *)a[5]);
	case SYS_sendto:
		return sendto((int)a[0], (const void *)a[1], (size_t)a[2], (int)a[3], (const struct sockaddr *)a[4], (socklen_t)a[5]);
	case SYS_recvmsg:
		return recvmsg((int)a[0], (struct msghdr *)a[1], (int)a[2]);
	case SYS_sendmsg:
		return sendmsg((int)a[0], (const struct msghdr *)a[1], (int)a[2]);
	case SYS_recvmmsg:
		return recvmmsg((int)a[0], (struct mmsghdr *)a[1], (unsigned)a[2], (int)a[3], (struct timespec *)a[4]);
	case SYS_sendmmsg:
		return sendmmsg((int)a[0], (struct mmsghdr *)a[1], (unsigned)a[2], (int)a[3]);
	case SYS_sendfile:
		return sendfile64((int)a[0], (int)a[1], (off64_t *)a[2], (size_t)a[3]);
	case SYS_splice:
		return splice((int)a[0], (off64_t *)a[1], (int)a[2], (off64_t *)a[3], (size_t)a[4], (unsigned)a[5]);
	case SYS_ppoll:
		return ppoll_by_number(a);
	case SYS_pselect6:
		return pselect_by_number(a);
#ifdef SYS_select
	case SYS_select:
		return select((int)a[0], (fd_set *)a[1], (fd_set *)a[2], (fd_set *)a[3], (struct timeval *)a[4]);
#endif
	case SYS_shutdown:
		return shutdown((int)a[0], (int)a[1]);
	case SYS_setsockopt:
		return setsockopt((int)a[0], (int)a[1], (int)a[2], (const void *)a[3], (socklen_t)a[4]);
	case SYS_getsockopt:
		return getsockopt((int)a[0], (int)a[1], (int)a[2], (void *)a[3], (socklen_t *)a[4]);
	case SYS_fcntl:
		return export_fcntl((int)a[0], (int)a[1], (void *)a[2]);
	case SYS_ioctl:
		return export_ioctl((int)a[0], (unsigned long)a[1], (void *)a[2]);
	case SYS_dup:
		return dup((int)a[0]);
#ifdef SYS_dup2
	case SYS_dup2:
		return dup2((int)a[0], (int)a[1]);
#endif
	case SYS_dup3:
		return dup3((int)a[0], (int)a[1], (int)a[2]);
	case SYS_close_range:
		if (!real.close_range)
			break;
		return close_range((unsigned)a[0], (unsigned)a[1], (int)a[2]);
	case SYS_connect:
		return connect((int)a[0], (const struct sockaddr *)a[1], (socklen_t)a[2]);
	case SYS_accept:
		return accept((int)a[0], (struct sockaddr *)a[1], (socklen_t *)a[2]);
	case SYS_accept4:
		return accept4((int)a[0], (struct sockaddr *)a[1], (socklen_t *)a[2], (int)a[3]);
	case SYS_madvise:
		return memory_madvise((void *)a[0], (size_t)a[1], (int)a[2]);
	case SYS_process_madvise:
		return memory_process_madvise((int)a[0], (const struct iovec *)a[1], (size_t)a[2], (int)a[3], (unsigned)a[4]);
	case SYS_shmat:
		return (long)memory_shmat((int)a[0], (const void *)a[1], (int)a[2]);
#ifdef SYS_fork
	case SYS_fork:
#endif
	case SYS_clone:
	case SYS_clone3:
		return fork_by_number(n, a);
	case SYS_execve:
	case SYS_execveat:
		life_before_exec();
		break;
	case SYS_io_uring_setup:
		return uring_setup((unsigned)a[0], (void *)a[1]);
	case SYS_io_uring_enter:
		return uring_enter(a[0], a[1], a[2], a[3], a[4], a[5]);
	default:
		break;
	}
	return real.syscall(n, a[0], a[1], a[2], a[3], a[4], a[5]);
}
