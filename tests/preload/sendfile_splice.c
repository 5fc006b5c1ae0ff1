/* sendfile from a file (under TCP_CORK with a header, as nginx does), splice from and to a pipe, tee,
 * between ordinary sends. */
#include "pair.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/sendfile.h>

#define FILE_SIZE (3 << 20)

static void cork(int fd, int on)
{
	check(!setsockopt(fd, IPPROTO_TCP, TCP_CORK, &on, sizeof(on)));
}

/* A file with the next bytes of the pattern. */
static int next_file(struct end *e, size_t n)
{
	int f = memfd_create("file", MFD_CLOEXEC);
	char *buf = malloc(n);

	make(e, buf, n);
	check(write(f, buf, n) == (ssize_t)n);
	free(buf);
	return f;
}

static void send_file(struct end *e, size_t n)
{
	int f = next_file(e, n);
	off_t at = 0;

	while ((size_t)at < n)
		check(sendfile(e->fd, f, &at, n - at) > 0);
	close(f);
}

static void send_spliced(struct end *e, size_t n)
{
	int p[2];
	char buf[4096];

	check(!pipe(p));
	while (n) {
		size_t k = n < sizeof(buf) ? n : sizeof(buf);

		make(e, buf, k);
		check(write(p[1], buf, k) == (ssize_t)k);
		for (size_t done = 0; done < k;) {
			ssize_t r = splice(p[0], NULL, e->fd, NULL, k - done, SPLICE_F_MORE);

			check(r > 0);
			done += r;
		}
		n -= k;
	}
	close(p[0]);
	close(p[1]);
}

static void client(struct end *e)
{
	for (int i = 0; i < 3; i++) {
		cork(e->fd, 1);
		put(e, e->fd, 200);
		send_file(e, FILE_SIZE);
		cork(e->fd, 0);
		put(e, e->fd, 70000);
		send_spliced(e, 200000);
		put(e, e->fd, 1);
		take(e, e->fd, 1);
	}
	say("sent");
}

static void take_spliced(struct end *e, size_t n)
{
	int p[2], q[2];
	char buf[4096], copy[4096];

	check(!pipe(p) && !pipe(q));
	while (n) {
		ssize_t r = splice(e->fd, NULL, p[1], NULL, n < 4096 ? n : 4096, SPLICE_F_MOVE);

		check(r > 0);
		check(tee(p[0], q[1], r, 0) == r);
		check(read(p[0], buf, r) == r && read(q[0], copy, r) == r);
		check(!memcmp(buf, copy, r));
		took(e, buf, r);
		n -= r;
	}
	for (int i = 0; i < 2; i++) {
		close(p[i]);
		close(q[i]);
	}
}

static void server(struct end *e)
{
	for (int i = 0; i < 3; i++) {
		take(e, e->fd, 1000);
		take_spliced(e, 300000);
		take(e, e->fd, 200 + FILE_SIZE + 70000 + 200000 - 301000);
		take_spliced(e, 1);
		put(e, e->fd, 1);
	}
	say("received");
}

const struct pair pair = { .client = client, .server = server };
