/*
 * Forced into a second build of rdma/, never the product's: between two accesses to what others see, and between two calls of the
 * program, a thread loses its core now and then, for as long as others need to get in between.  A busy machine does so by itself; so a test finds
 * the same on an idle one.  The accesses at which it happens follow from a seed.
 */
#pragma once
#include "stream.h"

#ifdef STARVE
/* Of this thread, from now on; without, it keeps its core.  `thread`: among those of the seed. */
void starve_begin(uint64_t seed, unsigned thread);
void starve_here(void);
/* Others may send and receive several times meanwhile. */
void starve_between_calls(void);

#undef load_acq
#undef load_rlx
#undef store_rel
#undef store_rlx
#define load_acq(p) (starve_here(), atomic_load_explicit(&(p), memory_order_acquire))
#define load_rlx(p) (starve_here(), atomic_load_explicit(&(p), memory_order_relaxed))
#define store_rel(p, v) (atomic_store_explicit(&(p), v, memory_order_release), starve_here())
#define store_rlx(p, v) (atomic_store_explicit(&(p), v, memory_order_relaxed), starve_here())
#else
static inline void starve_begin(uint64_t seed, unsigned thread) {}
static inline void starve_between_calls(void) {}
#endif
