/*
 * How soon a dead fabric is found, over simulated devices that themselves never give up.  Idle, by a clock that the test
 * moves: no later than twice DLACCEL_RDMA_IDLE, at whatever moment of the heartbeat it dies, and never while it lives.  Under
 * load, by the machine's clock less the time in which it stood still: no later than twice DLACCEL_RDMA_DEAD, and not for
 * a delay below that.  An alarm is counted once, and what arrives late changes nothing.
 */
#include "device.h"

#include "clock.h"
#include "process.h"
#include "real.h"
#include "settings.h"
#include "stats.h"
#include "verbs.h"
#include "verbs_device.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { IDLE_US = 2000000, PHASES = 16, BEATS = 20, HUNG_S = 60, DEAD_US = 300000, PATIENT_US = 4000000, HOLE_US = 50000, NAP_NS = 5000000, TRIES = 10 };

static struct end { struct rdma_cm_id *id; struct link *link; } ends[2];
static _Atomic uint64_t by_hand_ns; /* 0: the machine's */
static _Atomic uint64_t lost_ns;

/* In place of the C library's. */
int clock_gettime(clockid_t clock, struct timespec *t)
{
	uint64_t ns = by_hand_ns;

	if (!ns || clock != CLOCK_MONOTONIC)
		return (int)syscall(SYS_clock_gettime, clock, t);
	*t = (struct timespec){ (time_t)(ns / 1000000000), (long)(ns % 1000000000) };
	return 0;
}

static uint64_t alarms(void)
{
	return atomic_load(&dlaccel_stats.slot[FALLBACK_RDMA_SILENT].value);
}

static bool is_up(int i)
{
	return load_acq(ends[i].link->state) == LINK_UP;
}

static void make_links(void)
{
	static char no_meeting[4096];
	struct device *d;

	for (int i = 0; i < 2; i++) {
		ends[i].id = sim_id_create(i);
		if (device_of(ends[i].id, &d) || link_create(d, ends[i].id, (struct meeting *)no_meeting, 1 << RING_SHIFT_LEAST, false, &ends[i].link))
			sim_wrong("no link");
	}
	sim_connect(ends[0].id, ends[1].id);
	for (int i = 0; i < 2; i++) {
		ends[i].link->peer_ring = (uintptr_t)ends[!i].link->ring;
		ends[i].link->peer_rkey = ends[!i].link->rkey;
		store_rel(ends[i].link->state, LINK_UP);
	}
}

static void end_links(void)
{
	for (int i = 0; i < 2; i++) {
		links_destroy(ends[i].link->links);
		sim_id_destroy(ends[i].id);
	}
	sim_reap();
}

static void kill_fabric(uint64_t for_us)
{
	atomic_store(&sim_wire.hole_us, for_us);
	atomic_store(&sim_wire.hole_from, atomic_load(&sim_wire.packets));
}

static void heal_fabric(void)
{
	atomic_store(&sim_wire.hole_from, UINT64_MAX);
}

/* ---- idle */

/* The next turn of the progress thread, which sleeps for as long as this; devices have had their time in between. */
static void turn_after(uint64_t ns, bool answers)
{
	by_hand_ns += ns;
	thread_tend_links();
	for (int i = 0; i < 2 && answers; i++)
		while (is_up(i) && !link_is_acked(ends[i].link, ends[i].link->posted))
			link_poll(ends[i].link);
}

static void dies_while_idle(unsigned phase)
{
	const uint64_t turn = IDLE_US * UINT64_C(500) + 1000000;
	uint64_t before = alarms();

	make_links();
	for (int i = 0; i < BEATS; i++)
		turn_after(turn, true);
	if (!is_up(0) || !is_up(1))
		sim_wrong("an idle link that lives is given up");
	uint64_t since = by_hand_ns + turn * phase / PHASES;
	kill_fabric(UINT64_MAX);
	while (is_up(0) || is_up(1)) {
		turn_after(turn, false);
		if (by_hand_ns - since > 2 * IDLE_US * UINT64_C(1000))
			sim_wrong("phase %u: links %u and %u after %llu ms", phase, ends[0].link->state, ends[1].link->state,
				(unsigned long long)(by_hand_ns - since) / 1000000);
	}
	heal_fabric();
	for (int i = 0; i < BEATS; i++)
		turn_after(turn, false);
	if (is_up(0) || is_up(1) || alarms() != before + 2)
		sim_wrong("%llu alarms for two ends", (unsigned long long)(alarms() - before));
	end_links();
}

/* ---- under load */

/* How long this machine does nothing for whoever sleeps. */
static void *metronome(void *unused)
{
	struct timespec nap = { .tv_nsec = NAP_NS };

	for (;;) {
		uint64_t start = clock_monotonic_ns();
		nanosleep(&nap, NULL);
		uint64_t took = clock_monotonic_ns() - start;
		atomic_fetch_add(&lost_ns, took > 2 * NAP_NS ? took - NAP_NS : 0);
	}
	return NULL;
}

static bool write_and_wait(void)
{
	uint64_t seq;

	if (link_write(ends[0].link, 0, 4096, true, &seq))
		sim_wrong("no write");
	return link_wait(ends[0].link, seq);
}

static bool read_and_wait(void)
{
	static char block[4096];
	struct link *l = ends[0].link;
	struct device *there = ends[1].link->device;
	struct ibv_mr *mr = verbs.ibv_reg_mr(there->pd, block, sizeof(block), IBV_ACCESS_REMOTE_READ);
	struct block_part part = { .to = l->staging, .lkey = l->lkey, .rkey = mr->rkey, .address = (uintptr_t)block, .bytes = sizeof(block) };
	uint64_t seq;

	if (link_read_block(l, &part, &seq))
		sim_wrong("no read");
	bool well = link_wait_bulk(l, &l->reads, seq, part.bytes);
	verbs.ibv_dereg_mr(mr);
	return well;
}

/* How long it takes to be told, in nanoseconds without those that the machine had no core for. */
static uint64_t dies_under_load(bool (*waits)(void))
{
	uint64_t before = alarms();

	settings.rdma_dead = DEAD_US;
	make_links();
	kill_fabric(UINT64_MAX);
	uint64_t start = clock_monotonic_ns(), lost = lost_ns;
	if (waits())
		sim_wrong("nobody answers, and all is well");
	uint64_t took = clock_monotonic_ns() - start - (lost_ns - lost);
	if (is_up(0) || alarms() != before + 1)
		sim_wrong("%llu ms, %llu alarms", (unsigned long long)took / 1000000, (unsigned long long)(alarms() - before));
	heal_fabric();
	end_links();
	return took;
}

/* Whoever is late every time is late; once it may be the machine. */
static void is_told_in_time(bool (*waits)(void))
{
	uint64_t took = UINT64_MAX;

	for (int i = 0; i < TRIES && took > 2 * DEAD_US * UINT64_C(1000); i++)
		took = dies_under_load(waits);
	if (took > 2 * DEAD_US * UINT64_C(1000))
		sim_wrong("%llu ms", (unsigned long long)took / 1000000);
}

static bool outlives_a_delay(bool (*waits)(void))
{
	uint64_t before = alarms();

	settings.rdma_dead = PATIENT_US;
	make_links();
	kill_fabric(HOLE_US);
	bool well = waits() && alarms() == before;
	heal_fabric();
	end_links();
	return well;
}

static void is_slow_under_load(bool (*waits)(void))
{
	bool well = false;

	for (int i = 0; i < TRIES && !well; i++)
		well = outlives_a_delay(waits);
	if (!well)
		sim_wrong("a short delay is taken for death");
}

/* The slowest of the last four says how much is read at once. */
static void expect_reads(uint64_t us_each, size_t most)
{
	static struct link l;

	if (us_each)
		link_learn(&l.reads, PACE_BYTES - 1, us_to_ticks(us_each));
	if (link_bulk_part(&l.reads, SIZE_MAX) != most)
		sim_wrong("%llu us each: READs of %zu", (unsigned long long)us_each, link_bulk_part(&l.reads, SIZE_MAX));
}

static void reads_fit_into_the_time(void)
{
	enum { FIRST = 4 * PACE_BYTES, EIGHTH_US = DEAD_US / 8 };

	settings.rdma_dead = DEAD_US;
	expect_reads(0, FIRST);
	for (int i = 0; i < PACE_LAST - 1; i++)
		expect_reads(10, FIRST);
	expect_reads(10, 1 << 24);
	expect_reads(EIGHTH_US / 10 - 5, 10 * PACE_BYTES);
	expect_reads(EIGHTH_US, FIRST);
}

int main(void)
{
	pthread_t t;

	real_init();
	process_note();
	clock_init();
	alarm(HUNG_S);
	settings.rdma_devices = "";
	settings.rdma_idle = IDLE_US;
	settings.net_memory = UINT64_C(1) << 30;
	sim_verbs_install();
	sim_wire.retry_us = UINT64_MAX;
	sim_start(1);
	if (pthread_create(&t, NULL, metronome, NULL))
		return 1;
	reads_fit_into_the_time();
	for (int read = 0; read < 2; read++) {
		is_slow_under_load(read ? read_and_wait : write_and_wait);
		is_told_in_time(read ? read_and_wait : write_and_wait);
	}
	by_hand_ns = clock_monotonic_ns();
	for (unsigned phase = 0; phase < PHASES; phase++)
		dies_while_idle(phase);
	printf("%u moments of the heartbeat\n", PHASES);
	return 0;
}
