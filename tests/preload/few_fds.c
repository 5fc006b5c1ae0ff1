/* Descriptors run out: with one free, connect and traffic work; with none, errno is the bare one; and
 * the numbers that the program gets are the lowest ones, always. */
#include "pair.h"

#include <fcntl.h>
#include <sys/resource.h>

static void set_limit(int n)
{
	struct rlimit l;

	check(!getrlimit(RLIMIT_NOFILE, &l));
	l.rlim_cur = n;
	check(!setrlimit(RLIMIT_NOFILE, &l));
}

/* Numbers up to the limit, but one, are taken. */
static int fill(int limit, int *fds)
{
	int n = 0, fd;

	set_limit(limit);
	while ((fd = open("/dev/null", O_RDONLY)) >= 0)
		fds[n++] = fd;
	check(errno == EMFILE);
	close(fds[--n]);
	return n;
}

static void one_free(struct end *e)
{
	int fds[40], n = fill(40, fds), fd, other;

	say("filled up to %d", fds[n - 1]);
	for (int i = 0; i < 3; i++) {
		fd = e->role == CLIENT ? connect_port(e->family, e->port) :
			accept(e->listener, NULL, NULL);
		check(fd >= 0);
		say("the number: %d", fd - fds[n - 1]);
		warm(e, fd);
		other = dup(fd);
		say("one more: %s", result(other));
		say("a socket: %s", result(socket(AF_INET, SOCK_STREAM, 0)));
		warm(e, fd);
		close(fd);
	}
	while (n)
		close(fds[--n]);
}

static void client(struct end *e)
{
	one_free(e);
	for (int i = 0; i < 2; i++) {
		int fd = connect_port(e->family, e->port);

		tell('c');
		warm(e, fd);
		close(fd);
	}
}

/* accept with no number free, then with one: the connection is still there. */
static void server(struct end *e)
{
	int fds[40], n, fd;

	one_free(e);
	for (int i = 0; i < 2; i++) {
		await('c');
		n = fill(40, fds);
		fd = open("/dev/null", O_RDONLY);
		say("accept: %s", result(accept(e->listener, NULL, NULL)));
		close(fd);
		fd = accept(e->listener, NULL, NULL);
		check(fd >= 0);
		warm(e, fd);
		close(fd);
		while (n)
			close(fds[--n]);
	}
	say("done");
}

const struct pair pair = { .client = client, .server = server, .unconnected = 1 };
