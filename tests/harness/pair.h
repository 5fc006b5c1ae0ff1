/* Two ends of a test, each a process of its own, so that each can be preloaded or not.
 *
 * A test program defines `const struct pair pair`. run_pair.py starts it twice, as "client" and
 * as "server", with a unix socket between the two (the link) on which they agree about who goes
 * next; a test whose both ends are one process is started once, as "solo". What a test prints is
 * compared between the bare and the preloaded run, so it prints what a program can observe and
 * nothing that timing decides.
 *
 * A failed check() prints the line and ends the process with status 1. */
#ifndef TESTS_PAIR_H
#define TESTS_PAIR_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

enum role { CLIENT, SERVER, SOLO };

struct end {
	enum role role;
	/* The connected socket, or -1 in a test that makes its own. */
	int fd;
	/* The listener: the server's and solo's; -1 at the client. */
	int listener;
	int port, family;
	pid_t peer;
	/* How far the pattern has been sent and received on fd. */
	uint64_t out, in;
	/* What the command line has after the role. */
	int argc;
	char **argv;
};

struct pair {
	void (*client)(struct end *), (*server)(struct end *), (*solo)(struct end *);
	/* The ends connect by themselves. */
	int unconnected;
	/* No traffic before the test: the library has not seen the socket yet. */
	int cold;
};
extern const struct pair pair;

#define check(cond) ((cond) ? (void)0 : check_failed(__FILE__, __LINE__, #cond))
void check_failed(const char *file, int line, const char *what) __attribute__((noreturn));

/* A line of the output that is compared. */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* "ok", or the name of errno: for results like `recv` that are 0, a count or -1. */
const char *err_name(int err);
const char *result(ssize_t ret);

/* The link: tell the other end, wait for what it tells. */
void tell(char what);
void await(char what);
void tell_number(long n);
long await_number(void);

int open_listener(int family, int *ret_port);
int connect_port(int family, int port);
socklen_t make_address(struct sockaddr_storage *ss, int family, int port);

/* The next n bytes of this end's pattern, through send or recv until all are moved. */
void put(struct end *e, int fd, size_t n);
void take(struct end *e, int fd, size_t n);
/* Checks n bytes just received by the test itself and counts them. */
void took(struct end *e, const void *buf, size_t n);
/* The next n bytes to send, for a call of the test's own; counts them. */
void make(struct end *e, void *buf, size_t n);

/* Traffic both ways, small and large, after which an upgrade has happened if there is to be one. */
void warm(struct end *e, int fd);

/* Waits until the socket shows these poll events, however long that takes. */
short await_events(int fd, short events);
/* Waits until FIONREAD shows n. */
void await_unread(int fd, int n);
/* Waits until a thread, of this process or another, sleeps in the kernel. */
void await_sleep(pid_t tid);
/* Until it runs a program whose path has that name in it. The other side speaks to it only then: bytes that are under way in
 * shared memory while a descriptor changes hands cannot follow it (rdma/README.md). */
void await_exec(pid_t pid, const char *name);
/* Until /proc/TID/stat has that letter. */
void await_state(pid_t tid, char letter);

int count_fds(void);
int count_maps(const char *what);
long now_ms(void);

#endif
