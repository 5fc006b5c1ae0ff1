/* The counters of the preloaded library, read as any reader would; 0 where it is not preloaded. */
#pragma once
#include "stats.h"

#include <dlfcn.h>
#include <string.h>

static inline uint64_t counter(const char *name)
{
	const struct stats *s = dlsym(RTLD_DEFAULT, "dlaccel_stats");

	for (uint32_t i = 0; s && i < s->count; i++)
		if (!strcmp(s->slot[i].name, name))
			return atomic_load(&s->slot[i].value);
	return 0;
}

#include <stdio.h>

/* To stderr, for whoever runs a program by hand and for harnesses that ask what was deferred. */
static inline void counters_print(const char *prefix)
{
	const struct stats *s = dlsym(RTLD_DEFAULT, "dlaccel_stats");

	for (uint32_t i = 0; s && i < s->count; i++)
		if (!strncmp(s->slot[i].name, prefix, strlen(prefix)) && s->slot[i].value)
			fprintf(stderr, "%s %llu\n", s->slot[i].name,
				(unsigned long long)atomic_load(&s->slot[i].value));
}
