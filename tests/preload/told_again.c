/* A loop on a level-triggered set that may not read what it is told of until another thread of the program lets go of a
 * lock: gloo's, whose sender of the same connection holds it, here on the same core. Told every time, and every byte is
 * there when it reads at last. */
#include "pair.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/epoll.h>

#define ROUNDS 20
#define BYTES (256 << 10)

struct program {
	struct end *e;
	pthread_mutex_t lock;
	sem_t held;
	int ep;
};

static void on_one_core(void)
{
	cpu_set_t set;

	check(!sched_getaffinity(0, sizeof(set), &set));
	for (int cpu = 0, found = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &set) && found++)
			CPU_CLR(cpu, &set);
	check(!sched_setaffinity(0, sizeof(set), &set));
}

/* What keeps the lock long enough to be seen by the loop. */
static void *hold(void *arg)
{
	struct program *p = arg;

	check(!pthread_mutex_lock(&p->lock));
	check(!sem_post(&p->held));
	put(p->e, p->e->fd, BYTES);
	for (int i = 0; i < 50; i++)
		sched_yield();
	check(!pthread_mutex_unlock(&p->lock));
	return NULL;
}

static void wait_for_lock(struct program *p)
{
	struct epoll_event ev = { 0 };

	do
		check(epoll_wait(p->ep, &ev, 1, -1) == 1 && ev.events == EPOLLIN && ev.data.u32 == 7);
	while (pthread_mutex_trylock(&p->lock));
}

static void client(struct end *e)
{
	struct program p = { .e = e, .ep = epoll_create1(EPOLL_CLOEXEC) };
	struct epoll_event ev = { .events = EPOLLIN, .data.u32 = 7 };
	pthread_t t;

	on_one_core();
	check(!pthread_mutex_init(&p.lock, NULL) && !sem_init(&p.held, 0, 0) && !epoll_ctl(p.ep, EPOLL_CTL_ADD, e->fd, &ev));
	for (int i = 0; i < ROUNDS; i++) {
		tell('g');
		check(!pthread_create(&t, NULL, hold, &p) && !sem_wait(&p.held));
		wait_for_lock(&p);
		take(e, e->fd, BYTES);
		check(!pthread_mutex_unlock(&p.lock));
		check(!pthread_join(t, NULL));
		check(!epoll_wait(p.ep, &ev, 1, 0));
		tell('n');
		await('n');
	}
	close(p.ep);
	say("all of it, told each time");
}

static void server(struct end *e)
{
	for (int i = 0; i < ROUNDS; i++) {
		await('g');
		put(e, e->fd, BYTES);
		take(e, e->fd, BYTES);
		await('n');
		tell('n');
	}
	say("all of it");
}

const struct pair pair = { .client = client, .server = server };
