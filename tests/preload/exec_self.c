/* A process that becomes another program, which uses the connection by its number and knows nothing of the library: each of the
 * calls that do so, and one that fails, after which the process goes on with it. */
#include "pair.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define BYTES 300000

enum how { EXECVE, EXECV, EXECVP, EXECVPE, FEXECVE, EXECVEAT, EXECL, EXECLP, EXECLE, BY_NUMBER, HOWS };

static char *const no_env[] = { NULL };

static void become(enum how how, char *script)
{
	char *argv[] = { "sh", "-c", script, NULL };
	int sh = open("/bin/sh", O_RDONLY | O_CLOEXEC);

	unsetenv("LD_PRELOAD");
	switch (how) {
	case EXECVE: execve("/bin/sh", argv, no_env); break;
	case EXECV: execv("/bin/sh", argv); break;
	case EXECVP: execvp("sh", argv); break;
	case EXECVPE: execvpe("sh", argv, no_env); break;
	case FEXECVE: fexecve(sh, argv, no_env); break;
	case EXECVEAT: execveat(AT_FDCWD, "/bin/sh", argv, no_env, 0); break;
	case EXECL: execl("/bin/sh", "sh", "-c", script, NULL); break;
	case EXECLP: execlp("sh", "sh", "-c", script, NULL); break;
	case EXECLE: execle("/bin/sh", "sh", "-c", script, NULL, no_env); break;
	default: syscall(SYS_execve, "/bin/sh", argv, no_env);
	}
	check(!"another program");
}

static void serve(struct end *e, enum how how)
{
	struct end c = *e;
	char script[64];

	c.fd = accept(e->listener, NULL, NULL);
	check(c.fd > 2);
	for (int i = 0; i < 3; i++)
		warm(&c, c.fd);
	check(execve("/nonexistent", no_env, no_env) == -1 && errno == ENOENT);
	warm(&c, c.fd);
	tell_number(getpid());
	snprintf(script, sizeof(script), "exec cat <&%d >&%d", c.fd, c.fd);
	become(how, script);
}

static void server(struct end *e)
{
	for (int how = 0; how < HOWS; how++) {
		int status = -1;
		pid_t pid = fork();

		if (!pid)
			serve(e, how);
		check(waitpid(pid, &status, 0) == pid);
		say("%d ended: %#x", how, status);
	}
}

static void echo(int fd)
{
	static char sent[BYTES], got[BYTES];

	for (int i = 0; i < BYTES; i++)
		sent[i] = (char)(i ^ i >> 8);
	for (size_t done = 0; done < BYTES;) {
		ssize_t r = send(fd, sent + done, BYTES - done, MSG_NOSIGNAL);
		check(r > 0);
		done += r;
	}
	memset(got, 0, BYTES);
	check(recv(fd, got, BYTES, MSG_WAITALL) == BYTES && !memcmp(sent, got, BYTES));
}

static void client(struct end *e)
{
	for (int how = 0; how < HOWS; how++) {
		struct end c = *e;
		char byte;

		c.fd = connect_port(e->family, e->port);
		for (int i = 0; i < 4; i++)
			warm(&c, c.fd);
		await_exec((pid_t)await_number(), "cat");
		echo(c.fd);
		check(!shutdown(c.fd, SHUT_WR));
		say("%d: all of it came back, then %s", how, result(recv(c.fd, &byte, 1, 0)));
		close(c.fd);
	}
}

const struct pair pair = { .client = client, .server = server, .unconnected = 1 };
