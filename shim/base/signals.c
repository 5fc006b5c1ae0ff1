#include "signals.h"

#include "real.h"
#include "sys.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

__thread TLS_IE struct signal_thread signal_thread;

struct wrapped {
	_Atomic(void *) handler;
	_Atomic int flags;
};

static struct wrapped wrapped[NSIG];

static bool synchronous(int sig)
{
	return sig == SIGSEGV || sig == SIGBUS || sig == SIGFPE || sig == SIGILL || sig == SIGTRAP ||
	       sig == SIGSYS || sig == SIGABRT;
}

/* A handler that the kernel has reset after this delivery cannot be delivered again. */
static bool can_defer(int sig, int flags)
{
	return signal_thread.section && !synchronous(sig) && !(flags & SA_RESETHAND) &&
	       signal_thread.deferred < sizeof(signal_thread.later) / sizeof(siginfo_t);
}

static void on_signal(int sig, siginfo_t *info, void *context)
{
	int flags = atomic_load_explicit(&wrapped[sig].flags, memory_order_relaxed);
	void *handler = atomic_load_explicit(&wrapped[sig].handler, memory_order_relaxed);

	if (can_defer(sig, flags)) {
		signal_thread.later[signal_thread.deferred++] = *info;
		return;
	}
	if (signal_thread.before && !signal_thread.section) {
		int saved = errno;
		signal_thread.before();
		errno = saved;
	}
	const char *outer = signal_thread.handler;
	signal_thread.handled++;
	signal_thread.handled_restart += !!(flags & SA_RESTART);
	signal_thread.handler = __builtin_frame_address(0);
	((void (*)(int, siginfo_t *, void *))handler)(sig, info, context);
	signal_thread.handler = outer;
}

/* A signal queued to ourselves is delivered before the system call returns. */
void signals_run_deferred(void)
{
	long pid = sys_call(SYS_getpid), tid = sys_call(SYS_gettid);

	while (signal_thread.deferred) {
		siginfo_t info = signal_thread.later[--signal_thread.deferred];
		sys_call(SYS_rt_tgsigqueueinfo, pid, tid, info.si_signo, &info);
	}
}

static bool is_handler(const struct sigaction *act)
{
	return act && act->sa_handler != SIG_DFL && act->sa_handler != SIG_IGN;
}

static void show_original(struct sigaction *old, void *handler, int flags)
{
	if (old->sa_sigaction != on_signal)
		return;
	old->sa_handler = (sighandler_t)handler;
	if (!(flags & SA_SIGINFO))
		old->sa_flags &= ~SA_SIGINFO;
}

int signals_sigaction(int sig, const struct sigaction *act, struct sigaction *old)
{
	if (sig <= 0 || sig >= NSIG)
		return real.sigaction(sig, act, old);
	void *handler = atomic_load(&wrapped[sig].handler);
	int flags = atomic_load(&wrapped[sig].flags);
	struct sigaction mine;
	bool wrap = is_handler(act);

	if (wrap) {
		mine = *act;
		mine.sa_sigaction = on_signal;
		mine.sa_flags |= SA_SIGINFO;
		atomic_store(&wrapped[sig].flags, act->sa_flags);
		atomic_store(&wrapped[sig].handler, (void *)act->sa_handler);
		act = &mine;
	}
	int ret = real.sigaction(sig, act, old);
	if (ret && wrap) {
		atomic_store(&wrapped[sig].handler, handler);
		atomic_store(&wrapped[sig].flags, flags);
	}
	if (!ret && old)
		show_original(old, handler, flags);
	return ret;
}

/* siginterrupt says so for every signal() to come. */
static _Atomic bool interrupts[NSIG];

static sighandler_t install(int sig, sighandler_t handler, int flags)
{
	struct sigaction act = { .sa_handler = handler, .sa_flags = flags }, old;

	if (handler == SIG_ERR) { /* which the kernel would take; a wrong number it refuses itself */
		errno = EINVAL;
		return SIG_ERR;
	}
	sigemptyset(&act.sa_mask);
	return signals_sigaction(sig, &act, &old) ? SIG_ERR : old.sa_handler;
}

sighandler_t signals_signal(int sig, sighandler_t handler)
{
	bool breaks = sig > 0 && sig < NSIG && atomic_load(&interrupts[sig]);

	return install(sig, handler, breaks ? 0 : SA_RESTART);
}

sighandler_t signals_sysv_signal(int sig, sighandler_t handler)
{
	return install(sig, handler, SA_RESETHAND | SA_NODEFER);
}

int signals_siginterrupt(int sig, int breaks)
{
	struct sigaction act;

	if (signals_sigaction(sig, NULL, &act))
		return -1;
	atomic_store(&interrupts[sig], breaks != 0);
	act.sa_flags = breaks ? act.sa_flags & ~SA_RESTART : act.sa_flags | SA_RESTART;
	return signals_sigaction(sig, &act, NULL);
}

/* SIG_HOLD blocks the signal; any other disposition unblocks it. Returns what it was, SIG_HOLD where it was blocked. */
sighandler_t signals_sigset(int sig, sighandler_t disposition)
{
	struct sigaction act;
	sigset_t one, before;
	sighandler_t was;

	if (disposition == SIG_HOLD)
		was = signals_sigaction(sig, NULL, &act) ? SIG_ERR : act.sa_handler;
	else
		was = install(sig, disposition, 0);
	if (was == SIG_ERR)
		return SIG_ERR;
	sigemptyset(&one);
	sigaddset(&one, sig);
	if (pthread_sigmask(disposition == SIG_HOLD ? SIG_BLOCK : SIG_UNBLOCK, &one, &before))
		return SIG_ERR;
	return sigismember(&before, sig) ? SIG_HOLD : was;
}
