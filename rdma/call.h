/*
 * The receive of this thread that is under way.  One that the thread left (longjmp out of a handler,
 * cancellation) still holds its mark, its place among the sleepers or pollers and its reference; they
 * are taken back at the thread's next call, or when it is cancelled.  A handler's own receives, above
 * the one it interrupted, are not noted.
 */
#pragma once
#include "stream.h"

/*
 * The time that SO_RCVTIMEO or SO_SNDTIMEO gives a call is all its sleeps' together.  Before each of them, in one that may sleep: 0, or what
 * ends the call, where there is only so much left as another wait has taken; `events` are that wait's.  Then patience_slept.
 */
struct patience {
	uint64_t slept_ns, since_ns;
};
int patience_left(struct patience *p, int fd, short events);
void patience_slept(struct patience *p);
/* A moment, while what lies there unread is less than is asked for; false: it is the end, a signal's call, or there is no time left. */
bool patience_nap(struct patience *p, int fd, struct signal_mark mark);

void call_begin(struct stream *s);
void call_end(void);
/* Into the kernel: `mark` (or NULL) says READING; `counted`: stream_sleep_begin was called. */
void call_sleeps(struct stream *s, _Atomic uint64_t *mark, bool counted);
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
