/*
 * A random program's memory, streams and events, and what of it comes after what. fuzz.c is the
 * only one to include this and its siblings: parts of one program, not interfaces.
 */
#pragma once
#include "api.h"
#include "counters.h"
#include "kernels.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <string.h>
#include <sched.h>

#define WORDS 64
#define BYTES (WORDS * 4)
#define BUFFERS 5  /* on the device */
#define PINNED 3   /* page-locked: streams touch these, too */
#define SPACES (BUFFERS + PINNED)
#define STREAMS 5  /* legacy, explicit legacy is the same one, two blocking, one or two not */
#define THREADS 3
#define EVENTS 6

struct space {
	uint64_t write[STREAMS], read[STREAMS]; /* the stream's count at its last such operation */
};

static struct {
	uint64_t random;
	CUdeviceptr buffer[BUFFERS];
	uint32_t *pinned[PINNED];
	CUstream stream[STREAMS];
	bool blocking[STREAMS];
	uint64_t count[STREAMS];          /* operations so far */
	uint64_t known[STREAMS][STREAMS]; /* what of the others a stream's next operation comes after */
	uint64_t host[STREAMS];           /* what has surely ended */
	struct space space[SPACES];
	CUevent event[EVENTS];
	unsigned next_event;
	bool in_loop; /* there events order everything: the host waits for nothing */
	uint64_t hash;
} p;

static CUfunction mix, spin;
static bool only_valid; /* no calls that must fail: a real driver may take one, or end with it */

static uint32_t rnd(uint32_t n)
{
	p.random ^= p.random << 13;
	p.random ^= p.random >> 7;
	p.random ^= p.random << 17;
	return (uint32_t)(p.random >> 20) % n;
}

static void absorb(const void *data, size_t n)
{
	const unsigned char *c = data;

	for (size_t i = 0; i < n; i++)
		p.hash = (p.hash ^ c[i]) * 1099511628211u;
}

/* ---- what comes after what ---- */

static void join(uint64_t *into, const uint64_t *from)
{
	for (int t = 0; t < STREAMS; t++)
		if (into[t] < from[t])
			into[t] = from[t];
}

/* A stream knows its own past. */
static void past_of(int s, uint64_t *ret)
{
	memcpy(ret, p.known[s], sizeof(p.known[s]));
	ret[s] = p.count[s];
}

static void host_waited_for(int s)
{
	uint64_t past[STREAMS];

	past_of(s, past);
	join(p.host, past);
	for (int t = 0; t < STREAMS; t++)
		join(p.known[t], p.host);
}

static void by_event(int before, int after)
{
	CUevent e = p.event[p.next_event++ % EVENTS];
	uint64_t past[STREAMS];

	OK(cu.cuEventRecord(e, p.stream[before]));
	p.count[before]++;
	past_of(before, past);
	OK(cu.cuStreamWaitEvent(p.stream[after], e, 0));
	join(p.known[after], past);
}

/* Another one with, most likely, the same handle. */
static void new_event(void)
{
	CUevent *e = &p.event[p.next_event % EVENTS];

	OK(cu.cuEventDestroy_v2(*e));
	OK(cu.cuEventCreate(e, 2));
}

static void poll(int s)
{
	CUevent e = p.event[p.next_event++ % EVENTS];
	CUresult r;

	OK(cu.cuEventRecord(e, p.stream[s]));
	p.count[s]++;
	while ((r = cu.cuEventQuery(e)) == CUDA_ERROR_NOT_READY)
		sched_yield();
	OK(r);
	host_waited_for(s);
}

static void sync_all(void)
{
	OK(cu.cuCtxSynchronize());
	for (int s = 0; s < STREAMS; s++)
		host_waited_for(s);
}

static void wait_on_host(int s)
{
	CUevent e = p.event[p.next_event++ % EVENTS];

	switch (rnd(cu.cuEventRecord ? 4 : 2)) {
	case 0:
		OK(cu.cuStreamSynchronize(p.stream[s]));
		host_waited_for(s);
		return;
	case 1:
		sync_all();
		return;
	case 2:
		OK(cu.cuEventRecord(e, p.stream[s]));
		p.count[s]++;
		OK(cu.cuEventSynchronize(e));
		host_waited_for(s);
		return;
	default:
		poll(s);
	}
}

/* The legacy stream is ordered with every blocking one by itself. */
static void legacy_order(int s)
{
	uint64_t past[STREAMS];

	for (int t = 0; t < STREAMS; t++) {
		bool ordered = s == 0 ? t && p.blocking[t] : t == 0 && p.blocking[s];
		if (!ordered)
			continue;
		past_of(t, past);
		join(p.known[s], past);
	}
}

static bool conflicts(int s, int t, int i, bool writes)
{
	uint64_t last = p.space[i].write[t];

	if (writes && p.space[i].read[t] > last)
		last = p.space[i].read[t];
	return t != s && last > p.known[s][t];
}

static void order(int s, int i, bool writes)
{
	legacy_order(s);
	for (int t = 0; t < STREAMS; t++) {
		if (!conflicts(s, t, i, writes))
			continue;
		if (cu.cuEventRecord && (p.in_loop || rnd(4)))
			by_event(t, s);
		else
			wait_on_host(t);
	}
}

static void touched(int s, int i, bool writes)
{
	uint64_t *last = writes ? p.space[i].write : p.space[i].read;

	last[s] = p.count[s] + 1;
}

static bool host_may(int i, bool writes)
{
	for (int t = 0; t < STREAMS; t++)
		if (p.space[i].write[t] > p.host[t] || (writes && p.space[i].read[t] > p.host[t]))
			return false;
	return true;
}

static void order_host(int i, bool writes)
{
	for (int t = 0; t < STREAMS; t++)
		if (p.space[i].write[t] > p.host[t] || (writes && p.space[i].read[t] > p.host[t]))
			wait_on_host(t);
	CHECK(host_may(i, writes));
}
