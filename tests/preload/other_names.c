/* The second names of calls: those of 64-bit offsets, and those that the compiler's checks of buffer sizes use. The library sees all of
 * it, or the connection would not be upgraded. */
#include "pair.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

#define BYTES 700
#define ROUNDS 400

ssize_t __recv_chk(int fd, void *buf, size_t n, size_t room, int flags);
ssize_t __recvfrom_chk(int fd, void *buf, size_t n, size_t room, int flags, struct sockaddr *addr, socklen_t *len);
ssize_t __read_chk(int fd, void *buf, size_t n, size_t room);
int __poll_chk(struct pollfd *fds, nfds_t n, int ms, size_t room);
int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *t, const sigset_t *mask, size_t room);

static char buf[BYTES];

static size_t send_by(struct end *e, int how, int file)
{
	struct iovec v = { buf, BYTES };
	off64_t at = 0;

	make(e, buf, BYTES);
	switch (how % 3) {
	case 0:
		return pwritev64v2(e->fd, &v, 1, -1, 0);
	case 1:
		check(pwrite(file, buf, BYTES, 0) == BYTES);
		return sendfile64(e->fd, file, &at, BYTES);
	default:
		return send(e->fd, buf, BYTES, 0);
	}
}

static ssize_t receive_by(int fd, int how, char *to, size_t n)
{
	struct iovec v = { to, n };

	switch (how % 4) {
	case 0:
		return __recv_chk(fd, to, n, n, 0);
	case 1:
		return __recvfrom_chk(fd, to, n, n, 0, NULL, NULL);
	case 2:
		return __read_chk(fd, to, n, n);
	default:
		return preadv64v2(fd, &v, 1, -1, 0);
	}
}

static void take_by(struct end *e, int how)
{
	struct pollfd p = { e->fd, POLLIN, 0 };

	check((how % 2 ? __poll_chk(&p, 1, -1, sizeof(p)) : __ppoll_chk(&p, 1, NULL, NULL, sizeof(p))) == 1 && p.revents == POLLIN);
	for (size_t done = 0; done < BYTES;) {
		ssize_t r = receive_by(e->fd, how, buf + done, BYTES - done);
		check(r > 0);
		took(e, buf + done, r);
		done += r;
	}
}

static void both(struct end *e)
{
	int file = memfd_create("file", MFD_CLOEXEC);
	char c;

	check(file >= 0);
	for (int i = 0; i < ROUNDS; i++)
		if (i % 2 == (e->role == CLIENT))
			check(send_by(e, i / 2, file) == BYTES);
		else
			take_by(e, i / 2);
	check(!fcntl64(e->fd, F_SETFL, O_NONBLOCK));
	tell('n');
	await('n');
	say("nothing left: %s", result(recv(e->fd, &c, 1, 0)));
	tell('e');
	await('e');
}

const struct pair pair = { .client = both, .server = both };
