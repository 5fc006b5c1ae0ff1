#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "iteration_stream.h"
#include "iteration.h"

#define AUTOGRAD_THREAD "1"

const char *const trace_names[] = {"vision-a", "vision-b", "nccl", "many-streams"};
const unsigned trace_name_count = sizeof(trace_names) / sizeof(*trace_names);

uint64_t random_next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

struct row {
	long step;
	uint64_t ns;
	uint32_t token;
	int autograd;
};

/* step,call_us,call_dur_us,thread,kind,name,grid,block,bytes,stream,... ; strsep keeps empty ones
 */
static int parse_row(char *line, struct row *ret_row)
{
	uint32_t grid[3] = {0}, block[3] = {0}, name, stream;
	char *f[12];
	uint64_t bytes;
	int k;

	for (k = 0; k < 12; k++)
		if (!(f[k] = strsep(&line, ",")))
			return -1;
	ret_row->step = *f[0] ? atol(f[0]) : -1;
	ret_row->ns = (uint64_t)(atof(f[1]) * 1000 + 0.5);
	ret_row->autograd = !strcmp(f[3], AUTOGRAD_THREAD);
	name = (uint32_t)strtoul(f[5], NULL, 16);
	bytes = strtoull(f[8], NULL, 10);
	stream = (uint32_t)strtoul(f[9], NULL, 10);
	sscanf(f[6], "%ux%ux%u", &grid[0], &grid[1], &grid[2]);
	sscanf(f[7], "%ux%ux%u", &block[0], &block[1], &block[2]);
	ret_row->token = strcmp(f[4], "kernel") ? iteration_token_copy(name, bytes, stream)
						: iteration_token_launch(name, grid, block,
							  (uint32_t)bytes, stream);
	return 0;
}

static void trace_add(struct trace *tr, const struct row *r, long *last)
{
	uint32_t n = tr->count++;
	struct trace_step *st;

	tr->token = realloc(tr->token, sizeof(*tr->token) * tr->count);
	tr->ns = realloc(tr->ns, sizeof(*tr->ns) * tr->count);
	tr->token[n] = r->token;
	tr->ns[n] = r->ns;
	if (r->step != *last && tr->steps < 16)
		tr->step[tr->steps++] = (struct trace_step){.from = n};
	*last = r->step;
	st = &tr->step[tr->steps - 1];
	st->count = n + 1 - st->from;
	if (!r->autograd)
		return;
	st->optimizer = st->count;
	if (!st->forward)
		st->forward = st->count - 1;
}

struct trace *trace_load(const char *name)
{
	const char *folder = getenv("DLACCEL_TRACES");
	char command[1024], line[512];
	struct trace *tr = calloc(1, sizeof(*tr));
	struct row row;
	long last = -2;
	FILE *in;

	snprintf(command, sizeof(command), "gzip -dc '%s/%s.csv.gz'", folder ? folder : ".", name);
	in = popen(command, "r");
	if (!in || !fgets(line, sizeof(line), in))
		abort();
	while (fgets(line, sizeof(line), in))
		if (!parse_row(line, &row))
			trace_add(tr, &row, &last);
	pclose(in);
	return tr;
}

void trace_free(struct trace *tr)
{
	free(tr->token);
	free(tr->ns);
	free(tr);
}

struct stream *stream_new(void)
{
	return calloc(1, sizeof(struct stream));
}

void stream_free(struct stream *s)
{
	free(s->t);
	free(s);
}

void stream_add(struct stream *s, uint32_t token, uint64_t ns, int32_t step, int32_t phase)
{
	if (s->count == s->room) {
		s->room = s->room ? 2 * s->room : 4096;
		s->t = realloc(s->t, sizeof(*s->t) * s->room);
	}
	s->t[s->count++] = (struct stream_token){token, step, phase, ns};
}

/* The time from the row before, within the recorded run; a first row repeats the last step's. */
static uint64_t pause_before(const struct trace *tr, uint32_t i)
{
	if (!i)
		i = tr->step[tr->steps - 1].from;
	return i ? tr->ns[i] - tr->ns[i - 1] : 1000;
}

static void copy_part(struct stream *s, const struct trace *tr, const struct trace_step *st,
	uint32_t from, uint32_t to, int32_t step, int32_t phase)
{
	uint32_t k;

	for (k = from; k < to; k++) {
		s->now += pause_before(tr, st->from + k);
		stream_add(s, tr->token[st->from + k], s->now, step, phase + (int32_t)(k - from));
	}
}

static const struct trace_step *any_step(struct stream *s, const struct trace *tr)
{
	return &tr->step[random_next(&s->order) % tr->steps];
}

void stream_steps(struct stream *s, const struct trace *tr, int n)
{
	const struct trace_step *st;

	for (; n--; s->steps++) {
		st = any_step(s, tr);
		copy_part(s, tr, st, 0, st->count, s->steps, 0);
	}
}

/* Every eighth kernel is another one in evaluation: normalisation, dropout, the metric. */
void stream_evaluation(struct stream *s, const struct trace *tr, int batches)
{
	const struct trace_step *st = any_step(s, tr);
	uint32_t k, token;

	for (; batches--;)
		for (k = 0; k < st->forward; k++) {
			token = tr->token[st->from + k];
			s->now += pause_before(tr, st->from + k);
			stream_add(s, token % 8 ? token : token ^ 0x5a5a5a5a, s->now, -1, -1);
		}
}

uint32_t accumulated_period(const struct trace *tr, int micro)
{
	const struct trace_step *st = &tr->step[0];

	return (uint32_t)micro * st->optimizer + st->count - st->optimizer;
}

void stream_accumulated(struct stream *s, const struct trace *tr, int n, int micro)
{
	const struct trace_step *st;
	uint32_t k, done;

	for (; n--; s->steps++) {
		st = any_step(s, tr);
		for (k = 0, done = 0; k < (uint32_t)micro; k++, done += st->optimizer)
			copy_part(s, tr, st, 0, st->optimizer, s->steps, (int32_t)done);
		copy_part(s, tr, st, st->optimizer, st->count, s->steps, (int32_t)done);
	}
}

static uint32_t strange_token(const struct stream *s, uint64_t *state)
{
	uint64_t r = random_next(state);

	return r & 1 ? (uint32_t)(r >> 32) : s->t[(r >> 1) % s->count].token;
}

struct stream *stream_changed(const struct stream *s, const struct change *c)
{
	struct stream *out = stream_new();
	uint64_t state = c->seed;
	const struct stream_token *t;
	uint32_t i;
	int how;

	out->steps = s->steps;
	for (i = 0; i < s->count; i++) {
		t = &s->t[i];
		if (random_next(&state) % 1000000 >= c->ppm) {
			stream_add(out, t->token, t->ns, t->step, t->phase);
			continue;
		}
		how = c->only_substitute ? 0 : (int)(random_next(&state) % 3);
		if (how == 0)
			stream_add(out, strange_token(s, &state), t->ns, t->step, t->phase);
		if (how != 2)
			continue;
		stream_add(out, strange_token(s, &state), t->ns, t->step, -1);
		stream_add(out, t->token, t->ns, t->step, t->phase);
	}
	return out;
}
