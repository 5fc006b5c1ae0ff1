/*
 * A server that takes memory for each message and its copy, and frees both: just more than glibc keeps, so that each message
 * costs a page fault for every page.  With the library that ends; where the program has set malloc's thresholds itself
 * ("own"), or the library may not ("off"), or malloc may not be called ("_Fork"), nothing changes.
 */
#include "pair.h"

#include <fcntl.h>
#include <malloc.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/wait.h>

enum { MESSAGES = 72, FEW = 8, MESSAGE = 4 << 20, HEADER = 256 << 10 };

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { MALLOC_OF_GLIBC = 0 };
#else
enum { MALLOC_OF_GLIBC = 1 };
#endif

static void client(struct end *e)
{
	for (int i = 0; i < MESSAGES; i++) {
		put(e, e->fd, MESSAGE);
		await('r');
	}
}

static int is(const struct end *e, const char *way)
{
	return e->argc && !strcmp(e->argv[0], way);
}

static void receive(struct end *e, int ep, char *buf)
{
	struct epoll_event ev;

	if (is(e, "blocking")) {
		check(recv(e->fd, buf, MESSAGE, MSG_WAITALL) == MESSAGE);
		return;
	}
	for (size_t at = 0; at < MESSAGE;) {
		check(epoll_wait(ep, &ev, 1, -1) == 1);
		ssize_t n = recv(e->fd, buf + at, MESSAGE - at, 0);
		check(n > 0 || (n < 0 && errno == EAGAIN));
		at += n > 0 ? (size_t)n : 0;
	}
}

static void message(struct end *e, int ep)
{
	char *header = malloc(HEADER), *data = malloc(MESSAGE), *copy = malloc(MESSAGE);

	check(header && data && copy);
	memset(header, 1, HEADER);
	receive(e, ep, data);
	memcpy(copy, data, MESSAGE);
	took(e, copy, MESSAGE);
	free(data);
	free(copy);
	free(header);
	tell('r');
}

static long faults(struct end *e, int ep, int messages)
{
	struct rusage before, after;

	check(!getrusage(RUSAGE_SELF, &before));
	for (int i = 0; i < messages; i++)
		message(e, ep);
	check(!getrusage(RUSAGE_SELF, &after));
	return after.ru_minflt - before.ru_minflt;
}

static int library_acts(const struct end *e)
{
	const char *preload = getenv("LD_PRELOAD");

	return preload && strstr(preload, "libdlaccel") && (!e->argc || is(e, "blocking"));
}

static void serve(struct end *e)
{
	struct epoll_event ev = { .events = EPOLLIN };
	int ep = epoll_create1(EPOLL_CLOEXEC);

	if (!is(e, "blocking"))
		check(!fcntl(e->fd, F_SETFL, O_NONBLOCK));
	check(!epoll_ctl(ep, EPOLL_CTL_ADD, e->fd, &ev));
	faults(e, ep, 1); /* from which malloc learns */
	long first = faults(e, ep, FEW);
	faults(e, ep, MESSAGES - 1 - 2 * FEW);
	long last = faults(e, ep, FEW);
	if (MALLOC_OF_GLIBC) {
		check(first >= FEW * (MESSAGE / getpagesize()));
		check(library_acts(e) ? last < first / 10 : last > first / 2);
	}
	close(ep);
}

static void in_child(struct end *e, void (*rest)(struct end *))
{
	int status;
	pid_t pid = _Fork();

	if (!pid) {
		rest(e);
		_exit(0);
	}
	check(pid > 0 && waitpid(pid, &status, 0) == pid && !status);
}

static void server(struct end *e)
{
	if (MALLOC_OF_GLIBC && is(e, "own"))
		check(mallopt(M_MMAP_THRESHOLD, 8 << 20) && mallopt(M_TRIM_THRESHOLD, 8 << 20));
	if (is(e, "_Fork"))
		in_child(e, serve);
	else
		serve(e);
}

const struct pair pair = { .client = client, .server = server };
