/*
 * What two processes get out of one TCP connection: netbench MODE SIZE SECONDS [PIN].
 *
 * The program starts itself again as its peer, so that both ends are ordinary programs with their own
 * start.  With PIN each end keeps to one core.  MODE:
 *   blocking, poll, epoll   ping-pong of SIZE bytes; waits by the call of that name
 *   rawepoll                the same, both ends wait in epoll_wait by system call, past any hook
 *   oneway                  messages of SIZE bytes, one answer at the end
 *   fresh                   the same; the sender has just written each of them, the receiver reads it
 *   limit                   no connection: both ends copy SIZE bytes from one's memory to the other's, a part each
 *   pass                    no connection: one end copies them into pieces that both share, the other out of these
 *   idle                    SIZE connections that have carried a megabyte each and now lie still
 * Prints one line of JSON; every message carries its number at both ends, and a wrong one is an error.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LAST UINT64_MAX
#define IDLE_LOAD (1 << 20)
#define IDLE_SECONDS 2.0
#define BATCH 16
#define MAX_BATCHES (1 << 20)
#define LIMIT_PART (256 << 10)
#define LIMIT_LEAST 4096
#define PIECE (32 << 10)
#define PIECES 8

enum wait { WAIT_BLOCK, WAIT_POLL, WAIT_EPOLL, WAIT_RAW };

struct end {
	int fd, ep;
	enum wait wait;
	size_t size;
	char *buf;
	int fresh;
};

static volatile uint64_t sum_of_all; /* so that what is read is read */

static void die(const char *what)
{
	fprintf(stderr, "netbench: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double seconds_of(const struct rusage *u)
{
	return (double)(u->ru_utime.tv_sec + u->ru_stime.tv_sec) + 1e-6 * (double)(u->ru_utime.tv_usec + u->ru_stime.tv_usec);
}

static double cpu_used(int who)
{
	struct rusage u;
	getrusage(who, &u);
	return seconds_of(&u);
}

static void pin_to(int cpu)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity");
}

/* -- waiting ---------------------------------------------------------------------------------- */

static int raw_epoll_wait(int ep, struct epoll_event *ev)
{
	long ret;
	/* Inline on purpose: syscall() of libc can be hooked. */
	register long r10 __asm__("r10") = -1;
	register long r8 __asm__("r8") = 0;
	__asm__ volatile("syscall" : "=a"(ret) : "a"((long)SYS_epoll_pwait), "D"((long)ep), "S"(ev), "d"(1L), "r"(r10), "r"(r8)
			 : "rcx", "r11", "memory");
	return (int)ret;
}

static void wait_readable(struct end *e)
{
	struct pollfd p = { .fd = e->fd, .events = POLLIN };
	struct epoll_event ev;

	if (e->wait == WAIT_POLL)
		poll(&p, 1, -1);
	else if (e->wait == WAIT_EPOLL)
		epoll_wait(e->ep, &ev, 1, -1);
	else if (e->wait == WAIT_RAW)
		raw_epoll_wait(e->ep, &ev);
}

static void setup_wait(struct end *e)
{
	struct epoll_event ev = { .events = EPOLLIN };

	if (e->wait == WAIT_BLOCK)
		return;
	fcntl(e->fd, F_SETFL, O_NONBLOCK);
	if (e->wait == WAIT_POLL)
		return;
	e->ep = epoll_create1(EPOLL_CLOEXEC);
	if (e->ep < 0 || epoll_ctl(e->ep, EPOLL_CTL_ADD, e->fd, &ev))
		die("epoll");
}

static void get(struct end *e, char *buf, size_t n)
{
	while (n) {
		if (e->wait != WAIT_BLOCK)
			wait_readable(e);
		ssize_t got = recv(e->fd, buf, n, 0);
		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (got <= 0)
			die("recv");
		buf += got;
		n -= (size_t)got;
	}
}

static void put(struct end *e, const char *buf, size_t n)
{
	struct pollfd p = { .fd = e->fd, .events = POLLOUT };

	while (n) {
		ssize_t put = send(e->fd, buf, n, MSG_NOSIGNAL);
		if (put < 0 && errno == EAGAIN) {
			poll(&p, 1, -1);
			continue;
		}
		if (put <= 0)
			die("send");
		buf += put;
		n -= (size_t)put;
	}
}

static void stamp(struct end *e, uint64_t number)
{
	memcpy(e->buf, &number, 8);
	memcpy(e->buf + e->size - 8, &number, 8);
}

static uint64_t stamp_of(struct end *e)
{
	uint64_t first, last;
	memcpy(&first, e->buf, 8);
	memcpy(&last, e->buf + e->size - 8, 8);
	errno = EBADMSG;
	if (first != last)
		die("message mixed up");
	return first;
}

/* -- the two ends ------------------------------------------------------------------------------ */

static int by_value(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;
	return (x > y) - (x < y);
}

/* The median over batches: on a shared machine the mean measures the neighbours. */
static uint64_t ping(struct end *e, double seconds, double *ret_half_us)
{
	float *batch = malloc(MAX_BATCHES * sizeof(*batch));
	double begin = now(), end = begin + seconds, t;
	uint64_t n = 0;
	size_t batches = 0;

	do {
		for (int i = 0; i < BATCH; i++, n++) {
			stamp(e, n);
			put(e, e->buf, e->size);
			get(e, e->buf, e->size);
			errno = EBADMSG;
			if (stamp_of(e) != n + 1)
				die("wrong answer");
		}
		t = now();
		batch[batches++] = (float)(t - begin);
		begin = t;
	} while (t < end && batches < MAX_BATCHES);
	qsort(batch, batches, sizeof(*batch), by_value);
	*ret_half_us = 1e6 * (double)batch[batches / 2] / BATCH / 2;
	free(batch);
	return n;
}

static void pong(struct end *e)
{
	for (;;) {
		get(e, e->buf, e->size);
		uint64_t number = stamp_of(e);
		if (number == LAST)
			return;
		stamp(e, number + 1);
		put(e, e->buf, e->size);
	}
}

/* As a program computes its tensor, and as the other uses it. */
static void write_all(struct end *e, uint64_t n)
{
	uint64_t *word = (void *)e->buf;

	for (size_t i = 0; i < e->size / sizeof(*word); i++)
		word[i] = n + i;
}

static void read_all(struct end *e)
{
	const uint64_t *word = (void *)e->buf;
	uint64_t sum = 0;

	for (size_t i = 0; i < e->size / sizeof(*word); i++)
		sum += word[i];
	sum_of_all = sum;
}

static uint64_t pour(struct end *e, double seconds)
{
	double end = now() + seconds;
	uint64_t n = 0;
	char answer;

	do {
		if (e->fresh)
			write_all(e, n);
		stamp(e, n++);
		put(e, e->buf, e->size);
	} while (n < 4 || now() < end);
	stamp(e, LAST);
	put(e, e->buf, e->size);
	get(e, &answer, 1);
	return n + 1;
}

static void drink(struct end *e)
{
	for (uint64_t n = 0;; n++) {
		get(e, e->buf, e->size);
		if (e->fresh)
			read_all(e);
		uint64_t number = stamp_of(e);
		if (number == LAST)
			break;
		errno = EBADMSG;
		if (number != n)
			die("message lost or repeated");
	}
	put(e, "k", 1);
}

/* -- setting up -------------------------------------------------------------------------------- */

static int listen_on(unsigned short *ret_port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (void *)&a, len) || listen(fd, 1024) || getsockname(fd, (void *)&a, &len))
		die("listen");
	*ret_port = ntohs(a.sin_port);
	return fd;
}

static int dial(unsigned short port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (void *)&a, sizeof(a)))
		die("connect");
	return fd;
}

static void no_delay(int fd)
{
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
}

static struct end end_of(int fd, const char *mode, size_t size)
{
	struct end e = { .fd = fd, .ep = -1, .size = size < 16 ? 16 : size };

	e.wait = !strcmp(mode, "poll") ? WAIT_POLL : !strcmp(mode, "epoll") ? WAIT_EPOLL : !strcmp(mode, "rawepoll") ? WAIT_RAW : WAIT_BLOCK;
	e.fresh = !strcmp(mode, "fresh");
	e.buf = calloc(1, e.size);
	if (!e.buf)
		die("memory");
	memset(e.buf, 0x5a, e.size);
	no_delay(fd);
	setup_wait(&e);
	return e;
}

static pid_t start_peer(const char *mode, const char *size, unsigned short port, const char *pin)
{
	char number[16];
	pid_t pid = fork();

	if (pid)
		return pid;
	snprintf(number, sizeof(number), "%u", port);
	execl("/proc/self/exe", "netbench", "peer", mode, size, number, pin, (char *)NULL);
	die("exec");
	return -1;
}

static double end_of_peer(pid_t pid)
{
	struct rusage u;
	int status;

	errno = ECHILD;
	if (wait4(pid, &status, 0, &u) != pid || status)
		die("the peer failed");
	return seconds_of(&u);
}

static void idle_ends(int listener, unsigned short port, size_t n, int *ret_fd)
{
	for (size_t i = 0; i < n; i++)
		ret_fd[i] = listener >= 0 ? accept(listener, NULL, NULL) : dial(port);
}

/* Every connection carries IDLE_LOAD each way, then nothing; the last part is what is measured. */
static double idle(int listener, unsigned short port, size_t n)
{
	int *fd = calloc(n, sizeof(*fd)), ep = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event ev = { .events = EPOLLIN };
	double spent;

	idle_ends(listener, port, n, fd);
	for (size_t i = 0; i < n; i++) {
		struct end e = end_of(fd[i], "blocking", IDLE_LOAD / 16);
		for (int turn = 0; turn < 16; turn++) {
			listener >= 0 ? put(&e, e.buf, e.size) : get(&e, e.buf, e.size);
			listener >= 0 ? get(&e, e.buf, e.size) : put(&e, e.buf, e.size);
		}
		free(e.buf);
		epoll_ctl(ep, EPOLL_CTL_ADD, fd[i], &ev);
	}
	epoll_wait(ep, &ev, 1, 500);
	spent = cpu_used(RUSAGE_SELF);
	epoll_wait(ep, &ev, 1, (int)(1000 * IDLE_SECONDS));
	spent = cpu_used(RUSAGE_SELF) - spent;
	return spent;
}

/* -- what the machine could do --------------------------------------------------------------------- */

struct limit {
	_Atomic uint64_t round; /* of the first end: rounds begun, or pieces filled */
	_Alignas(64) _Atomic uint64_t done; /* of the second */
	_Alignas(64) _Atomic size_t next;
	size_t size;
	char *from, *to, *pieces;
};

static void *shared_pages(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("memory");
	memset(p, 0x5a, size);
	return p;
}

/* Until it is at least that. */
static uint64_t await(_Atomic uint64_t *word, uint64_t value)
{
	uint64_t seen;

	for (int i = 1; (seen = atomic_load(word)) < value; i++)
		if (i % 4096 == 0)
			sched_yield();
	return seen;
}

static void copy_parts(struct limit *l)
{
	size_t part = l->size / 2 < LIMIT_PART ? l->size / 2 : LIMIT_PART, at;

	if (part < LIMIT_LEAST)
		part = l->size;
	while ((at = atomic_fetch_add(&l->next, part)) < l->size)
		memcpy(l->to + at, l->from + at, l->size - at < part ? l->size - at : part);
}

static void copy_with_me(struct limit *l)
{
	for (uint64_t round = 1; await(&l->round, round) != LAST; round++) {
		copy_parts(l);
		atomic_store(&l->done, round);
	}
}

static void copy_with_peer(struct limit *l, uint64_t round)
{
	atomic_store(&l->next, 0);
	atomic_store(&l->round, round);
	copy_parts(l);
	await(&l->done, round);
}

static size_t length_of_piece(struct limit *l, size_t at)
{
	return l->size - at < PIECE ? l->size - at : PIECE;
}

static void take_pieces(struct limit *l)
{
	for (uint64_t n = 0;;)
		for (size_t at = 0; at < l->size; at += PIECE, n++) {
			if (await(&l->round, n + 1) == LAST)
				return;
			memcpy(l->to + at, l->pieces + n % PIECES * PIECE, length_of_piece(l, at));
			atomic_store(&l->done, n + 1);
		}
}

static void fill_pieces(struct limit *l)
{
	uint64_t n = atomic_load(&l->round);

	for (size_t at = 0; at < l->size; at += PIECE, n++) {
		if (n >= PIECES)
			await(&l->done, n + 1 - PIECES);
		memcpy(l->pieces + n % PIECES * PIECE, l->from + at, length_of_piece(l, at));
		atomic_store(&l->round, n + 1);
	}
}

static void limit(const char *mode, size_t size, double seconds, const char *pin)
{
	struct limit *l = shared_pages(sizeof(*l));
	int passes = !strcmp(mode, "pass");
	uint64_t n = 0;

	*l = (struct limit){ .size = size, .from = shared_pages(size), .to = shared_pages(size), .pieces = shared_pages(PIECES * PIECE) };
	pid_t pid = fork();
	if (*pin == 'p')
		pin_to(pid ? 0 : 1);
	if (!pid) {
		passes ? take_pieces(l) : copy_with_me(l);
		_exit(0);
	}
	double start = now(), spent;
	do {
		n++;
		passes ? fill_pieces(l) : copy_with_peer(l, n);
		spent = now() - start;
	} while (n < 4 || spent < seconds);
	if (passes)
		await(&l->done, atomic_load(&l->round));
	atomic_store(&l->round, LAST);
	end_of_peer(pid);
	printf("{\"messages\": %llu, \"seconds\": %.6f, \"gb_s\": %.4f}\n", (unsigned long long)n, spent, (double)n * (double)size / spent / 1e9);
}

static int is_one_way(const char *mode)
{
	return !strcmp(mode, "oneway") || !strcmp(mode, "fresh");
}

static int peer(char **arg)
{
	size_t size = strtoull(arg[1], NULL, 10);
	unsigned short port = (unsigned short)atoi(arg[2]);

	if (*arg[3] == 'p')
		pin_to(1);
	if (!strcmp(arg[0], "idle")) {
		printf("{\"peer_cpu_s\": %.6f}\n", idle(-1, port, size));
		return 0;
	}
	struct end e = end_of(dial(port), arg[0], size);
	is_one_way(arg[0]) ? drink(&e) : pong(&e);
	return 0;
}

static void run(const char *mode, const char *size_text, double seconds, const char *pin)
{
	size_t size = strtoull(size_text, NULL, 10);
	if (!strcmp(mode, "limit") || !strcmp(mode, "pass"))
		return limit(mode, size, seconds, pin);
	unsigned short port;
	int listener = listen_on(&port);
	pid_t pid = start_peer(mode, size_text, port, pin);
	int one_way = is_one_way(mode);
	double half_us = 0;

	if (*pin == 'p')
		pin_to(0);
	if (!strcmp(mode, "idle")) {
		double mine = idle(listener, port, size);
		end_of_peer(pid);
		printf("{\"cpu_s\": %.6f, \"connections\": %zu}\n", mine, size);
		return;
	}
	struct end e = end_of(accept(listener, NULL, NULL), mode, size);
	if (!one_way)
		ping(&e, seconds / 4, &half_us);
	double cpu = cpu_used(RUSAGE_SELF), start = now();
	uint64_t n = one_way ? pour(&e, seconds) : ping(&e, seconds, &half_us);
	double spent = now() - start;
	cpu = cpu_used(RUSAGE_SELF) - cpu;
	if (!one_way) {
		stamp(&e, LAST);
		put(&e, e.buf, e.size);
	}
	cpu += end_of_peer(pid);
	printf("{\"messages\": %llu, \"bytes\": %.0f, \"seconds\": %.6f, \"half_us\": %.4f, \"gb_s\": %.4f, \"cpu_s\": %.6f}\n",
		(unsigned long long)n, (double)n * (double)e.size, spent, half_us,
		(double)n * (double)e.size / spent / 1e9, cpu);
}

int main(int argc, char **argv)
{
	if (argc == 6 && !strcmp(argv[1], "peer"))
		return peer(argv + 2);
	if (argc < 4) {
		fprintf(stderr, "usage: netbench blocking|poll|epoll|rawepoll|oneway|fresh|limit|pass|idle SIZE SECONDS [pin]\n");
		return 2;
	}
	run(argv[1], argv[2], atof(argv[3]), argc > 4 ? argv[4] : "-");
	return 0;
}
