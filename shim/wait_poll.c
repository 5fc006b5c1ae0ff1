/* poll and select: the set comes with each call. */
#include "wait.h"

#include "real.h"
#include "stats.h"
#include "sys.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

enum { WATCH_MOST = 128, IN_EVENTS = POLLIN | POLLRDNORM };

/* What a poll holds on to while it runs. */
struct polling {
	struct pollfd *fds;
	nfds_t n;
	const sigset_t *mask;
	struct sock *held[WATCH_MOST]; /* connections without a stream yet: counted as waited for */
	int helds;
	struct watch watch[WATCH_MOST];
	int watches;
	bool in_set; /* a stream is in an epoll set, too, which would not learn of what is not rung for */
	bool sets; /* among the descriptors is an epoll set that is readable and does not show it */
	bool asleep;
};

/* A set larger than this has the rest of its streams rung for as if nobody saw the wait. */
static void give_up_eliding(struct sock *s)
{
	wait_ring_for_everything(s);
	sock_leave(s);
}

static inline void put_held(struct polling *p, struct sock *s)
{
	if (p->n <= FEW_WATCHED)
		sock_is_worth(s);
	p->held[p->helds++] = s;
}

/*
 * The wait is not over for a stream that came up meanwhile, so it is counted as waited for until this
 * wait ends.
 */
static void hold(struct polling *p, struct sock *s)
{
	if (p->helds == WATCH_MOST) {
		give_up_eliding(s);
		return;
	}
	count_add(&s->waiters, 1);
	put_held(p, s);
	sock_leave(s);
}

/* The same for most of them, at the price of one count.  False: it has a stream, or is none of ours. */
static inline bool hold_plain(struct polling *p, struct fd_look l)
{
	struct sock *s = sock_of(l.entry);

	if (fd_kind(l.entry) != FD_SOCK || half_is_on(&s->half[RX]) || p->helds == WATCH_MOST || !sock_wait_begin(l))
		return false;
	put_held(p, s);
	return true;
}

static void collect(struct polling *p)
{
	for (nfds_t i = 0; i < p->n; i++) {
		if (!(p->fds[i].events & IN_EVENTS) || hold_plain(p, fd_look(p->fds[i].fd)))
			continue;
		struct sock *s = sock_enter(p->fds[i].fd);
		if (!s) {
			wait_epoll_unseen(p->fds[i].fd);
			p->sets |= wait_epoll_holds_unrung(p->fds[i].fd);
			continue;
		}
		struct stream *st = sock_stream(s, RX);
		p->in_set |= st && load_rlx(s->epolls) > 0;
		if (!st)
			hold(p, s);
		else if (p->watches == WATCH_MOST)
			give_up_eliding(s);
		else
			p->watch[p->watches++] = (struct watch){ st, s, p->fds[i].fd };
	}
}

static void let_go(struct polling *p)
{
	for (int i = 0; i < p->watches; i++)
		sock_leave(p->watch[i].sock);
	for (int i = 0; i < p->helds; i++)
		sock_wait_end(p->held[i]);
}

/* Nobody waits unseen any more: doorbells may be elided. */
static void allow_eliding(struct polling *p)
{
	for (int i = 0; i < p->watches; i++) {
		struct sock *s = p->watch[i].sock;
		if (stream_is_edge(p->watch[i].st) && !load_rlx(s->epolls) && !load_rlx(s->waiters) && !waits_are_blind())
			stream_set_edge(p->watch[i].st, false);
	}
}

static struct stream *watched(struct polling *p, int fd)
{
	for (int i = 0; i < p->watches; i++)
		if (p->watch[i].fd == fd)
			return p->watch[i].st;
	return NULL;
}

static void correct(struct pollfd *f, struct stream *st)
{
	enum readable is = stream_really_readable(st, f->fd);

	if (is == READABLE_NO) {
		f->revents &= ~IN_EVENTS;
		stat_inc(STAT_epoll_filtered);
	} else if (is == READABLE_RESET) {
		sys_call(SYS_poll, f, 1, 0);
	}
}

/* Not asked for input: an end that is a reset, an error that a call of ours has met. */
static void correct_unwatched(struct pollfd *f)
{
	struct sock *s = sock_enter(f->fd);
	struct stream *st = s ? sock_stream(s, RX) : NULL;

	if (st && (f->revents & POLLRDHUP) && stream_really_readable(st, f->fd) == READABLE_RESET)
		sys_call(SYS_poll, f, 1, 0);
	if (st && (f->revents & POLLHUP) && load_rlx(st->side->err))
		f->revents |= POLLERR;
	if (s)
		sock_leave(s);
}

/* What the kernel said, made true for the program; returns how many have events. */
static int merge(struct polling *p)
{
	int count = 0;

	for (nfds_t i = 0; i < p->n; i++) {
		struct pollfd *f = &p->fds[i];
		struct stream *st = f->events & IN_EVENTS ? watched(p, f->fd) : NULL;
		if (st && (f->revents & (POLLERR | POLLHUP)))
			f->revents = (short)stream_over_events(st, f->fd, (uint32_t)f->revents);
		else if (!st && (f->revents & (POLLHUP | POLLRDHUP)))
			correct_unwatched(f);
		if (st && stream_wait_ready(st) == READY_YES) {
			if (!(f->revents & IN_EVENTS))
				stat_inc(STAT_epoll_added);
			f->revents |= f->events & IN_EVENTS;
		} else if (st && (f->revents & IN_EVENTS) && !(f->revents & (POLLERR | POLLHUP))) {
			correct(f, st);
		} else if (!st && p->sets && wait_epoll_holds_unrung(f->fd)) {
			f->revents |= f->events & (POLLIN | POLLRDNORM);
			stat_inc(STAT_epoll_added);
		}
		count += f->revents != 0;
	}
	return count;
}

static bool kernel_poll(void *arg)
{
	struct polling *p = arg;

	return sys_call(SYS_poll, p->fds, p->n, 0) > 0;
}

static int kernel_wait(struct polling *p, const struct timespec *left, const sigset_t *mask)
{
	return real.ppoll(p->fds, p->n, left, mask);
}

/* Spun on one descriptor that asks for input only: there is no more to know. */
static bool shortcut(struct polling *p)
{
	if (p->n != 1 || p->fds[0].events & ~IN_EVENTS)
		return false;
	p->fds[0].revents = p->fds[0].events;
	return true;
}

static int look_and_wait(struct polling *p, const struct timespec *timeout, struct signal_mark mark)
{
	struct deadline d = deadline_in(timeout);
	struct timespec left, none = { 0 };
	bool over = deadline_left(&d, &left), spun = p->mask || p->in_set;
	struct doze doze = { 0 };

	for (;; over = deadline_left(&d, &left)) {
		if (!over && !spun && !p->sets && !watch_any_ready(p->watch, p->watches)) {
			spun = true;
			enum watch_end e = watch_spin(p->watch, p->watches, p->n > (nfds_t)p->watches, kernel_poll, p, mark);
			if (e == WATCH_READY && shortcut(p))
				return 1;
			if (e == WATCH_INTERRUPTED) {
				errno = EINTR;
				return -1;
			}
		}
		bool ready = p->sets || watch_any_ready(p->watch, p->watches), sleeps = !ready && !over;
		int r;
		if (sleeps) {
			p->asleep = true;
			watch_sleep_begin(p->watch, p->watches);
			ready = watch_any_ready(p->watch, p->watches); /* MUTATE: poll_recheck */
		}
		if (!ready && !over && signal_mark().all != mark.all) {
			errno = EINTR;
			r = -1;
		} else if (ready) { /* a wait that finds something leaves a pending signal alone, whatever its mask admits */
			r = kernel_wait(p, &none, NULL);
		} else {
			r = kernel_wait(p, over ? &none : wait_doze(&doze, &d, &left), p->mask);
		}
		if (sleeps) {
			p->asleep = false;
			watch_sleep_end(p->watch, p->watches);
		}
		if (r < 0)
			return r;
		wait_slept(&doze, r);
		r = merge(p);
		if (r || over)
			return r;
		p->sets = false; /* somebody has read it meanwhile */
	}
}

static int wait_streams(struct polling *p, const struct timespec *timeout, struct signal_mark mark)
{
	sigset_t before;

	mark = wait_keep_out(p->mask, &before, mark);
	int r = look_and_wait(p, timeout, mark);
	wait_let_in(p->mask, &before);
	return r;
}

static void cancelled(void *arg)
{
	struct polling *p = arg;

	if (p->asleep)
		watch_sleep_end(p->watch, p->watches);
	let_go(p);
}

int wait_poll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
	struct polling p;
	struct signal_mark mark = signal_mark();
	int r;

	p.fds = fds;
	p.n = n;
	p.mask = mask;
	p.helds = p.watches = 0;
	p.asleep = p.sets = p.in_set = false;
	collect(&p);
	allow_eliding(&p);
	pthread_cleanup_push(cancelled, &p);
	r = p.watches || p.sets ? wait_streams(&p, timeout, mark) : kernel_wait(&p, timeout, mask);
	if (r > 0 && !p.watches && !p.sets && load_rlx(wait_any_stream))
		r = merge(&p);
	pthread_cleanup_pop(0);
	int err = errno;
	let_go(&p);
	errno = err;
	return r;
}

/* ---- select, told in poll's words: exact for the sets a program may pass */

enum { SELECT_MOST = 1024 };

static bool has(const fd_set *set, int fd)
{
	return set && FD_ISSET(fd, set);
}

static int to_pollfds(int n, const fd_set *rd, const fd_set *wr, const fd_set *ex, struct pollfd *ret_fds)
{
	int k = 0;

	for (int fd = 0; fd < n; fd++) {
		short ev = (short)((has(rd, fd) ? POLLIN | POLLRDNORM | POLLRDBAND : 0) |
				   (has(wr, fd) ? POLLOUT | POLLWRNORM | POLLWRBAND : 0) | (has(ex, fd) ? POLLPRI : 0));
		if (ev)
			ret_fds[k++] = (struct pollfd){ .fd = fd, .events = ev };
	}
	return k;
}

static int put(fd_set *set, int fd, bool asked, bool is)
{
	if (!asked)
		return 0;
	if (is)
		return 1;
	FD_CLR(fd, set);
	return 0;
}

/* select() counts a descriptor once for each set it is in; POLLERR and POLLHUP as the kernel maps them. */
static int from_pollfds(const struct pollfd *fds, int k, fd_set *rd, fd_set *wr, fd_set *ex)
{
	int count = 0;

	for (int i = 0; i < k; i++) {
		int fd = fds[i].fd, ev = fds[i].revents;
		count += put(rd, fd, has(rd, fd), ev & (POLLIN | POLLRDNORM | POLLRDBAND | POLLHUP | POLLERR));
		count += put(wr, fd, has(wr, fd), ev & (POLLOUT | POLLWRNORM | POLLWRBAND | POLLERR));
		count += put(ex, fd, has(ex, fd), ev & POLLPRI);
	}
	return count;
}

static bool any_stream(int n, const fd_set *rd)
{
	bool any = false;

	for (int fd = 0; rd && fd < n && !any; fd++)
		if (FD_ISSET(fd, rd))
			any = fd_kind(fd_get(fd)) == FD_SOCK || fd_kind(fd_get(fd)) == FD_EPOLL;
	return any;
}

/* A set larger than poll's words here are for: its streams are rung for as if nobody saw the wait. */
static void unseen(int n, const fd_set *rd)
{
	const unsigned long *bits = (const unsigned long *)rd;

	for (int fd = 0; bits && fd < n; fd++) {
		struct sock *s = bits[fd / NFDBITS] >> (fd % NFDBITS) & 1 ? sock_enter(fd) : NULL;
		if (s)
			give_up_eliding(s);
	}
}

static int select_streams(int n, fd_set *rd, fd_set *wr, fd_set *ex, const struct timespec *timeout, const sigset_t *mask)
{
	struct pollfd fds[SELECT_MOST];
	int k = to_pollfds(n, rd, wr, ex, fds), r = wait_poll(fds, (nfds_t)k, timeout, mask);

	if (r < 0)
		return r;
	for (int i = 0; i < k; i++)
		if (fds[i].revents & POLLNVAL) {
			errno = EBADF;
			return -1;
		}
	return from_pollfds(fds, k, rd, wr, ex);
}

/* What is left of the time is told whatever the end, as the kernel does. */
int wait_select(int n, fd_set *rd, fd_set *wr, fd_set *ex, struct timespec *timeout, const sigset_t *mask)
{
	struct deadline d = deadline_in(timeout);
	int r;

	if (n > SELECT_MOST)
		unseen(n, rd);
	if (n < 0 || n > SELECT_MOST || !any_stream(n, rd))
		r = real.pselect(n, rd, wr, ex, timeout, mask);
	else
		r = select_streams(n, rd, wr, ex, timeout, mask);
	if (timeout)
		deadline_left(&d, timeout);
	return r;
}
