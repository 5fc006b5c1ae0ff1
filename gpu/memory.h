/*
 * What is known of the program's memory: enough to say at once what the driver would say of a copy
 * that is deferred, and whether its host side may be read later.
 *
 * Threading: any thread.
 */
#pragma once
#include "queue.h"

/* All of [p, p + n) lies in one live allocation that the driver knows and the current context's device may write. */
bool memory_is_device(uint64_t p, size_t n);
/* All of it is page-locked, by our own records. */
bool memory_is_pinned(uint64_t p, size_t n);
/* The driver says that it never heard of it. */
bool memory_is_pageable(uint64_t p);

/* p was freed, or unregistered, or something was unmapped (p == 0: anything may have been). */
void memory_forget(uint64_t p);
/* The context ends, and with it the page-locked memory that was made in it. */
void memory_forget_context(CUcontext ctx);

void memory_after_fork(void);

/* The call's result; out of memory, with memory of ours to give back: the result of asking again. */
#define ASK_TWICE(call)                                                                            \
	({                                                                                         \
		CUresult r_ = call;                                                                \
		r_ == CUDA_ERROR_OUT_OF_MEMORY && queues_give_back() ? call : r_;                  \
	})
