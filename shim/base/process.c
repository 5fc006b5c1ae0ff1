#include "process.h"

int process_id;

void process_note(void)
{
	process_id = (int)sys_call(SYS_getpid);
}
