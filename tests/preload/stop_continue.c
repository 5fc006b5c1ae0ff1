/* A reader, then a writer, is stopped for five seconds in the middle of a transfer and goes on. */
#include "pair.h"

#include <signal.h>
#include <sys/wait.h>

#define TOTAL (48 << 20)

/* A child of ours stops the other end while we are in the middle of the transfer. */
static pid_t start_stopper(pid_t victim)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	usleep(3000);
	kill(victim, SIGSTOP);
	sleep(5);
	kill(victim, SIGCONT);
	_exit(0);
}

static void client(struct end *e)
{
	int status;
	pid_t pid = start_stopper(e->peer);

	put(e, e->fd, TOTAL);
	take(e, e->fd, TOTAL);
	check(waitpid(pid, &status, 0) == pid);
	say("done, stopper %d", status);
	put(e, e->fd, 1);
}

static void server(struct end *e)
{
	take(e, e->fd, TOTAL);
	put(e, e->fd, TOTAL);
	take(e, e->fd, 1);
	say("done");
}

const struct pair pair = { .client = client, .server = server };
