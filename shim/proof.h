/*
 * Proof that every byte of a connection went through our hooks: the kernel's own counters against
 * ours.  The only reliable detector of calls that we cannot see (stdio, io_uring, inline system
 * calls, a forked partner).
 */
#pragma once
#include <stdint.h>

enum proof {
	PROOF_MATCH,
	PROOF_DIFFERS,
	PROOF_MOVING, /* bytes kept arriving: ask again later */
};

enum proof proof_tx(int fd, uint64_t counted, int role);
enum proof proof_rx(int fd, uint64_t counted);
