#include "step_bulk.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "calls.h"

#define STALL_MS 8000

struct waiter {
	int fd, ep, style;
	short events;
};

static void waiter_open(struct waiter *w, int fd, int style, short events)
{
	struct epoll_event ev = { .events = events | (style == BULK_EPOLL_ET ? EPOLLET : 0) };

	*w = (struct waiter){ fd, -1, style, events };
	if (style < BULK_EPOLL)
		return;
	w->ep = epoll_create1(EPOLL_CLOEXEC);
	epoll_ctl(w->ep, EPOLL_CTL_ADD, fd, &ev);
}

static void waiter_close(struct waiter *w)
{
	int e = errno;

	if (w->ep >= 0)
		close(w->ep);
	errno = e;
}

/* 0 when ready, -1 with ETIME when nothing came: a stall is a fault, whoever caused it. */
static int waiter_wait(struct waiter *w)
{
	struct epoll_event ev;
	struct pollfd p = { w->fd, w->events, 0 };
	int n = w->ep >= 0 ? epoll_wait(w->ep, &ev, 1, STALL_MS) : poll(&p, 1, STALL_MS);

	if (n > 0 || (n < 0 && errno == EINTR))
		return 0;
	errno = ETIME;
	return -1;
}

int64_t bulk_send(int fd, size_t total, size_t chunk, int style, uint64_t key, uint64_t off)
{
	int flags = MSG_NOSIGNAL | (style == BULK_BLOCKING ? 0 : MSG_DONTWAIT);
	char *buf = malloc(chunk);
	struct waiter w;
	size_t done = 0;

	waiter_open(&w, fd, style, POLLOUT);
	while (done < total) {
		size_t k = total - done < chunk ? total - done : chunk;
		ssize_t n;

		pattern_fill(buf, k, key, off + done);
		n = call_send(done / chunk % S_FLAGLESS, fd, buf, k, flags);
		/* What the program does with its buffer afterwards is its own affair. */
		memset(buf, 0x5a, k);
		if (n > 0)
			done += n;
		else if (n < 0 && errno == EAGAIN ? waiter_wait(&w) : errno != EINTR)
			break;
	}
	waiter_close(&w);
	free(buf);
	return done;
}

int64_t bulk_recv(int fd, size_t total, size_t chunk, int style, int greedy, uint64_t key, uint64_t off,
	int32_t *ret_v)
{
	int flags = style == BULK_BLOCKING ? 0 : MSG_DONTWAIT;
	char *buf = malloc(chunk);
	struct waiter w;
	size_t done = 0;

	waiter_open(&w, fd, style, POLLIN);
	ret_v[0] = -1;
	while (done < total && ret_v[0] < 0) {
		size_t k = greedy || total - done > chunk ? chunk : total - done;
		ssize_t n = call_recv(done / chunk % R_FLAGLESS, fd, buf, k, flags);

		if (n > 0) {
			ret_v[0] = pattern_check(buf, n, key, off + done);
			done += n;
		} else if (!n || (errno == EAGAIN ? waiter_wait(&w) : errno != EINTR)) {
			break;
		}
	}
	waiter_close(&w);
	free(buf);
	return done;
}

int64_t bulk_fill(int fd, size_t chunk, uint64_t key, uint64_t off, int32_t *ret_err)
{
	char *buf = malloc(chunk);
	int64_t done = 0;
	int quiet = 0;

	while (quiet < 12) {
		ssize_t n;

		pattern_fill(buf, chunk, key, off + done);
		n = send(fd, buf, chunk, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n > 0) {
			done += n;
			quiet = 0;
			continue;
		}
		*ret_err = errno;
		if (errno != EAGAIN)
			break;
		/* What the kernel has queued may still be on its way, a delayed ACK included. */
		nanosleep(&(struct timespec){ 0, 5000000 }, NULL);
		quiet++;
	}
	free(buf);
	return done;
}
