#include "process.h"

#include "signals.h"

int process_id;
static __thread TLS_IE uint32_t my_tid;

void process_note(void)
{
	process_id = (int)sys_call(SYS_getpid);
	my_tid = 0;
}

uint32_t thread_id(void)
{
	if (!my_tid)
		my_tid = (uint32_t)sys_call(SYS_gettid);
	return my_tid;
}
