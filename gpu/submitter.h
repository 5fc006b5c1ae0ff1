/*
 * Telling the driver. The named exception to the rule of no helper threads: one thread per context
 * that has had something to defer, started then, with every signal blocked. It submits whatever is
 * queued as soon as it is free; whoever drains does the same in its place, from its own thread.
 */
#pragma once
#include "queue.h"

/* Submit lock held: is nothing of ours still running? */
bool submit_idle(struct gpu_queue *q);
/* Submit lock held, one operation queued: hands it over and returns the driver's answer. */
CUresult submit_inline(struct gpu_queue *q);
/* One operation that is next in the ring, and its bookkeeping. */
CUresult submit_one(struct gpu_queue *q, struct op *op, uint64_t behind);
/* Counts and remembers what a group of operations came to. */
void submit_done(struct gpu_queue *q, unsigned n, uint64_t behind, CUresult result);
void submit_keep_error(struct gpu_queue *q, CUresult result);

/* Something was queued: sees to it that somebody submits it. */
void submitter_kick(struct gpu_queue *q);
/* The thread has ended when this returns, and no other is started for the queue, nor is it stopped again, ... */
void submitter_stop(struct gpu_queue *q);
/* ... until this; `put` held, the queue no longer live: one started sooner would be bound to the context that ends. */
void submitter_stopped(struct gpu_queue *q);
