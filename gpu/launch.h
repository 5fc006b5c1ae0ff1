/* What was launched before and succeeded, and may therefore be deferred the next time. */
#pragma once
#include "queue.h"

struct launch {
	unsigned row;
	CUfunction func;
	uint32_t grid[3], block[3], shared;
	CUstream stream;
	const struct cuda_launch_attribute *attrs;
	uint32_t attr_count;
	void **params, **extra;
	const void *buffer; /* of `extra` */
	size_t buffer_bytes;
};

/* Could such a launch ever be deferred? Also finds the buffer in `extra`. */
bool launch_is_plain(struct launch *l);
/* Of a plain launch. What lies behind the value need not be set; in the copy it is 0. */
void launch_copy_attr(struct cuda_launch_attribute *to, const struct cuda_launch_attribute *from);
uint64_t launch_combo(const struct launch *l);
/* Remembers a launch that the driver took. */
void launch_learn(const struct launch *l);
