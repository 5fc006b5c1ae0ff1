/* A device as `verbs_link` makes it and `verbs_completions` hears of it. */
#pragma once
#include "verbs.h"

enum {
	SRQ_DEPTH = 1024, SLOT = 128,
	CQ_DEPTH = 8192,
	HASH = 1024, PORTS = 4,
};

struct device {
	struct device *next;
	struct ibv_context *context;
	struct ibv_pd *pd;
	struct ibv_comp_channel *channel;
	struct ibv_cq *cq;
	struct ibv_srq *srq;
	struct ibv_mr *slots_mr;
	char (*slots)[SLOT];
	struct memreg *memreg;
	bool windows; /* may be opened onto what memreg has registered */
	bool gone, failed; /* failed: gone but for what has been made */
	int refused; /* -errno with which it could not be opened */
	uint64_t usable_ns[PORTS];
	_Atomic int users; /* of registrations */
	_Atomic uint64_t under_way; /* requests that are not known to have ended: each may come to a completion */
	_Atomic int cq_lock;
	uint64_t turn;     /* in which completions are taken; under cq_lock */
	struct link *links[HASH]; /* by queue pair number; under cq_lock */
};

/* The completion queue has room for what n more come to, when they fail, too. */
static inline bool device_takes(struct device *d, uint64_t n)
{
	if (atomic_fetch_add(&d->under_way, n) + n <= CQ_DEPTH - SRQ_DEPTH)
		return true;
	atomic_fetch_sub(&d->under_way, n);
	return false;
}

static inline void device_ends(struct device *d, uint64_t n)
{
	atomic_fetch_sub(&d->under_way, n);
}

/* Too many have ended without anybody's being told. */
static inline bool device_is_busy(const struct device *d)
{
	return load_rlx(d->under_way) > (CQ_DEPTH - SRQ_DEPTH) / 2;
}

struct link *device_find_link(struct device *d, uint32_t qpn);
/* A slot is there for the next message of any peer's. */
int device_give_slot(struct device *d, uint64_t i);
void link_drop_block_window(struct link *l);
/* Whoever waits for the answer about a block. */
void link_wake_done(struct link *l);
