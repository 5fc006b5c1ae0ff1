/*
 * When to poll memory instead of sleeping, and when not: less and less while it does not pay, not for a while after
 * the thread was preempted in a spin; on one host never while both ends share a core.
 */
#include "clock.h"
#include "settings.h"
#include "shm.h"
#include "spin.h"
#include "stats.h"
#include "sys.h"

#include <sched.h>

enum {
	TURN_LEAST_US = 100, PREEMPTED_FIRST = 2000, PREEMPTED_MOST = 500000,
	FRUITLESS_FIRST = 500, FRUITLESS_MOST = 200000,
	FRUITLESS = 3, FRUITFUL = 64,
	KERNEL_LOOK_US = 2, OFTEN_US = 50, /* how often a spin on inline traffic asks the kernel; later, and between hosts, more and more rarely */
	MOVE_EVERY_US = 5000,
};

static _Atomic uint64_t off_until; /* of the whole process, after a preemption */
static _Atomic uint64_t preempted_backoff;

static uint64_t doubled(uint64_t backoff, uint64_t first_us, uint64_t most_us)
{
	uint64_t b = backoff ? backoff * 2 : us_to_ticks(first_us);

	return b < us_to_ticks(most_us) ? b : us_to_ticks(most_us);
}

/* On one host the peer is told. */
static void say_spinner(struct stream *s, uint32_t v)
{
	if (s->in && load_rlx(s->in->spinner) != v)
		store_rlx(s->in->spinner, v);
}

void spin_preempted(struct stream *s)
{
	uint64_t backoff = doubled(load_rlx(preempted_backoff), PREEMPTED_FIRST, PREEMPTED_MOST);

	store_rlx(preempted_backoff, backoff);
	store_rlx(off_until, clock_ticks() + backoff);
	say_spinner(s, 0);
}

/*
 * Moves this thread to another of its CPUs and gives it its mask back at once.  Only the connecting
 * side moves, at most every 5 ms in a process.
 */
static bool move_away(struct stream *s, int cpu)
{
	static _Atomic uint64_t next;
	uint64_t now = clock_ticks(), due = load_rlx(next);
	cpu_set_t all, others;

	if (s->role || !settings.spin_move || now < due ||
	    !atomic_compare_exchange_strong(&next, &due, now + us_to_ticks(MOVE_EVERY_US)))
		return false;
	long bytes = sys_call(SYS_sched_getaffinity, 0, sizeof(all), &all);
	if (bytes <= 0)
		return false;
	CPU_ZERO(&others);
	for (int i = 0; i < (int)bytes * 8; i++)
		if (i != cpu && CPU_ISSET(i, &all))
			CPU_SET(i, &others);
	if (!CPU_COUNT(&others) || sys_call(SYS_sched_setaffinity, 0, bytes, &others))
		return false;
	sys_call(SYS_sched_setaffinity, 0, bytes, &all);
	stat_inc(STAT_net_moves);
	store_rlx(s->in->cpu, (uint32_t)sched_getcpu() + 1);
	return true;
}

static bool peer_has_another_core(struct stream *s)
{
	int cpu = sched_getcpu();

	if (load_rlx(s->in->cpu) != (uint32_t)cpu + 1)
		store_rlx(s->in->cpu, (uint32_t)cpu + 1);
	if (load_rlx(s->out->cpu) != (uint32_t)cpu + 1 || move_away(s, cpu))
		return true;
	say_spinner(s, 0);
	return false;
}

void stream_note_core(struct stream *s)
{
	peer_has_another_core(s);
}

bool stream_shares_core(struct stream *s)
{
	return load_rlx(s->out->cpu) == (uint32_t)sched_getcpu() + 1;
}

uint64_t spin_turn_most(void)
{
	return us_to_ticks(2 * settings.spin > TURN_LEAST_US ? 2 * settings.spin : TURN_LEAST_US);
}

bool spin_is_due(const struct stream *s)
{
	uint64_t now = clock_ticks();

	return settings.spin && now > load_rlx(off_until) && now > load_rlx(s->spin_off_until);
}

bool shm_may_spin(struct stream *s)
{
	return spin_is_due(s) && peer_has_another_core(s);
}

static void spin_paid(struct stream *s)
{
	stat_inc(STAT_net_spin_hits);
	store_rlx(s->spin_fails, 0);
	add_rlx(s->spin_hits, 1);
	if (load_rlx(s->spin_hits) > FRUITFUL) {
		store_rlx(s->spin_backoff, 0);
		store_rlx(s->spin_hits, 0);
		store_rlx(preempted_backoff, 0);
	}
	say_spinner(s, 1);
}

void spin_result(struct stream *s, bool hit)
{
	if (hit) {
		spin_paid(s);
		return;
	}
	store_rlx(s->spin_hits, 0);
	add_rlx(s->spin_fails, 1);
	if (load_rlx(s->spin_fails) < FRUITLESS)
		return;
	store_rlx(s->spin_fails, FRUITLESS - 1);
	say_spinner(s, 0);
	uint64_t backoff = doubled(load_rlx(s->spin_backoff), FRUITLESS_FIRST, FRUITLESS_MOST);
	store_rlx(s->spin_backoff, backoff);
	store_rlx(s->spin_off_until, clock_ticks() + backoff);
}

static uint64_t kernel_look_ticks(const struct stream *s, uint64_t waited)
{
	uint64_t often = us_to_ticks(KERNEL_LOOK_US);

	return (s->in && waited < us_to_ticks(OFTEN_US)) || waited / 2 < often ? often : waited / 2;
}

static bool kernel_has_news(struct stream *s, int fd)
{
	char byte;
	long k = sys_call(SYS_recvfrom, fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT, 0, 0);

	stream_keep_error(s, fd, k);
	return k != -EAGAIN;
}

static enum spin_end spin_loop(struct stream *s, int fd, struct signal_mark mark, enum readiness (*look)(struct stream *s))
{
	uint64_t start = clock_ticks(), last = start, looked = start;

	for (;;) {
		enum readiness r = look(s);
		if (r == READY_YES)
			return SPIN_DATA;
		if (signal_mark().breaking != mark.breaking)
			return SPIN_INTERRUPTED;
		uint64_t now = clock_ticks();
		if (now - last > spin_turn_most()) {
			spin_preempted(s);
			return SPIN_NOTHING;
		}
		if (r == READY_KERNEL && now - looked > kernel_look_ticks(s, now - start)) {
			looked = now;
			if (kernel_has_news(s, fd))
				return SPIN_DATA;
		}
		if (now - start > us_to_ticks(settings.spin))
			return SPIN_NOTHING;
		last = now;
		cpu_relax();
	}
}

enum spin_end stream_spin(struct stream *s, int fd, struct signal_mark mark, enum readiness (*look)(struct stream *s))
{
	if (load_rlx(s->watched) || !stream_may_spin(s))
		return SPIN_NOTHING;
	stat_inc(STAT_net_spins);
	stream_poll_begin(s);
	call_polls(true);
	enum spin_end e = spin_loop(s, fd, mark, look);
	call_polls(false);
	stream_poll_end(s);
	if (e == SPIN_NOTHING && look(s) == READY_YES)
		e = SPIN_DATA;
	spin_result(s, e == SPIN_DATA);
	return e;
}
