#include <errno.h>
#include <inttypes.h>

#include "report.h"

void report_put_json(FILE *out, const char *text)
{
	fputc('"', out);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			fputc('\\', out);
		fputc(*text, out);
	}
	fputc('"', out);
}

static void put_head(const struct report *r, const struct report_figures *f, FILE *out)
{
	fprintf(out, "{\"format\":\"dlaccel-report\",\"version\":1,\"program\":");
	report_put_json(out, r->head.program);
	fprintf(out, ",\"pid\":%" PRIu32 ",\"host\":", r->head.pid);
	report_put_json(out, r->head.host);
	fprintf(out, ",\"library\":");
	report_put_json(out, r->head.library);
	fprintf(out,
		",\"start_realtime_ns\":%" PRIu64 ",\"finished\":%s,\"first_ns\":%" PRIu64
		",\"last_ns\":%" PRIu64 ",\"records\":%zu,\"overwritten\":%" PRIu64
		",\"torn\":%" PRIu64 ",\"bad_names\":%" PRIu64 ",\"names_dropped\":%" PRIu64,
		r->head.start_realtime_ns, r->head.finished == 1 ? "true" : "false", f->first,
		f->last, r->count, r->overwritten, r->torn, r->bad_names, r->head.names_dropped);
}

static void put_steps(const struct report_figures *f, FILE *out)
{
	const struct report_step *s;
	size_t k;

	fprintf(out,
		",\"steps\":{\"count\":%zu,\"derived\":%s,\"operations\":%" PRIu32
		",\"anchors\":%" PRIu32 ",\"on\":{\"count\":%" PRIu64 ",\"median_ns\":%" PRIu64
		",\"p10_ns\":%" PRIu64 ",\"p90_ns\":%" PRIu64 "},\"off\":{\"count\":%" PRIu64
		",\"median_ns\":%" PRIu64 "},\"list\":[",
		f->step_count, f->steps_derived ? "true" : "false", f->period, f->support,
		f->on_count, f->median, f->p10, f->p90, f->off_count, f->off_median);
	for (k = 0; k < f->step_count; k++) {
		s = &f->steps[k];
		fprintf(out,
			"%s{\"start_ns\":%" PRIu64 ",\"dur_ns\":%" PRIu64 ",\"operations\":%" PRIu32
			",\"whole\":%s,\"off\":%s}",
			k ? "," : "", s->start, s->dur, s->tokens,
			s->flags & RECORD_PARTIAL ? "false" : "true",
			s->flags & RECORD_OFF ? "true" : "false");
	}
	fprintf(out, "]}");
}

static void put_sums(const struct report *r, const char *title, const struct report_kernel *v,
	size_t n, FILE *out)
{
	char buf[32];
	size_t k;

	fprintf(out, ",\"%s\":[", title);
	for (k = 0; k < n; k++) {
		fprintf(out, "%s{\"name\":", k ? "," : "");
		report_put_json(out, report_name_text(r, v[k].key, buf));
		fprintf(out, ",\"count\":%" PRIu64 ",\"total_ns\":%" PRIu64 "}", v[k].count,
			v[k].total);
	}
	fprintf(out, "]");
}

static void put_totals(const struct report_figures *f, FILE *out)
{
	fprintf(out,
		",\"calls\":{\"seen\":%" PRIu64 ",\"handled\":%" PRIu64
		"},\"batches\":{\"count\":%" PRIu64 ",\"operations\":%" PRIu64
		"},\"waits\":{\"count\":%" PRIu64 ",\"total_ns\":%" PRIu64
		"},\"device_busy_ns\":%" PRIu64 ",\"socket_bytes\":{\"kernel\":%" PRIu64
		",\"shm\":%" PRIu64 ",\"verbs\":%" PRIu64 "}",
		f->calls, f->calls_handled, f->batches, f->batched, f->syncs, f->sync_ns,
		f->device_busy, f->bytes[0], f->bytes[1], f->bytes[2]);
}

int report_json(const struct report *r, FILE *out)
{
	struct report_figures f;
	int err = report_figures(r, &f);

	if (err)
		return err;
	put_head(r, &f, out);
	put_steps(&f, out);
	put_totals(&f, out);
	put_sums(r, "kernels", f.kernels, f.kernel_count, out);
	put_sums(r, "fallbacks", f.fallbacks, f.fallback_count, out);
	fprintf(out, "}\n");
	report_figures_free(&f);
	return fflush(out) || ferror(out) ? -EIO : 0;
}
