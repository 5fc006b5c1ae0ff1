#include "data.h"

#include "real.h"
#include "stats.h"
#include "sys.h"
#include "wait.h"

#include <fcntl.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#ifndef TCP_CM_INQ
#define TCP_CM_INQ 36
#endif
#ifndef MSG_ZEROCOPY
#define MSG_ZEROCOPY 0x4000000
#endif

/*
 * Receiving by `plain` while the direction is plain, through the stream otherwise.  The result is
 * left in `r`; the connection is let go.
 */
#define RECEIVE(s, fd, plain, upgraded)                                                            \
	do {                                                                                       \
		if (sock_plain_begin(s, fd, RX, 0)) {                                              \
			r = plain_look(s, fd, RX, (plain));                                        \
			sock_plain_end(s, RX, r);                                                  \
		} else {                                                                           \
			r = (upgraded);                                                            \
		}                                                                                  \
		sock_leave(s);                                                                     \
	} while (0)

#define SEND(s, fd, n, plain, upgraded)                                                            \
	do {                                                                                       \
		if (sock_plain_begin(s, fd, TX, n)) {                                              \
			r = (plain);                                                               \
			sock_plain_end(s, TX, r);                                                  \
		} else {                                                                           \
			r = (upgraded);                                                            \
		}                                                                                  \
		sock_leave(s);                                                                     \
	} while (0)

static size_t bytes_of(const struct iovec *iov, int cnt)
{
	size_t n = 0;

	for (int i = 0; i < cnt; i++)
		n += iov[i].iov_len;
	return n;
}

/*
 * A quick call that does not wait is the kernel's: libc's way there makes a cancellation point, which in a process of threads
 * takes two locked instructions and code that nothing else keeps warm.  `nonblock` is what the program set; one that
 * another process, or a system call past us, has made wait all the same is no cancellation point in that call.
 */
static inline bool is_direct(struct fd_look l)
{
	return load_rlx(real_data_is_direct) && load_rlx(sock_of(l.entry)->nonblock);
}

static inline ssize_t from_kernel(long r)
{
	if (__builtin_expect(r >= 0, 1))
		return r;
	errno = (int)-r;
	return -1;
}

#define QUICK(l, libcs, number, ...) (is_direct(l) ? from_kernel(sys_call(number, __VA_ARGS__)) : (libcs))

/* A call of its own, so that the quick one needs no stack. */
#define LOOKING __attribute__((noinline)) static

LOOKING ssize_t look_read(int fd, void *buf, size_t n, struct fd_look l)
{
	struct sock *s = sock_enter_look(fd, l, RX);
	struct iovec v = { buf, n };
	ssize_t r;

	if (!s)
		return real.read(fd, buf, n);
	RECEIVE(s, fd, real.read(fd, buf, n), n ? sock_recv(s, fd, &v, 1, 0) : 0);
	return r;
}

ssize_t data_read(int fd, void *buf, size_t n, struct fd_look l)
{
	if (plain_enter(&l, RX, 0))
		return plain_leave(l, fd, RX, QUICK(l, real.read(fd, buf, n), SYS_read, fd, buf, n));
	return look_read(fd, buf, n, l);
}

/* A vector that the file layer answers before the socket sees it: too long, or without a byte. */
static bool lengths_fit(const struct iovec *iov, int cnt)
{
	for (int i = 0; i < cnt; i++)
		if (iov[i].iov_len > SSIZE_MAX)
			return false;
	return true;
}

static bool is_answered(const struct iovec *iov, int cnt, ssize_t *ret)
{
	*ret = 0;
	if (cnt >= 0 && cnt <= IOV_MAX && lengths_fit(iov, cnt))
		return !bytes_of(iov, cnt);
	*ret = -1;
	errno = EINVAL;
	return true;
}

LOOKING ssize_t look_readv(int fd, const struct iovec *iov, int cnt, struct fd_look l)
{
	struct sock *s = sock_enter_look(fd, l, RX);
	ssize_t r;

	if (!s)
		return real.readv(fd, iov, cnt);
	RECEIVE(s, fd, real.readv(fd, iov, cnt), is_answered(iov, cnt, &r) ? r : sock_recv(s, fd, iov, cnt, 0));
	return r;
}

ssize_t data_readv(int fd, const struct iovec *iov, int cnt, struct fd_look l)
{
	if (plain_enter(&l, RX, 0))
		return plain_leave(l, fd, RX, QUICK(l, real.readv(fd, iov, cnt), SYS_readv, fd, iov, cnt));
	return look_readv(fd, iov, cnt, l);
}

/* The only flag with a meaning on a socket. */
static int msg_flags(int rwf)
{
	return rwf & RWF_NOWAIT ? MSG_DONTWAIT : 0;
}

ssize_t data_preadv2(struct sock *s, int fd, const struct iovec *iov, int cnt, int flags)
{
	ssize_t r;

	RECEIVE(s, fd, real.preadv2(fd, iov, cnt, -1, flags),
		is_answered(iov, cnt, &r) ? r : sock_recv(s, fd, iov, cnt, msg_flags(flags)));
	return r;
}

/* MSG_TRUNC on TCP: bytes are taken and thrown away; the buffer may be NULL. */
static ssize_t discard(struct sock *s, int fd, size_t n, int flags)
{
	char sink[16384];
	size_t done = 0;

	while (done < n) {
		struct iovec v = { sink, n - done < sizeof(sink) ? n - done : sizeof(sink) };
		ssize_t r = sock_recv(s, fd, &v, 1, (flags & ~MSG_TRUNC) | (done && !(flags & MSG_WAITALL) ? MSG_DONTWAIT : 0));
		if (r <= 0)
			return done ? (ssize_t)done : r;
		done += (size_t)r;
		if ((size_t)r < v.iov_len && !(flags & MSG_WAITALL))
			break;
	}
	return (ssize_t)done;
}

static ssize_t urgent_recv(struct sock *s, int fd, void *buf, size_t n, int flags)
{
	sock_make_plain(s, fd, FALLBACK_OOB);
	return real.recv(fd, buf, n, flags);
}

ssize_t data_recvfrom(struct sock *s, int fd, void *buf, size_t n, int flags, struct sockaddr *addr, socklen_t *len)
{
	struct iovec v = { buf, n };
	ssize_t r;

	if (flags & (MSG_OOB | MSG_ERRQUEUE)) {
		r = flags & MSG_OOB ? urgent_recv(s, fd, buf, n, flags) : real.recvfrom(fd, buf, n, flags, addr, len);
		sock_leave(s);
		return r;
	}
	if (flags & MSG_PEEK) {
		if (sock_plain_begin(s, fd, RX, 0)) {
			r = real.recvfrom(fd, buf, n, flags, addr, len);
			sock_plain_end(s, RX, 0); /* takes nothing */
		} else {
			r = sock_recv(s, fd, &v, 1, flags);
		}
		sock_leave(s);
	} else {
		RECEIVE(s, fd, addr ? real.recvfrom(fd, buf, n, flags, addr, len) : real.recv(fd, buf, n, flags),
			flags & MSG_TRUNC ? discard(s, fd, n, flags) : sock_recv(s, fd, &v, 1, flags));
	}
	if (r >= 0 && addr && len && *len) /* TCP gives no address */
		*len = 0;
	return r;
}

/* Those that do not simply take what comes next. */
enum { RECV_OTHERWISE = MSG_OOB | MSG_ERRQUEUE | MSG_PEEK };

LOOKING ssize_t look_recv(int fd, void *buf, size_t n, int flags, struct fd_look l)
{
	struct sock *s = sock_enter_look(fd, l, RX);

	return s ? data_recvfrom(s, fd, buf, n, flags, NULL, NULL) : real.recv(fd, buf, n, flags);
}

ssize_t data_recv(int fd, void *buf, size_t n, int flags, struct fd_look l)
{
	if (!(flags & RECV_OTHERWISE) && plain_enter(&l, RX, 0))
		return plain_leave(l, fd, RX, QUICK(l, real.recv(fd, buf, n, flags), SYS_recvfrom, fd, buf, n, flags));
	return look_recv(fd, buf, n, flags, l);
}

static bool ended(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLRDHUP };

	return sys_call(SYS_poll, &p, 1, 0) == 1 && (p.revents & POLLRDHUP);
}

/* The control message that says how much is left, as the kernel would put it. */
static void put_inq(struct sock *s, int fd, struct msghdr *msg)
{
	struct stream *st = load_acq(s->stream);
	size_t room = msg->msg_controllen;

	msg->msg_controllen = 0;
	if (!st->inq)
		return;
	int left = stream_available(st, fd);
	if (!left && ended(fd))
		left = 1; /* read once more: there is the end */
	if (!msg->msg_control || room < CMSG_LEN(sizeof(int))) {
		msg->msg_flags |= MSG_CTRUNC;
		return;
	}
	struct cmsghdr *c = msg->msg_control;
	c->cmsg_level = SOL_TCP;
	c->cmsg_type = TCP_CM_INQ;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &left, sizeof(left));
	msg->msg_controllen = room < CMSG_SPACE(sizeof(int)) ? room : CMSG_SPACE(sizeof(int));
}

static ssize_t upgraded_recvmsg(struct sock *s, int fd, struct msghdr *msg, int flags)
{
	if (msg->msg_iovlen > IOV_MAX) {
		errno = EMSGSIZE;
		return -1;
	}
	ssize_t r;
	if (!lengths_fit(msg->msg_iov, (int)msg->msg_iovlen)) {
		errno = EINVAL;
		return -1;
	}
	if (msg->msg_controllen && stream_recvmsg_inline(load_acq(s->stream), fd, msg, flags, &r)) {
		if (r >= 0)
			return r;
		errno = (int)-r;
		return -1;
	}
	r = flags & MSG_TRUNC ? discard(s, fd, bytes_of(msg->msg_iov, (int)msg->msg_iovlen), flags)
				      : sock_recv(s, fd, msg->msg_iov, (int)msg->msg_iovlen, flags);
	if (r < 0)
		return r;
	msg->msg_namelen = 0;
	msg->msg_flags = flags & MSG_CMSG_CLOEXEC;
	put_inq(s, fd, msg);
	return r;
}

static ssize_t recvmsg_held(struct sock *s, int fd, struct msghdr *msg, int flags)
{
	ssize_t r;

	if (flags & (MSG_OOB | MSG_ERRQUEUE)) {
		if (flags & MSG_OOB)
			sock_make_plain(s, fd, FALLBACK_OOB);
		return real.recvmsg(fd, msg, flags);
	}
	if (!sock_plain_begin(s, fd, RX, 0))
		return upgraded_recvmsg(s, fd, msg, flags);
	r = real.recvmsg(fd, msg, flags);
	sock_plain_end(s, RX, flags & MSG_PEEK ? 0 : r);
	return r;
}

LOOKING ssize_t look_recvmsg(int fd, struct msghdr *msg, int flags, struct fd_look l)
{
	struct sock *s = sock_enter_look(fd, l, RX);

	if (!s)
		return real.recvmsg(fd, msg, flags);
	ssize_t r = recvmsg_held(s, fd, msg, flags);
	sock_leave(s);
	return r;
}

ssize_t data_recvmsg(int fd, struct msghdr *msg, int flags, struct fd_look l)
{
	if (!(flags & RECV_OTHERWISE) && plain_enter(&l, RX, 0))
		return plain_leave(l, fd, RX, QUICK(l, real.recvmsg(fd, msg, flags), SYS_recvmsg, fd, msg, flags));
	return look_recvmsg(fd, msg, flags, l);
}

static ssize_t sum_of(const struct mmsghdr *msgs, int n)
{
	ssize_t sum = n < 0 ? -1 : 0;

	for (int i = 0; i < n; i++)
		sum += msgs[i].msg_len;
	return sum;
}

/* As the kernel: what came before an error counts, the error is the next call's; the time is looked at behind each message. */
static int upgraded_recvmmsg(struct sock *s, int fd, struct mmsghdr *msgs, unsigned n, int flags, struct timespec *timeout)
{
	struct deadline d = deadline_in(timeout);
	struct stream *st = load_acq(s->stream);
	int err = stream_take_error(fd);
	unsigned i = 0;
	bool over = false;

	if (!err)
		err = -side_kept_error(st->side);
	if (err) { /* unlike recv, it comes before the data */
		errno = err;
		return -1;
	}
	while (i < n && !over) {
		ssize_t r = recvmsg_held(s, fd, &msgs[i].msg_hdr, flags & ~MSG_WAITFORONE);
		if (r < 0 && i)
			side_keep_error(st->side, -errno);
		if (r < 0)
			break;
		msgs[i++].msg_len = (unsigned)r;
		if (flags & MSG_WAITFORONE)
			flags |= MSG_DONTWAIT;
		over = timeout && deadline_left(&d, timeout);
	}
	return i || !n ? (int)i : -1;
}

static bool is_no_time(const struct timespec *t)
{
	return t && (t->tv_sec < 0 || t->tv_nsec < 0 || t->tv_nsec >= 1000000000);
}

int data_recvmmsg(struct sock *s, int fd, struct mmsghdr *msgs, unsigned n, int flags, struct timespec *timeout)
{
	int r;

	if (flags & MSG_OOB)
		sock_make_plain(s, fd, FALLBACK_OOB);
	if (flags & (MSG_OOB | MSG_ERRQUEUE) || is_no_time(timeout)) {
		r = real.recvmmsg(fd, msgs, n, flags, timeout);
	} else if (sock_plain_begin(s, fd, RX, 0)) {
		r = real.recvmmsg(fd, msgs, n, flags, timeout);
		sock_plain_end(s, RX, flags & MSG_PEEK ? 0 : sum_of(msgs, r));
	} else {
		r = upgraded_recvmmsg(s, fd, msgs, n, flags, timeout);
	}
	sock_leave(s);
	return r;
}

LOOKING ssize_t look_write(int fd, const void *buf, size_t n, struct fd_look l)
{
	struct sock *s = sock_enter_look(fd, l, TX);
	struct iovec v = { (void *)buf, n };
	ssize_t r;

	if (!s)
		return real.write(fd, buf, n);
	SEND(s, fd, n, real.write(fd, buf, n), sock_send(s, fd, &v, 1, 0));
	return r;
}

ssize_t data_write(int fd, const void *buf, size_t n, struct fd_look l)
{
	if (plain_enter(&l, TX, n))
		return plain_leave(l, fd, TX, QUICK(l, real.write(fd, buf, n), SYS_write, fd, buf, n));
	return look_write(fd, buf, n, l);
}

LOOKING ssize_t look_writev(int fd, const struct iovec *iov, int cnt, struct fd_look l)
{
	struct sock *s = sock_enter_look(fd, l, TX);
	ssize_t r;

	if (!s)
		return real.writev(fd, iov, cnt);
	SEND(s, fd, bytes_of(iov, cnt), real.writev(fd, iov, cnt), is_answered(iov, cnt, &r) ? r : sock_send(s, fd, iov, cnt, 0));
	return r;
}

ssize_t data_writev(int fd, const struct iovec *iov, int cnt, struct fd_look l)
{
	if (plain_enter(&l, TX, bytes_of(iov, cnt)))
		return plain_leave(l, fd, TX, QUICK(l, real.writev(fd, iov, cnt), SYS_writev, fd, iov, cnt));
	return look_writev(fd, iov, cnt, l);
}

ssize_t data_pwritev2(struct sock *s, int fd, const struct iovec *iov, int cnt, int flags)
{
	ssize_t r;

	SEND(s, fd, bytes_of(iov, cnt), real.pwritev2(fd, iov, cnt, -1, flags),
		is_answered(iov, cnt, &r) ? r : sock_send(s, fd, iov, cnt, msg_flags(flags)));
	return r;
}

/* The first of its kind brings the connection back to plain TCP before the kernel sees it. */
enum { SEND_OTHERWISE = MSG_OOB | MSG_ZEROCOPY | MSG_FASTOPEN };

static bool needs_plain(struct sock *s, int fd, int flags)
{
	if (!(flags & SEND_OTHERWISE))
		return false;
	sock_make_plain(s, fd, flags & MSG_OOB ? FALLBACK_OOB : FALLBACK_ZEROCOPY);
	return true;
}

static ssize_t raw_sendmsg(struct sock *s, int fd, const struct msghdr *msg, int flags)
{
	struct stream *st = sock_stream(s, TX);

	if (!st)
		return real.sendmsg(fd, msg, flags);
	if (!st->ops->raw_sends && !(flags & (MSG_OOB | MSG_ZEROCOPY)) && lengths_fit(msg->msg_iov, (int)msg->msg_iovlen) &&
		msg->msg_iovlen <= IOV_MAX)
		return sock_send(s, fd, msg->msg_iov, (int)msg->msg_iovlen, flags);
	stream_begin_raw_send(st);
	ssize_t r = real.sendmsg(fd, msg, flags);
	int err = errno;
	stream_end_raw_send(st, r);
	errno = err;
	return r;
}

static ssize_t sendmsg_held(struct sock *s, int fd, const struct msghdr *msg, int flags)
{
	ssize_t r;

	if (needs_plain(s, fd, flags) || msg->msg_controllen || msg->msg_iovlen > IOV_MAX ||
		!lengths_fit(msg->msg_iov, (int)msg->msg_iovlen)) {
		if (!sock_plain_begin(s, fd, TX, 0))
			return raw_sendmsg(s, fd, msg, flags);
		r = real.sendmsg(fd, msg, flags);
	} else if (sock_plain_begin(s, fd, TX, bytes_of(msg->msg_iov, (int)msg->msg_iovlen))) {
		r = real.sendmsg(fd, msg, flags);
	} else {
		return sock_send(s, fd, msg->msg_iov, (int)msg->msg_iovlen, flags);
	}
	sock_plain_end(s, TX, r);
	return r;
}

ssize_t data_sendto(struct sock *s, int fd, const void *buf, size_t n, int flags, const struct sockaddr *addr, socklen_t len)
{
	struct iovec v = { (void *)buf, n };
	ssize_t r;

	if (flags & SEND_OTHERWISE) {
		struct msghdr m = { .msg_name = (void *)addr, .msg_namelen = len, .msg_iov = &v, .msg_iovlen = 1 };
		r = sendmsg_held(s, fd, &m, flags);
		sock_leave(s);
		return r;
	}
	SEND(s, fd, n, addr ? real.sendto(fd, buf, n, flags, addr, len) : real.send(fd, buf, n, flags),
		sock_send(s, fd, &v, 1, flags));
	return r;
}

LOOKING ssize_t look_send(int fd, const void *buf, size_t n, int flags, struct fd_look l)
{
	struct sock *s = sock_enter_look(fd, l, TX);

	return s ? data_sendto(s, fd, buf, n, flags, NULL, 0) : real.send(fd, buf, n, flags);
}

ssize_t data_send(int fd, const void *buf, size_t n, int flags, struct fd_look l)
{
	if (!(flags & SEND_OTHERWISE) && plain_enter(&l, TX, n))
		return plain_leave(l, fd, TX, QUICK(l, real.send(fd, buf, n, flags), SYS_sendto, fd, buf, n, flags));
	return look_send(fd, buf, n, flags, l);
}

LOOKING ssize_t look_sendmsg(int fd, const struct msghdr *msg, int flags, struct fd_look l)
{
	struct sock *s = sock_enter_look(fd, l, TX);

	if (!s)
		return real.sendmsg(fd, msg, flags);
	ssize_t r = sendmsg_held(s, fd, msg, flags);
	sock_leave(s);
	return r;
}

static bool is_ordinary(const struct msghdr *msg, int flags)
{
	return !(flags & SEND_OTHERWISE) && !msg->msg_controllen && msg->msg_iovlen <= IOV_MAX;
}

ssize_t data_sendmsg(int fd, const struct msghdr *msg, int flags, struct fd_look l)
{
	if (is_ordinary(msg, flags) && plain_enter(&l, TX, bytes_of(msg->msg_iov, (int)msg->msg_iovlen)))
		return plain_leave(l, fd, TX, QUICK(l, real.sendmsg(fd, msg, flags), SYS_sendmsg, fd, msg, flags));
	return look_sendmsg(fd, msg, flags, l);
}

int data_sendmmsg(struct sock *s, int fd, struct mmsghdr *msgs, unsigned n, int flags)
{
	unsigned i;

	n = n < IOV_MAX ? n : IOV_MAX;
	for (i = 0; i < n; i++) {
		ssize_t r = sendmsg_held(s, fd, &msgs[i].msg_hdr, flags);
		if (r < 0)
			break;
		msgs[i].msg_len = (unsigned)r;
		if ((size_t)r < bytes_of(msgs[i].msg_hdr.msg_iov, (int)msgs[i].msg_hdr.msg_iovlen)) {
			i++;
			break;
		}
	}
	sock_leave(s);
	return i || !n ? (int)i : -1;
}

/* sendfile and splice by hand: what the socket does not take is left where it was. */
static ssize_t copy_file(struct sock *s, int out, int in, off64_t *off, size_t n)
{
	char room[65536];
	size_t done = 0;

	while (done < n) {
		size_t want = n - done < sizeof(room) ? n - done : sizeof(room);
		off64_t at = off ? *off : lseek64(in, 0, SEEK_CUR);
		ssize_t k = pread64(in, room, want, at);
		struct iovec v = { room, k > 0 ? (size_t)k : 0 };
		ssize_t r = k > 0 ? sock_send(s, out, &v, 1, 0) : k;
		if (r <= 0)
			return done ? (ssize_t)done : r;
		if (off)
			*off = at + r;
		else
			lseek64(in, at + r, SEEK_SET);
		done += (size_t)r;
		if (r < k)
			break;
	}
	return (ssize_t)done;
}

/* The kernel moves the bytes itself: inline, counted afterwards; else by hand. */
#define RAW_SEND(s, fd, n, call, by_hand)                                                                   \
	do {                                                                                       \
		if (sock_plain_begin(s, fd, TX, n)) {                                              \
			r = (call);                                                                \
			sock_plain_moved(s, TX, r);                                                \
		} else if (!load_acq((s)->stream)->ops->raw_sends) {                               \
			r = (by_hand);                                                             \
		} else {                                                                           \
			stream_begin_raw_send(load_acq((s)->stream));                              \
			r = (call);                                                                \
			int err_ = errno;                                                          \
			stream_end_raw_send(load_acq((s)->stream), r);                             \
			errno = err_;                                                              \
		}                                                                                  \
		sock_leave(s);                                                                     \
	} while (0)

LOOKING ssize_t look_sendfile(int out, int in, off64_t *off, size_t n, struct fd_look l)
{
	struct sock *s = sock_enter_look(out, l, TX);
	ssize_t r;

	if (!s)
		return real.sendfile64(out, in, off, n);
	RAW_SEND(s, out, 0, real.sendfile64(out, in, off, n), copy_file(s, out, in, off, n));
	return r;
}

ssize_t data_sendfile(int out, int in, off64_t *off, size_t n, struct fd_look l)
{
	if (plain_enter(&l, TX, 0))
		return plain_leave_moved(l, TX, real.sendfile64(out, in, off, n));
	return look_sendfile(out, in, off, n, l);
}

/*
 * A pipe gives nothing back, so only what the socket will take is read: a peek by tee into a pipe of our
 * own would do, where this sends what is there and, if it must not wait, at most what surely fits.
 */
static ssize_t copy_pipe(struct sock *s, int in, int out, size_t n, unsigned flags)
{
	char room[16384];
	int queued = 0;
	struct pollfd p = { .fd = out, .events = POLLOUT };

	if ((flags & SPLICE_F_NONBLOCK || load_rlx(s->nonblock)) && sys_call(SYS_poll, &p, 1, 0) != 1) {
		errno = EAGAIN;
		return -1;
	}
	if (flags & SPLICE_F_NONBLOCK && (sys_call(SYS_ioctl, in, FIONREAD, &queued) || !queued)) {
		errno = EAGAIN;
		return -1;
	}
	ssize_t k = real.read(in, room, n < sizeof(room) ? n : sizeof(room));
	for (ssize_t done = 0; done < k;) {
		struct iovec v = { room + done, (size_t)(k - done) };
		ssize_t r = sock_send(s, out, &v, 1, 0);
		if (r > 0)
			done += r;
		else if (errno == EAGAIN || errno == EINTR)
			sys_call(SYS_poll, &p, 1, -1);
		else
			return done ? done : -1;
	}
	return k;
}

ssize_t data_splice_out(struct sock *s, int in, off64_t *off_in, int out, size_t n, unsigned flags)
{
	ssize_t r;

	RAW_SEND(s, out, 0, real.splice(in, off_in, out, NULL, n, flags), copy_pipe(s, in, out, n, flags));
	return r;
}

/* Room in the pipe, at most `n`; 0 only if the caller must not wait for it. */
static size_t pipe_room(int pipe, size_t n, unsigned flags)
{
	long size = sys_call(SYS_fcntl, pipe, F_GETPIPE_SZ);
	int used = 0;

	sys_call(SYS_ioctl, pipe, FIONREAD, &used);
	size_t room = size > used ? (size_t)(size - used) : 0;
	if (!room && !(flags & SPLICE_F_NONBLOCK) && !(sys_call(SYS_fcntl, pipe, F_GETFL) & O_NONBLOCK))
		room = 4096; /* the write below waits, as splice would */
	return room < n ? room : n;
}

static ssize_t write_all(int fd, const char *p, size_t n)
{
	size_t done = 0;

	while (done < n) {
		long k = sys_call(SYS_write, fd, p + done, n - done);
		if (k > 0)
			done += (size_t)k;
		else if (k != -EINTR && k != -EAGAIN)
			break;
	}
	return (ssize_t)done;
}

static ssize_t splice_stream(struct sock *s, int in, int out, size_t n, unsigned flags)
{
	char room[16384];
	struct iovec v = { room, pipe_room(out, n < sizeof(room) ? n : sizeof(room), flags) };

	if (!v.iov_len && n) {
		errno = EAGAIN;
		return -1;
	}
	ssize_t r = sock_recv(s, in, &v, 1, 0);
	return r > 0 ? write_all(out, room, (size_t)r) : r;
}

ssize_t data_splice_in(struct sock *s, int in, int out, off64_t *off_out, size_t n, unsigned flags)
{
	ssize_t r;

	RECEIVE(s, in, real.splice(in, NULL, out, off_out, n, flags), splice_stream(s, in, out, n, flags));
	return r;
}

static void passed(int fd)
{
	struct sock *s = sock_enter(fd);

	if (!s)
		return;
	sock_make_plain(s, fd, FALLBACK_PASSED);
	sock_leave(s);
}

void data_passes_fds(const struct msghdr *msg)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR((struct msghdr *)msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t off = 0; off + sizeof(int) <= c->cmsg_len - CMSG_LEN(0); off += sizeof(int)) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + off, sizeof(fd));
			passed(fd);
		}
	}
}
