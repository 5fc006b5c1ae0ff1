/* Exported symbols: data.  A foreign descriptor passes through on the first line. */
#include "data.h"
#include "export.h"
#include "real.h"

#define LOOK(fd) struct fd_look l = fd_look(fd)
static inline bool is_sock(struct fd_look l)
{
	return __builtin_expect(fd_kind(l.entry) == FD_SOCK, 0);
}
#define HELD(fd) struct sock *s = sock_enter(fd)

EXPORT ssize_t read(int fd, void *buf, size_t n)
{
	LOOK(fd);
	return is_sock(l) ? data_read(fd, buf, n, l) : real.read(fd, buf, n);
}

EXPORT ssize_t __read_chk(int fd, void *buf, size_t n, size_t room)
{
	LOOK(fd);
	return is_sock(l) && n <= room ? data_read(fd, buf, n, l) : real.__read_chk(fd, buf, n, room);
}

EXPORT ssize_t readv(int fd, const struct iovec *iov, int cnt)
{
	LOOK(fd);
	return is_sock(l) ? data_readv(fd, iov, cnt, l) : real.readv(fd, iov, cnt);
}

EXPORT ssize_t preadv2(int fd, const struct iovec *iov, int cnt, off_t off, int flags)
{
	struct sock *s = off == -1 ? sock_enter(fd) : NULL;
	return s ? data_preadv2(s, fd, iov, cnt, flags) : real.preadv2(fd, iov, cnt, off, flags);
}

EXPORT ssize_t preadv64v2(int fd, const struct iovec *iov, int cnt, off_t off, int flags)
{
	struct sock *s = off == -1 ? sock_enter(fd) : NULL;
	return s ? data_preadv2(s, fd, iov, cnt, flags) : real.preadv64v2(fd, iov, cnt, off, flags);
}

EXPORT ssize_t recv(int fd, void *buf, size_t n, int flags)
{
	LOOK(fd);
	return is_sock(l) ? data_recv(fd, buf, n, flags, l) : real.recv(fd, buf, n, flags);
}

EXPORT ssize_t __recv_chk(int fd, void *buf, size_t n, size_t room, int flags)
{
	LOOK(fd);
	return is_sock(l) && n <= room ? data_recv(fd, buf, n, flags, l) : real.__recv_chk(fd, buf, n, room, flags);
}

EXPORT ssize_t recvfrom(int fd, void *buf, size_t n, int flags, struct sockaddr *addr, socklen_t *len)
{
	HELD(fd);
	return s ? data_recvfrom(s, fd, buf, n, flags, addr, len) : real.recvfrom(fd, buf, n, flags, addr, len);
}

EXPORT ssize_t __recvfrom_chk(int fd, void *buf, size_t n, size_t room, int flags, struct sockaddr *addr, socklen_t *len)
{
	HELD(fd);
	return s && n <= room ? data_recvfrom(s, fd, buf, n, flags, addr, len)
			      : real.__recvfrom_chk(fd, buf, n, room, flags, addr, len);
}

EXPORT ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
	LOOK(fd);
	return is_sock(l) ? data_recvmsg(fd, msg, flags, l) : real.recvmsg(fd, msg, flags);
}

EXPORT int recvmmsg(int fd, struct mmsghdr *msgs, unsigned n, int flags, struct timespec *timeout)
{
	HELD(fd);
	return s ? data_recvmmsg(s, fd, msgs, n, flags, timeout) : real.recvmmsg(fd, msgs, n, flags, timeout);
}

EXPORT ssize_t write(int fd, const void *buf, size_t n)
{
	LOOK(fd);
	return is_sock(l) ? data_write(fd, buf, n, l) : real.write(fd, buf, n);
}

EXPORT ssize_t writev(int fd, const struct iovec *iov, int cnt)
{
	LOOK(fd);
	return is_sock(l) ? data_writev(fd, iov, cnt, l) : real.writev(fd, iov, cnt);
}

EXPORT ssize_t pwritev2(int fd, const struct iovec *iov, int cnt, off_t off, int flags)
{
	struct sock *s = off == -1 ? sock_enter(fd) : NULL;
	return s ? data_pwritev2(s, fd, iov, cnt, flags) : real.pwritev2(fd, iov, cnt, off, flags);
}

EXPORT ssize_t pwritev64v2(int fd, const struct iovec *iov, int cnt, off_t off, int flags)
{
	struct sock *s = off == -1 ? sock_enter(fd) : NULL;
	return s ? data_pwritev2(s, fd, iov, cnt, flags) : real.pwritev64v2(fd, iov, cnt, off, flags);
}

EXPORT ssize_t send(int fd, const void *buf, size_t n, int flags)
{
	LOOK(fd);
	return is_sock(l) ? data_send(fd, buf, n, flags, l) : real.send(fd, buf, n, flags);
}

EXPORT ssize_t sendto(int fd, const void *buf, size_t n, int flags, const struct sockaddr *addr, socklen_t len)
{
	HELD(fd);
	return s ? data_sendto(s, fd, buf, n, flags, addr, len) : real.sendto(fd, buf, n, flags, addr, len);
}

EXPORT ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
	LOOK(fd);
	if (is_sock(l))
		return data_sendmsg(fd, msg, flags, l);
	if (msg && msg->msg_controllen)
		data_passes_fds(msg);
	return real.sendmsg(fd, msg, flags);
}

EXPORT int sendmmsg(int fd, struct mmsghdr *msgs, unsigned n, int flags)
{
	HELD(fd);
	if (s)
		return data_sendmmsg(s, fd, msgs, n, flags);
	for (unsigned i = 0; i < n; i++)
		if (msgs[i].msg_hdr.msg_controllen)
			data_passes_fds(&msgs[i].msg_hdr);
	return real.sendmmsg(fd, msgs, n, flags);
}

EXPORT ssize_t sendfile(int out, int in, off_t *off, size_t n)
{
	LOOK(out);
	return is_sock(l) ? data_sendfile(out, in, off, n, l) : real.sendfile(out, in, off, n);
}

EXPORT ssize_t sendfile64(int out, int in, off64_t *off, size_t n)
{
	LOOK(out);
	return is_sock(l) ? data_sendfile(out, in, off, n, l) : real.sendfile64(out, in, off, n);
}

EXPORT ssize_t splice(int in, off64_t *off_in, int out, off64_t *off_out, size_t n, unsigned flags)
{
	struct sock *s = off_out ? NULL : sock_enter(out);
	if (s)
		return data_splice_out(s, in, off_in, out, n, flags);
	s = off_in ? NULL : sock_enter(in);
	return s ? data_splice_in(s, in, out, off_out, n, flags) : real.splice(in, off_in, out, off_out, n, flags);
}
