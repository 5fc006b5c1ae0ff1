/*
 * A debugger in the eyes of what it runs: traces PROGRAM [ARGUMENT...] and lets it go on at every stop.
 * Its executable bears the name of the one to stand for. Exit status: the program's; 77: nothing may be
 * traced here.
 */
#include <signal.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOT_HERE 77

static void traced(char **argv)
{
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
		_exit(NOT_HERE);
	execv(argv[1], argv + 1);
	_exit(1);
}

int main(int argc, char **argv)
{
	int status = 0;
	pid_t pid;

	if (argc < 2)
		return 2;
	pid = fork();
	if (!pid)
		traced(argv);
	while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status)) {
		int sig = WSTOPSIG(status);
		ptrace(PTRACE_CONT, pid, NULL, sig == SIGTRAP ? 0 : (long)sig);
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_HERE)
		puts("nothing may be traced here");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
