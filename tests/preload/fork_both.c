/* Both halves of a fork use one socket, as rsync does: the child reads while the parent writes;
 * then the child writes and the parent reads; then the child is gone and the parent does both. */
#include "pair.h"

#include <sys/mman.h>
#include <sys/wait.h>

#define AMOUNT (5 << 20)

static void join(pid_t pid)
{
	int status;

	check(waitpid(pid, &status, 0) == pid && status == 0);
}

/* Runs in a child; what it counted is added to the parent's counts. */
static pid_t in_child(struct end *e, void (*fn)(struct end *, int, size_t))
{
	pid_t pid = fork();

	if (pid)
		return pid;
	fn(e, e->fd, AMOUNT);
	_exit(0);
}

static void client(struct end *e)
{
	pid_t pid = in_child(e, take);

	put(e, e->fd, AMOUNT);
	join(pid);
	e->in += AMOUNT;
	say("child read, parent wrote");
	pid = in_child(e, put);
	take(e, e->fd, AMOUNT);
	join(pid);
	e->out += AMOUNT;
	say("child wrote, parent read");
	put(e, e->fd, AMOUNT);
	take(e, e->fd, AMOUNT);
	say("parent alone");
}

/* Each half in a process of its own, so that both directions run at once. */
static void server(struct end *e)
{
	for (int i = 0; i < 2; i++) {
		pid_t pid = in_child(e, put);

		take(e, e->fd, AMOUNT);
		join(pid);
		e->out += AMOUNT;
	}
	take(e, e->fd, AMOUNT);
	put(e, e->fd, AMOUNT);
	say("done");
}

const struct pair pair = { .client = client, .server = server };
