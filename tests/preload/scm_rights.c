/* A live socket passed to another process over a unix socket: the receiver goes on with it, with
 * the sender still holding it and without. Nothing is under way while it changes hands. With "many" it is passed by sendmmsg. */
#include "pair.h"

#include <sys/wait.h>

static void send_fd(int over, int fd, int many)
{
	char byte = 'f', space[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = space,
		.msg_controllen = sizeof(space) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	*c = (struct cmsghdr){ CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
	struct mmsghdr one = { .msg_hdr = m };
	check((many ? sendmmsg(over, &one, 1, 0) : sendmsg(over, &m, 0)) == 1);
}

static int recv_fd(int over)
{
	char byte, space[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = space,
		.msg_controllen = sizeof(space) };
	int fd;

	check(recvmsg(over, &m, 0) == 1 && CMSG_FIRSTHDR(&m));
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	return fd;
}

/* The other process: it was there before the socket was. */
static void worker(struct end *e, int over)
{
	for (int i = 0; i < 2; i++) {
		int fd = recv_fd(over);

		check(recv(over, &e->out, sizeof(e->out), 0) == sizeof(e->out));
		check(recv(over, &e->in, sizeof(e->in), 0) == sizeof(e->in));
		put(e, fd, 300000);
		take(e, fd, 300000);
		put(e, fd, 10);
		check(send(over, "d", 1, 0) == 1);
		close(fd);
	}
	_exit(0);
}

static void server(struct end *e)
{
	int over[2], status;
	pid_t pid;
	char c;

	check(!socketpair(AF_UNIX, SOCK_SEQPACKET, 0, over));
	pid = fork();
	if (!pid) {
		close(e->listener);
		worker(e, over[1]);
	}
	close(over[1]);
	for (int kept = 0; kept < 2; kept++) {
		int fd = accept(e->listener, NULL, NULL);

		warm(e, fd);
		send_fd(over[0], fd, e->argc);
		if (!kept)
			close(fd);
		check(send(over[0], &e->out, sizeof(e->out), 0) == sizeof(e->out));
		check(send(over[0], &e->in, sizeof(e->in), 0) == sizeof(e->in));
		check(recv(over[0], &c, 1, 0) == 1);
		e->out += 300010;
		e->in += 300000;
		if (kept) {
			take(e, fd, 7);
			put(e, fd, 7);
			close(fd);
		}
		say("passed on, %s", kept ? "kept" : "closed here");
	}
	close(over[0]);
	check(waitpid(pid, &status, 0) == pid);
	say("the other process ended: %#x", status);
}

static void client(struct end *e)
{
	for (int kept = 0; kept < 2; kept++) {
		int fd = connect_port(e->family, e->port);
		char c;

		warm(e, fd);
		take(e, fd, 300000);
		put(e, fd, 300000);
		take(e, fd, 10);
		if (kept) {
			put(e, fd, 7);
			take(e, fd, 7);
		}
		say("recv at the end: %s", result(recv(fd, &c, 1, 0)));
		close(fd);
	}
}

const struct pair pair = { .client = client, .server = server, .unconnected = 1 };
