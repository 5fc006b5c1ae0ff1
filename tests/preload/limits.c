/* Limits that the program has set for itself and that shared memory runs into: no file may grow
 * (argument fsize: SIGXFSZ would kill us), no memory is left to map (as). The connection works. */
#include "pair.h"

#include <sys/resource.h>

/* Room for this test's own buffers only. */
static rlim_t address_space(void)
{
	long pages;
	FILE *f = fopen("/proc/self/statm", "re");

	check(fscanf(f, "%ld", &pages) == 1);
	fclose(f);
	return pages * sysconf(_SC_PAGESIZE) + (6 << 20);
}

static void set_limit(int which, rlim_t n)
{
	struct rlimit l;

	check(!getrlimit(which, &l));
	l.rlim_cur = n;
	check(!setrlimit(which, &l));
}

static void both(struct end *e)
{
	int fd, which;

	check(e->argc > 0);
	which = strcmp(e->argv[0], "fsize") ? RLIMIT_AS : RLIMIT_FSIZE;
	set_limit(which, which == RLIMIT_AS ? address_space() : 0);
	fd = e->role == CLIENT ? connect_port(e->family, e->port) :
		accept(e->listener, NULL, NULL);
	for (int i = 0; i < 5; i++)
		warm(e, fd);
	close(fd);
	set_limit(which, RLIM_INFINITY); /* what this test says goes to a file */
	say("done");
}

const struct pair pair = { .client = both, .server = both, .unconnected = 1 };
