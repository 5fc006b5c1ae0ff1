/* The coordinator's view of one run: the two workers, the log, and the model that says which
 * commands cannot block and when the sockets have settled. Only the coordinator uses it. */
#ifndef FUZZ_STEP_RUN_H
#define FUZZ_STEP_RUN_H

#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "calls.h"
#include "step.h"

enum { CLIENT, SERVER };

/* What a seed may do besides plain traffic; each changes how the library may act afterwards. */
struct traits {
	int uring, raw, oob, pass, exec, fork, tight;
};

/* The state of a reset: the error that comes with it shows until somebody has fetched it. */
enum { FRESH = 1, TOLD };

struct conn {
	int open, v6, tight, reset;
	unsigned generation;
	/* By sender. */
	uint64_t sent[2], rcvd[2];
	int msgs[2];
	int fin[2];
	/* By owner. */
	int closed[2], shut_rd[2], nonblock[2], lowat[2], linger0[2], in_line[2];
	unsigned char has[2][MAX_PROCS][HANDLES_PER_CONN];
};

struct side {
	pid_t pid;
	int ctl[MAX_PROCS];
	int alive[MAX_PROCS];
	int port[2];
	unsigned char ep[MAX_PROCS][MAX_EPOLLS];
};

struct run {
	uint64_t seed;
	struct rng rng;
	struct traits traits;
	struct side side[2];
	struct conn conn[MAX_CONNS];
	FILE *log;
	int line;
	/* A worker hung or died unasked, or bytes were wrong. */
	int hard;
};

/* Runs one command and logs it. `a` holds up to eight arguments. */
struct reply tell(struct run *r, int side, int proc, struct cmd c);
/* The same without a line in the log: for what only timing decides. */
struct reply tell_quietly(struct run *r, int side, int proc, struct cmd c);
void note(struct run *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

int run_start(struct run *r, const char *const preload[2]);
void run_finish(struct run *r);
/* Reaps a worker that was told to end and logs how it ended. */
void run_reap(struct run *r, int side);

/* One random step. */
void step_random(struct run *r);
void step_prologue(struct run *r);
void step_epilogue(struct run *r);

#define CMD(opname, ...) ((struct cmd){ .op = OP_##opname, .a = { __VA_ARGS__ } })

#endif
