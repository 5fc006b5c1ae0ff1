/* Many connections at once between two hosts, each with small messages, every byte checked.
 *
 *   prog_many serve ADDR PORT COUNT ROUNDS
 *   prog_many talk  ADDR PORT COUNT ROUNDS FROM
 *
 * In each round one message goes over every connection and back. After the last one talk prints "all", and both keep
 * the connections until talk has read a line; then both close them and print "closed". talk ends with its input, serve
 * when it is called once more. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BYTES = 4096, MOST = 2000, PAUSE_US = 500000 };

static void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static void say(const char *word)
{
	puts(word);
	fflush(stdout);
}

static void fill(char *buf, int connection, int round)
{
	for (int i = 0; i < BYTES; i++)
		buf[i] = (char)((connection * 31 + round * 7 + i) * 2654435761u >> 24);
}

static void send_all(int fd, const char *buf)
{
	for (size_t n = 0; n < BYTES;) {
		ssize_t r = send(fd, buf + n, BYTES - n, MSG_NOSIGNAL);
		if (r <= 0)
			die("send");
		n += (size_t)r;
	}
}

static void expect(int fd, int connection, int round)
{
	char want[BYTES], buf[BYTES];

	fill(want, connection, round);
	for (size_t n = 0; n < BYTES;) {
		ssize_t r = recv(fd, buf + n, BYTES - n, 0);
		if (r <= 0)
			die("recv");
		n += (size_t)r;
	}
	if (memcmp(buf, want, BYTES)) {
		fprintf(stderr, "connection %d, round %d: other bytes\n", connection, round);
		exit(1);
	}
}

static void one_message(int fd, int connection, int round, bool first)
{
	char buf[BYTES];

	fill(buf, connection, round);
	if (first)
		send_all(fd, buf);
	expect(fd, connection, round);
	if (!first)
		send_all(fd, buf);
}

static int listen_at(const struct sockaddr_in *at)
{
	int on = 1, s = socket(AF_INET, SOCK_STREAM, 0);

	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (s < 0 || bind(s, (const struct sockaddr *)at, sizeof(*at)) || listen(s, MOST))
		die("listen");
	say("listening");
	return s;
}

static int connect_from(const struct sockaddr_in *to, const char *from)
{
	struct sockaddr_in me = { .sin_family = AF_INET };
	int s = socket(AF_INET, SOCK_STREAM, 0);

	if (s < 0 || inet_pton(AF_INET, from, &me.sin_addr) != 1 || bind(s, (struct sockaddr *)&me, sizeof(me)) ||
	    connect(s, (const struct sockaddr *)to, sizeof(*to)))
		die("connect");
	return s;
}

/* To the end of a line, or of the input. */
static void read_line(void)
{
	for (char byte = 0; byte != '\n' && read(STDIN_FILENO, &byte, 1) > 0;)
		;
}

/* The other end closes it. */
static void await_end(int fd)
{
	for (char byte; recv(fd, &byte, 1, 0) > 0;)
		;
}

static void close_all(const int *fds, int count)
{
	for (int i = 0; i < count; i++)
		close(fds[i]);
	say("closed");
}

int main(int argc, char **argv)
{
	static int fds[MOST];
	struct sockaddr_in at = { .sin_family = AF_INET };
	struct rlimit files = { 2 * MOST + 100, 2 * MOST + 100 };
	bool talks = argc == 7 && !strcmp(argv[1], "talk");
	int count = argc > 4 ? atoi(argv[4]) : 0, rounds = argc > 5 ? atoi(argv[5]) : 0, listener;

	if ((!talks && argc != 6) || count < 1 || count > MOST) {
		fprintf(stderr, "see the top of prog_many.c\n");
		return 2;
	}
	setrlimit(RLIMIT_NOFILE, &files);
	inet_pton(AF_INET, argv[2], &at.sin_addr);
	at.sin_port = htons((uint16_t)atoi(argv[3]));
	listener = talks ? -1 : listen_at(&at);
	for (int i = 0; i < count; i++)
		if ((fds[i] = talks ? connect_from(&at, argv[6]) : accept(listener, NULL, NULL)) < 0)
			die("accept");
	for (int round = 0; round < rounds; round++) {
		for (int i = 0; i < count; i++)
			one_message(fds[i], i, round, talks);
		if (talks)
			usleep(PAUSE_US);
	}
	if (talks) {
		say("all");
		read_line();
	} else {
		await_end(fds[0]);
	}
	close_all(fds, count);
	if (talks) {
		read_line();
		close(connect_from(&at, argv[6]));
	} else if (accept(listener, NULL, NULL) < 0) {
		die("accept");
	}
	return 0;
}
