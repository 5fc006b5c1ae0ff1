/* Small writes under Nagle, TCP_NODELAY, TCP_CORK and MSG_MORE: the options read back as set, and
 * what one side writes piecewise arrives whole. */
#include "pair.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

static void set(int fd, int name, int value)
{
	int got = -1;
	socklen_t len = sizeof(got);

	check(!setsockopt(fd, IPPROTO_TCP, name, &value, sizeof(value)));
	check(!getsockopt(fd, IPPROTO_TCP, name, &got, &len));
	say("option %d: set %d, reads %d", name, value, got);
}

/* Write, write, read: what Nagle and delayed ACKs slow down and never lose. */
static void write_write_read(struct end *e, int rounds)
{
	for (int i = 0; i < rounds; i++) {
		if (e->role == CLIENT) {
			put(e, e->fd, 7);
			put(e, e->fd, 1 + i);
			take(e, e->fd, 3);
		} else {
			take(e, e->fd, 8 + i);
			put(e, e->fd, 3);
		}
	}
}

static void send_some(struct end *e, int flags)
{
	char buf[300];

	make(e, buf, sizeof(buf));
	say("send: %s", result(send(e->fd, buf, sizeof(buf), flags)));
}

static void client(struct end *e)
{
	write_write_read(e, 40);
	set(e->fd, TCP_NODELAY, 1);
	write_write_read(e, 40);
	set(e->fd, TCP_CORK, 1);
	send_some(e, 0);
	send_some(e, 0);
	set(e->fd, TCP_CORK, 0);
	send_some(e, MSG_MORE);
	send_some(e, MSG_MORE);
	send_some(e, 0);
	await('m');
	set(e->fd, TCP_NODELAY, 0);
	write_write_read(e, 10);
	await('d');
}

static void server(struct end *e)
{
	write_write_read(e, 40);
	write_write_read(e, 40);
	await_unread(e->fd, 1500);
	take(e, e->fd, 1500);
	tell('m');
	write_write_read(e, 10);
	say("read all");
	tell('d');
}

const struct pair pair = { .client = client, .server = server };
