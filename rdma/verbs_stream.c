/* Creation and end of a stream between hosts, and its table. */
#include "log.h"
#include "process.h"
#include "spin.h"
#include "stats.h"
#include "stream.h"
#include "sys.h"
#include "verbs.h"
#include "verbs_sending.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

int verbs_stream_create(struct link *l, int role, const uint8_t mark[2][MARK_BYTES], struct stream **ret_stream)
{
	struct verbs_stream *vs = calloc(1, sizeof(*vs));

	if (!vs)
		return -ENOMEM;
	struct verbs_side *v = mmap(NULL, sizeof(*v), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (v == MAP_FAILED) {
		free(vs);
		return -ENOMEM;
	}
	vs->v = v;
	vs->links = l->links;
	l->links->reader = vs;
	vs->base.ops = &transport_verbs;
	vs->base.side = &v->side;
	vs->base.role = role;
	vs->base.ring_bytes = l->ring_bytes;
	vs->base.peer_pidfd = -1;
	vs->base.moved_fd = -1;
	v->side.limit = l->ring_bytes;
	v->name = v->peer_name = l->name;
	v->frames_from = UINT64_MAX;
	v->mark_at = UINT64_MAX;
	vs->calm_after = CALM_AFTER;
	memcpy(v->mark_out, mark[role], MARK_BYTES);
	memcpy(v->mark_in, mark[!role], MARK_BYTES);
	stat_inc(STAT_net_open);
	*ret_stream = &vs->base;
	return 0;
}

static void destroy(struct stream *s)
{
	struct verbs_stream *vs = verbs_of(s);

	stat_add(STAT_net_open, (uint64_t)-1);
	if (verbs_is_ours()) {
		verbs_lock(&vs->links->lock);
		vs->links->reader = NULL;
		verbs_unlock(&vs->links->lock);
	}
	if (verbs_is_ours())
		verbs_meet_end(vs->links->meeting);
	else
		links_unmap(vs->links);
	munmap(vs->v, sizeof(*vs->v));
	free(vs);
}

/* Whoever holds a side's lock may be stopped, or dead with a fork's child: the thread has other links to tend. */
bool verbs_withdrawal(struct link *l)
{
	bool done = true;

	verbs_lock(&l->links->lock);
	struct verbs_stream *vs = l->links->reader;
	if (vs && link_is_up(l) && (done = side_trylock(&vs->v->side.c))) {
		verbs_answer_withdrawal(vs, l);
		side_unlock(&vs->v->side.c);
	}
	verbs_unlock(&l->links->lock);
	return done;
}

bool verbs_recall(struct link *l)
{
	bool done = true;

	verbs_lock(&l->links->lock);
	struct verbs_stream *vs = l->links->reader;
	if (vs && link_is_up(l) && (done = side_trylock(&vs->v->side.p))) {
		verbs_answer_recall(l);
		side_unlock(&vs->v->side.p);
	}
	verbs_unlock(&l->links->lock);
	return done;
}

void verbs_enter(struct verbs_stream *vs)
{
	if (__builtin_expect(verbs_is_ours(), 1))
		return;
	store_rlx(vs->v->forked, true);
	full_fence(); /* a new link comes up, then looks at `forked` */
	link_leave_to_parent(link_out(vs)); /* where it reads by another, that one has been let go */
}

static void take_tx(struct stream *s, int fd, uint64_t carried)
{
	store_rlx(verbs_of(s)->v->tx_at, carried);
}

/* What lies in TCP now was sent plain; from there on the sender may put its mark, when that pays. */
static void take_rx(struct stream *s, int fd, uint64_t carried)
{
	struct verbs_stream *vs = verbs_of(s);
	int queued = 0;

	store_rlx(vs->v->rx_at, carried);
	sys_call(SYS_ioctl, fd, FIONREAD, &queued);
	if (queued > PLAIN_MOST)
		store_rlx(vs->frames_pay, true);
	if (load_rlx(vs->frames_pay))
		verbs_propose(vs, carried + (uint64_t)queued);
}

static bool recvmsg_inline(struct stream *s, int fd, struct msghdr *msg, int flags, ssize_t *ret)
{
	return false;
}

static void shutdown_write(struct stream *s)
{
	side_lock(&s->side->p);
	store_rlx(s->side->shut, true);
	side_unlock(&s->side->p);
}

static void begin_raw_send(struct stream *s)
{
}

static void end_raw_send(struct stream *s, ssize_t sent)
{
}

static void set_lowat(struct stream *s, int fd, int v)
{
	store_rlx(s->lowat, v);
	side_lock(&s->side->c);
	verbs_tell_state(verbs_of(s));
	side_unlock(&s->side->c);
}

static void lowat_drained(struct stream *s, int fd)
{
}

/* Our direction at a frame's end; the peer is asked to do the same with its own. */
static void make_plain(struct stream *s, int fd)
{
	struct verbs_stream *vs = verbs_of(s);
	struct verbs_side *v = vs->v;

	if (!atomic_exchange(&s->side->plain, true))
		stat_inc(STAT_net_plain_again);
	side_lock(&s->side->p);
	bool framed = load_rlx(v->tx_at) >= v->frames_from;
	if (!framed) {
		v->frames_from = UINT64_MAX;
		flush_tail(vs, fd);
	} else if (send_plain_for_good(vs)) {
		flush_tail(vs, fd);
	}
	side_unlock(&s->side->p);
	side_lock(&s->side->c);
	verbs_tell_state(vs);
	side_unlock(&s->side->c);
	verbs_stop_polling(s);
	verbs_settle(vs, fd);
}

static void quiesce(struct stream *s, int fd, bool for_good)
{
	verbs_settle(verbs_of(s), fd);
}

static void set_edge(struct stream *s, bool yes)
{
	store_rel(verbs_of(s)->v->edge, yes);
	if (yes)
		verbs_stop_polling(s);
}

static bool is_edge(struct stream *s)
{
	return load_rlx(verbs_of(s)->v->edge);
}

static bool close_means_reset(struct stream *s, int fd)
{
	int n = 0;

	if (!verbs_ring_has(verbs_of(s)))
		return false;
	sys_call(SYS_ioctl, fd, FIONREAD, &n);
	return n == 0;
}

/* What was said stays said: see verbs_poll_begin. */
static void poll_end(struct stream *s)
{
}

static void adopted(struct stream *s, int fd)
{
}

const struct transport_ops transport_verbs = {
	.name = "RDMA",
	.stat = STAT_net_verbs,
	.send = verbs_send,
	.recv = verbs_recv,
	.recvmsg_inline = recvmsg_inline,
	.shutdown_write = shutdown_write,
	.available = verbs_available,
	.begin_raw_send = begin_raw_send,
	.end_raw_send = end_raw_send,
	.wait_ready = verbs_wait_ready,
	.really_readable = verbs_really_readable,
	.set_lowat = set_lowat,
	.lowat_drained = lowat_drained,
	.make_plain = make_plain,
	.quiesce = quiesce,
	.set_edge = set_edge,
	.is_edge = is_edge,
	.close_means_reset = close_means_reset,
	.sleep_begin = verbs_sleep_begin,
	.sleep_end = verbs_sleep_end,
	.poll_begin = verbs_poll_begin,
	.poll_end = poll_end,
	.may_spin = verbs_may_spin,
	.spin_result = spin_result,
	.spin_preempted = spin_preempted,
	.adopted = adopted,
	.take_tx = take_tx,
	.take_rx = take_rx,
	.destroy = destroy,
};
