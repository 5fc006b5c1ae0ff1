#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "iteration.h"
#include "report.h"

/* ---- steps ---- */

static int add_step(struct report_figures *f, struct report_step step)
{
	struct report_step *more = f->steps;

	if (!(f->step_count & (f->step_count - 1)))
		more = realloc(more, sizeof(*more) * (f->step_count ? 2 * f->step_count : 1));
	if (!more)
		return -ENOMEM;
	f->steps = more;
	more[f->step_count++] = step;
	return 0;
}

static int recorded_steps(const struct report *r, struct report_figures *f)
{
	const struct record *rec;
	size_t k;
	int err;

	for (k = 0; k < r->count; k++) {
		rec = &r->records[k];
		if (rec->kind == RECORD_FOUND) {
			f->period = rec->value;
			f->support = rec->bytes < UINT32_MAX ? (uint32_t)rec->bytes : UINT32_MAX;
		}
		if (rec->kind != RECORD_STEP)
			continue;
		err = add_step(
			f, (struct report_step){rec->start, rec->dur, rec->value, rec->flags});
		if (err)
			return err;
	}
	return 0;
}

/* Begin of the step that is open while the calls are fed. */
struct open_step {
	uint64_t start, token;
	bool is;
};

static int close_step(
	struct report_figures *f, struct open_step *o, uint64_t start, uint64_t token, bool whole)
{
	struct report_step step = {o->start, start - o->start, (uint32_t)(token - o->token),
		whole ? 0 : RECORD_PARTIAL};
	int err = o->is ? add_step(f, step) : 0;

	*o = (struct open_step){start, token, true};
	return err;
}

static int feed_calls(
	const struct report *r, struct iteration *it, struct report_figures *f, uint64_t *starts)
{
	struct iteration_stat stat;
	struct open_step open = {0};
	uint64_t token = 0;
	unsigned events;
	size_t k;
	int err;

	for (k = 0; k < r->count; k++) {
		if (r->records[k].kind != RECORD_CALL)
			continue;
		starts[token++] = r->records[k].start;
		events = iteration_feed(it, r->records[k].value, r->records[k].start);
		iteration_stat(it, &stat);
		if (events & ITERATION_LOST)
			open.is = false;
		if (!(events & ITERATION_BOUNDARY) || stat.state != ITERATION_KNOWN)
			continue;
		err = close_step(
			f, &open, starts[stat.start], stat.start, events & ITERATION_WHOLE);
		if (err)
			return err;
		f->period = stat.period;
		f->support = stat.support;
	}
	return 0;
}

/* A file without steps (killed early, or recorded without the finder): found here in its calls. */
static int derived_steps(const struct report *r, struct report_figures *f)
{
	struct iteration_config cfg = ITERATION_CONFIG_DEFAULT;
	size_t size = iteration_size(&cfg);
	void *mem = malloc(size);
	uint64_t *starts = malloc(sizeof(*starts) * (r->count + 1));
	struct iteration *it;
	int err = -ENOMEM;

	if (mem && starts)
		err = iteration_init(mem, size, &cfg, &it);
	if (!err)
		err = feed_calls(r, it, f, starts);
	f->steps_derived = f->step_count > 0;
	free(starts);
	free(mem);
	return err;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Durations of the whole steps, with dlaccel's changes on or off, sorted. */
static size_t whole_steps(const struct report_figures *f, bool off, uint64_t *ret_durs)
{
	size_t k, n = 0;

	for (k = 0; k < f->step_count; k++)
		if (!(f->steps[k].flags & RECORD_PARTIAL) &&
			!(f->steps[k].flags & RECORD_OFF) == !off)
			ret_durs[n++] = f->steps[k].dur;
	if (n)
		qsort(ret_durs, n, sizeof(*ret_durs), by_value);
	return n;
}

static int step_figures(struct report_figures *f)
{
	uint64_t *durs = malloc(sizeof(*durs) * (f->step_count + 1));
	size_t n;

	if (!durs)
		return -ENOMEM;
	n = whole_steps(f, true, durs);
	f->off_count = n;
	f->off_median = n ? durs[n / 2] : 0;
	n = whole_steps(f, false, durs);
	f->on_count = n;
	f->median = n ? durs[n / 2] : 0;
	f->p10 = n ? durs[n / 10] : 0;
	f->p90 = n ? durs[n - 1 - n / 10] : 0;
	free(durs);
	return 0;
}

/* ---- sums by name ---- */

static int by_kernel_key(const void *a, const void *b)
{
	const struct report_kernel *x = a, *y = b;

	return x->key < y->key ? -1 : x->key > y->key;
}

static int by_total(const void *a, const void *b)
{
	const struct report_kernel *x = a, *y = b;

	if (x->total != y->total)
		return x->total < y->total ? 1 : -1;
	if (x->count != y->count)
		return x->count < y->count ? 1 : -1;
	return by_kernel_key(a, b);
}

static size_t merge(struct report_kernel *v, size_t n)
{
	size_t k, out = 0;

	if (n)
		qsort(v, n, sizeof(*v), by_kernel_key);
	for (k = 1; k < n; k++) {
		if (v[k].key == v[out].key) {
			v[out].count += v[k].count;
			v[out].total += v[k].total;
		} else {
			v[++out] = v[k];
		}
	}
	n = n ? out + 1 : 0;
	if (n)
		qsort(v, n, sizeof(*v), by_total);
	return n;
}

static int sum_by_name(
	const struct report *r, unsigned kind, struct report_kernel **ret_sums, size_t *ret_count)
{
	struct report_kernel *v = malloc(sizeof(*v) * (r->count + 1));
	size_t k, n = 0;

	if (!v)
		return -ENOMEM;
	for (k = 0; k < r->count; k++)
		if (r->records[k].kind == kind)
			v[n++] = (struct report_kernel){r->records[k].name, 1,
				kind == RECORD_FALLBACK ? 0 : r->records[k].dur};
	*ret_count = merge(v, n);
	*ret_sums = v;
	return 0;
}

/* ---- totals ---- */

static void count_record(struct report_figures *f, const struct record *rec)
{
	switch (rec->kind) {
	case RECORD_CALL:
		f->calls++;
		f->calls_handled += rec->flags & RECORD_HANDLED;
		break;
	case RECORD_SYNC:
		f->syncs++;
		f->sync_ns += rec->dur;
		break;
	case RECORD_BATCH:
		f->batches++;
		f->batched += rec->value;
		break;
	case RECORD_SEND:
	case RECORD_RECV:
		f->bytes[rec->flags & RECORD_VERBS ? 2
			 : rec->flags & RECORD_SHM ? 1
						   : 0] += rec->bytes;
		break;
	case RECORD_KERNEL:
	case RECORD_COPY:
	case RECORD_SET:
		f->device_busy += rec->dur;
		break;
	}
}

static void count_all(const struct report *r, struct report_figures *f)
{
	uint64_t end;
	size_t k;

	f->first = r->count ? r->records[0].start : 0;
	for (k = 0; k < r->count; k++) {
		count_record(f, &r->records[k]);
		end = r->records[k].start + r->records[k].dur;
		f->last = end > f->last ? end : f->last;
	}
}

int report_figures(const struct report *r, struct report_figures *ret_figures)
{
	struct report_figures f = {0};
	int err;

	count_all(r, &f);
	err = recorded_steps(r, &f);
	if (!err && !f.step_count)
		err = derived_steps(r, &f);
	if (!err)
		err = step_figures(&f);
	if (!err)
		err = sum_by_name(r, RECORD_KERNEL, &f.kernels, &f.kernel_count);
	if (!err)
		err = sum_by_name(r, RECORD_FALLBACK, &f.fallbacks, &f.fallback_count);
	if (err) {
		report_figures_free(&f);
		return err;
	}
	*ret_figures = f;
	return 0;
}

void report_figures_free(struct report_figures *f)
{
	free(f->steps);
	free(f->kernels);
	free(f->fallbacks);
	*f = (struct report_figures){0};
}
