#include "step_proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "calls.h"
#include "step.h"

extern char **environ;

int proc_send_fd(int over, int fd)
{
	char byte = 'f', space[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = space,
		.msg_controllen = sizeof(space) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
	return sendmsg(over, &m, 0) == 1 ? 0 : -1;
}

int proc_recv_fd(int over)
{
	char byte, space[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = space,
		.msg_controllen = sizeof(space) };
	int fd;

	if (recvmsg(over, &m, MSG_CMSG_CLOEXEC) != 1 || !CMSG_FIRSTHDR(&m))
		return -1;
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	return fd;
}

static char **clean_environment(void)
{
	static char *env[256];
	int n = 0;

	for (char **e = environ; *e && n < 255; e++)
		if (strncmp(*e, "LD_PRELOAD=", 11))
			env[n++] = *e;
	env[n] = NULL;
	return env;
}

static pid_t start_spawned(char **argv, char **env, int fd, int target)
{
	posix_spawn_file_actions_t fa;
	pid_t pid = -1;

	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_adddup2(&fa, fd, target);
	if (posix_spawn(&pid, argv[0], &fa, NULL, argv, env))
		pid = -1;
	posix_spawn_file_actions_destroy(&fa);
	return pid;
}

static pid_t start_vforked(char **argv, char **env, int fd, int target)
{
	pid_t pid = vfork();

	if (!pid) {
		dup2(fd, target);
		close(fd);
		execve(argv[0], argv, env);
		_exit(127);
	}
	return pid;
}

static pid_t start_forked(char **argv, char **env, int fd, int target)
{
	pid_t pid = fork();

	if (!pid) {
		dup2(fd, target);
		close_range(3, ~0u, 0);
		execve(argv[0], argv, env);
		_exit(127);
	}
	return pid;
}

int proc_exec(int kind, int fd, int writes, size_t len, uint64_t key, uint64_t off)
{
	char self[4096], slen[24], skey[24], soff[24];
	char *argv[] = { self, "leaf", writes ? "write" : "read", slen, skey, soff, NULL };
	char **env = kind & EX_CLEAN ? clean_environment() : environ;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	int target = writes ? 1 : 0, status = -1;
	pid_t pid;

	self[n < 0 ? 0 : n] = 0;
	snprintf(slen, sizeof(slen), "%zu", len);
	snprintf(skey, sizeof(skey), "%lu", (unsigned long)key);
	snprintf(soff, sizeof(soff), "%lu", (unsigned long)off);
	switch (kind & ~EX_CLEAN) {
	case EX_VFORK:
		pid = start_vforked(argv, env, fd, target);
		break;
	case EX_SPAWN:
		pid = start_spawned(argv, env, fd, target);
		break;
	default:
		pid = start_forked(argv, env, fd, target);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid ? status : -1;
}

static int leaf_write(char *buf, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = write(1, buf + done, len - done);

		if (n <= 0)
			return 3;
		done += n;
	}
	return 0;
}

static int leaf_read(char *buf, size_t len, uint64_t key, uint64_t off)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = read(0, buf + done, len - done);

		if (n <= 0)
			return 4;
		done += n;
	}
	return pattern_check(buf, len, key, off) < 0 ? 0 : 5;
}

static void make_blocking(int fd)
{
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
}

int step_leaf(int argc, char **argv)
{
	size_t len = argc > 5 ? strtoul(argv[3], NULL, 10) : 0;
	uint64_t key = argc > 5 ? strtoul(argv[4], NULL, 10) : 0;
	uint64_t off = argc > 5 ? strtoul(argv[5], NULL, 10) : 0;
	int writes = argc > 5 && !strcmp(argv[2], "write");
	char *buf = malloc(len + 1);

	make_blocking(writes ? 1 : 0);
	pattern_fill(buf, len, key, off);
	if (writes)
		return leaf_write(buf, len);
	memset(buf, 0, len);
	return leaf_read(buf, len, key, off);
}

struct uring {
	int fd;
	char *sq, *cq;
	struct io_uring_sqe *sqes;
	struct io_uring_params p;
};

static int uring_open(struct uring *u)
{
	size_t sqlen, cqlen;

	memset(u, 0, sizeof(*u));
	u->fd = syscall(SYS_io_uring_setup, 4, &u->p);
	if (u->fd < 0)
		return -1;
	sqlen = u->p.sq_off.array + u->p.sq_entries * sizeof(unsigned);
	cqlen = u->p.cq_off.cqes + u->p.cq_entries * sizeof(struct io_uring_cqe);
	u->sq = mmap(NULL, sqlen, PROT_READ | PROT_WRITE, MAP_SHARED, u->fd, IORING_OFF_SQ_RING);
	u->cq = mmap(NULL, cqlen, PROT_READ | PROT_WRITE, MAP_SHARED, u->fd, IORING_OFF_CQ_RING);
	u->sqes = mmap(NULL, u->p.sq_entries * sizeof(*u->sqes), PROT_READ | PROT_WRITE, MAP_SHARED,
		u->fd, IORING_OFF_SQES);
	return 0;
}

static void uring_close(struct uring *u)
{
	munmap(u->sq, u->p.sq_off.array + u->p.sq_entries * sizeof(unsigned));
	munmap(u->cq, u->p.cq_off.cqes + u->p.cq_entries * sizeof(struct io_uring_cqe));
	munmap(u->sqes, u->p.sq_entries * sizeof(*u->sqes));
	close(u->fd);
}

static void uring_submit_poll(struct uring *u, int fd, int events)
{
	unsigned *tail = (unsigned *)(u->sq + u->p.sq_off.tail);
	unsigned *array = (unsigned *)(u->sq + u->p.sq_off.array);

	memset(&u->sqes[0], 0, sizeof(u->sqes[0]));
	u->sqes[0].opcode = IORING_OP_POLL_ADD;
	u->sqes[0].fd = fd;
	u->sqes[0].poll32_events = events;
	array[0] = 0;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	syscall(SYS_io_uring_enter, u->fd, 1, 0, 0, NULL, 0);
}

int proc_uring_poll(int fd, int events, int timeout_ms, int *ret_revents)
{
	struct uring u;
	int found = 0;

	if (uring_open(&u))
		return -1;
	uring_submit_poll(&u, fd, events);
	for (int ms = 0; ms < timeout_ms && !found; ms++) {
		unsigned *head = (unsigned *)(u.cq + u.p.cq_off.head);
		unsigned *tail = (unsigned *)(u.cq + u.p.cq_off.tail);
		struct io_uring_cqe *cqes = (void *)(u.cq + u.p.cq_off.cqes);

		found = __atomic_load_n(tail, __ATOMIC_ACQUIRE) != *head;
		if (found)
			*ret_revents = cqes[0].res;
		else
			nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
	}
	uring_close(&u);
	return found;
}

static int is_waiting_call(long nr)
{
	static const long calls[] = { SYS_read, SYS_readv, SYS_preadv2, SYS_recvfrom, SYS_recvmsg,
		SYS_recvmmsg, SYS_poll, SYS_ppoll, SYS_select, SYS_pselect6, SYS_epoll_wait,
		SYS_epoll_pwait, SYS_epoll_pwait2, SYS_splice, SYS_sendto, SYS_write, SYS_sendmsg };

	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++)
		if (calls[i] == nr)
			return 1;
	return 0;
}

static int read_proc(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, size - 1);

	if (fd >= 0)
		close(fd);
	buf[n < 0 ? 0 : n] = 0;
	return n > 0;
}

int proc_sleeps(int tid)
{
	char path[64], buf[256];

	if (!tid)
		return 0;
	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", tid);
	/* "running" while it runs, else the number of the call. */
	if (!read_proc(path, buf, sizeof(buf)) || buf[0] < '0' || buf[0] > '9')
		return 0;
	return is_waiting_call(strtol(buf, NULL, 10));
}

int proc_count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

int proc_count_maps(const char *what)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char line[512];
	int n = 0;

	while (f && fgets(line, sizeof(line), f))
		n += !!strstr(line, what);
	if (f)
		fclose(f);
	return n;
}
