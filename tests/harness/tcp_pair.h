/* A TCP connection of this process to itself over the loopback: fd[0] has connected, fd[1] was accepted; neither waits for small
 * segments to fill. False: errno says why. */
#pragma once
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

static inline bool tcp_pair(int fd[2])
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	fd[0] = socket(AF_INET, SOCK_STREAM, 0);
	fd[1] = -1;
	if (!bind(listener, (void *)&at, len) && !listen(listener, 1) && !getsockname(listener, (void *)&at, &len) &&
	    !connect(fd[0], (void *)&at, len))
		fd[1] = accept(listener, NULL, NULL);
	for (int i = 0; i < 2 && fd[1] >= 0; i++)
		setsockopt(fd[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	close(listener);
	return fd[1] >= 0;
}
