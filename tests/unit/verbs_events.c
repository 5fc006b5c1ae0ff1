/*
 * What a device says of itself, and what it is: a queue pair in error takes its own link down, queues in error or a device that is lost all
 * of them, and nothing more is made on it; each stream goes on over TCP.  A device that is neither InfiniBand nor RoCE is
 * left alone.
 */
#include "peer.h"

#include "settings.h"
#include "verbs_io.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { HUNG_S = 120, DEAD_US = 20000, IDLE_US = 120000000, BEHIND = 4096 };

static uint64_t count_of(enum stat_id id)
{
	return atomic_load(&dlaccel_stats.slot[id].value);
}

/* Each device that fails does so in a process of its own.  No heartbeat helps. */
static void apart(void (*test)(int which), int which)
{
	int status = 0;
	pid_t pid = fork();

	if (!pid) {
		peer_set_up(DEAD_US, IDLE_US);
		alarm(HUNG_S);
		test(which);
		exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || status)
		sim_wrong("device %d: %x", which, status);
}

static void make(struct peer *p, int role)
{
	peer_start(p, role);
	peer_meet(p);
	peer_agree(p);
	peer_converse(p);
}

static struct link *link_of(const struct peer *p)
{
	return link_in(verbs_of(p->stream));
}

static void expect_tcp(struct peer *p)
{
	PEER_WAIT(load_acq(link_of(p)->state) == LINK_DOWN);
	peer_say_by_tcp(p);
	peer_library_reads(p, 1);
}

static void queue_pair_fails(int which)
{
	static const enum ibv_event_type types[] = { IBV_EVENT_QP_FATAL, IBV_EVENT_QP_REQ_ERR, IBV_EVENT_QP_ACCESS_ERR };
	struct peer p, other;

	make(&other, 0);
	make(&p, 1);
	sim_event(sim_context(0), (struct ibv_async_event){ .event_type = types[which], .element.qp = link_of(&p)->qp });
	expect_tcp(&p);
	peer_converse(&other);
	peer_end(&p);
	peer_end(&other);
}

/* The device in error is the one that was asked: nothing of its own ends with an error. */
static void peer_writes_elsewhere(int unused)
{
	struct peer p;

	make(&p, 0);
	peer_write(&p, p.memory, p.theirs.ring_address + PEER_RING + BEHIND, 16);
	expect_tcp(&p);
	peer_end(&p);
}

static void expect_nobody(int role, enum stat_id why)
{
	struct peer p;
	uint64_t before = count_of(why);

	peer_start(&p, role);
	struct verbs_call c = peer_call_of(&p);
	if (!role && peer_call(&p, &c, sizeof(c)))
		sim_wrong("a call to a device that cannot be used is taken");
	if (peer_outcome(&p) != -EPERM || count_of(why) != before + 1)
		sim_wrong("met, or counted as something else");
	peer_end(&p);
}

static void device_fails(int which)
{
	static const enum ibv_event_type types[] = { IBV_EVENT_CQ_ERR, IBV_EVENT_SRQ_ERR, IBV_EVENT_DEVICE_FATAL };
	struct peer p[2];

	for (int role = 0; role < 2; role++)
		make(&p[role], role);
	sim_event(sim_context(0), (struct ibv_async_event){ .event_type = types[which] });
	for (int role = 0; role < 2; role++)
		expect_tcp(&p[role]);
	for (int role = 0; role < 2; role++) {
		expect_nobody(role, FALLBACK_RDMA_NO_DEVICE);
		peer_end(&p[role]);
	}
}

static void is_iwarp(int role)
{
	sim_context(0)->device->transport_type = IBV_TRANSPORT_IWARP;
	expect_nobody(role, FALLBACK_RDMA_TRANSPORT);
}

int main(void)
{
	for (int which = 0; which < 3; which++) {
		apart(queue_pair_fails, which);
		apart(device_fails, which);
	}
	apart(peer_writes_elsewhere, 0);
	for (int role = 0; role < 2; role++)
		apart(is_iwarp, role);
	return 0;
}
