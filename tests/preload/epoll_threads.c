/* One epoll set, four threads that wait on it: ONESHOT and re-arming, EXCLUSIVE, level; and a set
 * inside a set. Each request gets its answer exactly once. */
#include "pair.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#define THREADS 4
#define CONNS 8
#define REQUESTS 400

struct server_state {
	int ep, outer, oneshot;
	atomic_int left;
};

/* A request is its length in two bytes and as many bytes; the answer is the same. */
static int serve_one(int fd)
{
	unsigned char buf[70000];
	size_t n;
	ssize_t r = recv(fd, buf, 2, MSG_DONTWAIT);

	/* Another thread was faster, or all is answered and the client has gone. */
	if (!r || (r < 0 && errno == EAGAIN))
		return 0;
	if (r == 1)
		check(recv(fd, buf + 1, 1, MSG_WAITALL) == 1);
	check(r > 0);
	n = buf[0] | buf[1] << 8;
	check(!n || recv(fd, buf + 2, n, MSG_WAITALL) == (ssize_t)n);
	check(send(fd, buf, n + 2, MSG_NOSIGNAL) == (ssize_t)n + 2);
	return 1;
}

static void *serve(void *arg)
{
	struct server_state *s = arg;
	struct epoll_event ev;

	while (atomic_load(&s->left) > 0) {
		if (epoll_wait(s->outer, &ev, 1, 20) != 1)
			continue;
		if (s->outer != s->ep && epoll_wait(s->ep, &ev, 1, 0) != 1)
			continue;
		if (serve_one(ev.data.fd))
			atomic_fetch_sub(&s->left, 1);
		ev.events = EPOLLIN | EPOLLONESHOT;
		if (s->oneshot)
			check(!epoll_ctl(s->ep, EPOLL_CTL_MOD, ev.data.fd, &ev));
	}
	return NULL;
}

static void serve_all(struct end *e, const int *fds, unsigned flags, int nested)
{
	struct server_state s = { .oneshot = !!(flags & EPOLLONESHOT) };
	pthread_t t[THREADS];
	struct epoll_event ev = { .events = EPOLLIN };

	s.ep = s.outer = epoll_create1(0);
	atomic_store(&s.left, CONNS * REQUESTS);
	for (int i = 0; i < CONNS; i++) {
		struct epoll_event in = { .events = EPOLLIN | flags, .data.fd = fds[i] };

		check(!epoll_ctl(s.ep, EPOLL_CTL_ADD, fds[i], &in));
	}
	if (nested) {
		s.outer = epoll_create1(0);
		check(!epoll_ctl(s.outer, EPOLL_CTL_ADD, s.ep, &ev));
	}
	tell('g');
	/* Only with one-shot may several threads share a connection's bytes. */
	for (int i = 0; i < (s.oneshot ? THREADS : 1); i++)
		check(!pthread_create(&t[i], NULL, serve, &s));
	for (int i = 0; i < (s.oneshot ? THREADS : 1); i++)
		pthread_join(t[i], NULL);
	close(s.ep);
	if (nested)
		close(s.outer);
	say("served with %#x, nested %d", flags, nested);
}

static void server(struct end *e)
{
	int fds[CONNS];

	for (int i = 0; i < CONNS; i++)
		fds[i] = accept(e->listener, NULL, NULL);
	serve_all(e, fds, EPOLLONESHOT, 0);
	serve_all(e, fds, EPOLLEXCLUSIVE, 0);
	serve_all(e, fds, 0, 1);
	serve_all(e, fds, EPOLLONESHOT, 1);
	for (int i = 0; i < CONNS; i++)
		close(fds[i]);
}

static void client(struct end *e)
{
	static unsigned char out[70000], in[70000];
	int fds[CONNS];

	for (int i = 0; i < CONNS; i++)
		fds[i] = connect_port(e->family, e->port);
	for (int round = 0; round < 4; round++) {
		await('g');
		for (int k = 0; k < REQUESTS; k++)
			for (int i = 0; i < CONNS; i++) {
				int n = (k * 97 + i * 13) % (k % 50 ? 500 : 60000);

				memset(out, k + i, n + 2);
				out[0] = n & 255;
				out[1] = n >> 8;
				check(send(fds[i], out, n + 2, MSG_NOSIGNAL) == n + 2);
				check(recv(fds[i], in, n + 2, MSG_WAITALL) == n + 2);
				check(!memcmp(in, out, n + 2));
			}
	}
	for (int i = 0; i < CONNS; i++)
		close(fds[i]);
	say("all answered");
}

const struct pair pair = { .client = client, .server = server, .unconnected = 1 };
