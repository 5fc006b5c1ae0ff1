#include "life.h"

#include "family.h"
#include "process.h"
#include "profile.h"
#include "real.h"
#include "settings.h"
#include "stats.h"
#include "wait.h"

#include <fcntl.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>

#ifndef TCP_INQ
#define TCP_INQ 36
#endif
#ifndef TCP_ZEROCOPY_RECEIVE
#define TCP_ZEROCOPY_RECEIVE 35
#endif
#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC 4
#endif

/* ---- birth */

static bool is_tcp(int fd)
{
	int protocol = 0;
	socklen_t len = sizeof(protocol);

	return !sys_call(SYS_getsockopt, fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) && protocol == IPPROTO_TCP;
}

int life_accept(int listener, struct sockaddr *addr, socklen_t *len, int flags)
{
	int fd = flags < 0 ? real.accept(listener, addr, len) : real.accept4(listener, addr, len, flags);

	if (fd >= 0 && sockets_on && is_tcp(fd) && process_is_owner())
		sock_track(fd, 1, flags > 0 && (flags & SOCK_NONBLOCK));
	return fd;
}

static void drop(int fd);

int life_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
	int r = real.connect(fd, addr, len), err = errno;

	if (!sockets_on || (r && err != EINPROGRESS && err != EINTR))
		return r;
	if (addr && len >= sizeof(addr->sa_family) && addr->sa_family == AF_UNSPEC)
		drop(fd);
	else if (fd_kind(fd_get(fd)) == FD_FOREIGN && is_tcp(fd) && process_is_owner())
		sock_track(fd, 0, !!(sys_call(SYS_fcntl, fd, F_GETFL) & O_NONBLOCK));
	errno = err;
	return r;
}

/* ---- options */

static void make_plain(struct sock *s, int fd, enum stat_id why)
{
	sock_make_plain(s, fd, (int)why);
}

static bool known_tcp_option(int name)
{
	switch (name) {
	case TCP_NODELAY:
	case TCP_MAXSEG:
	case TCP_CORK:
	case TCP_KEEPIDLE:
	case TCP_KEEPINTVL:
	case TCP_KEEPCNT:
	case TCP_SYNCNT:
	case TCP_LINGER2:
	case TCP_DEFER_ACCEPT:
	case TCP_WINDOW_CLAMP:
	case TCP_QUICKACK:
	case TCP_CONGESTION:
	case TCP_THIN_LINEAR_TIMEOUTS:
	case TCP_THIN_DUPACK:
	case TCP_USER_TIMEOUT:
	case TCP_FASTOPEN:
	case TCP_FASTOPEN_CONNECT:
	case TCP_NOTSENT_LOWAT:
	case TCP_SAVE_SYN:
	case TCP_INQ:
		return true;
	default:
		return false;
	}
}

/* What is not among these may ask for something that the stream does not do: time stamps, filters, an offset for MSG_PEEK. */
static bool known_socket_option(int name)
{
	switch (name) {
	case SO_DEBUG:
	case SO_REUSEADDR:
	case SO_REUSEPORT:
	case SO_DONTROUTE:
	case SO_BROADCAST:
	case SO_SNDBUF:
	case SO_SNDBUFFORCE:
	case SO_RCVBUF:
	case SO_RCVBUFFORCE:
	case SO_KEEPALIVE:
	case SO_OOBINLINE:
	case SO_PRIORITY:
	case SO_LINGER:
	case SO_RCVLOWAT:
	case SO_RCVTIMEO:
	case SO_SNDTIMEO:
	case SO_BINDTODEVICE:
	case SO_MARK:
	case SO_BUSY_POLL:
	case SO_MAX_PACING_RATE:
	case SO_INCOMING_CPU:
#ifdef SO_ZEROCOPY
	case SO_ZEROCOPY: /* MSG_ZEROCOPY is looked at where it comes */
#endif
		return true;
	default:
		return false;
	}
}

static int int_value(const void *val, socklen_t len)
{
	return val && len >= sizeof(int) ? *(const int *)val : 0;
}

/* What a connection's option means for us before the kernel sets it. */
static void before_setsockopt(struct sock *s, int fd, int level, int name, int v)
{
	if (level == SOL_SOCKET && name == SO_OOBINLINE && v)
		make_plain(s, fd, FALLBACK_OOB);
	else if ((level == IPPROTO_TCP && !known_tcp_option(name)) || (level == SOL_SOCKET && !known_socket_option(name)))
		make_plain(s, fd, FALLBACK_ULP);
}

/* Nagle's algorithm would hold doorbells: on an upgraded connection the kernel keeps TCP_NODELAY. */
static bool emulated(struct sock *s, int level, int name, int v)
{
	if (level != IPPROTO_TCP || name != TCP_NODELAY || !load_acq(s->stream))
		return false;
	store_rlx(s->nodelay, v != 0);
	return true;
}

/* What a stream has to know of an option that the kernel has taken. */
static void after_setsockopt(struct sock *s, int fd, struct stream *st, int level, int name, int v)
{
	if (level == IPPROTO_TCP && name == TCP_CORK)
		store_rlx(st->cork, v != 0);
	else if (level == IPPROTO_TCP && name == TCP_INQ)
		st->inq = v != 0;
	else if (level == SOL_SOCKET && name == SO_RCVLOWAT)
		stream_set_lowat(st, fd, v);
	else if (level == SOL_SOCKET && name == SO_RCVTIMEO)
		sock_read_time_out(fd, st);
	else if (level == SOL_SOCKET && name == SO_LINGER)
		stream_set_abortive(st, sock_is_abortive(fd));
	else if (level == SOL_SOCKET && (name == SO_SNDBUF || name == SO_SNDBUFFORCE))
		sock_read_capacity(fd, st);
}

static int setsockopt_held(int fd, int level, int name, const void *val, socklen_t len)
{
	struct sock *s = sock_enter(fd);
	int r = 0;

	if (!s)
		return real.setsockopt(fd, level, name, val, len);
	before_setsockopt(s, fd, level, name, int_value(val, len));
	if (!val || len < sizeof(int) || !emulated(s, level, name, *(const int *)val))
		r = real.setsockopt(fd, level, name, val, len);
	struct stream *st = load_acq(s->stream);
	if (!r && st)
		after_setsockopt(s, fd, st, level, name, int_value(val, len));
	sock_leave(s);
	return r;
}

/*
 * Without a stream TCP_CORK, which servers set and take back for every answer, is the kernel's alone: a stream that has
 * come up meanwhile may have asked for it too early.
 */
int life_setsockopt(int fd, int level, int name, const void *val, socklen_t len)
{
	uintptr_t e = fd_get(fd);

	if (fd_kind(e) != FD_SOCK)
		return real.setsockopt(fd, level, name, val, len);
	if (level != IPPROTO_TCP || name != TCP_CORK || load_acq(sock_of(e)->stream))
		return setsockopt_held(fd, level, name, val, len);
	int r = real.setsockopt(fd, level, name, val, len);
	return r || !load_acq(sock_of(e)->stream) ? r : setsockopt_held(fd, level, name, val, len);
}

/* An end that the kernel takes for an orderly one may be a reset: then its socket has the error.  Or the other way round. */
static void find_reset(struct stream *st, int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLRDHUP };

	if (sys_call(SYS_poll, &p, 1, 0) != 1)
		return;
	if (p.revents == POLLRDHUP)
		stream_really_readable(st, fd);
	else if (p.revents & POLLERR)
		stream_over_events(st, fd, (uint32_t)p.revents);
}

int life_getsockopt(int fd, int level, int name, void *val, socklen_t *len)
{
	struct sock *s = sock_enter(fd);

	if (!s)
		return real.getsockopt(fd, level, name, val, len);
	if (level == IPPROTO_TCP && name == TCP_ZEROCOPY_RECEIVE)
		make_plain(s, fd, FALLBACK_ZEROCOPY);
	struct stream *rx = sock_stream(s, RX);
	if (rx && level == SOL_SOCKET && name == SO_ERROR)
		find_reset(rx, fd);
	int r = real.getsockopt(fd, level, name, val, len);
	if (!r && rx && level == SOL_SOCKET && name == SO_ERROR && *len >= sizeof(int) && !*(int *)val)
		*(int *)val = -side_kept_error(rx->side); /* a call of ours met it */
	if (!r && level == IPPROTO_TCP && name == TCP_NODELAY && load_acq(s->stream) && *len >= sizeof(int))
		*(int *)val = load_rlx(s->nodelay);
	struct stream *st = load_acq(s->stream);
	if (!r && st && level == SOL_SOCKET && name == SO_RCVLOWAT && *len >= sizeof(int))
		*(int *)val = load_rlx(st->lowat);
	sock_leave(s);
	return r;
}

/* To the program; its kernel has the connection for reset. */
static bool ended_orderly(struct stream *st, int fd)
{
	stream_over_events(st, fd, POLLERR);
	return load_rlx(st->side->ended) != END_NOT;
}

int life_shutdown(int fd, int how)
{
	struct sock *s = sock_enter(fd);

	if (!s)
		return real.shutdown(fd, how);
	struct stream *st = sock_stream(s, TX);
	if (st && (how == SHUT_WR || how == SHUT_RDWR))
		stream_shutdown_write(st);
	int r = real.shutdown(fd, how);
	if (r && errno == ENOTCONN && st && ended_orderly(st, fd))
		r = 0;
	sock_leave(s);
	return r;
}

static void set_nonblock(struct sock *s, bool yes)
{
	struct stream *st = load_acq(s->stream);

	store_rlx(s->nonblock, yes);
	sock_look_soon(s);
	if (st)
		store_rlx(st->nonblock, yes);
}

static int ioctl_held(struct sock *s, int fd, unsigned long req, void *arg)
{
	struct stream *st = sock_stream(s, RX);

	if (req == FIONREAD && st && arg) {
		*(int *)arg = stream_available(st, fd);
		return 0;
	}
	if (req == FIOASYNC && arg && *(int *)arg)
		make_plain(s, fd, FALLBACK_ASYNC);
	if (req == FIONCLEX)
		make_plain(s, fd, FALLBACK_EXEC);
	int r = real.ioctl(fd, req, arg);
	if (!r && req == FIONBIO)
		set_nonblock(s, *(int *)arg != 0);
	return r;
}

/* Asked before each read by some programs: what the kernel has, as long as it has all. */
static bool asks_the_kernel(int fd, unsigned long req)
{
	uintptr_t e = fd_get(fd);

	return req == FIONREAD && fd_kind(e) == FD_SOCK && !half_is_on(&sock_of(e)->half[RX]);
}

int life_ioctl(int fd, unsigned long req, void *arg)
{
	struct sock *s = asks_the_kernel(fd, req) ? NULL : sock_enter(fd);

	if (!s)
		return real.ioctl(fd, req, arg);
	int r = ioctl_held(s, fd, req, arg);
	sock_leave(s);
	return r;
}

/* ---- sharing */

static void share(struct sock *s, int fd, int to)
{
	if (to >= 0 && to <= 2)
		make_plain(s, fd, FALLBACK_DUP_LOW);
	if (process_is_owner())
		sock_share(s, to);
}

static int fcntl_held(struct sock *s, int fd, int cmd, void *arg)
{
	if (cmd == F_SETFL && ((long)arg & O_ASYNC))
		make_plain(s, fd, FALLBACK_ASYNC);
	if (cmd == F_SETFD && !((long)arg & FD_CLOEXEC) && (sys_call(SYS_fcntl, fd, F_GETFD) & FD_CLOEXEC))
		make_plain(s, fd, FALLBACK_EXEC); /* kept on purpose for another program */
	int r = real.fcntl(fd, cmd, arg);
	if (r < 0)
		return r;
	if (cmd == F_SETFL)
		set_nonblock(s, !!((long)arg & O_NONBLOCK));
	else if (cmd == F_DUPFD || cmd == F_DUPFD_CLOEXEC)
		share(s, fd, r);
	return r;
}

int life_fcntl(int fd, int cmd, void *arg)
{
	struct sock *s = sock_enter(fd);

	if (!s)
		return real.fcntl(fd, cmd, arg);
	int r = fcntl_held(s, fd, cmd, arg);
	sock_leave(s);
	return r;
}

int life_dup(int fd)
{
	struct sock *s = sock_enter(fd);

	if (!s)
		return real.dup(fd);
	int r = real.dup(fd);
	if (r >= 0)
		share(s, fd, r);
	sock_leave(s);
	return r;
}

/* ---- end */

static void end_entry(uintptr_t e, int fd)
{
	if (fd_kind(e) == FD_SOCK) {
		struct sock *s = fd_object(e);
		if (load_rlx(s->fds) == 1)
			wait_sock_closed(s, fd);
		sock_unshare(s, fd);
	} else if (fd_kind(e) == FD_EPOLL) {
		wait_epoll_closed(fd_object(e));
	}
}

/* The entry goes before the number does: another thread may get it at once. */
static void drop(int fd)
{
	uintptr_t e = fd_clear(fd);

	if (e)
		end_entry(e, fd);
}

static bool is_hidden(int fd)
{
	return fd_kind(fd_get(fd)) == FD_HIDDEN;
}

int life_close(int fd)
{
	if (!fd_get(fd) || !process_is_owner())
		return real.close(fd);
	if (is_hidden(fd)) {
		errno = EBADF;
		return -1;
	}
	drop(fd);
	return real.close(fd);
}

static int dup_onto(int fd, int to, int flags, bool with_flags)
{
	struct sock *s = sock_enter(fd);
	bool owner = process_is_owner();

	if (s && to >= 0 && to <= 2)
		make_plain(s, fd, FALLBACK_DUP_LOW);
	if (owner && fd != to && is_hidden(to)) /* ours gives way: the program wants this very number */
		fd_clear(to);
	int r = with_flags ? real.dup3(fd, to, flags) : real.dup2(fd, to);
	int err = errno;
	if (r >= 0 && fd != to && owner) {
		drop(to);
		if (s)
			sock_share(s, to);
	}
	if (s)
		sock_leave(s);
	errno = err;
	return r;
}

int life_dup2(int fd, int to)
{
	return fd_get(fd) || fd_get(to) ? dup_onto(fd, to, 0, false) : real.dup2(fd, to);
}

int life_dup3(int fd, int to, int flags)
{
	return fd_get(fd) || fd_get(to) ? dup_onto(fd, to, flags, true) : real.dup3(fd, to, flags);
}

/* Ranges between our own descriptors; these stay. */
static int close_around_hidden(unsigned first, unsigned last, int flags)
{
	unsigned top = (unsigned)atomic_load(&fd_highest) + 1;
	int r = 0;

	for (unsigned fd = first; fd < top && fd <= last && !r; fd++) {
		if (!is_hidden((int)fd))
			continue;
		if (fd > first)
			r = real.close_range(first, fd - 1, flags);
		first = fd + 1;
	}
	return r || first > last ? r : real.close_range(first, last, flags);
}

int life_close_range(unsigned first, unsigned last, int flags)
{
	if (flags & CLOSE_RANGE_CLOEXEC || first > last || !process_is_owner())
		return real.close_range(first, last, flags);
	for (int fd = (int)first; first <= INT_MAX && fd <= atomic_load(&fd_highest) && (unsigned)fd <= last; fd++)
		if (!is_hidden(fd))
			drop(fd);
	return close_around_hidden(first, last, flags);
}

void life_leaves(int fd, int why)
{
	struct sock *s = sock_enter(fd);

	if (!s)
		return;
	sock_make_plain(s, fd, why);
	sock_leave(s);
}

void life_forget(int fd)
{
	if (fd_get(fd) && !is_hidden(fd) && process_is_owner())
		drop(fd);
}

int life_fclose(FILE *f)
{
	int fd = f ? fileno(f) : -1;

	if (fd >= 0)
		life_forget(fd);
	return real.fclose(f);
}

/* ---- fork */

static void mark_forked(int fd)
{
	struct sock *s = sock_enter(fd);

	if (!s)
		return;
	store_rlx(s->forked, true);
	sock_leave(s);
}

static bool tracks_anything(void)
{
	return atomic_load(&fd_highest) >= 0;
}

static bool stays_open(int fd)
{
	long flags = sys_call(SYS_fcntl, fd, F_GETFD, 0);

	return flags >= 0 && !(flags & FD_CLOEXEC);
}

/*
 * Another program takes this one's place, with the connections that are left open.  What a child has inherited its parent uses, and
 * most programs that children become never touch it.
 */
void life_before_exec(void)
{
	if (!tracks_anything() || !process_is_owner())
		return;
	for (int fd = 0; fd <= atomic_load(&fd_highest); fd++) {
		struct sock *s = sock_enter(fd);
		if (!s)
			continue;
		if (load_acq(s->stream) && !load_rlx(s->inherited) && stays_open(fd))
			sock_make_plain(s, fd, FALLBACK_EXEC);
		sock_leave(s);
	}
}

static void before_fork(void)
{
	if (!tracks_anything() || !process_is_owner())
		return;
	family_before_fork();
	stream_before_fork();
	for (int fd = 0; fd <= atomic_load(&fd_highest); fd++)
		if (fd_kind(fd_get(fd)) == FD_SOCK)
			mark_forked(fd);
}

/* A rendezvous belongs to the process that opened it. */
static void leave_rendezvous(int fd)
{
	struct sock *s = sock_enter(fd);

	if (!s)
		return;
	if (s->rv.listener >= 0)
		rendezvous_close(&s->rv);
	store_rlx(s->meeting, NULL); /* its thread is the parent's */
	sock_in_child(s);
	sock_leave(s);
}

static void in_child(void)
{
	process_note();
	stats_after_fork();
	sock_after_fork();
	verbs_after_fork();
	profile_after_fork();
	if (!tracks_anything())
		return;
	family_in_child();
	wait_after_fork();
	for (int fd = 0; fd <= atomic_load(&fd_highest); fd++)
		if (fd_kind(fd_get(fd)) == FD_SOCK)
			leave_rendezvous(fd);
}

void life_init(void)
{
	process_note();
	sockets_on = settings.enabled && settings.sockets && (settings.shm || settings.rdma);
	stream_trim_idle = sock_trim_idle;
	process_at_fork(before_fork, in_child);
}

/* ---- exit */

void life_exit(void)
{
	if (!process_is_owner())
		return;
	profile_close();
	fallback_say_rest();
	for (int fd = 0; fd <= atomic_load(&fd_highest); fd++) {
		struct sock *s = sock_enter(fd);
		if (!s)
			continue;
		sock_quiesce(s, fd);
		sock_leave(s);
	}
}
