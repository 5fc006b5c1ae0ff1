#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "report.h"

/*
 * Perfetto refuses events that overlap on one track. A stream or thread is one track as long as its
 * events follow one another; what overlaps moves to a further lane of it, a track of its own.
 */
#define LANES 16
#define LANE_STEP 1000000 /* added to the track's number for each lane */
#define MAX_TRACKS 4096	  /* a damaged file may name a stream in each record */
#define STEPS_TRACK 0

struct track {
	bool device;
	uint32_t pid, tid;
	uint64_t end[LANES];
	unsigned lanes;
};

struct tracks {
	struct track *v;
	size_t count;
};

static struct track *track_of(struct tracks *ts, bool device, uint32_t pid, uint32_t tid)
{
	size_t k;

	for (k = ts->count; k--;)
		if (ts->v[k].device == device && ts->v[k].pid == pid && ts->v[k].tid == tid)
			return &ts->v[k];
	if (ts->count == MAX_TRACKS)
		return NULL;
	ts->v[ts->count] = (struct track){device, pid, tid};
	return &ts->v[ts->count++];
}

/* A free lane from start to end; -1: none left, the event cannot be drawn. */
static int take_lane(struct track *t, uint64_t start, uint64_t end)
{
	unsigned k;

	for (k = 0; k < LANES; k++) {
		if (k < t->lanes && t->end[k] > start)
			continue;
		t->end[k] = end;
		if (k == t->lanes)
			t->lanes++;
		return (int)k;
	}
	return -1;
}

static uint64_t lane_number(const struct track *t, int lane)
{
	return t->tid + (uint64_t)lane * LANE_STEP;
}

/* ---- one event ---- */

static const char *category(unsigned kind)
{
	switch (kind) {
	case RECORD_KERNEL:
		return "kernel";
	case RECORD_COPY:
		return "gpu_memcpy";
	case RECORD_SET:
		return "gpu_memset";
	case RECORD_CALL:
	case RECORD_SYNC:
		return "cuda_runtime";
	default:
		return "dlaccel";
	}
}

static bool on_device(unsigned kind)
{
	return kind == RECORD_KERNEL || kind == RECORD_COPY || kind == RECORD_SET;
}

static bool drawn(unsigned kind)
{
	return kind != RECORD_STEP && kind != RECORD_FOUND && kind != RECORD_LOST;
}

/* µs with ns behind the point; no double holds both ends of a long uptime. */
static void put_us(FILE *out, const char *field, uint64_t ns)
{
	fprintf(out, ",\"%s\":%" PRIu64 ".%03u", field, ns / 1000, (unsigned)(ns % 1000));
}

static void put_shape(const struct report_name *n, FILE *out)
{
	if (!n || !n->grid[0])
		return;
	fprintf(out,
		",\"grid\":[%" PRIu32 ",%" PRIu32 ",%" PRIu32 "],\"block\":[%" PRIu32 ",%" PRIu32
		",%" PRIu32 "],\"shared memory\":%" PRIu32,
		n->grid[0], n->grid[1], n->grid[2], n->block[0], n->block[1], n->block[2],
		n->shared);
}

static void put_site(const struct report *r, uint64_t key, FILE *out)
{
	const struct report_name *n = key ? report_find(r, key) : NULL;

	if (!n)
		return;
	fprintf(out, ",\"Call stack\":");
	report_put_json(out, n->text);
}

static void put_args(const struct report *r, const struct record *rec, FILE *out)
{
	fprintf(out, ",\"args\":{\"correlation\":%" PRIu32, rec->correlation);
	if (on_device(rec->kind))
		fprintf(out, ",\"device\":%" PRIu32 ",\"stream\":%" PRIu32, rec->device,
			rec->stream);
	if (rec->kind == RECORD_KERNEL)
		put_shape(report_find(r, rec->name), out);
	if (rec->kind == RECORD_CALL)
		put_site(r, rec->bytes, out);
	else if (rec->bytes)
		fprintf(out, ",\"bytes\":%" PRIu64, rec->bytes);
	if ((rec->kind == RECORD_SEND || rec->kind == RECORD_RECV) && rec->value)
		fprintf(out, ",\"calls\":%" PRIu32, rec->value);
	if (rec->kind == RECORD_BATCH)
		fprintf(out, ",\"operations\":%" PRIu32, rec->value);
	if (!on_device(rec->kind))
		fprintf(out, ",\"handled\":%s", rec->flags & RECORD_HANDLED ? "true" : "false");
	fputc('}', out);
}

static void put_event(
	const struct report *r, const struct record *rec, uint32_t pid, uint64_t tid, FILE *out)
{
	char buf[32];

	fprintf(out, ",\n{\"ph\":\"X\",\"cat\":\"%s\",\"name\":", category(rec->kind));
	report_put_json(
		out, rec->name ? report_name_text(r, rec->name, buf) : report_kind_text(rec->kind));
	fprintf(out, ",\"pid\":%" PRIu32 ",\"tid\":%" PRIu64, pid, tid);
	put_us(out, "ts", rec->start);
	put_us(out, "dur", rec->dur);
	put_args(r, rec, out);
	fputc('}', out);
}

/* The arrow from a call to what it started. */
static void put_flow(const struct record *rec, uint32_t pid, uint64_t tid, FILE *out)
{
	bool end = on_device(rec->kind);

	if (!rec->correlation || (!end && rec->kind != RECORD_CALL))
		return;
	fprintf(out,
		",\n{\"ph\":\"%s\",\"cat\":\"ac2g\",\"name\":\"ac2g\",\"id\":%" PRIu32
		",\"pid\":%" PRIu32 ",\"tid\":%" PRIu64,
		end ? "f" : "s", rec->correlation, pid, tid);
	put_us(out, "ts", rec->start);
	fprintf(out, "%s}", end ? ",\"bp\":\"e\"" : "");
}

/* ---- the whole ---- */

static uint64_t put_records(const struct report *r, struct tracks *ts, FILE *out)
{
	uint64_t left_out = 0;
	const struct record *rec;
	struct track *t;
	uint32_t pid;
	size_t k;
	int lane;

	for (k = 0; k < r->count; k++) {
		rec = &r->records[k];
		if (!drawn(rec->kind))
			continue;
		pid = on_device(rec->kind) ? rec->device : r->head.pid;
		t = track_of(ts, on_device(rec->kind), pid,
			on_device(rec->kind) ? rec->stream : rec->thread);
		lane = t ? take_lane(t, rec->start, rec->start + rec->dur) : -1;
		if (lane < 0) {
			left_out++;
			continue;
		}
		put_event(r, rec, pid, lane_number(t, lane), out);
		put_flow(rec, pid, lane_number(t, lane), out);
	}
	return left_out;
}

static void put_steps(const struct report *r, const struct report_figures *f, FILE *out)
{
	size_t k;

	for (k = 0; k < f->step_count; k++) {
		fprintf(out,
			",\n{\"ph\":\"X\",\"cat\":\"user_annotation\",\"name\":\"ProfilerStep#%"
			"zu\",\"pid\":%" PRIu32 ",\"tid\":%d",
			k, r->head.pid, STEPS_TRACK);
		put_us(out, "ts", f->steps[k].start);
		put_us(out, "dur", f->steps[k].dur);
		fprintf(out, ",\"args\":{\"operations\":%" PRIu32 ",\"whole\":%s}}",
			f->steps[k].tokens, f->steps[k].flags & RECORD_PARTIAL ? "false" : "true");
	}
}

static void put_track_name(const struct track *t, FILE *out)
{
	unsigned lane;

	for (lane = 0; lane < t->lanes; lane++) {
		fprintf(out,
			",\n{\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":%" PRIu32
			",\"tid\":%" PRIu64 ",\"args\":{\"name\":\"%s %" PRIu32,
			t->pid, lane_number(t, (int)lane), t->device ? "stream" : "thread", t->tid);
		fprintf(out, lane ? " (%u)\"}}" : "\"}}", lane + 1);
	}
}

static void put_process(uint32_t pid, const char *name, const char *label, FILE *out)
{
	fprintf(out,
		"{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":%" PRIu32 ",\"args\":{\"name\":",
		pid);
	report_put_json(out, name);
	fprintf(out,
		"}},\n{\"ph\":\"M\",\"name\":\"process_labels\",\"pid\":%" PRIu32
		",\"args\":{\"labels\":\"%s\"}}",
		pid, label);
}

static void put_names(const struct report *r, const struct tracks *ts, FILE *out)
{
	size_t k, j;

	for (k = 0; k < ts->count; k++) {
		put_track_name(&ts->v[k], out);
		for (j = 0; j < k; j++)
			if (ts->v[j].device && ts->v[j].pid == ts->v[k].pid)
				break;
		if (!ts->v[k].device || j < k)
			continue;
		fprintf(out, ",\n");
		put_process(ts->v[k].pid, r->head.program, "GPU", out);
	}
	fprintf(out,
		",\n{\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":%" PRIu32
		",\"tid\":%d,\"args\":{\"name\":\"steps\"}}",
		r->head.pid, STEPS_TRACK);
}

static void put_all(
	const struct report *r, const struct report_figures *f, struct tracks *ts, FILE *out)
{
	uint64_t left_out;

	fprintf(out, "{\"schemaVersion\":1,\"deviceProperties\":[],\"displayTimeUnit\":\"ms\",\n");
	fprintf(out, "\"traceEvents\":[\n");
	put_process(r->head.pid, r->head.program, "CPU", out);
	left_out = put_records(r, ts, out);
	put_steps(r, f, out);
	put_names(r, ts, out);
	fprintf(out,
		"\n],\"traceName\":\"dlaccel\",\"dlaccel\":{\"torn\":%" PRIu64
		",\"overwritten\":%" PRIu64 ",\"not_drawn\":%" PRIu64 "}}\n",
		r->torn, r->overwritten, left_out);
}

int report_chrome(const struct report *r, FILE *out)
{
	struct tracks ts = {.v = malloc(sizeof(*ts.v) * MAX_TRACKS)};
	struct report_figures f;
	int err;

	if (!ts.v)
		return -ENOMEM;
	err = report_figures(r, &f);
	if (err)
		goto free_tracks;
	put_all(r, &f, &ts, out);
	report_figures_free(&f);
	err = fflush(out) || ferror(out) ? -EIO : 0;
free_tracks:
	free(ts.v);
	return err;
}
