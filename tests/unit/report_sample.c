/*
 * Records a made-up run over a real launch sequence, then reports it in every form.
 * report_sample <trace> <folder> <recorded|derived>: writes rec, text, json, chrome, html and
 * `want`, the figures that the reports must show, into the folder. report_check.py compares.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "iteration_stream.h"
#include "recorder.h"
#include "report.h"

#define STEPS 14
#define STREAMS 3
#define KINDS 40

struct sample {
	struct recorder rec;
	uint64_t stream_end[STREAMS];
	uint64_t kernel_ns, kernels, handled;
};

static const char *kernel_text(uint32_t kind, char *buf, size_t size)
{
	static const char *const odd[] = {"void at::native::vectorized<4, float>(int, \"x\")",
		"<script>alert(1)</script>", "a & b's \\ kernel", "z\xc3\xa4hler_\xe6\xa0\xb8"};

	if (kind < sizeof(odd) / sizeof(*odd))
		return odd[kind];
	snprintf(buf, size, "kernel_%u", kind);
	return buf;
}

static struct recorder_shape shape_of(uint32_t kind)
{
	return (struct recorder_shape){{kind + 1, 2, 1}, {128, 1, 1}, kind * 16};
}

static uint64_t name_of(uint32_t kind)
{
	struct recorder_shape shape = shape_of(kind);
	char buf[32];

	return recorder_key(kernel_text(kind, buf, sizeof(buf)), &shape);
}

static void write_names(struct recorder *r)
{
	struct recorder_shape shape;
	char buf[32];

	for (uint32_t kind = 0; kind < KINDS; kind++) {
		shape = shape_of(kind);
		recorder_name(r, name_of(kind), kernel_text(kind, buf, sizeof(buf)), &shape);
	}
	recorder_name(r, recorder_key("cuLaunchKernel", NULL), "cuLaunchKernel", NULL);
	recorder_name(r, recorder_key("cooperative", NULL), "cooperative", NULL);
}

/* Some kernels begin before the one before them on their stream has ended. */
static void add_kernel(struct sample *s, const struct stream_token *t, uint32_t i)
{
	uint32_t stream = t->token % STREAMS, kind = t->token % KINDS;
	uint64_t earliest = t->ns + 4000, dur = 1500 + t->token % 4000;
	struct record k = {.kind = RECORD_KERNEL,
		.name = name_of(kind),
		.stream = stream + 7,
		.correlation = i + 1,
		.device = 0,
		.dur = dur};

	k.start = s->stream_end[stream] > earliest ? s->stream_end[stream] : earliest;
	if (i % 100 == 99)
		k.start -= 500;
	s->stream_end[stream] = k.start + dur;
	s->kernel_ns += dur;
	s->kernels++;
	recorder_add(&s->rec, &k);
}

static void add_operation(struct sample *s, const struct stream_token *t, uint32_t i)
{
	struct record call = {.kind = RECORD_CALL,
		.name = recorder_key("cuLaunchKernel", NULL),
		.start = t->ns,
		.dur = 800,
		.thread = 100 + (i & 1),
		.correlation = i + 1,
		.value = t->token,
		.flags = i % 10 ? RECORD_HANDLED : 0};

	s->handled += i % 10 != 0;
	recorder_add(&s->rec, &call);
	add_kernel(s, t, i);
}

static void add_rest(struct sample *s, uint64_t at)
{
	struct record sync = {.kind = RECORD_SYNC, .start = at, .dur = 12345, .thread = 100};
	struct record send = {.kind = RECORD_SEND,
		.start = at,
		.dur = 10,
		.thread = 101,
		.stream = 5,
		.bytes = 1000000,
		.flags = RECORD_HANDLED | RECORD_SHM};
	struct record recv = {.kind = RECORD_RECV,
		.start = at + 20,
		.dur = 10,
		.thread = 101,
		.bytes = 2000,
		.flags = RECORD_HANDLED | RECORD_VERBS};
	struct record plain = {
		.kind = RECORD_SEND, .start = at + 40, .dur = 10, .thread = 101, .bytes = 30};
	struct record fall = {.kind = RECORD_FALLBACK,
		.start = at,
		.name = recorder_key("cooperative", NULL),
		.thread = 100};
	struct record batch = {.kind = RECORD_BATCH,
		.start = at,
		.dur = 99,
		.thread = 102,
		.value = 512,
		.flags = RECORD_HANDLED | RECORD_GRAPH};

	recorder_add(&s->rec, &sync);
	recorder_add(&s->rec, &send);
	recorder_add(&s->rec, &recv);
	recorder_add(&s->rec, &plain);
	recorder_add(&s->rec, &fall);
	recorder_add(&s->rec, &batch);
}

static uint64_t add_step(struct sample *s, uint32_t from, uint32_t to, const struct stream *st)
{
	uint64_t end = to < st->count ? st->t[to].ns : st->t[st->count - 1].ns;
	struct record step = {.kind = RECORD_STEP,
		.start = st->t[from].ns,
		.dur = end - st->t[from].ns,
		.value = to - from,
		.thread = 100,
		.flags = st->t[from].step % 2 ? RECORD_OFF : 0};

	recorder_add(&s->rec, &step);
	return step.dur;
}

static int write_report(const char *folder, const char *name, const struct report *r,
	int (*put)(const struct report *, FILE *))
{
	char path[512];
	FILE *out;
	int err;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	out = fopen(path, "w");
	if (!out)
		return 1;
	err = put(r, out);
	return fclose(out) || err;
}

static int report_all(const char *path, const char *folder)
{
	struct report r;
	int err = report_load(path, &r);

	if (err)
		return 1;
	err = write_report(folder, "text", &r, report_text) ||
	      write_report(folder, "json", &r, report_json) ||
	      write_report(folder, "chrome", &r, report_chrome) ||
	      write_report(folder, "html", &r, report_html);
	report_free(&r);
	return err;
}

static void record_run(struct sample *s, const struct stream *st, int recorded)
{
	uint32_t i, from = 0;

	write_names(&s->rec);
	for (i = 0; i < st->count; i++) {
		add_operation(s, &st->t[i], i);
		if (i + 1 < st->count && st->t[i + 1].step == st->t[i].step)
			continue;
		if (recorded)
			add_step(s, from, i + 1, st);
		add_rest(s, st->t[i].ns + 1000);
		from = i + 1;
	}
}

static int write_want(
	const struct sample *s, const struct trace *tr, const struct stream *st, const char *folder)
{
	char path[512];
	FILE *out;

	snprintf(path, sizeof(path), "%s/want", folder);
	out = fopen(path, "w");
	if (!out)
		return 1;
	fprintf(out, "operations %u\nsteps %d\ncalls %u\nhandled %lu\nkernels %lu\nkernel_ns %lu\n",
		tr->step[0].count, st->steps, st->count, (unsigned long)s->handled,
		(unsigned long)s->kernels, (unsigned long)s->kernel_ns);
	return fclose(out);
}

int main(int argc, char **argv)
{
	struct recorder_config cfg = {.max_bytes = 32 << 20, .program = "train <&> \"one\".py"};
	struct sample s = {0};
	struct stream *st = stream_new();
	struct trace *tr;
	char path[512];
	int err;

	if (argc != 4)
		return 2;
	snprintf(path, sizeof(path), "%s/rec", argv[2]);
	cfg.path = path;
	tr = trace_load(argv[1]);
	st->now = recorder_now();
	stream_steps(st, tr, STEPS);
	if (recorder_open(&s.rec, &cfg))
		return 1;
	record_run(&s, st, !strcmp(argv[3], "recorded"));
	recorder_close(&s.rec);
	err = report_all(path, argv[2]) || write_want(&s, tr, st, argv[2]);
	stream_free(st);
	trace_free(tr);
	return err;
}
