#include "repeat.h"

static uint32_t shortest_sure(const struct repeat *r)
{
	for (uint32_t p = 1; p <= REPEAT_LONGEST; p++)
		if (r->run[p - 1] >= REPEAT_SURE)
			return p;
	return 0;
}

/* Counted from where it was first believed; the position is that of the next token. */
static void follow(struct repeat *r, uint32_t period)
{
	if (period && period == r->period) {
		r->position = (r->position + 1) % period;
		return;
	}
	r->generation += period != 0;
	r->period = period;
	r->position = 0;
}

void repeat_feed(struct repeat *r, uint32_t token)
{
	for (uint32_t p = 0; p < REPEAT_LONGEST; p++)
		r->run[p] = token == r->last[p] ? r->run[p] + 1 : 0;
	for (uint32_t p = REPEAT_LONGEST - 1; p > 0; p--)
		r->last[p] = r->last[p - 1];
	r->last[0] = token;
	follow(r, shortest_sure(r));
}

void repeat_predict(const struct repeat *r, uint32_t *ret_tokens, uint32_t max)
{
	for (uint32_t i = 0; i < max; i++)
		ret_tokens[i] = r->last[r->period - 1 - i % r->period];
}
