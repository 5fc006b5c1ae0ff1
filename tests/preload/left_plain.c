/* What keeps a connection plain, or makes it plain again for good, one reason an argument: the bytes are the same, and the
 * library counts the reason and says it. */
#include "pair.h"

#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "rendezvous.h"

static volatile sig_atomic_t told; /* of input, by SIGIO */

static void on_io(int sig)
{
	told = 1;
}

static int is(const struct end *e, const char *reason)
{
	return !strcmp(e->argv[0], reason);
}

static void needs_root(void)
{
	fprintf(stderr, "only root can be somebody else\n");
	exit(77);
}

/* The rest of the program in a child that sees none of the processes outside. */
static void move_into_namespace(void)
{
	int status;

	if (unshare(CLONE_NEWPID))
		needs_root();
	pid_t pid = fork();
	if (!pid)
		return;
	check(waitpid(pid, &status, 0) == pid);
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

/* Somebody who has the socket since before its first byte and does nothing with it. */
static pid_t holder(void)
{
	pid_t pid = fork();

	if (!pid) {
		pause();
		_exit(0);
	}
	return pid;
}

/* Before the first byte, at the end that accepts. */
static void keep_plain(const struct end *e, int fd)
{
	struct sockaddr_un name;
	socklen_t len = rendezvous_name(fd, 1, &name);
	int taken = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (is(e, "squatted"))
		check(!bind(taken, (void *)&name, len));
	if (is(e, "foreign_uid") && seteuid(65534))
		needs_root();
}

/* Nothing lies there, and the kernel says so. */
static void receive_without_copy(int fd)
{
	struct tcp_zerocopy_receive z = { .length = 4096 };
	socklen_t len = sizeof(z);

	z.address = (uintptr_t)mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	say("TCP_ZEROCOPY_RECEIVE: %s, %u bytes", result(getsockopt(fd, IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE, &z, &len)), z.length);
}

static void make_plain(const struct end *e, int fd)
{
	int one = 1, off = TCP_REPAIR_OFF_NO_WP;

	if (is(e, "async"))
		check(!fcntl(fd, F_SETOWN, getpid()) && !fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_ASYNC));
	if (is(e, "ulp"))
		say("an option nobody knows: %s", result(setsockopt(fd, IPPROTO_TCP, 9999, &one, sizeof(one))));
	if (is(e, "upper_layer"))
		say("TCP_ULP: %s", result(setsockopt(fd, IPPROTO_TCP, TCP_ULP, "none", 4)));
	if (is(e, "repair"))
		say("TCP_REPAIR: %s", result(setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &off, sizeof(off))));
	if (is(e, "zero_copy_receive"))
		receive_without_copy(fd);
	if (is(e, "stamped"))
		check(!setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof(one)));
	if (is(e, "exec"))
		check(!fcntl(fd, F_SETFD, FD_CLOEXEC) && !fcntl(fd, F_SETFD, 0));
	if (is(e, "dup_low"))
		check(dup2(fd, STDIN_FILENO) == STDIN_FILENO);
}

/* The kernel says when these bytes came. */
static void take_stamped(struct end *e, int fd)
{
	char bytes[10], space[256];
	struct iovec iov = { bytes, sizeof(bytes) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space) };

	await_unread(fd, sizeof(bytes));
	check(recvmsg(fd, &m, 0) == sizeof(bytes));
	took(e, bytes, sizeof(bytes));
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	say("told when: %d", c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS);
}

/* What comes from now on is told of by SIGIO: while nothing else comes, one byte. */
static void await_io(const struct end *e, int fd)
{
	if (!is(e, "async"))
		return;
	await_unread(fd, 0);
	told = 0;
	tell('b');
	while (!told)
		usleep(1000);
	say("told by SIGIO");
}

static int accepted(struct end *e)
{
	return accept(e->listener, NULL, NULL);
}

static int connected(struct end *e)
{
	return connect_port(e->family, e->port);
}

/* A connection that takes all the memory there may be; -1 where that is not the matter. */
static int earlier(struct end *e, int (*get)(struct end *))
{
	int fd = is(e, "memory_cap") ? get(e) : -1;

	if (fd >= 0)
		warm(e, fd);
	return fd;
}

static void server(struct end *e)
{
	int other = earlier(e, accepted), fd = accepted(e);
	pid_t pid = is(e, "forked") ? holder() : 0;

	signal(SIGIO, on_io);
	keep_plain(e, fd);
	tell('g');
	warm(e, fd);
	make_plain(e, fd);
	await_io(e, fd);
	warm(e, fd);
	if (is(e, "stamped"))
		take_stamped(e, fd);
	say("served");
	close(fd);
	close(other);
	if (is(e, "dup_low"))
		close(STDIN_FILENO);
	if (is(e, "foreign_uid"))
		check(!seteuid(0));
	if (pid) {
		check(!kill(pid, SIGKILL));
		check(waitpid(pid, NULL, 0) == pid);
	}
}

static void client(struct end *e)
{
	if (is(e, "foreign_ns"))
		move_into_namespace();
	int other = earlier(e, connected), fd = connected(e);
	char c;

	await('g');
	warm(e, fd);
	if (is(e, "async"))
		await('b');
	warm(e, fd);
	if (is(e, "stamped"))
		put(e, fd, 10);
	say("then: %s", result(recv(fd, &c, 1, 0)));
	close(fd);
	close(other);
}

const struct pair pair = { .client = client, .server = server, .unconnected = 1 };
