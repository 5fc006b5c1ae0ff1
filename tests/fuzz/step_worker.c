#include "step.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <linux/sockios.h>

#include "calls.h"
#include "step_proc.h"
#include "step_bulk.h"

#define SETTLE_MS 3000

const struct opt step_opts[] = {
	[OPT_NODELAY] = { "TCP_NODELAY", IPPROTO_TCP, TCP_NODELAY, 0 },
	[OPT_CORK] = { "TCP_CORK", IPPROTO_TCP, TCP_CORK, 0 },
	[OPT_RCVLOWAT] = { "SO_RCVLOWAT", SOL_SOCKET, SO_RCVLOWAT, 0 },
	[OPT_RCVTIMEO] = { "SO_RCVTIMEO", SOL_SOCKET, SO_RCVTIMEO, 1 },
	[OPT_SNDTIMEO] = { "SO_SNDTIMEO", SOL_SOCKET, SO_SNDTIMEO, 1 },
	[OPT_KEEPALIVE] = { "SO_KEEPALIVE", SOL_SOCKET, SO_KEEPALIVE, 0 },
	[OPT_QUICKACK] = { "TCP_QUICKACK", IPPROTO_TCP, TCP_QUICKACK, 0 },
	[OPT_LINGER] = { "SO_LINGER", SOL_SOCKET, SO_LINGER, 0 },
	[OPT_SNDBUF] = { "SO_SNDBUF", SOL_SOCKET, SO_SNDBUF, 0 },
	[OPT_RCVBUF] = { "SO_RCVBUF", SOL_SOCKET, SO_RCVBUF, 0 },
	[OPT_ERROR] = { "SO_ERROR", SOL_SOCKET, SO_ERROR, 0 },
	[OPT_TYPE] = { "SO_TYPE", SOL_SOCKET, SO_TYPE, 0 },
	[OPT_OOBINLINE] = { "SO_OOBINLINE", SOL_SOCKET, SO_OOBINLINE, 0 },
	[OPT_USER_TIMEOUT] = { "TCP_USER_TIMEOUT", IPPROTO_TCP, TCP_USER_TIMEOUT, 0 },
};
const int step_nopts = sizeof(step_opts) / sizeof(*step_opts);

static int handles[MAX_HANDLES];
static int epolls[MAX_EPOLLS];
static int listeners[2] = { -1, -1 };
static volatile sig_atomic_t sigpipes;

struct job {
	pthread_t thread;
	struct cmd cmd;
	struct reply reply;
	int busy, done;
	int tid;
};
static struct job jobs[MAX_THREADS];

static void on_sigpipe(int sig)
{
	sigpipes++;
}

static void on_signal(int sig)
{
}

static long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void nap(long us)
{
	nanosleep(&(struct timespec){ 0, us * 1000 }, NULL);
}

static int is_nonblocking(int fd)
{
	return !!(fcntl(fd, F_GETFL) & O_NONBLOCK);
}

static socklen_t loopback(struct sockaddr_storage *ss, int family, int port)
{
	memset(ss, 0, sizeof(*ss));
	ss->ss_family = family;
	if (family == AF_INET6) {
		struct sockaddr_in6 *a = (void *)ss;

		a->sin6_addr = in6addr_loopback;
		a->sin6_port = htons(port);
		return sizeof(*a);
	}
	((struct sockaddr_in *)ss)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	((struct sockaddr_in *)ss)->sin_port = htons(port);
	return sizeof(struct sockaddr_in);
}

static int family_of(int v6)
{
	return v6 ? AF_INET6 : AF_INET;
}

static int set_opt(int fd, int which, int value)
{
	const struct opt *o = &step_opts[which];
	struct timeval tv = { value / 1000, value % 1000 * 1000 };
	struct linger l = { value >= 0, value };

	if (o->is_time)
		return setsockopt(fd, o->level, o->name_id, &tv, sizeof(tv));
	if (which == OPT_LINGER)
		return setsockopt(fd, o->level, o->name_id, &l, sizeof(l));
	return setsockopt(fd, o->level, o->name_id, &value, sizeof(value));
}

static int get_opt(int fd, int which, int *ret_value)
{
	const struct opt *o = &step_opts[which];
	struct timeval tv;
	struct linger l;
	socklen_t len = o->is_time ? sizeof(tv) : which == OPT_LINGER ? sizeof(l) : sizeof(int);
	void *p = o->is_time ? (void *)&tv : which == OPT_LINGER ? (void *)&l : ret_value;
	int r = getsockopt(fd, o->level, o->name_id, p, &len);

	if (!r && o->is_time)
		*ret_value = tv.tv_sec * 1000 + tv.tv_usec / 1000;
	if (!r && which == OPT_LINGER)
		*ret_value = l.l_onoff ? l.l_linger : -1;
	return r;
}

/* a: v6, small buffers. The port is returned and not logged. */
static void do_listen(const struct cmd *c, struct reply *r)
{
	struct sockaddr_storage ss;
	socklen_t len = loopback(&ss, family_of(c->a[0]), 0);
	int fd = socket(family_of(c->a[0]), SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	int high = fcntl(fd, F_DUPFD_CLOEXEC, 290);

	close(fd);
	setsockopt(high, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (c->a[1])
		set_opt(high, OPT_RCVBUF, c->a[1]);
	r->ret = bind(high, (void *)&ss, len) || listen(high, 16) ? -1 : 0;
	r->err = errno;
	getsockname(high, (void *)&ss, &len);
	r->v[0] = ntohs(c->a[0] ? ((struct sockaddr_in6 *)&ss)->sin6_port :
		((struct sockaddr_in *)&ss)->sin_port);
	listeners[!!c->a[0]] = high;
}

/* a: handle, v6, port, non-blocking, small buffer, reuse of the address structure. */
static void do_connect(const struct cmd *c, struct reply *r)
{
	struct sockaddr_storage ss;
	socklen_t len = loopback(&ss, family_of(c->a[1]), c->a[2]);
	int fd = socket(family_of(c->a[1]), SOCK_STREAM | (c->a[3] ? SOCK_NONBLOCK : 0), 0);
	struct pollfd p = { fd, POLLOUT, 0 };

	handles[c->a[0]] = fd;
	r->v[0] = fd;
	if (c->a[4])
		set_opt(fd, OPT_SNDBUF, c->a[4]);
	r->ret = connect(fd, (void *)&ss, len);
	r->err = errno;
	/* Loopback may finish at once or not: both are right. */
	if (c->a[3] && (!r->ret || r->err == EINPROGRESS)) {
		r->ret = 0;
		r->v[1] = poll(&p, 1, SETTLE_MS);
		r->v[2] = p.revents;
		get_opt(fd, OPT_ERROR, &r->v[3]);
	}
}

/* Connects to a port where nobody listens. a: port, non-blocking. */
static void do_refused(const struct cmd *c, struct reply *r)
{
	struct sockaddr_storage ss;
	socklen_t len = loopback(&ss, AF_INET, c->a[0]);
	int fd = socket(AF_INET, SOCK_STREAM | (c->a[1] ? SOCK_NONBLOCK : 0), 0);
	struct pollfd p = { fd, POLLIN | POLLOUT, 0 };

	r->ret = connect(fd, (void *)&ss, len);
	r->err = errno;
	/* Whether a refusal is already known when connect returns is up to the kernel. */
	if (c->a[1] && r->err == EINPROGRESS) {
		r->v[0] = poll(&p, 1, SETTLE_MS);
		get_opt(fd, OPT_ERROR, &r->v[2]);
		r->err = r->v[2];
	}
	r->v[0] = r->v[2] = 0;
	close(fd);
}

/* a: handle, v6, accept4 flags */
static void do_accept(const struct cmd *c, struct reply *r)
{
	struct sockaddr_storage ss, me;
	socklen_t len = sizeof(ss), melen = sizeof(me);
	int fd = accept4(listeners[!!c->a[1]], (void *)&ss, &len, c->a[2]);

	r->ret = fd < 0 ? -1 : 0;
	r->err = errno;
	handles[c->a[0]] = fd;
	r->v[0] = fd;
	r->v[1] = len;
	r->v[2] = ss.ss_family;
	if (fd >= 0 && !getsockname(fd, (void *)&me, &melen))
		r->v[3] = me.ss_family == ss.ss_family && melen == len;
}

/* a: handle, kind, len, flags */
static void do_send(const struct cmd *c, struct reply *r)
{
	size_t len = c->a[2];
	char *buf = malloc(len + 1);

	pattern_fill(buf, len, c->key, c->off);
	sigpipes = 0;
	r->ret = call_send(c->a[1], handles[c->a[0]], buf, len, c->a[3]);
	r->err = errno;
	r->v[0] = sigpipes;
	free(buf);
}

/* a: handle, kind, len, flags; v: first wrong byte or -1, canary intact */
static void do_recv(const struct cmd *c, struct reply *r)
{
	size_t len = c->a[2];
	unsigned char *buf = malloc(len + 8);

	memset(buf, 0xa5, len + 8);
	r->ret = call_recv(c->a[1], handles[c->a[0]], buf, len, c->a[3]);
	r->err = errno;
	r->v[0] = r->ret > 0 && !(c->a[3] & (MSG_OOB | MSG_TRUNC)) ? pattern_check(buf, r->ret, c->key, c->off) : -1;
	r->v[1] = 0;
	for (int i = 0; i < 8; i++)
		r->v[1] += buf[len + i] != 0xa5;
	free(buf);
}

/* a: handle, kind, events, timeout */
static void do_wait(const struct cmd *c, struct reply *r)
{
	short revents = 0;

	r->ret = call_wait(c->a[1], handles[c->a[0]], c->a[2], c->a[3], &revents);
	r->err = errno;
	/* A reset shows piece by piece to a call that wakes in the middle of it. */
	if (c->a[3] < 0 && (revents & (POLLERR | POLLHUP))) {
		nap(2000);
		r->ret = call_wait(c->a[1], handles[c->a[0]], c->a[2], 0, &revents);
	}
	r->v[0] = revents;
}

static short peek_revents(int fd)
{
	struct pollfd p = { fd, POLLIN | POLLRDHUP | POLLPRI, 0 };

	return poll(&p, 1, 0) < 0 ? 0 : p.revents;
}

/* Waits until the socket shows what is expected. a: handle, FIONREAD or -1, poll events. */
static void do_settle(const struct cmd *c, struct reply *r)
{
	long end = now_ms() + SETTLE_MS;
	int fd = handles[c->a[0]], inq = 0;
	short ev = 0;

	do {
		r->ret = ioctl(fd, FIONREAD, &inq);
		r->err = errno;
		ev = peek_revents(fd);
		if ((c->a[1] < 0 || r->ret || inq == c->a[1]) && (ev & c->a[2]) == c->a[2])
			break;
		nap(200);
	} while (now_ms() < end);
	r->v[0] = r->ret ? 0 : inq;
	r->v[1] = ev;
}

/* Waits for SIOCOUTQ to be what is expected: 0 once the peer's kernel has everything. */
static void do_outq(const struct cmd *c, struct reply *r)
{
	long end = now_ms() + SETTLE_MS;
	int n = -1;

	do {
		r->ret = ioctl(handles[c->a[0]], SIOCOUTQ, &n);
		r->err = errno;
		if (r->ret || !n)
			break;
		nap(500);
	} while (now_ms() < end);
	r->v[0] = n;
}

static void do_atmark(const struct cmd *c, struct reply *r)
{
	r->ret = sockatmark(handles[c->a[0]]);
	r->err = errno;
}

static void do_shutdown(const struct cmd *c, struct reply *r)
{
	r->ret = shutdown(handles[c->a[0]], c->a[1]);
	r->err = errno;
}

static void do_close(const struct cmd *c, struct reply *r)
{
	int fd = handles[c->a[0]];

	r->ret = c->a[1] == 1 ? close_range(fd, fd, 0) :
		c->a[1] == 2 ? syscall(SYS_close, fd) : close(fd);
	r->err = errno;
	handles[c->a[0]] = -1;
}

/* a: old, new, kind */
static void do_dup(const struct cmd *c, struct reply *r)
{
	int fd = handles[c->a[0]], n = -1, spare;

	switch (c->a[2]) {
	case DUP_DUP:
		n = dup(fd);
		break;
	case DUP_DUP2:
	case DUP_DUP3:
		/* Onto an open descriptor, which this closes. */
		spare = open("/dev/null", O_RDONLY);
		n = c->a[2] == DUP_DUP2 ? dup2(fd, spare) : dup3(fd, spare, O_CLOEXEC);
		break;
	case DUP_F_DUPFD:
		n = fcntl(fd, F_DUPFD, 20);
		break;
	case DUP_F_DUPFD_CLOEXEC:
		n = fcntl(fd, F_DUPFD_CLOEXEC, 3);
		break;
	}
	r->ret = n < 0 ? -1 : 0;
	r->err = errno;
	r->v[0] = n;
	handles[c->a[1]] = n;
}

/* a: handle, on, by ioctl */
static void do_nonblock(const struct cmd *c, struct reply *r)
{
	int fd = handles[c->a[0]], on = c->a[1], fl = fcntl(fd, F_GETFL);

	if (c->a[2])
		r->ret = ioctl(fd, FIONBIO, &on);
	else
		r->ret = fcntl(fd, F_SETFL, on ? fl | O_NONBLOCK : fl & ~O_NONBLOCK);
	r->err = errno;
	r->v[0] = is_nonblocking(fd);
}

static void do_setopt(const struct cmd *c, struct reply *r)
{
	r->ret = set_opt(handles[c->a[0]], c->a[1], c->a[2]);
	r->err = errno;
}

static void do_getopt(const struct cmd *c, struct reply *r)
{
	r->ret = get_opt(handles[c->a[0]], c->a[1], &r->v[0]);
	r->err = errno;
}

static void do_ep_create(const struct cmd *c, struct reply *r)
{
	int e = c->a[1] ? epoll_create(1) : epoll_create1(EPOLL_CLOEXEC);

	r->ret = e < 0 ? -1 : 0;
	r->err = errno;
	r->v[0] = e;
	epolls[c->a[0]] = e;
}

/* a: epoll, operation, handle, events, by syscall() */
static void do_ep_ctl(const struct cmd *c, struct reply *r)
{
	struct epoll_event ev = { .events = c->a[3], .data.u64 = c->a[2] };
	int e = epolls[c->a[0]], fd = handles[c->a[2]];

	r->ret = c->a[4] ? syscall(SYS_epoll_ctl, e, c->a[1], fd, &ev) :
		epoll_ctl(e, c->a[1], fd, &ev);
	r->err = errno;
}

/* a: outer, operation, inner, events */
static void do_ep_nest(const struct cmd *c, struct reply *r)
{
	struct epoll_event ev = { .events = c->a[3], .data.u64 = 100 + c->a[2] };

	r->ret = epoll_ctl(epolls[c->a[0]], c->a[1], epolls[c->a[2]], &ev);
	r->err = errno;
}

static int ep_wait(int kind, int e, struct epoll_event *ev, int max, int ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000L };
	struct pollfd p = { e, POLLIN, 0 };
	int n;

	switch (kind) {
	case EW_PWAIT:
		return epoll_pwait(e, ev, max, ms, NULL);
	case EW_PWAIT2:
		return epoll_pwait2(e, ev, max, ms < 0 ? NULL : &ts, NULL);
	case EW_SYSCALL:
		return syscall(SYS_epoll_wait, e, ev, max, ms);
	case EW_POLLED:
		n = poll(&p, 1, ms);
		return n <= 0 ? n : epoll_wait(e, ev, max, 0);
	}
	return epoll_wait(e, ev, max, ms);
}

static int by_tag(const void *a, const void *b)
{
	const struct epoll_event *x = a, *y = b;

	return x->data.u64 < y->data.u64 ? -1 : x->data.u64 > y->data.u64;
}

/* a: epoll, kind, timeout, maxevents; v: up to five of tag << 16 | events, sorted */
static void do_ep_wait(const struct cmd *c, struct reply *r)
{
	struct epoll_event ev[16];

	r->ret = ep_wait(c->a[1], epolls[c->a[0]], ev, c->a[3], c->a[2]);
	r->err = errno;
	if (r->ret <= 0)
		return;
	qsort(ev, r->ret, sizeof(*ev), by_tag);
	for (int i = 0; i < r->ret && i < 6; i++)
		r->v[i] = ev[i].data.u64 << 16 | (ev[i].events & 0xffff);
}

static void do_ep_close(const struct cmd *c, struct reply *r)
{
	r->ret = close(epolls[c->a[0]]);
	r->err = errno;
	epolls[c->a[0]] = -1;
}

static void do_uring_poll(const struct cmd *c, struct reply *r)
{
	r->ret = proc_uring_poll(handles[c->a[0]], c->a[1], SETTLE_MS, &r->v[0]);
	r->err = 0;
}

/* a: handle, chunk, there may be no room; ret: bytes taken before there is none; v: errno */
static void do_fill(const struct cmd *c, struct reply *r)
{
	r->ret = bulk_fill(handles[c->a[0]], c->a[1], c->key, c->off, &r->v[0]);
}

/* a: handle, total, chunk, style, greedy; v: where the first wrong byte is */
static void do_drain(const struct cmd *c, struct reply *r)
{
	r->ret = bulk_recv(handles[c->a[0]], c->a[1], c->a[2], c->a[3], c->a[4], c->key, c->off, r->v);
	r->err = errno;
}

static void do_bulk_recv(const struct cmd *c, struct reply *r)
{
	do_drain(c, r);
}

static void do_bulk_send(const struct cmd *c, struct reply *r)
{
	r->ret = bulk_send(handles[c->a[0]], c->a[1], c->a[2], c->a[3], c->key, c->off);
	r->err = errno;
}

static void do_pass(const struct cmd *c, struct reply *r)
{
	r->ret = proc_send_fd(PASS_FD, handles[c->a[0]]);
	r->err = errno;
}

static void do_take(const struct cmd *c, struct reply *r)
{
	int fd = proc_recv_fd(PASS_FD + 1);

	r->ret = fd < 0 ? -1 : 0;
	r->err = errno;
	r->v[0] = fd;
	handles[c->a[0]] = fd;
}

/* a: handle, kind, direction (0: the program reads, 1: it writes), len; ret: wait status */
static void do_exec(const struct cmd *c, struct reply *r)
{
	r->ret = proc_exec(c->a[1], handles[c->a[0]], c->a[2], c->a[3], c->key, c->off);
	r->err = errno;
}

static int control = CONTROL_FD;
/* A forked child has no answer to give: its parent gives it. */
static int silent;

#if !__GLIBC_PREREQ(2, 34)
#define _Fork fork
#endif

/* _Fork leaves a lock of libc's with the thread that has it. */
static int alone(void)
{
	for (int i = 0; i < MAX_THREADS; i++)
		if (jobs[i].busy)
			return 0;
	return 1;
}

/* a: child, by _Fork */
static void do_fork(const struct cmd *c, struct reply *r)
{
	int child = c->a[0];
	pid_t pid = c->a[1] && alone() ? _Fork() : fork();

	r->ret = pid < 0 ? -1 : 0;
	r->err = errno;
	if (pid) {
		close(CONTROL_FD + child);
		return;
	}
	control = CONTROL_FD + child;
	silent = 1;
	for (int i = 0; i < MAX_PROCS; i++)
		if (i != child)
			close(CONTROL_FD + i);
	memset(jobs, 0, sizeof(jobs));
}

static void do_exit(const struct cmd *c, struct reply *r)
{
	if (c->a[0])
		_exit(0);
	exit(0);
}

static void do_die(const struct cmd *c, struct reply *r)
{
	kill(getpid(), SIGKILL);
}

static void do_asleep(const struct cmd *c, struct reply *r)
{
	long end = now_ms() + SETTLE_MS;
	struct job *j = &jobs[c->a[0]];

	while (now_ms() < end && !__atomic_load_n(&j->done, __ATOMIC_ACQUIRE) &&
		!proc_sleeps(__atomic_load_n(&j->tid, __ATOMIC_ACQUIRE)))
		nap(100);
	r->ret = 0;
}

static void do_signal(const struct cmd *c, struct reply *r)
{
	r->ret = pthread_kill(jobs[c->a[0]].thread, c->a[1] ? SIGUSR2 : SIGUSR1);
}

static void do_join(const struct cmd *c, struct reply *r)
{
	long end = now_ms() + (c->a[1] ? c->a[1] : 2 * SETTLE_MS);
	struct job *j = &jobs[c->a[0]];

	while (!__atomic_load_n(&j->done, __ATOMIC_ACQUIRE) && now_ms() < end)
		nap(50);
	if (!__atomic_load_n(&j->done, __ATOMIC_ACQUIRE)) {
		r->ret = RET_HANG;
		return;
	}
	pthread_join(j->thread, NULL);
	*r = j->reply;
	j->busy = 0;
}

/* v: open descriptors, memfd mappings that are left */
static void do_census(const struct cmd *c, struct reply *r)
{
	r->ret = 0;
	r->v[0] = proc_count_fds();
	r->v[1] = c->a[0] ? proc_count_maps("memfd:") : 0;
}

typedef void op_fn(const struct cmd *, struct reply *);
static op_fn *const op_fns[OP_COUNT] = {
#define X(name) [OP_##name] = do_##name,
	STEP_OPS(X)
#undef X
};

static void run_op(const struct cmd *c, struct reply *r)
{
	memset(r, 0, sizeof(*r));
	errno = 0;
	op_fns[c->op](c, r);
	if (r->ret >= 0)
		r->err = 0;
}

static void *job_main(void *arg)
{
	struct job *j = arg;

	__atomic_store_n(&j->tid, syscall(SYS_gettid), __ATOMIC_RELEASE);
	run_op(&j->cmd, &j->reply);
	__atomic_store_n(&j->done, 1, __ATOMIC_RELEASE);
	return NULL;
}

static void start_job(const struct cmd *c, struct reply *r)
{
	struct job *j = &jobs[c->thread];

	memset(j, 0, sizeof(*j));
	memset(r, 0, sizeof(*r));
	j->cmd = *c;
	j->busy = 1;
	pthread_create(&j->thread, NULL, job_main, j);
	r->ret = RET_STARTED;
}

static void install_handlers(void)
{
	struct sigaction sa = { .sa_handler = on_sigpipe, .sa_flags = SA_RESTART };

	sigaction(SIGPIPE, &sa, NULL);
	sa.sa_handler = on_signal;
	sigaction(SIGUSR2, &sa, NULL);
	sa.sa_flags = 0;
	sigaction(SIGUSR1, &sa, NULL);
}

int step_worker(void)
{
	struct cmd c;
	struct reply r;

	install_handlers();
	memset(handles, -1, sizeof(handles));
	memset(epolls, -1, sizeof(epolls));
	while (read(control, &c, sizeof(c)) == sizeof(c)) {
		if (c.thread)
			start_job(&c, &r);
		else
			run_op(&c, &r);
		if (!silent && write(control, &r, sizeof(r)) != sizeof(r))
			break;
		silent = 0;
	}
	return 0;
}
