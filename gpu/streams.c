#include "streams.h"

#include "stats.h"

#include <string.h>

void streams_init(struct streams *st)
{
	memset(st, 0, sizeof(*st));
	st->count = PLAN_LEGACY + 1;
}

/* Without a stream is a role whose stream was destroyed. */
static uint8_t take_role(struct streams *st, CUstream s)
{
	uint8_t i = PLAN_LEGACY + 1;

	while (i < st->count && st->stream[i])
		i++;
	if (i == PLAN_STREAMS)
		return PLAN_NOBODY;
	st->stream[i] = s;
	if (i == st->count)
		st->count++;
	return i;
}

uint8_t streams_role(struct streams *st, CUstream s)
{
	if (!s || s == CU_STREAM_LEGACY)
		return PLAN_LEGACY;
	for (uint8_t i = PLAN_LEGACY + 1; i < st->count; i++)
		if (st->stream[i] == s)
			return i;
	return take_role(st, s);
}

bool streams_forget(struct streams *st, CUstream s)
{
	for (uint8_t i = PLAN_LEGACY + 1; i < st->count; i++) {
		if (st->stream[i] != s)
			continue;
		st->stream[i] = NULL;
		st->tail[i] = NULL;
		st->joined[i] = 0;
		for (uint8_t k = 0; k < PLAN_STREAMS; k++)
			st->joined[k] &= ~(1u << i);
		return true;
	}
	return false;
}

/* Whoever waits for the last that the source has to do comes behind all that the source waited for. */
static void join(struct streams *st, uint8_t role, const struct op_event *op)
{
	uint8_t source = streams_role(st, op->source);

	if (source == PLAN_NOBODY || st->tail[source] != op->event)
		return;
	st->joined[source] |= 1u << role;
	for (uint8_t i = 0; i < st->count; i++)
		if (st->joined[i] & 1u << source)
			st->joined[i] |= 1u << role;
}

void streams_saw(struct streams *st, const struct op *op)
{
	const struct op_event *event = (const struct op_event *)op;
	uint8_t role = streams_role(st, op->stream);

	if (role == PLAN_NOBODY)
		return;
	st->joined[role] = 0;
	st->tail[role] = op->kind == OP_EVENT ? event->event : NULL;
	if (op->kind == OP_WAIT)
		join(st, role, event);
}

void streams_passed_by(struct streams *st, bool idle)
{
	memset(st->tail, 0, sizeof(st->tail));
	memset(st->joined, idle ? 0xff : 0, sizeof(st->joined));
}

static CUresult event_for(CUevent *e)
{
	return *e ? CUDA_SUCCESS : REAL(cuEventCreate)(e, CU_EVENT_DISABLE_TIMING);
}

CUresult streams_prepare(struct streams *st, uint32_t others)
{
	CUresult r = CUDA_SUCCESS;

	for (uint32_t i = 0; i < PLAN_STREAMS && !r; i++) {
		if (!(others & 1u << i))
			continue;
		r = event_for(&st->exit[i]);
		if (!r)
			r = event_for(&st->entry[i]);
	}
	return r;
}

static CUresult wait(CUstream s, CUevent e)
{
	stat_inc(STAT_cuda_submissions);
	return REAL(cuStreamWaitEvent)(s, e, 0);
}

CUresult streams_settle(struct gpu_queue *q, struct streams *st, uint8_t role)
{
	CUresult r;

	if (role == PLAN_NOBODY || !(st->owed & 1u << role))
		return CUDA_SUCCESS;
	r = wait(st->stream[role], st->exit[role]);
	st->owed &= ~(1u << role);
	atomic_store(&q->owing, st->owed != 0);
	return r;
}

/* Every one is tried, the first error is told. */
CUresult streams_settle_all(struct gpu_queue *q, struct streams *st)
{
	CUresult first = CUDA_SUCCESS;

	for (uint8_t i = 0; st->owed; i++) {
		CUresult r = streams_settle(q, st, i);
		if (!first)
			first = r;
	}
	return first;
}

/*
 * While one thread alone calls the driver, nothing can have come onto a stream since a graph was
 * launched without our knowing; with several, a call of another thread may have been under way.
 */
static bool comes_behind(struct gpu_queue *q, const struct streams *st, uint8_t role, uint8_t home)
{
	return st->owed & 1u << role && st->owed_to[role] == home && !atomic_load(&q->shared);
}

/*
 * A stream that waits, by a kernel or a value in memory, for something that home is about to do must not
 * be waited for: neither would go on.
 */
static bool may_be_waited_for(struct gpu_queue *q, const struct streams *st, uint8_t role, uint8_t home)
{
	if (comes_behind(q, st, role, home) || st->joined[role] & 1u << home)
		return true;
	if (st->owed & 1u << role && st->owed_to[role] != home)
		return false;
	return REAL(cuStreamQuery)(st->stream[role]) != CUDA_ERROR_NOT_READY;
}

bool streams_may_enter(struct gpu_queue *q, const struct streams *st, uint32_t others, uint8_t home)
{
	for (uint8_t i = 0; i < PLAN_STREAMS; i++)
		if (others & 1u << i && !may_be_waited_for(q, st, i, home))
			return false;
	return true;
}

/* What the other still owes it owes to a graph in home, so there nothing is to be told. */
static CUresult home_waits_for(struct streams *st, uint8_t role, uint8_t home)
{
	CUresult r = REAL(cuEventRecord)(st->entry[role], st->stream[role]);

	stat_inc(STAT_cuda_submissions);
	return r ? r : wait(st->stream[home], st->entry[role]);
}

CUresult streams_enter(struct gpu_queue *q, struct streams *st, uint32_t others, uint8_t home)
{
	CUresult r = streams_settle(q, st, home);

	for (uint8_t i = 0; i < PLAN_STREAMS && !r; i++)
		if (others & 1u << i && !comes_behind(q, st, i, home))
			r = home_waits_for(st, i, home);
	return r;
}

void streams_left(struct gpu_queue *q, struct streams *st, uint32_t others, uint8_t home)
{
	for (uint8_t i = 0; i < PLAN_STREAMS; i++)
		if (others & 1u << i)
			st->owed_to[i] = home;
	st->owed |= others;
	atomic_store(&q->owing, st->owed != 0);
}

void streams_finish(struct streams *st)
{
	for (uint32_t i = 0; i < PLAN_STREAMS; i++) {
		if (st->exit[i])
			REAL(cuEventDestroy_v2)(st->exit[i]);
		if (st->entry[i])
			REAL(cuEventDestroy_v2)(st->entry[i]);
	}
	streams_init(st);
}
