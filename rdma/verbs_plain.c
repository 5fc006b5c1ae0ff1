/* What the receiving half takes out of TCP: payload straight into the program's buffer, and in a plain direction the mark behind which frames begin. */
#include "stats.h"
#include "sys.h"
#include "verbs_recv.h"

#include <string.h>
#include <sys/ioctl.h>

/* MARK_SURE: a connection that ends behind so much of the mark ended there; less of it is payload. */
enum { MARK_SURE = 4, GAP_FIRST = 65536, GAP_MOST = 1 << 28, LOOK_EVERY = 65536 };

void recv_kernel_answer(struct receiving *w, long k)
{
	w->eof |= k == 0;
	side_keep_error(&w->v->side, k);
	w->err = load_rlx(w->v->side.err);
}

void recv_payload_taken(struct receiving *w, size_t n)
{
	store_rlx(w->v->rx_at, load_rlx(w->v->rx_at) + n);
	store_rlx(w->vs->unrung, 0);
	count_inline(STAT_net_recv_inline, n);
}

/* Straight into the program's buffer. */
long recv_into(struct receiving *w, size_t limit)
{
	struct iovec iov[INLINE_IOV];
	struct msghdr m = { .msg_iov = iov };
	size_t asked;

	m.msg_iovlen = (size_t)cursor_export(&w->c, iov, INLINE_IOV, limit, &asked);
	add_rlx(w->v->taken, 1);
	long k = sys_call(SYS_recvmsg, w->fd, &m, MSG_DONTWAIT);
	w->emptied = k < (long)asked;
	if (k <= 0) {
		recv_kernel_answer(w, k);
		return 0;
	}
	w->got += (size_t)k;
	cursor_advance(&w->c, (size_t)k);
	recv_payload_taken(w, (size_t)k);
	return k;
}

/* What has been looked at is there to be taken. */
void recv_discard(struct receiving *w, size_t n)
{
	add_rlx(w->v->taken, n != 0);
	for (long k; n; n -= (size_t)k) {
		k = sys_call(SYS_recvfrom, w->fd, 0, n, MSG_TRUNC | MSG_DONTWAIT, 0, 0);
		if (k <= 0)
			return;
	}
}

void verbs_propose(struct verbs_stream *vs, uint64_t at)
{
	struct control c = { .type = CONTROL_COUNTED, .at = at };

	vs->v->mark_seen = 0;
	bool said = link_is_up(link_out(vs)) && !link_control(link_out(vs), &c);
	store_rlx(vs->v->mark_at, said ? at : UINT64_MAX);
}

/* Behind what lies in TCP now, and `more`. */
static void propose_behind(struct receiving *w, uint64_t more)
{
	int queued = 0;

	sys_call(SYS_ioctl, w->fd, FIONREAD, &queued);
	verbs_propose(w->vs, load_rlx(w->v->rx_at) + (uint64_t)queued + more);
}

/* No link carried the last proposal, or there was no need for one. */
static bool wants_mark(struct receiving *w)
{
	return load_rlx(w->vs->frames_pay) && load_rlx(w->v->mark_at) == UINT64_MAX && w->v->mark_gap <= GAP_MOST &&
	       !load_rlx(w->v->peer_left) && !load_rlx(w->v->side.plain) && link_is_up(link_out(w->vs));
}

/* Frames cost a small message a head and its sleeping receiver a second call: they are for what goes another way than TCP. */
static void note_size(struct receiving *w, uint64_t at, size_t k)
{
	int queued = 0;

	if (load_rlx(w->vs->frames_pay))
		return;
	if ((at ^ (at + k)) >= LOOK_EVERY) /* messages that are larger than the program's buffer lie there in pieces */
		sys_call(SYS_ioctl, w->fd, FIONREAD, &queued);
	if (k + (size_t)queued > PLAIN_MOST)
		store_rlx(w->vs->frames_pay, true);
}

/* What the program must hear first. */
static bool has_news(struct receiving *w)
{
	const struct side *me = &w->v->side;

	return load_rlx(me->err) || load_rlx(me->broken) || load_rlx(link_in(w->vs)->broken) || load_rlx(link_out(w->vs)->broken);
}

static bool is_direct(struct receiving *w)
{
	struct verbs_side *v = w->v;

	return !load_rlx(v->framed) && load_rlx(v->mark_at) == UINT64_MAX && v->spare_at == v->spare_end && w->c.cnt <= INLINE_IOV &&
	       !has_news(w) && !wants_mark(w);
}

bool recv_begin_direct(struct receiving *w)
{
	side_lock(&w->v->side.c);
	bool yes = is_direct(w);
	if (yes)
		atomic_fetch_add(&w->v->direct, 1);
	side_unlock(&w->v->side.c);
	return yes;
}

void recv_end_direct(struct receiving *w, long k)
{
	side_lock(&w->v->side.c);
	if (k > 0) {
		note_size(w, load_rlx(w->v->rx_at), (size_t)k);
		recv_payload_taken(w, (size_t)k);
	}
	atomic_fetch_sub(&w->v->direct, 1);
	side_unlock(&w->v->side.c);
	if (k > 0) {
		w->got += (size_t)k;
		cursor_advance(&w->c, (size_t)k);
	}
}

/* The sender was past that place when it heard of it: what looked like the mark was payload. */
static void no_mark(struct receiving *w)
{
	struct verbs_side *v = w->v;

	v->spare_at = 0;
	v->spare_end = v->mark_seen;
	store_rlx(v->mark_at, UINT64_MAX);
	v->mark_gap = v->mark_gap ? 2 * v->mark_gap : GAP_FIRST;
	if (v->mark_gap <= GAP_MOST)
		propose_behind(w, v->mark_seen + v->mark_gap);
}

bool recv_look_for_mark(struct receiving *w)
{
	struct verbs_side *v = w->v;
	uint8_t room[MARK_BYTES];
	long n = sys_call(SYS_recvfrom, w->fd, room, MARK_BYTES - v->mark_seen, MSG_PEEK | MSG_DONTWAIT, 0, 0);

	if (n <= 0) {
		recv_kernel_answer(w, n);
		if (!w->eof || !v->mark_seen || v->mark_seen >= MARK_SURE)
			return false;
		w->eof = false;
		no_mark(w);
		return true;
	}
	if (memcmp(room, v->mark_in + v->mark_seen, (size_t)n)) {
		no_mark(w);
		return true;
	}
	recv_discard(w, (size_t)n);
	v->mark_seen += (uint32_t)n;
	if (v->mark_seen == MARK_BYTES)
		store_rel(v->framed, true);
	return true;
}

static bool take_spare(struct receiving *w)
{
	struct verbs_side *v = w->v;
	size_t n = least(v->spare_end - v->spare_at, w->c.left);

	recv_copy_out(w, (char *)v->mark_in + v->spare_at, n);
	v->spare_at += (uint32_t)n;
	recv_payload_taken(w, n);
	return n > 0;
}

bool recv_take_plain(struct receiving *w)
{
	if (w->v->spare_at != w->v->spare_end)
		return take_spare(w);
	if (wants_mark(w) && !load_acq(w->v->direct)) /* else bytes may have been taken that are not counted yet */
		propose_behind(w, w->v->mark_gap);
	uint64_t at = load_rlx(w->v->rx_at), mark = load_rlx(w->v->mark_at);
	if (at == mark)
		return recv_look_for_mark(w);
	size_t want = mark - at < w->c.left ? mark - at : w->c.left;
	long k = want ? recv_into(w, want) : 0;
	if (k > 0)
		note_size(w, at, (size_t)k);
	return k > 0 && !w->emptied;
}
