/*
 * io_uring rings that are driven through syscall(), as libuv does: epoll registrations made through
 * them are seen like any other.  A ring that waits for, reads or writes a connection of ours, and a
 * ring whose submissions cannot be seen, makes the process blind: every publish to it rings.
 */
#pragma once

long uring_setup(unsigned entries, void *params);
long uring_enter(long fd, long to_submit, long min_complete, long flags, long sig, long size);
