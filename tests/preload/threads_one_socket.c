/* Eight threads send on one socket and eight receive on it. A byte says which thread sent it and
 * its place in what that thread sent, so one receiver can check the order within each sender, and
 * eight receivers together the sum. */
#include "pair.h"

#include <pthread.h>
#include <stdatomic.h>

#define THREADS 8
#define PER_THREAD (2 << 20)

struct job {
	struct end *e;
	int id;
};

static atomic_long counts[256];

static void *sender(void *arg)
{
	struct job *j = arg;
	unsigned char *buf = malloc(50000);
	size_t done = 0;

	while (done < PER_THREAD) {
		size_t n = 1 + (done * 31 + j->id * 977) % 50000;
		ssize_t r;

		n = n < PER_THREAD - done ? n : PER_THREAD - done;
		for (size_t i = 0; i < n; i++)
			buf[i] = j->id << 5 | ((done + i) & 31);
		r = send(j->e->fd, buf, n, MSG_NOSIGNAL);
		check(r > 0);
		done += r;
	}
	free(buf);
	return NULL;
}

static void *receiver(void *arg)
{
	struct job *j = arg;
	unsigned char *buf = malloc(30000);
	ssize_t r;

	while ((r = recv(j->e->fd, buf, 1 + j->id * 4000, 0)) > 0)
		for (ssize_t i = 0; i < r; i++)
			atomic_fetch_add_explicit(&counts[buf[i]], 1, memory_order_relaxed);
	check(r == 0);
	free(buf);
	return NULL;
}

static void run_threads(struct end *e, void *(*fn)(void *), int n)
{
	pthread_t t[THREADS];
	struct job jobs[THREADS];

	for (int i = 0; i < n; i++) {
		jobs[i] = (struct job){ e, i };
		check(!pthread_create(&t[i], NULL, fn, &jobs[i]));
	}
	for (int i = 0; i < n; i++)
		pthread_join(t[i], NULL);
}

static void one_receiver(struct end *e)
{
	unsigned next[THREADS] = { 0 };
	unsigned char *buf = malloc(100000);

	for (size_t left = (size_t)THREADS * PER_THREAD; left;) {
		ssize_t r = recv(e->fd, buf, left < 100000 ? left : 100000, 0);

		check(r > 0);
		for (ssize_t i = 0; i < r; i++)
			check((buf[i] & 31u) == (next[buf[i] >> 5]++ & 31));
		left -= r;
	}
	for (int i = 0; i < THREADS; i++)
		say("thread %d: %u bytes in order", i, next[i]);
	free(buf);
}

static void client(struct end *e)
{
	run_threads(e, sender, THREADS);
	await('1');
	run_threads(e, sender, THREADS);
	check(!shutdown(e->fd, SHUT_WR));
	say("sent");
}

static void server(struct end *e)
{
	int wrong = 0;

	one_receiver(e);
	tell('1');
	run_threads(e, receiver, THREADS);
	for (int i = 0; i < 256; i++)
		wrong += atomic_load(&counts[i]) != PER_THREAD / 32;
	say("values with a wrong count: %d", wrong);
}

const struct pair pair = { .client = client, .server = server };
