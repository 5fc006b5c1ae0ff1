/* Several connections at once between two processes, every byte checked against its position.
 *
 *   prog_soak serve ADDR PORT [-n BYTES] [-c CONNECTIONS]
 *   prog_soak talk  ADDR PORT [-n BYTES] [-c CONNECTIONS] [-b FROM]
 *
 * Each line of input is a seed, the same at both ends, and one round: all its connections at once,
 * up to BYTES each way in each. The seed says how each end of each uses its socket (two blocking
 * threads, poll, epoll by level or by edge; or both take turns), how large each call is, and where it
 * pauses. A buffer is overwritten as soon as a call has taken it; behind a received piece there may
 * be nothing but the stream's own next bytes. What is printed depends on the seed alone. */
#include "stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ROOM = 1 << 20, GUARD = 64, SENT = 0xA5, EMPTY = 0x5A, MOST = 64 };
enum use { THREADS, POLL, LEVEL, EDGE, USES };

struct flow { /* one direction of one connection */
	uint64_t seed, at, total;
	uint64_t dice; /* this end's */
	uint64_t turns; /* both ends' */
	size_t n, done; /* of the piece in hand */
	unsigned char *buf;
};

struct connection {
	bool server, takes_turns;
	enum use use;
	int fd, ep;
	struct flow out, in;
	pthread_t thread;
};

static uint64_t opt_bytes = 3000000, current;
static unsigned opt_connections = 4;

void fail(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "FAIL %llu: ", (unsigned long long)current);
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

static uint64_t roll(uint64_t *dice, uint64_t sides)
{
	return (*dice = mix(*dice)) % sides;
}

static void expected(const struct flow *f, unsigned char *buf, size_t n)
{
	uint64_t word = mix(f->seed ^ f->at / 8);

	for (uint64_t i = 0, at = f->at; i < n; i++, at++) {
		if (at % 8 == 0)
			word = mix(f->seed ^ at / 8);
		buf[i] = word >> at % 8 * 8;
	}
}

static size_t size_of_piece(uint64_t *dice, uint64_t left)
{
	static const uint64_t sizes[] = {100, 9000, 70000, 400000, ROOM};
	size_t n = 1 + roll(dice, sizes[roll(dice, 5)]);

	return n < left ? n : left;
}

/* In every fourth round so long that a link that failed may be there again before the end. */
static void pause_perhaps(struct flow *f)
{
	if (!roll(&f->dice, 16))
		usleep(roll(&f->dice, current % 4 == 3 ? 1500000 : 20000));
}

/* ---- one call, with its checks; false: nothing moved ---- */

static void must_be_later(const char *what)
{
	if (errno != EINTR && errno != EAGAIN)
		die(what);
}

static bool put_once(struct connection *c)
{
	struct flow *f = &c->out;
	ssize_t r;

	if (f->done == f->n) {
		pause_perhaps(f);
		f->n = size_of_piece(c->takes_turns ? &f->turns : &f->dice, f->total - f->at);
		f->done = 0;
		expected(f, f->buf, f->n);
	}
	r = send(c->fd, f->buf + f->done, f->n - f->done, MSG_NOSIGNAL);
	if (r < 0) {
		must_be_later("send");
		return false;
	}
	if (r == 0 || (size_t)r > f->n - f->done)
		fail("send returned %zd of %zu", r, f->n - f->done);
	memset(f->buf + f->done, SENT, r);
	f->done += r;
	f->at += r;
	return true;
}

static void check_piece(const struct flow *f, size_t got, size_t n)
{
	static _Thread_local unsigned char want[ROOM + GUARD]; /* the library's thread has room for one, too */
	unsigned char *buf = f->buf;

	expected(f, want, got + GUARD);
	if (memcmp(buf, want, got))
		for (size_t i = 0;; i++)
			if (buf[i] != want[i])
				fail("byte %llu is %02x, not %02x", (unsigned long long)(f->at + i), buf[i], want[i]);
	for (size_t i = got; i < got + GUARD; i++)
		if (buf[i] != EMPTY && !(i < n && buf[i] == want[i]))
			fail("%02x lies %zu bytes behind the %zu received of %zu", buf[i], i - got, got, n);
}

static bool get_once(struct connection *c, size_t most)
{
	struct flow *f = &c->in;
	size_t n = most ? most : 1 + size_of_piece(&f->dice, ROOM - 1);
	ssize_t r;

	memset(f->buf, EMPTY, n + GUARD);
	r = recv(c->fd, f->buf, n, 0);
	if (r < 0) {
		must_be_later("recv");
		return false;
	}
	if (r == 0 || (size_t)r > n)
		fail("recv returned %zd of %zu at byte %llu", r, n, (unsigned long long)f->at);
	check_piece(f, r, n);
	f->at += r;
	pause_perhaps(f);
	return true;
}

static bool is_over(const struct flow *f)
{
	return f->at == f->total;
}

/* ---- ways to use a socket ---- */

static void *send_thread(void *arg)
{
	struct connection *c = arg;

	while (!is_over(&c->out))
		put_once(c);
	return NULL;
}

static void by_threads(struct connection *c)
{
	pthread_t sender;

	if (pthread_create(&sender, NULL, send_thread, c))
		die("pthread_create");
	while (!is_over(&c->in))
		get_once(c, 0);
	pthread_join(sender, NULL);
}

static void wait_for(struct connection *c, short events)
{
	struct epoll_event e = {.events = events};
	struct pollfd p = {c->fd, events, 0};
	int r;

	if (c->use == LEVEL && epoll_ctl(c->ep, EPOLL_CTL_MOD, c->fd, &e))
		die("epoll_ctl MOD");
	r = c->use == POLL ? poll(&p, 1, -1) : epoll_wait(c->ep, &e, 1, -1);
	if (r != 1 && errno != EINTR)
		die("poll or epoll_wait");
}

/* Neither direction waits for the other. */
static void by_events(struct connection *c)
{
	while (!is_over(&c->in) || !is_over(&c->out)) {
		bool moved = !is_over(&c->out) && put_once(c);

		moved |= !is_over(&c->in) && get_once(c, 0);
		if (!moved)
			wait_for(c, (is_over(&c->in) ? 0 : POLLIN) | (is_over(&c->out) ? 0 : POLLOUT));
	}
}

static void send_one(struct connection *c)
{
	do {
		if (!put_once(c) && c->use != THREADS)
			wait_for(c, POLLOUT);
	} while (c->out.done < c->out.n);
}

/* A message whose size both ends know. */
static void receive_one(struct connection *c)
{
	for (uint64_t n = size_of_piece(&c->in.turns, c->in.total - c->in.at), upto = c->in.at + n; c->in.at < upto;)
		if (!get_once(c, upto - c->in.at) && c->use != THREADS)
			wait_for(c, POLLIN);
}

static void by_turns(struct connection *c)
{
	for (bool sends = !c->server; !is_over(&c->in) || !is_over(&c->out); sends = !sends)
		if (sends && !is_over(&c->out))
			send_one(c);
		else if (!sends && !is_over(&c->in))
			receive_one(c);
}

/* ---- one connection ---- */

static void expect_end(struct connection *c)
{
	ssize_t r;

	if (shutdown(c->fd, SHUT_WR))
		die("shutdown");
	while ((r = recv(c->fd, c->in.buf, 16, 0)) < 0) {
		must_be_later("recv at the end");
		if (c->use != THREADS)
			wait_for(c, POLLIN);
	}
	if (r)
		fail("%zd bytes after the end", r);
}

static void *conversation(void *arg)
{
	struct connection *c = arg;

	if (c->takes_turns)
		by_turns(c);
	else if (c->use == THREADS)
		by_threads(c);
	else
		by_events(c);
	expect_end(c);
	return NULL;
}

static struct flow flow_of(uint64_t seed, uint64_t end)
{
	struct flow f = {.seed = mix(seed), .dice = mix(seed + 7 * end), .turns = mix(seed + 1)};

	f.total = opt_bytes / 2 + roll(&f.turns, opt_bytes / 2 + 1);
	if (!(f.buf = malloc(ROOM + GUARD)))
		die("malloc");
	return f;
}

static void prepare(struct connection *c)
{
	struct epoll_event e = {.events = c->use == EDGE ? EPOLLIN | EPOLLOUT | EPOLLET : 0};
	int on = 1;

	if (setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)))
		die("TCP_NODELAY");
	if (c->use != THREADS && fcntl(c->fd, F_SETFL, O_NONBLOCK))
		die("fcntl");
	c->ep = epoll_create1(EPOLL_CLOEXEC);
	if (c->ep < 0 || ((c->use == LEVEL || c->use == EDGE) && epoll_ctl(c->ep, EPOLL_CTL_ADD, c->fd, &e)))
		die("epoll");
}

static void start(struct connection *c, int fd, bool server, uint64_t seed)
{
	uint64_t ends = mix(seed), mine = mix(seed + 3 + server);

	*c = (struct connection){.fd = fd, .server = server, .use = roll(&mine, USES)};
	c->takes_turns = !roll(&ends, 4);
	c->out = flow_of(2 * seed + server, 1);
	c->in = flow_of(2 * seed + !server, 2);
	prepare(c);
	if (pthread_create(&c->thread, NULL, conversation, c))
		die("pthread_create");
}

static void end(struct connection *c)
{
	pthread_join(c->thread, NULL);
	close(c->ep);
	if (close(c->fd))
		die("close");
	free(c->out.buf);
	free(c->in.buf);
}

/* ---- a round ---- */

static int connect_to(const struct sockaddr_in *to, const struct sockaddr_in *from)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (const struct sockaddr *)from, sizeof(*from)) ||
		connect(fd, (const struct sockaddr *)to, sizeof(*to)))
		die("connect");
	return fd;
}

/* Connected one after the other, they are accepted in that order. */
static void run_round(int listener, const struct sockaddr_in *to, const struct sockaddr_in *from)
{
	static struct connection all[MOST];
	uint64_t sums[2] = {0, 0};
	bool server = listener >= 0;

	for (unsigned i = 0; i < opt_connections; i++) {
		int fd = server ? accept4(listener, NULL, NULL, SOCK_CLOEXEC) : connect_to(to, from);

		if (fd < 0)
			die("accept");
		start(&all[i], fd, server, mix(current) + 1000 * i);
	}
	for (unsigned i = 0; i < opt_connections; i++) {
		end(&all[i]);
		sums[server] += all[i].out.at;
		sums[!server] += all[i].in.at;
	}
	printf("%llu: %u connections, %llu bytes there, %llu back\n", (unsigned long long)current, opt_connections,
		(unsigned long long)sums[0], (unsigned long long)sums[1]);
	fflush(stdout);
}

static int listen_at(const struct sockaddr_in *at)
{
	int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)))
		die("socket");
	if (bind(fd, (const struct sockaddr *)at, sizeof(*at)) || listen(fd, MOST))
		die("listen");
	printf("listening\n");
	fflush(stdout);
	return fd;
}

int main(int argc, char **argv)
{
	struct sockaddr_in at = {.sin_family = AF_INET}, from = at;
	char line[64];
	int c, listener = -1;

	if (argc < 4)
		fail("see the top of prog_soak.c");
	optind = 4;
	while ((c = getopt(argc, argv, "n:c:b:")) != -1) {
		if (c == 'n')
			opt_bytes = strtoull(optarg, NULL, 0);
		else if (c == 'c')
			opt_connections = strtoul(optarg, NULL, 0);
		else if (c != 'b' || inet_pton(AF_INET, optarg, &from.sin_addr) != 1)
			fail("see the top of prog_soak.c");
	}
	if (opt_connections > MOST || inet_pton(AF_INET, argv[2], &at.sin_addr) != 1)
		fail("%u connections to %s: too many, or no address", opt_connections, argv[2]);
	at.sin_port = htons(atoi(argv[3]));
	if (!strcmp(argv[1], "serve"))
		listener = listen_at(&at);
	while (fgets(line, sizeof(line), stdin)) {
		current = strtoull(line, NULL, 0);
		run_round(listener, &at, &from);
	}
	return 0;
}
