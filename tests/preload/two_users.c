/* Two ends of two users who permit each other with DLACCEL_PEER_UIDS; argument: the user id of the one that accepts. */
#include "pair.h"

#include <sys/prctl.h>

/* As if it had been started by that user: changing the id alone leaves a process that nobody may look into. */
static void become(uid_t uid)
{
	if (setresuid(uid, uid, uid)) {
		fprintf(stderr, "only root can be somebody else\n");
		exit(77);
	}
	check(!prctl(PR_SET_DUMPABLE, 1));
}

static void client(struct end *e)
{
	int fd = connect_port(e->family, e->port);

	await('u');
	for (int i = 0; i < 5; i++)
		warm(e, fd);
	say("user %d", geteuid());
	close(fd);
}

static void server(struct end *e)
{
	int fd = accept(e->listener, NULL, NULL);

	check(e->argc == 1);
	become(atoi(e->argv[0]));
	tell('u');
	for (int i = 0; i < 5; i++)
		warm(e, fd);
	say("user %d", geteuid());
	close(fd);
}

const struct pair pair = { .client = client, .server = server, .unconnected = 1 };
