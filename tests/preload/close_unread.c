/* What the other side sees when a socket is closed: end of stream, or a reset if something lay
 * unread. With little and with much in flight, by close, shutdown, linger 0 and exit. */
#include "pair.h"

#include <poll.h>
#include <sys/wait.h>

enum how { CLOSE, SHUT_THEN_CLOSE, LINGER0, CHILD_EXIT, HOWS };
static const char *const hows[] = { "close", "shutdown", "linger 0", "exit of the owner" };
static const int unread[] = { 0, 1, 100, 20000, 200000 };

static void give_up(int fd, enum how how)
{
	struct linger l = { 1, 0 };

	if (how == SHUT_THEN_CLOSE)
		check(!shutdown(fd, SHUT_WR));
	if (how == LINGER0)
		check(!setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)));
	if (how == CHILD_EXIT && !fork())
		_exit(0);
	if (how == CHILD_EXIT)
		wait(NULL);
	check(!close(fd));
}

/* The end that sees it. */
static void client(struct end *e)
{
	char buf[100];

	for (int how = 0; how < HOWS; how++)
		for (int i = 0; i < 5; i++) {
			int fd = connect_port(e->family, e->port);
			short ev;
			ssize_t r;

			warm(e, fd);
			put(e, fd, unread[i]);
			await('c');
			ev = await_events(fd, POLLIN | POLLRDHUP);
			if (unread[i] || how == LINGER0)
				ev = await_events(fd, 0);
			say("%s, %d unread: revents %#x", hows[how], unread[i], ev);
			r = recv(fd, buf, sizeof(buf), 0);
			say("  recv %s", result(r));
			r = recv(fd, buf, sizeof(buf), 0);
			say("  recv again %s", result(r));
			close(fd);
		}
}

static void server(struct end *e)
{
	for (int how = 0; how < HOWS; how++)
		for (int i = 0; i < 5; i++) {
			int fd = accept(e->listener, NULL, NULL);

			warm(e, fd);
			await_unread(fd, unread[i]);
			e->in += unread[i];
			give_up(fd, how);
			tell('c');
		}
	say("done");
}

const struct pair pair = { .client = client, .server = server, .unconnected = 1 };
