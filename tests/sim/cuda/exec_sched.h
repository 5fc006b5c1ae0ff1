#ifndef SIMCUDA_EXEC_SCHED_H
#define SIMCUDA_EXEC_SCHED_H

#include "exec.h"

#define ERR_LAUNCH_TIMEOUT 702
#define ERR_LAUNCH_FAILED 719

enum turn { TURN_SPENT, TURN_WAITS, TURN_DONE, TURN_FAULT };

/* Runs the warp for at most so many instructions. */
enum turn warp_run(struct warp *w, uint32_t budget);

#endif
