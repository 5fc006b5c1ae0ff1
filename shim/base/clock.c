#include "clock.h"

uint64_t clock_ticks_per_us;

void clock_init(void)
{
	if (clock_ticks_per_us)
		return;
#if defined(__aarch64__)
	uint64_t hz;
	__asm__("mrs %0, cntfrq_el0" : "=r"(hz));
	clock_ticks_per_us = hz >= 1000000 ? hz / 1000000 : 1;
#else
	uint64_t t0 = clock_ticks(), n0 = clock_monotonic_ns(), n1;
	do
		n1 = clock_monotonic_ns();
	while (n1 - n0 < 100000);
	uint64_t per_us = (clock_ticks() - t0) * 1000 / (n1 - n0);
	clock_ticks_per_us = per_us ? per_us : 1;
#endif
}
