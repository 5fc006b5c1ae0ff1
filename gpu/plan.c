#include "plan.h"

#include <string.h>

#define each_bit(i, mask)                                                                          \
	(uint32_t left = (mask), i; left && (i = (uint32_t)__builtin_ctz(left), true); left &= left - 1)

void plan_begin(struct plan *p)
{
	memset(p, 0, sizeof(*p));
	p->home = PLAN_NOBODY;
}

static uint32_t bit(uint8_t stream)
{
	return 1u << stream;
}

static void learn(struct plan *p, uint8_t stream, const uint16_t *told)
{
	for (uint8_t t = 0; t < PLAN_STREAMS; t++) {
		if (told[t] <= p->known[stream][t])
			continue;
		p->known[stream][t] = told[t];
		p->fresh[stream] |= bit(t);
	}
}

/* An event from before: home's own past, which comes first anyway. Later on it could be too much. */
static bool waits_for_past(struct plan *p, struct plan_kind k)
{
	if (p->home == PLAN_NOBODY)
		p->home = k.source;
	return p->home == k.source && !p->known[p->home][p->home];
}

static bool add_wait(struct plan *p, struct plan_kind k)
{
	if (p->told_any & bit(k.source))
		learn(p, k.stream, p->told[k.source]);
	else if (!waits_for_past(p, k))
		return false;
	p->forked |= bit(k.stream);
	return true;
}

static void add_after(struct plan *p, uint16_t place)
{
	if (place && p->node[place - 1])
		p->after[p->after_count++] = p->node[place - 1] - 1;
}

void plan_after(struct plan *p, uint8_t stream)
{
	p->after_count = 0;
	add_after(p, p->known[stream][stream]);
	for each_bit (t, p->fresh[stream] & ~bit(stream))
		add_after(p, p->known[stream][t]);
}

static bool allowed(const struct plan *p, uint8_t stream)
{
	if (stream == p->home)
		return true;
	return stream != PLAN_LEGACY && p->home != PLAN_LEGACY && p->forked & bit(stream);
}

bool plan_add(struct plan *p, struct plan_kind k)
{
	uint16_t before;

	if (k.class == PLAN_OTHER || p->count == PLAN_MOST || (k.class == PLAN_WAIT && !add_wait(p, k)))
		return false;
	if (p->home == PLAN_NOBODY)
		p->home = k.stream;
	if (!allowed(p, k.stream))
		return false;
	plan_after(p, k.stream);
	before = p->known[k.stream][k.stream];
	p->node[p->count] = before ? p->node[before - 1] : 0;
	p->known[k.stream][k.stream] = (uint16_t)++p->count;
	if (k.class == PLAN_RECORD) {
		memcpy(p->told[k.stream], p->known[k.stream], sizeof(p->told[0]));
		p->told_any |= bit(k.stream);
	}
	if (k.class == PLAN_NODE) {
		p->node[p->count - 1] = (uint16_t)p->count;
		p->fresh[k.stream] = 0;
	}
	return true;
}

bool plan_closed(const struct plan *p)
{
	for each_bit (t, p->forked)
		if (t != p->home && p->known[p->home][t] != p->known[t][t])
			return false;
	return true;
}
