#include "counters.h"
#include "dlaccel.h"
#include "summary.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char usage[] =
	"usage: dlaccel stats [options] -p PID\n"
	"       dlaccel stats [options] FILE|DIR\n"
	"\n"
	"Shows the counters of a living process, of a file <pid>.stats, or of all processes of a run's\n"
	"folder added up. The process is not stopped and notices nothing.\n"
	"  -a, --all              also counters that are zero\n"
	"  -j, --json             as JSON\n"
	"  -w, --watch[=SECONDS]  again and again until the process is gone, by default every second\n"
	"      --prometheus FILE  for Prometheus's text collector; FILE is replaced atomically\n"
	"Exit status 1: there is nothing to read.\n";

struct request {
	pid_t pid;
	const char *path; /* of a file or folder, when pid is 0 */
	bool all, json;
	unsigned watch; /* seconds between two looks; 0: once */
	const char *prometheus;
};

static int read_folder(const char *path, struct counters *ret)
{
	struct folder folder;
	int rc = folder_read(path, 0, &folder);

	if (rc)
		return rc;
	if (folder.count)
		folder_sum(&folder, ret);
	else
		rc = -ENOMSG;
	if (folder.count > 1) {
		ret->pid = 0;
		snprintf(ret->program, sizeof(ret->program), "%u processes", folder.count);
	}
	folder_free(&folder);
	return rc;
}

static int look(const struct request *request, struct counters *ret)
{
	struct stat st;

	if (request->pid)
		return counters_read_pid(request->pid, ret);
	if (stat(request->path, &st))
		return -errno;
	return S_ISDIR(st.st_mode) ? read_folder(request->path, ret) : counters_read_file(request->path, ret);
}

static const char *off_text(uint32_t off)
{
	static const char *const texts[] = { "", "sockets", "cuda", "sockets, cuda" };
	return texts[off & 3];
}

static void put_text(const struct counters *counters, bool all)
{
	if (counters->pid)
		printf("pid %u ", counters->pid);
	printf("%s%s%s\n", counters->program, counters->off & 3 ? "  off: " : "", off_text(counters->off));
	for (unsigned i = 0; i < counters->count; i++) {
		const struct counter *item = &counters->item[i];
		if (item->value || all)
			printf("  %-32s %15" PRIu64 "  %s\n", item->name, item->value, counters_doc(item->name));
	}
}

static void put_object(const struct counters *counters)
{
	printf("{\"pid\": %u, \"program\": ", counters->pid);
	put_json(stdout, counters->program);
	printf(", \"started_ns\": %" PRIu64 ", \"off\": %u, \"counters\": {", counters->started_ns, counters->off);
	for (unsigned i = 0; i < counters->count; i++) {
		fputs(i ? ", " : "", stdout);
		put_json(stdout, counters->item[i].name);
		printf(": %" PRIu64, counters->item[i].value);
	}
	puts("}}");
}

/* Prometheus takes letters, digits and underscores. */
static void metric_name(const char *name, char ret_name[STATS_NAME + 1])
{
	for (; *name; name++)
		*ret_name++ = (*name >= 'a' && *name <= 'z') || (*name >= '0' && *name <= '9') ? *name : '_';
	*ret_name = 0;
}

static void put_metrics(FILE *out, const struct counters *counters)
{
	char name[STATS_NAME + 1];

	for (unsigned i = 0; i < counters->count; i++) {
		metric_name(counters->item[i].name, name);
		fprintf(out, "# HELP dlaccel_%s %s\n# TYPE dlaccel_%s untyped\n", name,
			counters_doc(counters->item[i].name), name);
		fprintf(out, "dlaccel_%s{pid=\"%u\",program=", name, counters->pid);
		put_json(out, counters->program);
		fprintf(out, "} %" PRIu64 "\n", counters->item[i].value);
	}
}

static int write_metrics(const char *path, const struct counters *counters)
{
	char temp[4096];
	FILE *out;

	if (snprintf(temp, sizeof(temp), "%s.%d.new", path, (int)getpid()) >= (int)sizeof(temp))
		return -ENAMETOOLONG;
	out = fopen(temp, "wxe");
	if (!out)
		return -errno;
	put_metrics(out, counters);
	if (fclose(out) || rename(temp, path)) {
		int err = errno;
		unlink(temp);
		return -err;
	}
	return 0;
}

static int show(const struct request *request, const struct counters *counters)
{
	if (request->prometheus) {
		int rc = write_metrics(request->prometheus, counters);
		return rc ? say_unreadable("stats", request->prometheus, rc) : STATUS_OK;
	}
	if (request->json)
		put_object(counters);
	else
		put_text(counters, request->all);
	fflush(stdout);
	return ferror(stdout) ? STATUS_NO : STATUS_OK;
}

/* A watched process that ends is the end, not a failure. */
static int serve(const struct request *request, const char *who)
{
	static struct counters counters;
	bool seen = false;
	int rc, status;

	for (;;) {
		rc = look(request, &counters);
		if (rc)
			return seen ? STATUS_OK : say_unreadable("stats", who, rc);
		status = show(request, &counters);
		if (status || !request->watch)
			return status;
		seen = true;
		sleep(request->watch);
	}
}

static bool take_option(int c, struct request *request)
{
	switch (c) {
	case 'p':
		request->pid = parse_pid(optarg);
		request->path = optarg;
		return request->pid != 0;
	case 'a':
		return request->all = true;
	case 'j':
		return request->json = true;
	case 'w':
		request->watch = optarg ? (unsigned)parse_pid(optarg) : 1;
		return request->watch != 0;
	case 'P':
		request->prometheus = optarg;
		return true;
	default:
		return false;
	}
}

int cmd_stats(int argc, char **argv)
{
	static const struct option options[] = {
		{ "pid", required_argument, NULL, 'p' },   { "all", no_argument, NULL, 'a' },
		{ "json", no_argument, NULL, 'j' },	   { "watch", optional_argument, NULL, 'w' },
		{ "prometheus", required_argument, NULL, 'P' }, { "help", no_argument, NULL, 'h' }, { 0 },
	};
	struct request request = { 0 };
	int c;

	while ((c = getopt_long(argc, argv, "p:ajw::h", options, NULL)) != -1) {
		if (c == 'h')
			return usage_shown(usage);
		if (!take_option(c, &request))
			return usage_wrong(usage);
	}
	if (!request.path && optind < argc)
		request.path = argv[optind++];
	if (!request.path || optind < argc)
		return usage_wrong(usage);
	return serve(&request, request.path);
}
