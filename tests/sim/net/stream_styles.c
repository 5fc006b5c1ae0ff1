/* Every way to call a socket that programs were seen to use, each as one row of a table. */
#include "stream.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { PIPE_ROOM = 65536, MAX_IOV = 7 };

/* ---- single calls ---- */

static ssize_t put_send(int fd, const void *buf, size_t n)
{
	return send(fd, buf, n, MSG_NOSIGNAL);
}

static ssize_t get_recv(int fd, void *buf, size_t n)
{
	return recv(fd, buf, n, 0);
}

static ssize_t put_sendto(int fd, const void *buf, size_t n)
{
	return sendto(fd, buf, n, MSG_NOSIGNAL, NULL, 0);
}

static ssize_t get_recvfrom(int fd, void *buf, size_t n)
{
	struct sockaddr_storage from;
	socklen_t len = sizeof(from);

	return recvfrom(fd, buf, n, 0, (struct sockaddr *)&from, &len);
}

/* Uneven pieces with an empty one among them. */
static int split(struct iovec *iov, const void *buf, size_t n)
{
	char *at = (char *)buf;
	size_t left = n;
	int i;

	for (i = 0; i < MAX_IOV - 1; i++) {
		size_t piece = i == 1 ? 0 : left / (i + 2);
		iov[i] = (struct iovec){at, piece};
		at += piece;
		left -= piece;
	}
	iov[i] = (struct iovec){at, left};
	return MAX_IOV;
}

static ssize_t put_writev(int fd, const void *buf, size_t n)
{
	struct iovec iov[MAX_IOV];

	return writev(fd, iov, split(iov, buf, n));
}

static ssize_t get_readv(int fd, void *buf, size_t n)
{
	struct iovec iov[MAX_IOV];

	return readv(fd, iov, split(iov, buf, n));
}

static ssize_t put_pwritev2(int fd, const void *buf, size_t n)
{
	struct iovec iov[MAX_IOV];

	return pwritev2(fd, iov, split(iov, buf, n), -1, 0);
}

static ssize_t get_preadv2(int fd, void *buf, size_t n)
{
	struct iovec iov[MAX_IOV];

	return preadv2(fd, iov, split(iov, buf, n), -1, 0);
}

static ssize_t put_sendmsg(int fd, const void *buf, size_t n)
{
	struct iovec iov[MAX_IOV];
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = split(iov, buf, n)};

	return sendmsg(fd, &m, MSG_NOSIGNAL);
}

static ssize_t get_recvmsg(int fd, void *buf, size_t n)
{
	struct iovec iov[MAX_IOV];
	char control[256];
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = split(iov, buf, n),
		.msg_control = control, .msg_controllen = sizeof(control)};

	return recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
}

static ssize_t sum_of(struct mmsghdr *m, int n)
{
	ssize_t sum = 0;

	for (int i = 0; i < n; i++)
		sum += m[i].msg_len;
	return n < 0 ? -1 : sum;
}

/* Two messages; the second is empty-handed unless the first was taken whole. */
static ssize_t put_sendmmsg(int fd, const void *buf, size_t n)
{
	struct iovec iov[2] = {{(void *)buf, n - n / 3}, {(char *)buf + (n - n / 3), n / 3}};
	struct mmsghdr m[2] = {{.msg_hdr = {.msg_iov = &iov[0], .msg_iovlen = 1}},
		{.msg_hdr = {.msg_iov = &iov[1], .msg_iovlen = 1}}};
	int done = sendmmsg(fd, m, n / 3 ? 2 : 1, MSG_NOSIGNAL);

	if (done == 2 && m[0].msg_len < iov[0].iov_len)
		fail("sendmmsg went on after a short message");
	return sum_of(m, done);
}

static ssize_t get_recvmmsg(int fd, void *buf, size_t n)
{
	struct iovec iov = {buf, n};
	struct mmsghdr m = {.msg_hdr = {.msg_iov = &iov, .msg_iovlen = 1}};

	return sum_of(&m, recvmmsg(fd, &m, 1, MSG_WAITFORONE, NULL));
}

static ssize_t put_dontwait(int fd, const void *buf, size_t n)
{
	return send(fd, buf, n, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static ssize_t get_dontwait(int fd, void *buf, size_t n)
{
	return recv(fd, buf, n, MSG_DONTWAIT);
}

static ssize_t put_more(int fd, const void *buf, size_t n)
{
	/* In bulk only: an answer held back costs 200 ms. */
	return send(fd, buf, n, MSG_NOSIGNAL | (n > 8192 ? MSG_MORE : 0));
}

static ssize_t get_waitall(int fd, void *buf, size_t n)
{
	ssize_t r = recv(fd, buf, n, MSG_WAITALL);

	if (r > 0 && (size_t)r < n)
		fail("MSG_WAITALL returned %zd of %zu", r, n);
	return r;
}

static ssize_t get_peek(int fd, void *buf, size_t n)
{
	static char seen[1 << 20];
	ssize_t r = recv(fd, seen, n < sizeof(seen) ? n : sizeof(seen), MSG_PEEK), again;

	if (r <= 0)
		return r;
	again = recv(fd, buf, r, 0);
	if (again != r || memcmp(seen, buf, r))
		fail("after MSG_PEEK of %zd bytes recv returned %zd or others", r, again);
	return r;
}

static ssize_t get_fionread(int fd, void *buf, size_t n)
{
	struct pollfd p = {fd, POLLIN, 0};
	int ready = -1;
	ssize_t r;

	if (poll(&p, 1, -1) != 1 || ioctl(fd, FIONREAD, &ready))
		die("poll or FIONREAD");
	r = recv(fd, buf, n, 0);
	if (r > 0 && (size_t)r < n && r < ready)
		fail("FIONREAD said %d, recv of %zu gave %zd", ready, n, r);
	return r;
}

/* ---- files and pipes ---- */

static ssize_t put_sendfile(int fd, const void *buf, size_t n)
{
	static int mem = -1;
	off_t at = 0;

	if (mem < 0 && (mem = memfd_create("chunk", MFD_CLOEXEC)) < 0)
		die("memfd_create");
	/* What is still in flight keeps the old pages: the file must get new ones. */
	if (ftruncate(mem, 0) || pwrite(mem, buf, n, 0) != (ssize_t)n)
		die("pwrite");
	return sendfile(fd, mem, &at, n);
}

static int *chunk_pipe(void)
{
	static int ends[2] = {-1, -1};

	if (ends[0] < 0 && pipe2(ends, O_CLOEXEC))
		die("pipe2");
	return ends;
}

static ssize_t put_splice(int fd, const void *buf, size_t n)
{
	int *ends = chunk_pipe();
	size_t left = write(ends[1], buf, n < PIPE_ROOM ? n : PIPE_ROOM), all = left;

	while (left) {
		ssize_t r = splice(ends[0], NULL, fd, NULL, left, 0);
		if (r <= 0)
			die("splice to the socket");
		left -= r;
	}
	return all;
}

static ssize_t get_splice(int fd, void *buf, size_t n)
{
	int *ends = chunk_pipe();
	ssize_t r = splice(fd, NULL, ends[1], NULL, n < PIPE_ROOM ? n : PIPE_ROOM, 0);

	return r > 0 ? read(ends[0], buf, r) : r;
}

/* ---- stdio: glibc calls read and write inside, past every interposed name ---- */

static FILE *in, *out;

static int open_stdio(int fd)
{
	in = fdopen(dup(fd), "r");
	out = fdopen(dup(fd), "w");
	if (!in || !out)
		die("fdopen");
	return fd;
}

static void close_stdio(int fd)
{
	fclose(in);
	fclose(out);
}

static ssize_t put_stdio(int fd, const void *buf, size_t n)
{
	size_t r = fwrite(buf, 1, n, out);

	return fflush(out) ? -1 : (ssize_t)r;
}

static ssize_t get_stdio(int fd, void *buf, size_t n)
{
	return fread(buf, 1, n, in);
}

/* ---- waiting ---- */

static void wait_poll(int fd, short events)
{
	struct pollfd p = {fd, events, 0};

	if (poll(&p, 1, -1) != 1 && errno != EINTR)
		die("poll");
}

static void wait_ppoll(int fd, short events)
{
	struct pollfd p = {fd, events, 0};
	struct timespec t = {30, 0};
	sigset_t none;

	sigemptyset(&none);
	if (ppoll(&p, 1, &t, &none) != 1)
		die("ppoll");
}

static void wait_select(int fd, short events)
{
	struct timeval t = {30, 0};
	fd_set set;

	FD_ZERO(&set);
	FD_SET(fd, &set);
	if (select(fd + 1, events & POLLIN ? &set : NULL, events & POLLOUT ? &set : NULL, NULL,
		    &t) < 1)
		die("select");
}

static void wait_pselect(int fd, short events)
{
	struct timespec t = {30, 0};
	fd_set set;

	FD_ZERO(&set);
	FD_SET(fd, &set);
	if (pselect(fd + 1, events & POLLIN ? &set : NULL, events & POLLOUT ? &set : NULL, NULL,
		    &t, NULL) < 1)
		die("pselect");
}

static int ep = -1; /* one set a connection, made by prepare */

static int register_in(int fd, unsigned events)
{
	struct epoll_event e = {.events = events, .data.fd = fd};

	if (ep >= 0)
		close(ep);
	ep = epoll_create1(EPOLL_CLOEXEC);
	if (ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e))
		die("epoll_ctl");
	return fd;
}

static int epoll_level(int fd)
{
	return register_in(fd, 0);
}

static int epoll_edge(int fd)
{
	return register_in(fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
}

static void modify(int fd, unsigned events)
{
	struct epoll_event e = {.events = events, .data.fd = fd};

	if (epoll_ctl(ep, EPOLL_CTL_MOD, fd, &e))
		die("epoll_ctl MOD");
}

/* Until one of the events is there; an edge for the other direction is not our turn yet. */
static void await(int fd, unsigned events, bool masked)
{
	sigset_t none;
	struct epoll_event e = {0};

	sigemptyset(&none);
	do {
		int n = masked ? epoll_pwait(ep, &e, 1, 30000, &none) : epoll_wait(ep, &e, 1, 30000);
		if (n < 0 && errno == EINTR) /* signal(7): a process that was stopped and goes on */
			continue;
		if (n != 1 || e.data.fd != fd)
			die("epoll_wait");
	} while (!(e.events & (events | EPOLLHUP | EPOLLERR | EPOLLRDHUP)));
}

static void wait_epoll(int fd, short events)
{
	modify(fd, events);
	await(fd, events, false);
}

static void wait_epoll_edge(int fd, short events)
{
	await(fd, events, false);
}

static void wait_epoll_oneshot(int fd, short events)
{
	modify(fd, events | EPOLLONESHOT);
	await(fd, events, true);
}

static void wait_retry(int fd, short events)
{
}

/* ---- descriptors and options ---- */

static void set_int(int fd, int level, int name, int value)
{
	if (setsockopt(fd, level, name, &value, sizeof(value)))
		die("setsockopt");
}

static int set_fcntl_nonblock(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK))
		die("fcntl");
	return fd;
}

static int set_blocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (!(flags & O_NONBLOCK) || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK))
		die("fcntl");
	return fd;
}

static int set_ioctl_nonblock(int fd)
{
	int on = 1;

	if (ioctl(fd, FIONBIO, &on))
		die("FIONBIO");
	return fd;
}

static int set_small_buffers(int fd)
{
	set_int(fd, SOL_SOCKET, SO_SNDBUF, 65536);
	set_int(fd, SOL_SOCKET, SO_RCVBUF, 65536);
	return fd;
}

static int set_timeouts(int fd)
{
	struct timeval t = {0, 20000};

	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t)) ||
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t)))
		die("timeouts");
	return fd;
}

/* Who only receives hears in no other way of a host that is gone. */
static int set_keepalive(int fd)
{
	set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, 2);
	set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, 2);
	set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, 120);
	return fd;
}

static int keepalive_epoll(int fd)
{
	return epoll_level(set_keepalive(fd));
}

static int set_cork(int fd)
{
	set_int(fd, IPPROTO_TCP, TCP_CORK, 1);
	return fd;
}

/* Corked bytes may stay for 200 ms: cork again around each chunk, as nginx does. */
static ssize_t put_corked(int fd, const void *buf, size_t n)
{
	ssize_t r = send(fd, buf, n, MSG_NOSIGNAL);

	set_int(fd, IPPROTO_TCP, TCP_CORK, 0);
	set_int(fd, IPPROTO_TCP, TCP_CORK, 1);
	return r;
}

static int moved(int fd, int to)
{
	if (to < 0)
		die("dup");
	close(fd);
	return to;
}

static int by_dup(int fd)
{
	return moved(fd, dup(fd));
}

static int by_dup2(int fd)
{
	return moved(fd, dup2(fd, 77));
}

static int by_dup3(int fd)
{
	return moved(fd, dup3(fd, 78, O_CLOEXEC));
}

static int by_fcntl_dup(int fd)
{
	return moved(fd, fcntl(fd, F_DUPFD_CLOEXEC, 60));
}

#define SENDRECV .put = put_send, .get = get_recv
#define NB .type = SOCK_NONBLOCK

const struct style styles[] = {
	{"plain", .put = write, .get = read},
	{"send", SENDRECV},
	{"sendto", .put = put_sendto, .get = get_recvfrom},
	{"writev", .put = put_writev, .get = get_readv},
	{"pwritev2", .put = put_pwritev2, .get = get_preadv2},
	{"sendmsg", .put = put_sendmsg, .get = get_recvmsg},
	{"sendmmsg", .put = put_sendmmsg, .get = get_recvmmsg},
	{"dontwait", .put = put_dontwait, .get = get_dontwait, .wait = wait_poll},
	{"waitall", .put = put_send, .get = get_waitall},
	{"peek", .put = put_send, .get = get_peek},
	{"fionread", .put = put_send, .get = get_fionread},
	{"more", .put = put_more, .get = get_recv},
	{"cork", .put = put_corked, .get = get_recv, .prepare = set_cork},
	{"nagle", SENDRECV, .flags = STYLE_NAGLE},
	{"small_buffers", SENDRECV, .prepare = set_small_buffers},
	{"tiny", SENDRECV, .chunk = 1},
	{"large", SENDRECV, .chunk = 1 << 20},
	{"pause", SENDRECV, .chunk = 1 << 20, .flags = STYLE_PAUSE},
	{"select", SENDRECV, .prepare = set_fcntl_nonblock, .wait = wait_select},
	{"pselect", SENDRECV, NB, .wait = wait_pselect},
	{"poll", SENDRECV, .prepare = set_fcntl_nonblock, .wait = wait_poll},
	{"ppoll", SENDRECV, NB, .wait = wait_ppoll},
	{"epoll", SENDRECV, NB, .prepare = epoll_level, .wait = wait_epoll},
	{"epoll_edge", SENDRECV, NB, .prepare = epoll_edge, .wait = wait_epoll_edge},
	{"epoll_oneshot", SENDRECV, NB, .prepare = epoll_level, .wait = wait_epoll_oneshot},
	{"nb_connect", SENDRECV, NB, .prepare = set_blocking}, /* PyTorch's TCPStore */
	{"ioctl_nonblock", SENDRECV, .prepare = set_ioctl_nonblock, .wait = wait_poll},
	{"cloexec", SENDRECV, .type = SOCK_CLOEXEC},
	{"timeouts", SENDRECV, .prepare = set_timeouts, .wait = wait_retry},
	{"keepalive", SENDRECV, .prepare = set_keepalive},
	{"keepalive_epoll", SENDRECV, NB, .prepare = keepalive_epoll, .wait = wait_epoll},
	{"signals", SENDRECV, .flags = STYLE_SIGNALS},
	{"dup", SENDRECV, .prepare = by_dup},
	{"dup2", SENDRECV, .prepare = by_dup2},
	{"dup3", SENDRECV, .prepare = by_dup3},
	{"dupfd_cloexec", SENDRECV, .prepare = by_fcntl_dup},
	{"sendfile", .put = put_sendfile, .get = get_recv},
	{"splice", .put = put_splice, .get = get_splice},
	{"stdio", .put = put_stdio, .get = get_stdio, .prepare = open_stdio,
		.finish = close_stdio},
	{"fork", SENDRECV, .flags = STYLE_FORK},
	{"exec", SENDRECV, .flags = STYLE_EXEC},
	{"thread", SENDRECV, .flags = STYLE_THREAD_SERVER},
	{"two_threads", SENDRECV, .flags = STYLE_THREADS},
	{"both_ways", SENDRECV, NB, .wait = wait_poll, .flags = STYLE_BOTH_WAYS},
};
const size_t n_styles = sizeof(styles) / sizeof(styles[0]);
