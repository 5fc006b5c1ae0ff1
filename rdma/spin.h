/*
 * When a thread polls memory instead of sleeping, for both transports: at most the setting SPIN, less and less while it
 * does not pay, not for a while after it was preempted in a spin.
 */
#pragma once
#include "stream.h"

enum spin_end { SPIN_NOTHING, SPIN_DATA, SPIN_INTERRUPTED };

/* One turn of the loop took longer than this: another thread wanted the core. */
uint64_t spin_turn_most(void);
/* Nothing speaks against it yet. */
bool spin_is_due(const struct stream *s);
void spin_result(struct stream *s, bool hit);
void spin_preempted(struct stream *s);
/* Polls with `look` until something shows.  After poll_end the stream is looked at again. */
enum spin_end stream_spin(struct stream *s, int fd, struct signal_mark mark, enum readiness (*look)(struct stream *s));
