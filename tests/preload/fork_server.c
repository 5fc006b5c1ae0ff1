/* Servers that fork: the parent accepts and closes, the child serves; several children at once; the
 * parent has used the connection before. */
#include "pair.h"

#include <sys/wait.h>

#define CONNS 12

static void echo_all(int fd)
{
	static char buf[100000];
	ssize_t r;

	while ((r = read(fd, buf, sizeof(buf))) > 0)
		for (ssize_t done = 0; done < r;) {
			ssize_t w = write(fd, buf + done, r - done);

			check(w > 0);
			done += w;
		}
	check(r == 0);
}

static void serve(struct end *e, int used_before)
{
	int fd = accept(e->listener, NULL, NULL);

	check(fd >= 0);
	if (used_before)
		warm(e, fd);
	if (!fork()) {
		close(e->listener);
		echo_all(fd);
		_exit(0);
	}
	close(fd);
}

static void server(struct end *e)
{
	int status, bad = 0;

	for (int used = 0; used < 2; used++)
		for (int i = 0; i < CONNS; i++)
			serve(e, used);
	for (int i = 0; i < 2 * CONNS; i++)
		bad += wait(&status) < 0 || status;
	say("children that failed: %d", bad);
}

static void echoed(struct end *e, int fd, size_t n)
{
	char *sent = malloc(n), *got = malloc(n);

	make(e, sent, n);
	for (size_t done = 0; done < n;) {
		size_t k = n - done < 50000 ? n - done : 50000;

		check(send(fd, sent + done, k, MSG_NOSIGNAL) == (ssize_t)k);
		check(recv(fd, got + done, k, MSG_WAITALL) == (ssize_t)k);
		done += k;
	}
	check(!memcmp(sent, got, n));
	free(sent);
	free(got);
}

static void client(struct end *e)
{
	int fds[2 * CONNS];

	for (int i = 0; i < 2 * CONNS; i++) {
		fds[i] = connect_port(e->family, e->port);
		if (i >= CONNS)
			warm(e, fds[i]);
	}
	for (int i = 0; i < 2 * CONNS; i++) {
		echoed(e, fds[i], 100);
		echoed(e, fds[i], 400000);
		echoed(e, fds[i], 1);
	}
	for (int i = 0; i < 2 * CONNS; i++)
		close(fds[i]);
	say("echoed");
}

const struct pair pair = { .client = client, .server = server, .unconnected = 1 };
