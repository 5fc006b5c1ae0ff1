/* What the rings of a process keep in memory, as the kernel counts it: never more than DLACCEL_NET_MEMORY for each end of them,
 * with many connections whose receiver is late; at most 64 KiB for a connection of small messages, whatever it carried before; and
 * a fork's child that closes what it has inherited may have connections of its own all the same. */
#include "pair.h"

#include <poll.h>
#include <sys/wait.h>

#define FDS 4
#define LARGE (6 << 20)
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

static void both(struct end *e)
{
	if (e->argc && !strcmp(e->argv[0], "inherited"))
		inherited(e);
	else
		held(e);
}

const struct pair pair = { .client = both, .server = both, .unconnected = 1 };
