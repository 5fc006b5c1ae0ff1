/* TCP_INQ: the control message beside each recvmsg says how much is left; 0 means wait for an edge. */
#include "pair.h"

#include <netinet/in.h>
#include <poll.h>
#include <netinet/tcp.h>

#ifndef TCP_INQ
#define TCP_INQ 36
#endif

static ssize_t recv_inq(int fd, char *buf, size_t n, int *ret_left)
{
	char space[64];
	struct iovec iov[2] = { { buf, n / 2 }, { buf + n / 2, n - n / 2 } };
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = 2, .msg_control = space,
		.msg_controllen = sizeof(space) };
	ssize_t r = recvmsg(fd, &m, 0);
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	check(r >= 0 && c && c->cmsg_level == IPPROTO_TCP && c->cmsg_type == TCP_INQ);
	memcpy(ret_left, CMSG_DATA(c), sizeof(int));
	say("recvmsg %zd, left %d, controllen %zu flags %#x", r, *ret_left, m.msg_controllen,
		m.msg_flags);
	return r;
}

static void server(struct end *e)
{
	int one = 1, left;
	char *buf = malloc(100000);

	check(!setsockopt(e->fd, IPPROTO_TCP, TCP_INQ, &one, sizeof(one)));
	for (int i = 0; i < 5; i++) {
		await('s');
		await_unread(e->fd, 30000);
		do
			took(e, buf, recv_inq(e->fd, buf, 7001, &left));
		while (left);
		tell('n');
	}
	await('e');
	await_events(e->fd, POLLRDHUP);
	check(recv_inq(e->fd, buf, 100, &left) == 0);
	free(buf);
}

static void client(struct end *e)
{
	for (int i = 0; i < 5; i++) {
		put(e, e->fd, 100);
		put(e, e->fd, 20000);
		put(e, e->fd, 9900);
		tell('s');
		await('n');
	}
	check(!shutdown(e->fd, SHUT_WR));
	tell('e');
	say("done");
}

const struct pair pair = { .client = client, .server = server };
