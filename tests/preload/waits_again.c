/*
 * O_NONBLOCK is set, and taken back by a system call past every hook: sends and receives wait again, however full or empty it is.
 */
#include "pair.h"

#include <fcntl.h>
#include <sys/syscall.h>

enum { SMALL = 4000, MANY = 8000, LATE_US = 300000 };

static long raw_fcntl(long fd, long cmd, long arg)
{
	long r;

	__asm__ volatile("syscall" : "=a"(r) : "a"((long)SYS_fcntl), "D"(fd), "S"(cmd), "d"(arg) : "rcx", "r11", "memory");
	return r;
}

static void waits_again(int fd)
{
	check(!fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK));
	check(!raw_fcntl(fd, F_SETFL, raw_fcntl(fd, F_GETFL, 0) & ~O_NONBLOCK));
}

static void client(struct end *me)
{
	int whole = 0;
	char buf[SMALL];

	for (int i = 0; i < 20; i++) { /* an upgrade, and nothing large */
		put(me, me->fd, SMALL);
		take(me, me->fd, SMALL);
	}
	waits_again(me->fd);
	tell('s');
	for (int i = 0; i < MANY; i++) {
		if (recv(me->fd, buf, 1, MSG_DONTWAIT) != -1) /* no row of sends */
			say("something came");
		make(me, buf, sizeof(buf));
		whole += send(me->fd, buf, sizeof(buf), 0) == sizeof(buf);
	}
	say("%d of %d sends took all", whole, MANY);
	await('r');
	usleep(LATE_US);
	put(me, me->fd, SMALL);
}

static void server(struct end *me)
{
	char buf[SMALL];

	for (int i = 0; i < 20; i++) {
		take(me, me->fd, SMALL);
		put(me, me->fd, SMALL);
	}
	await('s');
	usleep(LATE_US); /* there is no room any more */
	take(me, me->fd, (size_t)MANY * SMALL);
	waits_again(me->fd);
	tell('r');
	ssize_t n = recv(me->fd, buf, sizeof(buf), 0);
	say("a receive waits: %s", n > 0 ? "yes" : result(n));
	check(n > 0);
	took(me, buf, (size_t)n);
	take(me, me->fd, sizeof(buf) - (size_t)n);
}

const struct pair pair = { .client = client, .server = server, .cold = 1 };
