/* Every way a program can put bytes into a stream socket or take them out, behind two functions,
 * and the bytes themselves: each byte of a stream is a function of its offset, so a reader can
 * check order, loss and duplication without being told what was written.
 * Thread-safe; no state. Returned values and errno are those of the call. */
#ifndef FUZZ_CALLS_H
#define FUZZ_CALLS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum send_kind {
	S_SEND,
	S_SENDTO,
	S_SENDMSG,
	S_SENDMMSG,
	S_WRITE,
	S_WRITEV,
	S_PWRITEV2,
	S_SENDFILE,
	S_SPLICE,
	S_KINDS
};
/* Kinds below this one take flags. */
#define S_FLAGLESS S_WRITE

enum recv_kind {
	R_RECV,
	R_RECVFROM,
	R_RECVMSG,
	R_RECVMMSG,
	R_RECV_CHK,
	R_READ,
	R_READV,
	R_PREADV2,
	R_READ_CHK,
	R_SPLICE,
	R_KINDS
};
#define R_FLAGLESS R_READ

enum wait_kind { W_POLL, W_PPOLL, W_SELECT, W_PSELECT, W_POLL_CHK, W_KINDS };

const char *send_kind_name(int kind);
const char *recv_kind_name(int kind);
const char *wait_kind_name(int kind);

ssize_t call_send(int kind, int fd, const void *buf, size_t len, int flags);
ssize_t call_recv(int kind, int fd, void *buf, size_t len, int flags);

/* Waits for the poll events `events` on one fd; returns what the call returned and sets
 * *ret_revents (select's sets are turned into POLLIN, POLLOUT and POLLPRI). */
int call_wait(int kind, int fd, short events, int timeout_ms, short *ret_revents);

void pattern_fill(void *buf, size_t len, uint64_t key, uint64_t offset);
/* Index of the first wrong byte, or -1. */
long pattern_check(const void *buf, size_t len, uint64_t key, uint64_t offset);

uint64_t mix64(uint64_t x);
struct rng {
	uint64_t s;
};
uint64_t rng_next(struct rng *r);
/* A value in [0, n). */
uint32_t rng_below(struct rng *r, uint32_t n);

#endif
