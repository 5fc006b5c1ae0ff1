#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "report.h"

/* One page that needs nothing else: no script, no font, no network. */

#define WIDTH 960
#define BAR_ROOM 200 /* most steps drawn; more are thinned out */
#define TOP 15
#define LINE 20
#define TIMELINE_EVENTS 4000

void report_put_html(FILE *out, const char *text)
{
	for (; *text; text++) {
		switch (*text) {
		case '<':
			fputs("&lt;", out);
			break;
		case '>':
			fputs("&gt;", out);
			break;
		case '&':
			fputs("&amp;", out);
			break;
		case '"':
			fputs("&quot;", out);
			break;
		case '\'':
			fputs("&#39;", out);
			break;
		default:
			fputc(*text, out);
		}
	}
}

static double ms(uint64_t ns)
{
	return (double)ns / 1e6;
}

static void put_top(const struct report *r, FILE *out)
{
	fprintf(out, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta "
		     "charset=\"utf-8\">\n<title>dlaccel: ");
	report_put_html(out, r->head.program);
	fprintf(out, " %" PRIu32 "</title>\n", r->head.pid);
	fprintf(out,
		"<style>body{font:14px sans-serif;max-width:%dpx;margin:2em auto;color:#222}"
		"table{border-collapse:collapse}td,th{padding:2px 10px;text-align:right;"
		"border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}"
		"svg{background:#fafafa;border:1px solid #ddd}text{font:11px sans-serif}"
		".on{fill:#36c}.off{fill:#c63}.part{fill:#bbb}.k{fill:#393}.c{fill:#963}"
		".warn{color:#a00}</style></head><body>\n<h1>",
		WIDTH);
	report_put_html(out, *r->head.program ? r->head.program : "a program");
	fprintf(out, "</h1>\n<p>pid %" PRIu32 " on ", r->head.pid);
	report_put_html(out, r->head.host);
	fprintf(out, ", dlaccel ");
	report_put_html(out, r->head.library);
	fprintf(out, "</p>\n");
	if (r->head.finished != 1)
		fprintf(out, "<p class=\"warn\">The program ended without closing the file.</p>\n");
	if (r->torn || r->overwritten)
		fprintf(out,
			"<p class=\"warn\">Not shown: %" PRIu64
			" older records overwritten, %" PRIu64 " unfinished or damaged.</p>\n",
			r->overwritten, r->torn);
}

/* ---- steps ---- */

static uint64_t longest_step(const struct report_figures *f, size_t from)
{
	uint64_t most = 1;
	size_t k;

	for (k = from; k < f->step_count; k++)
		most = f->steps[k].dur > most ? f->steps[k].dur : most;
	return most;
}

static void put_step_bar(const struct report_step *s, size_t number, double x, double width,
	uint64_t longest, FILE *out)
{
	double height = 150.0 * (double)s->dur / (double)longest;

	fprintf(out,
		"<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" "
		"height=\"%.1f\"><title>step %zu: "
		"%.3f ms, %" PRIu32 " operations</title></rect>\n",
		s->flags & RECORD_PARTIAL ? "part"
		: s->flags & RECORD_OFF	  ? "off"
					  : "on",
		x, 160 - height, width * 0.9, height, number, ms(s->dur), s->tokens);
}

static void put_steps(const struct report_figures *f, FILE *out)
{
	size_t n = f->step_count < BAR_ROOM ? f->step_count : BAR_ROOM, k, from = f->step_count - n;
	double width = n ? (double)WIDTH / (double)n : 0;
	uint64_t longest = longest_step(f, from);

	fprintf(out, "<h2>Steps</h2>\n");
	if (!n) {
		fprintf(out, "<p>None found.</p>\n");
		return;
	}
	fprintf(out, "<p>%zu steps", f->step_count);
	if (f->period)
		fprintf(out, " of %" PRIu32 " operations (%" PRIu32 " anchors)", f->period,
			f->support);
	fprintf(out, "%s; median %.3f ms, p10 %.3f, p90 %.3f (n=%" PRIu64 ")",
		f->steps_derived ? ", found in the recorded calls" : "", ms(f->median), ms(f->p10),
		ms(f->p90), f->on_count);
	if (f->off_count)
		fprintf(out, "; off: %.3f ms (n=%" PRIu64 ")", ms(f->off_median), f->off_count);
	fprintf(out, "%s</p>\n", from ? "; the last ones are drawn" : "");
	fprintf(out,
		"<svg width=\"%d\" height=\"170\" role=\"img\" aria-label=\"time of each step\">\n",
		WIDTH);
	for (k = 0; k < n; k++)
		put_step_bar(&f->steps[from + k], from + k, (double)k * width, width, longest, out);
	fprintf(out, "<text x=\"4\" y=\"12\">%.3f ms</text></svg>\n", ms(longest));
}

/* ---- sums ---- */

static void put_kernels(const struct report *r, const struct report_figures *f, FILE *out)
{
	size_t n = f->kernel_count < TOP ? f->kernel_count : TOP, k;
	uint64_t most = n && f->kernels[0].total ? f->kernels[0].total : 1;
	char buf[32];

	if (!n)
		return;
	fprintf(out,
		"<h2>Kernels</h2>\n<svg width=\"%d\" height=\"%zu\" role=\"img\" "
		"aria-label=\"kernels by their sum\">\n",
		WIDTH, n * LINE + 4);
	for (k = 0; k < n; k++) {
		fprintf(out, "<rect class=\"k\" x=\"0\" y=\"%zu\" width=\"%.1f\" height=\"%d\"/>",
			k * LINE + 2, 400.0 * (double)f->kernels[k].total / (double)most, LINE - 4);
		fprintf(out, "<text x=\"406\" y=\"%zu\">%.3f ms, %" PRIu64 " x ", k * LINE + 14,
			ms(f->kernels[k].total), f->kernels[k].count);
		report_put_html(out, report_name_text(r, f->kernels[k].key, buf));
		fprintf(out, "</text>\n");
	}
	fprintf(out, "</svg>\n");
}

static void put_row(FILE *out, const char *what, uint64_t value)
{
	fprintf(out, "<tr><td>%s</td><td>%" PRIu64 "</td></tr>\n", what, value);
}

static void put_totals(const struct report *r, const struct report_figures *f, FILE *out)
{
	char buf[32];
	size_t k;

	fprintf(out, "<h2>Totals</h2>\n<table>\n");
	put_row(out, "calls seen", f->calls);
	put_row(out, "calls handled", f->calls_handled);
	put_row(out, "calls passed through", f->calls - f->calls_handled);
	put_row(out, "batches submitted", f->batches);
	put_row(out, "operations in them", f->batched);
	put_row(out, "waits for the device", f->syncs);
	put_row(out, "time in them, ns", f->sync_ns);
	put_row(out, "bytes of upgraded connections by shared memory", f->bytes[1]);
	put_row(out, "bytes of upgraded connections by RDMA", f->bytes[2]);
	put_row(out, "bytes of upgraded connections by the kernel", f->bytes[0]);
	fprintf(out, "</table>\n");
	if (f->fallback_count)
		fprintf(out, "<h2>Fallbacks</h2>\n<table>\n");
	for (k = 0; k < f->fallback_count; k++) {
		fprintf(out, "<tr><td>");
		report_put_html(out, report_name_text(r, f->fallbacks[k].key, buf));
		fprintf(out, "</td><td>%" PRIu64 "</td></tr>\n", f->fallbacks[k].count);
	}
	if (f->fallback_count)
		fprintf(out, "</table>\n");
}

/* ---- the time line of one step ---- */

struct window {
	uint64_t from, to;
	uint32_t streams[12]; /* one row each */
	unsigned rows;
};

static bool on_device(const struct record *rec)
{
	return rec->kind == RECORD_KERNEL || rec->kind == RECORD_COPY || rec->kind == RECORD_SET;
}

/* The whole step that is the nearest to the median; all of it where there are no steps. */
static struct window typical_step(const struct report_figures *f)
{
	struct window w = {f->first, f->last};
	uint64_t d, best = UINT64_MAX;
	size_t k;

	for (k = 0; k < f->step_count; k++) {
		const struct report_step *s = &f->steps[k];

		d = s->dur > f->median ? s->dur - f->median : f->median - s->dur;
		if (s->flags & RECORD_PARTIAL || d >= best)
			continue;
		best = d;
		w.from = s->start;
		w.to = s->start + s->dur;
	}
	return w;
}

static int row_of(struct window *w, uint32_t stream)
{
	unsigned k;

	for (k = 0; k < w->rows; k++)
		if (w->streams[k] == stream)
			return (int)k;
	if (w->rows == sizeof(w->streams) / sizeof(*w->streams))
		return -1;
	w->streams[w->rows] = stream;
	return (int)w->rows++;
}

static void put_timeline_event(const struct report *r, const struct record *rec,
	const struct window *w, int row, FILE *out)
{
	double scale = (double)WIDTH / (double)(w->to - w->from);
	uint64_t from = rec->start < w->from ? w->from : rec->start, to = rec->start + rec->dur;
	char buf[32];

	to = to > w->to ? w->to : to;
	fprintf(out, "<rect class=\"%s\" x=\"%.2f\" y=\"%d\" width=\"%.2f\" height=\"%d\"><title>",
		rec->kind == RECORD_KERNEL ? "k" : "c", (double)(from - w->from) * scale,
		row * LINE + 2, (double)(to - from) * scale, LINE - 4);
	report_put_html(
		out, rec->name ? report_name_text(r, rec->name, buf) : report_kind_text(rec->kind));
	fprintf(out, ", %.3f ms</title></rect>\n", ms(rec->dur));
}

static void put_timeline(const struct report *r, const struct report_figures *f, FILE *out)
{
	struct window w = typical_step(f);
	const struct record *rec;
	size_t k, shown = 0;
	int row;

	if (w.to <= w.from || !f->device_busy)
		return;
	fprintf(out, "<h2>%s on the device</h2>\n<p>%.3f ms; a row for each stream</p>\n",
		f->step_count ? "A typical step" : "The run", ms(w.to - w.from));
	fprintf(out,
		"<svg width=\"%d\" height=\"%d\" role=\"img\" aria-label=\"streams over time\">\n",
		WIDTH, LINE * (int)(sizeof(w.streams) / sizeof(*w.streams)) + 4);
	for (k = 0; k < r->count && shown < TIMELINE_EVENTS; k++) {
		rec = &r->records[k];
		if (!on_device(rec) || rec->start >= w.to || rec->start + rec->dur <= w.from)
			continue;
		row = row_of(&w, rec->stream);
		if (row < 0)
			continue;
		put_timeline_event(r, rec, &w, row, out);
		shown++;
	}
	fprintf(out, "</svg>\n");
}

int report_html(const struct report *r, FILE *out)
{
	struct report_figures f;
	int err = report_figures(r, &f);

	if (err)
		return err;
	put_top(r, out);
	put_steps(&f, out);
	put_timeline(r, &f, out);
	put_kernels(r, &f, out);
	put_totals(r, &f, out);
	fprintf(out, "</body></html>\n");
	report_figures_free(&f);
	return fflush(out) || ferror(out) ? -EIO : 0;
}
