/*
 * The progress thread: one in a process that meets peers on other hosts, made when the first connection
 * is worth it and a device is there.  It blocks all signals.  All of rdma_cm happens here, and whatever
 * must happen while the program makes no calls: messages, failures, heartbeats.
 */
#include "clock.h"
#include "fdtable.h"
#include "log.h"
#include "memwatch.h"
#include "settings.h"
#include "stats.h"
#include "sys.h"
#include "verbs.h"
#include "verbs_api.h"
#include "verbs_io.h"

#include <link.h>
#include <poll.h>
#include <string.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>

enum { DEVICES_MOST = 16, EXIT_MS = 2000, UNANSWERED_MOST_MS = 32 };

static struct {
	_Atomic int state; /* 0: none, 1: runs, -1: cannot */
	_Atomic bool stop, stopped;
	int wake;
	struct rdma_event_channel *channel;
} thread = { .wake = -1 };

struct rdma_event_channel *thread_channel(void)
{
	return thread.channel;
}

void thread_wake(void)
{
	uint64_t one = 1;

	sys_call(SYS_write, thread.wake, &one, sizeof(one));
}

static void not_blocking(int fd)
{
	sys_call(SYS_fcntl, fd, F_SETFL, sys_call(SYS_fcntl, fd, F_GETFL) | O_NONBLOCK);
}

/* An event is acknowledged before it is acted on: an id cannot be destroyed before. */
static void connection_events(void)
{
	struct rdma_cm_event *e;

	while (!verbs.rdma_get_cm_event(thread.channel, &e)) {
		struct rdma_cm_event copy = *e;
		uint8_t data[256] = { 0 };
		struct rdma_cm_id *id = e->id;
		size_t n = e->param.conn.private_data_len;
		if (e->param.conn.private_data)
			memcpy(data, e->param.conn.private_data, n < sizeof(data) ? n : sizeof(data));
		copy.param.conn.private_data = data;
		verbs.rdma_ack_cm_event(e);
		meeting_event(&copy, id);
	}
}

/* ---- heartbeat: an idle connection is told of nothing, not even of a cable pulled elsewhere */

static bool any_link, any_unanswered;
static uint64_t unanswered_ns; /* since when; 0: nothing is */

/* The child may sleep as soon as nothing can come that nobody rings for. */
static void leave_to_child(struct link *l)
{
	link_fail(l, FALLBACK_RDMA_FORKED);
	if (load_rlx(l->told_polls))
		link_polls_no_more(l);
}

static void beat(struct link *l)
{
	uint64_t seq;

	any_link = true;
	if (load_rlx(l->wanted_down))
		leave_to_child(l);
	if (!link_is_up(l))
		return;
	if (l->pinged && (int64_t)(l->pinged - load_acq(l->acked)) > 0) {
		link_fail(l, FALLBACK_RDMA_SILENT);
		return;
	}
	if (!link_ping(l, &seq))
		l->pinged = seq;
}

static void obey(struct link *l)
{
	bool left = false;

	if (atomic_exchange(&l->news, false)) {
		left |= load_acq(l->withdrawn) && !verbs_withdrawal(l);
		left |= load_acq(l->recall) && !verbs_recall(l);
	}
	if (left) {
		store_rel(l->news, true);
		any_unanswered = true;
	}
	if (load_rlx(l->wanted_down))
		leave_to_child(l);
}

static void heartbeat(void)
{
	static uint64_t next_ns;
	uint64_t now = clock_monotonic_ns();

	if (now < next_ns)
		return;
	next_ns = now + settings.rdma_idle * 500;
	any_link = false;
	for (struct device *d = device_next(NULL); d; d = device_next(d)) {
		device_poll(d);
		device_each_link(d, beat);
	}
}

void thread_tend_links(void)
{
	any_unanswered = false;
	for (struct device *d = device_next(NULL); d; d = device_next(d))
		device_each_link(d, obey);
	unanswered_ns = !any_unanswered ? 0 : unanswered_ns ? unanswered_ns : clock_monotonic_ns();
	any_link |= device_next(NULL) != NULL;
	heartbeat();
}

/* ---- */

static bool any_kept;

static void sweep(void)
{
	any_kept = false;
	for (struct device *d = device_next(NULL); d; d = device_next(d))
		any_kept |= device_sweep(d);
}

static int watch(struct pollfd *fds, struct device **ret_devices)
{
	int n = 0;

	fds[n++] = (struct pollfd){ .fd = thread.wake, .events = POLLIN };
	fds[n++] = (struct pollfd){ .fd = thread.channel->fd, .events = POLLIN };
	for (struct device *d = device_next(NULL); d && n < 2 + 2 * DEVICES_MOST; d = device_next(d)) {
		*ret_devices++ = d;
		fds[n++] = (struct pollfd){ .fd = device_completion_fd(d), .events = POLLIN };
		fds[n++] = (struct pollfd){ .fd = device_async_fd(d), .events = POLLIN };
	}
	return n;
}

static int patience_ms(void)
{
	int beat = any_link || any_kept ? (int)(settings.rdma_idle / 2000) + 1 : -1, due = meeting_patience_ms();

	return beat < 0 || (due >= 0 && due < beat) ? due : beat;
}

/* A withdrawal waits for the receive that is reading, which mostly answers itself when it has read: looked after ever more rarely. */
static int unanswered_ms(void)
{
	uint64_t ms = 1 + (clock_monotonic_ns() - unanswered_ns) / 1000000;

	return ms < UNANSWERED_MOST_MS ? (int)ms : UNANSWERED_MOST_MS;
}

static void turn(void)
{
	struct device *devices[DEVICES_MOST];
	struct pollfd fds[2 + 2 * DEVICES_MOST];
	int n = watch(fds, devices);
	uint64_t count;

	sys_call(SYS_poll, fds, n, any_unanswered ? unanswered_ms() : patience_ms());
	if (fds[0].revents)
		sys_call(SYS_read, thread.wake, &count, sizeof(count));
	for (int i = 2; i < n; i += 2) {
		if (fds[i].revents)
			device_completions(devices[i / 2 - 1]);
		if (fds[i + 1].revents)
			device_async(devices[i / 2 - 1]);
	}
	if (fds[1].revents)
		connection_events();
	meeting_steps();
	thread_tend_links();
	sweep();
}

static void *run(void *unused)
{
	if (!verbs_load())
		thread.channel = verbs.rdma_create_event_channel();
	if (!thread.channel) {
		store_rel(thread.stopped, true);
		log_info("RDMA is off: no connection manager: %s", strerror(errno));
		atomic_store(&thread.state, -1);
		return NULL;
	}
	int high = fd_hide((int)sys_call(SYS_fcntl, thread.channel->fd, F_DUPFD_CLOEXEC, 0));
	if (high >= 0) {
		sys_call(SYS_close, thread.channel->fd);
		thread.channel->fd = high;
	}
	not_blocking(thread.channel->fd);
	while (!load_acq(thread.stop))
		turn();
	store_rel(thread.stopped, true);
	return NULL;
}

/*
 * The libraries' destructors take away what the thread works on.  They run after the handlers of atexit.
 */
static void stop_at_exit(void)
{
	struct timespec nap = { .tv_nsec = 1000000 };

	if (!verbs_is_ours() || load_acq(thread.state) != 1)
		return;
	store_rel(thread.stop, true);
	thread_wake();
	for (int i = 0; i < EXIT_MS && !load_acq(thread.stopped); i++)
		sys_call(SYS_nanosleep, &nap, 0);
}

static int add_tls(struct dl_phdr_info *object, size_t size, void *sum)
{
	for (int i = 0; i < object->dlpi_phnum; i++)
		if (object->dlpi_phdr[i].p_type == PT_TLS)
			*(size_t *)sum += object->dlpi_phdr[i].p_memsz + object->dlpi_phdr[i].p_align;
	return 0;
}

/* All thread-local variables that the program and its libraries were started with lie in the stack, too. */
static size_t stack_bytes(void)
{
	size_t sum = 1 << 20;

	dl_iterate_phdr(add_tls, &sum);
	return sum;
}

static int create(void)
{
	sigset_t all, old;
	pthread_t t;
	pthread_attr_t attr;

	long fd = sys_call(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK);
	thread.wake = fd < 0 ? -1 : fd_hide((int)fd);
	if (thread.wake < 0)
		return -EMFILE;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, stack_bytes());
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int r = pthread_create(&t, &attr, run, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (r)
		log_info("RDMA is off: no thread: %s", strerror(r));
	else
		atexit(stop_at_exit);
	return -r;
}

void verbs_after_fork(void)
{
	memwatch_after_fork_child();
}

int thread_start(void)
{
	static _Atomic bool tried;

	if (!verbs_is_ours())
		return -EPERM;
	if (!atomic_exchange(&tried, true))
		atomic_store(&thread.state, create() ? -1 : 1);
	return load_acq(thread.state) < 0 ? -ENODEV : 0;
}
