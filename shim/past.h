/*
 * Calls of the driver that never come by here: of libraries opened with RTLD_DEEPBIND, which find the driver before they
 * find this one, and of entries newer than the table, which a program is linked with or looks up for its own scope.
 * They would drain nothing, so nothing is deferred any more once there may be one.
 *
 * Threading: any thread; no lock but the loader's, under which nothing is called.
 */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>

/* Whether there is a driver, and so a reason to look; for dlsym's assembly. */
extern _Atomic bool past_watched;

/* The driver is known: looks at what is loaded. */
void past_watch(void);
/* Looks at what has been loaded since: where its references to the driver lead. */
void past_look(void);
/* At the end all of it once more: what is bound at its first call shows only then. */
void past_report(void);

/* This entry, which the table does not know, is going to be called past this library. */
void past_unknown(const char *name);
