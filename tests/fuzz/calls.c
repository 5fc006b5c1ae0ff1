#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* What _FORTIFY_SOURCE turns the plain names into. */
ssize_t __read_chk(int fd, void *buf, size_t len, size_t buflen);
ssize_t __recv_chk(int fd, void *buf, size_t len, size_t buflen, int flags);
int __poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t fdslen);

#define MAX_IOV 4

static const char *const send_names[S_KINDS] = { "send", "sendto", "sendmsg", "sendmmsg", "write",
	"writev", "pwritev2", "sendfile", "splice" };
static const char *const recv_names[R_KINDS] = { "recv", "recvfrom", "recvmsg", "recvmmsg",
	"__recv_chk", "read", "readv", "preadv2", "__read_chk", "splice" };
static const char *const wait_names[W_KINDS] = { "poll", "ppoll", "select", "pselect",
	"__poll_chk" };

const char *send_kind_name(int kind)
{
	return send_names[kind];
}

const char *recv_kind_name(int kind)
{
	return recv_names[kind];
}

const char *wait_kind_name(int kind)
{
	return wait_names[kind];
}

uint64_t mix64(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ull;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

uint64_t rng_next(struct rng *r)
{
	return mix64(r->s++);
}

uint32_t rng_below(struct rng *r, uint32_t n)
{
	return n ? (rng_next(r) >> 11) % n : 0;
}

static unsigned char pattern_byte(uint64_t key, uint64_t offset)
{
	return mix64(key + (offset >> 3)) >> (8 * (offset & 7));
}

void pattern_fill(void *buf, size_t len, uint64_t key, uint64_t offset)
{
	unsigned char *p = buf;
	size_t i = 0;

	for (; i < len && ((offset + i) & 7); i++)
		p[i] = pattern_byte(key, offset + i);
	for (; i + 8 <= len; i += 8) {
		uint64_t w = mix64(key + ((offset + i) >> 3));

		memcpy(p + i, &w, 8);
	}
	for (; i < len; i++)
		p[i] = pattern_byte(key, offset + i);
}

long pattern_check(const void *buf, size_t len, uint64_t key, uint64_t offset)
{
	const unsigned char *p = buf;
	size_t i = 0;

	for (; i < len && ((offset + i) & 7); i++)
		if (p[i] != pattern_byte(key, offset + i))
			return i;
	for (; i + 8 <= len; i += 8) {
		uint64_t w = mix64(key + ((offset + i) >> 3));

		if (memcmp(p + i, &w, 8))
			break;
	}
	for (; i < len; i++)
		if (p[i] != pattern_byte(key, offset + i))
			return i;
	return -1;
}

/* Cuts a buffer into pieces whose number and size depend on its length only, so that the same
 * call is the same call in every run. */
static int cut(struct iovec *iov, void *buf, size_t len)
{
	char *p = buf;
	int n = 0;

	while (len && n < MAX_IOV) {
		size_t k = n == MAX_IOV - 1 ? len : len / 2 + len % 2;

		iov[n++] = (struct iovec){ p, k };
		p += k;
		len -= k;
	}
	return n;
}

static ssize_t mmsg_sum(int n, const struct mmsghdr *m)
{
	ssize_t sum = 0;

	if (n < 0)
		return n;
	for (int i = 0; i < n; i++)
		sum += m[i].msg_len;
	return sum;
}

static int two_messages(struct mmsghdr m[2], struct iovec iov[2], void *buf, size_t len)
{
	size_t half = len / 2;

	memset(m, 0, 2 * sizeof(*m));
	iov[0] = (struct iovec){ buf, len - half };
	iov[1] = (struct iovec){ (char *)buf + len - half, half };
	for (int i = 0; i < 2; i++) {
		m[i].msg_hdr.msg_iov = &iov[i];
		m[i].msg_hdr.msg_iovlen = 1;
	}
	return half ? 2 : 1;
}

static ssize_t send_mmsg(int fd, const void *buf, size_t len, int flags)
{
	struct mmsghdr m[2];
	struct iovec iov[2];
	int n = two_messages(m, iov, (void *)buf, len);

	return mmsg_sum(sendmmsg(fd, m, n, flags), m);
}

static ssize_t recv_mmsg(int fd, void *buf, size_t len, int flags)
{
	struct mmsghdr m[2];
	struct iovec iov[2];
	int n = two_messages(m, iov, buf, len);

	n = recvmmsg(fd, m, n, flags | MSG_WAITFORONE, NULL);
	/* The second may follow a first that was not filled. */
	if (n == 2)
		memmove((char *)buf + m[0].msg_len, iov[1].iov_base, m[1].msg_len);
	return mmsg_sum(n, m);
}

static ssize_t send_msg(int fd, const void *buf, size_t len, int flags)
{
	struct iovec iov[MAX_IOV];
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = cut(iov, (void *)buf, len) };

	return sendmsg(fd, &m, flags);
}

static ssize_t recv_msg(int fd, void *buf, size_t len, int flags)
{
	struct iovec iov[MAX_IOV];
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = cut(iov, buf, len) };

	return recvmsg(fd, &m, flags);
}

static ssize_t write_file(int memfd, const void *buf, size_t len)
{
	ssize_t r = pwrite(memfd, buf, len, 0);

	return r < 0 ? -1 : 0;
}

static ssize_t send_file(int fd, const void *buf, size_t len)
{
	int m = memfd_create("fuzz", MFD_CLOEXEC), e;
	off_t off = 0;
	ssize_t r;

	if (m < 0)
		return -1;
	r = write_file(m, buf, len) ? -1 : sendfile(fd, m, &off, len);
	e = errno;
	close(m);
	errno = e;
	return r;
}

static ssize_t send_splice(int fd, const void *buf, size_t len)
{
	int p[2], e;
	ssize_t r;

	if (pipe2(p, O_CLOEXEC))
		return -1;
	r = write(p[1], buf, len > 4096 ? 4096 : len);
	if (r > 0)
		r = splice(p[0], NULL, fd, NULL, r, 0);
	e = errno;
	close(p[0]);
	close(p[1]);
	errno = e;
	return r;
}

static ssize_t recv_splice(int fd, void *buf, size_t len)
{
	int p[2], e;
	ssize_t r;

	if (pipe2(p, O_CLOEXEC))
		return -1;
	r = splice(fd, NULL, p[1], NULL, len > 4096 ? 4096 : len, 0);
	if (r > 0)
		r = read(p[0], buf, r);
	e = errno;
	close(p[0]);
	close(p[1]);
	errno = e;
	return r;
}

ssize_t call_send(int kind, int fd, const void *buf, size_t len, int flags)
{
	struct iovec iov[MAX_IOV];

	switch (kind) {
	case S_SEND:
		return send(fd, buf, len, flags);
	case S_SENDTO:
		return sendto(fd, buf, len, flags, NULL, 0);
	case S_SENDMSG:
		return send_msg(fd, buf, len, flags);
	case S_SENDMMSG:
		return send_mmsg(fd, buf, len, flags);
	case S_WRITE:
		return write(fd, buf, len);
	case S_WRITEV:
		return writev(fd, iov, cut(iov, (void *)buf, len));
	case S_PWRITEV2:
		return pwritev2(fd, iov, cut(iov, (void *)buf, len), -1, 0);
	case S_SENDFILE:
		return send_file(fd, buf, len);
	case S_SPLICE:
		return send_splice(fd, buf, len);
	}
	errno = EINVAL;
	return -1;
}

ssize_t call_recv(int kind, int fd, void *buf, size_t len, int flags)
{
	struct iovec iov[MAX_IOV];

	switch (kind) {
	case R_RECV:
		return recv(fd, buf, len, flags);
	case R_RECVFROM:
		return recvfrom(fd, buf, len, flags, NULL, NULL);
	case R_RECVMSG:
		return recv_msg(fd, buf, len, flags);
	case R_RECVMMSG:
		return recv_mmsg(fd, buf, len, flags);
	case R_RECV_CHK:
		return __recv_chk(fd, buf, len, len, flags);
	case R_READ:
		return read(fd, buf, len);
	case R_READV:
		return readv(fd, iov, cut(iov, buf, len));
	case R_PREADV2:
		return preadv2(fd, iov, cut(iov, buf, len), -1, 0);
	case R_READ_CHK:
		return __read_chk(fd, buf, len, len);
	case R_SPLICE:
		return recv_splice(fd, buf, len);
	}
	errno = EINVAL;
	return -1;
}

static int wait_poll(int kind, int fd, short events, int ms, short *ret)
{
	struct pollfd p = { fd, events, 0 };
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000L };
	int r;

	if (kind == W_POLL)
		r = poll(&p, 1, ms);
	else if (kind == W_POLL_CHK)
		r = __poll_chk(&p, 1, ms, sizeof(p));
	else
		r = ppoll(&p, 1, ms < 0 ? NULL : &ts, NULL);
	*ret = r < 0 ? 0 : p.revents;
	return r;
}

static int wait_select(int kind, int fd, short events, int ms, short *ret)
{
	struct timeval tv = { ms / 1000, ms % 1000 * 1000L };
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000L };
	fd_set in, out, pri;
	int r;

	FD_ZERO(&in);
	FD_ZERO(&out);
	FD_ZERO(&pri);
	if (events & POLLIN)
		FD_SET(fd, &in);
	if (events & POLLOUT)
		FD_SET(fd, &out);
	if (events & POLLPRI)
		FD_SET(fd, &pri);
	if (kind == W_SELECT)
		r = select(fd + 1, &in, &out, &pri, ms < 0 ? NULL : &tv);
	else
		r = pselect(fd + 1, &in, &out, &pri, ms < 0 ? NULL : &ts, NULL);
	*ret = 0;
	if (r > 0)
		*ret = (FD_ISSET(fd, &in) ? POLLIN : 0) | (FD_ISSET(fd, &out) ? POLLOUT : 0) |
			(FD_ISSET(fd, &pri) ? POLLPRI : 0);
	return r;
}

int call_wait(int kind, int fd, short events, int timeout_ms, short *ret_revents)
{
	if (kind == W_SELECT || kind == W_PSELECT)
		return wait_select(kind, fd, events, timeout_ms, ret_revents);
	return wait_poll(kind, fd, events, timeout_ms, ret_revents);
}
