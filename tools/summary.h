/*
 * What the counters of a run's processes come to, for the end of `dlaccel run` and for
 * `dlaccel report`.
 */
#pragma once
#include "counters.h"

#include <stdio.h>

/* Payload by the road it took. */
struct traffic {
	uint64_t ring, block, verbs; /* moved by dlaccel */
	uint64_t in_line, plain;     /* by the kernel: inside upgraded streams, and outside */
};

struct traffic traffic_sent(const struct counters *counters);
struct traffic traffic_received(const struct counters *counters);
uint64_t traffic_moved(const struct traffic *traffic);
uint64_t traffic_all(const struct traffic *traffic);

/* The sum over all processes of a folder; pid and program are those of the first. */
void folder_sum(const struct folder *folder, struct counters *ret);

/* A screen of lines, each begun with `prefix`: bytes, connections, launches, reasons of fallbacks. */
void summary_write(FILE *out, const char *prefix, const struct counters *sum, unsigned reasons);
