/* What the exported entries share. Their prototypes are made from entries.def, so that each has one row there. */
#ifndef SIMCUDA_API_H
#define SIMCUDA_API_H

#include "sim.h"

#define MAX_SHARED (48 << 10)
#define MAX_SHARED_OPTIN (227 << 10)
#define SM_COUNT 4
#define LEAST_PRIORITY 0
#define GREATEST_PRIORITY (-5)

#define ENTRY(base, symbol, since, args) CUAPI CUresult symbol args;
#include "entries.def"
#undef ENTRY
#undef STREAM_ENTRY

void event_free(struct event *e);
void stats_at_exit(void);
int blocks_per_sm(const struct func *f, int block, size_t dyn);
void library_orphan(struct library *l);

#endif
