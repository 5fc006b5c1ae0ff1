/*
 * The one way from the hooks to the profiler: a function pointer that is NULL until somebody wants
 * events.  base, rdma and gpu emit; shim connects it to the profiler's recorder.
 */
#pragma once
#include <stdint.h>

enum probe_kind {
	PROBE_SEND = 1, /* a: fd, b: bytes, c: path (enum probe_path) */
	PROBE_RECV,     /* a: fd, b: bytes, c: path */
	PROBE_LAUNCH,   /* a: token of function and shape, b: stream, c: path */
	PROBE_COPY,     /* a: kind, b: bytes, c: stream */
	PROBE_UPGRADE,  /* a: fd, b: transport */
	PROBE_FALLBACK, /* a: enum stat_id */
};

/* PATH_PLAIN: by the kernel, or straight to the driver. */
enum probe_path { PATH_PLAIN, PATH_RING, PATH_VERBS };

typedef void probe_fn(enum probe_kind kind, uint64_t a, uint64_t b, uint64_t c);
extern probe_fn *probe_sink;

static inline void probe(enum probe_kind kind, uint64_t a, uint64_t b, uint64_t c)
{
	if (__builtin_expect(probe_sink != 0, 0))
		probe_sink(kind, a, b, c);
}
