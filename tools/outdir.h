/*
 * The folder of a run: counters of every process, their log, and run.json, which says what ran and
 * how it ended.
 */
#pragma once
#include <limits.h>
#include <stdint.h>
#include <sys/types.h>

#define OUTDIR_DEFAULT "dlaccel.%n.%p"

/* The library writes <folder>/<pid>.stats and <folder>/log into 512 bytes. */
enum { OUTDIR_LONGEST = 480 };

/* %h host, %p process, %n name of the program, %% itself.  -ENAMETOOLONG. */
int outdir_expand(const char *pattern, const char *program, pid_t pid, char ret_path[PATH_MAX]);

/* Creates it with its parents; one that is there is used as it is.  ret_whole: from the root. */
int outdir_create(const char *path, char ret_whole[PATH_MAX]);

struct run_note {
	char *const *argv;
	pid_t pid;
	uint64_t started_ns;
	double seconds; /* < 0: still running */
	int status;	/* as wait gives it */
};

/* Writes run.json anew, atomically. */
int outdir_note(const char *path, const struct run_note *note);
