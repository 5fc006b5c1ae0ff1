/*
 * Calls on descriptors that are no sockets: foreign CALL COUNT.  Run under callgrind with two counts,
 * the difference says how many instructions one turn takes; see instructions.py.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/uio.h>
#include <unistd.h>

static int in, out, file, ep;
static char byte;

static void turn_write(void) { if (write(file, "x", 1) != 1) abort(); }
static void turn_read(void) { if (read(file, &byte, 1) != 0) abort(); }
static void turn_pipe(void) { if (write(out, "x", 1) != 1 || read(in, &byte, 1) != 1) abort(); }
static void turn_writev(void) { if (writev(file, &(struct iovec){ "x", 1 }, 1) != 1) abort(); }
static void turn_fcntl(void) { if (fcntl(in, F_GETFL) < 0) abort(); }
static void turn_ioctl(void) { int n; if (ioctl(in, FIONREAD, &n)) abort(); }
static void turn_dup_close(void) { if (close(dup(in))) abort(); }
static void turn_close(void) { if (close(-1) != -1) abort(); }
static void turn_poll(void) { if (poll(&(struct pollfd){ .fd = in, .events = POLLIN }, 1, 0)) abort(); }
static void turn_epoll(void) { struct epoll_event ev; if (epoll_wait(ep, &ev, 1, 0)) abort(); }

static void turn_select(void)
{
	fd_set set;
	FD_ZERO(&set);
	FD_SET(in, &set);
	if (select(in + 1, &set, NULL, NULL, &(struct timeval){ 0 }))
		abort();
}

static const struct {
	const char *name;
	void (*turn)(void);
} table[] = {
	{ "write", turn_write }, { "read", turn_read }, { "pipe", turn_pipe }, { "writev", turn_writev },
	{ "fcntl", turn_fcntl }, { "ioctl", turn_ioctl }, { "dup_close", turn_dup_close }, { "close", turn_close },
	{ "poll", turn_poll }, { "epoll", turn_epoll }, { "select", turn_select },
};

static void open_all(void)
{
	int fd[2];

	if (pipe(fd))
		abort();
	in = fd[0];
	out = fd[1];
	file = open("/dev/null", O_RDWR);
	ep = epoll_create1(0);
	if (file < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, in, &(struct epoll_event){ .events = EPOLLIN }))
		abort();
}

int main(int argc, char **argv)
{
	open_all();
	for (size_t i = 0; argc == 3 && i < sizeof(table) / sizeof(*table); i++) {
		if (strcmp(table[i].name, argv[1]))
			continue;
		for (int n = atoi(argv[2]); n; n--)
			table[i].turn();
		return 0;
	}
	fprintf(stderr, "usage: foreign CALL COUNT\n");
	return 2;
}
