/* The differential fuzzer: the same seeded operations bare and preloaded, compared.
 *
 *   diff_fuzz step   --seeds A:B [--preload LIB] [--side both|client|server] [--ops N] [--jobs N]
 *   diff_fuzz stream --seeds A:B [--preload LIB] [--side ...] [--mib N]
 *   diff_fuzz race   --seeds A:B [--preload LIB] [--side ...] [--rounds N]
 *   diff_fuzz burst  --seeds A:B [--preload LIB] [--side ...] [--rounds N]
 *   diff_fuzz walk   --seeds A:B [--preload LIB] [--side ...] [--rounds N] [--stride N]
 *
 * Without --preload the bare run is compared with a second bare run, which shows that whatever
 * differs later is the library's doing. Exit status: 0 no difference, 1 differences, 2 usage. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "step.h"
#include "stream.h"

struct options {
	unsigned long first, last;
	const char *preload[2];
	int ops, jobs, mib, rounds, stride, show;
	const char *out;
};

static const char *line_at(const char *text, int n)
{
	while (n-- > 0 && text)
		text = (text = strchr(text, '\n')) ? text + 1 : NULL;
	return text;
}

static int first_difference(const char *a, const char *b)
{
	int line = 0;

	for (; *a && *a == *b; a++, b++)
		line += *a == '\n';
	return *a == *b ? -1 : line;
}

static void print_line(const char *mark, const char *text)
{
	if (text && *text)
		printf("%s %.*s\n", mark, (int)strcspn(text, "\n"), text);
	else
		printf("%s (end)\n", mark);
}

static void print_difference(unsigned long seed, const char *bare, const char *other, int line)
{
	printf("seed %lu: line %d differs\n", seed, line + 1);
	for (int i = line > 14 ? line - 14 : 0; i < line; i++)
		print_line("  ", line_at(bare, i));
	for (int i = 0; i < 3; i++)
		print_line("bare ", line_at(bare, line + i));
	for (int i = 0; i < 3; i++)
		print_line("other", line_at(other, line + i));
	fflush(stdout);
}

static void save(const struct options *o, unsigned long seed, const char *what, const char *text)
{
	char path[4096];
	FILE *f;

	if (!o->out)
		return;
	snprintf(path, sizeof(path), "%s/%lu.%s", o->out, seed, what);
	f = fopen(path, "we");
	if (!f)
		return;
	fputs(text, f);
	fclose(f);
}

static int step_seed(const struct options *o, unsigned long seed)
{
	static const char *const none[2];
	int hard_bare, hard, line;
	char *bare = step_run(seed, o->ops, none, &hard_bare);
	char *other = step_run(seed, o->ops, o->preload, &hard);

	line = first_difference(bare, other);
	if (o->show)
		fputs(other, stdout);
	if (line >= 0)
		print_difference(seed, bare, other, line);
	else if (hard_bare || hard)
		printf("seed %lu: hung, died or wrong bytes in both runs\n%s\n", seed, bare);
	if (line >= 0 || hard_bare || hard) {
		save(o, seed, "bare", bare);
		save(o, seed, "other", other);
	}
	free(bare);
	free(other);
	return line >= 0 || hard_bare || hard;
}

static int stream_seed(const struct options *o, unsigned long seed)
{
	return ends_run("stream-end", seed, o->mib, 0, o->preload);
}

static int race_seed(const struct options *o, unsigned long seed)
{
	return ends_run("race-end", seed, o->rounds, 0, o->preload);
}

static int burst_seed(const struct options *o, unsigned long seed)
{
	return ends_run("burst-end", seed, o->rounds, 1, o->preload);
}

static int walk_seed(const struct options *o, unsigned long seed)
{
	return walk_run(seed, o->rounds, o->stride, o->preload);
}

typedef int seed_fn(const struct options *, unsigned long);

static int run_seeds(const struct options *o, seed_fn *fn, int job)
{
	int failed = 0;

	for (unsigned long s = o->first; s < o->last; s++)
		if (o->jobs == 1 || (int)(s % o->jobs) == job)
			failed += fn(o, s);
	return failed > 100 ? 100 : failed;
}

static int run_jobs(const struct options *o, seed_fn *fn)
{
	int failed = 0, status;

	fflush(stdout);
	for (int job = 0; job < o->jobs; job++)
		if (!fork_bound())
			exit(run_seeds(o, fn, job));
	while (wait(&status) > 0)
		failed += WIFEXITED(status) ? WEXITSTATUS(status) : 1;
	printf("%lu seeds, %d failed\n", o->last - o->first, failed);
	return failed ? 1 : 0;
}

static int set_side(struct options *o, const char *lib, const char *side)
{
	if (!lib)
		return 0;
	if (strcmp(side, "server"))
		o->preload[0] = lib;
	if (strcmp(side, "client"))
		o->preload[1] = lib;
	return strcmp(side, "both") && strcmp(side, "server") && strcmp(side, "client");
}

static int parse(struct options *o, int argc, char **argv)
{
	const char *lib = NULL, *side = "both";

	for (int i = 0; i + 1 < argc; i += 2) {
		const char *v = argv[i + 1];

		if (!strcmp(argv[i], "--seeds")) {
			if (sscanf(v, "%lu:%lu", &o->first, &o->last) == 1)
				o->last = o->first + 1;
		} else if (!strcmp(argv[i], "--preload")) {
			lib = v;
		} else if (!strcmp(argv[i], "--side")) {
			side = v;
		} else if (!strcmp(argv[i], "--ops")) {
			o->ops = atoi(v);
		} else if (!strcmp(argv[i], "--jobs")) {
			o->jobs = atoi(v);
		} else if (!strcmp(argv[i], "--mib")) {
			o->mib = atoi(v);
		} else if (!strcmp(argv[i], "--rounds")) {
			o->rounds = atoi(v);
		} else if (!strcmp(argv[i], "--stride")) {
			o->stride = atoi(v);
		} else if (!strcmp(argv[i], "--out")) {
			o->out = v;
		} else if (!strcmp(argv[i], "--show")) {
			o->show = atoi(v);
		} else {
			return -1;
		}
	}
	return argc % 2 || set_side(o, lib, side) ? -1 : 0;
}

/* A worker's descriptors live at fixed high numbers. */
static void raise_limit(void)
{
	struct rlimit l;

	getrlimit(RLIMIT_NOFILE, &l);
	if (l.rlim_cur < 1024)
		l.rlim_cur = l.rlim_max < 1024 ? l.rlim_max : 1024;
	setrlimit(RLIMIT_NOFILE, &l);
}

int main(int argc, char **argv)
{
	struct options o = { .last = 20, .ops = 60, .jobs = 1, .mib = 8, .rounds = 20000, .stride = 1 };
	const char *what = argc > 1 ? argv[1] : "";

	if (!strcmp(what, "worker"))
		return step_worker();
	if (!strcmp(what, "leaf"))
		return step_leaf(argc, argv);
	if (!strcmp(what, "stream-end"))
		return stream_end(argc - 1, argv + 1);
	if (!strcmp(what, "race-end"))
		return race_end(argc - 1, argv + 1);
	if (!strcmp(what, "burst-end"))
		return burst_end(argc - 1, argv + 1);
	if (!strcmp(what, "walk-end"))
		return walk_end(argc - 1, argv + 1);
	raise_limit();
	if (parse(&o, argc - 2, argv + 2)) {
		fprintf(stderr, "see the head of diff_fuzz.c\n");
		return 2;
	}
	if (!strcmp(what, "step"))
		return run_jobs(&o, step_seed);
	if (!strcmp(what, "stream"))
		return run_jobs(&o, stream_seed);
	if (!strcmp(what, "race"))
		return run_jobs(&o, race_seed);
	if (!strcmp(what, "burst"))
		return run_jobs(&o, burst_seed);
	if (!strcmp(what, "walk"))
		return run_jobs(&o, walk_seed);
	return 2;
}
