/*
 * Every call of a connection by its number, through libc's syscall(): data, waits and descriptors are the connection's as by their
 * names.  The waits are long ones: a byte that they do not see hangs the test.
 */
#include "pair.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/uio.h>

enum { MOST = 100000, ROUNDS = 40 };

static char buf[MOST];

/* All of them on x86-64; elsewhere the older ones have no number. */
#ifndef SYS_select
#define SYS_select SYS_pselect6
#endif

static long wait_for(int fd, int kind)
{
	struct pollfd p = { fd, POLLIN, 0 };
	struct timespec t = { 1000, 0 };
	struct timeval tv = { 1000, 0 };
	fd_set set;
	long r;

	FD_ZERO(&set);
	FD_SET(fd, &set);
	if (kind % 3 == 0) {
		r = syscall(SYS_ppoll, &p, 1, &t, NULL, 8);
		check(p.revents == POLLIN);
	} else if (kind % 3 == 1) {
		r = syscall(SYS_pselect6, fd + 1, &set, NULL, NULL, &t, NULL);
	} else {
		r = SYS_select == SYS_pselect6 ? syscall(SYS_pselect6, fd + 1, &set, NULL, NULL, &t, NULL)
					       : syscall(SYS_select, fd + 1, &set, NULL, NULL, &tv);
		t = (struct timespec){ tv.tv_sec, tv.tv_usec * 1000 };
	}
	check(t.tv_sec < 1000);
	return r;
}

static long send_some(int fd, char *from, size_t n, int kind)
{
	struct iovec iov = { from, n };
	struct mmsghdr m = { .msg_hdr = { .msg_iov = &iov, .msg_iovlen = 1 } };
	int file, ends[2];
	long r;

	switch (kind % 5) {
	case 0:
		return syscall(SYS_write, fd, from, n);
	case 1:
		return syscall(SYS_sendto, fd, from, n, 0, NULL, 0);
	case 2:
		r = syscall(SYS_sendmmsg, fd, &m, 1, 0);
		return r == 1 ? m.msg_len : r;
	case 3:
		file = memfd_create("file", MFD_CLOEXEC);
		check(write(file, from, n) == (ssize_t)n && !lseek(file, 0, SEEK_SET));
		r = syscall(SYS_sendfile, fd, file, NULL, n);
		close(file);
		return r;
	default:
		check(!pipe2(ends, O_CLOEXEC));
		n = n < 4096 ? n : 4096;
		check(write(ends[1], from, n) == (ssize_t)n);
		r = syscall(SYS_splice, ends[0], NULL, fd, NULL, n, 0);
		close(ends[0]);
		close(ends[1]);
		return r;
	}
}

static long take_some(int fd, char *to, size_t n, int kind)
{
	struct iovec iov = { to, n };
	struct mmsghdr m = { .msg_hdr = { .msg_iov = &iov, .msg_iovlen = 1 } };
	long r;

	switch (kind % 4) {
	case 0:
		return syscall(SYS_read, fd, to, n);
	case 1:
		return syscall(SYS_readv, fd, &iov, 1);
	case 2:
		return syscall(SYS_recvfrom, fd, to, n, 0, NULL, NULL);
	default:
		r = syscall(SYS_recvmmsg, fd, &m, 1, 0, NULL);
		return r == 1 ? m.msg_len : r;
	}
}

static void put_all(struct end *e, int fd, size_t n, int kind)
{
	make(e, buf, n);
	for (size_t done = 0; done < n;) {
		long r = send_some(fd, buf + done, n - done, kind);
		check(r > 0);
		done += (size_t)r;
	}
}

static void take_all(struct end *e, int fd, size_t n, int kind)
{
	for (size_t done = 0; done < n;) {
		check(wait_for(fd, kind) == 1);
		long r = take_some(fd, buf, n - done, kind + (int)done);
		check(r > 0);
		took(e, buf, (size_t)r);
		done += (size_t)r;
	}
}

/* A descriptor of the connection under another number. */
static int again(int fd, int kind)
{
	int other = open("/dev/null", O_RDONLY | O_CLOEXEC);

	check(other >= 0);
	if (kind % 3 == 0)
		check(syscall(SYS_dup3, fd, other, O_CLOEXEC) == other);
	else
		close(other);
	if (kind % 3 == 1)
		other = (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 10);
	else if (kind % 3 == 2)
		other = (int)syscall(SYS_dup, fd);
	check(other >= 0);
	return other;
}

static void both(struct end *e)
{
	for (int i = 0; i < ROUNDS; i++) {
		size_t n = (size_t)(i % 8 ? 10 << i % 8 : MOST);
		int fd = again(e->fd, i);

		if (e->role == CLIENT)
			put_all(e, fd, n, i);
		take_all(e, i % 2 ? fd : e->fd, n, i);
		if (e->role == SERVER)
			put_all(e, fd, n, i + 1);
		close(fd);
	}
	int unread = -1, one = 1;
	check(!syscall(SYS_setsockopt, e->fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one)));
	if (e->role == CLIENT) {
		put_all(e, e->fd, 7, 0);
		check(!syscall(SYS_shutdown, e->fd, SHUT_WR));
	} else {
		check(wait_for(e->fd, 0) == 1);
		await_unread(e->fd, 7);
		check(!syscall(SYS_ioctl, e->fd, FIONREAD, &unread));
		take_all(e, e->fd, 7, 3);
		say("unread: %d, then %s", unread, result(syscall(SYS_read, e->fd, buf, 1)));
	}
}

const struct pair pair = { .client = both, .server = both };
