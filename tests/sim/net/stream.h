/* Shared by prog_stream.c (the conversation), stream_styles.c (ways to call sockets) and prog_soak.c. */
#ifndef STREAM_H
#define STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
	STYLE_BOTH_WAYS = 1 << 0, /* one thread moves both directions at once; non-blocking */
	STYLE_THREADS = 1 << 1,	  /* one thread for each direction */
	STYLE_FORK = 1 << 2,	  /* the accepting process leaves the connection to a child */
	STYLE_EXEC = 1 << 3,	  /* ... to a new image of itself */
	STYLE_THREAD_SERVER = 1 << 4,
	STYLE_SIGNALS = 1 << 5,	  /* calls are interrupted without SA_RESTART */
	STYLE_NAGLE = 1 << 6,	  /* no TCP_NODELAY */
	STYLE_PAUSE = 1 << 7,	  /* the bulk twice; in between the client waits for a line of input, or its end */
};

/* One way to use a socket. put and get are one call each and behave as write and read do; wait is
 * called after EAGAIN, NULL where the socket blocks. prepare returns the descriptor to go on with. */
struct style {
	const char *name;
	ssize_t (*put)(int fd, const void *buf, size_t n);
	ssize_t (*get)(int fd, void *buf, size_t n);
	void (*wait)(int fd, short events);
	int (*prepare)(int fd);
	void (*finish)(int fd);
	int type; /* SOCK_NONBLOCK, SOCK_CLOEXEC: for socket() and accept4() */
	size_t chunk; /* largest single call; 0 for a mixture */
	unsigned flags;
};

extern const struct style styles[];
extern const size_t n_styles;

/* Of one number another that shows nothing of it (splitmix64). */
static inline uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
	x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
	return x ^ (x >> 31);
}

void die(const char *what) __attribute__((noreturn)); /* with errno */
void fail(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));

#endif
