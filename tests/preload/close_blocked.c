/* close() while another thread is in recv or poll on the same descriptor: on Linux the call goes
 * on and gets what comes. shutdown() wakes it. */
#include "pair.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>

struct blocked {
	struct end *e;
	int fd, polls;
	atomic_int tid;
	char text[100];
};

static void *block(void *arg)
{
	struct blocked *b = arg;
	struct pollfd p = { b->fd, POLLIN, 0 };
	char c[50];
	ssize_t r;

	atomic_store(&b->tid, syscall(SYS_gettid));
	r = b->polls ? poll(&p, 1, -1) : recv(b->fd, c, sizeof(c), 0);
	snprintf(b->text, sizeof(b->text), "%s %s revents %#x", b->polls ? "poll" : "recv", result(r),
		b->polls ? p.revents : 0);
	return NULL;
}

static void start(struct blocked *b, pthread_t *t, int fd, int polls)
{
	memset(b, 0, sizeof(*b));
	b->fd = fd;
	b->polls = polls;
	check(!pthread_create(t, NULL, block, b));
	while (!atomic_load(&b->tid))
		usleep(100);
	await_sleep(atomic_load(&b->tid));
}

static void client(struct end *e)
{
	struct blocked b;
	pthread_t t;

	for (int polls = 0; polls < 2; polls++)
		for (int shut = 0; shut < 2; shut++) {
			int fd = connect_port(e->family, e->port);

			warm(e, fd);
			start(&b, &t, fd, polls);
			check(!(shut ? shutdown(fd, SHUT_RD) : close(fd)));
			if (shut) /* woken by that alone; what arrives before it runs would be its answer */
				pthread_join(t, NULL);
			tell('s');
			if (!shut)
				pthread_join(t, NULL);
			say("%s: %s", shut ? "shutdown" : "close", b.text);
			e->in += 20;
			tell('e');
			if (shut)
				close(fd);
		}
}

static void server(struct end *e)
{
	for (int i = 0; i < 4; i++) {
		int fd = accept(e->listener, NULL, NULL);

		warm(e, fd);
		await('s');
		put(e, fd, 20);
		await('e');
		close(fd);
	}
	say("done");
}

const struct pair pair = { .client = client, .server = server, .unconnected = 1 };
