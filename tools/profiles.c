#include "profiles.h"

#include "dlaccel.h"
#include "outdir.h"
#include "program.h"
#include "report.h"

#include <errno.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* glob's own signs in a folder's name are only letters to us. */
static int escape(const char *path, char ret_text[2 * PATH_MAX])
{
	size_t n = 0;

	if (strlen(path) >= PATH_MAX - 16)
		return -ENAMETOOLONG;
	for (; *path; path++) {
		if (strchr("*?[\\", *path))
			ret_text[n++] = '\\';
		ret_text[n++] = *path;
	}
	strcpy(ret_text + n, "/*.record");
	return 0;
}

static int take(struct profiles *profiles, const char *path)
{
	char **more = reallocarray(profiles->path, profiles->count + 1, sizeof(*more));

	if (!more)
		return -ENOMEM;
	profiles->path = more;
	more[profiles->count] = strdup(path);
	profiles->count += more[profiles->count] != NULL;
	return 0;
}

static int take_folder(struct profiles *profiles, const char *path)
{
	char pattern[2 * PATH_MAX];
	glob_t found;
	int rc = escape(path, pattern);

	if (rc || glob(pattern, 0, NULL, &found))
		return rc;
	for (size_t i = 0; !rc && i < found.gl_pathc; i++)
		rc = take(profiles, found.gl_pathv[i]);
	globfree(&found);
	return rc;
}

int profiles_find(const char *path, struct profiles *ret)
{
	struct profiles profiles = { 0 };
	struct stat st;
	int rc = stat(path, &st) ? -errno : 0;

	if (!rc)
		rc = S_ISDIR(st.st_mode) ? take_folder(&profiles, path) : take(&profiles, path);
	if (rc)
		profiles_free(&profiles);
	else
		*ret = profiles;
	return rc;
}

void profiles_free(struct profiles *profiles)
{
	for (unsigned i = 0; i < profiles->count; i++)
		free(profiles->path[i]);
	free(profiles->path);
	*profiles = (struct profiles){ 0 };
}

/* A fifo under such a name must not hold us. */
static int load(const char *path, struct report *ret)
{
	struct stat st;

	if (stat(path, &st))
		return -errno;
	return S_ISREG(st.st_mode) ? report_load(path, ret) : -EBADMSG;
}

static void complain(const char *path, int rc)
{
	say("%s: %s", path,
		rc == -EBADMSG ? "no profile of dlaccel" : rc == -EPROTO ? "a profile of another version" : strerror(-rc));
}

static bool load_or_complain(const char *path, struct report *ret)
{
	int rc = load(path, ret);

	if (rc)
		complain(path, rc);
	return !rc;
}

void profiles_put_text(const struct profiles *profiles, FILE *out)
{
	struct report report;

	for (unsigned i = 0; i < profiles->count; i++) {
		if (!load_or_complain(profiles->path[i], &report))
			continue;
		putc('\n', out);
		report_text(&report, out);
		report_free(&report);
	}
}

void profiles_put_json(const struct profiles *profiles, FILE *out)
{
	const char *between = "\n  ";
	struct report report;

	for (unsigned i = 0; i < profiles->count; i++) {
		if (!load_or_complain(profiles->path[i], &report))
			continue;
		fputs(between, out);
		report_json(&report, out);
		between = ", ";
		report_free(&report);
	}
}

static int write_form(const struct report *report, enum profile_form form, const char *path)
{
	FILE *out = fopen(path, "we");
	int rc;

	if (!out)
		return -errno;
	rc = (form == PROFILE_CHROME ? report_chrome : report_html)(report, out);
	return fclose(out) && !rc ? -errno : rc;
}

static int write_one(const char *profile, enum profile_form form, const char *pattern)
{
	char path[PATH_MAX];
	struct report report;
	int rc;

	if (!load_or_complain(profile, &report))
		return -EBADMSG;
	rc = outdir_expand(pattern, base_name(report.head.program), (pid_t)report.head.pid, path);
	if (!rc)
		rc = write_form(&report, form, path);
	if (rc)
		say("%s: %s", path, strerror(-rc));
	else
		say("written: %s", path);
	report_free(&report);
	return rc;
}

int profiles_write(const struct profiles *profiles, enum profile_form form, const char *pattern)
{
	int rc = 0;

	if (profiles->count > 1 && !strstr(pattern, "%p"))
		return -EINVAL;
	for (unsigned i = 0; i < profiles->count; i++) {
		int one = write_one(profiles->path[i], form, pattern);
		rc = rc ? rc : one;
	}
	return rc;
}
