#include "summary.h"

#include "dlaccel.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct traffic traffic_sent(const struct counters *counters)
{
	return (struct traffic){
		.ring = counters_get(counters, "net.bytes_ring"),
		.block = counters_get(counters, "net.bytes_block"),
		.verbs = counters_get(counters, "net.bytes_verbs"),
		.in_line = counters_get(counters, "net.bytes_inline"),
		.plain = counters_get(counters, "net.bytes_plain"),
	};
}

struct traffic traffic_received(const struct counters *counters)
{
	return (struct traffic){
		.ring = counters_get(counters, "net.recv_ring"),
		.block = counters_get(counters, "net.recv_block"),
		.verbs = counters_get(counters, "net.recv_verbs"),
		.in_line = counters_get(counters, "net.recv_inline"),
		.plain = counters_get(counters, "net.recv_plain"),
	};
}

uint64_t traffic_moved(const struct traffic *traffic)
{
	return traffic->ring + traffic->block + traffic->verbs;
}

uint64_t traffic_all(const struct traffic *traffic)
{
	return traffic_moved(traffic) + traffic->in_line + traffic->plain;
}

/* What every process has once is not added up. */
static void keep_largest(const struct folder *folder, const char *name, struct counters *ret)
{
	uint64_t most = 0;

	for (unsigned i = 0; i < folder->count; i++) {
		uint64_t v = counters_get(&folder->process[i], name);
		most = v > most ? v : most;
	}
	for (unsigned i = 0; i < ret->count; i++)
		if (!strcmp(ret->item[i].name, name))
			ret->item[i].value = most;
}

void folder_sum(const struct folder *folder, struct counters *ret)
{
	*ret = (struct counters){ 0 };
	if (folder->count)
		*ret = folder->process[0];
	for (unsigned i = 1; i < folder->count; i++)
		counters_add(ret, &folder->process[i]);
	keep_largest(folder, "cuda.hooks", ret);
	keep_largest(folder, "cuda.hooks_missing", ret);
	keep_largest(folder, "cuda.step_operations", ret);
	keep_largest(folder, "cuda.step_us", ret);
}

static void put_roads(FILE *out, const struct traffic *traffic)
{
	const struct {
		const char *name;
		uint64_t bytes;
	} roads[] = { { "direct copies", traffic->block }, { "rings", traffic->ring }, { "RDMA", traffic->verbs } };
	const char *before = " (";

	for (unsigned i = 0; i < 3; i++)
		if (roads[i].bytes) {
			fprintf(out, "%s%s %s", before, roads[i].name, say_bytes(roads[i].bytes));
			before = ", ";
		}
	if (*before == ',')
		putc(')', out);
}

static void put_traffic(FILE *out, const char *prefix, const char *what, const struct traffic *traffic)
{
	uint64_t all = traffic_all(traffic), kernel = traffic->in_line + traffic->plain;

	if (!all)
		return;
	fprintf(out, "%s%-11s %s of %s (%.1f%%) by dlaccel", prefix, what, say_bytes(traffic_moved(traffic)),
		say_bytes(all), 100.0 * (double)traffic_moved(traffic) / (double)all);
	put_roads(out, traffic);
	fprintf(out, "; kernel %s\n", say_bytes(kernel));
}

static void put_connections(FILE *out, const char *prefix, const struct counters *sum)
{
	uint64_t seen = counters_get(sum, "net.tracked"), back = counters_get(sum, "net.plain_again");

	if (!seen)
		return;
	fprintf(out, "%s%-11s %" PRIu64 " of %" PRIu64 " upgraded", prefix, "connections",
		counters_get(sum, "net.upgraded"), seen);
	if (back)
		fprintf(out, "; %" PRIu64 " direction%s back to plain", back, back == 1 ? "" : "s");
	putc('\n', out);
}

static void put_heap(FILE *out, const char *prefix, const struct counters *sum)
{
	if (counters_get(sum, "heap.raised"))
		fprintf(out, "%s%-11s freed memory is kept: page faults for 32 MiB received, before %" PRIu64 ", now %" PRIu64 "\n",
			prefix, "memory", counters_get(sum, "heap.faults_before"), counters_get(sum, "heap.faults_after"));
}

static void put_launches(FILE *out, const char *prefix, const struct counters *sum)
{
	uint64_t hooks = counters_get(sum, "cuda.hooks"), missing = counters_get(sum, "cuda.hooks_missing");
	uint64_t seen = counters_get(sum, "cuda.launches");

	if (!hooks && !seen)
		return;
	fprintf(out, "%s%-11s %" PRIu64 " seen, %" PRIu64 " in CUDA graphs; %" PRIu64 " submissions", prefix, "launches",
		seen, counters_get(sum, "cuda.batched"), counters_get(sum, "cuda.submissions"));
	fprintf(out, "; %" PRIu64 " calls went straight to the driver\n", counters_get(sum, "cuda.direct"));
	if (missing)
		fprintf(out, "%s%-11s %" PRIu64 " of %" PRIu64 " hooks: this driver lacks the others\n", prefix, "",
			hooks, hooks + missing);
}

static void put_steps(FILE *out, const char *prefix, const struct counters *sum)
{
	uint64_t operations = counters_get(sum, "cuda.step_operations");

	if (operations)
		fprintf(out, "%s%-11s %" PRIu64 " operations, %.1f ms; %" PRIu64 " steps since\n", prefix, "step found:",
			operations, (double)counters_get(sum, "cuda.step_us") / 1000, counters_get(sum, "cuda.steps"));
}

static int by_value(const void *a, const void *b)
{
	const struct counter *x = a, *y = b;
	return (x->value < y->value) - (x->value > y->value);
}

/* "4 x peer is in another namespace or boot: stays plain TCP", most frequent first. */
static void put_reasons(FILE *out, const char *prefix, const struct counters *sum, unsigned most)
{
	struct counter *reason = calloc(COUNTERS_MAX, sizeof(*reason));
	unsigned n = 0;

	for (unsigned i = 0; reason && i < sum->count; i++)
		if (sum->item[i].value && strstr(sum->item[i].name, ".fallback."))
			reason[n++] = sum->item[i];
	if (n)
		qsort(reason, n, sizeof(*reason), by_value);
	for (unsigned i = 0; i < n && i < most; i++) {
		const char *doc = counters_doc(reason[i].name);
		fprintf(out, "%s%-11s %" PRIu64 " x %s\n", prefix, i ? "" : "passed", reason[i].value,
			*doc ? doc : reason[i].name);
	}
	if (n > most)
		fprintf(out, "%s%-11s and %u more reasons\n", prefix, "", n - most);
	free(reason);
}

void summary_write(FILE *out, const char *prefix, const struct counters *sum, unsigned reasons)
{
	struct traffic sent = traffic_sent(sum), received = traffic_received(sum);

	put_traffic(out, prefix, "sent", &sent);
	put_traffic(out, prefix, "received", &received);
	put_connections(out, prefix, sum);
	put_heap(out, prefix, sum);
	put_launches(out, prefix, sum);
	put_steps(out, prefix, sum);
	put_reasons(out, prefix, sum, reasons);
}
