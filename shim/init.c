/*
 * What happens when the library is loaded: the real functions are resolved and the settings read.
 * Threads, devices, files and memory wait for the first use that needs them.
 */
#include "life.h"
#include "real.h"
#include "settings.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

/* DLACCEL_APPS names the programs to be active in. */
static bool is_listed(const char *list, const char *name)
{
	size_t n = strlen(name);

	for (const char *p = list; *p; p += strcspn(p, ","), p += *p == ',')
		if (strcspn(p, ",") == n && !strncmp(p, name, n))
			return true;
	return false;
}

__attribute__((constructor)) static void dlaccel_load(void)
{
	settings_read(environ);
	real_init();
	if (settings.apps && *settings.apps && !is_listed(settings.apps, program_invocation_short_name))
		settings.enabled = 0;
	if (settings.enabled)
		life_init();
}

__attribute__((destructor)) static void dlaccel_unload(void)
{
	life_exit();
}
