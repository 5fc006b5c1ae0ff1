/*
 * Was a signal meant for us alone, or for our whole process group?  The kernel does not say.  A witness
 * is a child in our group that holds every signal pending: what it got too was for the group, and the
 * program has it already.
 */
#pragma once
#include <stdbool.h>
#include <sys/types.h>

/* -1 if none could be had: then every signal counts as ours alone. */
pid_t witness_start(void);
void witness_end(pid_t witness);

/* Whether it got `sig` as well; if so, a fresh one takes its place. */
bool witness_saw(pid_t *witness, int sig);
