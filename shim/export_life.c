/* Exported symbols: descriptors and processes. */
#include "export.h"
#include "life.h"
#include "process.h"
#include "real.h"
#include "signals.h"
#include "socket.h"
#include "stats.h"
#include "wait.h"

#include <limits.h>
#include <stdlib.h>
#include <errno.h>

EXPORT int accept(int fd, struct sockaddr *addr, socklen_t *len)
{
	return life_accept(fd, addr, len, -1);
}

EXPORT int accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
	return life_accept(fd, addr, len, flags);
}

EXPORT int connect(int fd, const struct sockaddr *addr, socklen_t len)
{
	return life_connect(fd, addr, len);
}

EXPORT int shutdown(int fd, int how)
{
	return life_shutdown(fd, how);
}

EXPORT int getsockopt(int fd, int level, int name, void *val, socklen_t *len)
{
	return life_getsockopt(fd, level, name, val, len);
}

EXPORT int setsockopt(int fd, int level, int name, const void *val, socklen_t len)
{
	return life_setsockopt(fd, level, name, val, len);
}

EXPORT int close(int fd)
{
	return fd_get(fd) ? life_close(fd) : real.close(fd);
}

EXPORT int close_range(unsigned first, unsigned last, int flags)
{
	if (!real.close_range) {
		errno = ENOSYS;
		return -1;
	}
	return life_close_range(first, last, flags);
}

EXPORT void closefrom(int first)
{
	if (life_close_range(first < 0 ? 0 : (unsigned)first, UINT_MAX, 0) && real.closefrom)
		real.closefrom(first);
}

EXPORT int dup(int fd)
{
	return life_dup(fd);
}

EXPORT int dup2(int fd, int to)
{
	return life_dup2(fd, to);
}

EXPORT int dup3(int fd, int to, int flags)
{
	return life_dup3(fd, to, flags);
}

int export_fcntl(int fd, int cmd, void *arg)
{
	return fd_get(fd) ? life_fcntl(fd, cmd, arg) : real.fcntl(fd, cmd, arg);
}

int export_fcntl64(int fd, int cmd, void *arg)
{
	return fd_get(fd) ? life_fcntl(fd, cmd, arg) : real.fcntl64(fd, cmd, arg);
}

int export_ioctl(int fd, unsigned long req, void *arg)
{
	return fd_get(fd) ? life_ioctl(fd, req, arg) : real.ioctl(fd, req, arg);
}

EXPORT FILE *fdopen(int fd, const char *mode)
{
	life_leaves(fd, FALLBACK_STDIO);
	return real.fdopen(fd, mode);
}

EXPORT int fclose(FILE *f)
{
	return life_fclose(f);
}

EXPORT int vdprintf(int fd, const char *fmt, va_list ap)
{
	life_leaves(fd, FALLBACK_STDIO);
	return real.vdprintf(fd, fmt, ap);
}

EXPORT int dprintf(int fd, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int r = vdprintf(fd, fmt, ap);
	va_end(ap);
	return r;
}

EXPORT int __vdprintf_chk(int fd, int flag, const char *fmt, va_list ap)
{
	life_leaves(fd, FALLBACK_STDIO);
	return real.__vdprintf_chk(fd, flag, fmt, ap);
}

EXPORT int __dprintf_chk(int fd, int flag, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int r = __vdprintf_chk(fd, flag, fmt, ap);
	va_end(ap);
	return r;
}

EXPORT int posix_spawn_file_actions_adddup2(posix_spawn_file_actions_t *fa, int fd, int to)
{
	if (fd != to || fd <= 2)
		life_leaves(fd, FALLBACK_EXEC);
	return real.posix_spawn_file_actions_adddup2(fa, fd, to);
}

EXPORT int sigaction(int sig, const struct sigaction *act, struct sigaction *old)
{
	return signals_sigaction(sig, act, old);
}

EXPORT sighandler_t signal(int sig, sighandler_t handler)
{
	return signals_signal(sig, handler);
}

EXPORT sighandler_t sysv_signal(int sig, sighandler_t handler)
{
	return signals_sysv_signal(sig, handler);
}

/* The same under other names. */
EXPORT int __sigaction(int sig, const struct sigaction *act, struct sigaction *old) __THROW __attribute__((alias("sigaction")));
EXPORT sighandler_t bsd_signal(int sig, sighandler_t handler) __THROW __attribute__((alias("signal")));
EXPORT sighandler_t ssignal(int sig, sighandler_t handler) __THROW __attribute__((alias("signal")));
EXPORT sighandler_t __sysv_signal(int sig, sighandler_t handler) __THROW __attribute__((alias("sysv_signal")));

EXPORT int siginterrupt(int sig, int breaks)
{
	return signals_siginterrupt(sig, breaks);
}

EXPORT sighandler_t sigset(int sig, sighandler_t disposition)
{
	return signals_sigset(sig, disposition);
}

/* From here on every call of libc's that waits, or might, is a cancellation point. */
EXPORT int pthread_cancel(pthread_t t)
{
	atomic_store(&real_data_is_direct, false);
	return real.pthread_cancel ? real.pthread_cancel(t) : ENOSYS;
}
