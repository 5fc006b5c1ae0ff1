/*
 * The receive of this thread that is under way.  One that the thread left (longjmp out of a handler,
 * cancellation) still holds its mark, its place among the sleepers or pollers and its reference; they
 * are taken back at the thread's next call, or when it is cancelled.  A handler's own receives, above
 * the one it interrupted, are not noted.
 */
#pragma once
#include "cursor.h"
#include "stream.h"

/* The time that SO_RCVTIMEO gives a receive is all its sleeps' together. */
struct patience {
	uint64_t slept_ns, since_ns;
	struct cursor whole; /* of a MSG_PEEK that waits for all of it, which begins anew each time, and */
	bool last;           /* does so no more */
};
/*
 * Before each sleep, if it may be one: 0, or what ends the call.  patience_slept behind it in any case.  Where this process's rings hold more than they
 * need, the beginning of a long sleep is here: idle connections give it back.  The number may have been closed meanwhile: stream_fd.
 */
int patience_left(struct patience *p, struct stream *s, int fd, bool sleeps);
/* The same where stream_unsure: the sleep is here.  1: there is something beside TCP. */
int patience_unsure(struct patience *p, struct stream *s, int fd);
void patience_slept(struct patience *p);
/* Of one that may sleep: a look that has found less than it asks for begins anew, after a moment.  False: it is no such look, or has found all. */
bool patience_peeks_again(struct patience *p, int fd, int flags, struct signal_mark mark, struct cursor *c, size_t *got);

void call_begin(struct stream *s);
void call_end(void);
/* It is about to say READING there. */
void call_marks(_Atomic uint64_t *mark);
/* Into the kernel, where it may sleep; `counted`: stream_sleep_begin was called. */
void call_sleeps(struct stream *s, bool counted);
void call_wakes(struct stream *s);
/* There it takes what nobody else counts; NULL: no more.  It stays in `inside` of a call that is left. */
void call_takes(_Atomic uint32_t *inside);
void call_polls(bool yes);
/*
 * Something of the call is lent to the peer: taken back, by that function, before a handler of the program runs in this thread, which may never
 * come back from it, and when the call is cancelled.  NULL: nothing is.
 */
void call_lends(void (*take_back)(void *what), void *what);
/* For pthread_cleanup_push. */
void call_cancelled(void *s);
