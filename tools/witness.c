#include "witness.h"

#include "dlaccel.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { GRACE_MS = 20 };

/* It keeps nothing open: whoever reads the program's output waits for its end, not for ours. */
static void stand_by(pid_t parent)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "dlaccel-witness");
	syscall(SYS_close_range, 0, ~0u, 0);
	while (getppid() == parent)
		pause();
	_exit(0);
}

pid_t witness_start(void)
{
	pid_t parent = getpid(), pid = fork();

	if (!pid)
		stand_by(parent);
	return pid;
}

void witness_end(pid_t witness)
{
	if (witness <= 0)
		return;
	kill(witness, SIGKILL);
	waitpid(witness, NULL, 0);
}

static bool has_pending(pid_t pid, int sig)
{
	char path[64], text[4096], *at;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	if (read_text(path, text, sizeof(text)) || !(at = strstr(text, "\nShdPnd:")))
		return false;
	return strtoull(at + strlen("\nShdPnd:"), NULL, 16) >> (sig - 1) & 1;
}

/*
 * kill() of a group has reached the witness before us, because the kernel begins with the youngest;
 * a supervisor that goes through its processes one by one gets a moment to come to it.
 */
bool witness_saw(pid_t *witness, int sig)
{
	static const struct timespec ms = { .tv_nsec = 1000000 };
	bool saw = false;

	if (*witness <= 0)
		return false;
	for (unsigned i = 0; !(saw = has_pending(*witness, sig)) && i < GRACE_MS; i++)
		nanosleep(&ms, NULL);
	if (!saw)
		return false;
	witness_end(*witness);
	*witness = witness_start();
	return true;
}
