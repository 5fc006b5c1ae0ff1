#include "child.h"

#include "dlaccel.h"
#include "witness.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static const int passed_on[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGWINCH };

static void watched_signals(sigset_t *ret)
{
	sigemptyset(ret);
	sigaddset(ret, SIGCHLD);
	for (unsigned i = 0; i < sizeof(passed_on) / sizeof(*passed_on); i++)
		sigaddset(ret, passed_on[i]);
}

static void become_child(const struct child *child, pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(STATUS_CANNOT_RUN);
	sigaction(SIGCHLD, &child->old_chld, NULL);
	sigprocmask(SIG_SETMASK, &child->old_mask, NULL);
}

static void let_go_of_streams(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0)
		return;
	fflush(stdout);
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	close(null);
}

/* An ignored SIGCHLD, inherited from whoever started us, would take the exit status away. */
int child_fork(struct child *ret)
{
	struct sigaction plain = { .sa_handler = SIG_DFL };
	pid_t self = getpid();
	sigset_t watched;

	watched_signals(&watched);
	sigprocmask(SIG_BLOCK, &watched, &ret->old_mask);
	sigaction(SIGCHLD, &plain, &ret->old_chld);
	ret->pid = fork();
	if (ret->pid < 0) {
		int err = errno;
		sigprocmask(SIG_SETMASK, &ret->old_mask, NULL);
		return -err;
	}
	if (!ret->pid) {
		become_child(ret, self);
		return 0;
	}
	let_go_of_streams();
	ret->witness = witness_start();
	return 0;
}

/* The kernel's own (from the terminal) went to the whole group, and the child's own are not for it. */
static bool is_for_child(struct child *child, const siginfo_t *info)
{
	if (info->si_signo == SIGCHLD || info->si_code > 0 || info->si_pid == child->pid)
		return false;
	return !witness_saw(&child->witness, info->si_signo);
}

/*
 * A child that the terminal stopped while we were not (it asked for it itself) takes us along, so that
 * the shell sees a stopped job.  Not so for SIGSTOP: whoever sends that continues it alone.
 */
static void stop_along(const struct child *child, int status)
{
	if (WSTOPSIG(status) == SIGSTOP)
		return;
	raise(SIGSTOP);
	kill(child->pid, SIGCONT);
}

/* All that have ended or stopped; as the first process of a container we inherit others' children too. */
static bool reap(struct child *child, int *ret_status)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0) {
		if (pid == child->pid && WIFSTOPPED(status)) {
			stop_along(child, status);
		} else if (pid == child->pid) {
			*ret_status = status;
			return true;
		} else if (pid == child->witness) {
			child->witness = -1;
		}
	}
	return false;
}

int child_wait(struct child *child)
{
	sigset_t watched;
	siginfo_t info;
	int status;

	watched_signals(&watched);
	while (!reap(child, &status))
		if (sigwaitinfo(&watched, &info) > 0 && is_for_child(child, &info))
			kill(child->pid, info.si_signo);
	witness_end(child->witness);
	return status;
}

/* Its core file, if it left one, is the one to look at. */
void child_end_alike(int status)
{
	struct rlimit none = { 0 };
	sigset_t all;

	if (WIFEXITED(status))
		exit(WEXITSTATUS(status));
	fflush(NULL);
	setrlimit(RLIMIT_CORE, &none);
	signal(WTERMSIG(status), SIG_DFL);
	raise(WTERMSIG(status));
	sigfillset(&all);
	sigprocmask(SIG_UNBLOCK, &all, NULL);
	_exit(128 + WTERMSIG(status));
}

int exec_program(char **argv)
{
	execvp(argv[0], argv);
	int err = errno;
	say("%s: %s", argv[0], strerror(err));
	return err == ENOENT ? STATUS_NOT_FOUND : STATUS_CANNOT_RUN;
}
