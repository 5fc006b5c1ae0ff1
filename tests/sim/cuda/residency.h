/*
 * How many blocks the device holds at once, and how turns are given. Places are shared by all grids
 * that run at the same time. Thread-safe.
 */
#ifndef SIMCUDA_RESIDENCY_H
#define SIMCUDA_RESIDENCY_H

#include <stdbool.h>
#include <stdint.h>

void residency_init(void);
bool residency_take(uint32_t n, bool wait);
void residency_give(uint32_t n);
uint32_t residency_capacity(void);
bool residency_starves(void);
bool residency_interleaves(void);
bool residency_expired(uint64_t insns);
uint32_t residency_seed(void);
void residency_count(uint64_t insns);
bool residency_stale(void);

#endif
