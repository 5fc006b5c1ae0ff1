/*
 * Signals while we work for the program.
 *
 * Handlers are wrapped when the program installs them (hooks of sigaction, signal and their like), for two
 * reasons.  A handler that ran while we spun on shared memory must show as EINTR, which a real
 * blocking call would have returned: handled signals are counted per thread, and a call compares
 * the count with that at its entry.  And a handler must not run while its thread is inside a
 * section that holds a stream's lock or has a buffer published, since send, write and close are
 * legal in handlers: there the signal is put aside and queued again at the section's end.
 */
#pragma once
#include <signal.h>
#include <stdbool.h>

struct signal_thread {
	int section;              /* depth of sections that must not be interrupted */
	const char *handler;      /* frame of the handler that runs now; NULL: none */
	unsigned handled;         /* handlers run in this thread */
	unsigned handled_restart; /* of these, installed with SA_RESTART */
	unsigned deferred;        /* signals put aside in `later` */
	void (*before)(void);     /* to be done before a handler runs; NULL: nothing */
	siginfo_t later[16];
};

#define TLS_IE __attribute__((tls_model("initial-exec")))
extern __thread TLS_IE struct signal_thread signal_thread;

int signals_sigaction(int sig, const struct sigaction *act, struct sigaction *old);
sighandler_t signals_signal(int sig, sighandler_t handler);
sighandler_t signals_sysv_signal(int sig, sighandler_t handler);
int signals_siginterrupt(int sig, int breaks);
sighandler_t signals_sigset(int sig, sighandler_t disposition);
void signals_run_deferred(void);

/*
 * Does this thread run a handler, above a call of the program that goes on afterwards?  A handler
 * left by longjmp lies below the present frame.
 */
static inline bool signal_in_handler(void)
{
	return signal_thread.handler && (const char *)__builtin_frame_address(0) < signal_thread.handler;
}

static inline void section_enter(void)
{
	signal_thread.section++;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static inline void section_leave(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (--signal_thread.section == 0 && __builtin_expect(signal_thread.deferred, 0))
		signals_run_deferred();
}

/* The handlers that ran in this thread so far: all, and those that make a blocking call return EINTR. */
struct signal_mark {
	unsigned all, breaking;
};

static inline struct signal_mark signal_mark(void)
{
	unsigned all = *(volatile unsigned *)&signal_thread.handled;
	return (struct signal_mark){ all, all - *(volatile unsigned *)&signal_thread.handled_restart };
}
