/* What the halves of a verbs stream share with its table. */
#pragma once
#include "verbs.h"

ssize_t verbs_send(struct stream *s, int fd, const struct iovec *iov, int cnt, struct stream_opts o);
ssize_t verbs_recv(struct stream *s, int fd, const struct iovec *iov, int cnt, struct stream_opts o);
int verbs_available(struct stream *s, int fd);
enum readable verbs_really_readable(struct stream *s, int fd);
enum readiness verbs_wait_ready(struct stream *s);
/* Takes doorbells out of TCP that stand for nothing any more. */
void verbs_settle(struct verbs_stream *vs, int fd);
/* At the entry of a call: a fork's child has the link taken down first. */
void verbs_enter(struct verbs_stream *vs);
/* ---- polling */
bool verbs_may_spin(struct stream *s);
void verbs_poll_begin(struct stream *s);
void verbs_sleep_begin(struct stream *s);
void verbs_sleep_end(struct stream *s);
/* Every publish rings from here on, until somebody polls again. */
void verbs_stop_polling(struct stream *s);
/* What comes next will be seen in the ring: no need to ask the kernel between two looks. */
bool verbs_is_unrung(struct verbs_stream *vs);
bool flush_tail(struct verbs_stream *vs, int fd);
/* Tells the sender how far we are; the same over a link that nothing has come by. */
void verbs_tell_state(struct verbs_stream *vs);
int verbs_say_state(struct verbs_stream *vs, struct link *l);
/* Where it may leave plain TCP; of what no more than this comes at once, it need not. */
enum { PLAIN_MOST = 8192 };
void verbs_propose(struct verbs_stream *vs, uint64_t at);
/* A block that the sender wants back is answered for, over the link that it said so by; side->c held. */
void verbs_answer_withdrawal(struct verbs_stream *vs, struct link *l);
/* The same of an advertised buffer that the receiver wants back; side->p held. */
void verbs_answer_recall(struct link *l);
/* By the thread, for a program that makes no calls.  False: a receive, a send is under way, to be tried again. */
bool verbs_withdrawal(struct link *l);
bool verbs_recall(struct link *l);
/* From here on we read by the link of that name; false: there is none.  side->c held. */
bool verbs_read_by(struct verbs_stream *vs, uint32_t name);
/* Of heads, side->p held. */
static inline uint64_t verbs_ring_position(const struct verbs_stream *vs)
{
	return vs->v->returning ? vs->v->left_ring : link_out(vs)->ring_w;
}
/* Records that lie in the ring and have not been taken. */
bool verbs_ring_has(struct verbs_stream *vs);
