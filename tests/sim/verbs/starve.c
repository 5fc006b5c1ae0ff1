#include "starve.h"

#include <time.h>

/* Often and briefly, or rarely and for as long as a time slice: each costs a thread about as much. */
static const struct { uint32_t one_in, us; } kinds[] = { { 32, 60 }, { 128, 200 }, { 2048, 4000 } };
enum { KINDS = sizeof(kinds) / sizeof(*kinds), CALLS = 8, CALLS_US = 500 };

static __thread struct { uint64_t dice; uint32_t kind, left; } self; /* dice 0: not starved */

static uint32_t roll(uint32_t sides)
{
	self.dice = self.dice * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(self.dice >> 33) % sides;
}

static void lose_core(uint32_t most_us)
{
	struct timespec t = { .tv_nsec = 1000 * (long)roll(most_us) };

	sys_call(SYS_nanosleep, &t, 0);
}

static uint32_t next_loss(void)
{
	return roll(2 * kinds[self.kind].one_in);
}

void starve_begin(uint64_t seed, unsigned thread)
{
	self.dice = (seed * 64 + thread) * UINT64_C(0x9e3779b97f4a7c15) | 1;
	self.kind = roll(KINDS);
	self.left = next_loss();
}

void starve_here(void)
{
	if (!self.dice || self.left--)
		return;
	lose_core(2 * kinds[self.kind].us);
	self.left = next_loss();
}

void starve_between_calls(void)
{
	if (self.dice && !roll(CALLS))
		lose_core(CALLS_US);
}
