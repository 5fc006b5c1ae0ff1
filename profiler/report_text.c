#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "report.h"

#define TOP 10

static const char *size_text(uint64_t bytes, char buf[32])
{
	static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
	double v = (double)bytes;
	unsigned u = 0;

	for (; v >= 1000 && u + 1 < sizeof(units) / sizeof(*units); u++)
		v /= 1000;
	snprintf(buf, 32, u ? "%.1f %s" : "%.0f %s", v, units[u]);
	return buf;
}

static double ms(uint64_t ns)
{
	return (double)ns / 1e6;
}

static void put_head(const struct report *r, const struct report_figures *f, FILE *out)
{
	time_t at = (time_t)(r->head.start_realtime_ns / 1000000000);
	char when[32] = "?";
	struct tm tm;

	if (gmtime_r(&at, &tm))
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S UTC", &tm);
	fprintf(out, "%s, pid %" PRIu32 " on %s, dlaccel %s, %s, %.3f s recorded%s\n",
		*r->head.program ? r->head.program : "?", r->head.pid, r->head.host,
		r->head.library, when, (double)(f->last - f->first) / 1e9,
		r->head.finished == 1 ? "" : ", ended without closing the file");
	if (r->overwritten || r->torn || r->bad_names || r->head.names_dropped)
		fprintf(out,
			"  not shown: %" PRIu64 " older records overwritten, %" PRIu64
			" unfinished or damaged, %" PRIu64 " names\n",
			r->overwritten, r->torn, r->bad_names + r->head.names_dropped);
}

static void put_steps(const struct report_figures *f, FILE *out)
{
	if (!f->step_count) {
		fprintf(out, "steps     none found\n");
		return;
	}
	fprintf(out, "steps     %zu", f->step_count);
	if (f->period)
		fprintf(out, " of %" PRIu32 " operations (%" PRIu32 " anchors)", f->period,
			f->support);
	fprintf(out, "%s\n",
		f->steps_derived ? ", found by this report in the recorded calls" : "");
	if (f->on_count)
		fprintf(out, "  median  %.3f ms (p10 %.3f, p90 %.3f, n=%" PRIu64 ")\n",
			ms(f->median), ms(f->p10), ms(f->p90), f->on_count);
	if (f->off_count)
		fprintf(out, "  off     %.3f ms median (n=%" PRIu64 ")", ms(f->off_median),
			f->off_count);
	if (f->off_count && f->on_count && f->off_median)
		fprintf(out, ", on/off %+.1f%%",
			100.0 * ((double)f->median / (double)f->off_median - 1));
	if (f->off_count)
		fputc('\n', out);
}

static void put_totals(const struct report_figures *f, FILE *out)
{
	uint64_t bytes = f->bytes[0] + f->bytes[1] + f->bytes[2];
	char a[32], b[32], c[32];

	if (f->calls)
		fprintf(out,
			"calls     %" PRIu64 " of %" PRIu64 " handled, %" PRIu64
			" passed through\n",
			f->calls_handled, f->calls, f->calls - f->calls_handled);
	if (f->batches)
		fprintf(out, "batches   %" PRIu64 " with %" PRIu64 " operations\n", f->batches,
			f->batched);
	if (f->syncs)
		fprintf(out, "waits     %" PRIu64 ", %.3f ms\n", f->syncs, ms(f->sync_ns));
	if (f->device_busy && f->last > f->first)
		fprintf(out,
			"device    %.3f ms of kernels and copies (%.0f%% of the time, streams "
			"added)\n",
			ms(f->device_busy),
			100.0 * (double)f->device_busy / (double)(f->last - f->first));
	if (bytes)
		fprintf(out, "upgraded  %s by shared memory, %s by RDMA, %s by the kernel\n",
			size_text(f->bytes[1], a), size_text(f->bytes[2], b),
			size_text(f->bytes[0], c));
}

static void put_kernels(const struct report *r, const struct report_figures *f, FILE *out)
{
	char buf[32];
	size_t k;

	if (f->kernel_count)
		fprintf(out, "kernels   %zu kinds; the longest by their sum:\n", f->kernel_count);
	for (k = 0; k < f->kernel_count && k < TOP; k++)
		fprintf(out, "  %10.3f ms %8" PRIu64 " x  %.100s\n", ms(f->kernels[k].total),
			f->kernels[k].count, report_name_text(r, f->kernels[k].key, buf));
	if (f->fallback_count)
		fprintf(out, "fallbacks\n");
	for (k = 0; k < f->fallback_count; k++)
		fprintf(out, "  %8" PRIu64 " x  %.100s\n", f->fallbacks[k].count,
			report_name_text(r, f->fallbacks[k].key, buf));
}

int report_text(const struct report *r, FILE *out)
{
	struct report_figures f;
	int err = report_figures(r, &f);

	if (err)
		return err;
	put_head(r, &f, out);
	put_steps(&f, out);
	put_totals(&f, out);
	put_kernels(r, &f, out);
	report_figures_free(&f);
	return fflush(out) || ferror(out) ? -EIO : 0;
}
