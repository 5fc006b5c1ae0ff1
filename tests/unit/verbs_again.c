/*
 * A stream whose link has failed meets its peer again, over simulated devices and their connection manager, in either
 * role: to a peer that returns when it likes, to one that is killed at each stage, by a device that was removed and is
 * there again; and never to one that speaks the version before.  By a clock that the test moves.
 */
#include "peer.h"

#include "clock.h"
#include "stats.h"
#include "verbs_meeting.h"

#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { HUNG_S = 240, DEAD_US = 600000000 };
#define IDLE_US UINT64_C(86400000000) /* beyond all that the clock is moved by, but where it is to be late */
#define DAWDLES_NS UINT64_C(31000000000) /* longer than from one try to the next */

static _Atomic uint64_t by_hand_ns; /* 0: the machine's */

/* In place of the C library's. */
int clock_gettime(clockid_t clock, struct timespec *t)
{
	uint64_t ns = by_hand_ns;

	if (!ns || clock != CLOCK_MONOTONIC)
		return (int)syscall(SYS_clock_gettime, clock, t);
	*t = (struct timespec){ (time_t)(ns / 1000000000), (long)(ns % 1000000000) };
	return 0;
}

static void begin(struct peer *p, int role, uint8_t version)
{
	peer_start(p, role);
	p->version = version;
	peer_meet(p);
	peer_agree(p);
	peer_converse(p);
}

/* The library's ends rest, and come to their next try after so long. */
static void let_try_after(uint64_t ns, struct peer *p, int n)
{
	for (int i = 0; i < n; i++)
		PEER_WAIT(load_acq(p[i].meeting->state) == MEET_RESTS);
	by_hand_ns += ns;
	thread_wake();
}

static void let_try(struct peer *p, int n)
{
	let_try_after(DAWDLES_NS, p, n);
}

static void speak_by_tcp(struct peer *p)
{
	if (!p->over)
		peer_say_failover(p);
	peer_say_by_tcp(p);
	peer_library_reads(p, 1);
	peer_library_says(p);
	if (!p->they_left)
		sim_wrong("the library stays on a link that has failed");
}

static void return_by_ring(struct peer *p, int unread)
{
	peer_say_return(p);
	peer_say_by_ring(p);
	peer_library_reads(p, unread + 1);
	peer_library_says_by_ring(p);
	if (p->they_left)
		sim_wrong("the library does not return");
}

static void fail_and_meet(struct peer *p)
{
	peer_fail(p);
	let_try(p, 1);
	peer_meet_again(p);
}

/* Before it does, it waits until its device has done with what it was told of its polling. */
static void sleeps(struct peer *p)
{
	if (!load_rlx(link_in(verbs_of(p->stream))->told_polls))
		sim_wrong("the library does not poll");
	stream_sleep_begin(p->stream);
	stream_sleep_end(p->stream);
}

/* ---- a peer of the version before: not even when others are met again */

static void version_before(void)
{
	struct peer old[2], young[2];

	for (int role = 0; role < 2; role++) {
		begin(&old[role], role, VERSION_RETURNS - 1);
		begin(&young[role], role, VERBS_VERSION_MAX);
		stream_poll_begin(old[role].stream);
		peer_fail(&old[role]);
		sleeps(&old[role]);
		speak_by_tcp(&old[role]);
	}
	for (int role = 0; role < 2; role++) {
		fail_and_meet(&young[role]);
		peer_say_failover(&young[role]);
		return_by_ring(&young[role], 0);
	}
	for (int role = 0; role < 2; role++) {
		if (peer_is_sought(&old[role]))
			sim_wrong("role %d: a peer that knows no return is met again", role);
		speak_by_tcp(&old[role]);
		peer_end(&old[role]);
		peer_end(&young[role]);
	}
}

/* ---- long after they met: who owed an answer then owes none now */

static void late(int role)
{
	struct peer p;

	begin(&p, role, VERBS_VERSION_MAX);
	peer_fail(&p);
	let_try_after(3000 * IDLE_US, &p, 1);
	peer_meet_again(&p);
	peer_say_failover(&p);
	return_by_ring(&p, 0);
	peer_end(&p);
}

/* ---- each direction at a time of its own */

static void at_different_times(int role)
{
	struct peer p;

	begin(&p, role, VERBS_VERSION_MAX);
	fail_and_meet(&p); /* the peer returns, the library has nothing to say */
	peer_say_failover(&p);
	peer_say_return(&p);
	peer_say_by_ring(&p);
	peer_library_reads(&p, 1);
	peer_say_by_ring(&p);
	fail_and_meet(&p); /* with something unread; the library returns first */
	peer_library_says_by_ring(&p);
	peer_say_failover(&p);
	peer_say_by_tcp(&p);
	return_by_ring(&p, 2);
	fail_and_meet(&p); /* the peer returns to a link that fails before the library reads of it */
	peer_say_failover(&p);
	peer_say_return(&p);
	peer_say_by_ring(&p);
	fail_and_meet(&p);
	peer_say_failover(&p);
	return_by_ring(&p, 1);
	peer_converse(&p);
	peer_end(&p);
}

/* ---- a peer that is killed */

enum stage { RESTS, CALLED, INTRODUCED, RETURNED, STAGES };

static void come_to(struct peer *p, enum stage stage)
{
	if (stage == RESTS)
		return;
	let_try(p, 1);
	if (stage == RETURNED) {
		peer_meet_again(p);
		peer_say_failover(p);
		peer_say_return(p);
		peer_say_by_ring(p);
		return;
	}
	struct intro i = peer_begin(p);
	if (stage == INTRODUCED)
		peer_introduce(p, &i, sizeof(i));
}

static void killed(int role, enum stage stage)
{
	struct peer p;
	uint8_t byte;
	struct iovec v = { &byte, 1 };

	begin(&p, role, VERBS_VERSION_MAX);
	peer_fail(&p);
	come_to(&p, stage);
	peer_die(&p);
	let_try(&p, 1);
	if (stage == RETURNED)
		peer_library_reads(&p, 1);
	ssize_t r = stream_recv(p.stream, p.lib_fd, &v, 1, (struct stream_opts){ .mark = signal_mark() });
	if (r)
		sim_wrong("role %d, stage %d: a peer that is dead: %zd", role, stage, r);
	peer_end(&p);
}

/* ---- a device that is removed, and is there again */

static void removed(void)
{
	struct peer p[2];

	for (int role = 0; role < 2; role++)
		begin(&p[role], role, VERBS_VERSION_MAX);
	sim_remove(0);
	for (int role = 0; role < 2; role++) {
		PEER_WAIT(load_acq(link_out(verbs_of(p[role].stream))->state) == LINK_DOWN);
		peer_fail(&p[role]);
		speak_by_tcp(&p[role]);
	}
	let_try(p, 2);
	PEER_WAIT(sim_wire.not_found >= 2);
	sim_add(0);
	let_try(p, 2);
	for (int role = 0; role < 2; role++) {
		peer_meet_again(&p[role]);
		return_by_ring(&p[role], 0);
		peer_converse(&p[role]);
		peer_end(&p[role]);
	}
}

int main(void)
{
	peer_set_up(DEAD_US, IDLE_US);
	alarm(HUNG_S);
	by_hand_ns = clock_monotonic_ns();
	version_before();
	for (int role = 0; role < 2; role++) {
		late(role);
		at_different_times(role);
		for (enum stage stage = RESTS; stage < STAGES; stage++)
			killed(role, stage);
	}
	removed();
	PEER_WAIT(!atomic_load(&dlaccel_stats.slot[STAT_net_ring_pages].value));
	printf("%llu directions returned\n", (unsigned long long)atomic_load(&dlaccel_stats.slot[STAT_rdma_returns].value));
	return 0;
}
