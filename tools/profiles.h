/*
 * The profiles that the processes of a run recorded, <pid>.record in its folder, and their forms.
 * What they hold is profiler/report.h's to read.
 */
#pragma once
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>

struct profiles {
	unsigned count;
	char **path; /* ordered by name */
};

/* Those of a folder, or the one file that `path` is.  0 or -errno. */
int profiles_find(const char *path, struct profiles *ret);
void profiles_free(struct profiles *profiles);

/* Each of them, one behind the other; in JSON as the elements of an array. */
void profiles_put_text(const struct profiles *profiles, FILE *out);
void profiles_put_json(const struct profiles *profiles, FILE *out);

enum profile_form { PROFILE_CHROME, PROFILE_HTML };

/*
 * Writes one file for each; %p in the pattern stands for the process.  -EINVAL: there are several and
 * the pattern names one.
 */
int profiles_write(const struct profiles *profiles, enum profile_form form, const char *pattern);
