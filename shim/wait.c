#include "wait.h"

#include "clock.h"
#include "settings.h"
#include "spin.h"
#include "stats.h"

enum { KERNEL_LOOK_US = 3 };

_Atomic bool wait_any_stream;
static _Atomic bool blind;

bool waits_are_blind(void)
{
	return load_rlx(blind);
}

void wait_ring_for_everything(struct sock *s)
{
	struct stream *st = load_acq(s->stream);

	if (st)
		stream_set_edge(st, true);
}

void waits_go_blind(void)
{
	if (atomic_exchange(&blind, true))
		return;
	for (int fd = 0; fd <= atomic_load(&fd_highest); fd++) {
		struct sock *s = sock_enter(fd);
		if (!s)
			continue;
		wait_ring_for_everything(s);
		sock_leave(s);
	}
}

struct deadline deadline_in(const struct timespec *timeout)
{
	if (!timeout)
		return (struct deadline){ .forever = true };
	uint64_t ns = (uint64_t)timeout->tv_sec * 1000000000u + (uint64_t)timeout->tv_nsec;
	return (struct deadline){ .end_ns = ns ? clock_monotonic_ns() + ns : 0 };
}

bool deadline_left(const struct deadline *d, struct timespec *ret_left)
{
	*ret_left = (struct timespec){ 0 };
	if (d->forever || !d->end_ns)
		return !d->forever;
	uint64_t now = clock_monotonic_ns();
	if (now >= d->end_ns)
		return true;
	ret_left->tv_sec = (time_t)((d->end_ns - now) / 1000000000u);
	ret_left->tv_nsec = (long)((d->end_ns - now) % 1000000000u);
	return false;
}

const struct timespec *wait_doze(struct doze *z, const struct deadline *d, const struct timespec *left)
{
	const struct timespec *whole = d->forever ? NULL : left;

	if (load_rlx(stream_unsure)) {
		z->time = (struct timespec){ .tv_nsec = UNSURE_NS };
		return whole && !whole->tv_sec && whole->tv_nsec < UNSURE_NS ? whole : &z->time;
	}
	time_t next = z->time.tv_sec ? 2 * z->time.tv_sec : DOZE_FIRST_S;

	z->now = load_rlx(stream_grown) && next < DOZE_MOST_S && (!whole || whole->tv_sec > next);
	if (z->now)
		z->time.tv_sec = next;
	return z->now ? &z->time : whole;
}

void wait_slept(struct doze *z, int events)
{
	if (z->now && !events)
		sock_trim_idle();
	z->now = false;
}

bool watch_any_ready(const struct watch *w, int n)
{
	for (int i = 0; i < n; i++)
		if (stream_wait_ready(w[i].st) == READY_YES)
			return true;
	return false;
}

void watch_sleep_begin(const struct watch *w, int n)
{
	for (int i = 0; i < n; i++)
		stream_sleep_begin(w[i].st);
}

void watch_sleep_end(const struct watch *w, int n)
{
	for (int i = 0; i < n; i++)
		stream_sleep_end(w[i].st);
}

/* Ready by memory; *ret_ask: some of them only the kernel can judge. */
static bool look(const struct watch *w, int n, bool *ret_ask)
{
	bool ready = false;

	for (int i = 0; i < n; i++) {
		enum readiness r = stream_wait_ready(w[i].st);
		ready |= r == READY_YES;
		*ret_ask |= r == READY_KERNEL;
	}
	return ready;
}

static enum watch_end spin_loop(const struct watch *w, int n, bool ask_kernel, bool (*kernel_poll)(void *), void *arg,
	struct signal_mark mark)
{
	uint64_t start = clock_ticks(), last = start, asked = start;

	for (;;) {
		bool ask = ask_kernel;
		if (look(w, n, &ask))
			return WATCH_READY;
		if (signal_mark().all != mark.all)
			return WATCH_INTERRUPTED;
		uint64_t now = clock_ticks();
		if (now - last > spin_turn_most()) {
			for (int i = 0; i < n; i++)
				stream_spin_preempted(w[i].st);
			return WATCH_NOTHING;
		}
		if (ask && now - asked > us_to_ticks(KERNEL_LOOK_US)) {
			asked = now;
			if (kernel_poll(arg))
				return WATCH_KERNEL;
		}
		if (now - start > us_to_ticks(settings.spin))
			return WATCH_NOTHING;
		last = now;
		cpu_relax();
	}
}

enum watch_end watch_spin(const struct watch *w, int n, bool ask_kernel, bool (*kernel_poll)(void *), void *arg,
	struct signal_mark mark)
{
	if (!n || !stream_may_spin(w[0].st))
		return WATCH_NOTHING;
	stat_inc(STAT_net_spins);
	for (int i = 0; i < n; i++)
		stream_poll_begin(w[i].st);
	enum watch_end e = spin_loop(w, n, ask_kernel, kernel_poll, arg, mark);
	for (int i = 0; i < n; i++)
		stream_poll_end(w[i].st);
	for (int i = 0; i < n; i++)
		stream_spin_result(w[i].st, e == WATCH_READY || e == WATCH_KERNEL);
	return e;
}
