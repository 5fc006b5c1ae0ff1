/*
 * The receiving half.  Order of the stream: ring up to a segment's x, then TCP from its a to its b
 * (doorbells before a are swallowed), then the next segment; behind the last one the ring, then an
 * offered block.  Everything but the sleeping kernel calls is under side->c.
 */
#include "call.h"
#include "consume.h"
#include "cursor.h"
#include "log.h"
#include "process.h"
#include "real.h"
#include "spin.h"
#include "stats.h"
#include "sys.h"

#include <pthread.h>
#include <string.h>

enum { INLINE_IOV = 64, PIECE = 131072, FINE_PIECE = 32768, LARGE = 262144 };

/* One recv() of the program on its way. */
struct receiving {
	struct stream *s;
	int fd, flags;
	struct cursor c;
	size_t got;
	bool peek, eof;
	int err;
	struct patience patience;
};

static void received(struct receiving *w, size_t n)
{
	w->got += n;
	cursor_advance(&w->c, n);
}

static void count_rr(struct stream *s, uint64_t n)
{
	uint64_t rr = load_rlx(s->side->rr) + n;

	store_rlx(s->side->rr, rr);
	store_rel(s->in->rr, rr);
}

static bool take_ring(struct receiving *w, uint64_t n)
{
	struct stream *s = w->s;
	size_t run = cursor_run(&w->c);

	if (n > s->ring_bytes) {
		stream_violation(s, w->fd, "ring position out of range");
		return false;
	}
	if (n > run)
		n = run;
	size_t piece = run < LARGE ? PIECE : FINE_PIECE; /* the sender of much sees room as it comes */
	if (n > piece)
		n = piece;
	uint64_t start = stores_take_begin(n);
	ring_get(s, cursor_ptr(&w->c), load_rlx(s->side->rr), n);
	stores_take_end(s, start);
	count_rr(s, n);
	stat_add(STAT_net_recv_ring, n);
	received(w, n);
	return true;
}

static ssize_t kernel_recv(struct receiving *w, size_t limit, int flags, size_t *ret_asked)
{
	struct iovec iov[INLINE_IOV];
	struct msghdr m = { .msg_iov = iov };

	m.msg_iovlen = (size_t)cursor_export(&w->c, iov, INLINE_IOV, limit, ret_asked);
	return sys_call(SYS_recvmsg, w->fd, &m, flags);
}

/* Returns what the call is to be taken for. */
static ssize_t kernel_answer(struct receiving *w, ssize_t k)
{
	if (stream_reset_is_end(w->s, w->fd, k))
		k = 0;
	if (k > 0) {
		if (!w->peek) {
			count_rx(w->s, (uint64_t)k);
			count_inline(STAT_net_recv_inline, (uint64_t)k);
		}
		received(w, (size_t)k);
	} else if (k == 0) {
		w->eof = true;
	} else if (k == -EAGAIN) {
		publish_rx(w->s);
	} else if (k != -EINTR) {
		w->err = (int)-k;
		store_rlx(w->s->side->reset_told, true);
	}
	return k;
}

/*
 * The mark of a thread that left its recv by longjmp is its own again at its next call.  A handler
 * that receives above a recv of the same stream uses that one's mark and leaves it in place.
 */
static bool mark_reading(struct stream *s, struct wire_seg *g)
{
	uint64_t open = SEG_OPEN;

	if (atomic_compare_exchange_strong(&g->b, &open, SEG_READING)) {
		store_rlx(s->side->reader, thread_id());
		return true;
	}
	return open == SEG_READING && load_rlx(s->side->reader) == thread_id();
}

/* The mark of a process that was killed inside its recv is nobody's. */
static void free_dead_mark(struct stream *s, struct wire_seg *g)
{
	static __thread TLS_IE unsigned misses;
	uint64_t reading = SEG_READING;

	if (++misses % 64 == 0 && load_acq(g->b) == SEG_READING && side_thread_dead(load_rlx(s->side->reader)))
		atomic_compare_exchange_strong(&g->b, &reading, SEG_OPEN);
}

static void unmark_reading(struct wire_seg *g)
{
	if (!signal_in_handler())
		store_rel(g->b, SEG_OPEN);
}

/* Inline bytes of segment g, without sleeping.  True: go on taking. */
static bool take_inline(struct receiving *w, struct wire_seg *g)
{
	struct stream *s = w->s;
	size_t asked, limit = SIZE_MAX;
	bool reading = false;

	stream_swallow(s, w->fd, load_rlx(g->a)); /* MUTATE: drain_inline */
	if ((int64_t)(load_rlx(g->a) - load_rlx(s->side->rx)) > 0)
		return false;
	uint64_t b = load_acq(g->b), rx = load_rlx(s->side->rx);
	if (SEG_CLOSED(b)) {
		if ((int64_t)(b - rx) <= 0) {
			next_segment(s);
			return true;
		}
		limit = b - rx;
	} else {
		if (!mark_reading(s, g)) {
			free_dead_mark(s, g);
			return SEG_CLOSED(load_acq(g->b));
		}
		reading = true;
	}
	ssize_t k = kernel_answer(w, kernel_recv(w, limit, MSG_DONTWAIT, &asked));
	if (reading)
		unmark_reading(g);
	if (k <= 0)
		return !reading && load_acq(g->b) != b;
	return !reading || (size_t)k == asked;
}

static bool take_block(struct receiving *w)
{
	ssize_t k = block_claim(w->s, w->fd, cursor_ptr(&w->c), cursor_run(&w->c));

	if (k > 0) {
		stat_add(STAT_net_recv_block, (uint64_t)k);
		received(w, (size_t)k);
	}
	return k > 0 || k == BLOCK_AGAIN;
}

/* Everything that is there now. */
static void take(struct receiving *w)
{
	struct stream *s = w->s;
	struct wire_dir *d = s->in;

	while (w->c.left && !w->eof && !w->err && !load_rlx(s->side->broken)) {
		uint64_t rw = load_acq(d->rw); /* before segw, never after: see rdma/README.md */
		uint32_t seg_w = load_acq(d->segw), r = load_rlx(s->side->segr);
		struct wire_seg *g = r != seg_w ? in_seg(s, r) : NULL;
		uint64_t n = (g ? load_rlx(g->x) : rw) - load_rlx(s->side->rr);
		if (n) {
			if (!take_ring(w, n))
				return;
			continue;
		}
		if (g) {
			if (!take_inline(w, g))
				return;
			continue;
		}
		if (offered(s) ? !take_block(w) : load_acq(d->rw) == rw && load_acq(d->segw) == seg_w)
			return; /* else it came between the looks, as a block taken back does */
	}
}

static void peek_ring(struct receiving *w, uint64_t from, uint64_t to)
{
	while (from != to && w->c.left) {
		uint64_t n = to - from;
		if (n > cursor_run(&w->c))
			n = cursor_run(&w->c);
		ring_get(w->s, cursor_ptr(&w->c), from, n);
		received(w, n);
		from += n;
	}
}

enum { SKIP_IOVS = 256, SKIP_BYTES = 16384 };

/* What TCP holds from `from` on, straight into the program's buffer: at most n bytes. What lies before goes nowhere. */
static size_t peek_tcp(struct receiving *w, uint64_t from, size_t n)
{
	char nowhere[SKIP_BYTES];
	struct iovec iov[SKIP_IOVS + 1];
	struct msghdr m = { .msg_iov = iov };

	for (uint64_t left = from; left && m.msg_iovlen < SKIP_IOVS; left -= iov[m.msg_iovlen++].iov_len)
		iov[m.msg_iovlen] = (struct iovec){ nowhere, left < sizeof(nowhere) ? left : sizeof(nowhere) };
	iov[m.msg_iovlen++] = (struct iovec){ cursor_ptr(&w->c), n };
	long k = from > (uint64_t)SKIP_IOVS * SKIP_BYTES ? 0 : sys_call(SYS_recvmsg, w->fd, &m, MSG_PEEK | MSG_DONTWAIT);
	stream_keep_error(w->s, w->fd, k);
	return k > 0 && (uint64_t)k > from ? (uint64_t)k - from : 0;
}

/* Where g ends, counted from what TCP holds next. */
static uint64_t inline_end(const struct receiving *w, struct wire_seg *g)
{
	uint64_t b = load_acq(g->b), rx = load_rlx(w->s->side->rx);

	if (!SEG_CLOSED(b))
		return UINT64_MAX;
	return (int64_t)(b - rx) > 0 ? b - rx : 0;
}

/*
 * The inline bytes of g that have arrived; false: not all of a finished segment have.  A segment may be finished
 * while its bytes are looked at, and what TCP holds behind them are doorbells then.
 */
static bool peek_inline(struct receiving *w, struct wire_seg *g)
{
	uint64_t rx = load_rlx(w->s->side->rx), a = load_rlx(g->a);
	uint64_t from = (int64_t)(a - rx) > 0 ? a - rx : 0, to = inline_end(w, g);

	while (from < to && w->c.left) {
		size_t most = cursor_run(&w->c), n = peek_tcp(w, from, to - from < most ? to - from : most);
		to = inline_end(w, g); /* what was finished meanwhile has doorbells behind it */
		if (!n || from >= to)
			break;
		if (n > to - from)
			n = to - from;
		received(w, n);
		from += n;
	}
	return to != UINT64_MAX && from >= to;
}

/* MSG_PEEK: everything that is there, taken from nowhere; an offer is pulled into the ring first. */
static void peek(struct receiving *w)
{
	struct stream *s = w->s;
	uint64_t at = load_rlx(s->side->rr), rw = load_acq(s->in->rw);
	uint32_t end = load_acq(s->in->segw), i = load_rlx(s->side->segr);

	if (rw - at > s->ring_bytes || end - i > WIRE_SEGMENTS) {
		stream_violation(s, w->fd, "ring position out of range");
		return;
	}
	for (; i != end && w->c.left; i++) {
		struct wire_seg *g = in_seg(s, i);
		uint64_t x = load_rlx(g->x);
		if (x - at > s->ring_bytes)
			return;
		peek_ring(w, at, x);
		at = x;
		if (!peek_inline(w, g))
			return;
	}
	if ((int64_t)(rw - at) > 0) /* else a segment came after it was looked at */
		peek_ring(w, at, rw);
	if (!w->got && offered(s) && block_claim(s, w->fd, NULL, 0) == BLOCK_AGAIN)
		peek_ring(w, at, load_acq(s->in->rw));
}

static void take_locked(struct receiving *w)
{
	struct side *me = w->s->side;

	side_lock(&me->c);
	if (load_rlx(w->s->cma) == CMA_UNKNOWN) /* the sender may not offer before we have tried too */
		cma_self_test(w->s);
	if (w->peek) {
		stream_settle(w->s, w->fd);
		peek(w);
	} else {
		take(w);
	}
	stream_settle(w->s, w->fd);
	if (w->err && w->got)
		store_rlx(me->err, w->err);
	else if (!w->got && !w->err) /* met before, behind what was there to be read */
		w->err = w->peek ? load_rlx(me->err) : -side_kept_error(me);
	side_unlock(&me->c);
}

static bool satisfied(const struct receiving *w)
{
	return !w->c.left || (w->got && (!(w->flags & MSG_WAITALL) || w->peek));
}

static ssize_t answer(const struct receiving *w, ssize_t otherwise)
{
	return w->got ? (ssize_t)w->got : otherwise;
}

/* Marks the open segment g if it is all there is to the stream. */
static bool begin_direct(struct stream *s, struct wire_seg *g)
{
	uint32_t r = load_rlx(s->side->segr);

	if (!stream_inline_open(s) || g != in_seg(s, r))
		return false;
	call_marks(&g->b);
	if (!mark_reading(s, g))
		return false;
	if (load_rlx(s->side->segr) == r) /* MUTATE: direct_recheck */
		return true;
	unmark_reading(g);
	return false;
}

static bool is_blocking(const struct receiving *w)
{
	return !load_rlx(w->s->nonblock) && !(w->flags & MSG_DONTWAIT);
}

static bool peeks_again(struct receiving *w, struct signal_mark mark)
{
	return is_blocking(w) && patience_peeks_again(&w->patience, w->fd, w->flags, mark, &w->c, &w->got);
}

static ssize_t kernel_receives(struct receiving *w, struct msghdr *m)
{
	int flags = w->flags & ~MSG_WAITALL;
	ssize_t k;

	publish_rx(w->s);
	call_sleeps(w->s, false);
	pthread_cleanup_push(call_cancelled, w->s);
	k = patience_left(&w->patience, w->s, w->fd, is_blocking(w));
	if (!k) {
		int fd = stream_fd(w->s, w->fd);
		k = m->msg_iovlen == 1 ? real.recv(fd, m->msg_iov->iov_base, m->msg_iov->iov_len, flags) : real.recvmsg(fd, m, flags);
		k = k < 0 ? -errno : k;
	}
	pthread_cleanup_pop(0);
	call_wakes(w->s);
	patience_slept(&w->patience);
	return k;
}

/*
 * The real call with the program's buffer, which the open segment allows: the producer cannot close it meanwhile.  False: not
 * possible, nothing done.
 */
static bool receive_direct(struct receiving *w, ssize_t *ret)
{
	struct stream *s = w->s;
	struct wire_seg *g = in_seg(s, load_rlx(s->side->segr));
	struct iovec iov[INLINE_IOV];
	struct msghdr m = { .msg_iov = iov };
	size_t asked;

	if (load_acq(s->side->err) || !begin_direct(s, g))
		return false;
	stat_inc(STAT_net_direct);
	m.msg_iovlen = (size_t)cursor_export(&w->c, iov, INLINE_IOV, SIZE_MAX, &asked);
	*ret = kernel_answer(w, kernel_receives(w, &m));
	unmark_reading(g);
	return true;
}

static ssize_t end_or_reset(struct stream *s, int fd)
{
	bool told;

	if (!stream_end_is_reset(s, fd, &told))
		return 0;
	if (told) /* by this call */
		stream_take_error(fd);
	store_rlx(s->side->reset_told, true);
	return -ECONNRESET;
}

/* The real call, with the program's own flags and its cancellation point. */
static ssize_t peek_byte(struct receiving *w, bool counted)
{
	char byte;
	ssize_t k;

	call_sleeps(w->s, counted);
	pthread_cleanup_push(call_cancelled, w->s);
	k = patience_left(&w->patience, w->s, w->fd, is_blocking(w));
	if (!k) {
		k = real.recv(stream_fd(w->s, w->fd), &byte, 1, (w->flags & ~MSG_WAITALL) | MSG_PEEK);
		k = k < 0 ? -errno : k;
	}
	pthread_cleanup_pop(0);
	call_wakes(w->s);
	patience_slept(&w->patience);
	return k;
}

/* What the kernel says when it has to answer: a time-out, EAGAIN, an interruption, the end. */
static bool sleep_on_token(struct receiving *w, struct signal_mark mark, ssize_t *ret)
{
	struct stream *s = w->s;
	bool may_sleep = !(w->flags & MSG_DONTWAIT);
	ssize_t k = 1;

	if (may_sleep) {
		shm_sleep_begin(s); /* MUTATE: sleepers */
		stat_inc(STAT_net_sleeps);
	}
	enum readiness r = stream_ready(s); /* MUTATE: recheck_before_sleep */
	if (r != READY_YES) {
		if (may_sleep && !load_rlx(s->nonblock) && signal_mark().breaking != mark.breaking)
			k = -EINTR;
		else
			k = peek_byte(w, may_sleep);
	}
	if (may_sleep)
		shm_sleep_end(s);
	w->fd = stream_fd(s, w->fd);
	if (stream_reset_is_end(s, w->fd, k))
		k = 0;
	if (k < 0) {
		*ret = k;
		if (k == -ECONNRESET)
			store_rlx(s->side->reset_told, true);
		if (stream_ready(s) != READY_YES)
			return true;
		side_keep_error(s->side, k);
		return false;
	}
	if (k == 0) {
		*ret = 0;
		if (stream_ready(s) == READY_YES)
			return false;
		*ret = end_or_reset(s, w->fd);
		side_lock(&s->side->c);
		stream_settle(s, w->fd);
		side_unlock(&s->side->c);
		return stream_ready(s) != READY_YES;
	}
	if (r != READY_YES && stream_ready(s) == READY_NO)
		stream_settle_late(s, w->fd);
	return false;
}

/* An open segment needs no lock; a producer that wants to switch must get its chance. */
static bool try_direct(struct receiving *w, ssize_t *ret)
{
	struct stream *s = w->s;

	if (is_blocking(w) && (load_rlx(s->in->want_switch) || shm_may_spin(s)))
		return false;
	return receive_direct(w, ret);
}

/* The kernel told an error after bytes were taken: those first, the error at the next call. */
static ssize_t direct_answer(struct receiving *w, ssize_t k)
{
	if (w->got && w->err)
		store_rlx(w->s->side->err, w->err);
	return answer(w, k ? k : end_or_reset(w->s, w->fd));
}

static ssize_t receive(struct receiving *w, struct signal_mark mark)
{
	ssize_t k = 0;

	for (;;) {
		w->fd = stream_fd(w->s, w->fd);
		if (try_direct(w, &k)) {
			if (k <= 0)
				return direct_answer(w, k);
			if (peeks_again(w, mark))
				continue;
			if (satisfied(w))
				return (ssize_t)w->got;
			if (!is_blocking(w))
				continue;
		}
		take_locked(w);
		if (peeks_again(w, mark))
			continue;
		if (satisfied(w))
			return (ssize_t)w->got;
		if (w->err)
			return answer(w, -w->err);
		if (load_rlx(w->s->side->broken))
			return answer(w, -ECONNRESET);
		if (w->eof) {
			if (stream_ready(w->s) != READY_YES)
				return answer(w, end_or_reset(w->s, w->fd));
			w->eof = false;
			continue;
		}
		if (is_blocking(w)) {
			enum spin_end e = stream_spin(w->s, w->fd, mark, stream_ready);
			if (e == SPIN_INTERRUPTED)
				return answer(w, -EINTR);
			if (e == SPIN_DATA)
				continue;
			if (!load_rlx(w->s->in->want_switch) && receive_direct(w, &k)) {
				if (k <= 0)
					return direct_answer(w, k);
				if (!peeks_again(w, mark) && satisfied(w))
					return (ssize_t)w->got;
				continue;
			}
		}
		if (sleep_on_token(w, mark, &k))
			return answer(w, k);
	}
}

/* A recv of no bytes waits for data all the same, and tells an error or the end. */
static ssize_t receive_nothing(struct stream *s, int fd, int flags)
{
	char byte;

	if (stream_ready(s) == READY_NO)
		stream_settle_late(s, fd); /* a doorbell is no data */
	if (stream_ready(s) == READY_YES)
		return 0;
	ssize_t k = real.recv(fd, &byte, 0, flags);
	if (k < 0)
		k = -errno;
	return stream_reset_is_end(s, fd, k) ? 0 : k;
}

/* What does not wait, where TCP is all there is to the stream: the kernel's answer in a few steps.  False: not possible, nothing done. */
static bool receive_quick(struct stream *s, int fd, const struct iovec *v, int flags, ssize_t *ret)
{
	struct wire_seg *g = in_seg(s, load_rlx(s->side->segr));

	if (flags & ~MSG_DONTWAIT || !(load_rlx(s->nonblock) || flags) || !load_rlx(real_data_is_direct) || load_acq(s->side->err) ||
	    !begin_direct(s, g))
		return false;
	stat_inc(STAT_net_direct);
	*ret = sys_call(SYS_recvfrom, fd, v->iov_base, v->iov_len, flags, 0, 0);
	if (*ret > 0) {
		count_rx(s, (uint64_t)*ret);
		count_inline(STAT_net_recv_inline, (uint64_t)*ret);
	}
	unmark_reading(g);
	return true;
}

ssize_t shm_recv(struct stream *s, int fd, const struct iovec *iov, int cnt, struct stream_opts o)
{
	ssize_t k = 0;

	stream_reclaim();
	store_rlx(s->sends_in_row, 0);
	call_begin(s);
	bool quick = cnt == 1 && iov->iov_len && receive_quick(s, fd, iov, o.flags, &k);
	call_end();
	if (k > 0)
		return k;
	struct receiving w = {
		.s = s, .fd = fd, .flags = o.flags, .c = cursor_init(iov, cnt), .peek = !!(o.flags & MSG_PEEK)
	};

	if (!w.c.left)
		return receive_nothing(s, fd, o.flags);
	if (quick)
		return direct_answer(&w, kernel_answer(&w, k));
	w.patience.whole = w.c;
	call_begin(s);
	ssize_t ret = receive(&w, o.mark);
	call_end();
	return ret;
}

/*
 * The program's own recvmsg, control messages and all, which an open segment allows.  False: nothing
 * done.
 */
bool shm_recvmsg_inline(struct stream *s, int fd, struct msghdr *msg, int flags, ssize_t *ret)
{
	struct receiving w = { .s = s, .fd = fd, .flags = flags, .peek = !!(flags & MSG_PEEK) };
	struct wire_seg *g = in_seg(s, load_rlx(s->side->segr));

	stream_reclaim();
	if (flags & MSG_WAITALL || load_acq(s->side->err) || load_rlx(s->in->want_switch) || !begin_direct(s, g))
		return false;
	w.c = cursor_init(msg->msg_iov, (int)msg->msg_iovlen);
	store_rlx(s->sends_in_row, 0);
	call_begin(s);
	call_sleeps(s, false);
	pthread_cleanup_push(call_cancelled, s);
	*ret = real.recvmsg(fd, msg, flags);
	if (*ret < 0)
		*ret = -errno;
	pthread_cleanup_pop(0);
	call_wakes(s);
	*ret = kernel_answer(&w, *ret);
	unmark_reading(g);
	call_end();
	return true;
}
