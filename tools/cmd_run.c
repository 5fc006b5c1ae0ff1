/*
 * dlaccel run: prepares the environment, starts the program in our place, and sums up at its end.
 * Whatever stands in the way of accelerating is said, and the program runs without.
 */
#include "child.h"
#include "clock.h"
#include "counters.h"
#include "dlaccel.h"
#include "machine.h"
#include "outdir.h"
#include "program.h"
#include "setting_text.h"
#include "summary.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char usage[] =
	"usage: dlaccel run [options] [--] PROGRAM [ARGS...]\n"
	"\n"
	"Runs a program accelerated: LD_PRELOAD gets libdlaccel.so in front, and at the end stands what was\n"
	"moved and what was passed, and why. Exit status and signals are the program's own.\n"
	"  -o, --output DIR    folder of counters and log; %h host, %p process, %n program\n"
	"                      (default dlaccel.%n.%p; DLACCEL_DIR, if set, comes before it)\n"
	"      --off FEATURE   turn a feature off, may be repeated; `dlaccel config` lists the switches\n"
	"      --gdb           inside gdb\n"
	"  -q, --quiet         say nothing that the program does not say\n";

enum { MAX_GDB_ARGS = 16 };

struct run {
	char **argv;	     /* what was asked for */
	const char *pattern; /* of the folder; NULL: not asked for */
	bool quiet, gdb;

	struct program program;
	char library[PATH_MAX];
	char folder[PATH_MAX]; /* as the user wrote it */
	char whole[PATH_MAX];  /* the same from the root; "": there is none */
	uint64_t started_ns;
	int gate[2]; /* the child waits at it for `whole` */
};

static int switch_off(const char *name)
{
	const struct setting_row *row = setting_switch(name);
	char names[512];

	if (row) {
		setenv(row->name, "0", 1);
		return 0;
	}
	setting_switches(names, sizeof(names));
	fprintf(stderr, "dlaccel run: no feature '%s' (%s)\n", name, names);
	return -EINVAL;
}

static bool take_option(int c, struct run *run)
{
	switch (c) {
	case 'o':
		run->pattern = optarg;
		return *optarg != 0;
	case 'x':
		return !switch_off(optarg);
	case 'g':
		return run->gdb = true;
	case 'q':
		return run->quiet = true;
	default:
		return false;
	}
}

/* Whether LD_PRELOAD names a libdlaccel.so already: we are inside another run. */
static bool is_preloaded(const char *library)
{
	const char *list = getenv("LD_PRELOAD");
	size_t n;

	for (; list && *list; list += n + (list[n] != 0)) {
		n = strcspn(list, " :\t\n");
		if (n == strlen(library) && !memcmp(list, library, n))
			return true;
	}
	return false;
}

static char *preload_list(const char *library)
{
	const char *old = getenv("LD_PRELOAD");
	char *list;

	if (is_preloaded(library))
		return strdup(old);
	return asprintf(&list, "%s%s%s", library, old && *old ? ":" : "", old ? old : "") < 0 ? NULL : list;
}

/* Why nothing can be preloaded, NULL if it can. */
static const char *hindrance(struct run *run)
{
	bool harmful;
	const char *why;

	if (!settings.enabled)
		return "DLACCEL=0";
	if (library_find(run->library))
		return "libdlaccel.so is not where it was installed (" DLACCEL_LIBDIR ")";
	if (!library_is_nameable(run->library))
		return "the path of libdlaccel.so has a space or a colon, which LD_PRELOAD cannot name";
	why = program_obstacle(&run->program, &harmful);
	if (!why && !setting_lists(settings.apps, base_name(run->program.runs[run->program.depth])))
		why = "DLACCEL_APPS does not name it";
	if (why && !harmful && !run->quiet)
		say("%s itself cannot be accelerated, only what it starts: %s", run->argv[0], why);
	return harmful ? why : NULL;
}

static void contact_features(void)
{
	char rdma[256], cuda[64];
	bool shm = settings.sockets && settings.shm;

	machine_rdma(rdma, sizeof(rdma));
	machine_cuda(cuda, sizeof(cuda));
	say("sockets %s(%s%s, rdma: %s) cuda %s(%s%s)", settings.sockets ? "on" : "off", shm ? "shm" : "no shm",
		shm && settings.cma ? ", direct copies" : "",
		!DLACCEL_HAVE_RDMA ? "not built" :
		!settings.rdma	   ? "off" :
		*rdma		   ? rdma :
				     "no device",
		settings.cuda && DLACCEL_HAVE_CUDA ? "on" : "off", *cuda ? "driver " : "no driver", cuda);
}

static void contact(const struct run *run, pid_t pid)
{
	char real[PATH_MAX], where[PATH_MAX + 16] = "";
	const char *runs = run->program.runs[run->program.depth];

	if (run->quiet)
		return;
	if (*run->whole)
		snprintf(where, sizeof(where), " -> %s%s/", *run->folder == '/' || *run->folder == '.' ? "" : "./", run->folder);
	dprintf(STDERR_FILENO, "dlaccel " DLACCEL_VERSION " active: pid %d %s%s  (off: DLACCEL=0)\n", (int)pid,
		run->gdb ? "gdb" : base_name(realpath(runs, real) ? real : runs), where);
	contact_features();
	settings_announce();
	settings_complain(environ);
}

/* A folder that cannot be had costs counters and log, not the acceleration. */
static void make_folder(struct run *run, pid_t pid)
{
	int rc = outdir_expand(run->pattern, base_name(run->argv[0]), pid, run->folder);

	run->whole[0] = 0;
	if (!rc)
		rc = outdir_create(run->folder, run->whole);
	if (rc) {
		run->whole[0] = 0;
		if (!run->quiet)
			say("no counters and no log: %s: %s", run->folder, strerror(-rc));
	}
}

static void note(const struct run *run, pid_t pid, double seconds, int status)
{
	struct run_note note = { .argv = run->argv, .pid = pid, .started_ns = run->started_ns, .seconds = seconds,
		.status = status };

	if (*run->whole)
		outdir_note(run->whole, &note);
}

/* LD_PRELOAD is for the program only, not for gdb. */
static char **gdb_command(const struct run *run, const char *preload)
{
	unsigned n = 0, asked = 0;
	char *set_preload, *set_dir;

	while (run->argv[asked])
		asked++;
	char **argv = calloc(asked + MAX_GDB_ARGS, sizeof(*argv));
	if (!argv || asprintf(&set_preload, "set environment LD_PRELOAD %s", preload) < 0 ||
		asprintf(&set_dir, "%s DLACCEL_DIR %s", *run->whole ? "set environment" : "unset environment",
			run->whole) < 0)
		return NULL;
	const char *head[] = { "gdb", "-quiet", "-ex", set_preload, "-ex", set_dir, "--args" };
	for (unsigned i = 0; i < sizeof(head) / sizeof(*head); i++)
		argv[n++] = (char *)head[i];
	for (unsigned i = 0; i < asked; i++)
		argv[n++] = run->argv[i];
	return argv;
}

/* AddressSanitizer ends a program in which another library comes before its own, unless it is told not to. */
static void calm_sanitizer(void)
{
	const char *old = getenv("ASAN_OPTIONS");
	char *options;

	if (old && strstr(old, "verify_asan_link_order="))
		return;
	if (asprintf(&options, "%s%sverify_asan_link_order=0", old ? old : "", old && *old ? ":" : "") >= 0)
		setenv("ASAN_OPTIONS", options, 1);
}

static void child_side(struct run *run)
{
	char *preload = preload_list(run->library);
	size_t got = 0;
	ssize_t n;

	close(run->gate[1]);
	while ((n = read(run->gate[0], run->whole + got, PATH_MAX - 1 - got)) > 0)
		got += (size_t)n;
	run->whole[got] = 0;
	close(run->gate[0]);
	char **argv = run->gdb && preload ? gdb_command(run, preload) : run->argv;
	if (!preload || !argv)
		_exit(STATUS_CANNOT_RUN);
	calm_sanitizer();
	if (!run->gdb) {
		setenv("LD_PRELOAD", preload, 1);
		*run->whole ? setenv("DLACCEL_DIR", run->whole, 1) : unsetenv("DLACCEL_DIR");
	}
	_exit(exec_program(argv));
}

static void put_end(int status, double seconds, const struct folder *folder)
{
	char how[64], who[64] = "";

	if (WIFEXITED(status))
		snprintf(how, sizeof(how), "rc=%d", WEXITSTATUS(status));
	else
		snprintf(how, sizeof(how), "killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	if (folder)
		snprintf(who, sizeof(who), ", %u process%s took part", folder->count, folder->count == 1 ? "" : "es");
	say("%s after %.1f s%s", how, seconds, who);
	if (folder && folder->broken)
		say("%u file%s *.stats hold no counters: is the disk full?", folder->broken, folder->broken == 1 ? "" : "s");
}

static void sum_up(const struct run *run, int status, double seconds)
{
	static struct counters sum;
	struct folder folder = { 0 };
	char *text = NULL;
	size_t n = 0;

	if (run->quiet)
		return;
	if (*run->whole)
		folder_read(run->whole, run->started_ns, &folder);
	put_end(status, seconds, *run->whole ? &folder : NULL);
	folder_sum(&folder, &sum);
	folder_free(&folder);
	FILE *out = open_memstream(&text, &n);
	if (out) {
		summary_write(out, "  ", &sum, 4);
		fclose(out);
		if (write(STDERR_FILENO, text, n) < 0)
			return;
	}
	free(text);
	if (sum.count)
		say("next: dlaccel report %s", run->folder);
	else if (*run->whole && !folder.broken)
		say("nothing to accelerate was seen; why: dlaccel doctor %s", run->argv[0]);
}

/* The parent makes the folder, because it names the child, and lets the child go on. */
static void parent_side(struct run *run, pid_t pid)
{
	make_folder(run, pid);
	contact(run, pid);
	note(run, pid, -1, 0);
	if (write(run->gate[1], run->whole, strlen(run->whole)) < 0)
		say("%s", strerror(errno));
	close(run->gate[1]);
	close(run->gate[0]); /* not before: a child killed meanwhile would be our SIGPIPE */
}

static int run_watched(struct run *run)
{
	struct child child;
	struct timespec now;
	int rc;

	clock_gettime(CLOCK_REALTIME, &now);
	run->started_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	if (pipe2(run->gate, O_CLOEXEC))
		return exec_program(run->argv);
	rc = child_fork(&child);
	if (rc) {
		say("fork: %s", strerror(-rc));
		return STATUS_CANNOT_RUN;
	}
	if (!child.pid)
		child_side(run);
	uint64_t begin = clock_monotonic_ns();
	parent_side(run, child.pid);
	int status = child_wait(&child);
	double seconds = (double)(clock_monotonic_ns() - begin) / 1e9;
	note(run, child.pid, seconds, status);
	sum_up(run, status, seconds);
	child_end_alike(status);
}

/* Inside another run: its folder, its summary; only --off is ours. */
static int run_nested(const struct run *run)
{
	if (!run->quiet)
		say("inside another run: see %s", getenv("DLACCEL_DIR"));
	return exec_program(run->argv);
}

static int run_bare(const struct run *run, const char *why)
{
	if (!run->quiet)
		say("not accelerated: %s", why);
	return exec_program(run->argv);
}

static int run_program(struct run *run)
{
	const char *why;
	int rc = program_find(run->argv[0], &run->program);

	if (rc) {
		say("%s: %s", run->program.runs[run->program.depth], strerror(-rc));
		return rc == -ENOENT ? STATUS_NOT_FOUND : STATUS_CANNOT_RUN;
	}
	settings_read(environ);
	why = hindrance(run);
	if (why)
		return run_bare(run, why);
	if (!run->pattern && getenv("DLACCEL_DIR") && is_preloaded(run->library) && !run->gdb)
		return run_nested(run);
	if (!run->pattern)
		run->pattern = *settings.dir ? settings.dir : OUTDIR_DEFAULT;
	return run_watched(run);
}

int cmd_run(int argc, char **argv)
{
	static const struct option options[] = {
		{ "output", required_argument, NULL, 'o' }, { "off", required_argument, NULL, 'x' },
		{ "gdb", no_argument, NULL, 'g' },	    { "quiet", no_argument, NULL, 'q' },
		{ "help", no_argument, NULL, 'h' },	    { 0 },
	};
	static struct run run;
	int c;

	while ((c = getopt_long(argc, argv, "+o:qh", options, NULL)) != -1) {
		if (c == 'h')
			return usage_shown(usage);
		if (!take_option(c, &run))
			return usage_wrong(usage);
	}
	run.argv = argv + optind;
	return *run.argv ? run_program(&run) : usage_wrong(usage);
}
