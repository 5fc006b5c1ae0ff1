/* A reader, then a writer, is stopped for five seconds in the middle of a transfer and goes on. */
#include "pair.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

/* More than ring and TCP hold together: neither end gets through one while the other one is stopped. */
#define PIECE (32 << 20)

/* What the stopper shares with its parent. */
struct progress {
	atomic_int begun, ended, stopped, continued;
};

/* A child of ours stops the other end while we are in the middle of the transfer, and looks what we have got through since. */
static pid_t start_stopper(struct progress *p, pid_t victim)
{
	pid_t pid = fork();
	int ended;

	if (pid)
		return pid;
	while (!atomic_load(&p->begun))
		usleep(100);
	usleep(3000);
	check(!kill(victim, SIGSTOP));
	await_state(victim, 'T');
	ended = atomic_load(&p->ended);
	sleep(5);
	check(atomic_load(&p->ended) <= ended + 1 && atomic_load(&p->begun) > atomic_load(&p->ended));
	atomic_store(&p->continued, 1);
	check(!kill(victim, SIGCONT));
	_exit(0);
}

/* Piece after piece until the other end has been stopped and goes on. */
static void transfer(struct end *e, void (*move)(struct end *e, int fd, size_t n))
{
	struct progress *p = mmap(NULL, sizeof(*p), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid;
	int status, more;

	check(p != MAP_FAILED);
	pid = start_stopper(p, e->peer);
	do {
		atomic_fetch_add(&p->begun, 1);
		move(e, e->fd, PIECE);
		atomic_fetch_add(&p->ended, 1);
		more = !atomic_load(&p->continued);
		tell(more ? 'm' : 'e');
	} while (more);
	check(waitpid(pid, &status, 0) == pid);
	say("stopper %d", status);
	check(!munmap(p, sizeof(*p)));
}

static void client(struct end *e)
{
	transfer(e, put);
	transfer(e, take);
	warm(e, e->fd);
	say("done");
}

static void follow(struct end *e, void (*move)(struct end *e, int fd, size_t n))
{
	do
		move(e, e->fd, PIECE);
	while (await_number() == 'm');
}

static void server(struct end *e)
{
	follow(e, take);
	follow(e, put);
	warm(e, e->fd);
	say("done");
}

const struct pair pair = { .client = client, .server = server };
