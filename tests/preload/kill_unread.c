/* SIGKILL of one child after another, each with half of a message unread that it took notice of by polling, so that its
 * kernel may not know of it: the other side is told of a reset each time, by whatever call it waits or asks, however
 * early in the child's death it looks, and of no second one. */
#include "pair.h"

#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/wait.h>

#define ROUNDS 40

/* Each round is answered but for the last one's second half. */
static void read_and_die(struct end *e)
{
	int fd = accept(e->listener, NULL, NULL);

	check(fd >= 0);
	warm(e, fd);
	for (int i = 0; i < 20; i++) {
		if (i)
			take(e, fd, 60);
		put(e, fd, 1);
		await_events(fd, POLLIN);
		take(e, fd, 60);
	}
	await_events(fd, POLLIN);
	raise(SIGKILL);
}

static void server(struct end *e)
{
	int status, killed = 0;

	for (int i = 0; i < ROUNDS; i++) {
		if (!fork()) {
			read_and_die(e);
			_exit(1);
		}
		killed += wait(&status) > 0 && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
	}
	say("children killed: %d", killed);
}

static void by_recv(int fd, int flags)
{
	char c;
	ssize_t r;

	do
		r = recv(fd, &c, 1, flags);
	while (r < 0 && errno == EAGAIN);
	say("recv: %s", result(r));
}

static void sleeping(int fd)
{
	by_recv(fd, 0);
}

static void asking(int fd)
{
	by_recv(fd, MSG_DONTWAIT);
}

static void by_poll(int fd)
{
	say("poll: %x", await_events(fd, POLLIN | POLLRDHUP));
	by_recv(fd, 0);
	say("poll: %x", await_events(fd, POLLIN | POLLRDHUP));
}

static void by_hangup(int fd)
{
	say("poll for the end alone: %x", await_events(fd, POLLRDHUP));
	by_recv(fd, 0);
}

static void by_select(int fd)
{
	fd_set rd, wr, ex;

	FD_ZERO(&rd);
	FD_ZERO(&ex);
	FD_SET(fd, &rd);
	FD_SET(fd, &ex);
	check(select(fd + 1, &rd, NULL, &ex, NULL) > 0);
	FD_ZERO(&wr);
	FD_SET(fd, &wr);
	check(select(fd + 1, NULL, &wr, NULL, NULL) == 1);
	say("select: %d %d", FD_ISSET(fd, &rd), FD_ISSET(fd, &ex));
	by_recv(fd, 0);
}

static void by_epoll(int fd, unsigned how)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLRDHUP | how };
	int ep = epoll_create1(EPOLL_CLOEXEC), again;

	check(!epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
	check(epoll_wait(ep, &ev, 1, -1) == 1);
	say("epoll: %x", ev.events);
	again = epoll_wait(ep, &ev, 1, 0);
	if (!(how & EPOLLET)) /* the kernel wakes twice for a reset: that may be one edge or two */
		say("and then: %x", again ? ev.events : 0);
	by_recv(fd, 0);
	close(ep);
}

static void level(int fd)
{
	by_epoll(fd, 0);
}

static void edge(int fd)
{
	by_epoll(fd, EPOLLET);
}

static void one_shot(int fd)
{
	by_epoll(fd, EPOLLONESHOT);
}

static void by_error(int fd)
{
	int err = 0;
	socklen_t len = sizeof(err);

	while (!err)
		check(!getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len));
	say("SO_ERROR: %s", err_name(err));
	by_recv(fd, 0);
}

static void by_send(int fd)
{
	await_events(fd, POLLIN);
	for (int i = 0; i < 2; i++)
		say("send: %s", result(send(fd, "x", 1, MSG_NOSIGNAL)));
	by_recv(fd, 0);
}

static void client(struct end *e)
{
	static void (*const ways[])(int) = { sleeping, asking, by_poll, by_hangup, by_select, level, edge, one_shot, by_error, by_send };

	for (int i = 0; i < ROUNDS; i++) {
		int fd = connect_port(e->family, e->port);
		e->in = e->out = 0;
		warm(e, fd);
		for (int k = 0; k < 20; k++) {
			take(e, fd, 1);
			put(e, fd, 120);
		}
		ways[i % (sizeof(ways) / sizeof(*ways))](fd);
		by_recv(fd, 0);
		close(fd);
	}
}

const struct pair pair = { .client = client, .server = server, .unconnected = 1 };
