/*
 * How queued operations are handed over: one by one, or, where a window comes back, as CUDA graphs.
 * All but batch_wait with the queue's submit lock held.
 */
#pragma once
#include "queue.h"

/*
 * Submits what should go next; the ring must not be empty. False: it is better to wait a moment,
 * because the GPU is busy and the rest of a window is on its way (never when `all`).
 */
bool batch_submit(struct gpu_queue *q, bool all);
/* After batch_submit said false, without the lock: returns when looking again is worth it. */
void batch_wait(struct gpu_queue *q);
/* The next operation goes to the driver on its own without batch_submit being asked. */
void batch_alone(struct gpu_queue *q);
/* Before an operation goes to the driver on its own: its stream waits for its part of a graph. */
CUresult batch_make_way(struct gpu_queue *q, const struct op *op);
/* All streams do. */
CUresult batch_settle(struct gpu_queue *q);
/* An operation went to the driver on its own. */
void batch_saw(struct gpu_queue *q, const struct op *op);
/* Gives everything back that lies in the driver; false if there was nothing. */
bool batch_forget(struct gpu_queue *q);
void batch_forget_stream(struct gpu_queue *q, CUstream s);
void batch_forget_event(struct gpu_queue *q, CUevent e);
/* The context goes away. */
void batch_close(struct gpu_queue *q);
