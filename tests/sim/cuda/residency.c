#include "residency.h"

#include <pthread.h>
#include <stdatomic.h>

#include "sim.h"

static struct {
	pthread_mutex_t lock;
	pthread_cond_t freed;
	uint32_t used, peak;
	_Atomic uint64_t insns;
} res = {.lock = PTHREAD_MUTEX_INITIALIZER, .freed = PTHREAD_COND_INITIALIZER};

bool residency_take(uint32_t n, bool wait)
{
	bool ok;

	pthread_mutex_lock(&res.lock);
	while (wait && res.used && res.used + n > (uint32_t)settings.resident)
		pthread_cond_wait(&res.freed, &res.lock);
	ok = !res.used || res.used + n <= (uint32_t)settings.resident;
	if (ok)
		res.used += n;
	if (res.used > res.peak)
		res.peak = res.used;
	pthread_mutex_unlock(&res.lock);
	return ok;
}

void residency_give(uint32_t n)
{
	pthread_mutex_lock(&res.lock);
	res.used -= n;
	pthread_cond_broadcast(&res.freed);
	pthread_mutex_unlock(&res.lock);
}

uint32_t residency_capacity(void)
{
	return (uint32_t)settings.resident;
}

bool residency_starves(void)
{
	return settings.starve;
}

bool residency_interleaves(void)
{
	return settings.interleave || settings.starve;
}

bool residency_expired(uint64_t insns)
{
	return settings.watchdog && insns > settings.watchdog;
}

uint32_t residency_seed(void)
{
	return (uint32_t)settings.seed;
}

void residency_count(uint64_t insns)
{
	res.insns += insns;
}

bool residency_stale(void)
{
	return settings.stale;
}
