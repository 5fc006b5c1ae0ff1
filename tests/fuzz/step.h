/* The stepwise flavour of the differential fuzzer.
 *
 * A coordinator (never preloaded) starts two workers, client and server, and gives them one
 * command at a time over a control socket; a worker answers with what the call returned. Commands
 * that may block run in a thread of the worker and are collected later. Between commands the
 * coordinator lets the sockets settle, so what is logged does not depend on timing. The log of a
 * bare run and of a preloaded run with the same seed must be the same text.
 *
 * Coordinator and worker are the same program, so these structs need no version. */
#ifndef FUZZ_STEP_H
#define FUZZ_STEP_H

#include <stdint.h>

#define MAX_CONNS 3
#define HANDLES_PER_CONN 4
#define MAX_HANDLES (MAX_CONNS * HANDLES_PER_CONN)
#define MAX_EPOLLS 3
#define MAX_THREADS 4
/* Processes per side: the worker and its forked children. */
#define MAX_PROCS 3

/* Fixed descriptor numbers in a worker; the program's own stay low, where lowest-fd shows. */
#define CONTROL_FD 300
#define PASS_FD 310

#define STEP_OPS(X) \
	X(listen) X(connect) X(accept) X(refused) \
	X(send) X(recv) X(wait) X(settle) X(outq) X(atmark) \
	X(shutdown) X(close) X(dup) X(nonblock) X(setopt) X(getopt) \
	X(ep_create) X(ep_ctl) X(ep_nest) X(ep_wait) X(ep_close) \
	X(fork) X(exit) X(die) X(pass) X(take) X(exec) \
	X(uring_poll) X(fill) X(drain) X(bulk_send) X(bulk_recv) \
	X(asleep) X(signal) X(join) X(census)

enum step_op {
#define X(name) OP_##name,
	STEP_OPS(X)
#undef X
	OP_COUNT
};

struct cmd {
	int32_t op;
	/* 0: run here and answer; else run in that thread and answer "started" at once. */
	int32_t thread;
	int32_t a[8];
	uint64_t key;
	uint64_t off;
};

struct reply {
	int64_t ret;
	int32_t err;
	int32_t v[6];
};

/* Answers that no call gives. */
#define RET_STARTED (-1000)
#define RET_HANG (-1001)
#define RET_DIED (-1002)

struct opt {
	const char *name;
	int level, name_id;
	/* A struct timeval in milliseconds, not an int. */
	int is_time;
};
extern const struct opt step_opts[];
extern const int step_nopts;
enum {
	OPT_NODELAY,
	OPT_CORK,
	OPT_RCVLOWAT,
	OPT_RCVTIMEO,
	OPT_SNDTIMEO,
	OPT_KEEPALIVE,
	OPT_QUICKACK,
	OPT_LINGER,
	OPT_SNDBUF,
	OPT_RCVBUF,
	OPT_ERROR,
	OPT_TYPE,
	OPT_OOBINLINE,
	OPT_USER_TIMEOUT
};

enum dup_kind { DUP_DUP, DUP_DUP2, DUP_DUP3, DUP_F_DUPFD, DUP_F_DUPFD_CLOEXEC, DUP_KINDS };
enum ep_wait_kind { EW_WAIT, EW_PWAIT, EW_PWAIT2, EW_SYSCALL, EW_POLLED, EW_KINDS };
enum exec_kind { EX_VFORK, EX_SPAWN, EX_FORK, EX_KINDS };
/* Added to an exec_kind: start the program without LD_PRELOAD. */
#define EX_CLEAN 16

int step_worker(void);
/* The program that OP_exec starts: moves `len` bytes through fd 0 or 1. */
int step_leaf(int argc, char **argv);
/* One run; returns the log (malloced) with *ret_hard set if a worker hung, died or got wrong
 * bytes, which is a failure whatever the other run says. */
char *step_run(uint64_t seed, int ops, const char *const preload[2], int *ret_hard);

#endif
