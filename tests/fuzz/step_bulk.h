/* Many bytes at once, in the ways in which programs move them. */
#ifndef FUZZ_STEP_BULK_H
#define FUZZ_STEP_BULK_H

#include <stddef.h>
#include <stdint.h>

enum bulk_style { BULK_BLOCKING, BULK_POLL, BULK_EPOLL, BULK_EPOLL_ET, BULK_STYLES };

/* Each returns the bytes moved; short on error or on a stall (errno ETIME).
 * bulk_recv sets ret_v[0] to the first wrong byte or -1; a greedy one asks for whole chunks to the end. */
int64_t bulk_send(int fd, size_t total, size_t chunk, int style, uint64_t key, uint64_t off);
int64_t bulk_recv(int fd, size_t total, size_t chunk, int style, int greedy, uint64_t key, uint64_t off,
	int32_t *ret_v);
/* Sends without blocking until there is no room and none comes. */
int64_t bulk_fill(int fd, size_t chunk, uint64_t key, uint64_t off, int32_t *ret_err);

#endif
