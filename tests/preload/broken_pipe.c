/* SIGPIPE: once for each call on a connection that is over, by every call that raises it, and never
 * with MSG_NOSIGNAL; the errno before and after. */
#include "pair.h"

#include <poll.h>
#include <signal.h>
#include <sys/uio.h>

static volatile sig_atomic_t pipes;

static void on_pipe(int sig)
{
	pipes++;
}

static void show(const char *what, ssize_t r)
{
	say("%s: %s, signals %d", what, result(r), pipes);
	pipes = 0;
}

static void client(struct end *e)
{
	static char big[200000];
	struct iovec iov[2] = { { big, 10 }, { big, sizeof(big) } };
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = 2 };

	signal(SIGPIPE, on_pipe);
	await('c');
	await_events(e->fd, POLLRDHUP);
	show("the first send", send(e->fd, "x", 1, 0));
	await_events(e->fd, 0);
	show("send", send(e->fd, "x", 1, 0));
	show("write", write(e->fd, big, sizeof(big)));
	show("writev", writev(e->fd, iov, 2));
	show("sendmsg", sendmsg(e->fd, &m, 0));
	show("sendmsg, no signal", sendmsg(e->fd, &m, MSG_NOSIGNAL));
	show("send, no signal", send(e->fd, big, sizeof(big), MSG_NOSIGNAL | MSG_DONTWAIT));
	show("recv", recv(e->fd, big, 1, 0));
}

static void server(struct end *e)
{
	close(e->fd);
	e->fd = -1;
	tell('c');
	say("closed");
}

const struct pair pair = { .client = client, .server = server };
