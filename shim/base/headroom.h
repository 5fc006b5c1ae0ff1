/*
 * How much memory the control group of this process (v1 or v2, and the groups above it) still has for
 * us. At a group's limit the kernel does not refuse, it kills; so whoever takes memory that the program
 * has not asked for looks first, and leaves the program a reserve.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* Threads may call it at once. True also where no group can be asked. */
bool headroom_for(uint64_t bytes);
