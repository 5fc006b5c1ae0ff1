#ifndef SIMCUDA_WATCH_FLAGS_H
#define SIMCUDA_WATCH_FLAGS_H

/* How an access takes part in the memory model; what has none of these is weak. */
#define WATCH_NC 1u
#define WATCH_STRONG 2u
#define WATCH_ACQUIRE 4u
#define WATCH_RELEASE 8u

#endif
