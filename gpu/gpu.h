/*
 * gpu/ as the shim sees it: switched on when the program has initialised its driver, off for good
 * when something that must see every call (a profiler, a debugger, a second driver) shows up.
 *
 * Threading: any thread.
 */
#pragma once
#include "stats.h"

#include <stdbool.h>

/* The driver works (cuInit succeeded): deferring may begin. */
void gpu_on(void);
/* Everything queued goes to the driver, and from now on every call goes straight there. */
void gpu_off(enum stat_id why);
/* Captures of the program's that are open: while there are any, nothing is deferred. */
void gpu_capture_begins(void);
void gpu_capture_ends(void);

/* Why the environment forbids deferring from the start, or 0. */
enum stat_id gpu_environment_forbids(char *const *environ);
