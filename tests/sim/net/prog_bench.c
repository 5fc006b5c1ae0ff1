/* Ping-pong and one-way transfers over one TCP connection; prints one line of JSON.
 *
 *   prog_bench serve    ADDR PORT
 *   prog_bench pingpong ADDR PORT SIZE COUNT [FROM]    median round trip, and the least
 *   prog_bench after    ADDR PORT SIZE COUNT [FROM]    the same, on a connection that has carried large messages before
 *   prog_bench oneway   ADDR PORT SIZE COUNT [FROM]    until the other end says it has all
 *   prog_bench learned  ADDR PORT SIZE COUNT [FROM]    the same, on a connection that has carried such messages before
 *
 * Small messages with pauses go before, for libraries that take their time; getppid, which nothing else
 * here calls, stands before and behind what counts. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { WARM_ROUNDS = 200, WARM_BYTES = 4096, WARM_PAUSE_US = 50000 };
enum { LEARN_ROUNDS = 10, LARGE_ROUNDS = 10, LARGE_BYTES = 256 << 10, CALM_ROUNDS = 200, CALM_BYTES = 64 };

struct order { /* the client's first bytes */
	uint32_t pingpong, after, learned, size, count;
};

static void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static void send_all(int fd, const char *buf, size_t n)
{
	while (n) {
		ssize_t r = send(fd, buf, n, MSG_NOSIGNAL);
		if (r <= 0)
			die("send");
		buf += r;
		n -= r;
	}
}

static void recv_all(int fd, char *buf, size_t n)
{
	while (n) {
		ssize_t r = recv(fd, buf, n, 0);
		if (r <= 0)
			die("recv");
		buf += r;
		n -= r;
	}
}

static void set_nodelay(int fd)
{
	int on = 1;

	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)))
		die("TCP_NODELAY");
}

static void mark(void)
{
	getppid();
}

static void warm(int fd, bool first)
{
	char buf[WARM_BYTES] = {0};

	for (int i = 0; i < WARM_ROUNDS; i++) {
		if (first)
			send_all(fd, buf, sizeof(buf));
		recv_all(fd, buf, sizeof(buf));
		if (!first)
			send_all(fd, buf, sizeof(buf));
		else
			usleep(WARM_PAUSE_US);
	}
}

static void to_and_fro(int fd, bool first, char *buf, size_t n, int rounds)
{
	for (int i = 0; i < rounds; i++) {
		if (first)
			send_all(fd, buf, n);
		recv_all(fd, buf, n);
		if (!first)
			send_all(fd, buf, n);
	}
}

static void one_way(int fd, bool first, char *buf, const struct order *o, uint32_t rounds)
{
	for (uint32_t i = 0; i < rounds; i++) {
		if (first)
			send_all(fd, buf, o->size);
		else
			recv_all(fd, buf, o->size);
	}
}

/* Large messages, and small ones until the connection has had time to be what small ones make of it; or those that are measured then. */
static void before_it(int fd, const struct order *o, bool first, char *buf)
{
	static char large[LARGE_BYTES];

	if (o->learned)
		one_way(fd, first, buf, o, LEARN_ROUNDS);
	if (!o->after)
		return;
	to_and_fro(fd, first, large, LARGE_BYTES, LARGE_ROUNDS);
	to_and_fro(fd, first, large, CALM_BYTES, CALM_ROUNDS);
}

static void serve(int fd)
{
	struct order o;
	char *buf;

	warm(fd, false);
	recv_all(fd, (char *)&o, sizeof(o));
	buf = calloc(1, o.size);
	before_it(fd, &o, false, buf);
	mark();
	if (o.pingpong)
		to_and_fro(fd, false, buf, o.size, (int)o.count);
	else
		one_way(fd, false, buf, &o, o.count);
	send_all(fd, "", 1);
	mark();
	free(buf);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void pingpong(int fd, const struct order *o, char *buf)
{
	double *took = calloc(o->count, sizeof(*took));

	for (uint32_t i = 0; i < o->count; i++) {
		double start = now_us();
		send_all(fd, buf, o->size);
		recv_all(fd, buf, o->size);
		took[i] = now_us() - start;
	}
	qsort(took, o->count, sizeof(*took), compare);
	printf("{\"size\": %u, \"count\": %u, \"min_us\": %.1f, \"p50_us\": %.1f}\n", o->size, o->count,
		took[0], took[o->count / 2]);
	recv_all(fd, buf, 1);
	free(took);
}

static void oneway(int fd, const struct order *o, char *buf)
{
	double start = now_us();

	one_way(fd, true, buf, o, o->count);
	recv_all(fd, buf, 1);
	printf("{\"size\": %u, \"count\": %u, \"mb_s\": %.2f}\n", o->size, o->count,
		(double)o->size * o->count / (now_us() - start));
}

static int listen_once(const struct sockaddr_in *at)
{
	int on = 1, s = socket(AF_INET, SOCK_STREAM, 0), fd;

	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (s < 0 || bind(s, (const struct sockaddr *)at, sizeof(*at)) || listen(s, 4))
		die("listen");
	puts("listening");
	fflush(stdout);
	fd = accept(s, NULL, NULL);
	if (fd < 0)
		die("accept");
	close(s);
	return fd;
}

static int connect_from(const struct sockaddr_in *to, const char *from)
{
	struct sockaddr_in me = {.sin_family = AF_INET};
	int s = socket(AF_INET, SOCK_STREAM, 0);

	if (s < 0)
		die("socket");
	if (from && (inet_pton(AF_INET, from, &me.sin_addr) != 1 ||
			    bind(s, (struct sockaddr *)&me, sizeof(me))))
		die("bind");
	if (connect(s, (const struct sockaddr *)to, sizeof(*to)))
		die("connect");
	return s;
}

static void drive(int fd, const struct order *o)
{
	char *buf = calloc(1, o->size);

	warm(fd, true);
	send_all(fd, (const char *)o, sizeof(*o));
	before_it(fd, o, true, buf);
	mark();
	if (o->pingpong)
		pingpong(fd, o, buf);
	else
		oneway(fd, o, buf);
	mark();
	free(buf);
}

int main(int argc, char **argv)
{
	struct sockaddr_in at = {.sin_family = AF_INET};
	bool server = argc == 4 && !strcmp(argv[1], "serve");
	struct order o;
	int fd;

	if (!server && argc < 6) {
		fprintf(stderr, "see the top of prog_bench.c\n");
		return 2;
	}
	inet_pton(AF_INET, argv[2], &at.sin_addr);
	at.sin_port = htons(atoi(argv[3]));
	fd = server ? listen_once(&at) : connect_from(&at, argc > 6 ? argv[6] : NULL);
	set_nodelay(fd);
	if (server) {
		serve(fd);
	} else {
		bool after = !strcmp(argv[1], "after");
		o = (struct order){after || !strcmp(argv[1], "pingpong"), after, !strcmp(argv[1], "learned"), atoi(argv[4]),
			atoi(argv[5])};
		drive(fd, &o);
	}
	close(fd);
	return 0;
}
