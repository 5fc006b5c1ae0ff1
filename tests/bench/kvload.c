/*
 * Load for memcached: kvload PORT CONNECTIONS SIZE SECONDS.
 *
 * One thread, one epoll set, one request in flight on each connection: nine gets to one set of SIZE
 * bytes.  Every value that comes back is compared.  Prints requests per second as JSON.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct conn {
	int fd;
	unsigned turn;
	size_t have;
	char *in;
};

static size_t size;
static char *value, *set_request;
static size_t set_len;

static void die(const char *what)
{
	fprintf(stderr, "kvload: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void make_requests(void)
{
	value = malloc(size);
	set_request = malloc(size + 64);
	for (size_t i = 0; i < size; i++)
		value[i] = (char)('a' + i % 23);
	set_len = (size_t)sprintf(set_request, "set key 0 0 %zu\r\n", size);
	memcpy(set_request + set_len, value, size);
	memcpy(set_request + set_len + size, "\r\n", 2);
	set_len += size + 2;
}

static void put_all(int fd, const char *buf, size_t n)
{
	while (n) {
		ssize_t put = send(fd, buf, n, MSG_NOSIGNAL);
		if (put <= 0)
			die("send");
		buf += put;
		n -= (size_t)put;
	}
}

static void request(struct conn *c)
{
	c->have = 0;
	if (c->turn++ % 10 == 0)
		put_all(c->fd, set_request, set_len);
	else
		put_all(c->fd, "get key\r\n", 9);
}

/* 1: the answer is complete and right. */
static int answered(struct conn *c)
{
	char head[64];
	int n = snprintf(head, sizeof(head), "VALUE key 0 %zu\r\n", size);
	size_t whole = (size_t)n + size + 7;

	if (c->have >= 8 && !memcmp(c->in, "STORED\r\n", 8))
		return 1;
	if (c->have < whole)
		return 0;
	errno = EBADMSG;
	if (memcmp(c->in, head, (size_t)n) || memcmp(c->in + n, value, size) || memcmp(c->in + whole - 5, "END\r\n", 5))
		die("wrong answer");
	return 1;
}

static int take(struct conn *c)
{
	ssize_t got = recv(c->fd, c->in + c->have, size + 128 - c->have, MSG_DONTWAIT);
	if (got < 0 && errno == EAGAIN)
		return 0;
	if (got <= 0)
		die("recv");
	c->have += (size_t)got;
	return answered(c);
}

static void dial(struct conn *c, int port, int ep)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((unsigned short)port) };
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = c };

	c->fd = socket(AF_INET, SOCK_STREAM, 0);
	c->in = malloc(size + 128);
	if (connect(c->fd, (void *)&a, sizeof(a)) || epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &ev))
		die("connect");
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	request(c);
}

int main(int argc, char **argv)
{
	if (argc != 5) {
		fprintf(stderr, "usage: kvload PORT CONNECTIONS SIZE SECONDS\n");
		return 2;
	}
	int count = atoi(argv[2]), ep = epoll_create1(0);
	struct conn *conn = calloc((size_t)count, sizeof(*conn));
	struct epoll_event ev[64];
	unsigned long done = 0;

	size = strtoull(argv[3], NULL, 10);
	make_requests();
	for (int i = 0; i < count; i++)
		dial(&conn[i], atoi(argv[1]), ep);
	double start = now(), end = start + atof(argv[4]);
	while (now() < end) {
		int n = epoll_wait(ep, ev, 64, 1000);
		for (int i = 0; i < n; i++) {
			struct conn *c = ev[i].data.ptr;
			if (!take(c))
				continue;
			done++;
			request(c);
		}
	}
	printf("{\"requests_s\": %.1f}\n", (double)done / (now() - start));
	return done == 0;
}
