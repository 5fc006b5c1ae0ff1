/* SIGKILL of one child after another, each with half of a message unread that it took notice of by polling, so that its
 * kernel may not know of it: the other side, which sleeps in recv or asks by it, is told of a reset each time, however
 * early in the child's death it looks. */
#include "pair.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#define ROUNDS 60

/* Each round is answered but for the last one's second half. */
static void read_and_die(struct end *e)
{
	int fd = accept(e->listener, NULL, NULL);

	check(fd >= 0);
	warm(e, fd);
	for (int i = 0; i < 20; i++) {
		if (i)
			take(e, fd, 60);
		put(e, fd, 1);
		await_events(fd, POLLIN);
		take(e, fd, 60);
	}
	await_events(fd, POLLIN);
	raise(SIGKILL);
}

static void server(struct end *e)
{
	int status, killed = 0;

	for (int i = 0; i < ROUNDS; i++) {
		if (!fork()) {
			read_and_die(e);
			_exit(1);
		}
		killed += wait(&status) > 0 && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
	}
	say("children killed: %d", killed);
}

static ssize_t end_of(int fd, int asks)
{
	char c;
	ssize_t r;

	do
		r = recv(fd, &c, 1, asks ? MSG_DONTWAIT : 0);
	while (r < 0 && errno == EAGAIN);
	return r;
}

static void client(struct end *e)
{
	int resets = 0;

	for (int i = 0; i < ROUNDS; i++) {
		int fd = connect_port(e->family, e->port);
		e->in = e->out = 0;
		warm(e, fd);
		for (int k = 0; k < 20; k++) {
			take(e, fd, 1);
			put(e, fd, 120);
		}
		resets += end_of(fd, i % 2) < 0 && errno == ECONNRESET;
		close(fd);
	}
	say("resets: %d", resets);
}

const struct pair pair = { .client = client, .server = server, .unconnected = 1 };
