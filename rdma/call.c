#include "call.h"
#include "clock.h"
#include "process.h"
#include "real.h"

#include <poll.h>
#include <sys/time.h>

static __thread TLS_IE struct {
	struct stream *s;
	_Atomic uint64_t *mark;
	_Atomic uint32_t *inside;
	bool asleep, counted, polls;
	void (*take_back)(void *what);
	void *what;
} call;

enum { NAP_NS = 1000000 };

uint64_t stream_time_out_ns(int fd)
{
	struct timeval t = { 0 };
	socklen_t len = sizeof(t);

	sys_call(SYS_getsockopt, fd, SOL_SOCKET, SO_RCVTIMEO, &t, &len);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_usec * 1000;
}

/* -EINTR: a handler has run that ends a call which waits. */
static int doze(struct stream *s, int fd)
{
	unsigned breaking = signal_mark().breaking;
	int r = 0;

	for (time_t time = DOZE_FIRST_S; !r && load_rlx(stream_grown) && time < DOZE_MOST_S; time *= 2) {
		struct pollfd f = { .fd = stream_fd(s, fd), .events = POLLIN };
		r = real.ppoll(&f, 1, &(struct timespec){ time }, NULL);
		if (!r)
			stream_trim_idle();
	}
	return r < 0 && signal_mark().breaking != breaking ? -EINTR : 0;
}

int patience_unsure(struct patience *p, struct stream *s, int fd)
{
	unsigned breaking = signal_mark().breaking;
	uint64_t all = stream_time_out_ns(fd);
	int r;

	p->since_ns = clock_monotonic_ns();
	do {
		struct pollfd f = { .fd = stream_fd(s, fd), .events = POLLIN };
		r = real.ppoll(&f, 1, &(struct timespec){ .tv_nsec = UNSURE_NS }, NULL);
		if (r < 0 && (all || signal_mark().breaking != breaking))
			return -EINTR;
		if (stream_wait_ready(s) == READY_YES)
			return 1;
		if (all && p->slept_ns + clock_monotonic_ns() - p->since_ns >= all)
			return -EAGAIN;
	} while (r <= 0);
	return 0;
}

int patience_left(struct patience *p, struct stream *s, int fd, bool sleeps)
{
	if (!sleeps)
		return 0;
	if (load_rlx(stream_grown) && !load_rlx(s->timed))
		return doze(s, fd);
	struct pollfd f = { .fd = fd, .events = POLLIN };
	uint64_t all = p->slept_ns ? stream_time_out_ns(fd) : 0;

	p->since_ns = clock_monotonic_ns();
	if (!all)
		return 0;
	if (p->slept_ns >= all)
		return -EAGAIN;
	uint64_t left = all - p->slept_ns;
	int r = real.ppoll(&f, 1, &(struct timespec){ (time_t)(left / 1000000000), (long)(left % 1000000000) }, NULL);
	return r > 0 ? 0 : r == 0 ? -EAGAIN : -errno;
}

void patience_slept(struct patience *p)
{
	if (p->since_ns)
		p->slept_ns += clock_monotonic_ns() - p->since_ns;
	p->since_ns = 0;
}

/* False: it is the end, a signal has come, or there is no time left. */
static bool nap(struct patience *p, int fd, struct signal_mark mark)
{
	struct pollfd f = { .fd = fd, .events = POLLRDHUP };
	uint64_t all = stream_time_out_ns(fd);

	if ((all && p->slept_ns >= all) || signal_mark().breaking != mark.breaking)
		return false;
	p->since_ns = clock_monotonic_ns();
	int r = real.ppoll(&f, 1, &(struct timespec){ .tv_nsec = NAP_NS }, NULL);
	patience_slept(p);
	return !r;
}

bool patience_peeks_again(struct patience *p, int fd, int flags, struct signal_mark mark, struct cursor *c, size_t *got)
{
	if (!(flags & MSG_PEEK) || !(flags & MSG_WAITALL) || !*got || !c->left || p->last)
		return false;
	p->last = !nap(p, fd, mark);
	*c = p->whole;
	*got = 0;
	return true;
}

void call_begin(struct stream *s)
{
	if (signal_in_handler())
		return;
	call.asleep = call.counted = call.polls = false;
	call.inside = NULL;
	call.mark = NULL;
	call.s = s;
}

void call_end(void)
{
	if (!signal_in_handler())
		call.s = NULL;
}

void call_marks(_Atomic uint64_t *mark)
{
	if (!signal_in_handler())
		call.mark = mark;
}

void call_sleeps(struct stream *s, bool counted)
{
	section_enter();
	atomic_fetch_add(&s->asleep, 1);
	if (!signal_in_handler()) {
		call.counted = counted;
		call.asleep = true;
	}
	section_leave();
}

void call_wakes(struct stream *s)
{
	section_enter();
	atomic_fetch_sub(&s->asleep, 1);
	if (!signal_in_handler())
		call.asleep = false;
	section_leave();
}

void call_takes(_Atomic uint32_t *inside)
{
	if (!signal_in_handler())
		call.inside = inside;
}

/* By a handler: the receive that it interrupts goes on in the child, too. */
void stream_before_fork(void)
{
	if (call.s && call.inside)
		atomic_fetch_add(call.inside, 1);
}

void call_polls(bool yes)
{
	if (!signal_in_handler())
		call.polls = yes;
}

static void take_back(void)
{
	void (*how)(void *) = call.take_back;

	call_lends(NULL, NULL);
	if (how)
		how(call.what);
}

void call_lends(void (*how)(void *what), void *what)
{
	if (signal_in_handler())
		return;
	section_enter();
	if (how)
		call.what = what;
	call.take_back = how;
	signal_thread.before = how ? take_back : NULL;
	section_leave();
}

static void reclaim(struct stream *s)
{
	uint64_t reading = SEG_READING;

	take_back();
	call.s = NULL;
	if (call.mark && load_rlx(s->side->reader) == thread_id())
		atomic_compare_exchange_strong(call.mark, &reading, SEG_OPEN);
	if (call.asleep && call.counted)
		stream_sleep_end(s);
	if (call.asleep)
		atomic_fetch_sub(&s->asleep, 1);
	if (call.polls)
		stream_poll_end(s);
	if (s->let_go)
		s->let_go(s->owner);
}

void stream_reclaim(void)
{
	if (__builtin_expect(call.s != NULL, 0) && !signal_in_handler())
		reclaim(call.s);
}

void call_cancelled(void *s)
{
	if (call.s == s)
		reclaim(s);
}
