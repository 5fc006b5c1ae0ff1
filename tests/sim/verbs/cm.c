/* The connection manager of the simulated fabric: who listens where, calls, answers, and the events of both. */
#include "device.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { REJECTED_NO_LISTENER = 8, REJECTED_BY_CONSUMER = 28, CALL_BYTES = 56, ANSWER_BYTES = 196 };

struct id {
	struct rdma_cm_id id; /* first: what the caller holds */
	struct id *next, *peer;
	bool listens;
};

struct event {
	struct rdma_cm_event event; /* first */
	struct event *next;
	uint8_t data[ANSWER_BYTES];
};

struct channel {
	struct rdma_event_channel channel; /* first */
	struct event *first;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct id *ids;
static _Atomic bool removed[2];

/* ---- events; all under the lock */

/* As on the wire: private data has a length of its own for each kind of message, and zeroes behind what was given. */
static void tell(struct id *to, struct id *about, enum rdma_cm_event_type type, int status, const struct rdma_conn_param *p,
	uint8_t bytes)
{
	struct channel *c = (struct channel *)to->id.channel;
	struct event *e = calloc(1, sizeof(*e)), **end = &c->first;

	e->event = (struct rdma_cm_event){ .id = &about->id, .listen_id = &to->id, .event = type, .status = status };
	if (bytes) {
		if (p && p->private_data)
			memcpy(e->data, p->private_data, p->private_data_len);
		e->event.param.conn = (struct rdma_conn_param){ .private_data = e->data, .private_data_len = bytes };
	}
	while (*end)
		end = &(*end)->next;
	*end = e;
	eventfd_write(c->channel.fd, 1);
}

static int get_event(struct rdma_event_channel *channel, struct rdma_cm_event **ret_event)
{
	struct channel *c = (struct channel *)channel;
	eventfd_t one;

	pthread_mutex_lock(&lock);
	struct event *e = c->first;
	if (e) {
		c->first = e->next;
		eventfd_read(channel->fd, &one);
		*ret_event = &e->event;
	}
	pthread_mutex_unlock(&lock);
	errno = EAGAIN;
	return e ? 0 : -1;
}

static int ack_event(struct rdma_cm_event *e)
{
	free(e);
	return 0;
}

static void forget_events(struct id *i)
{
	struct channel *c = (struct channel *)i->id.channel;
	eventfd_t one;

	for (struct event **p = &c->first, *e; (e = *p);) {
		if (e->event.id != &i->id) {
			p = &e->next;
			continue;
		}
		*p = e->next;
		eventfd_read(c->channel.fd, &one);
		free(e);
	}
}

static struct rdma_event_channel *create_channel(void)
{
	struct channel *c = calloc(1, sizeof(*c));

	c->channel.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
	return &c->channel;
}

static void destroy_channel(struct rdma_event_channel *channel)
{
	struct channel *c = (struct channel *)channel;

	close(channel->fd);
	free(c);
}

static const char *event_text(enum rdma_cm_event_type type)
{
	return "simulated";
}

/* ---- ids; the last byte of an address says whose device it is: 1 or 2 */

static struct id *new_id(struct rdma_event_channel *channel, void *context)
{
	struct id *i = calloc(1, sizeof(*i));

	i->id.channel = channel;
	i->id.context = context;
	i->next = ids;
	ids = i;
	return i;
}

static int create_id(struct rdma_event_channel *channel, struct rdma_cm_id **ret_id, void *context, enum rdma_port_space space)
{
	pthread_mutex_lock(&lock);
	*ret_id = &new_id(channel, context)->id;
	pthread_mutex_unlock(&lock);
	return 0;
}

static int destroy_id(struct rdma_cm_id *id)
{
	struct id *i = (struct id *)id;

	pthread_mutex_lock(&lock);
	for (struct id **p = &ids; *p; p = &(*p)->next)
		if (*p == i) {
			*p = i->next;
			break;
		}
	if (i->peer)
		i->peer->peer = NULL;
	forget_events(i);
	pthread_mutex_unlock(&lock);
	free(i);
	return 0;
}

static int bind_addr(struct rdma_cm_id *id, struct sockaddr *at)
{
	const struct sockaddr_in *in = (const void *)at;
	int device = (int)(ntohl(in->sin_addr.s_addr) & 0xff) - 1;

	if (removed[device]) {
		sim_wire.not_found++;
		errno = ENODEV;
		return -1;
	}
	memcpy(&id->route.addr.src_storage, at, sizeof(*in));
	id->verbs = sim_context(device);
	return 0;
}

static int start_listening(struct rdma_cm_id *id, int backlog)
{
	pthread_mutex_lock(&lock);
	((struct id *)id)->listens = true;
	pthread_mutex_unlock(&lock);
	return 0;
}

static int resolve_addr(struct rdma_cm_id *id, struct sockaddr *from, struct sockaddr *to, int ms)
{
	bool found = !bind_addr(id, from);

	pthread_mutex_lock(&lock);
	memcpy(&id->route.addr.dst_storage, to, sizeof(struct sockaddr_in));
	tell((struct id *)id, (struct id *)id, found ? RDMA_CM_EVENT_ADDR_RESOLVED : RDMA_CM_EVENT_ADDR_ERROR, 0, NULL, 0);
	pthread_mutex_unlock(&lock);
	return 0;
}

static int resolve_route(struct rdma_cm_id *id, int ms)
{
	pthread_mutex_lock(&lock);
	tell((struct id *)id, (struct id *)id, RDMA_CM_EVENT_ROUTE_RESOLVED, 0, NULL, 0);
	pthread_mutex_unlock(&lock);
	return 0;
}

static int set_option(struct rdma_cm_id *id, int level, int name, void *value, size_t len)
{
	return 0;
}

/* ---- connections */

static struct id *listener_at(const struct sockaddr_storage *at)
{
	struct id *i = ids;

	while (i && !(i->listens && !memcmp(&i->id.route.addr.src_storage, at, sizeof(struct sockaddr_in))))
		i = i->next;
	return i;
}

static int connect_id(struct rdma_cm_id *id, struct rdma_conn_param *p)
{
	struct id *caller = (struct id *)id;

	pthread_mutex_lock(&lock);
	struct id *listener = listener_at(&id->route.addr.dst_storage);
	if (listener) {
		struct id *answers = new_id(listener->id.channel, listener->id.context);
		answers->id.verbs = listener->id.verbs;
		answers->id.route = listener->id.route;
		answers->peer = caller;
		caller->peer = answers;
		tell(listener, answers, RDMA_CM_EVENT_CONNECT_REQUEST, 0, p, CALL_BYTES);
	} else {
		tell(caller, caller, RDMA_CM_EVENT_REJECTED, REJECTED_NO_LISTENER, NULL, ANSWER_BYTES);
	}
	pthread_mutex_unlock(&lock);
	return 0;
}

static int accept_id(struct rdma_cm_id *id, struct rdma_conn_param *p)
{
	struct id *answers = (struct id *)id;

	pthread_mutex_lock(&lock);
	struct id *caller = answers->peer;
	if (caller) {
		sim_connect(&caller->id, id);
		tell(caller, caller, RDMA_CM_EVENT_ESTABLISHED, 0, p, ANSWER_BYTES);
		tell(answers, answers, RDMA_CM_EVENT_ESTABLISHED, 0, NULL, ANSWER_BYTES);
	}
	pthread_mutex_unlock(&lock);
	return caller ? 0 : -1;
}

static int reject_id(struct rdma_cm_id *id, const void *data, uint8_t n)
{
	pthread_mutex_lock(&lock);
	struct id *caller = ((struct id *)id)->peer;
	if (caller)
		tell(caller, caller, RDMA_CM_EVENT_REJECTED, REJECTED_BY_CONSUMER, NULL, ANSWER_BYTES);
	pthread_mutex_unlock(&lock);
	return 0;
}

static int disconnect_id(struct rdma_cm_id *id)
{
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_ERR };
	struct id *i = (struct id *)id;

	pthread_mutex_lock(&lock);
	if (id->qp)
		verbs.ibv_modify_qp(id->qp, &attr, IBV_QP_STATE);
	if (i->peer)
		tell(i->peer, i->peer, RDMA_CM_EVENT_DISCONNECTED, 0, NULL, 0);
	tell(i, i, RDMA_CM_EVENT_DISCONNECTED, 0, NULL, 0);
	pthread_mutex_unlock(&lock);
	return 0;
}

/* ---- devices that go and come */

void sim_remove(int device)
{
	removed[device] = true;
	pthread_mutex_lock(&lock);
	for (struct id *i = ids; i; i = i->next)
		if (i->id.verbs == sim_context(device))
			tell(i, i, RDMA_CM_EVENT_DEVICE_REMOVAL, 0, NULL, 0);
	pthread_mutex_unlock(&lock);
}

void sim_add(int device)
{
	sim_renew(device);
	removed[device] = false;
}

void sim_cm_install(void)
{
	verbs.rdma_create_event_channel = create_channel;
	verbs.rdma_destroy_event_channel = destroy_channel;
	verbs.rdma_get_cm_event = get_event;
	verbs.rdma_ack_cm_event = ack_event;
	verbs.rdma_event_str = event_text;
	verbs.rdma_create_id = create_id;
	verbs.rdma_destroy_id = destroy_id;
	verbs.rdma_bind_addr = bind_addr;
	verbs.rdma_listen = start_listening;
	verbs.rdma_resolve_addr = resolve_addr;
	verbs.rdma_resolve_route = resolve_route;
	verbs.rdma_set_option = set_option;
	verbs.rdma_connect = connect_id;
	verbs.rdma_accept = accept_id;
	verbs.rdma_reject = reject_id;
	verbs.rdma_disconnect = disconnect_id;
}
