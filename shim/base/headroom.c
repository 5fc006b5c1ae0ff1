#include "headroom.h"

#include "clock.h"
#include "sys.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_MOST = 8192, PATH_MOST = 512, ANSWER_LASTS_US = 10000, RESERVE_PART = 4 };
#define RESERVE_MOST ((uint64_t)64 << 20)

struct flavour {
	const char *line;  /* of /proc/self/cgroup, in front of the path */
	const char *mount, *limit, *usage;
	const char *cache; /* of memory.stat: what the kernel gives up before it kills */
};

static const struct flavour flavours[] = {
	{ "0::", "/sys/fs/cgroup", "memory.max", "memory.current", "\nactive_file |\ninactive_file " },
	{ ":memory:", "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
		"\ntotal_active_file |\ntotal_inactive_file " },
};

static long read_text(const char *path, char *buf, size_t size)
{
	long fd = sys_call(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return fd;
	long n = sys_call(SYS_read, fd, buf, size - 1);
	sys_call(SYS_close, fd);
	buf[n > 0 ? n : 0] = 0;
	return n;
}

/* "max", or no such file: no limit. */
static uint64_t read_number(const char *dir, const char *name)
{
	char path[PATH_MOST + 32], text[32];
	int n = snprintf(path, sizeof(path), "%s/%s", dir, name);

	if (n < 0 || (size_t)n >= sizeof(path) || read_text(path, text, sizeof(text)) <= 0 || text[0] < '0' || text[0] > '9')
		return UINT64_MAX;
	return strtoull(text, NULL, 10);
}

static uint64_t number_after(const char *text, const char *key, size_t len)
{
	for (const char *at = text; (at = strchr(at, '\n')); at++)
		if (!strncmp(at, key, len))
			return strtoull(at + len, NULL, 10);
	return 0;
}

static uint64_t read_cache(const char *dir, const char *keys)
{
	char path[PATH_MOST + 32], text[TEXT_MOST];
	int n = snprintf(path, sizeof(path), "%s/memory.stat", dir);
	const char *second = strchr(keys, '|');

	if (n < 0 || (size_t)n >= sizeof(path) || read_text(path, text, sizeof(text)) <= 0)
		return 0;
	return number_after(text, keys, (size_t)(second - keys)) + number_after(text, second + 1, strlen(second + 1));
}

static uint64_t reserve(uint64_t limit)
{
	return limit / RESERVE_PART < RESERVE_MOST ? limit / RESERVE_PART : RESERVE_MOST;
}

static uint64_t left_in(const char *dir, const struct flavour *f, uint64_t wanted)
{
	uint64_t limit = read_number(dir, f->limit), usage = read_number(dir, f->usage);

	if (limit >= INT64_MAX || usage == UINT64_MAX) /* v1 says "no limit" by a very large number */
		return UINT64_MAX;
	uint64_t taken = usage + reserve(limit);
	if (taken + wanted > limit) {
		uint64_t cache = read_cache(dir, f->cache);
		taken -= cache < taken ? cache : taken;
	}
	return taken < limit ? limit - taken : 0;
}

/* The group and all above it; in a container the topmost that can be seen is the container's. */
static uint64_t left_up(char *dir, const struct flavour *f, uint64_t wanted)
{
	uint64_t least = UINT64_MAX;
	size_t top = strlen(f->mount);

	for (char *end = dir + strlen(dir);; end = strrchr(dir, '/')) {
		*end = 0;
		uint64_t left = left_in(dir, f, wanted);
		if (left < least)
			least = left;
		if (strlen(dir) <= top)
			return least;
	}
}

static uint64_t left_by(const struct flavour *f, const char *groups, uint64_t wanted)
{
	const char *at = strstr(groups, f->line);
	char dir[PATH_MOST];

	if (!at)
		return UINT64_MAX;
	at += strlen(f->line);
	int n = snprintf(dir, sizeof(dir), "%s%.*s", f->mount, (int)strcspn(at, "\n"), at);
	if (n < 0 || (size_t)n >= sizeof(dir))
		return UINT64_MAX;
	return left_up(dir, f, wanted);
}

static uint64_t ask(uint64_t wanted)
{
	char groups[TEXT_MOST];
	uint64_t least = UINT64_MAX;

	if (read_text("/proc/self/cgroup", groups, sizeof(groups)) <= 0)
		return least;
	for (unsigned i = 0; i < sizeof(flavours) / sizeof(*flavours); i++) {
		uint64_t left = left_by(&flavours[i], groups, wanted);
		least = left < least ? left : least;
	}
	return least;
}

/* An answer, a refusal too, lasts for a moment: asking costs some tens of microseconds. */
bool headroom_for(uint64_t bytes)
{
	static _Atomic uint64_t asked_at, left;
	uint64_t now = clock_ticks();

	if (now - atomic_load(&asked_at) > us_to_ticks(ANSWER_LASTS_US)) {
		atomic_store(&left, ask(bytes));
		atomic_store(&asked_at, now);
	}
	uint64_t have = atomic_load(&left);
	if (have < bytes)
		return false;
	if (have != UINT64_MAX)
		atomic_fetch_sub(&left, bytes);
	return true;
}
