/* Another library in LD_PRELOAD, which must go on working behind ours: SECOND_PID says where it was. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

__attribute__((constructor)) static void here(void)
{
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("SECOND_PID", pid, 1);
}
