/* select says how much of its time was left, also when a signal ended it: with a connection in the set, and with a listener alone. */
#include "pair.h"

#include <signal.h>
#include <sys/select.h>
#include <sys/time.h>

static void on_alarm(int sig)
{
}

static void interrupted(const char *what, int fd)
{
	struct itimerval again = { { 0, 5000 }, { 0, 5000 } }, never = { 0 };
	struct timeval t = { 1000, 0 };
	fd_set set;

	FD_ZERO(&set);
	FD_SET(fd, &set);
	check(!setitimer(ITIMER_REAL, &again, NULL));
	int r = select(fd + 1, &set, NULL, NULL, &t);
	check(!setitimer(ITIMER_REAL, &never, NULL));
	say("%s: %s, some of the time is gone: %d", what, result(r), t.tv_sec < 1000);
}

static void both(struct end *e)
{
	struct sigaction sa = { .sa_handler = on_alarm };

	check(!sigaction(SIGALRM, &sa, NULL));
	interrupted("connection", e->fd);
	if (e->listener >= 0)
		interrupted("listener", e->listener);
	tell('d');
	await('d');
}

const struct pair pair = { .client = both, .server = both };
