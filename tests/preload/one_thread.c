/* Both ends in one thread, non-blocking, as an event loop's own tests have them: nothing may wait
 * for the other side inside a call. */
#include "pair.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>

#define TOTAL (12 << 20)

struct half {
	int fd;
	struct end e;
	size_t sent, got;
};

static void step_send(struct half *h, size_t chunk)
{
	static char buf[1 << 20];
	uint64_t at = h->e.out;
	ssize_t r;

	if (h->sent == TOTAL)
		return;
	chunk = chunk < TOTAL - h->sent ? chunk : TOTAL - h->sent;
	make(&h->e, buf, chunk);
	r = send(h->fd, buf, chunk, MSG_NOSIGNAL);
	check(r > 0 || (r < 0 && errno == EAGAIN));
	r = r > 0 ? r : 0;
	h->e.out = at + r;
	h->sent += r;
}

static void step_recv(struct half *h)
{
	static char buf[1 << 20];
	ssize_t r = recv(h->fd, buf, sizeof(buf), 0);

	check(r > 0 || (r < 0 && errno == EAGAIN));
	if (r > 0) {
		took(&h->e, buf, r);
		h->got += r;
	}
}

static void run(struct half h[2], size_t chunk)
{
	int ep = epoll_create1(0);

	for (int i = 0; i < 2; i++) {
		struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT, .data.u32 = i };

		check(!epoll_ctl(ep, EPOLL_CTL_ADD, h[i].fd, &ev));
		h[i].sent = h[i].got = 0;
	}
	while (h[0].got < TOTAL || h[1].got < TOTAL) {
		struct epoll_event ev[2];
		int n = epoll_wait(ep, ev, 2, -1);

		check(n > 0);
		for (int i = 0; i < n; i++) {
			if (ev[i].events & EPOLLIN)
				step_recv(&h[ev[i].data.u32]);
			if (ev[i].events & EPOLLOUT)
				step_send(&h[ev[i].data.u32], chunk);
		}
	}
	close(ep);
	say("pieces of %zu", chunk);
}

static void solo(struct end *e)
{
	int port, l = open_listener(AF_INET, &port);
	struct half h[2] = { { .e.role = CLIENT }, { .e.role = SERVER } };

	h[0].fd = connect_port(AF_INET, port);
	h[1].fd = accept(l, NULL, NULL);
	for (int i = 0; i < 2; i++)
		check(!fcntl(h[i].fd, F_SETFL, O_NONBLOCK));
	run(h, 500);
	run(h, 60000);
	run(h, 1 << 20);
	for (int i = 0; i < 2; i++)
		close(h[i].fd);
	close(l);
}

const struct pair pair = { .solo = solo };
