/*
 * What happens when the library is loaded: the real functions are resolved and the settings read.
 * Threads, devices, files and memory wait for the first use that needs them.
 */
#include "life.h"
#include "real.h"
#include "settings.h"

#include <errno.h>
#include <unistd.h>

__attribute__((constructor)) static void dlaccel_load(void)
{
	settings_read(environ);
	settings_make_absolute(&settings.dir);
	settings_make_absolute(&settings.secret_file);
	real_init();
	if (!setting_lists(settings.apps, program_invocation_short_name))
		settings.enabled = 0;
	if (settings.enabled)
		life_init();
}

__attribute__((destructor)) static void dlaccel_unload(void)
{
	life_exit();
}
