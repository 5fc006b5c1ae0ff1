#include "counters.h"
#include "dlaccel.h"
#include "remote.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char usage[] =
	"usage: dlaccel off -p PID [FEATURE...]\n"
	"       dlaccel off DIR [FEATURE...]\n"
	"\n"
	"Brings a running process back to plain: its streams return to TCP and its launches to the driver\n"
	"at its next call, with nothing lost. DIR is the folder of a run: all of its processes, and no\n"
	"right to trace them is needed.\n"
	"FEATURE: sockets, cuda; none means both.\n"
	"Exit status 1: no process was reached.\n";

static const struct {
	const char *name;
	uint32_t bit;
} features[] = { { "sockets", 1 }, { "cuda", 2 }, { "all", 3 } };

static uint32_t feature_bit(const char *name)
{
	for (unsigned i = 0; i < sizeof(features) / sizeof(*features); i++)
		if (!strcmp(features[i].name, name))
			return features[i].bit;
	return 0;
}

static int parse_features(char **names, uint32_t *ret_bits)
{
	uint32_t bits = 0, bit;

	for (; *names; names++, bits |= bit)
		if (!(bit = feature_bit(*names))) {
			fprintf(stderr, "dlaccel off: no feature '%s' (sockets, cuda)\n", *names);
			return -EINVAL;
		}
	*ret_bits = bits ? bits : 3;
	return 0;
}

static void done(const struct counters *counters, uint32_t bits)
{
	printf("%u %s: %s%s%s off\n", counters->pid, counters->program, bits & 1 ? "sockets" : "",
		bits == 3 ? ", " : "", bits & 2 ? "cuda" : "");
}

/* The library writes the word only at its birth, so reading and writing it again loses nothing. */
static int off_process(pid_t pid, uint32_t bits)
{
	struct counters counters;
	uint64_t address;
	int rc = counters_read_pid(pid, &counters);

	if (!rc)
		rc = remote_find(pid, "dlaccel_stats", &address);
	if (rc)
		return rc;
	bits |= counters.off;
	rc = remote_write(pid, address + offsetof(struct stats, off), &bits, sizeof(bits));
	if (!rc)
		done(&counters, bits & 3);
	return rc;
}

static int off_file(int dir, const char *name, uint32_t bits)
{
	struct counters counters;
	char path[64];
	struct stat st;
	int fd = openat(dir, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd < 0)
		return -errno;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int rc = fstat(fd, &st) ? -errno : S_ISREG(st.st_mode) ? counters_read_file(path, &counters) : -ENOMSG;
	if (!rc && kill((pid_t)counters.pid, 0) && errno == ESRCH)
		rc = -ESRCH;
	bits |= rc ? 0 : counters.off;
	if (!rc && pwrite(fd, &bits, sizeof(bits), offsetof(struct stats, off)) != sizeof(bits))
		rc = -EIO;
	if (!rc)
		done(&counters, bits & 3);
	close(fd);
	return rc;
}

static int off_folder(const char *path, uint32_t bits)
{
	struct dirent *entry;
	DIR *dir = opendir(path);
	unsigned reached = 0;

	if (!dir)
		return -errno;
	while ((entry = readdir(dir)))
		if (strstr(entry->d_name, ".stats"))
			reached += !off_file(dirfd(dir), entry->d_name, bits);
	closedir(dir);
	return reached ? 0 : -ESRCH;
}

int cmd_off(int argc, char **argv)
{
	static const struct option options[] = {
		{ "pid", required_argument, NULL, 'p' }, { "help", no_argument, NULL, 'h' }, { 0 } };
	const char *who = NULL;
	uint32_t bits;
	int c, rc;
	pid_t pid = 0;

	while ((c = getopt_long(argc, argv, "p:h", options, NULL)) != -1) {
		if (c == 'h')
			return usage_shown(usage);
		if (c != 'p' || !(pid = parse_pid(optarg)))
			return usage_wrong(usage);
		who = optarg;
	}
	if (!who && optind < argc)
		who = argv[optind++];
	if (!who || parse_features(argv + optind, &bits))
		return usage_wrong(usage);
	rc = pid ? off_process(pid, bits) : off_folder(who, bits);
	return rc ? say_unreadable("off", who, rc) : STATUS_OK;
}
