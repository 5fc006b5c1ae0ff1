#include "sim.h"

#include <stdlib.h>
#include <string.h>

struct settings settings;

static uint64_t number(const char *name, uint64_t fallback)
{
	const char *v = getenv(name);
	char *end;
	uint64_t n;

	if (!v || !*v)
		return fallback;
	n = strtoull(v, &end, 0);
	switch (*end) {
	case 'k': case 'K': return n << 10;
	case 'm': case 'M': return n << 20;
	case 'g': case 'G': return n << 30;
	default: return n;
	}
}

void settings_load(void)
{
	const char *clock = getenv("SIMCUDA_CLOCK");

	settings = (struct settings){
		.memory = number("SIMCUDA_MEMORY", UINT64_C(1) << 30),
		.graph_bytes = number("SIMCUDA_GRAPH_BYTES", 0),
		.devices = (int)number("SIMCUDA_DEVICES", 1),
		.cc = (int)number("SIMCUDA_CC", 90),
		.driver_version = (int)number("SIMCUDA_DRIVER_VERSION", 12080),
		.seed = number("SIMCUDA_SEED", 0),
		.delay_us = (int)number("SIMCUDA_DELAY_US", getenv("SIMCUDA_SEED") ? 200 : 0),
		.resident = (int)number("SIMCUDA_RESIDENT", 64),
		.interleave = number("SIMCUDA_INTERLEAVE", 0),
		.starve = number("SIMCUDA_STARVE", 0),
		.strict = number("SIMCUDA_STRICT", 0),
		.race = number("SIMCUDA_RACE", 0),
		.stale = number("SIMCUDA_STALE", 0),
		.watchdog = number("SIMCUDA_WATCHDOG", 0),
		.poison = getenv("SIMCUDA_POISON") ? (int)number("SIMCUDA_POISON", 0xcd) & 0xff : -1,
		.stats = getenv("SIMCUDA_STATS"),
		.cost = getenv("SIMCUDA_COST"),
		.virtual_clock = clock && !strcmp(clock, "virtual"),
	};
	if (settings.resident < 1)
		settings.resident = 1;
	if (settings.devices < 0)
		settings.devices = 0;
}
