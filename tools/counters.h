/*
 * The counters of a process as shim/base/stats.h lays them out, read from wherever they are: a file
 * <pid>.stats, a folder of them, or a living process.  Whoever wrote them is not trusted: names
 * may lack their end, counts may lie, files may be short.  What is returned is clean.
 */
#pragma once
#include "stats.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { COUNTERS_MAX = (STATS_BYTES - offsetof(struct stats, slot)) / sizeof(struct stat_slot) };

struct counter {
	char name[STATS_NAME + 1];
	uint64_t value;
};

struct counters {
	uint32_t pid, off;
	char program[33];
	uint64_t started_ns;
	unsigned count;
	struct counter item[COUNTERS_MAX];
};

/* All of these: 0, or -errno with *ret untouched.  -ENOMSG: not counters of dlaccel. */
int counters_parse(const void *image, size_t size, struct counters *ret);
int counters_read_file(const char *path, struct counters *ret);
int counters_read_pid(pid_t pid, struct counters *ret); /* -ENOEXEC: the library is not in it */

/* The value under a name, 0 if there is none. */
uint64_t counters_get(const struct counters *counters, const char *name);
/* Adds what one process counted to a sum. */
void counters_add(struct counters *sum, const struct counters *one);

/* What a counter's name means, "" if this release does not know it. */
const char *counters_doc(const char *name);

struct folder {
	unsigned count, broken; /* broken: *.stats that are none */
	struct counters *process;
};

/* Every process of a folder that began at or after since_ns, ordered by its beginning. */
int folder_read(const char *path, uint64_t since_ns, struct folder *ret);
void folder_free(struct folder *folder);
