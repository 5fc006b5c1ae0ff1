/* Something to be read that the program knows of by poll, while its sender is still inside its send: epoll_pwait tells it and leaves
 * the signal that it would admit pending. The sender is held by a trap in the calls that send one byte, which no send of its own does. */
#include "pair.h"
#include "sys.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <ucontext.h>

#define ROUNDS 20
#define BYTES 40000

static volatile sig_atomic_t handled;

static void on_signal(int sig)
{
	handled++;
}

static void look(struct end *e, int ep)
{
	struct pollfd p = { e->fd, POLLIN, 0 };
	struct epoll_event ev;
	sigset_t set;

	if (!poll(&p, 1, 0))
		return;
	sigemptyset(&set);
	check(!raise(SIGUSR1));
	check(epoll_pwait(ep, &ev, 1, -1, &set) == 1 && ev.events == EPOLLIN);
	check(!handled);
	check(!sigpending(&set) && sigismember(&set, SIGUSR1));
	check(signal(SIGUSR1, SIG_IGN) == on_signal && signal(SIGUSR1, on_signal) == SIG_IGN); /* no longer */
}

static void client(struct end *e)
{
	struct epoll_event ev = { .events = EPOLLIN };
	sigset_t blocked;

	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	check(signal(SIGUSR1, on_signal) != SIG_ERR && !pthread_sigmask(SIG_BLOCK, &blocked, NULL));
	for (int i = 0; i < ROUNDS; i++) {
		int ep = epoll_create1(0);
		check(ep >= 0 && !epoll_ctl(ep, EPOLL_CTL_ADD, e->fd, &ev));
		tell('g');
		for (long n; (n = await_number()) != 'e'; tell('l'))
			look(e, ep);
		take(e, e->fd, BYTES);
		close(ep);
	}
	say("all of it, no signal");
}

/* Past every hook: the send that was trapped holds its locks. */
static void held(int sig, siginfo_t *info, void *context)
{
	mcontext_t *m = &((ucontext_t *)context)->uc_mcontext;

	tell('d');
	await('l');
#ifdef __x86_64__
	m->gregs[REG_RAX] = sys_call(SYS_write, m->gregs[REG_RDI], "", 1);
#else
	m->regs[0] = sys_call(SYS_write, m->regs[0], "", 1);
#endif
}

static void hold_doorbells(void)
{
	struct sigaction act = { .sa_sigaction = held, .sa_flags = SA_SIGINFO };
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sendto, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { sizeof(code) / sizeof(*code), code };

	check(!sigaction(SIGSYS, &act, NULL));
	check(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) && !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog));
}

static void server(struct end *e)
{
	hold_doorbells();
	for (int i = 0; i < ROUNDS; i++) {
		await('g');
		put(e, e->fd, BYTES);
		tell('d');
		await('l');
		tell('e');
	}
	say("sent");
}

const struct pair pair = { .client = client, .server = server };
