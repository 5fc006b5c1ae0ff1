/* Exported symbols live in export_*.c, which forward and do nothing else. */
#pragma once
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define EXPORT __attribute__((visibility("default")))

/* glibc has this one since 2.36. */
ssize_t process_madvise(int pidfd, const struct iovec *iov, size_t n, int advice, unsigned flags);
/* Since 2.34. */
pid_t _Fork(void);
/* glibc declares these only to fortified callers. */
ssize_t __read_chk(int fd, void *buf, size_t n, size_t room);
ssize_t __recv_chk(int fd, void *buf, size_t n, size_t room, int flags);
ssize_t __recvfrom_chk(int fd, void *buf, size_t n, size_t room, int flags, struct sockaddr *addr, socklen_t *len);
int __poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t room);
int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask, size_t room);
int __vdprintf_chk(int fd, int flag, const char *fmt, va_list ap);
int __dprintf_chk(int fd, int flag, const char *fmt, ...);

/*
 * The variadic ones take their arguments where a plain call would: declared without the ellipsis, they
 * need not save every register for a foreign descriptor.
 */
EXPORT int export_fcntl(int fd, int cmd, void *arg) __asm__("fcntl");
EXPORT int export_fcntl64(int fd, int cmd, void *arg) __asm__("fcntl64");
EXPORT int export_ioctl(int fd, unsigned long req, void *arg) __asm__("ioctl");
EXPORT int export_clone(int (*fn)(void *), void *stack, int flags, void *arg, pid_t *ptid, void *tls, pid_t *ctid) __asm__("clone");
EXPORT int export___clone(int (*fn)(void *), void *stack, int flags, void *arg, pid_t *ptid, void *tls, pid_t *ctid) __asm__("__clone");
