#include "marks.h"

#include "log.h"
#include "settings.h"

#include <regex.h>

static regex_t pattern;
static bool active;

void marks_init(void)
{
	char why[128];
	int err;

	if (!settings.step_mark || !*settings.step_mark)
		return;
	err = regcomp(&pattern, settings.step_mark, REG_EXTENDED | REG_NOSUB);
	active = !err;
	if (active)
		return;
	regerror(err, &pattern, why, sizeof(why));
	log_warn("DLACCEL_STEP_MARK is no regular expression (%s): steps are found without it", why);
}

static const char *name_of(CUfunction f)
{
	const char *name = NULL;

	if (HAVE(cuFuncGetName) && !REAL(cuFuncGetName)(&name, f) && name)
		return name;
	if (HAVE(cuKernelGetName) && !REAL(cuKernelGetName)(&name, (CUkernel)f) && name)
		return name;
	return NULL;
}

void marks_learn(struct gpu_queue *q, CUfunction f)
{
	const char *name = active ? name_of(f) : NULL;

	if (name && !regexec(&pattern, name, 0, NULL, 0))
		handles_put(&q->marks, (uintptr_t)f, 1);
}
