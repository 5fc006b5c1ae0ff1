/* Limits that the program has set for itself and that shared memory runs into: no file may grow
 * (argument fsize: SIGXFSZ would kill us), no memory is left to map (as). The connection works. */
#include "pair.h"

#include <sys/resource.h>

static void limit(const struct end *e)
{
	struct rlimit l = { 0, 0 };

	check(e->argc > 0);
	if (!strcmp(e->argv[0], "fsize")) {
		check(!setrlimit(RLIMIT_FSIZE, &l));
	} else {
		long pages;
		FILE *f = fopen("/proc/self/statm", "re");

		check(fscanf(f, "%ld", &pages) == 1);
		fclose(f);
		/* Room for this test's own buffers only. */
		l.rlim_cur = l.rlim_max = pages * sysconf(_SC_PAGESIZE) + (6 << 20);
		check(!setrlimit(RLIMIT_AS, &l));
	}
}

static void both(struct end *e)
{
	int fd;

	limit(e);
	fd = e->role == CLIENT ? connect_port(e->family, e->port) :
		accept(e->listener, NULL, NULL);
	for (int i = 0; i < 5; i++)
		warm(e, fd);
	close(fd);
	say("done");
}

const struct pair pair = { .client = both, .server = both, .unconnected = 1 };
