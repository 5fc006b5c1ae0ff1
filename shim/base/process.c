#include "process.h"

#include "signals.h"

#include <pthread.h>
#include <stdatomic.h>

int process_id;
static __thread TLS_IE uint32_t my_tid;

void process_note(void)
{
	process_id = (int)sys_call(SYS_getpid);
	my_tid = 0;
}

enum { HANDLERS = 4 };

static struct {
	void (*before)(void);
	_Atomic(void (*)(void)) in_child; /* written last */
} handlers[HANDLERS];
static _Atomic unsigned handler_count;

void process_at_fork(void (*before)(void), void (*in_child)(void))
{
	unsigned i = atomic_fetch_add(&handler_count, 1);

	if (i < HANDLERS) {
		handlers[i].before = before;
		atomic_store(&handlers[i].in_child, in_child);
	}
	pthread_atfork(before, NULL, in_child);
}

void process_before_fork(void)
{
	for (unsigned i = HANDLERS; i--;)
		if (atomic_load(&handlers[i].in_child) && handlers[i].before)
			handlers[i].before();
}

void process_in_child(void)
{
	for (unsigned i = 0; i < HANDLERS; i++) {
		void (*in_child)(void) = atomic_load(&handlers[i].in_child);
		if (in_child)
			in_child();
	}
}

uint32_t thread_id(void)
{
	if (!my_tid)
		my_tid = (uint32_t)sys_call(SYS_gettid);
	return my_tid;
}
