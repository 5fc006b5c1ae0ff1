#include "trial.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TRIAL_BYTES = 1 << 16, TRIAL_SECONDS = 5 };

static int test(bool ok)
{
	return ok ? 0 : errno ? -errno : -EIO;
}

int trial_memfd(void)
{
	int fd = memfd_create("dlaccel-trial", MFD_CLOEXEC | MFD_ALLOW_SEALING), rc;
	void *map = MAP_FAILED;

	if (fd < 0)
		return -errno;
	rc = test(!ftruncate(fd, TRIAL_BYTES) && !fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL));
	if (!rc)
		map = mmap(NULL, TRIAL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	rc = rc ? rc : test(map != MAP_FAILED);
	if (!rc)
		munmap(map, TRIAL_BYTES);
	close(fd);
	return rc;
}

/* The child ends with what the trial returned. */
static int outcome(pid_t pid)
{
	int status;

	if (pid < 0)
		return -errno;
	if (waitpid(pid, &status, 0) != pid)
		return -errno;
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -EIO;
}

static int copy_with(pid_t pid, unsigned char *shared_address)
{
	unsigned char mine[64], marks[64];
	struct iovec local = { mine, sizeof(mine) }, there = { shared_address, sizeof(mine) };

	memset(marks, 0xa5, sizeof(marks));
	if (process_vm_readv(pid, &local, 1, &there, 1, 0) != sizeof(mine))
		return -errno;
	if (memcmp(mine, marks, sizeof(mine)))
		return -EIO;
	memset(mine, 0x5a, sizeof(mine));
	return process_vm_writev(pid, &local, 1, &there, 1, 0) == sizeof(mine) ? 0 : -errno;
}

/* Siblings, because Yama lets a parent look into its child when strangers may not. */
int trial_copy(void)
{
	static unsigned char page[64];
	int ready[2];
	char byte;

	if (pipe2(ready, O_CLOEXEC))
		return -errno;
	pid_t target = fork();
	if (!target) {
		memset(page, 0xa5, sizeof(page));
		if (write(ready[1], "", 1) == 1)
			pause();
		_exit(0);
	}
	close(ready[1]);
	int rc = target < 0 ? -errno : test(read(ready[0], &byte, 1) == 1);
	pid_t looker = rc ? -1 : fork();
	if (!looker)
		_exit(-copy_with(target, page));
	if (looker > 0)
		rc = outcome(looker);
	if (target > 0) {
		kill(target, SIGKILL);
		waitpid(target, NULL, 0);
	}
	close(ready[0]);
	return rc;
}

static int pass_fd(int socket, int fd)
{
	char room[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { "x", 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room) };
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
	return test(sendmsg(socket, &msg, MSG_NOSIGNAL) == 1);
}

static int knows_peer(int socket)
{
	struct ucred peer;
	socklen_t n = sizeof(peer);

	if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &n))
		return -errno;
	return peer.uid == geteuid() ? 0 : -EPERM;
}

int trial_abstract(void)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	socklen_t n = (socklen_t)offsetof(struct sockaddr_un, sun_path) + 1;
	int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), client, rc;

	n += (socklen_t)snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1, "dlaccel-trial-%d", (int)getpid());
	client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	rc = test(server >= 0 && client >= 0 && !bind(server, (struct sockaddr *)&name, n) && !listen(server, 1) &&
		  !connect(client, (struct sockaddr *)&name, n));
	if (!rc)
		rc = knows_peer(client);
	if (!rc)
		rc = pass_fd(client, server);
	if (client >= 0)
		close(client);
	if (server >= 0)
		close(server);
	return rc;
}

static int loopback_pair(int ret_pair[2])
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(addr);
	int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;

	ret_pair[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	rc = test(server >= 0 && ret_pair[0] >= 0 && !bind(server, (struct sockaddr *)&addr, n) && !listen(server, 1) &&
		  !getsockname(server, (struct sockaddr *)&addr, &n) &&
		  !connect(ret_pair[0], (struct sockaddr *)&addr, n));
	ret_pair[1] = rc ? -1 : accept(server, NULL, NULL);
	close(server);
	return rc ? rc : test(ret_pair[1] >= 0);
}

static int read_info(int fd, struct tcp_info *ret)
{
	socklen_t n = sizeof(*ret);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, ret, &n))
		return -errno;
	return n < offsetof(struct tcp_info, tcpi_bytes_received) + sizeof(ret->tcpi_bytes_received) ? -ENODATA : 0;
}

/* What has left and what is queued; an acknowledgement between the two looks is seen by the second. */
static int count_out(int fd, uint64_t *ret_bytes)
{
	struct tcp_info before, after;
	int queued, rc = read_info(fd, &before);

	for (;;) {
		if (!rc && ioctl(fd, SIOCOUTQ, &queued))
			rc = -errno;
		if (!rc)
			rc = read_info(fd, &after);
		if (rc || before.tcpi_bytes_acked == after.tcpi_bytes_acked)
			break;
		before = after;
	}
	if (!rc)
		*ret_bytes = after.tcpi_bytes_acked + (uint64_t)queued;
	return rc;
}

/* As the library compares them; the opener's SYN counts as one byte. */
static int compare_counters(const int pair[2], uint64_t sent)
{
	struct tcp_info info;
	uint64_t out;
	int rc = count_out(pair[0], &out);

	if (!rc)
		rc = read_info(pair[1], &info);
	if (rc)
		return rc;
	return out == sent + 1 && info.tcpi_bytes_received == sent ? 0 : -ENODATA;
}

int trial_counters(void)
{
	int pair[2] = { -1, -1 };
	char data[1000] = { 0 }, there[sizeof(data)];
	int rc = loopback_pair(pair);

	if (!rc)
		rc = test(send(pair[0], data, sizeof(data), MSG_NOSIGNAL) == sizeof(data) &&
			  recv(pair[1], there, sizeof(there), MSG_WAITALL) == sizeof(there));
	if (!rc)
		rc = compare_counters(pair, sizeof(data));
	for (unsigned i = 0; i < 2; i++)
		if (pair[i] >= 0)
			close(pair[i]);
	return rc;
}

int trial_pidfd(void)
{
	long fd = syscall(SYS_pidfd_open, getpid(), 0);

	if (fd < 0)
		return -errno;
	close((int)fd);
	return 0;
}

/* In a process of its own: a vendor's library may start threads or print when it is loaded. */
int trial_library(const char *soname)
{
	fflush(NULL);
	pid_t pid = fork();

	if (!pid) {
		int null = open("/dev/null", O_RDWR);
		dup2(null, 1);
		dup2(null, 2);
		alarm(TRIAL_SECONDS);
		_exit(dlopen(soname, RTLD_LAZY | RTLD_LOCAL) ? 0 : ENOENT);
	}
	return outcome(pid);
}

static size_t read_all(int fd, char *ret_text, size_t room)
{
	size_t got = 0;
	ssize_t n;
	char rest[512];

	while ((n = got + 1 < room ? read(fd, ret_text + got, room - 1 - got) : read(fd, rest, sizeof(rest))) > 0)
		got += got + 1 < room ? (size_t)n : 0;
	ret_text[got] = 0;
	return got;
}

static void trace_load(const char *loader, const char *library, const char *program, int out)
{
	alarm(TRIAL_SECONDS);
	dup2(out, 1);
	dup2(out, 2);
	setenv("LD_PRELOAD", library, 1);
	setenv("LD_TRACE_LOADED_OBJECTS", "1", 1);
	execl(loader, loader, program, (char *)NULL);
	_exit(127);
}

int trial_load(const char *loader, const char *library, const char *program, char *ret_said, size_t room)
{
	int out[2];

	ret_said[0] = 0;
	if (pipe2(out, O_CLOEXEC))
		return -errno;
	pid_t pid = fork();
	if (!pid)
		trace_load(loader, library, program, out[1]);
	close(out[1]);
	if (pid > 0)
		read_all(out[0], ret_said, room);
	close(out[0]);
	int rc = outcome(pid);
	return rc == 0 && strstr(ret_said, library) && !strstr(ret_said, "cannot be preloaded") ? 0 : -ENOEXEC;
}
