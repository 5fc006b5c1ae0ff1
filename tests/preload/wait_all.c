/*
 * A receive that waits for all it asked for: its time-out is the call's, however often something comes meanwhile; and looking
 * (MSG_PEEK) waits for all of it as well, or for the end.  The other end is a thread.
 */
#include "pair.h"

#include <pthread.h>
#include <sys/time.h>

enum { TRICKLE = 40, EACH_US = 100000, TIME_OUT_US = 500000 }; /* all of it takes eight times as long */

static struct end other;

static void *trickles(void *unused)
{
	for (int i = 0; i < TRICKLE; i++) {
		put(&other, other.fd, 1);
		usleep(EACH_US);
	}
	return NULL;
}

static void *in_two(void *unused)
{
	put(&other, other.fd, 50);
	usleep(EACH_US);
	put(&other, other.fd, 50);
	return NULL;
}

static void *ends(void *unused)
{
	put(&other, other.fd, 50);
	usleep(EACH_US);
	shutdown(other.fd, SHUT_WR);
	return NULL;
}

static pthread_t begin(void *(*how)(void *))
{
	pthread_t t;

	check(!pthread_create(&t, NULL, how, NULL));
	return t;
}

static void time_out(struct end *me)
{
	struct timeval t = { .tv_usec = TIME_OUT_US }, never = { 0 };
	char buf[TRICKLE];

	check(!setsockopt(me->fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t)));
	pthread_t who = begin(trickles);
	ssize_t n = recv(me->fd, buf, sizeof(buf), MSG_WAITALL);
	check(n > 0);
	say("it ended before all had come: %d", n < TRICKLE);
	took(me, buf, (size_t)n);
	check(!pthread_join(who, NULL));
	check(!setsockopt(me->fd, SOL_SOCKET, SO_RCVTIMEO, &never, sizeof(never)));
	take(me, me->fd, TRICKLE - (size_t)n);
}

static void look(struct end *me, void *(*how)(void *))
{
	char buf[100], again[100];
	pthread_t who = begin(how);
	ssize_t n = recv(me->fd, buf, sizeof(buf), MSG_PEEK | MSG_WAITALL);

	say("looked at %zd", n);
	check(!pthread_join(who, NULL));
	check(recv(me->fd, again, sizeof(again), 0) == n && !memcmp(buf, again, (size_t)n));
	took(me, again, (size_t)n);
}

static void solo(struct end *e)
{
	int port, listener = open_listener(AF_INET, &port);
	struct end me = { .role = SERVER };

	other = (struct end){ .role = CLIENT, .fd = connect_port(AF_INET, port) };
	me.fd = accept(listener, NULL, NULL);
	for (int i = 0; i < 4; i++) { /* it is upgraded then */
		pthread_t who = begin(in_two);
		take(&me, me.fd, 100);
		check(!pthread_join(who, NULL));
	}
	time_out(&me);
	look(&me, in_two);
	look(&me, ends);
	close(me.fd);
	close(other.fd);
	close(listener);
}

const struct pair pair = { .solo = solo };
