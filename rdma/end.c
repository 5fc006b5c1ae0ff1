/*
 * How a connection of two processes ends.  Their kernel judges by what lies in TCP: it resets what is closed with bytes
 * unread, and ends the rest in order.  Ring bytes that nobody rang for are unknown to it, and a doorbell is no byte of
 * the program's: where a process was killed, the survivor knows better.  Both ways round.
 */
#include "consume.h"
#include "stats.h"
#include "sys.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* As after a peer's RST: the error is the next call's, poll says ERR and HUP, both halves are shut. */
static bool reset_kernel(int fd)
{
	struct sockaddr none = { .sa_family = AF_UNSPEC };

	if (sys_call(SYS_connect, fd, &none, sizeof(none)))
		return false;
	sys_call(SYS_shutdown, fd, SHUT_RDWR);
	return true;
}

static bool ends_orderly(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLRDHUP };

	return sys_call(SYS_poll, &p, 1, 0) == 1 && p.revents == POLLRDHUP;
}

/* Bytes of ours were unread in the ring. */
bool stream_end_is_reset(struct stream *s, int fd, bool *ret_told)
{
	struct side *me = s->side;

	if (!stream_unread(s) || load_rlx(me->shut) || load_rlx(me->reset_told) || !ends_orderly(fd) || !stream_peer_dead(s))
		return false;
	me->dead = true;
	if ((*ret_told = reset_kernel(fd)))
		store_rlx(me->reset_told, true);
	return true;
}

/* Where the last byte of payload that was sent inline ends: in a segment nothing was sent in yet, at the end of the one before. */
static uint64_t inline_end(struct stream *s)
{
	uint64_t tx = load_rlx(s->side->tx);
	uint32_t i = load_rlx(s->side->segw) - 1;

	if (load_rlx(s->side->mode) != MODE_RING) {
		if (i == 0 || load_rlx(s->out->seg[i % WIRE_SEGMENTS].a) != tx)
			return tx;
		i--;
	}
	return load_acq(s->out->seg[i % WIRE_SEGMENTS].b);
}

/* What lies unread at the peer's, doorbells aside. */
static bool all_is_taken(struct stream *s)
{
	struct wire_dir *o = s->out;

	return load_acq(o->rr) == load_rlx(s->side->rw) && load_acq(o->block.state) == BLOCK_IDLE &&
	       (int64_t)(load_acq(o->rx) - inline_end(s)) >= 0;
}

/* A reset throws away what the kernel of the dead process still had to send. */
static bool all_has_come(struct stream *s, int fd)
{
	int n = 0;

	sys_call(SYS_ioctl, fd, FIONREAD, &n);
	return (int64_t)(load_rlx(s->side->rx) + (uint64_t)n - load_acq(s->in->tx)) >= 0;
}

void stream_set_abortive(struct stream *s, bool yes)
{
	if (s->map)
		store_rlx(s->out->abortive, yes);
}

static bool was_killed_idle(struct stream *s, int fd)
{
	return s->map && !load_rlx(s->side->broken) && !load_rlx(s->in->abortive) && all_is_taken(s) && all_has_come(s, fd) &&
	       stream_peer_dead(s);
}

static void tell_end(struct side *me)
{
	uint32_t not = END_NOT;

	if (atomic_compare_exchange_strong(&me->ended, &not, END_TOLD))
		stat_inc(STAT_net_reset_ends);
}

bool stream_reset_is_end(struct stream *s, int fd, long k)
{
	if (k != -ECONNRESET || !was_killed_idle(s, fd))
		return false;
	tell_end(s->side);
	return true;
}

/* An error that a call of ours has met is the program's still. */
uint32_t stream_over_events(struct stream *s, int fd, uint32_t events)
{
	struct side *me = s->side;

	if ((events & POLLERR) && was_killed_idle(s, fd)) {
		int err = stream_take_error(fd); /* a receive would not meet it behind bytes, which may be doorbells */
		if (err == ECONNRESET)
			tell_end(me);
		else
			side_keep_error(me, -err);
	}
	if (load_rlx(me->err))
		return events | POLLERR;
	if (load_rlx(me->ended) != END_TOLD)
		return events;
	return events & ~(uint32_t)(load_rlx(me->shut) ? POLLERR : POLLERR | POLLHUP);
}

/*
 * TCP resets a connection that is closed with bytes unread.  Bytes in TCP's own queue make the
 * kernel do so; ring bytes that were never rung for do not.
 */
bool shm_close_means_reset(struct stream *s, int fd)
{
	int n = 0;

	if (stream_ready(s) != READY_YES)
		return false;
	sys_call(SYS_ioctl, fd, FIONREAD, &n);
	return n == 0;
}
