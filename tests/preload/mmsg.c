/*
 * recvmmsg and sendmmsg where they are more than a row of recvmsg and sendmsg: the time that is looked at behind each message, the
 * end of the stream, what a reset leaves behind, more messages than one call takes.
 */
#include "pair.h"

#include <poll.h>
#include <pthread.h>

enum { EACH = 10, MOST = 1024, MORE = MOST + 100 };

static struct mmsghdr msgs[MORE];
static struct iovec iov[MORE];
static char room[MORE * EACH];

static void prepare(int n, size_t each)
{
	for (int i = 0; i < n; i++) {
		iov[i] = (struct iovec){ room + i * each, each };
		msgs[i] = (struct mmsghdr){ .msg_hdr = { .msg_iov = &iov[i], .msg_iovlen = 1 }, .msg_len = 77 };
	}
}

static int receive(struct end *e, const char *how, int n, int flags, struct timespec *timeout)
{
	prepare(n, EACH);
	int r = recvmmsg(e->fd, msgs, (unsigned)n, flags, timeout);

	say("%s: %s", how, result(r));
	for (int i = 0; i < n; i++)
		say(" %u", msgs[i].msg_len);
	for (int i = 0; i < r; i++)
		took(e, room + i * EACH, msgs[i].msg_len);
	return r;
}

static void *reset_when_asleep(void *tid)
{
	await_sleep(*(pid_t *)tid);
	tell('r');
	return NULL;
}

/* The second message never comes: what comes instead is the next call's to hear. */
static void reset_behind_message(struct end *e)
{
	pid_t tid = gettid();
	pthread_t helper;
	char c;

	await_unread(e->fd, EACH);
	check(!pthread_create(&helper, NULL, reset_when_asleep, &tid));
	receive(e, "reset behind a message", 2, 0, NULL);
	pthread_join(helper, NULL);
	say("the next call: %s", result(recv(e->fd, &c, 1, 0)));
	say("and the next: %s", result(recv(e->fd, &c, 1, 0)));
}

static void server(struct end *e)
{
	struct timespec none = { 0 }, long_time = { 100, 0 }, wrong = { -1, 0 };

	await_unread(e->fd, 9 * EACH);
	receive(e, "no time", 3, 0, &none);
	receive(e, "a long time", 3, 0, &long_time);
	say("is left: %d", long_time.tv_sec >= 50 && long_time.tv_sec < 100);
	receive(e, "a wrong time", 3, 0, &wrong);
	receive(e, "for one", 3, MSG_WAITFORONE, NULL);
	receive(e, "what is there", 4, MSG_DONTWAIT, NULL);
	tell('m');
	for (size_t n = 0; n < MOST; n += 256)
		take(e, e->fd, 256);
	check(!shutdown(e->fd, SHUT_WR));
	reset_behind_message(e);
}

static void client(struct end *e)
{
	struct linger abortive = { 1, 0 };

	put(e, e->fd, 9 * EACH);
	await('m');
	prepare(MORE, 1);
	make(e, room, MOST);
	say("sent of %d: %s", MORE, result(sendmmsg(e->fd, msgs, MORE, 0)));
	await_events(e->fd, POLLRDHUP);
	receive(e, "the end", 3, 0, NULL);
	put(e, e->fd, EACH);
	await('r');
	check(!setsockopt(e->fd, SOL_SOCKET, SO_LINGER, &abortive, sizeof(abortive)));
	check(!close(e->fd));
}

const struct pair pair = { .client = client, .server = server };
