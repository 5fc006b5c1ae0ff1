/*
 * The transport on one host: a ring each way in memory that both ends share (wire.h), blocks copied
 * straight between the two processes.
 */
#pragma once
#include "call.h"
#include "stream.h"

/* Takes over the mapping (not the memfd).  -ENOMEM, also of DLACCEL_NET_MEMORY; nothing is kept then. */
int shm_create(struct stream **ret_stream, struct wire_map *map, size_t map_bytes, int role);

extern const struct transport_ops transport_shm;

ssize_t shm_send(struct stream *s, int fd, const struct iovec *iov, int cnt, struct stream_opts o);
ssize_t shm_recv(struct stream *s, int fd, const struct iovec *iov, int cnt, struct stream_opts o);
bool shm_recvmsg_inline(struct stream *s, int fd, struct msghdr *msg, int flags, ssize_t *ret);
void shm_shutdown_write(struct stream *s);
int shm_available(struct stream *s, int fd);
void shm_begin_raw_send(struct stream *s);
void shm_end_raw_send(struct stream *s, ssize_t sent);
enum readiness shm_wait_ready(struct stream *s);
enum readable shm_really_readable(struct stream *s, int fd);
/* The end that the kernel shows is a reset; *ret_told: its socket says so from now on. */
bool stream_end_is_reset(struct stream *s, int fd, bool *ret_told);
void shm_set_lowat(struct stream *s, int fd, int v);
void shm_lowat_drained(struct stream *s, int fd);
void shm_make_plain(struct stream *s, int fd);
void shm_quiesce(struct stream *s, int fd, bool for_good);
void shm_set_edge(struct stream *s, bool yes);
bool shm_close_means_reset(struct stream *s, int fd);
void shm_sleep_begin(struct stream *s);
void shm_sleep_end(struct stream *s);
void shm_poll_begin(struct stream *s);
void shm_poll_end(struct stream *s);
bool shm_may_spin(struct stream *s);
void shm_destroy(struct stream *s);

enum readiness stream_ready(struct stream *s);
/* While true the peer is asked to stay inline (SO_RCVLOWAT). */
void stream_prefer_inline(struct stream *s, bool yes);
void stream_leave_ring(struct stream *s);
void ring_put(struct stream *s, uint64_t pos, const char *src, size_t n, copy_fn *copy);
void ring_get(struct stream *s, char *dst, uint64_t pos, size_t n);
size_t ring_hot(const struct stream *s);
bool ring_is_cold(struct stream *s);
bool ring_back_to_hot(struct stream *s);
bool ring_populate(struct stream *s, char *ring, uint64_t from, uint64_t to);
/* The sender's: room for at most `wanted` bytes, with their pages there; the receiver is late; all is read. */
size_t ring_room(struct stream *s, size_t wanted);
bool ring_go_cold(struct stream *s);
void ring_rewind_if_empty(struct stream *s, size_t n);
void ring_calms_down(struct stream *s, size_t n); /* at every send, of n bytes */
uint64_t stream_unread(struct stream *s);
void stream_check_kernel(struct stream *s, int fd);
bool stream_notify(struct stream *s, int fd, bool may_defer);
bool stream_peer_polls(struct stream *s);
bool stream_peer_will_poll(struct stream *s);
void stream_note_core(struct stream *s); /* says where this side runs; leaves a shared core if it may */
bool stream_shares_core(struct stream *s); /* both ends run on one: spinning keeps the other away */
bool stream_peer_gone(struct stream *s); /* needs an open pidfd */
bool stream_peer_dead(struct stream *s); /* asks for one */
bool stream_inline_open(struct stream *s);
bool stream_settle(struct stream *s, int fd); /* side->c held */

size_t block_min(void);
bool block_wanted(struct stream *s, size_t run);
size_t block_offer(struct stream *s, int fd, const char *p, size_t len); /* side->p held */
void block_let_go(struct stream *s); /* of one that was withdrawn: it is sent another way now */
enum { BLOCK_AGAIN = -1 };
ssize_t block_claim(struct stream *s, int fd, char *dst, size_t room); /* side->c held */
void cma_self_test(struct stream *s);
/* Bytes moved, or -errno. */
ssize_t cma_read(uint32_t pid, void *to, uint64_t from, size_t n);
ssize_t cma_write(uint32_t pid, uint64_t to, const void *from, size_t n);
