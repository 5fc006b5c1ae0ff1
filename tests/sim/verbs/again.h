/*
 * Two ends whose link has failed meet again, as verbs_meet would have them: each when it sees its own link down, in
 * steps between which anything may happen.
 */
#pragma once
#include "device.h"

#include "verbs.h"

struct sim_end {
	struct links *links;
	struct rdma_cm_id *id; /* of the newest link */
	struct link *next;     /* prepared, not yet up */
	uint32_t name;         /* of the link that it sends by */
};

/* One step, by the thread that does the progress thread's work.  True: both ends know the new link to be up. */
bool sim_meet_again(struct sim_end end[2], uint64_t *dice);
