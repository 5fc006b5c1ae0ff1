/* The fastest of a few ways to do the same, found by measuring them at work; see tuner.c.  A side's private hint. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TUNER_WAYS = 3 };

struct tuner {
	uint64_t rate[TUNER_WAYS]; /* bytes in 1024 clock ticks; 0: not known */
	unsigned samples[TUNER_WAYS], turn;
};

/* What has been done one way and is still too little to judge it by.  Without bytes it has not begun. */
struct tuner_window {
	unsigned way;
	uint64_t bytes, ticks;
};

/* One of the first `ways` (2 or more). */
unsigned tuner_choose(struct tuner *t, unsigned ways);
/* n bytes took that long that way, with nothing else to wait for. */
void tuner_took(struct tuner *t, unsigned way, size_t n, uint64_t ticks);

/* The window's way is to be taken.  True: a new one begins. */
bool tuner_window_begin(struct tuner_window *w, struct tuner *t, unsigned ways);
/* n bytes took that long; without any it says nothing.  True: it holds `enough` and wants to be judged. */
bool tuner_window_add(struct tuner_window *w, size_t n, uint64_t ticks, uint64_t enough);
/* It took so much longer than what was added: its way is judged by it, and it is over. */
void tuner_window_judge(struct tuner_window *w, struct tuner *t, uint64_t more);
/* It says nothing. */
static inline void tuner_window_drop(struct tuner_window *w)
{
	w->bytes = w->ticks = 0;
}
