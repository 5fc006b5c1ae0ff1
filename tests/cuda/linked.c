/*
 * For the sanitizers, which want to be the first library of a program: what is preloaded otherwise is
 * linked in, and the program's dlsym is cuda_dlsym by name. This is the constructor of shim/init.c, as
 * far as CUDA needs it.
 */
#include "settings.h"
#include "shim/loader.h"

#include <unistd.h>

__attribute__((constructor)) static void start(void)
{
	settings_read(environ);
	loader_init();
}
