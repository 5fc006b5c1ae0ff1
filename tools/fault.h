/*
 * Running a program again and again under `dlaccel run` with some settings changed, and telling
 * whether it failed.
 */
#pragma once
#include <limits.h>
#include <stdbool.h>

struct fault {
	char **argv;
	const char *check; /* shell command that judges a run by its output on stdin; NULL: the exit status does */
	unsigned timeout;  /* seconds after which a run counts as hung; 0: never */
	unsigned repeat;   /* runs of each kind; one that fails is enough */
	char folder[PATH_MAX];
	unsigned runs; /* made so far; their output is <folder>/<n>.out */
};

/*
 * Runs it with `changes` (NULL-ended: "DLACCEL_CMA=0") in its environment.  1: it failed, 0: it did
 * not, or -errno.  ret_how: in words.
 */
int fault_seen(struct fault *fault, const char *const *changes, char ret_how[64]);
