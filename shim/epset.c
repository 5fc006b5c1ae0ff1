#include "epset.h"

#include "real.h"
#include "sys.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

static struct epset *sets;
static _Atomic int sets_lock;

static struct epset *set_create(int ep)
{
	struct epset *set = calloc(1, sizeof(*set));

	if (!set)
		return NULL;
	section_lock(&sets_lock);
	set->next = sets;
	if (sets)
		sets->prev = set;
	sets = set;
	section_unlock(&sets_lock);
	fd_set_entry(ep, FD_EPOLL, set);
	return set;
}

void epset_set_force(struct epset *set, struct reg *r, bool yes)
{
	if (r->force != yes)
		atomic_fetch_add(&set->forced, yes ? 1 : -1);
	r->force = yes;
}

static void into_set(struct epset *set, struct reg *r, struct sock *s)
{
	r->sock = s;
	count_add(&s->epolls, 1);
	add_rlx(set->head.regs, 1);
}

static void out_of_set(struct epset *set, struct reg *r)
{
	count_add(&r->sock->epolls, -1);
	add_rlx(set->head.regs, -1);
	r->sock = NULL;
	r->events = 0;
}

bool epset_stand_down(struct epset *set, int fd)
{
	if (!set->stands || set->stands_for != fd)
		return false;
	sys_call(SYS_epoll_ctl, set->stands_in, EPOLL_CTL_DEL, set->stand_in, NULL); /* a fork's child may have it, too */
	fd_close_hidden(set->stand_in);
	set->stands = false;
	return true;
}

static void drop_reg(struct epset *set, struct reg *r)
{
	epset_stand_down(set, r->fd);
	epset_unindex(set, r);
	epset_set_force(set, r, false);
	out_of_set(set, r);
}

/* The stream of a connection that its waits see; must ring for everything unless it may be polled. */
static void arm(struct epset *set, struct reg *r)
{
	struct stream *st = load_acq(r->sock->stream);

	if (!st)
		return;
	if (!atomic_exchange(&set->any, true))
		epset_not_plain(set);
	if (!atomic_exchange(&st->watched, true)) { /* what others were told of polling is taken back */
		stream_sleep_begin(st);
		stream_sleep_end(st);
	}
	if (wants_edges(r->events) || atomic_load(&set->unseen) || load_rlx(r->sock->epolls) > 1)
		stream_set_edge(st, true);
}

bool epset_kernel_shows(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return sys_call(SYS_poll, &p, 1, 0) == 1;
}

static int always_readable(void)
{
	long fd = sys_call(SYS_eventfd2, 1, EFD_CLOEXEC | EFD_NONBLOCK);

	return fd < 0 ? -1 : fd_hide((int)fd);
}

/*
 * Whoever sleeps on the set, or on one around it, is woken as by a registration over data that the kernel knows of: once,
 * by an event with the registration's own data, which is right even for a wait that does not come through here.
 */
static void wake_sleepers(struct epset *set, int ep, const struct reg *r)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLONESHOT, .data.u64 = r->data };

	if (set->stands) /* one is enough: whoever comes looks at all that nobody rang for */
		epset_stand_down(set, set->stands_for);
	set->stand_in = always_readable();
	if (set->stand_in < 0)
		return;
	set->stands = true;
	set->stands_for = r->fd;
	set->stands_in = ep;
	if (sys_call(SYS_epoll_ctl, ep, EPOLL_CTL_ADD, set->stand_in, &ev))
		epset_stand_down(set, r->fd);
}

/* The kernel reports what is there when a registration is made; what nobody rang for it does not know. */
static void meet_unread(struct epset *set, int ep, struct reg *r)
{
	struct stream *st = load_acq(r->sock->stream);
	bool unread = st && stream_wait_ready(st) == READY_YES;

	if (st && wants_edges(r->events))
		epset_set_force(set, r, unread && (r->events & EPOLLIN));
	if (!unread || !(r->events & EPOLLIN) || epset_kernel_shows(r->fd))
		return;
	if (!wants_edges(r->events))
		atomic_store(&set->unrung, true);
	wake_sleepers(set, ep, r);
}

/* The connection is held for as long as its stream is looked at. */
static void meet_stream(struct epset *set, int ep, struct reg *r)
{
	struct sock *s = sock_enter(r->fd);

	if (s == r->sock) {
		arm(set, r);
		meet_unread(set, ep, r);
	}
	if (s)
		sock_leave(s);
}

/* False: there is no memory for it. */
static bool upsert(struct epset *set, int ep, struct sock *s, int fd, const struct epoll_event *ev)
{
	struct reg *r = epset_place(set, fd);
	bool known = true;

	if (!r && !(r = epset_make_place(set, fd)))
		return false;
	epset_stand_down(set, fd);
	if (r->sock && r->sock != s) /* the number stands for another connection now */
		drop_reg(set, r);
	bool fresh = !r->sock;
	if (fresh)
		into_set(set, r, s);
	if (fresh || r->data != ev->data.u64)
		known = epset_set_data(set, r, ev->data.u64);
	r->events = ev->events;
	if (load_acq(s->stream))
		meet_stream(set, ep, r);
	return known;
}

static void forget_hot(struct epset *set, int fd)
{
	for (int i = 0; i < set->hots; i++)
		if (set->hot[i] == fd)
			set->hot[i--] = set->hot[--set->hots];
}

/* Waits on it cannot be corrected: it rings for everything, and goes back to where that is not needed. */
static void leave_unwatched(int fd)
{
	struct sock *s = sock_enter(fd);

	if (!s)
		return;
	wait_ring_for_everything(s);
	sock_make_plain(s, fd, FALLBACK_UNWATCHED);
	sock_leave(s);
}

bool epset_any_readable(struct epset *set)
{
	EPSET_EACH(set, r) {
		struct stream *st = level_input(r) ? load_acq(r->sock->stream) : NULL;
		if (st && stream_wait_ready(st) == READY_YES)
			return true;
	}
	return false;
}

/* Somebody waits on this set in a way that does not come here. */
static void go_unseen(struct epset *set)
{
	if (atomic_exchange(&set->unseen, true))
		return;
	section_lock(&set->lock);
	EPSET_EACH(set, r)
		arm(set, r);
	atomic_store(&set->unrung, epset_any_readable(set));
	section_unlock(&set->lock);
}

void epset_disarm(int ep, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event ev = { .events = events & (EPOLLET | EPOLLONESHOT), .data.u64 = data };

	if (events & EPOLLONESHOT)
		sys_call(SYS_epoll_ctl, ep, EPOLL_CTL_MOD, fd, &ev);
}

static bool own_unrung(struct epset *set)
{
	if (!atomic_load(&set->unrung))
		return false;
	section_lock(&set->lock);
	bool yes = epset_any_readable(set);
	atomic_store(&set->unrung, yes);
	section_unlock(&set->lock);
	return yes;
}

/* ---- sets within sets: the lock of the list of sets is held where nests are touched */

enum { NESTED_MOST = 5 }; /* the kernel's own limit */

static bool nest_due(const struct nest *n, int depth);

static bool any_nest_due(const struct epset *set, int depth)
{
	for (const struct nest *n = set->nests; n && depth; n = n->next)
		if (nest_due(n, depth - 1))
			return true;
	return false;
}

static bool nest_due(const struct nest *n, int depth)
{
	if (!(n->events & EPOLLIN) || (wants_edges(n->events) && !n->owed))
		return false;
	return own_unrung(n->set) || any_nest_due(n->set, depth);
}

bool epset_nest_due(struct epset *set)
{
	if (!atomic_load(&set->head.nested))
		return false;
	section_lock(&sets_lock);
	bool yes = any_nest_due(set, NESTED_MOST);
	section_unlock(&sets_lock);
	return yes;
}

static void told_once(struct nest *n, int ep)
{
	n->owed = false;
	epset_disarm(ep, n->fd, n->events, n->data);
}

void epset_tell_nests(struct epset *set, int ep, bool (*tell)(void *arg, uint64_t data), void *arg)
{
	if (!atomic_load(&set->head.nested))
		return;
	section_lock(&sets_lock);
	for (struct nest *n = set->nests; n; n = n->next) {
		if (!nest_due(n, NESTED_MOST - 1))
			continue;
		if (!tell(arg, n->data))
			break;
		if (wants_edges(n->events))
			told_once(n, ep);
	}
	section_unlock(&sets_lock);
}

/* The place of the registration in the list, or the list's end. */
static struct nest **find_nest(struct epset *set, const struct epset *inner, int fd)
{
	struct nest **at = &set->nests;

	while (*at && ((*at)->set != inner || ((*at)->fd != fd && fd >= 0)))
		at = &(*at)->next;
	return at;
}

static void drop_nest(struct epset *set, struct nest **at)
{
	struct nest *n = *at;

	*at = n->next;
	free(n);
	atomic_fetch_sub(&set->head.nested, 1);
}

static struct nest *add_nest(struct epset *set, struct nest **at)
{
	struct nest *n = *at = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	atomic_fetch_add(&set->head.nested, 1);
	epset_not_plain(set);
	return n;
}

static void note_nest(struct epset *set, struct epset *inner, int op, int fd, const struct epoll_event *ev)
{
	section_lock(&sets_lock);
	struct nest **at = find_nest(set, inner, fd), *n = *at;

	if (op == EPOLL_CTL_DEL && n)
		drop_nest(set, at);
	else if (op != EPOLL_CTL_DEL && (n || (n = add_nest(set, at))))
		*n = (struct nest){ fd, ev->events, ev->data.u64, inner, true, n->next };
	section_unlock(&sets_lock);
}

bool wait_epoll_holds_unrung(int ep)
{
	struct epset *set = epset_of(ep);

	return set && (own_unrung(set) || epset_nest_due(set));
}

void wait_epoll_unseen(int ep)
{
	struct epset *set = epset_of(ep);

	if (set)
		go_unseen(set);
}

void wait_epoll_created(int ep)
{
	if (!epset_of(ep))
		set_create(ep);
}

static bool note_all(struct epset *set, int ep, struct sock *s, int op, int fd, const struct epoll_event *ev)
{
	if (op != EPOLL_CTL_DEL)
		return upsert(set, ep, s, fd, ev);
	struct reg *r = epset_find_fd(set, fd);
	forget_hot(set, fd);
	if (r)
		drop_reg(set, r);
	return true;
}

/* The connection is not held: its memory stays a connection's, and only its numbers are touched. */
void wait_epoll_note(int ep, int op, int fd, const struct epoll_event *ev)
{
	uintptr_t e = fd_get(fd);
	struct epset *set = epset_of(ep);

	if (fd_kind(e) != FD_SOCK)
		return;
	if (!set && !(set = set_create(ep))) {
		leave_unwatched(fd);
		return;
	}
	section_lock(&set->lock);
	bool known = note_all(set, ep, fd_object(e), op, fd, ev);
	section_unlock(&set->lock);
	if (!known)
		leave_unwatched(fd);
}

/* What a call for a connection without a stream comes to.  False: there is more to do; it may begin again. */
static inline bool note_plain(struct epset *set, struct sock *s, int op, int fd, const struct epoll_event *ev)
{
	struct reg *r = epset_place(set, fd);

	if (__builtin_expect(!r || (r->sock && r->sock != s) || r->force || set->indexed || set->hots || set->stands, 0))
		return false;
	if (op == EPOLL_CTL_DEL) {
		if (r->sock)
			out_of_set(set, r);
		return true;
	}
	if (!r->sock)
		into_set(set, r, s);
	r->data = ev->data.u64;
	r->events = ev->events;
	return !load_acq(s->stream);
}

/* Programs register and delete for every request: the shortest way through, in few lines of the caches. */
static inline bool note_quick(int ep, int op, int fd, const struct epoll_event *ev)
{
	uintptr_t e = fd_get(fd);
	struct epset *set = epset_of(ep);

	if (__builtin_expect(fd_kind(e) != FD_SOCK || !set, 0))
		return false;
	section_lock(&set->lock);
	bool done = note_plain(set, fd_object(e), op, fd, ev);
	section_unlock(&set->lock);
	return done;
}

static void note_other(int ep, int op, int fd, const struct epoll_event *ev)
{
	struct epset *set = epset_of(ep), *inner = epset_of(fd);

	if (set && op != EPOLL_CTL_MOD)
		atomic_fetch_add(&set->others, op == EPOLL_CTL_ADD ? 1 : -1);
	if (op == EPOLL_CTL_ADD)
		wait_epoll_unseen(fd);
	if (set && inner)
		note_nest(set, inner, op, fd, ev);
}

__attribute__((noinline)) static void note_rest(int ep, int op, int fd, const struct epoll_event *ev)
{
	if (fd_kind(fd_get(fd)) == FD_SOCK)
		wait_epoll_note(ep, op, fd, ev);
	else
		note_other(ep, op, fd, ev);
}

/* No cancellation point: libc's adds a visit to cold code, which shows where it is called for every request. */
static inline int kernel_ctl(int ep, int op, int fd, struct epoll_event *ev)
{
	if (!real_epoll_ctl_is_libcs)
		return real.epoll_ctl(ep, op, fd, ev);
	long r = sys_call(SYS_epoll_ctl, ep, op, fd, ev);
	if (__builtin_expect(!r, 1))
		return 0;
	errno = (int)-r;
	return -1;
}

int wait_epoll_ctl(int ep, int op, int fd, struct epoll_event *ev)
{
	int r = kernel_ctl(ep, op, fd, ev);

	if (!r && !note_quick(ep, op, fd, ev))
		note_rest(ep, op, fd, ev);
	return r;
}

/* ---- ends */

static void forget_sock(struct epset *set, struct sock *s)
{
	section_lock(&set->lock);
	EPSET_EACH(set, r) {
		if (r->sock != s)
			continue;
		forget_hot(set, r->fd);
		drop_reg(set, r);
	}
	section_unlock(&set->lock);
}

void wait_sock_closed(struct sock *s, int fd)
{
	if (!load_rlx(s->epolls))
		return;
	section_lock(&sets_lock);
	for (struct epset *set = sets; set && load_rlx(s->epolls); set = set->next)
		forget_sock(set, s);
	section_unlock(&sets_lock);
}

/* Out of every set that it is in, as it is out of the list. */
static void unlink_set(struct epset *set)
{
	section_lock(&sets_lock);
	while (set->nests)
		drop_nest(set, &set->nests);
	for (struct epset *s = sets; s; s = s->next)
		for (struct nest **at; *(at = find_nest(s, set, -1));)
			drop_nest(s, at);
	if (set->prev)
		set->prev->next = set->next;
	else
		sets = set->next;
	if (set->next)
		set->next->prev = set->prev;
	section_unlock(&sets_lock);
}

/* A wait in another thread may still run: then the set stays, unlinked and empty. */
void wait_epoll_closed(void *object)
{
	struct epset *set = object;
	unlink_set(set);
	section_lock(&set->lock);
	set->hots = 0;
	EPSET_EACH(set, r)
		drop_reg(set, r);
	epset_free_places(set);
	section_unlock(&set->lock);
	if (!atomic_load(&set->waiters))
		free(set);
}

/* The kernel's set is shared with the parent now; ours is a copy.  Locks may have been held. */
void wait_after_fork(void)
{
	atomic_store(&sets_lock, 0);
	for (struct epset *set = sets; set; set = set->next) {
		atomic_store(&set->lock, 0);
		atomic_store(&set->waiters, 0);
		set->hots = 0;
		go_unseen(set);
	}
}
