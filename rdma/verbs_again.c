/*
 * A stream whose link has failed meets its peer again: quietly, from the thread, as the first time, at distances that
 * grow while it is in vain and shrink when a link has been good for long.  The connecting side listens until it is called.
 */
#include "clock.h"
#include "log.h"
#include "verbs_meeting.h"

#include <string.h>

#define S_NS UINT64_C(1000000000)
#define FIRST_NS (1 * S_NS)
#define MOST_NS (30 * S_NS)
#define PATIENCE_NS (30 * S_NS) /* with a peer that owes an answer */
#define GOOD_NS (60 * S_NS)

void again_wait(struct meeting *m)
{
	m->due_ns = clock_monotonic_ns() + PATIENCE_NS;
}

static bool is_over(const struct meeting *m, uint64_t now)
{
	switch (load_rlx(m->state)) {
	case MEET_READY:
		return load_acq(m->link->state) == LINK_DOWN;
	case MEET_BUSY:
		return m->id && now > m->due_ns;
	case MEET_RESTS:
		return false;
	default:
		return true;
	}
}

static void rest(struct meeting *m, uint64_t now)
{
	if (!m->again)
		memcpy(m->bond, m->nonce, sizeof(m->bond));
	if (!m->again || (load_rlx(m->state) == MEET_READY && now - m->up_ns > GOOD_NS))
		m->distance_ns = FIRST_NS / 2;
	m->again = true;
	meeting_hang_up(m);
	link_let_go(m->link);
	meeting_drop_ids(m);
	m->distance_ns = 2 * m->distance_ns < MOST_NS ? 2 * m->distance_ns : MOST_NS;
	m->due_ns = now + m->distance_ns / (m->role ? 1 : 4); /* who listens is there before */
	store_rel(m->state, MEET_RESTS);
	log_debug("RDMA: meets again in %llu ms", (unsigned long long)((m->due_ns - now) / 1000000));
}

/* A call of the program has the stream, or it may never return: looked at again. */
static bool prepare(struct meeting *m, uint64_t now)
{
	struct link *l = verbs_return_prepare(m->link->links, &m->sends_by);

	m->due_ns = now + (l ? PATIENCE_NS : m->distance_ns);
	if (l)
		m->link = l;
	return l;
}

/* What is said by a port that is down is more than lost on soft-RoCE: there its queue pair of all such messages fails for good. */
static uint64_t usable_ns(const struct meeting *m)
{
	return device_usable_ns(m->device, m->port);
}

/* Nothing has happened, as with nearly all of a thousand connections at each turn of the thread. */
static bool is_quiet(const struct meeting *m)
{
	return !m->again && load_rlx(m->state) == MEET_READY && load_acq(m->link->state) == LINK_UP;
}

bool again_step(struct meeting *m, uint64_t now)
{
	if (m->version < VERSION_RETURNS || is_quiet(m) || now < usable_ns(m))
		return false;
	if (is_over(m, now))
		rest(m, now);
	if (load_rlx(m->state) == MEET_READY)
		verbs_return_release(m->link->links);
	return load_rlx(m->state) == MEET_RESTS && now >= m->due_ns && prepare(m, now);
}

uint64_t again_due(const struct meeting *m, uint64_t now)
{
	uint64_t due = UINT64_MAX;

	if (!load_rlx(m->taken) || m->version < VERSION_RETURNS || is_quiet(m))
		return due;
	if (is_over(m, now))
		due = 0;
	else if (load_rlx(m->state) == MEET_RESTS || (load_rlx(m->state) == MEET_BUSY && m->id))
		due = m->due_ns;
	return due > usable_ns(m) ? due : usable_ns(m);
}
