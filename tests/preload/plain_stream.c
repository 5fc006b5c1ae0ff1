/* The plain thing, for the variations that the build adds (IPv6, jemalloc beside us, a program
 * built with the address sanitizer, the library turned off): much and little, both ways at once. */
#include "pair.h"

#include <dirent.h>
#include <pthread.h>

#define TOTAL (40 << 20)

static void *sender(void *arg)
{
	struct end *e = arg;

	for (size_t done = 0; done < TOTAL; done += 1 << 20)
		put(e, e->fd, 1 << 20);
	return NULL;
}

static int count_threads(void)
{
	DIR *d = opendir("/proc/self/task");
	int n = 0;

	for (struct dirent *t; (t = readdir(d));)
		n += t->d_name[0] != '.';
	closedir(d);
	return n;
}

static void both(struct end *e)
{
	pthread_t t;

	say("threads: %d", count_threads());
	check(!pthread_create(&t, NULL, sender, e));
	take(e, e->fd, TOTAL);
	pthread_join(t, NULL);
	for (int i = 0; i < 3; i++)
		warm(e, e->fd);
	say("done");
}

const struct pair pair = { .client = both, .server = both };
