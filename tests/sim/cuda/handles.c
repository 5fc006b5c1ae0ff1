/* The set of live handles. */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

static struct {
	struct { const void *p; enum kind k; } *slot;
	size_t cap, n, used;
} set;

#define GONE ((const void *)1)

static size_t home(const void *p)
{
	return (size_t)(((uintptr_t)p >> 4) * 0x9e3779b97f4a7c15u >> 20);
}

static void grow(void)
{
	size_t cap = set.cap;
	typeof(set.slot) old = set.slot;

	set.cap = set.n * 4 >= cap ? (cap ? cap * 2 : 256) : cap;
	set.slot = calloc(set.cap, sizeof(*set.slot));
	if (!set.slot)
		abort();
	set.n = set.used = 0;
	for (size_t i = 0; i < cap; i++)
		if (old[i].p && old[i].p != GONE)
			handle_add(old[i].p, old[i].k);
	free(old);
}

void handle_add(const void *p, enum kind k)
{
	size_t i;

	if (set.used * 2 >= set.cap)
		grow();
	for (i = home(p) & (set.cap - 1); set.slot[i].p && set.slot[i].p != GONE; i = (i + 1) & (set.cap - 1))
		;
	set.used += !set.slot[i].p;
	set.slot[i].p = p;
	set.slot[i].k = k;
	set.n++;
}

static size_t find(const void *p)
{
	if (set.cap && p != GONE)
		for (size_t i = home(p) & (set.cap - 1); set.slot[i].p; i = (i + 1) & (set.cap - 1))
			if (set.slot[i].p == p)
				return i;
	return (size_t)-1;
}

void handle_remove(const void *p)
{
	size_t i = p ? find(p) : (size_t)-1;

	if (i == (size_t)-1)
		return;
	set.slot[i].p = GONE;
	set.n--;
}

bool handle_is(const void *p, enum kind k)
{
	size_t i = p ? find(p) : (size_t)-1;

	return i != (size_t)-1 && set.slot[i].k == k;
}

static char **names;
static size_t nnames;

const char *name_intern(const char *name)
{
	for (size_t i = 0; i < nnames; i++)
		if (!strcmp(names[i], name))
			return names[i];
	names = realloc(names, sizeof(*names) * (nnames + 1));
	if (!names)
		abort();
	names[nnames] = strdup(name);
	return names[nnames++];
}
