/* SO_ZEROCOPY set, as gRPC probes it, then MSG_ZEROCOPY used and its completions read. */
#include "pair.h"

#include <linux/errqueue.h>
#include <netinet/in.h>
#include <poll.h>

#define SENDS 10

static int completions(int fd)
{
	char space[200];
	struct msghdr m = { .msg_control = space, .msg_controllen = sizeof(space) };
	struct sock_extended_err ee;

	await_events(fd, 0);
	check(recvmsg(fd, &m, MSG_ERRQUEUE) == 0);
	memcpy(&ee, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(ee));
	check(ee.ee_origin == SO_EE_ORIGIN_ZEROCOPY && ee.ee_errno == 0);
	return ee.ee_data - ee.ee_info + 1;
}

static void client(struct end *e)
{
	int one = 1, done = 0;
	char *buf = malloc(SENDS * 100000);

	check(!setsockopt(e->fd, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)));
	put(e, e->fd, 500000);
	take(e, e->fd, 500000);
	for (int i = 0; i < SENDS; i++) {
		make(e, buf + i * 100000, 100000);
		for (int at = 0; at < 100000;) {
			ssize_t r = send(e->fd, buf + i * 100000 + at, 100000 - at, MSG_ZEROCOPY);

			check(r > 0);
			/* One completion for each call: a short one costs one more. */
			done -= at > 0;
			at += r;
		}
	}
	take(e, e->fd, 1);
	while (done < SENDS)
		done += completions(e->fd);
	say("completions for %d sends", SENDS);
	put(e, e->fd, 10);
	free(buf);
}

static void server(struct end *e)
{
	take(e, e->fd, 500000);
	put(e, e->fd, 500000);
	take(e, e->fd, SENDS * 100000);
	put(e, e->fd, 1);
	take(e, e->fd, 10);
	say("done");
}

const struct pair pair = { .client = client, .server = server };
