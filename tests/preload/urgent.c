/* Urgent data: MSG_OOB, SIOCATMARK, POLLPRI, SIGURG, SO_OOBINLINE, on a connection in full use. */
#include "pair.h"

#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

static volatile sig_atomic_t urgs;

static void on_urg(int sig)
{
	urgs++;
}

static uint64_t received_by_kernel(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	check(!getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len));
	return info.tcpi_bytes_received;
}

/* For good: what comes from here on comes through TCP. */
static void exchange(struct end *e)
{
	uint64_t before = received_by_kernel(e->fd);

	put(e, e->fd, 100000);
	take(e, e->fd, 100000);
	say("through TCP: %d", received_by_kernel(e->fd) - before >= 100000);
}

static void server(struct end *e)
{
	struct sigaction sa = { .sa_handler = on_urg, .sa_flags = SA_RESTART };
	char c = 0, line[10];
	int one = 1;

	sigaction(SIGURG, &sa, NULL);
	check(!fcntl(e->fd, F_SETOWN, getpid()));
	tell('r');
	await_events(e->fd, POLLPRI);
	for (int i = 0; i < 5000 && !urgs; i++) /* the signal is on its way */
		usleep(1000);
	say("urgent, at mark %d, signals %d", sockatmark(e->fd), urgs > 0);
	check(recv(e->fd, line, 4, 0) == 4);
	say("before the mark: %.4s, at mark %d", line, sockatmark(e->fd));
	check(recv(e->fd, &c, 1, MSG_OOB) == 1);
	say("urgent byte: %c", c);
	say("again: %s", result(recv(e->fd, &c, 1, MSG_OOB)));
	check(recv(e->fd, line, 4, MSG_WAITALL) == 4);
	say("after the mark: %.4s", line);
	exchange(e);
	check(!setsockopt(e->fd, SOL_SOCKET, SO_OOBINLINE, &one, sizeof(one)));
	tell('i');
	await('s');
	await_unread(e->fd, 9);
	check(recv(e->fd, line, 10, 0) == 4);
	check(sockatmark(e->fd) == 1);
	check(recv(e->fd, line, 10, 0) == 5);
	say("inline: %.5s", line);
	exchange(e);
}

static void client(struct end *e)
{
	await('r');
	check(send(e->fd, "abcd", 4, 0) == 4);
	check(send(e->fd, "!", 1, MSG_OOB) == 1);
	check(send(e->fd, "efgh", 4, 0) == 4);
	take(e, e->fd, 100000);
	put(e, e->fd, 100000);
	await('i');
	check(send(e->fd, "abcd", 4, 0) == 4);
	check(send(e->fd, "!", 1, MSG_OOB) == 1);
	check(send(e->fd, "efgh", 4, 0) == 4);
	tell('s');
	take(e, e->fd, 100000);
	put(e, e->fd, 100000);
	say("done");
}

const struct pair pair = { .client = client, .server = server };
