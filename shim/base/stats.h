/*
 * The process's counters: one page-aligned object, exported as `dlaccel_stats`, that describes
 * itself (a name beside every value), so that any reader of any version can print it: the tool reads
 * it live through process_vm_readv, and with DLACCEL_DIR it lies in the file <pid>.stats, mapped
 * shared, which outlives a SIGKILL.
 */
#pragma once
#include <stdatomic.h>
#include <stdint.h>

#define STATS_MAGIC 0x6c6563636163646cull
#define STATS_NAME 40
#define STATS_BYTES 16384

enum stat_id {
#define STAT(field, name, doc) STAT_##field,
#include "stats.def"
#undef STAT
#define FALLBACK(id, name, doc) FALLBACK_##id,
#include "fallback.def"
#undef FALLBACK
	STAT_COUNT
};

struct stat_slot {
	char name[STATS_NAME];
	_Atomic uint64_t value;
};

struct stats {
	uint64_t magic;
	uint32_t version, count;
	_Atomic uint32_t pid;
	_Atomic uint32_t off; /* set from outside by `dlaccel off`: bit 0 sockets, bit 1 cuda */
	char program[32];
	uint64_t started_ns; /* CLOCK_REALTIME when the process first had something to do */
	struct stat_slot slot[STAT_COUNT];
};

extern struct stats dlaccel_stats;

static inline void stat_add(enum stat_id id, uint64_t n)
{
	atomic_fetch_add_explicit(&dlaccel_stats.slot[id].value, n, memory_order_relaxed);
}

static inline void stat_set(enum stat_id id, uint64_t n)
{
	atomic_store_explicit(&dlaccel_stats.slot[id].value, n, memory_order_relaxed);
}

static inline uint64_t stat_get(enum stat_id id)
{
	return atomic_load_explicit(&dlaccel_stats.slot[id].value, memory_order_relaxed);
}

static inline void stat_inc(enum stat_id id)
{
	stat_add(id, 1);
}

/* First relevant use: names the program; with DLACCEL_DIR maps the counters onto <dir>/<pid>.stats. */
void stats_activate(void);
/* In the child of a fork: counts from zero, in memory of its own; what it has, not what it did, it has still. */
void stats_after_fork(void);

/* Counts a fallback; the first of each kind writes its line to the log. */
void fallback(enum stat_id id);
/* The lines that found no descriptor at their time; at the end of the process there may be one. */
void fallback_say_rest(void);
