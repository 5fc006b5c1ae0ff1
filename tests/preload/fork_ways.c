/*
 * As fork_both, by the ways that run no handlers of pthread_atfork, and by those of libc's calls that fork: both ends are used by
 * parent and child in turn.  `early`: a connection that is shared since before its first byte stays plain while the child has it.
 */
#include "pair.h"

#include <linux/sched.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { AMOUNT = 3 << 20, STACK = 256 << 10 };

typedef void step(struct end *, int, size_t);

/* What a child does when it is told how far its end is. */
struct work {
	struct end *e;
	step *step;
	int orders[2], answers[2];
};

static int child(void *arg)
{
	struct work *w = arg;
	char done = 'd';

	check(read(w->orders[0], &w->e->in, sizeof(w->e->in)) == sizeof(w->e->in));
	check(read(w->orders[0], &w->e->out, sizeof(w->e->out)) == sizeof(w->e->out));
	w->step(w->e, w->e->fd, AMOUNT);
	check(write(w->answers[1], &done, 1) == 1);
	_exit(0);
}

#ifdef SYS_fork
static pid_t by_fork_number(void)
{
	return (pid_t)syscall(SYS_fork);
}
#endif

static pid_t by_clone_number(void)
{
	return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

static pid_t by_namespace(void)
{
	pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD | CLONE_NEWPID, 0, 0, 0, 0);

	if (pid < 0 && errno == EPERM)
		exit(77);
	return pid;
}

static pid_t by_clone3_number(void)
{
	struct clone_args a = { .exit_signal = SIGCHLD };

	return (pid_t)syscall(SYS_clone3, &a, sizeof(a));
}

#if __GLIBC_PREREQ(2, 34)
static volatile pid_t forked_in_handler;

static void on_usr1(int sig)
{
	forked_in_handler = _Fork();
}

static pid_t by_handler(void)
{
	signal(SIGUSR1, on_usr1);
	raise(SIGUSR1);
	return forked_in_handler;
}
#endif

/* The child leaves again, with its own as the daemon. */
static pid_t by_daemon(void)
{
	pid_t pid = fork();

	if (!pid)
		check(!daemon(1, 1));
	return pid;
}

/* The terminal stays open: the child would be told that it is gone. */
static pid_t by_forkpty(void)
{
	int terminal;

	return forkpty(&terminal, NULL, NULL, NULL);
}

static const struct way {
	const char *name;
	pid_t (*fork)(void);
} ways[] = {
	{ "clone", NULL },
#if __GLIBC_PREREQ(2, 34)
	{ "_Fork", _Fork },
	{ "handler", by_handler },
#endif
#ifdef SYS_fork
	{ "fork_number", by_fork_number },
#endif
	{ "clone_number", by_clone_number },
	{ "clone3_number", by_clone3_number },
	{ "namespace", by_namespace },
	{ "daemon", by_daemon },
	{ "forkpty", by_forkpty },
};

/* Its stack lies within this one: of another ASan knows nothing. */
static pid_t by_clone(struct work *w)
{
	char stack[STACK];

	return clone(child, stack + STACK, SIGCHLD, w);
}

static pid_t start(const struct way *way, struct work *w)
{
	if (!way->fork)
		return by_clone(w);
	pid_t pid = way->fork();
	if (!pid)
		child(w);
	return pid;
}

static const struct way *chosen(struct end *e)
{
	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++)
		if (!strcmp(ways[i].name, e->argv[0]))
			return &ways[i];
	say("no such way here");
	exit(77);
}

static pid_t begin(struct end *e, step *step, struct work *w)
{
	*w = (struct work){ .e = e, .step = step };
	check(!pipe(w->orders) && !pipe(w->answers));
	pid_t pid = start(chosen(e), w);
	check(pid > 0);
	close(w->answers[1]);
	return pid;
}

static void go(struct work *w)
{
	check(write(w->orders[1], &w->e->in, sizeof(w->e->in)) == sizeof(w->e->in));
	check(write(w->orders[1], &w->e->out, sizeof(w->e->out)) == sizeof(w->e->out));
}

static void finish(struct work *w, pid_t pid)
{
	char done;
	int status;

	check(read(w->answers[0], &done, 1) == 1);
	check(waitpid(pid, &status, 0) == pid && status == 0);
	*(w->step == take ? &w->e->in : &w->e->out) += AMOUNT;
	for (int i = 0; i < 2; i++)
		close(w->orders[i]);
	close(w->answers[0]);
}

/* Child and parent at once. */
static void share(struct end *e, step *childs, step *parents)
{
	struct work w;
	pid_t pid = begin(e, childs, &w);

	go(&w);
	parents(e, e->fd, AMOUNT);
	finish(&w, pid);
}

static void early(struct end *e)
{
	step *childs[] = { put, take };
	/* Its other end is nobody else's: it is this one alone that holds the upgrade off. */
	int shared = e->role == CLIENT || strcmp(e->argv[0], "namespace");
	struct work w;
	pid_t pid = shared ? begin(e, childs[e->role], &w) : 0;

	tell('f');
	await('f');
	warm(e, e->fd);
	if (shared) {
		go(&w);
		finish(&w, pid);
	} else {
		childs[e->role](e, e->fd, AMOUNT);
	}
	say("what the child moved");
}

static void both(struct end *e)
{
	step *first[] = { take, put }, *second[] = { put, take };

	if (e->argc > 1) {
		early(e);
		return;
	}
	warm(e, e->fd);
	share(e, first[e->role], second[e->role]);
	say("child read, parent wrote");
	share(e, second[e->role], first[e->role]);
	say("child wrote, parent read");
	second[e->role](e, e->fd, AMOUNT);
	first[e->role](e, e->fd, AMOUNT);
	say("parent alone");
}

const struct pair pair = { .client = both, .server = both, .cold = 1 };
