/* What a worker does beside socket calls: descriptors to other processes, programs started with a
 * socket, io_uring, and looking at itself through /proc. */
#ifndef FUZZ_STEP_PROC_H
#define FUZZ_STEP_PROC_H

#include <stddef.h>
#include <stdint.h>

int proc_send_fd(int over, int fd);
int proc_recv_fd(int over);

/* Starts this program as a leaf with `fd` as its stdin or stdout; returns its wait status. */
int proc_exec(int kind, int fd, int writes, size_t len, uint64_t key, uint64_t off);

/* Polls through io_uring. 1: *ret_revents is set; 0: timed out; -1: no io_uring here. */
int proc_uring_poll(int fd, int events, int timeout_ms, int *ret_revents);

/* Whether a thread of ours sleeps in a system call that waits for a descriptor. */
int proc_sleeps(int tid);
int proc_count_fds(void);
int proc_count_maps(const char *what);

#endif
