/*
 * Waiting on the sets that epset.h mirrors.  A wait asks the kernel and corrects its answer; what it
 * polls itself is a short list of streams that were ready lately, so that a set of a thousand
 * connections costs what it costs bare.  Only a stream that a wait polls can have its doorbells elided,
 * so no other stream of the set can be ready without the kernel's knowing.
 */
#include "epset.h"

#include "heap.h"
#include "real.h"
#include "stats.h"
#include "sys.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

enum { POLLED_MOST = 16, LOOK_EVERY = 8 };

struct epwait {
	struct epset *set;
	int ep, max;
	struct epoll_event *evs;
	const sigset_t *mask;
	struct watch watch[HOT_MOST];
	uint64_t data[HOT_MOST];
	int watches;
	bool redo; /* the kernel has to be asked once more, whatever the time */
	int again; /* of the events, those that were told before and not taken */
	unsigned turn;
	bool twice; /* the event in hand is this turn's second of its registration: one is our stand-in's */
	bool stood; /* its registration had a stand-in, whose event it may be */
	bool alone, asleep;
};

static void watch_reg(struct epwait *w, struct reg *r)
{
	struct sock *s = sock_enter(r->fd);

	if (!s)
		return;
	struct stream *st = s == r->sock ? sock_stream(s, RX) : NULL;
	if (!st || !level_input(r)) {
		sock_leave(s);
		return;
	}
	if (stream_is_edge(st) && load_rlx(s->epolls) == 1 && !load_rlx(s->waiters) && !waits_are_blind())
		stream_set_edge(st, false);
	w->data[w->watches] = r->data;
	w->watch[w->watches++] = (struct watch){ st, s, r->fd };
}

/* Those with unread data stay: nobody rang for it. */
static void drop_all_hot(struct epset *set)
{
	for (int i = 0; i < set->hots; i++) {
		struct reg *r = epset_find_fd(set, set->hot[i]);
		struct stream *st = r ? sock_stream(r->sock, RX) : NULL;
		if (!st || stream_wait_ready(st) != READY_YES)
			set->hot[i--] = set->hot[--set->hots];
	}
}

/* What the set polls: nothing if anybody waits unseen, or beside us. */
static void collect(struct epwait *w)
{
	struct epset *set = w->set;

	w->watches = 0;
	if (!set->hots || atomic_load(&set->unseen) || !w->alone)
		return;
	section_lock(&set->lock);
	if (epset_count(set) > POLLED_MOST) /* a server of many clients: there is always work */
		drop_all_hot(set);
	for (int i = 0; i < set->hots; i++) {
		struct reg *r = epset_find_fd(set, set->hot[i]);
		if (r)
			watch_reg(w, r);
	}
	section_unlock(&set->lock);
}

static void let_go(struct epwait *w)
{
	for (int i = 0; i < w->watches; i++)
		sock_leave(w->watch[i].sock);
}

/* Polled from the next wait on.  One that still has unread data is not pushed out: nobody rang for it. */
static void make_hot(struct epset *set, int fd)
{
	for (int i = 0; i < set->hots; i++)
		if (set->hot[i] == fd)
			return;
	if (epset_count(set) > POLLED_MOST)
		return;
	if (set->hots < HOT_MOST) {
		set->hot[set->hots++] = fd;
		return;
	}
	for (int i = 0; i < HOT_MOST; i++) {
		struct reg *r = epset_find_fd(set, set->hot[i]);
		struct stream *st = r ? sock_stream(r->sock, RX) : NULL;
		if (st && stream_wait_ready(st) == READY_YES)
			continue;
		memmove(&set->hot[i], &set->hot[i + 1], (size_t)(HOT_MOST - 1 - i) * sizeof(int));
		set->hot[HOT_MOST - 1] = fd;
		return;
	}
}

/* What a kernel event means: the connection, held, and its registration's events. */
static struct sock *who(struct epwait *w, const struct epoll_event *ev, struct reg *ret_reg)
{
	struct epset *set = w->set;
	struct sock *s = NULL;

	w->twice = w->stood = false;
	section_lock(&set->lock);
	struct reg *r = epset_find_data(set, ev->data.u64);
	if (r && (s = sock_enter(r->fd)) && (s != r->sock || !sock_stream(s, RX))) {
		sock_leave(s);
		s = NULL;
	}
	if (s) {
		*ret_reg = *r;
		w->twice = r->key->turn == w->turn;
		r->key->turn = w->turn;
		if (r->force) /* the event may be the stand-in's */
			epset_disarm(w->ep, r->fd, r->events, r->data);
		epset_set_force(set, r, false);
		w->stood = epset_stand_down(set, r->fd);
		if (level_input(r) && (ev->events & EPOLLIN) && !atomic_load(&set->unseen))
			make_hot(set, r->fd);
	}
	section_unlock(&set->lock);
	return s;
}

/*
 * An event taken from the program disarmed a one-shot registration: it is armed again.  Of two in one turn the other one
 * may be told, and armed again the registration would have one too many.
 */
static void rearm(struct epwait *w, const struct reg *r)
{
	struct epoll_event ev = { .events = r->events, .data.u64 = r->data };

	if ((r->events & EPOLLONESHOT) && !w->twice)
		sys_call(SYS_epoll_ctl, w->ep, EPOLL_CTL_MOD, r->fd, &ev);
}

/* A stand-in is readable for good; what it was put there for may have been read before anybody waited. */
static bool stands_for_nothing(struct epwait *w, struct stream *st, int fd)
{
	return w->stood && stream_wait_ready(st) != READY_YES && !epset_kernel_shows(fd);
}

static void note_told(struct epwait *w, struct sock *s)
{
	unsigned calls = load_rlx(s->calls);

	w->again += load_rlx(s->told_at) == calls;
	store_rlx(s->told_at, calls);
}

/*
 * A program that is told of input and takes none, time after time, waits for another of its threads: gloo's loop tries a
 * lock that the sender of the same connection holds, and would turn for a whole time slice on the core which
 * that sender needs.
 */
static void give_way(struct epwait *w, int events)
{
	struct epset *set = w->set;
	unsigned vain = events && w->again == events ? load_rlx(set->vain) + 1 : 0;

	store_rlx(set->vain, vain);
	if (vain < 2)
		return;
	stat_inc(STAT_epoll_yields);
	sys_call(SYS_sched_yield);
}

/* One kernel event made true for the program; false: there is nothing to tell. */
static bool correct(struct epwait *w, struct epoll_event *ev)
{
	struct reg r;
	struct sock *s = who(w, ev, &r);

	if (!s)
		return true;
	enum readable is = READABLE_YES;
	if (ev->events & (EPOLLERR | EPOLLHUP))
		ev->events = stream_over_events(sock_stream(s, RX), r.fd, ev->events);
	if ((ev->events & EPOLLIN) && !(ev->events & (EPOLLERR | EPOLLHUP)))
		is = stands_for_nothing(w, sock_stream(s, RX), r.fd) ? READABLE_NO : stream_really_readable(sock_stream(s, RX), r.fd);
	if (is == READABLE_NO) {
		ev->events &= ~(uint32_t)(EPOLLIN | EPOLLRDNORM);
		stat_inc(STAT_epoll_filtered);
	} else if (is == READABLE_RESET) {
		ev->events = 0;
		w->redo = true;
	}
	if (!ev->events)
		rearm(w, &r);
	else if (w->twice)
		epset_disarm(w->ep, r.fd, r.events, r.data); /* the first may have been taken, and armed it again */
	else
		note_told(w, s);
	sock_leave(s);
	return ev->events != 0;
}

static bool told(const struct epwait *w, int n, uint64_t data)
{
	for (int i = 0; i < n; i++)
		if (w->evs[i].data.u64 == data && (w->evs[i].events & EPOLLIN))
			return true;
	return false;
}

/* Sets EPOLLIN in an event of `data`, or appends one. */
static int tell(struct epwait *w, int n, uint64_t data)
{
	for (int i = 0; i < n; i++)
		if (w->evs[i].data.u64 == data) {
			w->evs[i].events |= EPOLLIN;
			return n;
		}
	if (n < w->max)
		w->evs[n++] = (struct epoll_event){ .events = EPOLLIN, .data.u64 = data };
	return n;
}

static int add_polled(struct epwait *w, int n)
{
	for (int i = 0; i < w->watches; i++) {
		if (stream_wait_ready(w->watch[i].st) != READY_YES || told(w, n, w->data[i]))
			continue;
		stat_inc(STAT_epoll_added);
		note_told(w, w->watch[i].sock);
		n = tell(w, n, w->data[i]);
	}
	return n;
}

static int add_forced(struct epwait *w, int n)
{
	if (!atomic_load(&w->set->forced))
		return n;
	section_lock(&w->set->lock);
	EPSET_EACH(w->set, r) {
		struct stream *st = r->force ? sock_stream(r->sock, RX) : NULL;
		if (!st || n >= w->max)
			continue;
		epset_set_force(w->set, r, false);
		if (stream_wait_ready(st) == READY_YES && (r->events & EPOLLIN) && !told(w, n, r->data)) {
			n = tell(w, n, r->data);
			epset_disarm(w->ep, r->fd, r->events, r->data);
		}
	}
	section_unlock(&w->set->lock);
	return n;
}

/* What nobody rang for before others came to wait on the set: it is polled no more. */
static int add_unrung(struct epwait *w, int n)
{
	if (!atomic_load(&w->set->unrung))
		return n;
	section_lock(&w->set->lock);
	EPSET_EACH(w->set, r) {
		struct stream *st = level_input(r) ? sock_stream(r->sock, RX) : NULL;
		if (st && stream_wait_ready(st) == READY_YES && !told(w, n, r->data))
			n = tell(w, n, r->data);
	}
	atomic_store(&w->set->unrung, epset_any_readable(w->set));
	section_unlock(&w->set->lock);
	return n;
}

struct telling {
	struct epwait *w;
	int n;
};

static bool tell_nest(void *arg, uint64_t data)
{
	struct telling *t = arg;

	if (told(t->w, t->n, data))
		return true;
	if (t->n >= t->w->max)
		return false;
	t->n = tell(t->w, t->n, data);
	return true;
}

static int add_nests(struct epwait *w, int n)
{
	struct telling t = { w, n };

	epset_tell_nests(w->set, w->ep, tell_nest, &t);
	return t.n;
}

/* Into the registration's other event: a program that reads all at the first would find nothing at the second. */
static bool fold(struct epwait *w, int kept, const struct epoll_event *ev)
{
	for (int i = 0; w->twice && i < kept; i++) {
		if (w->evs[i].data.u64 != ev->data.u64)
			continue;
		w->evs[i].events |= ev->events;
		return true;
	}
	return false;
}

static int merge(struct epwait *w, int n)
{
	int kept = 0;

	w->again = 0;
	w->redo = false;
	w->turn = (unsigned)count_add(&w->set->turns, 1) + 1;
	for (int i = 0; i < n; i++)
		if (correct(w, &w->evs[i]) && !fold(w, kept, &w->evs[i]))
			w->evs[kept++] = w->evs[i];
	return add_nests(w, add_unrung(w, add_forced(w, add_polled(w, kept))));
}

static bool kernel_poll(void *arg)
{
	struct epwait *w = arg;
	struct pollfd p = { .fd = w->ep, .events = POLLIN };

	return sys_call(SYS_poll, &p, 1, 0) == 1;
}

static int to_ms(const struct timespec *t)
{
	if (!t)
		return -1;
	uint64_t ms = (uint64_t)t->tv_sec * 1000 + ((uint64_t)t->tv_nsec + 999999) / 1000000;
	return ms > INT32_MAX ? INT32_MAX : (int)ms;
}

static int kernel_wait(struct epwait *w, const struct timespec *left)
{
	static _Atomic bool no_pwait2;

	if (left && left->tv_nsec % 1000000 && real.epoll_pwait2 && !load_rlx(no_pwait2)) {
		int r = real.epoll_pwait2(w->ep, w->evs, w->max, left, w->mask);
		if (r >= 0 || errno != ENOSYS)
			return r;
		store_rlx(no_pwait2, true);
	}
	if (w->mask)
		return real.epoll_pwait(w->ep, w->evs, w->max, to_ms(left), w->mask);
	return real.epoll_wait(w->ep, w->evs, w->max, to_ms(left));
}

/* Spun on the only thing in the set, which asks for input alone: there is no more to know. */
static bool shortcut(struct epwait *w)
{
	section_lock(&w->set->lock);
	struct reg *r = epset_find_fd(w->set, w->watch[0].fd);
	bool only = w->watches == 1 && epset_count(w->set) == 1 && r && r->events == EPOLLIN;
	section_unlock(&w->set->lock);
	return only;
}

static bool something_ready(struct epwait *w)
{
	return watch_any_ready(w->watch, w->watches) || atomic_load(&w->set->forced) > 0 || atomic_load(&w->set->unrung) ||
	       epset_nest_due(w->set);
}

/*
 * A wait that finds something leaves a pending signal alone.  What this set does not poll has been rung for, but the doorbell may
 * still be under way when the program knows already, from a poll say, that it is there.
 */
static bool is_ahead_of_signal(struct epwait *w)
{
	if (!w->mask || !wait_meets_signal(w->mask))
		return false;
	section_lock(&w->set->lock);
	bool yes = epset_any_readable(w->set);
	if (yes)
		atomic_store(&w->set->unrung, true);
	section_unlock(&w->set->lock);
	return yes;
}

static int look_and_wait(struct epwait *w, const struct timespec *timeout, struct signal_mark mark)
{
	struct deadline d = deadline_in(timeout);
	struct timespec left, none = { 0 };
	bool over = deadline_left(&d, &left), spun = w->mask || over;
	static __thread TLS_IE unsigned turn;
	struct doze doze = { 0 };

	for (;; over = deadline_left(&d, &left)) {
		collect(w);
		bool ready = something_ready(w);
		if (!ready && !spun && w->watches) {
			spun = true;
			enum watch_end e = watch_spin(w->watch, w->watches, true, kernel_poll, w, mark);
			if (e == WATCH_INTERRUPTED)
				goto interrupted;
			/* other descriptors of the set get their turn */
			if (e == WATCH_READY && shortcut(w) && (!atomic_load(&w->set->others) || (++turn & 3))) {
				w->again = 0;
				note_told(w, w->watch[0].sock);
				give_way(w, 1);
				let_go(w);
				w->evs[0] = (struct epoll_event){ .events = EPOLLIN, .data.u64 = w->data[0] };
				return 1;
			}
		}
		ready = over || something_ready(w);
		bool sleeps = !ready;
		if (sleeps) {
			w->asleep = true;
			watch_sleep_begin(w->watch, w->watches);
			ready = something_ready(w); /* MUTATE: epoll_recheck */
			ready = ready || is_ahead_of_signal(w);
		}
		if (!ready && signal_mark().all != mark.all) {
			w->asleep = false;
			watch_sleep_end(w->watch, w->watches);
			goto interrupted;
		}
		int r = kernel_wait(w, ready ? &none : wait_doze(&doze, &d, &left));
		int err = errno;
		if (sleeps) {
			w->asleep = false;
			watch_sleep_end(w->watch, w->watches);
		}
		wait_slept(&doze, r);
		if (r >= 0)
			give_way(w, r = merge(w, r));
		let_go(w);
		errno = err;
		if (r || (over && !w->redo))
			return r;
	}
interrupted:
	let_go(w);
	errno = EINTR;
	return -1;
}

static int wait_streams(struct epwait *w, const struct timespec *timeout, struct signal_mark mark)
{
	sigset_t before;

	heap_look();
	mark = wait_keep_out(w->mask, &before, mark);
	int r = look_and_wait(w, timeout, mark);
	wait_let_in(w->mask, &before);
	return r;
}

static _Atomic unsigned adoptions = 1;

void wait_stream_adopted(void)
{
	atomic_fetch_add(&adoptions, 1);
}

static bool has_stream(struct epset *set)
{
	EPSET_EACH(set, r)
		if (load_acq(r->sock->stream))
			return true;
	return false;
}

static bool any_stream(struct epset *set)
{
	unsigned now = atomic_load(&adoptions);

	if (load_rlx(set->seen) != now) {
		section_lock(&set->lock);
		store_rlx(set->any, has_stream(set));
		store_rlx(set->seen, now);
		section_unlock(&set->lock);
	}
	return load_rlx(set->any);
}

/* What ends it, epset_not_plain, comes after what is looked at here a second time. */
__attribute__((noinline)) static bool found_plain(struct epset *set)
{
	unsigned now = atomic_load(&adoptions);

	if (load_rlx(set->head.nested) || any_stream(set))
		return false;
	atomic_store(&set->plain_at, now);
	if (!atomic_load(&set->head.nested) && !atomic_load(&set->any))
		return true;
	store_rlx(set->plain_at, 0);
	return false;
}

/*
 * None of its connections is upgraded: the kernel's answer is all there is.  One that is upgraded while
 * a wait sleeps rings for everything, since it is in a set.
 */
static inline bool is_plain(struct epset *set)
{
	return __builtin_expect(load_acq(set->plain_at) == load_acq(adoptions), 1) || found_plain(set);
}

__attribute__((noinline)) static void are_worth(struct epset *set)
{
	section_lock(&set->lock);
	EPSET_EACH(set, r)
		if (level_input(r))
			sock_is_worth(r->sock);
	section_unlock(&set->lock);
}

/* A wait on few connections can poll them once they are upgraded. */
static inline void may_be_worth(struct epset *set)
{
	unsigned turn = load_rlx(set->waits);

	store_rlx(set->waits, turn + 1);
	if (__builtin_expect(turn % LOOK_EVERY == 0, 0) && epset_count(set) <= FEW_WATCHED)
		are_worth(set);
}

static struct timespec rest_of(const struct timespec *timeout, uint64_t began)
{
	uint64_t ns = (uint64_t)timeout->tv_sec * 1000000000u + (uint64_t)timeout->tv_nsec;
	clock_init();
	uint64_t gone = (clock_ticks() - began) / us_to_ticks(1) * 1000;

	ns = gone < ns ? ns - gone : 0;
	return (struct timespec){ (time_t)(ns / 1000000000u), (long)(ns % 1000000000u) };
}

/* A stream came up while the kernel waited: its answer may be a doorbell, and the wait not over. */
static int go_on(struct epwait *w, int r, const struct timespec *timeout, uint64_t began, struct signal_mark mark)
{
	r = merge(w, r);
	if (r)
		return r;
	struct timespec left = timeout ? rest_of(timeout, began) : (struct timespec){ 0 };
	return wait_streams(w, timeout ? &left : NULL, mark);
}

static int wait_plain(struct epwait *w, const struct timespec *timeout, struct signal_mark mark)
{
	uint64_t began = clock_ticks();
	int r = kernel_wait(w, timeout);

	may_be_worth(w->set);
	return r <= 0 || is_plain(w->set) ? r : go_on(w, r, timeout, began, mark);
}

static void cancelled(void *arg)
{
	struct epwait *w = arg;

	if (w->asleep)
		watch_sleep_end(w->watch, w->watches);
	let_go(w);
	count_add(&w->set->waiters, -1);
}

int wait_epoll(int ep, struct epoll_event *evs, int max, const struct timespec *timeout, const sigset_t *mask)
{
	struct signal_mark mark = signal_mark();
	struct epwait w;

	/* its arrays are filled as far as they are used */
	w.set = epset_of(ep);
	w.ep = ep;
	w.max = max;
	w.evs = evs;
	w.mask = mask;
	w.watches = 0;
	w.redo = false;
	w.asleep = false;
	if (!w.set || max <= 0)
		return kernel_wait(&w, timeout);
	w.alone = count_add(&w.set->waiters, 1) == 0;
	int r;
	pthread_cleanup_push(cancelled, &w);
	r = is_plain(w.set) ? wait_plain(&w, timeout, mark) : wait_streams(&w, timeout, mark);
	pthread_cleanup_pop(0);
	count_add(&w.set->waiters, -1);
	return r;
}

/* What a wait on a plain set leaves behind for one that has to go on. */
struct plain_wait {
	struct epset *set;
	struct epoll_event *evs;
	uint64_t began;
	int ep, max, timeout, waiters;
	unsigned handled;
};

__attribute__((noinline)) static int go_on_counted(const struct plain_wait *p, int found)
{
	struct epwait w = { .set = p->set, .ep = p->ep, .max = p->max, .evs = p->evs, .alone = !p->waiters };
	struct timespec t;
	int r;

	pthread_cleanup_push(cancelled, &w);
	r = go_on(&w, found, wait_from_ms(p->timeout, &t), p->began, (struct signal_mark){ .all = p->handled });
	pthread_cleanup_pop(0);
	return r;
}

/*
 * The way of a server whose connections are plain.  A wait that is cancelled here stays counted, which costs no more
 * than that the set is polled no more and not given back.
 */
int wait_epoll_ms(struct epset_head *h, int ep, struct epoll_event *evs, int max, int timeout)
{
	struct epset *set = (struct epset *)h;
	struct timespec t;

	if (__builtin_expect(max <= 0 || !is_plain(set), 0))
		return wait_epoll(ep, evs, max, wait_from_ms(timeout, &t), NULL);
	struct plain_wait p = { set, evs, clock_ticks(), ep, max, timeout, count_add(&set->waiters, 1), signal_mark().all };
	int r = real.epoll_wait(ep, evs, max, timeout);
	may_be_worth(set);
	if (__builtin_expect(r > 0 && !is_plain(set), 0))
		r = go_on_counted(&p, r);
	count_add(&set->waiters, -1);
	return r;
}
