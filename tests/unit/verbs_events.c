/*
 * What a device says of itself, and what it is: a queue pair in error takes its own link down, queues in error, a device or a port that is lost all
 * of them, and nothing more is made on it; each stream goes on over TCP.  A device that is neither InfiniBand nor RoCE is
 * left alone.  However many links ask at once, and fail at once, the completion queue holds what they come to.
 */
#include "peer.h"

#include "settings.h"
#include "verbs_device.h"
#include "verbs_io.h"

enum { DEAD_US = 20000, IDLE_US = 120000000, LINKS_MANY = 40, BEHIND = 4096 }; /* idle: no heartbeat helps */

static uint64_t count_of(enum stat_id id)
{
	return atomic_load(&dlaccel_stats.slot[id].value);
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
static void peer_writes_elsewhere(int by_key_of_its_own)
{
	struct peer p;

	make(&p, 0);
	if (by_key_of_its_own)
		peer_write_by(&p, p.mr->rkey, p.memory, (uintptr_t)p.bulk, 16);
	else
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

/* A cable is pulled: nothing else would tell, since nothing is under way and no heartbeat helps. */
static void port_fails(int unused)
{
	uint64_t before = count_of(FALLBACK_RDMA_PORT);
	struct peer p[2];

	for (int role = 0; role < 2; role++)
		make(&p[role], role);
	sim_event(sim_context(0), (struct ibv_async_event){ .event_type = IBV_EVENT_PORT_ERR, .element.port_num = 1 });
	for (int role = 0; role < 2; role++)
		expect_tcp(&p[role]);
	if (count_of(FALLBACK_RDMA_PORT) != before + 2)
		sim_wrong("counted as something else");
	for (int role = 0; role < 2; role++)
		peer_end(&p[role]);
}

/* ---- others go on at once when they see that a link is down: its queue pair has been in error before */

static __typeof__(verbs.ibv_modify_qp) modify;
static struct link *failing;
static _Atomic bool in_error;

static int modify_what_is_up(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask)
{
	if (attr->qp_state == IBV_QPS_ERR && !atomic_exchange(&in_error, true) && load_acq(failing->state) == LINK_DOWN)
		sim_wrong("a link is said to be down, and its queue pair works");
	return modify(qp, attr, mask);
}

static void error_comes_first(int unused)
{
	struct peer p;

	make(&p, 0);
	failing = link_of(&p);
	modify = verbs.ibv_modify_qp;
	verbs.ibv_modify_qp = modify_what_is_up;
	link_fail(failing, FALLBACK_RDMA_PORT);
	if (!in_error)
		sim_wrong("a link is down, and its queue pair works");
	expect_tcp(&p);
	peer_end(&p);
}

static void is_iwarp(int role)
{
	sim_context(0)->device->transport_type = IBV_TRANSPORT_IWARP;
	expect_nobody(role, FALLBACK_RDMA_TRANSPORT);
}

/* ---- many links */

static struct { struct rdma_cm_id *id[2]; struct link *link[2]; } many[LINKS_MANY + 1];

static struct link *make_link(int which)
{
	static char no_meeting[4096];
	struct rdma_cm_id **id = many[which].id;
	struct link **l = many[which].link;

	for (int i = 0; i < 2; i++) {
		struct device *d;
		id[i] = sim_id_create(i);
		if (device_of(id[i], &d) || link_create(d, id[i], (struct meeting *)no_meeting, 1 << RING_SHIFT_LEAST, false, &l[i]))
			sim_wrong("no link");
	}
	sim_connect(id[0], id[1]);
	l[0]->peer_ring = (uintptr_t)l[1]->ring;
	l[0]->peer_rkey = l[1]->rkey;
	store_rel(l[0]->state, LINK_UP);
	return l[0];
}

static void end_link(int which)
{
	for (int i = 0; i < 2; i++) {
		links_destroy(many[which].link[i]->links);
		sim_id_destroy(many[which].id[i]);
	}
}

static uint64_t ask_for_all(struct link *l)
{
	uint64_t seq, n = 0;

	while (!link_ping(l, &seq))
		n++;
	return n;
}

/* The fabric answers nothing, nobody looks at the queue, and all fail. */
static void many_fail_at_once(int unused)
{
	uint64_t asked = 0;

	for (int i = 0; i < LINKS_MANY; i++)
		make_link(i);
	sim_wire.hole_us = UINT64_MAX;
	sim_wire.hole_from = 0;
	for (int i = 0; i < LINKS_MANY; i++)
		asked += ask_for_all(many[i].link[0]);
	store_rel(sim_wire.blind, true);
	for (int i = 0; i < LINKS_MANY; i++)
		link_fail(many[i].link[0], FALLBACK_RDMA_PORT);
	PEER_WAIT(sim_wire.completions >= asked);
	store_rel(sim_wire.blind, false);
	for (int i = 0; i < LINKS_MANY; i++)
		link_quiet(many[i].link[0]);
	if (ask_for_all(make_link(LINKS_MANY)) < LINK_SENDS - 1)
		sim_wrong("what has ended is still counted");
	for (int i = 0; i <= LINKS_MANY; i++)
		end_link(i);
}

/* Requests that ask for no completion count until another's: where many do, each asks. */
static void many_have_ended(int unused)
{
	struct control c = { .type = CONTROL_STATE };
	struct link *l = make_link(0);

	device_takes(l->device, CQ_DEPTH / 2);
	if (link_control_quietly(l, &c))
		sim_wrong("no message");
	PEER_WAIT((link_poll(l), link_is_acked(l, l->posted)));
	end_link(0);
}

/* Each device that fails does so in a process of its own. */
int main(void)
{
	for (int which = 0; which < 3; which++) {
		peer_apart(DEAD_US, IDLE_US, queue_pair_fails, which);
		peer_apart(DEAD_US, IDLE_US, device_fails, which);
	}
	peer_apart(DEAD_US, IDLE_US, port_fails, 0);
	peer_apart(DEAD_US, IDLE_US, error_comes_first, 0);
	for (int which = 0; which < 2; which++) {
		peer_apart(DEAD_US, IDLE_US, peer_writes_elsewhere, which);
		peer_apart(DEAD_US, IDLE_US, is_iwarp, which);
	}
	peer_apart(DEAD_US, IDLE_US, many_fail_at_once, 0);
	peer_apart(DEAD_US, IDLE_US, many_have_ended, 0);
	return 0;
}
