/*
 * Running a program in our place: it sees what it would see without us, and whoever waits for us sees
 * its end as ours.
 *
 * Both stay in one process group, so what is sent to the group (Ctrl-C, hang-up) reaches both at once;
 * what somebody sends to us alone is passed on.  SIGKILL of us kills it too.  Its standard input and
 * output are let go of here, so that they end with it.
 */
#pragma once
#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

struct child {
	pid_t pid, witness;
	sigset_t old_mask;
	struct sigaction old_chld;
};

/* 0 in both; ret->pid is 0 in the child, which has the mask and dispositions that we were given. */
int child_fork(struct child *ret);

/* Passes signals on until it ends.  Returns its wait status. */
int child_wait(struct child *child);

/* Ends as it ended: with its status, or killed by the same signal. */
void child_end_alike(int status) __attribute__((noreturn));

/* Replaces us by argv, or says why not and returns the shell's exit status for that. */
int exec_program(char **argv);
