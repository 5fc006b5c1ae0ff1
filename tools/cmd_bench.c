#include "child.h"
#include "dlaccel.h"
#include "program.h"

#include <stdlib.h>
#include <string.h>

static const char usage[] =
	"usage: dlaccel bench NAME [options of that benchmark]\n"
	"\n"
	"Measures on this machine, bare and accelerated in turn. `dlaccel bench NAME --help` has its options.\n"
	"  net      TCP on one host: latency, throughput, processor time (--json)\n"
	"  launch   CUDA launches, with the bound beside them; without a GPU only counted, on the simulated device (--json)\n";

static bool is_plain(const char *name)
{
	return *name && !name[strspn(name, "abcdefghijklmnopqrstuvwxyz")];
}

/* In the source around a build folder, or installed. */
static int find_bench(const char *name, char ret_path[PATH_MAX])
{
	char source[128], installed[PATH_MAX];

	snprintf(source, sizeof(source), "/../../tests/bench/%.64s.py", name);
	snprintf(installed, sizeof(installed), "%s/tests/bench/%.64s.py", DLACCEL_LIBEXECDIR, name);
	return part_find(source, installed, ret_path);
}

/* A benchmark takes what it measures from a build folder: that of this tool, unless told otherwise; else what is installed. */
static char **command(char *script, char **args, unsigned count)
{
	static char build[PATH_MAX], library[PATH_MAX];
	char **argv = calloc(count + 5, sizeof(*argv));
	unsigned n = 0;

	if (!argv)
		return NULL;
	argv[n++] = "python3";
	argv[n++] = script;
	if (!part_find("/../meson-info", "/nonexistent", build)) {
		*strrchr(build, '/') = 0;
		argv[n++] = "--build";
		argv[n++] = build;
	} else if (!library_find(library)) {
		setenv("SHIM_LIBRARY", library, 0);
	}
	memcpy(argv + n, args, count * sizeof(*argv));
	return argv;
}

int cmd_bench(int argc, char **argv)
{
	static char path[PATH_MAX];

	if (argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")))
		return usage_shown(usage);
	if (argc < 2 || !is_plain(argv[1]))
		return usage_wrong(usage);
	if (find_bench(argv[1], path)) {
		fprintf(stderr, "dlaccel bench: no benchmark '%s' here: the source has more, in tests/bench\n", argv[1]);
		return STATUS_NO;
	}
	argv = command(path, argv + 2, (unsigned)argc - 2);
	return argv ? exec_program(argv) : STATUS_CANNOT_RUN;
}
