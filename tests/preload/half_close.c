/* shutdown of each half, each way, with the other half in use, and with data behind it. */
#include "pair.h"

#include <poll.h>
#include <signal.h>

static volatile sig_atomic_t pipes;

static void on_pipe(int sig)
{
	pipes++;
}

static void finish(struct end *e, int fd)
{
	char c;

	say("recv at the end: %s", result(recv(fd, &c, 1, 0)));
	say("again: %s", result(recv(fd, &c, 1, 0)));
	close(fd);
}

static int open_end(struct end *e)
{
	int fd = e->role == CLIENT ? connect_port(e->family, e->port) :
		accept(e->listener, NULL, NULL);

	check(fd >= 0);
	warm(e, fd);
	return fd;
}

/* Request, end of request, then a long answer: the half that is left carries megabytes. */
static void request_and_answer(struct end *e, int asks)
{
	int fd = open_end(e);
	char c;

	if (asks) {
		put(e, fd, 300000);
		check(!shutdown(fd, SHUT_WR));
		say("send after shutdown: %s", result(send(fd, "x", 1, MSG_NOSIGNAL)));
		say("write after shutdown: %s, signals %d", result(write(fd, "x", 1)), pipes);
		take(e, fd, 20 << 20);
		finish(e, fd);
	} else {
		take(e, fd, 300000);
		say("end of the request: %s", result(recv(fd, &c, 1, 0)));
		say("revents %#x", await_events(fd, POLLIN | POLLOUT | POLLRDHUP));
		put(e, fd, 20 << 20);
		close(fd);
	}
}

static void no_more_reading(struct end *e, int stops)
{
	int fd = open_end(e);
	char c;

	if (stops) {
		check(!shutdown(fd, SHUT_RD));
		say("recv after SHUT_RD: %s", result(recv(fd, &c, 1, 0)));
		put(e, fd, 100000);
		check(!shutdown(fd, SHUT_WR));
		await('d');
	} else {
		take(e, fd, 100000);
		say("end: %s", result(recv(fd, &c, 1, 0)));
		tell('d');
	}
	close(fd);
}

static void both(struct end *e)
{
	signal(SIGPIPE, on_pipe);
	request_and_answer(e, e->role == CLIENT);
	pipes = 0;
	request_and_answer(e, e->role == SERVER);
	no_more_reading(e, e->role == CLIENT);
	no_more_reading(e, e->role == SERVER);
}

const struct pair pair = { .client = both, .server = both, .unconnected = 1 };
