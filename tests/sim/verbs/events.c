/* What the simulated devices say of themselves. */
#include "device.h"

#include <pthread.h>
#include <sys/eventfd.h>

enum { EVENTS = 64 }; /* that nobody fetches; more are lost */

static struct {
	struct ibv_async_event event[EVENTS];
	unsigned head, tail;
} queues[2];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void sim_event(struct ibv_context *c, struct ibv_async_event e)
{
	int i = c == sim_context(1);

	pthread_mutex_lock(&lock);
	if (queues[i].tail - queues[i].head < EVENTS) {
		queues[i].event[queues[i].tail++ % EVENTS] = e;
		eventfd_write(c->async_fd, 1);
	}
	pthread_mutex_unlock(&lock);
}

void sim_open_events(struct ibv_context *c)
{
	int i = c == sim_context(1);

	pthread_mutex_lock(&lock);
	queues[i].head = queues[i].tail;
	c->async_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
	pthread_mutex_unlock(&lock);
}

static int get_event(struct ibv_context *c, struct ibv_async_event *ret)
{
	int i = c == sim_context(1);
	eventfd_t one;

	if (eventfd_read(c->async_fd, &one))
		return -1;
	pthread_mutex_lock(&lock);
	*ret = queues[i].event[queues[i].head++ % EVENTS];
	pthread_mutex_unlock(&lock);
	return 0;
}

static void ack_event(struct ibv_async_event *e)
{
}

static const char *event_text(enum ibv_event_type type)
{
	return "simulated";
}

void sim_events_install(void)
{
	verbs.ibv_get_async_event = get_event;
	verbs.ibv_ack_async_event = ack_event;
	verbs.ibv_event_type_str = event_text;
}
