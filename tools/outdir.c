#include "outdir.h"

#include "dlaccel.h"
#include "machine.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* What %c stands for; NULL if it stands for itself. */
static const char *meaning(char c, const char *program, pid_t pid)
{
	static char text[256];

	if (c == 'n')
		return program;
	if (c == 'h')
		machine_name(text, sizeof(text));
	else if (c == 'p')
		snprintf(text, sizeof(text), "%d", (int)pid);
	else if (c == '%')
		return "%";
	else
		return NULL;
	return text;
}

int outdir_expand(const char *pattern, const char *program, pid_t pid, char ret_path[PATH_MAX])
{
	size_t n = 0;

	for (const char *p = pattern; *p && n < PATH_MAX; p++) {
		const char *text = *p == '%' ? meaning(p[1], program, pid) : NULL;
		n += (size_t)(text ? snprintf(ret_path + n, PATH_MAX - n, "%s", text) :
				     snprintf(ret_path + n, PATH_MAX - n, "%c", *p));
		p += text != NULL;
	}
	return n && n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static int make_folder(const char *path)
{
	struct stat st;

	if (!mkdir(path, 0700))
		return 0;
	if (errno != EEXIST)
		return -errno;
	return stat(path, &st) ? -errno : S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

int outdir_create(const char *path, char ret_whole[PATH_MAX])
{
	char part[PATH_MAX];

	strcpy(part, path);
	for (char *p = part + 1; *p; p++)
		if (*p == '/' && p[-1] != '/') {
			*p = 0;
			make_folder(part);
			*p = '/';
		}
	int rc = make_folder(part);
	if (rc)
		return rc;
	if (!realpath(part, ret_whole))
		return -errno;
	if (strlen(ret_whole) > OUTDIR_LONGEST)
		return -ENAMETOOLONG;
	return access(ret_whole, W_OK | X_OK) ? -errno : 0;
}

static void put_end(FILE *out, const struct run_note *note)
{
	fprintf(out, ",\n  \"seconds\": %.3f,\n", note->seconds);
	if (WIFEXITED(note->status))
		fprintf(out, "  \"exit\": %d", WEXITSTATUS(note->status));
	else
		fprintf(out, "  \"signal\": %d", WTERMSIG(note->status));
}

static void put_note(FILE *out, const struct run_note *note)
{
	char host[256];

	machine_name(host, sizeof(host));
	fputs("{\n  \"dlaccel\": \"" DLACCEL_VERSION "\",\n  \"host\": ", out);
	put_json(out, host);
	fputs(",\n  \"command\": [", out);
	for (char *const *arg = note->argv; *arg; arg++) {
		fputs(arg == note->argv ? "" : ", ", out);
		put_json(out, *arg);
	}
	fprintf(out, "],\n  \"pid\": %d,\n  \"started_ns\": %" PRIu64, (int)note->pid, note->started_ns);
	if (note->seconds >= 0)
		put_end(out, note);
	fputs("\n}\n", out);
}

int outdir_note(const char *path, const struct run_note *note)
{
	char whole[PATH_MAX], temp[PATH_MAX];

	if (snprintf(whole, sizeof(whole), "%s/run.json", path) >= PATH_MAX ||
		snprintf(temp, sizeof(temp), "%s/.run.json.%d", path, (int)getpid()) >= PATH_MAX)
		return -ENAMETOOLONG;
	FILE *out = fopen(temp, "we");
	if (!out)
		return -errno;
	put_note(out, note);
	if (fclose(out) || rename(temp, whole)) {
		int err = errno;
		unlink(temp);
		return -err;
	}
	return 0;
}
