/* Programs that close every number they do not know, one by one or with close_range and closefrom,
 * while a connection is in use; it stays in use. */
#include "pair.h"

#include <fcntl.h>
#include <sys/resource.h>

/* The link is at 250. */
static void close_others(int fd)
{
	struct rlimit l;

	check(!getrlimit(RLIMIT_NOFILE, &l));
	for (int i = 3; i < (int)l.rlim_cur; i++)
		if (i != fd && i != 250)
			close(i);
}

static void close_ranges(int fd)
{
	check(!close_range(3, fd - 1, 0));
	check(!close_range(fd + 1, 249, 0));
	check(!close_range(251, ~0u, 0));
}

static void both(struct end *e)
{
	int fd = e->role == CLIENT ? connect_port(e->family, e->port) :
		accept(e->listener, NULL, NULL);
	int high = fcntl(fd, F_DUPFD, 30), listener;

	close(fd);
	/* While the two ends may still be finding each other. */
	if (e->role == CLIENT)
		put(e, high, 3000);
	else
		take(e, high, 3000);
	listener = e->listener;
	close_others(high);
	warm(e, high);
	close_ranges(high);
	warm(e, high);
	say("all closed but one: %s", result(fcntl(listener < 0 ? 29 : listener, F_GETFD)));
	e->listener = -1;
	say("the next number: %d", open("/dev/null", O_RDONLY));
	closefrom(3 + 248);
	close(3);
	warm(e, high);
	close(high);
}

const struct pair pair = { .client = both, .server = both, .unconnected = 1 };
