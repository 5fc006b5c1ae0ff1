/* What the rings of a process keep in memory, as the kernel counts it: never more than DLACCEL_NET_MEMORY for each end of them,
 * with many connections whose receiver is late; at most 64 KiB for a connection of small messages, or one that lies idle under a
 * wait or a receive, whatever it carried before; and a fork's child that closes what it has inherited may have connections of its own all the
 * same. */
#include "pair.h"

#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/wait.h>

#define FDS 4
#define LARGE (6 << 20)
#define FITS (3 << 20) /* into a ring, unread */
#define LATE_US 1500000 /* longer than the first sleep of a wait */
#define SMALL_ONES 3000
#define CAP (256 << 10) /* DLACCEL_NET_MEMORY of this test */
#define QUIET (64 << 10)

/* Of all mappings of that name, the bytes that are there. */
static long resident(const char *name)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	char line[512];
	long sum = 0, n;
	int in = 0;

	check(f);
	while (fgets(line, sizeof(line), f)) {
		if (line[0] < 'A' || line[0] > 'Z')
			in = strstr(line, name) != NULL;
		else if (in && sscanf(line, "Rss: %ld", &n) == 1)
			sum += n << 10;
	}
	fclose(f);
	return sum;
}

static long rings(void)
{
	return resident("/memfd:dlaccel");
}

/* The sender has all of it under way, as far as it goes, before anybody reads. */
static void late(struct end *e, struct end end[FDS])
{
	for (int i = 0; i < FDS; i++) {
		if (e->role == CLIENT) {
			tell('s');
			put(&end[i], end[i].fd, LARGE);
		} else {
			await('s');
			await_events(end[i].fd, POLLIN);
			usleep(2000);
			take(&end[i], end[i].fd, LARGE);
		}
		check(rings() <= 2 * CAP);
	}
}

static void small(struct end *e, struct end *c)
{
	for (int i = 0; i < SMALL_ONES; i++) {
		if (e->role == CLIENT)
			put(c, c->fd, 100);
		take(c, c->fd, 100);
		if (e->role == SERVER)
			put(c, c->fd, 100);
	}
}

static void held(struct end *e)
{
	struct end end[FDS];

	for (int i = 0; i < FDS; i++) {
		end[i] = *e;
		end[i].fd = e->role == CLIENT ? connect_port(e->family, e->port) : accept(e->listener, NULL, NULL);
		check(end[i].fd >= 0);
		warm(&end[i], end[i].fd);
	}
	late(e, end);
	for (int i = 1; i < FDS; i++)
		close(end[i].fd);
	tell('c');
	await('c');
	small(e, &end[0]);
	tell('q');
	await('q');
	check(rings() <= QUIET);
	say("as little as it may be");
	close(end[0].fd);
}

/* In a child that has closed what it got from its parent. */
static void in_child(struct end *e)
{
	struct end c = *e;

	c.fd = e->role == CLIENT ? connect_port(e->family, e->port) : accept(e->listener, NULL, NULL);
	warm(&c, c.fd);
	put(&c, c.fd, 1000);
	take(&c, c.fd, 1000);
	warm(&c, c.fd);
	close(c.fd);
}

static void inherited(struct end *e)
{
	struct end c = *e;
	int status;

	c.fd = e->role == CLIENT ? connect_port(e->family, e->port) : accept(e->listener, NULL, NULL);
	for (int i = 0; i < 5; i++)
		warm(&c, c.fd);
	pid_t pid = fork();
	if (!pid) {
		close(c.fd);
		in_child(e);
		_exit(0);
	}
	check(waitpid(pid, &status, 0) == pid && !status);
	close(c.fd);
	say("served by a child");
}

/* Once both have given their pages back, the server's byte ends the client's wait, and the client's the server's. */
static void *until_quiet(void *arg)
{
	struct end *c = arg;

	while (rings() > QUIET)
		usleep(10000);
	tell('q');
	await('q');
	if (c->role == SERVER)
		put(c, c->fd, 1);
	return NULL;
}

static void wait_for_ever(int fd, const char *how)
{
	struct epoll_event ev = { .events = EPOLLIN };
	fd_set set;
	int ep;

	char byte;

	if (!strcmp(how, "recv")) {
		check(recv(fd, &byte, 1, MSG_PEEK) == 1);
	} else if (!strcmp(how, "poll")) {
		check(poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, -1) == 1);
	} else if (!strcmp(how, "select")) {
		FD_ZERO(&set);
		FD_SET(fd, &set);
		check(select(fd + 1, &set, NULL, NULL, NULL) == 1);
	} else {
		ep = epoll_create1(EPOLL_CLOEXEC);
		check(!epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) && epoll_wait(ep, &ev, 1, -1) == 1);
		close(ep);
	}
}

static void idle(struct end *e, const char *how)
{
	struct end c = *e;
	pthread_t looks;

	c.fd = e->role == CLIENT ? connect_port(e->family, e->port) : accept(e->listener, NULL, NULL);
	warm(&c, c.fd);
	if (e->role == CLIENT) {
		put(&c, c.fd, FITS);
		await('s');
		usleep(LATE_US);
	}
	take(&c, c.fd, FITS);
	if (e->role == SERVER) {
		put(&c, c.fd, FITS);
		tell('s');
	}
	check(!pthread_create(&looks, NULL, until_quiet, &c));
	wait_for_ever(c.fd, how);
	check(!pthread_join(looks, NULL));
	take(&c, c.fd, 1);
	if (e->role == CLIENT)
		put(&c, c.fd, 1);
	say("quiet under %s", how);
	warm(&c, c.fd);
	close(c.fd);
}

static void both(struct end *e)
{
	if (e->argc > 1)
		idle(e, e->argv[1]);
	else if (e->argc && !strcmp(e->argv[0], "inherited"))
		inherited(e);
	else
		held(e);
}

const struct pair pair = { .client = both, .server = both, .unconnected = 1 };
