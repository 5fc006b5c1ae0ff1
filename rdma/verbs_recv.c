/* The program's receives between hosts: what is there is taken, sleep is the kernel's. */
#include "call.h"
#include "real.h"
#include "spin.h"
#include "stats.h"
#include "sys.h"
#include "verbs_recv.h"

#include <pthread.h>

static void take_locked(struct receiving *w)
{
	struct side *me = &w->v->side;
	size_t got = w->got;

	side_lock(&me->c);
	if (w->peek) {
		recv_settle(w);
		recv_walk(w, false);
	} else {
		recv_take(w);
		if (w->rang && !w->err)
			recv_settle(w);
	}
	recv_end_advert(w, false);
	recv_learn(w, w->got - got);
	w->err = load_rlx(me->err);
	if (w->err && !w->got && !w->peek) /* the program hears of it now */
		store_rlx(me->err, 0);
	verbs_answer_withdrawal(w->vs, link_in(w->vs));
	side_unlock(&me->c);
}

static bool is_blocking(const struct receiving *w)
{
	return !load_rlx(w->vs->base.nonblock) && !(w->flags & MSG_DONTWAIT);
}

static bool satisfied(const struct receiving *w)
{
	int lowat = load_rlx(w->vs->base.lowat);

	if (!w->c.left)
		return true;
	if (!w->got || (w->flags & MSG_WAITALL && !w->peek && is_blocking(w)))
		return false;
	return w->peek || !is_blocking(w) || lowat <= 1 || w->got >= (size_t)lowat;
}

static ssize_t answer(const struct receiving *w, ssize_t otherwise)
{
	return w->got ? (ssize_t)w->got : otherwise;
}

static bool peeks_again(struct receiving *w, struct signal_mark mark)
{
	return is_blocking(w) && patience_peeks_again(&w->patience, w->fd, w->flags, mark, &w->c, &w->got);
}

/* Looks at TCP by sleeping there first: what it sees is taken without another look. */
static bool sees_asleep(const struct receiving *w)
{
	return is_blocking(w) && !w->peek && load_rlx(w->v->framed) && !w->v->in.left && load_rlx(w->vs->base.lowat) <= 1;
}

static ssize_t look_asleep(struct receiving *w, bool counted)
{
	struct stream *s = &w->vs->base;
	struct ahead *a = w->ahead;
	ssize_t k;

	a->n = 0;
	a->taken = load_acq(w->v->taken);
	call_sleeps(s, counted);
	pthread_cleanup_push(call_cancelled, s);
	bool unsure = is_blocking(w) && load_rlx(stream_unsure);
	k = unsure ? patience_unsure(&w->patience, s, w->fd) : patience_left(&w->patience, s, w->fd, is_blocking(w));
	if (!k) {
		k = real.recv(stream_fd(s, w->fd), a->bytes, sees_asleep(w) ? WINDOW : 1, (w->flags & ~MSG_WAITALL) | MSG_PEEK);
		k = k < 0 ? -errno : k;
	}
	pthread_cleanup_pop(0);
	call_wakes(s);
	patience_slept(&w->patience);
	if (k > 1)
		a->n = (size_t)k;
	return k;
}

/* The kernel's answer is ours.  False: there is something to take. */
static bool sleep_in_kernel(struct receiving *w, struct signal_mark mark, ssize_t *ret)
{
	struct stream *s = &w->vs->base;
	bool sleeps = is_blocking(w);
	ssize_t k = 1;

	if (sleeps)
		stream_sleep_begin(s);
	if (sleeps && signal_mark().breaking != mark.breaking)
		k = -EINTR;
	else if (!verbs_ring_has(w->vs))
		k = look_asleep(w, sleeps);
	if (sleeps)
		stream_sleep_end(s);
	w->fd = stream_fd(&w->vs->base, w->fd);
	if (k > 0)
		return false;
	*ret = k;
	return !verbs_ring_has(w->vs);
}

/* What a signal of this call interrupts has not slept yet. */
static ssize_t take_asleep(struct receiving *w, bool interrupted)
{
	struct stream *s = &w->vs->base;
	struct iovec iov[INLINE_IOV];
	struct msghdr m = { .msg_iov = iov };
	int flags = (w->flags & ~MSG_WAITALL) | (interrupted ? MSG_DONTWAIT : 0);
	size_t asked;
	ssize_t k;

	m.msg_iovlen = (size_t)cursor_export(&w->c, iov, INLINE_IOV, SIZE_MAX, &asked);
	stat_inc(STAT_net_direct);
	call_sleeps(s, true);
	pthread_cleanup_push(call_cancelled, s);
	k = patience_left(&w->patience, s, w->fd, is_blocking(w) && !interrupted);
	if (!k) {
		int fd = stream_fd(s, w->fd);
		k = m.msg_iovlen == 1 ? real.recv(fd, iov[0].iov_base, iov[0].iov_len, flags) : real.recvmsg(fd, &m, flags);
		if (k < 0)
			k = interrupted && errno == EAGAIN ? -EINTR : -errno;
	}
	pthread_cleanup_pop(0);
	call_wakes(s);
	patience_slept(&w->patience);
	return k;
}

static bool take_direct(struct receiving *w, struct signal_mark mark, ssize_t *ret)
{
	struct stream *s = &w->vs->base;

	if (!recv_begin_direct(w))
		return false;
	stream_sleep_begin(s);
	*ret = take_asleep(w, signal_mark().breaking != mark.breaking);
	stream_sleep_end(s);
	w->fd = stream_fd(s, w->fd);
	recv_end_direct(w, *ret);
	if (w->got && *ret < 0)
		side_keep_error(&w->v->side, *ret);
	return true;
}

/* The kernel's own call, with the program's buffer.  False: it cannot be, nothing done. */
static bool receive_direct(struct receiving *w, struct signal_mark mark, ssize_t *ret)
{
	if (load_rlx(w->v->framed) || !is_blocking(w) || w->peek)
		return false;
	call_takes(&w->v->direct);
	bool done = take_direct(w, mark, ret);
	call_takes(NULL);
	return done;
}

static ssize_t receive(struct receiving *w, struct signal_mark mark)
{
	ssize_t k;

	w->beside = sees_asleep(w);
	for (;;) {
		w->fd = stream_fd(&w->vs->base, w->fd);
		if (receive_direct(w, mark, &k)) {
			if (k > 0 && w->c.left && w->flags & MSG_WAITALL)
				continue;
			return answer(w, k);
		}
		take_locked(w);
		if (w->beside && w->got && w->c.left) { /* TCP may hold more of what has been peeked or counted */
			w->beside = false;
			continue;
		}
		if (peeks_again(w, mark))
			continue;
		if (satisfied(w))
			return (ssize_t)w->got;
		if (w->err)
			return answer(w, -w->err);
		if (load_rlx(w->v->side.broken))
			return answer(w, -ECONNRESET);
		if (w->eof) {
			if (!verbs_ring_has(w->vs))
				return answer(w, 0);
			w->eof = false;
			continue;
		}
		if (is_blocking(w) && !w->peek)
			recv_advertise(w);
		enum spin_end e = is_blocking(w) ? stream_spin(&w->vs->base, w->fd, mark, verbs_wait_ready) : SPIN_NOTHING;
		if (e == SPIN_INTERRUPTED)
			return answer(w, -EINTR);
		w->beside = e == SPIN_DATA && !w->peek && verbs_ring_has(w->vs);
		if (e != SPIN_DATA && sleep_in_kernel(w, mark, &k))
			return answer(w, k);
	}
}

static ssize_t receive_nothing(struct verbs_stream *vs, int fd, int flags)
{
	char byte;

	if (verbs_ring_has(vs))
		return 0;
	ssize_t k = real.recv(fd, &byte, 0, flags);
	return k < 0 ? -errno : k;
}

ssize_t verbs_recv(struct stream *s, int fd, const struct iovec *iov, int cnt, struct stream_opts o)
{
	struct verbs_stream *vs = verbs_of(s);
	struct ahead ahead;
	struct receiving w = {
		.vs = vs, .v = vs->v, .fd = fd, .flags = o.flags, .c = cursor_init(iov, cnt), .peek = !!(o.flags & MSG_PEEK),
		.ahead = &ahead,
	};

	ahead.n = 0;
	stream_reclaim();
	verbs_enter(vs);
	if (!w.c.left)
		return receive_nothing(vs, fd, o.flags);
	w.patience.whole = w.c;
	call_begin(s);
	ssize_t ret = receive(&w, o.mark);
	if (w.advert) {
		side_lock(&w.v->side.c);
		recv_end_advert(&w, true);
		side_unlock(&w.v->side.c);
		ret = answer(&w, ret);
	}
	call_end();
	return ret;
}

int verbs_available(struct stream *s, int fd)
{
	struct verbs_stream *vs = verbs_of(s);
	struct receiving w = { .vs = vs, .v = vs->v, .fd = fd };

	side_lock(&s->side->c);
	recv_settle(&w);
	size_t n = recv_walk(&w, true);
	side_unlock(&s->side->c);
	return n < INT32_MAX ? (int)n : INT32_MAX;
}

void verbs_settle(struct verbs_stream *vs, int fd)
{
	struct receiving w = { .vs = vs, .v = vs->v, .fd = fd };

	side_lock(&vs->v->side.c);
	recv_settle(&w);
	side_unlock(&vs->v->side.c);
}

/* Heads without payload behind them are none of the program's business. */
enum readable verbs_really_readable(struct stream *s, int fd)
{
	struct verbs_stream *vs = verbs_of(s);
	char byte;

	if (verbs_ring_has(vs) || recv_bounce_has(vs->v) || load_rlx(s->side->err) || load_rlx(s->side->broken))
		return READABLE_YES;
	side_lock(&s->side->c);
	struct receiving w = { .vs = vs, .v = vs->v, .fd = fd };
	while (!load_rlx(vs->v->framed) && vs->v->spare_at == vs->v->spare_end && load_rlx(vs->v->rx_at) == load_rlx(vs->v->mark_at) &&
	       recv_look_for_mark(&w))
		;
	recv_settle(&w);
	side_unlock(&s->side->c);
	if (verbs_ring_has(vs) || vs->v->spare_at != vs->v->spare_end || load_rlx(s->side->err))
		return READABLE_YES;
	long k = sys_call(SYS_recvfrom, fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT, 0, 0);
	side_keep_error(&vs->v->side, k);
	return k == -EAGAIN ? READABLE_NO : READABLE_YES;
}

enum readiness verbs_wait_ready(struct stream *s)
{
	struct verbs_stream *vs = verbs_of(s);

	if (load_rlx(s->lowat) > 1 || load_rlx(s->side->broken))
		return READY_KERNEL;
	if (verbs_ring_has(vs) || recv_bounce_has(vs->v) || vs->v->spare_at != vs->v->spare_end)
		return READY_YES;
	return verbs_is_unrung(vs) ? READY_NO : READY_KERNEL;
}
