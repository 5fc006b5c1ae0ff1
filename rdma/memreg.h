/*
 * Registrations of the program's memory, kept for as long as they are true (memwatch.h) and no
 * longer.  One cache for each protection domain.
 *
 * Threading: any thread; one lock, held while the device registers.  Ownership: a hold stays usable
 * until memreg_put, whatever becomes of the memory meanwhile.  Where unmapping cannot be watched
 * each get registers and each put gives it back: slow and right.  The process that made a cache is
 * the only one that may use it: in a child every get is refused.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct memreg_key {
	void *handle;
	uint32_t lkey, rkey;
};

/* What registers: verbs, or a test.  reg: 0 or -errno; -ENOMEM means "give something back first". */
struct memreg_ops {
	int (*reg)(void *device, uintptr_t start, size_t len, struct memreg_key *ret_key);
	void (*dereg)(void *device, struct memreg_key *key);
	bool follows_mappings; /* on-demand paging: the device sees what the program sees */
};

struct memreg_hold {
	uintptr_t start, end; /* whole pages */
	struct memreg_key key;
	int slot;	  /* of memwatch, or negative: not kept */
	unsigned holders;
	bool listed, taken;
	uint64_t used;
};

struct memreg_counts {
	uint64_t hits, registered, once, stale, evicted;
	size_t bytes, entries;
};

struct memreg;

/* limit: most bytes registered at a time; memreg_limit(wish) lowers it to what RLIMIT_MEMLOCK lets. */
int memreg_create(const struct memreg_ops *ops, void *device, size_t limit, struct memreg **ret_m);
void memreg_destroy(struct memreg *m);
size_t memreg_limit(size_t wish);

/* A registration of at least these bytes, true at this moment.  -errno: send them another way. */
int memreg_get(struct memreg *m, const void *addr, size_t len, struct memreg_hold **ret_hold);
void memreg_put(struct memreg *m, struct memreg_hold *hold);

/* Gives back what is known to be stale; get does so too, this is for a program that sends no more.  Waits for no other
 * thread of the cache's.  True: there is something left that may become stale. */
bool memreg_sweep(struct memreg *m);
void memreg_count(struct memreg *m, struct memreg_counts *ret_counts);
