/* A pair of programs that check every byte of a TCP conversation, in every style of stream_styles.c.
 *
 *   prog_stream serve ADDR PORT [-n BYTES] [-s SEED] [-f] STYLE...
 *   prog_stream talk  ADDR PORT [-n BYTES] [-s SEED] [-f] [-b FROM] STYLE...
 *   prog_stream list
 *
 * Without a STYLE they come on standard input, one a line. With @BYTES behind it the server stops itself (SIGSTOP) when it has had and
 * sent so many, and says how many.
 *
 * Both ends name the same styles; each style is one connection: BYTES each way, 64 questions and
 * answers, end of stream in one direction while the other still sends, and the receiver's own
 * checksum. What is printed depends on the arguments alone: a bare run and a preloaded one must
 * print the same. A buffer is overwritten as soon as the call that took it returns, and the bytes
 * after a received piece must be untouched; with -f, for streams whose RDMA fails, they may be the
 * stream's own next bytes. */
#include "stream.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 64, GUARD = 64, SENT = 0xA5, EMPTY = 0x5A, ROOM = 1 << 20 };

struct flow { /* one direction of one connection */
	uint64_t seed;
	uint64_t at;
	uint64_t sum;
	uint64_t dice;
	uint64_t word, word_at; /* the eight bytes that were asked for last */
	unsigned char *buf;
};

struct talk {
	const struct style *st;
	bool server;
	int fd;
	uint64_t bytes;
	uint64_t rounds_dice;
	struct flow out, in;
};

static const char *current = "setup";
static uint64_t opt_bytes = 300000, opt_seed = 1;
static _Atomic uint64_t stop_at; /* 0: nowhere */
static bool opt_failing;

void fail(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "FAIL %s: ", current);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	_exit(1);
}

void die(const char *what)
{
	fail("%s: %s", what, strerror(errno));
}

/* ---- the bytes ---- */

static unsigned char byte_at(struct flow *f, uint64_t at)
{
	if (f->word_at != at / 8) {
		f->word_at = at / 8;
		f->word = mix(f->seed ^ f->word_at);
	}
	return f->word >> at % 8 * 8;
}

static uint64_t roll(uint64_t *dice, uint64_t sides)
{
	return 1 + (*dice = mix(*dice)) % sides;
}

static void add_to_sum(struct flow *f, const unsigned char *buf, size_t n)
{
	for (size_t i = 0; i < n; i++)
		f->sum = (f->sum ^ buf[i]) * 0x100000001b3;
}

static size_t chunk_for(const struct style *st, struct flow *f, uint64_t left)
{
	static const uint64_t sizes[] = {64, 8192, 200000};
	size_t n = st->chunk ? st->chunk : roll(&f->dice, sizes[roll(&f->dice, 3) - 1]);

	return n < left ? n : left;
}

/* ---- one call, with its checks; 0 means later ---- */

static void must_be_later(const struct style *st, const char *what)
{
	if (errno != EINTR && (errno != EAGAIN || !st->wait))
		die(what);
}

static void stop_where_told(struct talk *t)
{
	uint64_t at = stop_at;

	if (!t->server || !at || t->in.at + t->out.at < at || !atomic_exchange(&stop_at, 0))
		return;
	fprintf(stderr, "stopped: in %llu, out %llu\n", (unsigned long long)t->in.at, (unsigned long long)t->out.at);
	raise(SIGSTOP);
}

static size_t put_once(struct talk *t, size_t from, size_t n)
{
	unsigned char *buf = t->out.buf + from;
	ssize_t r = t->st->put(t->fd, buf, n);

	if (r < 0) {
		must_be_later(t->st, "put");
		return 0;
	}
	if (r == 0 || (size_t)r > n)
		fail("put returned %zd of %zu", r, n);
	add_to_sum(&t->out, buf, r);
	memset(buf, SENT, r);
	t->out.at += r;
	stop_where_told(t);
	return r;
}

static void check_piece(struct flow *f, const unsigned char *buf, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (buf[i] != byte_at(f, f->at + i))
			fail("byte %llu is %02x, not %02x", (unsigned long long)(f->at + i), buf[i],
				byte_at(f, f->at + i));
	for (size_t i = n; i < n + GUARD; i++)
		if (buf[i] != EMPTY && !(opt_failing && buf[i] == byte_at(f, f->at + i)))
			fail("wrote %zu bytes past the %zu received", i - n + 1, n);
}

static size_t get_once(struct talk *t, size_t n)
{
	unsigned char *buf = t->in.buf;
	ssize_t r;

	memset(buf, EMPTY, n + GUARD);
	r = t->st->get(t->fd, buf, n);
	if (r < 0) {
		must_be_later(t->st, "get");
		return 0;
	}
	if (r == 0 || (size_t)r > n)
		fail("get returned %zd of %zu at byte %llu", r, n, (unsigned long long)t->in.at);
	check_piece(&t->in, buf, r);
	add_to_sum(&t->in, buf, r);
	t->in.at += r;
	stop_where_told(t);
	return r;
}

static void wait_for(struct talk *t, short events)
{
	if (t->st->wait)
		t->st->wait(t->fd, events);
}

static size_t fill_chunk(struct talk *t, uint64_t left)
{
	size_t n = chunk_for(t->st, &t->out, left);

	for (size_t i = 0; i < n; i++)
		t->out.buf[i] = byte_at(&t->out, t->out.at + i);
	return n;
}

/* ---- ranges ---- */

static void send_range(struct talk *t, uint64_t left)
{
	while (left) {
		size_t n = fill_chunk(t, left), done = 0;

		while (done < n) {
			size_t r = put_once(t, done, n - done);
			if (!r)
				wait_for(t, POLLOUT);
			done += r;
		}
		left -= n;
	}
}

static void recv_range(struct talk *t, uint64_t left)
{
	while (left) {
		size_t r = get_once(t, chunk_for(t->st, &t->in, left));
		if (!r)
			wait_for(t, POLLIN);
		left -= r;
	}
}

/* Both directions in one thread: neither may wait for the other. */
static void exchange(struct talk *t, uint64_t out_left, uint64_t in_left)
{
	size_t n = 0, done = 0;

	while (out_left || in_left) {
		size_t moved = 0, r;

		if (out_left && done == n) {
			n = fill_chunk(t, out_left);
			done = 0;
		}
		if (out_left) {
			r = put_once(t, done, n - done);
			done += r;
			out_left -= r;
			moved += r;
		}
		if (in_left) {
			r = get_once(t, chunk_for(t->st, &t->in, in_left));
			in_left -= r;
			moved += r;
		}
		if (!moved)
			wait_for(t, (in_left ? POLLIN : 0) | (out_left ? POLLOUT : 0));
	}
}

static void *send_thread(void *arg)
{
	struct talk *t = arg;

	send_range(t, t->bytes);
	return NULL;
}

static void bulk(struct talk *t)
{
	pthread_t sender;

	if (t->st->flags & STYLE_BOTH_WAYS) {
		exchange(t, t->bytes, t->bytes);
	} else if (t->st->flags & STYLE_THREADS) {
		if (pthread_create(&sender, NULL, send_thread, t))
			die("pthread_create");
		recv_range(t, t->bytes);
		pthread_join(sender, NULL);
	} else if (t->server) {
		recv_range(t, t->bytes);
		send_range(t, t->bytes);
	} else {
		send_range(t, t->bytes);
		recv_range(t, t->bytes);
	}
}

static void questions(struct talk *t)
{
	/* Nagle's algorithm and delayed acknowledgements cost 40 ms a round between them. */
	int rounds = t->st->flags & STYLE_NAGLE ? ROUNDS / 16 : ROUNDS;

	for (int i = 0; i < rounds; i++) {
		uint64_t n = roll(&t->rounds_dice, t->st->chunk == 1 ? 16 : 8192);

		if (!t->server)
			send_range(t, n);
		recv_range(t, n);
		if (t->server)
			send_range(t, n);
	}
}

/* Nothing moves until a line comes on standard input, or its end. */
static void pause_until_told(void)
{
	fprintf(stderr, "paused\n");
	for (int c = 0; c != '\n' && c != EOF;)
		c = getchar();
}

/* ---- the end ---- */

static void expect_end(struct talk *t)
{
	ssize_t r;

	while ((r = t->st->get(t->fd, t->in.buf, 16)) < 0) {
		must_be_later(t->st, "get at the end");
		wait_for(t, POLLIN);
	}
	if (r)
		fail("%zd bytes after the end", r);
}

static void raw_out(struct talk *t, const void *buf, size_t n)
{
	for (size_t done = 0; done < n;) {
		ssize_t r = t->st->put(t->fd, (const char *)buf + done, n - done);
		if (r < 0) {
			must_be_later(t->st, "put of the sum");
			wait_for(t, POLLOUT);
			continue;
		}
		done += r;
	}
}

static void raw_in(struct talk *t, void *buf, size_t n)
{
	for (size_t done = 0; done < n;) {
		ssize_t r = t->st->get(t->fd, (char *)buf + done, n - done);
		if (!r)
			fail("end in place of the peer's sum");
		if (r < 0) {
			must_be_later(t->st, "get of the sum");
			wait_for(t, POLLIN);
			continue;
		}
		done += r;
	}
}

static void end_client(struct talk *t)
{
	uint64_t sum;

	if (shutdown(t->fd, SHUT_WR))
		die("shutdown");
	raw_in(t, &sum, sizeof(sum));
	if (sum != t->out.sum)
		fail("the peer's sum is %016llx, ours %016llx", (unsigned long long)sum,
			(unsigned long long)t->out.sum);
	expect_end(t);
}

static void end_server(struct talk *t)
{
	expect_end(t);
	raw_out(t, &t->in.sum, sizeof(t->in.sum));
}

/* ---- one connection ---- */

static void no_op(int sig)
{
}

static timer_t start_signals(void)
{
	struct sigaction sa = {.sa_handler = no_op};
	struct itimerspec every = {{0, 3000000}, {0, 3000000}};
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	timer_t timer;

	if (sigaction(SIGUSR1, &sa, NULL) || timer_create(CLOCK_MONOTONIC, &ev, &timer) ||
		timer_settime(timer, 0, &every, NULL))
		die("timer");
	return timer;
}

static void start_flow(struct flow *f, int direction)
{
	*f = (struct flow){.seed = mix(opt_seed * 2 + direction), .dice = mix(opt_seed + 77),
		.word_at = UINT64_MAX, .buf = malloc(ROOM + GUARD)};
	if (!f->buf)
		die("malloc");
}

static void conversation(const struct style *st, int fd, bool server)
{
	struct talk t = {.st = st, .server = server, .rounds_dice = opt_seed};
	timer_t timer = 0;
	int on = 1;

	t.bytes = st->chunk == 1 && opt_bytes > 3000 ? 3000 : opt_bytes;
	start_flow(&t.out, server);
	start_flow(&t.in, !server);
	if (!(st->flags & STYLE_NAGLE) && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)))
		die("TCP_NODELAY");
	t.fd = st->prepare ? st->prepare(fd) : fd;
	if (st->flags & STYLE_SIGNALS)
		timer = start_signals();
	bulk(&t);
	if (st->flags & STYLE_PAUSE) {
		if (!server)
			pause_until_told();
		bulk(&t);
	}
	questions(&t);
	if (server)
		end_server(&t);
	else
		end_client(&t);
	if (st->flags & STYLE_SIGNALS)
		timer_delete(timer);
	if (st->finish)
		st->finish(t.fd);
	if (close(t.fd))
		die("close");
	printf("%s: out %llu %016llx, in %llu %016llx\n", st->name, (unsigned long long)t.out.at,
		(unsigned long long)t.out.sum, (unsigned long long)t.in.at,
		(unsigned long long)t.in.sum);
	fflush(stdout);
	free(t.out.buf);
	free(t.in.buf);
}

/* ---- server ---- */

struct thread_job {
	const struct style *st;
	int fd;
};

static void *serve_thread(void *arg)
{
	struct thread_job *job = arg;

	conversation(job->st, job->fd, true);
	return NULL;
}

static void in_thread(const struct style *st, int fd)
{
	struct thread_job job = {st, fd};
	pthread_t th;

	if (pthread_create(&th, NULL, serve_thread, &job))
		die("pthread_create");
	pthread_join(th, NULL);
}

static void exec_self(const struct style *st, int fd)
{
	char num[16], bytes[24], seed[24];

	snprintf(num, sizeof(num), "%d", fd);
	snprintf(bytes, sizeof(bytes), "%llu", (unsigned long long)opt_bytes);
	snprintf(seed, sizeof(seed), "%llu", (unsigned long long)opt_seed);
	execl("/proc/self/exe", "prog_stream", "resume", num, "0", "-n", bytes, "-s", seed,
		st->name, NULL);
	die("exec");
}

static void in_child(const struct style *st, int fd)
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (!pid) {
		if (st->flags & STYLE_EXEC)
			exec_self(st, fd);
		conversation(st, fd, true);
		_exit(0);
	}
	close(fd);
	if (waitpid(pid, &status, 0) != pid || status)
		fail("the child ended with %x", status);
}

static void serve_one(const struct style *st, int listener)
{
	int fd = st->type ? accept4(listener, NULL, NULL, st->type) : accept(listener, NULL, NULL);

	if (fd < 0)
		die("accept");
	if (st->flags & (STYLE_FORK | STYLE_EXEC))
		in_child(st, fd);
	else if (st->flags & STYLE_THREAD_SERVER)
		in_thread(st, fd);
	else
		conversation(st, fd, true);
}

static int listen_at(const struct addrinfo *at)
{
	int on = 1, fd = socket(at->ai_family, SOCK_STREAM, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)))
		die("socket");
	if (bind(fd, at->ai_addr, at->ai_addrlen) || listen(fd, 16))
		die("listen");
	printf("listening\n");
	fflush(stdout);
	return fd;
}

/* ---- client ---- */

static void finish_connect(int fd)
{
	struct pollfd p = {fd, POLLOUT, 0};
	int err = -1;
	socklen_t len = sizeof(err);

	if (errno != EINPROGRESS)
		die("connect");
	if (poll(&p, 1, 30000) != 1)
		die("poll for connect");
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len))
		die("SO_ERROR");
	errno = err;
	if (err)
		die("connect");
}

static int connect_to(const struct style *st, const struct addrinfo *to, const struct addrinfo *from)
{
	int fd = socket(to->ai_family, SOCK_STREAM | st->type, 0);

	if (fd < 0)
		die("socket");
	if (from && bind(fd, from->ai_addr, from->ai_addrlen))
		die("bind");
	if (connect(fd, to->ai_addr, to->ai_addrlen))
		finish_connect(fd);
	return fd;
}

/* ---- arguments ---- */

/* Of either family; a link-local one names its device behind a %. */
static const struct addrinfo *address(const char *host, const char *port)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM}, *found;

	if (getaddrinfo(host, port, &hints, &found))
		fail("%s is no address", host);
	return found;
}

static const struct style *style_named(const char *name)
{
	for (size_t i = 0; i < n_styles; i++)
		if (!strcmp(styles[i].name, name))
			return &styles[i];
	fail("no style is named %s", name);
}

static int list_styles(void)
{
	for (size_t i = 0; i < n_styles; i++)
		puts(styles[i].name);
	return 0;
}

/* The next style's name: an argument, or a line of input where no argument is. */
static const char *next_name(char **argv, int *i)
{
	static char line[64];

	if (*i && argv[*i])
		return argv[(*i)++];
	if (*i > optind)
		return NULL;
	*i = 0;
	if (!fgets(line, sizeof(line), stdin))
		return NULL;
	line[strcspn(line, "\n")] = 0;
	char *at = strchr(line, '@');
	stop_at = at ? strtoull(at + 1, NULL, 0) : 0;
	line[strcspn(line, "@")] = 0;
	return line;
}

int main(int argc, char **argv)
{
	const char *name, *verb = argc > 1 ? argv[1] : "";
	const struct addrinfo *at, *from = NULL;
	int c, listener = -1;

	if (!strcmp(verb, "list"))
		return list_styles();
	if (argc < 4)
		fail("see the top of prog_stream.c");
	optind = 4;
	while ((c = getopt(argc, argv, "n:s:b:f")) != -1) {
		if (c == 'n')
			opt_bytes = strtoull(optarg, NULL, 0);
		else if (c == 's')
			opt_seed = strtoull(optarg, NULL, 0);
		else if (c == 'f')
			opt_failing = true;
		else
			from = address(optarg, NULL);
	}
	at = address(argv[2], argv[3]); /* a descriptor's number (resume) is one, too */
	if (!strcmp(verb, "serve"))
		listener = listen_at(at);
	for (int i = optind; (name = next_name(argv, &i));) {
		const struct style *st = style_named(current = name);

		if (listener >= 0)
			serve_one(st, listener);
		else if (!strcmp(verb, "resume"))
			conversation(st, atoi(argv[2]), true);
		else
			conversation(st, connect_to(st, at, from), false);
	}
	return 0;
}
