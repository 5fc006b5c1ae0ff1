/* Programs started beside and with a connection: one that merely inherits it, and /bin/cat with the
 * socket as its stdin and stdout as inetd does it, by fork, vfork and posix_spawn, with the library
 * in the child's environment and without. */
#include "pair.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

enum how { FORK, VFORK, SPAWN, HOWS };
static const char *const hows[] = { "fork", "vfork", "posix_spawn" };
static char *const no_env[] = { NULL };

static void join(pid_t pid)
{
	int status = -1;

	check(waitpid(pid, &status, 0) == pid);
	say("  child ended: %#x", status);
}

static pid_t spawn_on(int fd, char **argv, char *const *env)
{
	posix_spawn_file_actions_t fa;
	pid_t pid;

	check(!posix_spawn_file_actions_init(&fa));
	if (fd >= 0) {
		check(!posix_spawn_file_actions_adddup2(&fa, fd, 0));
		check(!posix_spawn_file_actions_adddup2(&fa, fd, 1));
		check(!posix_spawn_file_actions_addclose(&fa, fd));
	}
	check(!posix_spawn(&pid, argv[0], &fa, NULL, argv, env));
	posix_spawn_file_actions_destroy(&fa);
	return pid;
}

static pid_t fork_on(int fd, char **argv, char *const *env, int is_vfork)
{
	pid_t pid = is_vfork ? vfork() : fork();

	if (pid)
		return pid;
	if (fd >= 0) {
		dup2(fd, 0);
		dup2(fd, 1);
		close(fd);
		close_range(3, ~0u, 0);
	}
	execve(argv[0], argv, (char **)env);
	_exit(127);
}

static pid_t start(enum how how, int fd, char **argv, char *const *env)
{
	return how == SPAWN ? spawn_on(fd, argv, env) : fork_on(fd, argv, env, how == VFORK);
}

/* Children that have nothing to do with the connection, which goes on. */
static void beside(struct end *e)
{
	char *argv[] = { "/bin/true", NULL };

	for (int how = 0; how < HOWS; how++) {
		say("beside, %s", hows[how]);
		join(start(how, -1, argv, environ));
		put(e, e->fd, 100000);
		take(e, e->fd, 100000);
	}
}

static void server(struct end *e)
{
	char *argv[] = { "/bin/cat", NULL };

	beside(e);
	for (int how = 0; how < HOWS; how++)
		for (int clean = 0; clean < 2; clean++)
			for (int used = 0; used < 2; used++) {
				int fd = accept(e->listener, NULL, NULL);

				check(fd >= 0);
				if (used)
					warm(e, fd);
				say("cat by %s%s%s", hows[how], clean ? ", clean" : "",
					used ? ", used before" : "");
				pid_t pid = start(how, fd, argv, clean ? no_env : environ);
				await_exec(pid, "cat");
				tell('g');
				join(pid);
				close(fd);
			}
}

static void client(struct end *e)
{
	static char sent[300000], got[sizeof(sent)];

	for (int how = 0; how < HOWS; how++) {
		take(e, e->fd, 100000);
		put(e, e->fd, 100000);
	}
	for (int i = 0; i < HOWS * 4; i++) {
		int fd = connect_port(e->family, e->port);
		char c;

		if (i % 2)
			warm(e, fd);
		await('g');
		make(e, sent, sizeof(sent));
		e->out -= sizeof(sent);
		for (size_t done = 0; done < sizeof(sent); done += 10000) {
			check(send(fd, sent + done, 10000, MSG_NOSIGNAL) == 10000);
			check(recv(fd, got + done, 10000, MSG_WAITALL) == 10000);
		}
		check(!memcmp(sent, got, sizeof(sent)));
		check(!shutdown(fd, SHUT_WR));
		say("%d: echoed, then %s", i, result(recv(fd, &c, 1, 0)));
		close(fd);
	}
}

const struct pair pair = { .client = client, .server = server };
