#include "stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "calls.h"

#define MAX_CHUNK (3 << 20)
/* Without a byte moved for this long something is stuck; no run comes near it unless it is. */
#define STALL_SECONDS 25

/* One thread that moves one direction of one connection at one end. */
struct mover {
	int fd, role, conn;
	uint64_t key, total;
	struct rng rng;
	struct board *board;
	int ep, ep_flags;
	char *buf;
};

struct board *board_open(void)
{
	return mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE, MAP_SHARED, BOARD_FD, 0);
}

static void fail(struct board *b, const char *what, const struct mover *m, uint64_t at)
{
	if (atomic_exchange(&b->failed, 1))
		return;
	snprintf(b->message, sizeof(b->message), "%s: end %d conn %d at %lu of %lu errno %s", what,
		m->role, m->conn, (unsigned long)at, (unsigned long)m->total, strerror(errno));
}

/* Wrong bytes, and where they are from: a sender's used buffer (0x5a), another place of the stream, or nowhere. */
static void fail_bytes(const struct mover *m, const char *call, int flags, uint64_t at, size_t n)
{
	size_t good = 0, bad;
	long from = 0;
	char what[160];

	while (good < n && at + good < m->total && pattern_check(m->buf + good, 1, m->key, at + good) < 0)
		good++;
	for (bad = good; bad < n && pattern_check(m->buf + bad, 1, m->key, at + bad) >= 0; )
		bad++;
	for (uint64_t o = 0; n - good >= 8 && o < m->total && !from; o++)
		if (pattern_check(m->buf + good, 8, m->key, o) < 0)
			from = (long)(o - at - good);
	snprintf(what, sizeof(what), "wrong bytes (%s of %zu, flags %#x, %zu wrong from %zu on: %02x %02x, shift %ld)", call, n,
		flags, bad - good, good, m->buf[good] & 255, m->buf[n - 1] & 255, from);
	fail(m->board, what, m, at);
}

static uint32_t pick(struct mover *m, uint32_t n)
{
	return rng_below(&m->rng, n);
}

static size_t pick_size(struct mover *m)
{
	switch (pick(m, 8)) {
	case 0:
		return 1 + pick(m, 16);
	case 1:
	case 2:
		return 1 + pick(m, 2000);
	case 3:
	case 4:
		return 1 + pick(m, 20000);
	case 5:
		return 1 + pick(m, 100000);
	case 6:
		return 1 + pick(m, 700000);
	}
	return 1 + pick(m, MAX_CHUNK);
}

static void pause_sometimes(struct mover *m)
{
	uint32_t r = pick(m, 60);

	if (r == 0)
		nanosleep(&(struct timespec){ 0, 1000L * (1 + pick(m, 3000)) }, NULL);
	else if (r == 1)
		sched_yield();
}

static void arm(struct mover *m, unsigned events)
{
	struct epoll_event ev = { .events = events | m->ep_flags, .data.u64 = m->conn };

	if (m->ep_flags & EPOLLONESHOT)
		epoll_ctl(m->ep, EPOLL_CTL_MOD, m->fd, &ev);
}

static void wait_ready(struct mover *m, short events)
{
	struct epoll_event ev;
	short got;

	/* An edge-triggered set may be waited on only after EAGAIN, which is when we come here. */
	if (m->ep >= 0 && pick(m, 2)) {
		arm(m, events == POLLIN ? EPOLLIN : EPOLLOUT);
		epoll_wait(m->ep, &ev, 1, -1);
		return;
	}
	call_wait(pick(m, W_KINDS), m->fd, events, -1, &got);
}

static void open_epoll(struct mover *m, unsigned events)
{
	static const int flags[] = { 0, EPOLLET, EPOLLONESHOT, EPOLLET | EPOLLONESHOT };
	struct epoll_event ev = { .data.u64 = m->conn };

	m->ep_flags = flags[pick(m, 4)];
	ev.events = events | m->ep_flags;
	m->ep = epoll_create1(EPOLL_CLOEXEC);
	epoll_ctl(m->ep, EPOLL_CTL_ADD, m->fd, &ev);
}

static void toggle_options(struct mover *m)
{
	int v = pick(m, 2), q;

	switch (pick(m, 40)) {
	case 0:
		setsockopt(m->fd, IPPROTO_TCP, TCP_NODELAY, &v, sizeof(v));
		break;
	case 1:
		v = 1;
		setsockopt(m->fd, IPPROTO_TCP, TCP_CORK, &v, sizeof(v));
		v = 0;
		setsockopt(m->fd, IPPROTO_TCP, TCP_CORK, &v, sizeof(v));
		break;
	case 2:
		ioctl(m->fd, FIONREAD, &q);
		break;
	case 3:
		v = 1 + pick(m, 1000);
		setsockopt(m->fd, SOL_SOCKET, SO_RCVLOWAT, &v, sizeof(v));
		v = 1;
		setsockopt(m->fd, SOL_SOCKET, SO_RCVLOWAT, &v, sizeof(v));
		break;
	}
}

static void *sender(void *arg)
{
	struct mover *m = arg;
	uint64_t at = 0;

	open_epoll(m, EPOLLOUT);
	while (at < m->total && !m->board->failed) {
		int kind = pick(m, S_KINDS), flags = MSG_NOSIGNAL;
		size_t n = pick_size(m);
		ssize_t k;

		n = n > m->total - at ? m->total - at : n;
		pattern_fill(m->buf, n, m->key, at);
		if (kind < S_FLAGLESS && pick(m, 2))
			flags |= MSG_DONTWAIT;
		if (kind < S_FLAGLESS && at + n < m->total && !pick(m, 12))
			flags |= MSG_MORE;
		k = call_send(kind, m->fd, m->buf, n, flags);
		memset(m->buf, 0x5a, n);
		if (k < 0 && errno == EAGAIN) {
			wait_ready(m, POLLOUT);
			continue;
		}
		if (k < 0 && errno != EINTR) {
			fail(m->board, send_kind_name(kind), m, at);
			break;
		}
		at += k > 0 ? k : 0;
		atomic_store(&m->board->sent[m->role][m->conn], at);
		atomic_fetch_add(&m->board->moved, 1);
		toggle_options(m);
		pause_sometimes(m);
	}
	shutdown(m->fd, SHUT_WR);
	close(m->ep);
	return NULL;
}

static int recv_flags(struct mover *m, int kind, uint64_t left, size_t n)
{
	int flags = 0;

	if (kind >= R_FLAGLESS)
		return 0;
	if (pick(m, 2))
		flags |= MSG_DONTWAIT;
	/* Both messages would peek at the same bytes. */
	if (kind == R_RECVMMSG)
		return flags;
	/* Peeking for more than the kernel's buffers hold would wait for ever. */
	if (!pick(m, 10))
		flags |= MSG_PEEK;
	else if (!pick(m, 10) && n <= left)
		flags |= MSG_WAITALL;
	return flags;
}

static void *receiver(void *arg)
{
	struct mover *m = arg;
	uint64_t at = 0;

	open_epoll(m, EPOLLIN);
	while (!m->board->failed) {
		int kind = pick(m, R_KINDS);
		size_t n = pick_size(m);
		int flags = recv_flags(m, kind, m->total - at, n);
		ssize_t k = call_recv(kind, m->fd, m->buf, n, flags);

		if (k < 0 && errno == EAGAIN) {
			wait_ready(m, POLLIN);
			continue;
		}
		if (k < 0 && errno == EINTR)
			continue;
		if (k == 0 && at == m->total)
			break;
		if (k <= 0) {
			fail(m->board, k ? recv_kind_name(kind) : "early end", m, at);
			break;
		}
		if (at + k > m->total || pattern_check(m->buf, k, m->key, at) >= 0) {
			fail_bytes(m, recv_kind_name(kind), flags, at, k);
			break;
		}
		at += flags & MSG_PEEK ? 0 : k;
		atomic_store(&m->board->rcvd[m->role][m->conn], at);
		atomic_fetch_add(&m->board->moved, 1);
		toggle_options(m);
		pause_sometimes(m);
	}
	close(m->ep);
	return NULL;
}

static uint64_t stream_key(uint64_t seed, int conn, int sender_role)
{
	return mix64(seed * 64 + conn * 2 + sender_role);
}

static void start_mover(struct mover *m, pthread_t *t, void *(*fn)(void *))
{
	m->buf = malloc(MAX_CHUNK + 1);
	pthread_create(t, NULL, fn, m);
}

static void on_signal(int sig)
{
}

/* Signals arrive all the time, so that EINTR and restarts happen anywhere. */
static void start_signals(struct rng *r)
{
	struct sigaction sa = { .sa_handler = on_signal,
		.sa_flags = rng_below(r, 2) ? SA_RESTART : 0 };
	struct itimerval it = { { 0, 1000 + rng_below(r, 4000) }, { 0, 1000 } };

	sigaction(SIGALRM, &sa, NULL);
	if (!rng_below(r, 3))
		setitimer(ITIMER_REAL, &it, NULL);
}

void stay_busy(long ns)
{
	struct timespec a, b;

	clock_gettime(CLOCK_MONOTONIC, &a);
	do
		clock_gettime(CLOCK_MONOTONIC, &b);
	while ((b.tv_sec - a.tv_sec) * 1000000000L + b.tv_nsec - a.tv_nsec < ns);
}

int board_listen(struct board *b)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (bind(fd, (void *)&a, len) || listen(fd, BOARD_CONNS) || getsockname(fd, (void *)&a, &len))
		return -1;
	atomic_store(&b->port, ntohs(a.sin_port));
	return fd;
}

int board_connect(struct board *b, int small)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), size = 16384;

	while (!atomic_load(&b->port))
		usleep(500);
	a.sin_port = htons(atomic_load(&b->port));
	if (small)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	if (connect(fd, (void *)&a, sizeof(a)))
		return -1;
	return fd;
}

/* In some seeds the movers are in a child, after the parent has used the sockets and gone. */
static void fork_sometimes(struct rng *r)
{
	pid_t pid = rng_below(r, 4) ? 0 : fork();
	int status;

	if (!pid)
		return;
	waitpid(pid, &status, 0);
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

int stream_end(int argc, char **argv)
{
	int role = argc > 1 ? atoi(argv[1]) : 0, fds[BOARD_CONNS], lfd = -1;
	uint64_t seed = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
	uint64_t total = argc > 3 ? strtoul(argv[3], NULL, 10) << 20 : 0;
	struct board *b = board_open();
	struct rng common = { mix64(seed) }, own = { mix64(seed * 2 + role + 1) };
	int conns = 1 + rng_below(&common, BOARD_CONNS), small = !rng_below(&common, 4);
	static struct mover movers[2 * BOARD_CONNS];
	pthread_t threads[2 * BOARD_CONNS];

	if (role)
		lfd = board_listen(b);
	for (int i = 0; i < conns; i++) {
		fds[i] = role ? accept4(lfd, NULL, NULL, SOCK_CLOEXEC) : board_connect(b, small);
		if (fds[i] >= 0 && !rng_below(&own, 4))
			fcntl(fds[i], F_SETFL, O_NONBLOCK);
	}
	fork_sometimes(&own);
	start_signals(&own);
	for (int i = 0; i < 2 * conns; i++) {
		int conn = i / 2, sends = i % 2;

		movers[i] = (struct mover){ .fd = fds[conn], .role = role, .conn = conn,
			.key = stream_key(seed, conn, sends ? role : !role),
			.total = total / (1 + conn), .rng = { mix64(seed * 100 + i * 2 + role) },
			.board = b };
		start_mover(&movers[i], &threads[i], sends ? sender : receiver);
	}
	for (int i = 0; i < 2 * conns; i++)
		pthread_join(threads[i], NULL);
	return b->failed;
}

void vary_settings(uint64_t seed)
{
	static const char *const rings[] = { "4M", "64K", "256K", "4M" };
	static const char *const spins[] = { "50", "50", "5", "300" };

	setenv("DLACCEL_NET_RING", rings[mix64(seed + 1) % 4], 0);
	setenv("DLACCEL_SPIN", spins[mix64(seed + 2) % 4], 0);
	setenv("DLACCEL_BLOCK_ALWAYS", mix64(seed + 3) % 4 ? "1" : "0", 0);
}

pid_t fork_bound(void)
{
	pid_t pid = fork();

	if (!pid)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

pid_t end_start(const char *what, int role, uint64_t seed, int amount, int board_fd,
	const char *preload)
{
	char self[4096], srole[8], sseed[24], samount[16];
	char *argv[] = { self, (char *)what, srole, sseed, samount, NULL };
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	pid_t pid;

	self[n < 0 ? 0 : n] = 0;
	snprintf(srole, sizeof(srole), "%d", role);
	snprintf(sseed, sizeof(sseed), "%lu", (unsigned long)seed);
	snprintf(samount, sizeof(samount), "%d", amount);
	pid = fork_bound();
	if (pid)
		return pid;
	setpgid(0, 0);
	dup2(board_fd, BOARD_FD);
	vary_settings(seed);
	if (preload)
		setenv("LD_PRELOAD", preload, 1);
	execv(argv[0], argv);
	_exit(127);
}

/* Each end stops now and then, wherever it is, for about as long as a spin or a claim; seldom for so
 * long that the other one no longer waits for it. */
static void jolt(const pid_t pids[2], struct rng *r)
{
	pid_t group = -pids[rng_below(r, 2)];

	kill(group, SIGSTOP);
	usleep(rng_below(r, 100) ? rng_below(r, 400) : 120000);
	kill(group, SIGCONT);
	usleep(rng_below(r, 200));
}

/* Waits for both, as long as bytes move. */
static int watch(struct board *b, const pid_t pids[2], int status[2], struct rng *jolts)
{
	uint64_t last = 0;
	int quiet_ms = 0, left = 2;

	while (left && quiet_ms < STALL_SECONDS * 1000) {
		uint64_t now = atomic_load(&b->moved);

		quiet_ms = now == last ? quiet_ms + 2 : 0;
		last = now;
		for (int i = 0; i < 2; i++)
			if (status[i] < 0 && waitpid(pids[i], &status[i], WNOHANG) == pids[i])
				left--;
		for (int i = 0; jolts && left == 2 && i < 4; i++)
			jolt(pids, jolts);
		usleep(jolts ? 0 : 2000);
		/* One end gave up: the other one need not wait for it. */
		if (b->failed && left == 1)
			quiet_ms += 500;
	}
	return left;
}

static void print_board(uint64_t seed, const struct board *b, const int status[2], int left)
{
	printf("seed %lu: %s%s (wait status %#x %#x)\n", (unsigned long)seed,
		left && !b->failed ? "stuck " : "", b->message, status[0], status[1]);
	for (int i = 0; i < BOARD_CONNS; i++)
		for (int s = 0; s < 2; s++)
			if (b->sent[s][i] || b->rcvd[!s][i])
				printf("  conn %d from %s: sent %lu received %lu\n", i,
					s ? "server" : "client", (unsigned long)b->sent[s][i],
					(unsigned long)b->rcvd[!s][i]);
	fflush(stdout);
}

int ends_run(const char *what, uint64_t seed, int amount, int jolts, const char *const preload[2])
{
	struct rng stops = { mix64(seed * 5) };
	int fd = memfd_create("board", MFD_CLOEXEC), status[2] = { -1, -1 }, left;
	struct board *b;
	pid_t pids[2];

	if (ftruncate(fd, sizeof(*b)))
		return 1;
	b = mmap(NULL, sizeof(*b), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	for (int i = 0; i < 2; i++)
		pids[i] = end_start(what, i, seed, amount, fd, preload[i]);
	left = watch(b, pids, status, jolts ? &stops : NULL);
	if (left || status[0] || status[1])
		print_board(seed, b, status, left);
	/* A stuck end is left as it stands where someone asked to look at it. */
	if (left && getenv("FUZZ_KEEP")) {
		printf("kept: pids %d %d\n", pids[0], pids[1]);
		fflush(stdout);
		pause();
	}
	for (int i = 0; i < 2; i++) {
		kill(-pids[i], SIGKILL);
		if (status[i] < 0)
			waitpid(pids[i], NULL, 0);
	}
	munmap(b, sizeof(*b));
	close(fd);
	return left || status[0] || status[1];
}
