/* The streaming flavour: two processes, several connections, threads that send and receive at
 * random at the same time. Every byte says where in its stream it belongs; what is checked is
 * order, loss, duplication and that nothing ever hangs.
 *
 * And the same frame for other pairs of ends (race.c): two processes that share a board with the
 * parent, which waits for both as long as it counts moves. */
#ifndef FUZZ_STREAM_H
#define FUZZ_STREAM_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

#define BOARD_CONNS 4
#define BOARD_FD 300

/* Shared by the parent and both ends. */
struct board {
	_Atomic uint64_t moved;
	_Atomic int port, failed;
	/* By sender and connection. */
	_Atomic uint64_t sent[2][BOARD_CONNS], rcvd[2][BOARD_CONNS];
	char message[256];
};

struct board *board_open(void);
int board_listen(struct board *b);
int board_connect(struct board *b, int small);
/* Busy, as a program that computes is: a nap would always be longer than a spin. */
void stay_busy(long ns);

/* fork(); the child is killed when this process ends, whatever it waits for. */
pid_t fork_bound(void);
/* Starts this program as `what role seed amount` for both roles, with `jolts` stopping and continuing
 * them all the time. 0 if all went well, else 1 and a message on stdout. */
int ends_run(const char *what, uint64_t seed, int amount, int jolts, const char *const preload[2]);
/* One of them, with the board as descriptor BOARD_FD. */
pid_t end_start(const char *what, int role, uint64_t seed, int amount, int board_fd, const char *preload);

/* In the environment of an end about to start: sizes and times of the library that make its rarer
 * paths common, the same for both ends. What the caller has set stays. */
void vary_settings(uint64_t seed);

int stream_end(int argc, char **argv);
int race_end(int argc, char **argv);
int burst_end(int argc, char **argv);

/* walk.c: up to `most` instructions, `stride` apart. */
int walk_run(uint64_t seed, int most, int stride, const char *const preload[2]);
int walk_end(int argc, char **argv);

#endif
