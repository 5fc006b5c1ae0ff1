/*
 * DLACCEL_STEP_MARK: the kernels that begin a step of the program, by their names.
 *
 * Threading: marks_init once, before anything is deferred; the rest with the queue's `put` held.
 */
#pragma once
#include "queue.h"

void marks_init(void);
/* A function was launched for the first time. */
void marks_learn(struct gpu_queue *q, CUfunction f);

static inline bool marks_has(const struct gpu_queue *q, CUfunction f)
{
	return q->marks.count && handles_find(&q->marks, (uintptr_t)f);
}
