/*
 * dlaccel doctor: would this program on this machine be accelerated, and if not, why?  One row of the
 * table is one question; what can be tried is tried.
 */
#include "dlaccel.h"
#include "machine.h"
#include "peer.h"
#include "program.h"
#include "setting_text.h"
#include "trial.h"

#include <errno.h>
#include <getopt.h>
#include <gnu/libc-version.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static const char usage[] =
	"usage: dlaccel doctor [--json] [--peer HOST] [PROGRAM]\n"
	"\n"
	"Looks at this machine, and at a program if one is named, and says what would be accelerated and\n"
	"what not, and why; with --peer also whether connections to that host would use RDMA. Nothing is changed and none of the program's code is run.\n"
	"Exit status 1: something stands in the way.\n";

/* NOTE: slower, or worth knowing.  NO: not accelerated. */
enum verdict { OK, NOTE, NO, SKIP };

struct doctor {
	const char *asked; /* NULL: only the machine */
	const char *peer;  /* NULL: none named */
	int found;	   /* of program_find */
	struct program program;
	int located; /* of library_find */
	char library[PATH_MAX];
	char loader_said[1 << 16];
	int loads; /* of trial_load */
	char text[1024];
};

static enum verdict answer(struct doctor *d, enum verdict verdict, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static enum verdict answer(struct doctor *d, enum verdict verdict, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(d->text, sizeof(d->text), fmt, ap);
	va_end(ap);
	plain_text(d->text);
	return verdict;
}

static const char *resolved(const struct doctor *d)
{
	return d->program.runs[d->program.depth];
}

static enum verdict check_switch(struct doctor *d)
{
	settings_read(environ);
	if (!settings.enabled)
		return answer(d, NO, "DLACCEL=0 is set: everything is off");
	return answer(d, OK, "DLACCEL is not 0");
}

static enum verdict check_library(struct doctor *d)
{
	d->located = library_find(d->library);
	if (d->located)
		return answer(d, NO, "libdlaccel.so is not where it was installed (" DLACCEL_LIBDIR ")");
	if (!library_is_nameable(d->library))
		return answer(d, NO, "%s: LD_PRELOAD cannot name a path with a space or a colon", d->library);
	return answer(d, OK, "%s", d->library);
}

static enum verdict check_program(struct doctor *d)
{
	size_t n = 0;

	if (!d->asked)
		return SKIP;
	d->found = program_find(d->asked, &d->program);
	for (unsigned i = 0; i <= d->program.depth && n < sizeof(d->text); i++)
		n += (size_t)snprintf(d->text + n, sizeof(d->text) - n, "%s%s", i ? ", run by " : "", d->program.runs[i]);
	if (d->found && n < sizeof(d->text))
		snprintf(d->text + n, sizeof(d->text) - n, ": %s", strerror(-d->found));
	plain_text(d->text);
	return d->found ? NO : OK;
}

static enum verdict check_apps(struct doctor *d)
{
	const char *name = base_name(resolved(d));

	if (!d->asked || d->found || !*settings.apps)
		return SKIP;
	if (!setting_lists(settings.apps, name))
		return answer(d, NO, "DLACCEL_APPS=%s does not name %s", settings.apps, name);
	return answer(d, OK, "DLACCEL_APPS names %s", name);
}

static enum verdict check_linking(struct doctor *d)
{
	bool harmful;
	const char *why;

	if (!d->asked || d->found)
		return SKIP;
	if (!d->program.elf.is_elf)
		return answer(d, NOTE, "%s cannot be read: nothing is known about it", resolved(d));
	why = program_obstacle(&d->program, &harmful);
	if (why)
		return answer(d, NO, "%s", why);
	if (d->program.elf.go)
		return answer(d, NO, "written in Go: its sockets do without libc, so the hooks do not see them");
	return answer(d, OK, "64-bit, dynamic, loaded by %s", d->program.elf.loader);
}

/* The loader's own words, from the first that names the library. */
static const char *loader_words(struct doctor *d)
{
	char *line = strstr(d->loader_said, "libdlaccel");

	if (!line)
		return "it says nothing about it";
	while (line > d->loader_said && line[-1] != '\n')
		line--;
	line[strcspn(line, "\n")] = 0;
	return line;
}

/* A program may name anything as its loader, and we are about to run it. */
static bool is_trusted(const char *loader)
{
	struct stat st;

	return !stat(loader, &st) && (!st.st_uid || st.st_uid == getuid()) && !(st.st_mode & (S_IWGRP | S_IWOTH));
}

static enum verdict check_loading(struct doctor *d)
{
	bool harmful;

	d->loads = -EINVAL;
	if (!d->asked || d->found || d->located || !d->program.elf.is_elf || !d->program.elf.loader[0] ||
		program_obstacle(&d->program, &harmful))
		return SKIP;
	if (!is_trusted(d->program.elf.loader))
		return answer(d, NOTE, "not tried: the loader %s is another user's or not there", d->program.elf.loader);
	d->loads = trial_load(d->program.elf.loader, d->library, resolved(d), d->loader_said, sizeof(d->loader_said));
	if (d->loads)
		return answer(d, NO, "the loader does not take the library: %s", loader_words(d));
	return answer(d, OK, "the loader maps the program with the library");
}

static enum verdict check_sanitizer(struct doctor *d)
{
	const char *options = getenv("ASAN_OPTIONS");

	if (d->loads || !strstr(d->loader_said, "libasan.so"))
		return SKIP;
	if (options && strstr(options, "verify_asan_link_order=0"))
		return answer(d, OK, "AddressSanitizer, told to accept a library before it");
	return answer(d, NOTE, "AddressSanitizer wants to be first: with LD_PRELOAD alone set ASAN_OPTIONS=verify_asan_link_order=0, as dlaccel run does");
}

static enum verdict check_readable(struct doctor *d)
{
	if (!d->asked || d->found)
		return SKIP;
	if (access(resolved(d), R_OK))
		return answer(d, NOTE, "its file is not readable: the kernel forbids direct copies with it; rings only");
	if (prctl(PR_GET_DUMPABLE) != 1)
		return answer(d, NOTE, "we are not dumpable, and what we start may not be: rings only");
	return answer(d, OK, "readable and dumpable");
}

static enum verdict check_preloads(struct doctor *d)
{
	const char *list = getenv("LD_PRELOAD");
	char global[256];

	if (read_text("/etc/ld.so.preload", global, sizeof(global)))
		global[0] = 0;
	global[strcspn(global, "\n")] = 0;
	if (!*global && !(list && *list))
		return answer(d, OK, "none");
	return answer(d, NOTE, "kept behind ours: %s %s", list ? list : "", global);
}

static enum verdict check_glibc(struct doctor *d)
{
	const char *version = gnu_get_libc_version();

	if (strverscmp(version, "2.31") < 0)
		return answer(d, NO, "glibc %s: 2.31 or newer is needed", version);
	return answer(d, OK, "glibc %s", version);
}

static enum verdict check_settings(struct doctor *d)
{
	const struct setting_row *near;
	unsigned wrong = 0, changed = 0;

	for (char **entry = environ; *entry; entry++)
		wrong += settings_check(*entry, &near) != 0;
	for (unsigned i = 0; i < settings_count; i++)
		changed += setting_changed(&settings_rows[i]);
	if (wrong)
		return answer(d, NOTE, "%u unknown or invalid DLACCEL_ variables: see dlaccel config", wrong);
	return answer(d, OK, "%u differ from their default", changed);
}

static enum verdict check_cores(struct doctor *d)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	if (cores < 2)
		return answer(d, NOTE, "one: waiting never spins, small messages gain little");
	return answer(d, OK, "%ld", cores);
}

static enum verdict check_memfd(struct doctor *d)
{
	int rc = trial_memfd();

	if (rc)
		return answer(d, NO, "memfd_create with seals: %s: sockets stay plain TCP on one host", strerror(-rc));
	return answer(d, OK, "sealed memfd works");
}

static enum verdict check_abstract(struct doctor *d)
{
	int rc = trial_abstract();

	if (rc)
		return answer(d, NO, "abstract unix socket: %s: processes cannot meet", strerror(-rc));
	return answer(d, OK, "abstract unix sockets pass fds and credentials");
}

static enum verdict check_counters(struct doctor *d)
{
	int rc = trial_counters();

	if (rc == -ENODATA)
		return answer(d, NO, "the kernel's TCP_INFO does not count bytes: no connection can be upgraded");
	if (rc)
		return answer(d, NO, "a TCP connection over 127.0.0.1: %s", strerror(-rc));
	return answer(d, OK, "the kernel counts the bytes of a TCP connection");
}

static enum verdict check_copy(struct doctor *d)
{
	int rc = trial_copy();

	if (rc)
		return answer(d, NOTE, "process_vm_readv between two processes: %s: large blocks go through the ring",
			strerror(-rc));
	return answer(d, OK, "direct copies between two processes work, both ways");
}

static enum verdict check_pidfd(struct doctor *d)
{
	int rc = trial_pidfd();

	if (rc)
		return answer(d, NOTE, "pidfd_open: %s: large blocks go through the ring", strerror(-rc));
	return answer(d, OK, "works");
}

static enum verdict check_ptrace(struct doctor *d)
{
	char text[16];

	if (read_text("/proc/sys/kernel/yama/ptrace_scope", text, sizeof(text)))
		return answer(d, OK, "no Yama in this kernel");
	text[strcspn(text, "\n")] = 0;
	if (*text == '0')
		return answer(d, OK, "ptrace_scope 0");
	return answer(d, NOTE, "ptrace_scope %s: direct copies only where the kernel allows them (see copies)", text);
}

static enum verdict check_seccomp(struct doctor *d)
{
	char text[8192], *at;

	if (read_text("/proc/self/status", text, sizeof(text)) || !(at = strstr(text, "\nSeccomp:")))
		return answer(d, NOTE, "unknown");
	at += strcspn(at, "012");
	if (*at == '0')
		return answer(d, OK, "no filter");
	return answer(d, NOTE, "a filter is active: what it forbids shows above");
}

static const char *container(void)
{
	const char *named = getenv("container");

	if (named && *named)
		return named;
	return !access("/.dockerenv", F_OK) ? "docker" : !access("/run/.containerenv", F_OK) ? "podman" : NULL;
}

/* The kernel gives some of the first namespaces the same number everywhere; 0: not this one. */
static const struct space {
	const char *name;
	unsigned long first;
} spaces[] = {
	{ "user", 0xeffffffd }, { "pid", 0xeffffffc }, { "net", 0 }, { "mnt", 0 }, { "ipc", 0xefffffff },
};

static unsigned long space_of(const char *process, const char *name)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%s/ns/%s", process, name);
	return stat(path, &st) ? 0 : (unsigned long)st.st_ino;
}

/* Most users may not look at the first process's. */
static bool differs_from_init(const struct space *space)
{
	unsigned long ours = space_of("self", space->name), theirs = space_of("1", space->name);

	if (!theirs)
		theirs = space->first;
	return ours && theirs && ours != theirs;
}

static enum verdict check_namespaces(struct doctor *d)
{
	const char *name = container();
	char own[64] = "";

	for (unsigned i = 0; i < sizeof(spaces) / sizeof(*spaces); i++)
		if (differs_from_init(&spaces[i]))
			strcat(strcat(own, *own ? ", " : ""), spaces[i].name);
	if (name || *own)
		return answer(d, NOTE, "%s%s%s%s: shared memory only with processes in the same ones",
			name ? "container " : "", name ? name : "", *own ? " own namespaces " : "", own);
	if (!space_of("1", "net"))
		return answer(d, OK, "user, pid and ipc are the first ones; net and mnt only root can compare");
	return answer(d, OK, "those of the first process");
}

static enum verdict check_limits(struct doctor *d)
{
	struct rlimit lock, files;
	char text[32] = "unlimited";

	getrlimit(RLIMIT_MEMLOCK, &lock);
	getrlimit(RLIMIT_NOFILE, &files);
	if (lock.rlim_cur != RLIM_INFINITY)
		snprintf(text, sizeof(text), "%s", say_size(lock.rlim_cur));
	if (files.rlim_cur < 256)
		return answer(d, NOTE, "ulimit -n is %lu: a connection needs up to two more while it is upgraded",
			(unsigned long)files.rlim_cur);
	return answer(d, OK, "ulimit -n %lu, ulimit -l %s", (unsigned long)files.rlim_cur, text);
}

static const char *there(const char *soname)
{
	return trial_library(soname) ? "not there" : "there";
}

static enum verdict check_rdma(struct doctor *d)
{
	struct rlimit lock;
	char names[256];

	machine_rdma(names, sizeof(names));
	if (!DLACCEL_HAVE_RDMA)
		return answer(d, NOTE, "this build has no RDMA (libibverbs.so.1 %s, devices: %s)",
			there("libibverbs.so.1"), *names ? names : "none");
	if (!*names)
		return answer(d, NOTE, "no device: TCP between hosts");
	if (trial_library("libibverbs.so.1") || trial_library("librdmacm.so.1"))
		return answer(d, NOTE, "%s, but libibverbs.so.1 or librdmacm.so.1 is missing", names);
	getrlimit(RLIMIT_MEMLOCK, &lock);
	if (lock.rlim_cur < 64u << 20)
		return answer(d, NOTE, "%s, but ulimit -l is only %s", names, say_size(lock.rlim_cur));
	if (!settings.rdma)
		return answer(d, NOTE, "%s, but RDMA is off: DLACCEL_SECRET_FILE or DLACCEL_RDMA=1 turns it on", names);
	return answer(d, OK, "%s", names);
}

static enum verdict check_peer(struct doctor *d)
{
	char text[512];

	if (!d->peer)
		return SKIP;
	return answer(d, peer_has_rdma(d->peer, text, sizeof(text)) ? OK : NOTE, "%s", text);
}

static enum verdict check_cuda(struct doctor *d)
{
	char driver[64];

	machine_cuda(driver, sizeof(driver));
	if (!DLACCEL_HAVE_CUDA)
		return answer(d, NOTE, "this build has no CUDA (libcuda.so.1 %s, driver: %s)",
			there("libcuda.so.1"), *driver ? driver : "none");
	if (trial_library("libcuda.so.1"))
		return answer(d, NOTE, "no libcuda.so.1");
	return answer(d, *driver ? OK : NOTE, "%s%s", *driver ? "driver " : "libcuda.so.1, but no driver loaded", driver);
}

static const struct check {
	const char *name;
	enum verdict (*ask)(struct doctor *d);
} checks[] = {
	{ "switch", check_switch },	{ "library", check_library },	  { "program", check_program },
	{ "apps", check_apps },		{ "linking", check_linking },	  { "loading", check_loading },
	{ "sanitizer", check_sanitizer }, { "dumpable", check_readable }, { "preloads", check_preloads },
	{ "libc", check_glibc },	{ "settings", check_settings },	  { "memory", check_memfd },
	{ "meeting", check_abstract },	{ "counting", check_counters },	  { "copies", check_copy },
	{ "pidfd", check_pidfd },	{ "cores", check_cores },	  { "ptrace", check_ptrace },
	{ "seccomp", check_seccomp },	{ "spaces", check_namespaces },	  { "limits", check_limits },
	{ "rdma", check_rdma },		{ "peer", check_peer },		  { "cuda", check_cuda },
};

static const char *const words[] = { [OK] = "ok", [NOTE] = "note", [NO] = "NO" };

static void put_line(const struct check *check, enum verdict verdict, const char *text)
{
	printf("%-5s %-10s %s\n", words[verdict], check->name, text);
}

static void put_object(const struct check *check, enum verdict verdict, const char *text)
{
	static bool more;

	printf("%s\n  {\"check\": \"%s\", \"verdict\": \"%s\", \"text\": ", more ? "," : "", check->name,
		verdict == NO ? "no" : words[verdict]);
	put_json(stdout, text);
	putchar('}');
	more = true;
}

static void put_verdict(const char *asked, unsigned stops)
{
	const char *who = asked ? asked : "a program that it suits";

	if (stops)
		printf("%s would not be accelerated: %u thing%s in the way\n", who, stops, stops == 1 ? "" : "s");
	else
		printf("%s would be accelerated: dlaccel run -- %s\n", who, asked ? asked : "PROGRAM");
}

static int examine(struct doctor *d, bool json)
{
	unsigned stops = 0;

	fputs(json ? "[" : "", stdout);
	for (unsigned i = 0; i < sizeof(checks) / sizeof(*checks); i++) {
		enum verdict verdict = checks[i].ask(d);
		stops += verdict == NO;
		if (verdict != SKIP)
			(json ? put_object : put_line)(&checks[i], verdict, d->text);
		fflush(stdout);
	}
	if (json)
		puts("\n]");
	else
		put_verdict(d->asked, stops);
	return stops ? STATUS_NO : STATUS_OK;
}

int cmd_doctor(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' }, { "peer", required_argument, NULL, 'p' }, { "help", no_argument, NULL, 'h' }, { 0 } };
	static struct doctor d;
	bool json = false;
	int c;

	while ((c = getopt_long(argc, argv, "+jp:h", options, NULL)) != -1) {
		if (c == 'h')
			return usage_shown(usage);
		if (c != 'j' && c != 'p')
			return usage_wrong(usage);
		json |= c == 'j';
		d.peer = c == 'p' ? optarg : d.peer;
	}
	d.asked = argv[optind];
	return examine(&d, json);
}
