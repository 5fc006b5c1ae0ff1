/*
 * Virtual time. When an operation is submitted its start and end are settled: it starts when the host
 * has issued it, its stream is free and its dependencies are over; it lasts as long as the cost model
 * says. Each host thread has a clock that goes on with each call and jumps when it synchronises.
 * Nothing here depends on how fast this machine is.
 */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_COSTS 512

static struct {
	char name[64];
	uint64_t ns;
} costs[MAX_COSTS] = {
	/* Defaults in the order of magnitude of field reports; a file overrides them one by one. */
	{"call", 200}, {"launch", 2500}, {"graph_launch", 8000}, {"graph_node", 600}, {"kernel", 2000},
	{"kernel_block", 50}, {"copy", 1500}, {"copy_kib", 40}, {"memset", 1500}, {"event", 300}, {"host", 5000},
	{"instantiate", 30000}, {"instantiate_node", 1000}, {"node_update", 500}, {"sync", 1000},
};
static int ncosts = 15;
static uint64_t newest; /* the farthest host clock */

double wall_seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static int find(const char *name)
{
	for (int i = 0; i < ncosts; i++)
		if (!strcmp(costs[i].name, name))
			return i;
	return -1;
}

static void set(const char *name, uint64_t ns)
{
	int i = find(name);

	if (i < 0 && ncosts < MAX_COSTS) {
		i = ncosts++;
		snprintf(costs[i].name, sizeof(costs[i].name), "%s", name);
	}
	if (i >= 0)
		costs[i].ns = ns;
}

/* Lines "name nanoseconds"; '#' begins a comment; "kernel:NAME" and "call:ENTRY" speak of one only. */
void clock_init(void)
{
	char line[256], name[64];
	unsigned long long ns;
	FILE *f = settings.cost ? fopen(settings.cost, "r") : NULL;

	if (settings.cost && !f)
		fprintf(stderr, "simcuda: cannot read the cost model %s\n", settings.cost);
	while (f && fgets(line, sizeof(line), f))
		if (line[0] != '#' && sscanf(line, "%63s %llu", name, &ns) == 2)
			set(name, ns);
	if (f)
		fclose(f);
}

uint64_t clock_cost(const char *what)
{
	int i = find(what);

	return i < 0 ? 0 : costs[i].ns;
}

uint64_t clock_kernel_cost(const char *name, uint64_t blocks)
{
	char key[80];
	int i;

	snprintf(key, sizeof(key), "kernel:%s", name);
	i = find(key);
	return i >= 0 ? costs[i].ns : clock_cost("kernel") + blocks * clock_cost("kernel_block");
}

uint64_t clock_copy_cost(uint64_t bytes)
{
	return clock_cost("copy") + bytes / 1024 * clock_cost("copy_kib");
}

void clock_call(const char *entry)
{
	char key[80];
	int i;

	if (!settings.virtual_clock)
		return;
	if (!tls.vnow)
		tls.vnow = newest;
	snprintf(key, sizeof(key), "call:%s", entry);
	i = find(key);
	if (i >= 0)
		tls.vnow += costs[i].ns;
	else if (strstr(entry, "cuLaunch"))
		tls.vnow += clock_cost("launch");
	else
		tls.vnow += clock_cost("call");
	if (tls.vnow > newest)
		newest = tls.vnow;
}

void clock_spend(uint64_t ns)
{
	if (settings.virtual_clock)
		clock_host_reaches(tls.vnow + ns);
}

void clock_place(struct op *op, uint64_t ready)
{
	op->vstart = tls.vnow > ready ? tls.vnow : ready;
	op->done->vend = op->vstart + op->cost;
}

void clock_host_reaches(uint64_t v)
{
	if (v > tls.vnow)
		tls.vnow = v;
	if (tls.vnow > newest)
		newest = tls.vnow;
}

/* For tests: work of the host that is no driver call. */
CUAPI void simcuda_host_work(uint64_t ns);
CUAPI uint64_t simcuda_host_time(void);

void simcuda_host_work(uint64_t ns)
{
	if (!tls.vnow)
		tls.vnow = newest;
	clock_host_reaches(tls.vnow + ns);
}

uint64_t simcuda_host_time(void)
{
	return tls.vnow;
}
