/*
 * Where in the program a call came from. For the profiled iterations, and for calls that are about to wait: a capture costs
 * microseconds. Threading: init once, then site from any thread. errno is kept by site.
 */
#pragma once

#include <stdint.h>

struct recorder;

/* Opens libunwind, which the library itself does not need. -ENOSYS: not there, or built without. */
int callsite_init(void);

/* The key of the caller's stack; 0: no stack. */
uint64_t callsite_key(void);

/*
 * The key of the caller's stack, its text ("module+0xoffset < ...", innermost first) written to the
 * recorder when it is new. skip: frames to leave out above this call. 0: no stack.
 */
uint64_t callsite_site(struct recorder *r, unsigned skip);
