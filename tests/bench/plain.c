/*
 * Calls on connections that stay plain TCP: plain CALL COUNT [threads].  As a server has them: none blocks, many in
 * one set, a request and its answer by turns.  Both ends are here, so nothing depends on who comes first.  With
 * `threads` the process has a second one, which sleeps.  See plain_calls.py.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CONNECTIONS = 8, BYTES = 64 };

static int client[CONNECTIONS], server[CONNECTIONS], ep, file;
static char data[BYTES];

static void moved(ssize_t n)
{
	if (n != BYTES)
		abort();
}

static void send_to(int fd) { moved(send(fd, data, BYTES, 0)); }
static void recv_from(int fd) { moved(recv(fd, data, BYTES, 0)); }
static void write_to(int fd) { moved(write(fd, data, BYTES)); }
static void read_from(int fd) { moved(read(fd, data, BYTES)); }
static void writev_to(int fd) { moved(writev(fd, (struct iovec[]){ { data, 8 }, { data + 8, BYTES - 8 } }, 2)); }
static void readv_from(int fd) { moved(readv(fd, &(struct iovec){ data, BYTES }, 1)); }

static void sendmsg_to(int fd)
{
	moved(sendmsg(fd, &(struct msghdr){ .msg_iov = &(struct iovec){ data, BYTES }, .msg_iovlen = 1 }, MSG_NOSIGNAL));
}

static void recvmsg_from(int fd)
{
	moved(recvmsg(fd, &(struct msghdr){ .msg_iov = &(struct iovec){ data, BYTES }, .msg_iovlen = 1 }, 0));
}

/* Four calls. */
static void round_trip(void (*put)(int), void (*take)(int))
{
	put(client[0]);
	take(server[0]);
	put(server[0]);
	take(client[0]);
}

static void turn_send(void) { round_trip(send_to, recv_from); }
static void turn_write(void) { round_trip(write_to, read_from); }
static void turn_writev(void) { round_trip(writev_to, readv_from); }
static void turn_sendmsg(void) { round_trip(sendmsg_to, recvmsg_from); }

static void sendfile_to(int fd) { moved(sendfile(fd, file, &(off_t){ 0 }, BYTES)); }
static void turn_sendfile(void) { round_trip(sendfile_to, recv_from); }

static void turn_cork(void)
{
	for (int on = 1; on >= 0; on--)
		if (setsockopt(server[0], IPPROTO_TCP, TCP_CORK, &on, sizeof(on)))
			abort();
}

static void turn_empty(void)
{
	if (read(server[0], data, BYTES) != -1 || errno != EAGAIN)
		abort();
}

static void turn_epoll(void)
{
	struct epoll_event ev[CONNECTIONS];
	if (epoll_wait(ep, ev, CONNECTIONS, -1) != 1)
		abort();
}

static void turn_epoll_timeout(void)
{
	struct epoll_event ev[CONNECTIONS];
	if (epoll_wait(ep, ev, CONNECTIONS, 100) != 1)
		abort();
}

static void turn_poll(void)
{
	struct pollfd p[CONNECTIONS];
	for (int i = 0; i < CONNECTIONS; i++)
		p[i] = (struct pollfd){ .fd = server[i], .events = POLLIN };
	if (poll(p, CONNECTIONS, -1) != 1)
		abort();
}

static const struct {
	const char *name;
	void (*turn)(void);
	int unread; /* bytes that lie at the last connection's server */
} table[] = {
	{ "send", turn_send, 0 }, { "write", turn_write, 0 }, { "writev", turn_writev, 0 }, { "sendmsg", turn_sendmsg, 0 },
	{ "sendfile", turn_sendfile, 0 }, { "cork", turn_cork, 0 }, { "empty", turn_empty, 0 },
	{ "epoll", turn_epoll, 1 }, { "epoll_timeout", turn_epoll_timeout, 1 }, { "poll", turn_poll, 1 },
};

static void open_pair(int listener, const struct sockaddr_in *to, int i)
{
	client[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (connect(client[i], (const struct sockaddr *)to, sizeof(*to)) && errno != EINPROGRESS)
		abort();
	server[i] = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
	if (server[i] < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, server[i], &(struct epoll_event){ .events = EPOLLIN, .data.fd = i }))
		abort();
}

static void open_all(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	if (bind(listener, (struct sockaddr *)&at, len) || listen(listener, 8) || getsockname(listener, (struct sockaddr *)&at, &len))
		abort();
	ep = epoll_create1(0);
	file = memfd_create("file", 0);
	if (ftruncate(file, BYTES))
		abort();
	for (int i = 0; i < CONNECTIONS; i++)
		open_pair(listener, &at, i);
}

static void *sleeper(void *arg)
{
	pause();
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t t;

	open_all();
	if (argc > 3 && pthread_create(&t, NULL, sleeper, NULL))
		abort();
	for (size_t i = 0; argc > 2 && i < sizeof(table) / sizeof(*table); i++) {
		if (strcmp(table[i].name, argv[1]))
			continue;
		if (table[i].unread && write(client[CONNECTIONS - 1], data, 1) != 1)
			abort();
		for (int n = atoi(argv[2]); n; n--)
			table[i].turn();
		return 0;
	}
	fprintf(stderr, "usage: plain CALL COUNT [threads]\n");
	return 2;
}
