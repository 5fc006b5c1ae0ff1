/*
 * Data calls on connections of ours, as the fd table has them, or by the connection, which is held and let go
 * again.  Results as libc's.
 */
#pragma once
#include "socket.h"

ssize_t data_read(int fd, void *buf, size_t n, struct fd_look l);
ssize_t data_readv(int fd, const struct iovec *iov, int cnt, struct fd_look l);
ssize_t data_preadv2(struct sock *s, int fd, const struct iovec *iov, int cnt, int flags);
ssize_t data_recv(int fd, void *buf, size_t n, int flags, struct fd_look l);
ssize_t data_recvfrom(struct sock *s, int fd, void *buf, size_t n, int flags, struct sockaddr *addr, socklen_t *len);
ssize_t data_recvmsg(int fd, struct msghdr *msg, int flags, struct fd_look l);
int data_recvmmsg(struct sock *s, int fd, struct mmsghdr *msgs, unsigned n, int flags, struct timespec *timeout);
ssize_t data_write(int fd, const void *buf, size_t n, struct fd_look l);
ssize_t data_writev(int fd, const struct iovec *iov, int cnt, struct fd_look l);
ssize_t data_pwritev2(struct sock *s, int fd, const struct iovec *iov, int cnt, int flags);
ssize_t data_send(int fd, const void *buf, size_t n, int flags, struct fd_look l);
ssize_t data_sendto(struct sock *s, int fd, const void *buf, size_t n, int flags, const struct sockaddr *addr, socklen_t len);
ssize_t data_sendmsg(int fd, const struct msghdr *msg, int flags, struct fd_look l);
int data_sendmmsg(struct sock *s, int fd, struct mmsghdr *msgs, unsigned n, int flags);
ssize_t data_sendfile(int out, int in, off64_t *off, size_t n, struct fd_look l);
ssize_t data_splice_out(struct sock *s, int in, off64_t *off_in, int out, size_t n, unsigned flags);
ssize_t data_splice_in(struct sock *s, int in, int out, off64_t *off_out, size_t n, unsigned flags);

/* A message on a foreign socket that carries descriptors: connections among them become plain. */
void data_passes_fds(const struct msghdr *msg);
