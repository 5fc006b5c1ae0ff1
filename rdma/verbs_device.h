/* A device as `verbs_link` makes it and `verbs_completions` hears of it. */
#pragma once
#include "verbs.h"

enum { SLOT = 128, HASH = 1024, PORTS = 4 };

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
	bool gone, failed; /* failed: gone but for what has been made */
	int refused; /* -errno with which it could not be opened */
	uint64_t usable_ns[PORTS];
	_Atomic int users; /* of registrations */
	_Atomic int cq_lock;
	uint64_t turn;     /* in which completions are taken; under cq_lock */
	struct link *links[HASH]; /* by queue pair number; under cq_lock */
};

struct link *device_find_link(struct device *d, uint32_t qpn);
/* A slot is there for the next message of any peer's. */
int device_give_slot(struct device *d, uint64_t i);
/* Whoever waits for the answer about a block. */
void link_wake_done(struct link *l);
