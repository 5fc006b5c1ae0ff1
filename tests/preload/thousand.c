/* 1,000 connections at once, all of them used, small and large, by one epoll loop that echoes. */
#include "pair.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#define CONNS 1000
static const size_t sizes[] = { 10, 3000, 40000, 20 };

static void raise_limit(void)
{
	struct rlimit l;

	getrlimit(RLIMIT_NOFILE, &l);
	l.rlim_cur = l.rlim_max < 4096 ? l.rlim_max : 4096;
	setrlimit(RLIMIT_NOFILE, &l);
	check(l.rlim_cur >= CONNS + 50);
}

static void echo(int fd, int *open_conns)
{
	static char buf[65536];
	ssize_t r = read(fd, buf, sizeof(buf));

	check(r >= 0);
	for (ssize_t done = 0; done < r;) {
		ssize_t w = send(fd, buf + done, r - done, MSG_NOSIGNAL);

		check(w > 0);
		done += w;
	}
	if (!r) {
		close(fd);
		--*open_conns;
	}
}

static void server(struct end *e)
{
	int ep = epoll_create1(0), open_conns = CONNS;
	struct epoll_event ev[64];

	raise_limit();
	for (int i = 0; i < CONNS; i++) {
		struct epoll_event in = { .events = EPOLLIN,
			.data.fd = accept(e->listener, NULL, NULL) };

		check(in.data.fd >= 0 && !epoll_ctl(ep, EPOLL_CTL_ADD, in.data.fd, &in));
	}
	say("all connected");
	while (open_conns) {
		int n = epoll_wait(ep, ev, 64, -1);

		check(n > 0);
		for (int i = 0; i < n; i++)
			echo(ev[i].data.fd, &open_conns);
	}
	close(ep);
	say("all closed");
}

static void echoed(struct end *e, int fd, size_t n)
{
	char *sent = malloc(n), *got = malloc(n);

	make(e, sent, n);
	check(send(fd, sent, n, MSG_NOSIGNAL) == (ssize_t)n);
	check(recv(fd, got, n, MSG_WAITALL) == (ssize_t)n);
	check(!memcmp(sent, got, n));
	free(sent);
	free(got);
}

static void client(struct end *e)
{
	static int fds[CONNS];

	raise_limit();
	for (int i = 0; i < CONNS; i++)
		fds[i] = connect_port(e->family, e->port);
	for (size_t k = 0; k < 4; k++) {
		for (int i = 0; i < CONNS; i++)
			echoed(e, fds[i], sizes[k]);
		say("%zu bytes echoed on each", sizes[k]);
	}
	for (int i = 0; i < CONNS; i++)
		close(fds[i]);
	say("mappings that are left: %d", count_maps("memfd:"));
}

const struct pair pair = { .client = client, .server = server, .unconnected = 1 };
