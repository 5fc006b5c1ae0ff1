/* A TCP socket connected to itself: what is sent comes back on the same descriptor. */
#include "pair.h"

#include <sys/ioctl.h>

static void solo(struct end *e)
{
	struct sockaddr_storage ss;
	socklen_t len = make_address(&ss, AF_INET, 0);
	int fd = socket(AF_INET, SOCK_STREAM, 0), n;
	static char buf[100000], back[sizeof(buf)];

	check(!bind(fd, (void *)&ss, len) && !getsockname(fd, (void *)&ss, &len));
	check(!connect(fd, (void *)&ss, len));
	make(e, buf, sizeof(buf));
	for (int i = 0; i < 50; i++) {
		check(send(fd, buf, sizeof(buf), 0) == sizeof(buf));
		check(!ioctl(fd, FIONREAD, &n));
		check(recv(fd, back, sizeof(back), MSG_WAITALL) == sizeof(back));
		check(!memcmp(buf, back, sizeof(buf)));
		memset(back, 0, sizeof(back));
	}
	check(!shutdown(fd, SHUT_WR));
	say("then: %s", result(recv(fd, back, 1, 0)));
	close(fd);
}

const struct pair pair = { .solo = solo };
