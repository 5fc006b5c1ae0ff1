/* A memory cgroup's limit is reached by the rings: the stream goes on without more of them, nobody is
 * killed and nothing lost. Each end is in a group of its own with little room beyond what it has. */
#include "pair.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

/* For this test's own buffers, and not for rings of 4 MiB each way. */
#define SPARE (3 << 20)
#define ROUNDS 6

struct group {
	char up[PATH_MAX], path[PATH_MAX + 64];
	const char *limit, *usage;
};

static long read_number(const char *dir, const char *name)
{
	char path[PATH_MAX + 128];
	long n = -1;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "re");
	if (!f)
		return -1;
	if (fscanf(f, "%ld", &n) != 1)
		n = -1;
	fclose(f);
	return n;
}

static int write_number(const char *dir, const char *name, long n)
{
	char path[PATH_MAX + 128];
	int fd, ok;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	ok = dprintf(fd, "%ld", n) > 0;
	close(fd);
	return ok;
}

/* The group that this process is in, by the line of /proc/self/cgroup that begins so. */
static int find_group(struct group *g, const char *mount, const char *key)
{
	FILE *f = fopen("/proc/self/cgroup", "re");
	char line[PATH_MAX], *at;
	int found = 0;

	while (f && !found && fgets(line, sizeof(line), f)) {
		at = strstr(line, key);
		line[strcspn(line, "\n")] = 0;
		found = at != NULL;
		if (found)
			snprintf(g->up, sizeof(g->up), "%s%s", mount, at + strlen(key));
	}
	if (f)
		fclose(f);
	return found && !access(g->up, W_OK);
}

static int enter_group(struct group *g)
{
	if (find_group(g, "/sys/fs/cgroup/memory", ":memory:")) {
		g->limit = "memory.limit_in_bytes";
		g->usage = "memory.usage_in_bytes";
	} else if (find_group(g, "/sys/fs/cgroup", "0::")) {
		g->limit = "memory.max";
		g->usage = "memory.current";
	} else {
		return 0;
	}
	snprintf(g->path, sizeof(g->path), "%s/dlaccel-test-%d", g->up, getpid());
	if (mkdir(g->path, 0755))
		return 0;
	if (read_number(g->path, g->usage) >= 0 && write_number(g->path, "cgroup.procs", getpid()))
		return 1;
	rmdir(g->path);
	return 0;
}

static void leave_group(struct group *g)
{
	check(write_number(g->up, "cgroup.procs", getpid()));
	while (rmdir(g->path))
		usleep(1000);
}

/* Everything is written before anything is read, as much as bare TCP takes. */
static void fill(struct end *e, int fd)
{
	if (e->role == SERVER) {
		await('f');
		take(e, fd, 2 << 20);
	} else {
		put(e, fd, 2 << 20);
		tell('f');
	}
}

static void both(struct end *e)
{
	struct group g;
	int fd;

	if (!enter_group(&g)) {
		say("no memory cgroup of our own here");
		exit(77);
	}
	fd = e->role == CLIENT ? connect_port(e->family, e->port) : accept(e->listener, NULL, NULL);
	check(write_number(g.path, g.limit, read_number(g.path, g.usage) + SPARE));
	for (int i = 0; i < ROUNDS; i++) {
		fill(e, fd);
		warm(e, fd);
	}
	close(fd);
	leave_group(&g);
	say("done");
}

const struct pair pair = { .client = both, .server = both, .unconnected = 1 };
