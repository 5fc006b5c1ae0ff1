/*
 * dlaccel bisect: which feature makes a program fail?  First the whole and nothing, then the smallest
 * set of switches that must be off, by halving; then the same among the parts of what was found.
 */
#include "dlaccel.h"
#include "fault.h"
#include "outdir.h"
#include "program.h"
#include "setting_text.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
	"usage: dlaccel bisect [options] [--] PROGRAM [ARGS...]\n"
	"\n"
	"Runs a program that fails when accelerated again and again with features turned off, and says\n"
	"which one the failure needs. A run fails if it ends with another status than 0.\n"
	"      --check COMMAND    a run fails also if this shell command does, with the run's output on stdin\n"
	"      --timeout SECONDS  a run that takes longer fails\n"
	"      --repeat N         run each kind N times, for a fault that comes and goes\n"
	"  -o, --output DIR       folder of the runs' output (default dlaccel.bisect.%p)\n"
	"Exit status 0: found; 1: the fault does not depend on dlaccel, or did not show.\n";

/* What belongs to what: a part is only tried when its whole was found guilty. */
static const struct part {
	const char *part, *whole;
} parts[] = {
	{ "DLACCEL_SHM=0", "DLACCEL_SOCKETS=0" }, { "DLACCEL_RDMA=0", "DLACCEL_SOCKETS=0" },
	{ "DLACCEL_SPIN=0", "DLACCEL_SOCKETS=0" }, { "DLACCEL_CMA=0", "DLACCEL_SHM=0" },
	{ "DLACCEL_SPIN_MOVE=0", "DLACCEL_SPIN=0" }, { "DLACCEL_KEEP_FREED=0", "DLACCEL_SOCKETS=0" },
};

enum { PARTS = sizeof(parts) / sizeof(*parts), SET_MAX = 32 };

struct set {
	const char *item[SET_MAX + 1]; /* NULL-ended */
	unsigned count;
};

static void add(struct set *set, const char *item)
{
	if (set->count < SET_MAX)
		set->item[set->count++] = item;
	set->item[set->count] = NULL;
}

static bool holds(const struct set *set, const char *item)
{
	for (unsigned i = 0; i < set->count; i++)
		if (!strcmp(set->item[i], item))
			return true;
	return false;
}

static struct set join(const struct set *a, const struct set *b)
{
	struct set both = *a;

	for (unsigned i = 0; i < b->count; i++)
		add(&both, b->item[i]);
	return both;
}

static struct set slice(const struct set *set, unsigned from, unsigned to)
{
	struct set part = { 0 };

	for (unsigned i = from; i < to; i++)
		add(&part, set->item[i]);
	return part;
}

static const char *set_text(const struct set *set)
{
	static char text[512];
	size_t n = 0;

	text[0] = 0;
	for (unsigned i = 0; i < set->count && n < sizeof(text); i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s", i ? " " : "", set->item[i]);
	return text;
}

/* One line a run; 1: still fails. */
static bool fails(struct fault *fault, const struct set *off, const char *name)
{
	char how[64] = "";
	int rc = fault_seen(fault, off->item, how);

	if (rc < 0) {
		say("%s", strerror(-rc));
		exit(STATUS_NO);
	}
	printf("%3u  %-5s %-22s %s\n", fault->runs, rc ? "FAILS" : "ok", how, name ? name : set_text(off));
	fflush(stdout);
	return rc;
}

/*
 * The smallest part of `set` that, off together with `base`, makes the fault go away (QuickXplain):
 * for a single culprit about two runs for each halving.  `grown`: base is new and not yet tried.
 */
static struct set minimise(struct fault *fault, const struct set *base, bool grown, const struct set *set)
{
	if (grown && !fails(fault, base, NULL))
		return (struct set){ 0 };
	if (set->count <= 1)
		return *set;
	struct set left = slice(set, 0, set->count / 2), right = slice(set, set->count / 2, set->count);
	struct set with_left = join(base, &left);
	struct set in_right = minimise(fault, &with_left, true, &right);
	struct set with_right = join(base, &in_right);
	struct set in_left = minimise(fault, &with_right, in_right.count > 0, &left);
	return join(&in_left, &in_right);
}

/* "DLACCEL_CUDA_GRAPHS=0" is a part of "DLACCEL_CUDA=0" by its name. */
static bool is_named_after(const char *part, const char *whole)
{
	size_t n = strcspn(whole, "=");

	return !strncmp(part, whole, n) && part[n] == '_';
}

static bool is_part_of(const char *item, const char *whole)
{
	for (unsigned i = 0; i < PARTS; i++)
		if (!strcmp(parts[i].part, item) && !strcmp(parts[i].whole, whole))
			return true;
	return is_named_after(item, whole);
}

/* Every switch of the settings table that is on by default; a new one is here by itself. */
static struct set all_switches(void)
{
	static char items[SET_MAX][64];
	struct set set = { 0 };

	for (unsigned i = 0; i < settings_count && set.count < SET_MAX; i++) {
		const struct setting_row *row = &settings_rows[i];
		if (row->kind != SETTING_BOOL || !strcmp(row->name, "DLACCEL") || strcmp(setting_default(row), "on"))
			continue;
		snprintf(items[set.count], sizeof(items[0]), "%s=0", row->name);
		add(&set, items[set.count]);
	}
	for (unsigned i = 0; i < PARTS; i++)
		if (!holds(&set, parts[i].part))
			add(&set, parts[i].part);
	return set;
}

static struct set parts_of(const char *whole)
{
	struct set all = all_switches(), set = { 0 };

	for (unsigned i = 0; i < all.count; i++)
		if (is_part_of(all.item[i], whole))
			add(&set, all.item[i]);
	return set;
}

/* Those that are no part of another. */
static struct set all_wholes(void)
{
	struct set all = all_switches(), set = { 0 };

	for (unsigned i = 0; i < all.count; i++) {
		bool part = false;
		for (unsigned j = 0; j < all.count; j++)
			part |= is_part_of(all.item[i], all.item[j]);
		if (!part)
			add(&set, all.item[i]);
	}
	return set;
}

static struct set refine(struct fault *fault, struct set found)
{
	static const struct set nothing;

	while (found.count == 1) {
		struct set set = parts_of(found.item[0]);
		if (!set.count || fails(fault, &set, NULL))
			break;
		found = minimise(fault, &nothing, false, &set);
	}
	return found;
}

static int found_it(const struct fault *fault, const struct set *set)
{
	printf("\nthe fault goes away with %s (%u runs; their output: %s)\n", set_text(set), fault->runs, fault->folder);
	printf("until it is mended: %s dlaccel run -- %s ...\n", set_text(set), fault->argv[0]);
	return STATUS_OK;
}

static int not_found(const char *why)
{
	printf("\n%s\n", why);
	return STATUS_NO;
}

static int bisect(struct fault *fault)
{
	static const struct set nothing;
	struct set off = { { "DLACCEL=0" }, 1 }, wholes = all_wholes(), found;

	if (!fails(fault, &nothing, "everything on"))
		return not_found("no fault with everything on: try --check, --timeout or --repeat");
	if (fails(fault, &off, NULL))
		return not_found("the fault is there without dlaccel too");
	if (fails(fault, &wholes, NULL))
		return not_found("the fault goes away with DLACCEL=0 only: the library's presence is enough for it");
	found = minimise(fault, &nothing, false, &wholes);
	found = refine(fault, found);
	return found_it(fault, &found);
}

static bool take_number(unsigned *ret_n)
{
	*ret_n = (unsigned)parse_pid(optarg);
	return *ret_n != 0;
}

static bool take_option(int c, struct fault *fault, const char **ret_pattern)
{
	switch (c) {
	case 'c':
		fault->check = optarg;
		return true;
	case 't':
		return take_number(&fault->timeout);
	case 'r':
		return take_number(&fault->repeat);
	case 'o':
		*ret_pattern = optarg;
		return true;
	default:
		return false;
	}
}

static int start(struct fault *fault, const char *pattern)
{
	char path[PATH_MAX];
	static struct program program;
	int rc = program_find(fault->argv[0], &program);

	if (rc) {
		say("%s: %s", program.runs[program.depth], strerror(-rc));
		return rc == -ENOENT ? STATUS_NOT_FOUND : STATUS_CANNOT_RUN;
	}
	rc = outdir_expand(pattern, base_name(fault->argv[0]), getpid(), path);
	if (!rc)
		rc = outdir_create(path, fault->folder);
	if (rc) {
		say("%s: %s", path, strerror(-rc));
		return STATUS_NO;
	}
	return bisect(fault);
}

int cmd_bisect(int argc, char **argv)
{
	static const struct option options[] = {
		{ "check", required_argument, NULL, 'c' },  { "timeout", required_argument, NULL, 't' },
		{ "repeat", required_argument, NULL, 'r' }, { "output", required_argument, NULL, 'o' },
		{ "help", no_argument, NULL, 'h' },	    { 0 },
	};
	static struct fault fault = { .repeat = 1 };
	const char *pattern = "dlaccel.bisect.%p";
	int c;

	while ((c = getopt_long(argc, argv, "+o:h", options, NULL)) != -1) {
		if (c == 'h')
			return usage_shown(usage);
		if (!take_option(c, &fault, &pattern))
			return usage_wrong(usage);
	}
	fault.argv = argv + optind;
	return *fault.argv ? start(&fault, pattern) : usage_wrong(usage);
}
