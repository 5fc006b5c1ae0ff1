/* System calls that the library wants and a seccomp filter refuses: each falls back, not a byte is
 * lost. Arguments: the call, the errno, and optionally the only role that is filtered. */
#include "pair.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static const struct {
	const char *name;
	int nr;
} calls[] = { { "memfd_create", SYS_memfd_create }, { "process_vm_readv", SYS_process_vm_readv },
	{ "process_vm_writev", SYS_process_vm_writev }, { "pidfd_open", SYS_pidfd_open },
	{ "ftruncate", SYS_ftruncate },
	{ "sched_setaffinity", SYS_sched_setaffinity }, { "madvise", SYS_madvise } };

static int call_number(const char *name)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++)
		if (!strcmp(calls[i].name, name))
			return calls[i].nr;
	check(!"a known system call");
	return -1;
}

static void forbid(int nr, int err)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | err),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { sizeof(code) / sizeof(*code), code };

	check(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	check(!prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog));
}

static int filtered(const struct end *e)
{
	return e->argc < 3 || (e->argv[2][0] == 's') == (e->role == SERVER);
}

static void both(struct end *e)
{
	int fd;

	check(e->argc >= 2);
	if (filtered(e))
		forbid(call_number(e->argv[0]), atoi(e->argv[1]));
	fd = e->role == CLIENT ? connect_port(e->family, e->port) :
		accept(e->listener, NULL, NULL);
	for (int i = 0; i < 5; i++)
		warm(e, fd);
	if (e->role == CLIENT)
		put(e, fd, 16 << 20);
	else
		take(e, fd, 16 << 20);
	close(fd);
	say("done");
}

const struct pair pair = { .client = both, .server = both, .unconnected = 1 };
