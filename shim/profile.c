#include "profile.h"

#include "clock.h"
#include "probe.h"
#include "process.h"
#include "recorder.h"
#include "settings.h"
#include "stats.h"

#include <stdatomic.h>
#include <stdio.h>

enum { RECORDS_MOST = 65536, FILE_BYTES = RECORDS_MOST * 64 + 65536 };

static struct recorder recorder;
static _Atomic uint32_t active_pid, records;

static bool budget_left(void)
{
	if (atomic_fetch_add_explicit(&records, 1, memory_order_relaxed) < RECORDS_MOST)
		return true;
	probe_sink = NULL;
	return false;
}

/* a: fd, b: bytes, c: enum probe_path */
static void write_transfer(enum probe_kind kind, uint64_t a, uint64_t b, uint64_t c)
{
	struct record r = {
		.start = recorder_now(),
		.bytes = b,
		.stream = (uint32_t)a,
		.thread = thread_id(),
		.kind = kind == PROBE_SEND ? RECORD_SEND : RECORD_RECV,
		.flags = c == PATH_PLAIN ? 0 : c == PATH_VERBS ? RECORD_HANDLED | RECORD_VERBS : RECORD_HANDLED | RECORD_SHM,
	};

	if ((kind == PROBE_SEND || kind == PROBE_RECV) && b && budget_left())
		recorder_add(&recorder, &r);
}

void profile_found(uint32_t operations, uint64_t period_ns, uint32_t support)
{
	struct record r = {
		.start = recorder_now(),
		.dur = period_ns,
		.bytes = support,
		.value = operations,
		.thread = thread_id(),
		.kind = RECORD_FOUND,
	};

	if (probe_sink && budget_left())
		recorder_add(&recorder, &r);
}

void profile_step(uint64_t start_ns, uint64_t ns, uint32_t operations)
{
	struct record r = {
		.start = start_ns,
		.dur = ns,
		.value = operations,
		.thread = thread_id(),
		.kind = RECORD_STEP,
	};

	if (probe_sink && budget_left())
		recorder_add(&recorder, &r);
}

void profile_activate(void)
{
	char path[512];
	struct recorder_config cfg = { .path = path, .max_bytes = FILE_BYTES, .program = dlaccel_stats.program };

	if (!settings.profile || !settings.dir || !*settings.dir ||
	    atomic_exchange(&active_pid, (uint32_t)process_id) == (uint32_t)process_id)
		return;
	int n = snprintf(path, sizeof(path), "%s/%d.record", settings.dir, process_id);
	if (n > 0 && (size_t)n < sizeof(path) && !recorder_open(&recorder, &cfg))
		probe_sink = write_transfer;
}

void profile_after_fork(void)
{
	probe_sink = NULL;
	atomic_store(&records, 0);
	recorder_abandon(&recorder);
}

/* Other threads may still be writing: the mapping stays. */
void profile_close(void)
{
	probe_sink = NULL;
	if (active_pid == (uint32_t)process_id && recorder_on(&recorder))
		__atomic_store_n(&recorder.header->finished, 1, __ATOMIC_RELEASE);
}
