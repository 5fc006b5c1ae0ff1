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
		return true;
	}
	return false;
}

void streams_saw(struct streams *st, const struct op *op)
{
	uint8_t role = streams_role(st, op->stream);

	if (role != PLAN_NOBODY)
		st->tail[role] = op->kind == OP_EVENT ? ((const struct op_event *)op)->event : NULL;
}

void streams_forget_tails(struct streams *st)
{
	memset(st->tail, 0, sizeof(st->tail));
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

static CUresult home_waits_for(struct gpu_queue *q, struct streams *st, uint8_t role, uint8_t home)
{
	CUresult r = streams_settle(q, st, role);

	if (!r) {
		stat_inc(STAT_cuda_submissions);
		r = REAL(cuEventRecord)(st->entry[role], st->stream[role]);
	}
	return r ? r : wait(st->stream[home], st->entry[role]);
}

CUresult streams_enter(struct gpu_queue *q, struct streams *st, uint32_t others, uint8_t home)
{
	CUresult r = streams_settle(q, st, home);

	for (uint8_t i = 0; i < PLAN_STREAMS && !r; i++)
		if (others & 1u << i && !comes_behind(q, st, i, home))
			r = home_waits_for(q, st, i, home);
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
