#include "profile.h"

#include "clock.h"
#include "probe.h"
#include "process.h"
#include "recorder.h"
#include "settings.h"
#include "signals.h"
#include "stats.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum {
	RECORDS_MOST = 65536,
	FILE_BYTES = RECORDS_MOST * 64 / 7 * 8 + 65536, /* an eighth is for names: the ring must hold the first records, not the last half of them */
	SMALL = 16384,
	TOGETHER_US = 1000,
	RUNS = 8, /* sockets that a thread goes round among */
};

/* Small transfers in a row, one record: a program of small messages would fill the file in a second, and pay for each. */
struct run {
	uint64_t seq, began; /* clock_ticks */
	uint32_t fd;
	uint16_t flags;
};

static struct recorder recorder;
static _Atomic uint32_t active_pid, records;
static __thread TLS_IE struct run runs[2][RUNS]; /* sent, received */

static bool budget_left(void)
{
	if (atomic_fetch_add_explicit(&records, 1, memory_order_relaxed) < RECORDS_MOST)
		return true;
	probe_sink = NULL;
	return false;
}

static uint16_t route_flags(uint64_t path)
{
	return path == PATH_PLAIN ? 0 : path == PATH_VERBS ? RECORD_HANDLED | RECORD_VERBS : RECORD_HANDLED | RECORD_SHM;
}

static bool joins(const struct run *last, const struct run *now, uint64_t bytes)
{
	return last->fd == now->fd && last->flags == now->flags && now->began - last->began < us_to_ticks(TOGETHER_US) &&
		recorder_grow(&recorder, last->seq, bytes);
}

/* a: fd, b: bytes, c: enum probe_path */
static void write_transfer(enum probe_kind kind, uint64_t a, uint64_t b, uint64_t c)
{
	if (kind != PROBE_SEND && kind != PROBE_RECV)
		return;
	struct run *last = &runs[kind == PROBE_RECV][a % RUNS], now = { .began = clock_ticks(), .fd = (uint32_t)a, .flags = route_flags(c) };
	bool small = b < SMALL;
	if ((small && joins(last, &now, b)) || !budget_left())
		return;
	struct record r = {
		.start = recorder_now(),
		.bytes = b,
		.value = 1,
		.stream = now.fd,
		.thread = thread_id(),
		.kind = kind == PROBE_SEND ? RECORD_SEND : RECORD_RECV,
		.flags = now.flags,
	};

	now.seq = recorder_add(&recorder, &r);
	if (small)
		*last = now;
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
	memset(runs, 0, sizeof(runs));
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
