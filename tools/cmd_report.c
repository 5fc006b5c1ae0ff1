/*
 * dlaccel report: what the folder of a run says, by its counters, its profiles and its log.
 */
#include "counters.h"
#include "dlaccel.h"
#include "profiles.h"
#include "summary.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
	"usage: dlaccel report [options] DIR|FILE...\n"
	"\n"
	"Says what a run's processes moved and what they passed, and why, and what their steps cost. DIR is\n"
	"the folder that `dlaccel run` names; the run may be over, killed or still going on. FILE is the\n"
	"profile of one process. Pages and timelines are of one DIR or FILE.\n"
	"  -j, --json         as JSON\n"
	"      --html FILE    a page for each profile; %p in its name stands for the process\n"
	"      --chrome FILE  a timeline for each, for chrome://tracing, Perfetto and HTA\n";

enum { LOG_LINES = 20 };

/* The path of a plain file in the folder, opened; NULL if there is none. */
static FILE *open_part(const char *dir, const char *name)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= PATH_MAX)
		return NULL;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	return fd < 0 ? NULL : fdopen(fd, "r");
}

static void put_process(const struct counters *one)
{
	struct traffic sent = traffic_sent(one), received = traffic_received(one);

	printf("  %-8u %-16s %10s of %-10s %10s of %-10s %6" PRIu64 " of %" PRIu64 "\n", one->pid, one->program,
		say_bytes(traffic_moved(&sent)), say_bytes(traffic_all(&sent)), say_bytes(traffic_moved(&received)),
		say_bytes(traffic_all(&received)), counters_get(one, "net.upgraded"),
		counters_get(one, "net.tracked"));
}

static void put_log(const char *dir)
{
	FILE *log = open_part(dir, "log");
	char line[512];
	unsigned n = 0;

	while (log && fgets(line, sizeof(line), log))
		if (n++ < LOG_LINES) {
			line[strcspn(line, "\n")] = 0;
			printf("%s  %s\n", n == 1 ? "\nlog\n" : "", plain_text(line));
		}
	if (n > LOG_LINES)
		printf("  and %u more lines in %s/log\n", n - LOG_LINES, dir);
	if (log)
		fclose(log);
}

static void put_counters_text(const char *dir, const struct folder *folder, const struct counters *sum)
{
	printf("%s: %u process%s took part\n", dir, folder->count, folder->count == 1 ? "" : "es");
	summary_write(stdout, "  ", sum, UINT_MAX);
	if (folder->broken)
		printf("  %u files *.stats hold no counters of dlaccel (was the disk full?)\n", folder->broken);
	if (folder->count)
		puts("\n  process                    sent by dlaccel        received by dlaccel      upgraded");
	for (unsigned i = 0; i < folder->count; i++)
		put_process(&folder->process[i]);
}

static void put_text(const char *dir, const struct folder *folder, const struct counters *sum,
	const struct profiles *profiles)
{
	put_counters_text(dir, folder, sum);
	profiles_put_text(profiles, stdout);
	put_log(dir);
}

static void put_traffic_json(const char *name, const struct traffic *traffic)
{
	printf("\"%s\": {\"ring\": %" PRIu64 ", \"block\": %" PRIu64 ", \"verbs\": %" PRIu64 ", \"inline\": %" PRIu64
	       ", \"plain\": %" PRIu64 ", \"moved\": %" PRIu64 ", \"all\": %" PRIu64 "}",
		name, traffic->ring, traffic->block, traffic->verbs, traffic->in_line, traffic->plain,
		traffic_moved(traffic), traffic_all(traffic));
}

static void put_counters_json(const struct counters *one)
{
	struct traffic sent = traffic_sent(one), received = traffic_received(one);

	put_traffic_json("sent", &sent);
	fputs(", ", stdout);
	put_traffic_json("received", &received);
	fputs(", \"counters\": {", stdout);
	for (unsigned i = 0; i < one->count; i++) {
		fputs(i ? ", " : "", stdout);
		put_json(stdout, one->item[i].name);
		printf(": %" PRIu64, one->item[i].value);
	}
	putchar('}');
}

static void put_process_json(const struct counters *one)
{
	printf("{\"pid\": %u, \"program\": ", one->pid);
	put_json(stdout, one->program);
	printf(", \"started_ns\": %" PRIu64 ", \"off\": %u, ", one->started_ns, one->off);
	put_counters_json(one);
	putchar('}');
}

static void put_json_report(const char *dir, const struct folder *folder, const struct counters *sum,
	const struct profiles *profiles)
{
	fputs("{\"folder\": ", stdout);
	put_json(stdout, dir);
	printf(", \"broken\": %u, ", folder->broken);
	put_counters_json(sum);
	fputs(", \"processes\": [", stdout);
	for (unsigned i = 0; i < folder->count; i++) {
		fputs(i ? ",\n  " : "\n  ", stdout);
		put_process_json(&folder->process[i]);
	}
	fputs("], \"profiles\": [", stdout);
	profiles_put_json(profiles, stdout);
	puts("]}");
}

struct request {
	const char *path;
	bool json;
	const char *file[2]; /* by enum profile_form; NULL: not asked for */
};

/* A single profile has no counters beside it. */
static int show(const struct request *request, const struct profiles *profiles)
{
	static struct counters sum;
	struct folder folder = { 0 };
	int rc = folder_read(request->path, 0, &folder);

	if (rc == -ENOTDIR && !request->json) {
		profiles_put_text(profiles, stdout);
		return 0;
	}
	if (rc && rc != -ENOTDIR)
		return rc;
	folder_sum(&folder, &sum);
	(request->json ? put_json_report : put_text)(request->path, &folder, &sum, profiles);
	folder_free(&folder);
	return 0;
}

static int write_files(const struct request *request, const struct profiles *profiles)
{
	int rc = profiles->count ? 0 : -ENODATA;

	for (unsigned form = 0; form < 2; form++)
		if (!rc && request->file[form])
			rc = profiles_write(profiles, form, request->file[form]);
	return rc;
}

static const char *trouble(int rc)
{
	return rc == -ENODATA ? "no profile there: was DLACCEL_PROFILE on, and were there steps?" :
	       rc == -EINVAL  ? "several profiles: put %p into the name, or name one of them" :
				strerror(-rc);
}

static int report(const struct request *request)
{
	struct profiles profiles;
	int rc = profiles_find(request->path, &profiles);

	if (!rc) {
		bool files = request->file[0] || request->file[1];
		rc = files ? write_files(request, &profiles) : show(request, &profiles);
		profiles_free(&profiles);
	}
	if (rc)
		fprintf(stderr, "dlaccel report: %s: %s\n", request->path, trouble(rc));
	return rc ? STATUS_NO : STATUS_OK;
}

static bool take_option(int c, struct request *request)
{
	switch (c) {
	case 'j':
		return request->json = true;
	case 'c':
		request->file[PROFILE_CHROME] = optarg;
		return true;
	case 'm':
		request->file[PROFILE_HTML] = optarg;
		return true;
	default:
		return false;
	}
}

int cmd_report(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },	    { "chrome", required_argument, NULL, 'c' },
		{ "html", required_argument, NULL, 'm' }, { "help", no_argument, NULL, 'h' }, { 0 },
	};
	struct request request = { 0 };
	int c, status = STATUS_OK;

	while ((c = getopt_long(argc, argv, "jh", options, NULL)) != -1) {
		if (c == 'h')
			return usage_shown(usage);
		if (!take_option(c, &request))
			return usage_wrong(usage);
	}
	if (optind == argc || (optind + 1 < argc && (request.file[0] || request.file[1])))
		return usage_wrong(usage);
	for (int i = optind; i < argc; i++) {
		fputs(i > optind ? "\n" : "", stdout);
		request.path = argv[i];
		status |= report(&request);
	}
	return status;
}
