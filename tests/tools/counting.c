/*
 * A program whose counters hold what its arguments say, so that readers can be tested for values:
 *   counting [-f FILE] NAME=VALUE...
 * Under the preload; -f maps them onto a file, as the library does with DLACCEL_DIR.  Prints "ready",
 * then the word `off` for every line on its stdin.
 */
#include "stats.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void set(struct stats *stats, const char *assignment)
{
	const char *value = strchr(assignment, '=');

	for (unsigned i = 0; value && i < stats->count; i++)
		if (strlen(stats->slot[i].name) == (size_t)(value - assignment) &&
			!strncmp(stats->slot[i].name, assignment, (size_t)(value - assignment))) {
			stats->slot[i].value = strtoull(value + 1, NULL, 0);
			return;
		}
	fprintf(stderr, "no counter %s\n", assignment);
	exit(3);
}

static void map_onto(struct stats *stats, const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT, 0600);

	if (fd < 0 || pwrite(fd, stats, STATS_BYTES, 0) != STATS_BYTES ||
		mmap(stats, STATS_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) != stats)
		exit(4);
	close(fd);
}

int main(int argc, char **argv)
{
	struct stats *stats = dlsym(RTLD_DEFAULT, "dlaccel_stats");
	char line[16];
	int i = 1;

	if (!stats || stats->magic != STATS_MAGIC)
		return 2;
	stats->pid = (uint32_t)getpid();
	strcpy(stats->program, "counting");
	if (i + 1 < argc && !strcmp(argv[i], "-f")) {
		map_onto(stats, argv[i + 1]);
		i += 2;
	}
	for (; i < argc; i++)
		set(stats, argv[i]);
	puts("ready");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		printf("%u\n", stats->off);
		fflush(stdout);
	}
	return 0;
}
