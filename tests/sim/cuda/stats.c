/* What was called and what was done: counters for tests, a time line in a file, and the strict mode's complaints. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"

#define MAX_ENTRIES 512
#define MAX_LINES (1 << 20)

struct line {
	uint64_t start, end, seq, stream;
	enum op_type type;
	char name[40];
};

static struct {
	pthread_mutex_t lock;
	struct { const char *name; uint64_t n; } calls[MAX_ENTRIES];
	int ncalls;
	uint64_t ops[OPT_COUNT], misuses, nodes;
	struct line *lines;
	size_t n, cap;
} st = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void hold(void)
{
	pthread_mutex_lock(&st.lock);
}

static void release(void)
{
	pthread_mutex_unlock(&st.lock);
}

/* The child of a fork asks what was counted, too; no other thread of its parent is there to let go. */
__attribute__((constructor)) static void whole_at_fork(void)
{
	pthread_atfork(hold, release, release);
}

static const char *const op_names[OPT_COUNT] = {"kernel", "memcpy", "memset", "host", "event", "wait", "value", "empty", "graph"};

void stats_nodes(int n)
{
	pthread_mutex_lock(&st.lock);
	st.nodes += (uint64_t)n;
	pthread_mutex_unlock(&st.lock);
}

/* entry is a function's own name: one pointer each, though a program may hold several copies of a string. */
void stats_count(const char *entry)
{
	int i;

	clock_call(entry);
	tls.entry = entry;
	tls.told = false;
	pthread_mutex_lock(&st.lock);
	for (i = 0; i < st.ncalls; i++)
		if (st.calls[i].name == entry || !strcmp(st.calls[i].name, entry))
			break;
	if (i == st.ncalls && st.ncalls < MAX_ENTRIES)
		st.calls[st.ncalls++].name = entry;
	if (i < st.ncalls)
		st.calls[i].n++;
	pthread_mutex_unlock(&st.lock);
}

void stats_op(const struct op *op)
{
	struct line *l;

	pthread_mutex_lock(&st.lock);
	st.ops[op->type]++;
	if ((settings.stats || settings.virtual_clock) && st.n < MAX_LINES) {
		if (st.n == st.cap) {
			st.cap = st.cap ? st.cap * 2 : 1024;
			st.lines = realloc(st.lines, st.cap * sizeof(*st.lines));
			if (!st.lines)
				abort();
		}
		l = &st.lines[st.n++];
		*l = (struct line){op->vstart, op->done->vend, op->done->seq, op->stream ? op->stream->id : 0, op->type, ""};
		snprintf(l->name, sizeof(l->name), "%s", op->name);
	}
	pthread_mutex_unlock(&st.lock);
}

void strict_report(const char *fmt, ...)
{
	va_list ap;

	if (!settings.strict)
		return;
	va_start(ap, fmt);
	fputs("simcuda: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
}

int misuse(int code, const char *fmt, ...)
{
	va_list ap;

	tls.told = true;
	pthread_mutex_lock(&st.lock);
	st.misuses++;
	pthread_mutex_unlock(&st.lock);
	if (!settings.strict)
		return code;
	va_start(ap, fmt);
	fputs("simcuda: misuse: ", stderr);
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, " (error %d)\n", code);
	va_end(ap);
	return code;
}

/* What a correct program may be told as well: how far things are, what there is no more of, and what a kernel did. */
static bool is_answer(int code)
{
	switch (code) {
	case CUDA_SUCCESS:
	case CUDA_ERROR_OUT_OF_MEMORY:
	case CUDA_ERROR_NO_DEVICE:
	case CUDA_ERROR_INVALID_IMAGE: /* the reason is told where it is found */
	case CUDA_ERROR_INVALID_PTX:
	case CUDA_ERROR_NO_BINARY_FOR_GPU:
	case CUDA_ERROR_FILE_NOT_FOUND:
	case CUDA_ERROR_OPERATING_SYSTEM:
	case CUDA_ERROR_NOT_FOUND:
	case CUDA_ERROR_NOT_READY:
	case CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE:
		return true;
	}
	return (code >= CUDA_ERROR_ILLEGAL_ADDRESS && code <= CUDA_ERROR_LAUNCH_TIMEOUT) || code == CUDA_ERROR_ASSERT ||
	       (code >= CUDA_ERROR_HARDWARE_STACK_ERROR && code <= CUDA_ERROR_LAUNCH_FAILED);
}

/* They are asked of whatever comes along, or until there is no more. */
static bool is_question(const char *entry)
{
	static const char *const questions[] = {"cuFuncGetParamInfo", "cuMemGetAddressRange_v2", "cuMemHostGetFlags",
						"cuPointerGetAttribute", "cuPointerGetAttributes"};

	for (size_t i = 0; i < sizeof(questions) / sizeof(*questions); i++)
		if (!strcmp(entry, questions[i]))
			return true;
	return false;
}

int refused(const char *function, int code)
{
	const char *entry = strncmp(function, "cu", 2) && tls.entry ? tls.entry : function, *text = "";

	if (tls.told || is_answer(code) || is_question(entry))
		return code;
	cuGetErrorString((CUresult)code, &text);
	return misuse(code, "%s: %s", entry, text);
}

/*
 * For tests, by dlsym. what: the name of an entry ("cuLaunchKernel"), "op:kernel" and the like, "misuse",
 * "races" for what SIMCUDA_RACE found, "nodes" for graph nodes launched, "calls" for all entries together, "span" for the virtual time from the first start to the last end.
 */
CUAPI uint64_t simcuda_stats(const char *what);
CUAPI void simcuda_stats_reset(void);

static uint64_t span(void)
{
	uint64_t lo = UINT64_MAX, hi = 0;

	for (size_t i = 0; i < st.n; i++) {
		lo = st.lines[i].start < lo ? st.lines[i].start : lo;
		hi = st.lines[i].end > hi ? st.lines[i].end : hi;
	}
	return hi > lo ? hi - lo : 0;
}

static uint64_t count(const char *what)
{
	uint64_t all = 0;

	if (!strcmp(what, "misuse"))
		return st.misuses;
	if (!strcmp(what, "races"))
		return watch_races();
	if (!strcmp(what, "nodes"))
		return st.nodes;
	if (!strcmp(what, "span"))
		return span();
	for (int i = 0; i < OPT_COUNT; i++)
		if (!strncmp(what, "op:", 3) && !strcmp(what + 3, op_names[i]))
			return st.ops[i];
	for (int i = 0; i < st.ncalls; i++) {
		if (!strcmp(st.calls[i].name, what))
			return st.calls[i].n;
		all += st.calls[i].n;
	}
	return strcmp(what, "calls") ? 0 : all;
}

uint64_t simcuda_stats(const char *what)
{
	uint64_t n;

	pthread_mutex_lock(&st.lock);
	n = count(what);
	pthread_mutex_unlock(&st.lock);
	return n;
}

void simcuda_stats_reset(void)
{
	pthread_mutex_lock(&st.lock);
	for (int i = 0; i < st.ncalls; i++)
		st.calls[i].n = 0;
	memset(st.ops, 0, sizeof(st.ops));
	st.n = 0;
	st.misuses = st.nodes = 0;
	pthread_mutex_unlock(&st.lock);
}

/* SIMCUDA_STATS=file: "call NAME COUNT", "op TYPE COUNT", "span STREAM START END TYPE NAME" in virtual nanoseconds. */
void stats_at_exit(void)
{
	FILE *f = settings.stats ? fopen(settings.stats, "w") : NULL;

	if (!f)
		return;
	pthread_mutex_lock(&st.lock);
	for (int i = 0; i < st.ncalls; i++)
		fprintf(f, "call %s %llu\n", st.calls[i].name, (unsigned long long)st.calls[i].n);
	for (int i = 0; i < OPT_COUNT; i++)
		fprintf(f, "op %s %llu\n", op_names[i], (unsigned long long)st.ops[i]);
	fprintf(f, "nodes %llu\n", (unsigned long long)st.nodes);
	for (size_t i = 0; i < st.n; i++)
		fprintf(f, "span %llu %llu %llu %s %s\n", (unsigned long long)st.lines[i].stream, (unsigned long long)st.lines[i].start,
			(unsigned long long)st.lines[i].end, op_names[st.lines[i].type], st.lines[i].name);
	pthread_mutex_unlock(&st.lock);
	fclose(f);
}
