/*
 * Connects the hooks' probes to the recorder: with DLACCEL_DIR, the first transfers and steps of a
 * process are written to <dir>/<pid>.record, then no more.
 */
#pragma once
#include <stdint.h>

/* First relevant use; idempotent. */
void profile_activate(void);
void profile_after_fork(void);
/* The program's step was found: so many operations, anchors that voted for it. */
void profile_found(uint32_t operations, uint64_t period_ns, uint32_t support);
/* One of them ended, whole. */
void profile_step(uint64_t start_ns, uint64_t ns, uint32_t operations);
void profile_close(void);
