/* A stream's two ends over simulated devices, both the library's, and what each has sent and had, checked. */
#pragma once
#include "device.h"

#include "tcp_pair.h"
#include "verbs_io.h"

#include <errno.h>
#include <sched.h>
#include <unistd.h>

enum { RING_BYTES = 65536, ROOM = 1 << 17 };

static struct end {
	int fd;
	struct rdma_cm_id *id;
	struct links *links;
	struct stream *s;
	uint64_t sent, had;
} ends[2];

static inline void connect_tcp(void)
{
	int fd[2];

	if (!tcp_pair(fd))
		sim_wrong("no connection");
	for (int i = 0; i < 2; i++)
		ends[i].fd = fd[i];
}

static inline void make_ends(void)
{
	static const uint8_t mark[2][MARK_BYTES] = { "from connecting", "from accepting " };
	static char no_meeting[4096];
	struct link *l[2];
	struct device *d;

	connect_tcp();
	for (int i = 0; i < 2; i++) {
		ends[i].id = sim_id_create(i);
		if (device_of(ends[i].id, &d) || link_create(d, ends[i].id, (struct meeting *)no_meeting, RING_BYTES, false, &l[i]))
			sim_wrong("no link");
		ends[i].links = l[i]->links;
	}
	sim_connect(ends[0].id, ends[1].id);
	for (int i = 0; i < 2; i++) {
		l[i]->peer_ring = (uintptr_t)l[!i]->ring;
		l[i]->peer_rkey = l[!i]->rkey;
		l[i]->intro_here = l[i]->calms = true;
		store_rel(l[i]->state, LINK_UP);
		if (verbs_stream_create(l[i], i, mark, &ends[i].s))
			sim_wrong("no stream");
		stream_take_tx(ends[i].s, ends[i].fd, 0);
		stream_take_rx(ends[i].s, ends[i].fd, 0);
	}
}

static inline struct verbs_side *side_of(int i)
{
	return verbs_of(ends[i].s)->v;
}

/* All that the peers have said is known. */
static inline void listen_to_devices(void)
{
	while (!sim_is_idle())
		sched_yield();
	for (struct device *d = device_next(NULL); d; d = device_next(d))
		device_poll(d);
}

static inline uint8_t byte_at(uint64_t at)
{
	return (uint8_t)((at * 2654435761u) >> 13 ^ at);
}

static inline struct stream_opts options(int flags)
{
	return (struct stream_opts){ .flags = flags | MSG_NOSIGNAL, .mark = signal_mark() };
}

static inline void put(int i, size_t n)
{
	static uint8_t buf[2][ROOM];
	struct iovec v = { buf[i], n };

	for (size_t k = 0; k < n; k++)
		buf[i][k] = byte_at(ends[i].sent + k);
	if (stream_send(ends[i].s, ends[i].fd, &v, 1, options(0)) != (ssize_t)n)
		sim_wrong("end %d does not send %zu", i, n);
	ends[i].sent += n;
}

static inline ssize_t take(int i, size_t n, int flags)
{
	uint8_t buf[ROOM];
	struct iovec v = { buf, n };
	ssize_t k = stream_recv(ends[i].s, ends[i].fd, &v, 1, options(flags));

	for (ssize_t b = 0; b < k; b++)
		if (buf[b] != byte_at(ends[i].had + (size_t)b))
			sim_wrong("end %d: byte %llu", i, (unsigned long long)ends[i].had + (unsigned long long)b);
	ends[i].had += k > 0 ? (uint64_t)k : 0;
	return k;
}

static inline void get(int i, size_t n, int flags)
{
	ssize_t k = take(i, n, flags);

	if (k != (ssize_t)n)
		sim_wrong("end %d: %zd of %zu", i, k, n);
}
