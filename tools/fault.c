#include "fault.h"

#include "dlaccel.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { HUNG = -1 };

/* A group of its own, so that a run that hangs can be ended with all that it started. */
static void enter(const char *input, const char *output)
{
	sigset_t none;

	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	int in = open(input, O_RDONLY), out = open(output, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (in < 0 || out < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
		_exit(STATUS_CANNOT_RUN);
}

static void run_program(const struct fault *fault, const char *const *changes, const char *output)
{
	char folder[PATH_MAX], *argv[256] = { "dlaccel", "run", "-q", "-o", folder, "--" };
	unsigned n = 6;

	enter("/dev/null", output);
	if (snprintf(folder, sizeof(folder), "%s/%u", fault->folder, fault->runs) >= PATH_MAX)
		_exit(STATUS_CANNOT_RUN);
	for (; *changes; changes++)
		putenv((char *)*changes);
	for (char **arg = fault->argv; *arg && n < 255; arg++)
		argv[n++] = *arg;
	execv("/proc/self/exe", argv);
	_exit(STATUS_CANNOT_RUN);
}

static void run_check(const struct fault *fault, const char *output)
{
	enter(output, "/dev/null");
	execl("/bin/sh", "sh", "-c", fault->check, (char *)NULL);
	_exit(STATUS_NOT_FOUND);
}

static void watched(sigset_t *ret)
{
	sigemptyset(ret);
	sigaddset(ret, SIGCHLD);
	sigaddset(ret, SIGINT);
	sigaddset(ret, SIGTERM);
}

static void end_group(pid_t pid)
{
	kill(-pid, SIGKILL);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static int wait_for(pid_t pid, unsigned timeout)
{
	struct timespec end, now, left = { .tv_sec = 3600 };
	int status, sig;
	sigset_t set;

	watched(&set);
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += timeout;
	while (waitpid(pid, &status, WNOHANG) != pid) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (timeout)
			left.tv_sec = end.tv_sec - now.tv_sec;
		sig = left.tv_sec <= 0 ? SIGALRM : sigtimedwait(&set, NULL, &left);
		if (sig == SIGINT || sig == SIGTERM || sig == SIGALRM)
			end_group(pid);
		if (sig == SIGALRM)
			return HUNG;
		if (sig == SIGINT || sig == SIGTERM)
			exit(128 + sig);
	}
	kill(-pid, SIGKILL); /* what it left behind would meet the next run */
	return status;
}

static pid_t fork_watched(void)
{
	sigset_t set;

	watched(&set);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return fork();
}

static bool tell(int status, char ret_how[64])
{
	if (status == HUNG)
		snprintf(ret_how, 64, "hangs");
	else if (WIFSIGNALED(status))
		snprintf(ret_how, 64, "killed by signal %d", WTERMSIG(status));
	else
		snprintf(ret_how, 64, "exit %d", WEXITSTATUS(status));
	return status != 0;
}

static int run_once(struct fault *fault, const char *const *changes, char ret_how[64])
{
	char output[PATH_MAX];

	fault->runs++;
	if (snprintf(output, sizeof(output), "%s/%u.out", fault->folder, fault->runs) >= PATH_MAX)
		return -ENAMETOOLONG;
	pid_t pid = fork_watched();
	if (!pid)
		run_program(fault, changes, output);
	if (pid < 0)
		return -errno;
	if (tell(wait_for(pid, fault->timeout), ret_how))
		return 1;
	if (!fault->check)
		return 0;
	pid = fork_watched();
	if (!pid)
		run_check(fault, output);
	if (pid < 0)
		return -errno;
	bool bad = wait_for(pid, 0) != 0;
	snprintf(ret_how, 64, bad ? "check fails" : "check holds");
	return bad;
}

int fault_seen(struct fault *fault, const char *const *changes, char ret_how[64])
{
	int rc = 0;

	for (unsigned i = 0; !rc && i < fault->repeat; i++)
		rc = run_once(fault, changes, ret_how);
	return rc;
}
