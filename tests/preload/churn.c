/* 10,000 connects and closes, each with traffic; no descriptor, mapping or memory is left. */
#include "pair.h"

#define ROUNDS 10000

static long resident_kib(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	long size, pages = 0;

	check(fscanf(f, "%ld %ld", &size, &pages) == 2);
	fclose(f);
	return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void exchange(struct end *e, int fd, int i)
{
	size_t n = i % 10 ? 100 : 30000;

	if (e->role == CLIENT) {
		put(e, fd, n);
		take(e, fd, n);
	} else {
		take(e, fd, n);
		put(e, fd, n);
	}
}

static void both(struct end *e)
{
	int fds = 0, maps = 0;
	long kib = 0;

	for (int i = 0; i < ROUNDS; i++) {
		int fd = e->role == CLIENT ? connect_port(e->family, e->port) :
			accept(e->listener, NULL, NULL);

		check(fd >= 0);
		exchange(e, fd, i);
		check(!close(fd));
		if (i == ROUNDS / 10) {
			fds = count_fds();
			maps = count_maps("");
			kib = resident_kib();
		}
	}
	say("more descriptors: %d", count_fds() - fds);
	/* malloc may have come and gone in between. */
	say("many more mappings: %d", count_maps("") > maps + 8);
	say("more memory: %d", resident_kib() > kib + 4096);
}

const struct pair pair = { .client = both, .server = both, .unconnected = 1 };
