/* One signal only, soon after the call began: it may come while a library spins. If its EINTR is
 * lost there, the call sleeps on. A second signal ends it then, and is counted; bare, that happens
 * only where the first one came before the call was entered, which is rare. The argument says by which
 * call of old the handler is installed; without one it is sigaction. */
#include "pair.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/time.h>

#define ROUNDS 200
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

static atomic_int round_now, rescued;

static const char *by = "sigaction";

static void install(void);

/* What System V's signal() has installed is good for one delivery. */
static void on_alarm(int sig)
{
	if (!strcmp(by, "sysv_signal"))
		install();
}

static void install(void)
{
	struct sigaction sa = { .sa_handler = on_alarm };

	if (!strcmp(by, "sigset")) {
		check(sigset(SIGALRM, on_alarm) != SIG_ERR);
	} else if (!strcmp(by, "sysv_signal")) {
		check(sysv_signal(SIGALRM, on_alarm) != SIG_ERR);
	} else if (!strcmp(by, "siginterrupt")) {
		check(!siginterrupt(SIGALRM, 1) && signal(SIGALRM, on_alarm) != SIG_ERR);
	} else if (!strcmp(by, "siginterrupt_later")) {
		check(signal(SIGALRM, on_alarm) != SIG_ERR && !siginterrupt(SIGALRM, 1));
	} else {
		check(!sigaction(SIGALRM, &sa, NULL));
	}
}

/* Helps a call that is still waiting long after its signal. */
static void *watchdog(void *main_thread)
{
	int last = -1;
	long since = now_ms();

	while (atomic_load(&round_now) < ROUNDS) {
		int now = atomic_load(&round_now);

		if (now != last) {
			last = now;
			since = now_ms();
		} else if (now_ms() - since > 100) {
			atomic_fetch_add(&rescued, 1);
			pthread_kill(*(pthread_t *)main_thread, SIGALRM);
			since = now_ms();
		}
		usleep(2000);
	}
	return NULL;
}

static void one_shot(long usec)
{
	struct itimerval it = { { 0, 0 }, { 0, usec } };

	check(!setitimer(ITIMER_REAL, &it, NULL));
}

static void block_alarm(int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	pthread_sigmask(how, &set, NULL);
}

static void client(struct end *e)
{
	pthread_t self = pthread_self(), t;
	int ok = 0;
	char c;

	if (e->argc)
		by = e->argv[0];
	install();
	/* The process's signals go to the main thread. */
	block_alarm(SIG_BLOCK);
	pthread_create(&t, NULL, watchdog, &self);
	block_alarm(SIG_UNBLOCK);
	for (int i = 0; i < ROUNDS; i++) {
		one_shot(20 + i % 60);
		ok += recv(e->fd, &c, 1, 0) < 0 && errno == EINTR;
		atomic_fetch_add(&round_now, 1);
	}
	pthread_join(t, NULL);
	say("interrupted %d times", ok);
	if (atomic_load(&rescued) > ROUNDS / 2)
		say("signals were lost %d times", rescued);
	tell('d');
}

static void server(struct end *e)
{
	await('d');
	say("done");
}

const struct pair pair = { .client = client, .server = server };
