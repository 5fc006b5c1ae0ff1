/* Two ends of a stream between hosts, without a device: what would lie in a ring is put there by hand. */
#pragma once
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>

#include "clock.h"
#include "process.h"
#include "real.h"
#include "settings.h"
#include "tcp_pair.h"
#include "verbs_io.h"

enum { RING = 4096 };

struct pair {
	int fd[2];
	struct stream *s[2];
	struct link *link[2];
};

static inline void connect_tcp(int *fd)
{
	cr_assert(tcp_pair(fd));
	for (int i = 0; i < 2; i++)
		fcntl(fd[i], F_SETFL, O_NONBLOCK);
}

static inline struct link *make_link(void)
{
	struct links *ls;

	cr_assert(!links_map(NULL, RING, &ls));
	store_rel(ls->link[0].state, LINK_DOWN);
	return &ls->link[0];
}

static inline struct pair make_pair(void)
{
	static const uint8_t mark[2][MARK_BYTES] = { "from connecting", "from accepting " };
	struct pair p;

	real_init();
	process_note();
	clock_init();
	settings.rdma_dead = 500000;
	cr_assert(verbs_is_ours()); /* the first that asks */
	connect_tcp(p.fd);
	for (int i = 0; i < 2; i++) {
		p.link[i] = make_link();
		cr_assert(!verbs_stream_create(p.link[i], i, mark, &p.s[i]));
		store_rlx(p.s[i]->nonblock, true);
	}
	return p;
}

static inline void end_pair(struct pair *p)
{
	for (int i = 0; i < 2; i++)
		close(p->fd[i]);
}

static inline ssize_t put(struct pair *p, const void *buf, size_t n)
{
	struct iovec v = { (void *)buf, n };

	return stream_send(p->s[0], p->fd[0], &v, 1, (struct stream_opts){ .flags = MSG_DONTWAIT, .mark = signal_mark() });
}

static inline ssize_t get(struct pair *p, void *buf, size_t n, int flags)
{
	struct iovec v = { buf, n };

	return stream_recv(p->s[1], p->fd[1], &v, 1, (struct stream_opts){ .flags = flags | MSG_DONTWAIT, .mark = signal_mark() });
}
