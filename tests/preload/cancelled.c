/* A thread blocked in recv, poll or send is cancelled, or leaves by siglongjmp out of a handler; the
 * connection is as it was and the next call works.  One that never waits is cancelled in its next call, too. */
#include "pair.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/time.h>

static atomic_int tid, cleanups, asked;
static sigjmp_buf away;

static void cleanup(void *arg)
{
	atomic_fetch_add(&cleanups, 1);
}

static void *block(void *arg)
{
	struct end *e = arg;
	struct pollfd p = { e->fd, POLLIN, 0 };
	char c;

	pthread_cleanup_push(cleanup, NULL);
	atomic_store(&tid, syscall(SYS_gettid));
	if (atomic_load(&cleanups) % 2)
		poll(&p, 1, -1);
	else
		recv(e->fd, &c, 1, 0);
	pthread_cleanup_pop(0);
	return NULL;
}

static void cancel_one(struct end *e, int asleep)
{
	pthread_t t;
	void *ret = NULL;

	atomic_store(&tid, 0);
	check(!pthread_create(&t, NULL, block, e));
	while (!atomic_load(&tid))
		usleep(10);
	if (asleep)
		await_sleep(atomic_load(&tid));
	pthread_cancel(t);
	pthread_join(t, &ret);
	check(ret == PTHREAD_CANCELED);
}

static void on_alarm(int sig)
{
	siglongjmp(away, 1);
}

static void jump_out(struct end *e, int usec)
{
	struct itimerval it = { { 0, 0 }, { 0, usec } };
	char c;

	if (sigsetjmp(away, 1))
		return;
	check(!setitimer(ITIMER_REAL, &it, NULL));
	recv(e->fd, &c, 1, 0);
	check(!"never here");
}

static void exchange(struct end *e)
{
	tell('x');
	take(e, e->fd, 50000);
	put(e, e->fd, 50000);
}

/* The first that is cancelled in its process; nothing else in it is a cancellation point. */
static void *ask(void *arg)
{
	struct end *e = arg;
	char c;

	pthread_cleanup_push(cleanup, NULL);
	for (;;) {
		ssize_t r = atomic_load(&cleanups) ? read(e->fd, &c, 1) : recv(e->fd, &c, 1, 0);
		check(r == -1 && errno == EAGAIN);
		atomic_fetch_add(&asked, 1);
	}
	pthread_cleanup_pop(0);
	return NULL;
}

static void cancel_asking(struct end *e)
{
	pthread_t t;
	void *ret = NULL;

	atomic_store(&asked, 0);
	check(!pthread_create(&t, NULL, ask, e));
	while (atomic_load(&asked) < 100)
		usleep(10);
	pthread_cancel(t);
	pthread_join(t, &ret);
	check(ret == PTHREAD_CANCELED);
}

static void client(struct end *e)
{
	struct sigaction sa = { .sa_handler = on_alarm };

	sigaction(SIGALRM, &sa, NULL);
	int flags = fcntl(e->fd, F_GETFL);
	check(!fcntl(e->fd, F_SETFL, flags | O_NONBLOCK));
	for (int i = 0; i < 2 && e->argc; i++) /* plain */
		cancel_asking(e);
	check(!fcntl(e->fd, F_SETFL, flags));
	for (int i = 0; i < 60; i++) {
		cancel_one(e, i % 3);
		if (i % 10 == 9)
			exchange(e);
	}
	say("cancelled, cleaned up %d times", cleanups);
	/* Long enough for the call to have begun, short enough to hit a spin now and then. */
	for (int i = 0; i < 60; i++) {
		jump_out(e, 300 + i * 20);
		if (i % 10 == 9)
			exchange(e);
	}
	say("jumped");
}

static void server(struct end *e)
{
	for (int i = 0; i < 12; i++) {
		await('x');
		put(e, e->fd, 50000);
		take(e, e->fd, 50000);
	}
	say("done");
}

const struct pair pair = { .client = client, .server = server };
