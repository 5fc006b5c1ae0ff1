/*
 * Where the receiving half stands: what is ready, which segments and doorbells are behind it, what the kernel has to be
 * told of it.  The order of the stream: see consume.c.
 */
#include "clock.h"
#include "consume.h"
#include "stats.h"
#include "sys.h"

#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* A peer that closed it before what we had of it already says nothing true, and nothing that we could wait for. */
static bool segment_done(struct stream *s, uint64_t b)
{
	return SEG_CLOSED(b) && (int64_t)(b - load_rlx(s->side->rx)) <= 0;
}

enum readiness stream_ready(struct stream *s)
{
	struct wire_dir *d = s->in;
	struct side *me = s->side;
	uint64_t rw = load_acq(d->rw);
	uint32_t w = load_acq(d->segw), r = load_rlx(me->segr);
	uint64_t rr = load_rlx(me->rr);

	if (load_rlx(me->broken))
		return READY_KERNEL;
	for (uint32_t i = 0; r != w; r++, i++) { /* behind one that is done there may be ring bytes, and then the next */
		struct wire_seg *g = in_seg(s, r);
		if (load_rlx(g->x) != rr)
			return READY_YES;
		if (i == WIRE_SEGMENTS || !segment_done(s, load_acq(g->b)))
			return READY_KERNEL;
	}
	return rw != rr || offered(s) ? READY_YES : READY_NO;
}

static uint64_t unread_in_ring(struct stream *s)
{
	uint64_t n = load_acq(s->in->rw) - load_rlx(s->side->rr);

	return n <= s->ring_bytes ? n : 0;
}

enum readiness shm_wait_ready(struct stream *s)
{
	enum readiness r = stream_ready(s);
	int lowat = load_rlx(s->lowat);

	return r == READY_YES && lowat > 1 && unread_in_ring(s) < (uint64_t)lowat ? READY_KERNEL : r;
}

static void set_kernel_lowat(int fd, uint64_t v)
{
	int n = v < 1 ? 1 : v > INT32_MAX ? INT32_MAX : (int)v;

	sys_call(SYS_setsockopt, fd, SOL_SOCKET, SO_RCVLOWAT, &n, sizeof(n));
}

/* Doorbells that lie in TCP beside ring bytes count for the kernel, not for the program. */
static uint64_t doorbells_waiting(struct stream *s)
{
	int64_t n = (int64_t)(load_acq(s->in->tx) - load_rlx(s->side->rx));

	return load_acq(s->in->segw) == load_rlx(s->side->segr) && n > 0 ? (uint64_t)n : 0;
}

void shm_set_lowat(struct stream *s, int fd, int v)
{
	store_rlx(s->lowat, v);
	stream_prefer_inline(s, v > 1);
	uint64_t ring = unread_in_ring(s);
	if (v <= 1 || !ring)
		return;
	set_kernel_lowat(fd, (uint64_t)v > ring ? (uint64_t)v - ring + doorbells_waiting(s) : 1);
	store_rlx(s->lowat_adjusted, true);
}

void shm_lowat_drained(struct stream *s, int fd)
{
	if (unread_in_ring(s))
		return;
	store_rlx(s->lowat_adjusted, false);
	set_kernel_lowat(fd, (uint64_t)load_rlx(s->lowat));
}

/*
 * The stream stands in an open segment with nothing before it: a kernel recv is all there is to do.  An open segment is the last
 * one, and a place of the table that is not in use yet holds a closed one.
 */
bool stream_inline_open(struct stream *s)
{
	struct wire_seg *g = in_seg(s, load_rlx(s->side->segr));

	return !SEG_CLOSED(load_acq(g->b)) && load_rlx(g->x) == load_rlx(s->side->rr) &&
	       (int64_t)(load_rlx(s->side->rx) - load_rlx(g->a)) >= 0;
}

bool stream_swallow(struct stream *s, int fd, uint64_t upto)
{
	char sink[256];
	bool any = false;

	for (int64_t n; (n = (int64_t)(upto - load_rlx(s->side->rx))) > 0; any = true) {
		long k = sys_call(SYS_recvfrom, fd, sink, n > (int64_t)sizeof(sink) ? (int64_t)sizeof(sink) : n,
			MSG_DONTWAIT, 0, 0);
		stream_keep_error(s, fd, k);
		if (k <= 0)
			break;
		count_rx(s, (uint64_t)k);
		publish_rx(s);
		stat_add(STAT_net_swallowed, (uint64_t)k);
	}
	return any;
}

/* Something came after the token was taken back: it stands for that now, rung for or not. */
static void restore_token(struct stream *s, uint32_t epoch)
{
	uint32_t none = 0;

	if (load_acq(s->in->segw) == epoch)
		atomic_compare_exchange_strong(&s->in->token, &none, epoch);
}

/*
 * Finished segments are left behind; an empty stream gives its token back and swallows what was sent
 * for it.  `tx` is loaded before the token is cleared: a doorbell counted later belongs to a later
 * publish and stays.  Returns whether anything was swallowed.
 */
bool stream_settle(struct stream *s, int fd)
{
	struct wire_dir *d = s->in;
	struct side *me = s->side;
	bool any = false;

	for (;;) {
		uint64_t rw = load_acq(d->rw);
		uint32_t w = load_acq(d->segw), r = load_rlx(me->segr), epoch = r;
		if (load_rlx(me->broken))
			return any;
		if (r != w) {
			struct wire_seg *g = in_seg(s, r);
			if (load_rlx(g->x) != load_rlx(me->rr))
				return any;
			any |= stream_swallow(s, fd, load_rlx(g->a)); /* MUTATE: drain_segment */
			uint64_t b = load_acq(g->b);
			if (!segment_done(s, b))
				return any;
			next_segment(s);
			continue;
		}
		if (rw != load_rlx(me->rr) || offered(s))
			return any;
		uint64_t tx = load_acq(d->tx);
		if (load_rlx(d->token) == epoch)
			atomic_compare_exchange_strong(&d->token, &epoch, 0);
		full_fence(); /* MUTATE: fence_settle */
		if (load_acq(d->rw) != rw || load_acq(d->segw) != r || offered(s)) { /* MUTATE: settle_recheck */
			restore_token(s, r); /* MUTATE: restore_token */
			return any;
		}
		return stream_swallow(s, fd, tx) | any; /* MUTATE: drain_settle */
	}
}

/*
 * The kernel has a byte, the stream nothing: a doorbell whose sender has not counted it yet (a wake-up
 * likes to preempt its sender) or died before it could.  Inline bytes are sent only after their
 * segment is published, and a doorbell only after its data: what was seen in TCP before the stream is
 * found empty is a doorbell without data.  False: the kernel has nothing either.
 */
static bool swallow_late(struct stream *s, int fd)
{
	char sink[64];
	uint32_t r = load_rlx(s->side->segr), epoch = r;
	uint64_t rr = load_rlx(s->side->rr);
	long n = sys_call(SYS_recvfrom, fd, sink, sizeof(sink), MSG_PEEK | MSG_DONTWAIT, 0, 0);

	stream_keep_error(s, fd, n);
	if (n <= 0)
		return n != -EAGAIN;
	if (load_rlx(s->in->token) == epoch)
		atomic_compare_exchange_strong(&s->in->token, &epoch, 0);
	full_fence(); /* MUTATE: fence_late */
	if (load_acq(s->in->segw) != r || load_acq(s->in->rw) != rr || offered(s)) { /* MUTATE: late_recheck */
		restore_token(s, r);
		return true;
	}
	n = sys_call(SYS_recvfrom, fd, sink, n, MSG_DONTWAIT, 0, 0);
	if (n > 0) {
		count_rx(s, (uint64_t)n);
		publish_rx(s);
	}
	stat_inc(STAT_net_late_doorbells);
	return true;
}

bool stream_settle_late(struct stream *s, int fd)
{
	bool any;

	side_lock(&s->side->c);
	any = stream_settle(s, fd);
	if (!any && stream_ready(s) == READY_NO)
		any = swallow_late(s, fd); /* MUTATE: drain_late */
	side_unlock(&s->side->c);
	return any;
}

enum { RINGING_US = 2000 };

/* The peer is between the send of a doorbell and its count: microseconds, unless it was preempted there. */
static void wait_for_ringing(struct stream *s)
{
	uint64_t start = clock_ticks();

	while (load_acq(s->in->ringing) && clock_ticks() - start < us_to_ticks(RINGING_US))
		sched_yield();
}

void shm_quiesce(struct stream *s, int fd, bool for_good)
{
	if (for_good)
		store_rlx(s->in->closing, 1);
	full_fence(); /* MUTATE: fence_closing */
	wait_for_ringing(s); /* MUTATE: wait_ringing */
	stream_settle_late(s, fd); /* MUTATE: drain_closing */
}

/*
 * What can be taken now, in the stream's order, an offered block aside: ring bytes behind payload that has not arrived
 * yet do not count, nor do doorbells.  The table is read after what TCP holds: what came meanwhile is not counted.
 */
static uint64_t arrived(struct stream *s, int fd)
{
	uint64_t rw = load_acq(s->in->rw), at = load_rlx(s->side->rr), rx = load_rlx(s->side->rx), sum = 0;
	uint32_t w = load_acq(s->in->segw), r = load_rlx(s->side->segr);
	int n = 0;

	if (rw - at > s->ring_bytes || w - r > WIRE_SEGMENTS)
		return 0;
	if (r != w)
		sys_call(SYS_ioctl, fd, FIONREAD, &n);
	for (; r != w; r++) {
		struct wire_seg *g = in_seg(s, r);
		uint64_t from = load_rlx(g->a), b = load_acq(g->b), to = rx + (uint64_t)n, x = load_rlx(g->x);
		if (x - at > s->ring_bytes)
			return sum;
		sum += x - at;
		at = x;
		bool all = SEG_CLOSED(b) && (int64_t)(to - b) >= 0;
		if (all)
			to = b;
		if ((int64_t)(from - rx) < 0)
			from = rx;
		if ((int64_t)(to - from) > 0)
			sum += to - from;
		if (!all)
			return sum;
	}
	return (int64_t)(rw - at) > 0 ? sum + (rw - at) : sum;
}

static int available(struct stream *s, int fd)
{
	for (;;) {
		stream_settle(s, fd);
		uint64_t n = arrived(s, fd);
		if (n || load_acq(s->in->segw) != load_rlx(s->side->segr) || !offered(s) || block_claim(s, fd, NULL, 0) != BLOCK_AGAIN)
			return (int)n;
	}
}

int shm_available(struct stream *s, int fd)
{
	side_lock(&s->side->c);
	int n = available(s, fd);
	side_unlock(&s->side->c);
	return n;
}

enum { LOOKS = 8 };

/*
 * A byte in TCP is told of only if it is payload that has arrived: a doorbell may lie there while its sender, back in
 * TCP already, has not sent what comes next.
 */
enum readable shm_really_readable(struct stream *s, int fd)
{
	char byte;
	bool told;

	for (int looks = 0; looks < LOOKS; looks++) {
		if (stream_ready(s) == READY_YES || load_rlx(s->side->err) || (stream_inline_open(s) && !stream_unread(s)))
			return READABLE_YES;
		stream_settle_late(s, fd);
		if (stream_ready(s) == READY_YES)
			return READABLE_YES;
		long k = sys_call(SYS_recvfrom, fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT, 0, 0);
		stream_keep_error(s, fd, k);
		if (k == -EAGAIN)
			return stream_ready(s) == READY_YES ? READABLE_YES : READABLE_NO;
		if (k == 0 && stream_end_is_reset(s, fd, &told) && told)
			return READABLE_RESET;
		if (k != 1 || load_rlx(s->side->broken)) /* the end, an error */
			return READABLE_YES;
		if (stream_ready(s) == READY_KERNEL && arrived(s, fd))
			return READABLE_YES;
	}
	return READABLE_YES; /* of a sender that changes all the time; an edge must not be lost */
}
