/* Calls that fail: descriptors that are closed, foreign or of another kind, lengths and flags that
 * are wrong, empty buffers. The errno is the kernel's. */
#include "pair.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

static void on_bad(const char *what, int fd)
{
	char buf[10] = { 0 };
	struct iovec iov = { buf, 10 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct pollfd p = { fd, POLLIN | POLLOUT, 0 };
	int n;

	say("%s: recv %s", what, result(recv(fd, buf, 10, MSG_DONTWAIT)));
	say("  send %s", result(send(fd, buf, 10, MSG_NOSIGNAL)));
	say("  recvmsg %s", result(recvmsg(fd, &m, MSG_DONTWAIT)));
	say("  sendmsg %s", result(sendmsg(fd, &m, MSG_NOSIGNAL)));
	say("  shutdown %s", result(shutdown(fd, SHUT_WR)));
	say("  ioctl %s", result(ioctl(fd, FIONREAD, &n)));
	say("  poll %s %#x", result(poll(&p, 1, 0)), p.revents);
	say("  dup2 onto itself %s", result(dup2(fd, fd) >= 0 ? 0 : -1));
}

static void empty_calls(int fd)
{
	char buf[1];
	struct iovec iov = { buf, 0 };

	say("send 0 %s", result(send(fd, buf, 0, 0)));
	say("write 0 %s", result(write(fd, buf, 0)));
	say("writev 0 %s", result(writev(fd, &iov, 1)));
	say("read 0 %s", result(read(fd, buf, 0)));
	say("readv 0 %s", result(readv(fd, &iov, 1)));
	say("recv 0, nothing there %s", result(recv(fd, buf, 0, MSG_DONTWAIT)));
	say("preadv2 0 %s", result(preadv2(fd, &iov, 1, -1, 0)));
}

static void wrong_values(int fd)
{
	char buf[10];
	struct iovec iov = { buf, (size_t)-1 };
	int one = 1, ep = epoll_create1(0);
	volatile int minus_one = -1;
	struct epoll_event ev = { .events = EPOLLIN };

	say("pread %s", result(pread(fd, buf, 1, 0)));
	say("pwritev2 at 5 %s", result(pwritev2(fd, &iov, 1, 5, 0)));
	say("readv of -1 %s", result(readv(fd, &iov, 1)));
	say("readv of -1 entries %s", result(readv(fd, &iov, minus_one)));
	say("lseek %s", result(lseek(fd, 0, SEEK_CUR)));
	say("setsockopt short %s", result(setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &one, 1)));
	say("setsockopt level %s", result(setsockopt(fd, 77, 1, &one, sizeof(one))));
	say("shutdown 7 %s", result(shutdown(fd, 7)));
	say("epoll ADD %s", result(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev)));
	say("epoll ADD twice %s", result(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev)));
	say("epoll op 9 %s", result(epoll_ctl(ep, 9, fd, &ev)));
	say("epoll_wait max 0 %s", result(epoll_wait(ep, &ev, 0, 0)));
	say("epoll_wait on a socket %s", result(epoll_wait(fd, &ev, 1, 0)));
	say("fcntl bad %s", result(fcntl(fd, 9999, 0)));
	say("dup3 same %s", result(dup3(fd, fd, 0)));
	say("MSG_ERRQUEUE %s", result(recv(fd, buf, 1, MSG_ERRQUEUE | MSG_DONTWAIT)));
	say("MSG_OOB %s", result(recv(fd, buf, 1, MSG_OOB)));
	close(ep);
}

static void client(struct end *e)
{
	int file = open("/dev/null", O_RDWR), unix_pair[2], closed = dup(e->fd);

	close(closed);
	check(!socketpair(AF_UNIX, SOCK_STREAM, 0, unix_pair));
	on_bad("closed", closed);
	on_bad("negative", -1);
	on_bad("huge", 1 << 30);
	on_bad("a file", file);
	on_bad("unix", unix_pair[0]);
	empty_calls(e->fd);
	put(e, e->fd, 10000);
	take(e, e->fd, 10000);
	wrong_values(e->fd);
	put(e, e->fd, 10000);
	take(e, e->fd, 10000);
	close(file);
	close(unix_pair[0]);
	close(unix_pair[1]);
}

static void server(struct end *e)
{
	for (int i = 0; i < 2; i++) {
		take(e, e->fd, 10000);
		put(e, e->fd, 10000);
	}
	say("done");
}

const struct pair pair = { .client = client, .server = server };
