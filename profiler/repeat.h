/*
 * One, two or three operations again and again: too short for anchors to vote on, and no step, but
 * what comes next is as certain as it can be. Beside the iteration finder, for windows only.
 *
 * Threading and ownership: the caller's. A feed is O(1).
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define REPEAT_LONGEST 3
#define REPEAT_SURE 64 /* tokens that came as predicted before it is believed */

/* All zero: nothing fed. */
struct repeat {
	uint32_t last[REPEAT_LONGEST]; /* the latest first */
	uint32_t run[REPEAT_LONGEST];  /* of each period: how many tokens in a row fitted it */
	uint32_t period, position, generation;
};

void repeat_feed(struct repeat *r, uint32_t token);
/* The next tokens, of a known period: as many as max. */
void repeat_predict(const struct repeat *r, uint32_t *ret_tokens, uint32_t max);

static inline bool repeat_known(const struct repeat *r)
{
	return r->period != 0;
}
