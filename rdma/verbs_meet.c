/*
 * How two hosts find each other: the connecting side listens with rdma_cm on the address and port number
 * that its end of the TCP connection has, the accepting process calls there.  A meeting is made by the
 * program's thread and from then on stepped by the progress thread alone; the program looks at `state`.
 */
#include "clock.h"
#include "log.h"
#include "settings.h"
#include "stats.h"
#include "sys.h"
#include "verbs_api.h"
#include "verbs_meeting.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { RESOLVE_MS = 2000, RETRIES = 6, REJECTED_NO_LISTENER = 8 };

static _Atomic(struct meeting *) fresh;
/* Thread only. */
static struct meeting *meetings;

/* ---- the program's part */

/* A machine without one costs a look a second, however many connections ask. */
static bool any_device(void)
{
	static _Atomic uint64_t not_before;
	char room[1024];
	bool any = false;
	uint64_t now = clock_ticks();

	if (now < load_rlx(not_before))
		return false;
	store_rlx(not_before, now + us_to_ticks(1000000));
	long fd = sys_call(SYS_openat, AT_FDCWD, "/sys/class/infiniband", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return false;
	long n = sys_call(SYS_getdents64, fd, room, sizeof(room));
	for (long at = 0; at + 19 < n; at += *(uint16_t *)(room + at + 16))
		any |= room[at + 19] != '.';
	sys_call(SYS_close, fd);
	if (any)
		store_rlx(not_before, 0);
	return any;
}

bool verbs_may_meet(const struct tuple *t)
{
	static const uint8_t v4_loopback[13] = { [10] = 0xff, [11] = 0xff, [12] = 127 };

	return settings.rdma && verbs_is_ours() && !signal_in_handler() && memcmp(t->connect_addr, t->accept_addr, 16) &&
	       memcmp(t->accept_addr, v4_loopback, 13) && any_device();
}

int verbs_meet_open(const struct tuple *t, int role, struct meeting **ret_meeting)
{
	int r = thread_start();

	if (r)
		return r;
	struct meeting *m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->tuple = *t;
	m->role = role;
	m->next = load_rlx(fresh);
	while (!atomic_compare_exchange_weak(&fresh, &m->next, m))
		;
	thread_wake();
	*ret_meeting = m;
	return 0;
}

void verbs_meet_close(struct meeting *m)
{
	store_rel(m->closed, true);
	thread_wake();
}

void verbs_meet_end(struct meeting *m)
{
	store_rel(m->ended, true);
	thread_wake();
}

int verbs_meet_take(struct meeting *m, int role, struct stream **ret_stream)
{
	uint8_t mark[2][MARK_BYTES];

	switch (load_acq(m->state)) {
	case MEET_READY:
		break;
	case MEET_NOBODY:
		return -ENOENT;
	case MEET_NEVER:
		return -EPERM;
	default:
		return -EAGAIN;
	}
	intro_marks(m, mark);
	int r = verbs_stream_create(m->link, role, mark, ret_stream);
	if (r)
		return r;
	store_rel(m->taken, true);
	thread_wake();
	return 0;
}

/* ---- the thread's part */

void meeting_drop_id(struct rdma_cm_id **id)
{
	if (*id)
		verbs.rdma_destroy_id(*id);
	*id = NULL;
}

void meeting_hang_up(struct meeting *m)
{
	link_fail(m->link, 0);
	if (m->id)
		verbs.rdma_disconnect(m->id);
}

void meeting_drop_ids(struct meeting *m)
{
	meeting_drop_id(&m->id);
	meeting_drop_id(&m->listener);
}

static void come_to(struct meeting *m, enum meeting_state state)
{
	store_rel(m->state, state);
}

/* Of a stream that is in frames already the reason why is not told at each try. */
static void tell(const struct meeting *m, enum stat_id why)
{
	if (!m->again)
		fallback(why);
}

static void never(struct meeting *m, enum stat_id why)
{
	tell(m, why);
	come_to(m, MEET_NEVER);
}

/* The kernel takes a link-local one with its device only. */
static struct sockaddr_storage address(const uint8_t *addr, uint16_t port, uint32_t scope)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	union {
		struct sockaddr_storage any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} a = { 0 };

	if (!memcmp(addr, mapped, 12)) {
		a.in.sin_family = AF_INET;
		a.in.sin_port = port;
		memcpy(&a.in.sin_addr, addr + 12, 4);
	} else {
		a.in6.sin6_family = AF_INET6;
		a.in6.sin6_port = port;
		memcpy(&a.in6.sin6_addr, addr, 16);
		if (IN6_IS_ADDR_LINKLOCAL(&a.in6.sin6_addr))
			a.in6.sin6_scope_id = scope;
	}
	return a.any;
}

static bool link_comes_up(struct meeting *m, const struct intro *i)
{
	m->link->peer_ring = i->ring_address;
	m->link->peer_rkey = i->ring_rkey;
	m->link->name = intro_name(m);
	m->link->adverts = m->version >= VERSION_ADVERTS;
	m->link->calms = m->version >= VERSION_CALMS;
	if (m->again)
		return verbs_return_up(m->link, i->sends_by);
	store_rel(m->link->state, LINK_UP);
	return true;
}

static void is_ready(struct meeting *m)
{
	m->up_ns = clock_monotonic_ns();
	come_to(m, MEET_READY);
	if (!m->again)
		return;
	verbs_return_tell(m->link);
	log_info("RDMA is back for a connection");
}

static struct rdma_conn_param parameters(const void *data, size_t n)
{
	return (struct rdma_conn_param){
		.responder_resources = 4, .initiator_depth = 4, .retry_count = RETRIES, .rnr_retry_count = 7,
		.private_data = data, .private_data_len = (uint8_t)n,
	};
}

/* 4.096 us * 2^t for each of RETRIES + 1 attempts, at most the time in which a failure must be found. */
static void set_ack_timeout(struct rdma_cm_id *id)
{
	uint8_t t = 1;

	while (t < 20 && (UINT64_C(4096) << (t + 1)) * (RETRIES + 1) <= settings.rdma_dead * 1000)
		t++;
	verbs.rdma_set_option(id, RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, &t, 1);
}

static void start_listening(struct meeting *m)
{
	const struct tuple *t = &m->tuple;
	struct sockaddr_storage at = address(t->connect_addr, t->connect_port, t->scope);

	if (verbs.rdma_create_id(thread_channel(), &m->listener, m, RDMA_PS_TCP)) {
		m->listener = NULL;
		never(m, FALLBACK_RDMA_NO_DEVICE);
	} else if (verbs.rdma_bind_addr(m->listener, (struct sockaddr *)&at) || verbs.rdma_listen(m->listener, 2)) {
		never(m, FALLBACK_RDMA_NO_DEVICE);
	} else {
		device_watch(m->listener);
	}
}

static void start_calling(struct meeting *m)
{
	const struct tuple *t = &m->tuple;
	struct sockaddr_storage from = address(t->accept_addr, 0, t->scope);
	struct sockaddr_storage to = address(t->connect_addr, t->connect_port, t->scope);

	if (verbs.rdma_create_id(thread_channel(), &m->id, m, RDMA_PS_TCP)) {
		m->id = NULL;
		never(m, FALLBACK_RDMA_NO_DEVICE);
	} else if (verbs.rdma_resolve_addr(m->id, (struct sockaddr *)&from, (struct sockaddr *)&to, RESOLVE_MS)) {
		never(m, FALLBACK_RDMA_NO_DEVICE);
	}
}

static void start(struct meeting *m)
{
	come_to(m, MEET_BUSY);
	m->answered_ns = 0;
	stat_inc(STAT_rdma_meetings);
	if (!m->again && verbs_secret(m->key, &m->key_bytes))
		come_to(m, MEET_NEVER);
	else if (getrandom(m->nonce[m->role], 16, 0) != 16)
		come_to(m, MEET_NEVER);
	else if (m->role)
		start_calling(m);
	else
		start_listening(m);
}

static int open_link(struct meeting *m, struct device *d, uint64_t ring_bytes)
{
	bool windowed = m->role || m->version >= VERSION_WINDOWS;

	if (!m->again)
		return link_create(d, m->id, m, ring_bytes, windowed, &m->link);
	uint64_t room = m->link->links->ring_bytes;
	link_lay_out(m->link, ring_bytes < room ? ring_bytes : room);
	return link_open(m->link, d, m->id, windowed);
}

/* Both name themselves so.  iWARP would have a READ's sink open to the peer's writes, and nobody has tried it. */
static bool is_infiniband(const struct rdma_cm_id *id)
{
	return !id->verbs || id->verbs->device->transport_type == IBV_TRANSPORT_IB;
}

static enum stat_id reason_of(int r)
{
	switch (r) {
	case -EPROTONOSUPPORT:
		return FALLBACK_RDMA_TRANSPORT;
	case -EDQUOT:
		return FALLBACK_MEMORY_CAP;
	case -ENOMEM:
		return FALLBACK_RDMA_MEMLOCK;
	default:
		return FALLBACK_RDMA_NO_DEVICE;
	}
}

static int make_link(struct meeting *m, uint8_t shift_most)
{
	struct device *d;
	uint64_t most = UINT64_C(1) << shift_most, wish = link_ring_wish();
	int r = is_infiniband(m->id) ? device_of(m->id, &d) : -EPROTONOSUPPORT;

	if (!r)
		r = !wish ? -EDQUOT : open_link(m, d, wish < most ? wish : most);
	if (!r) {
		m->device = d;
		m->port = m->id->port_num;
		return 0;
	}
	log_debug("RDMA: no link: %s", strerror(-r));
	tell(m, reason_of(r));
	return r;
}

static void call(struct meeting *m)
{
	struct verbs_call c = {
		.magic = VERBS_MAGIC, .version_min = VERBS_VERSION_MIN, .version_max = VERBS_VERSION_MAX,
		.secret = m->key_bytes != 0,
	};
	struct rdma_conn_param p = parameters(&c, sizeof(c));

	if (make_link(m, RING_SHIFT_MOST)) {
		come_to(m, MEET_NEVER);
		return;
	}
	c.ring_shift = intro_shift(m->link);
	memcpy(c.nonce, m->nonce[1], 16);
	intro_hash(m, c.tuple);
	boot_id(c.boot);
	set_ack_timeout(m->id);
	if (!verbs.rdma_connect(m->id, &p))
		return;
	log_debug("RDMA: no call: %s", strerror(errno));
	come_to(m, MEET_NOBODY);
}

static void refuse(struct meeting *m, struct rdma_cm_id *id)
{
	verbs.rdma_reject(id, NULL, 0);
	if (id != m->id)
		verbs.rdma_destroy_id(id);
}

static void answer(struct meeting *m, struct rdma_cm_id *id, const struct verbs_call *c)
{
	struct intro i;
	struct rdma_conn_param p = parameters(&i, sizeof(i));
	int why = m->id ? FALLBACK_BAD_HELLO : check_call(m, c);

	if (why) {
		tell(m, (enum stat_id)why);
		refuse(m, id);
		return;
	}
	m->id = id;
	m->version = c->version_max < VERBS_VERSION_MAX ? c->version_max : VERBS_VERSION_MAX;
	again_wait(m);
	if (make_link(m, c->ring_shift ? c->ring_shift : RING_SHIFT_MOST)) {
		refuse(m, id);
		come_to(m, MEET_NEVER);
		return;
	}
	memcpy(m->nonce[1], c->nonce, 16);
	introduce(m, &i);
	set_ack_timeout(id);
	m->answered_ns = clock_monotonic_ns();
	if (verbs.rdma_accept(id, &p))
		come_to(m, MEET_NEVER);
	else
		link_connected(m->link);
}

/* What has been made for the peer goes before the program hears of it; a stream that meets again keeps its memory. */
static void give_up(struct meeting *m, enum stat_id why)
{
	verbs.rdma_disconnect(m->id);
	if (!m->again) {
		links_destroy(m->link->links);
		m->link = NULL;
		meeting_drop_ids(m);
	}
	never(m, why);
}

static bool owes_intro(const struct meeting *m)
{
	return m->answered_ns && (!m->role || m->version >= VERSION_WINDOWS);
}

/* The answering side's queue pair may be used. */
static void introduce_again(struct meeting *m)
{
	struct intro mine;

	if (!m->link || m->version < VERSION_WINDOWS)
		return;
	introduce(m, &mine);
	if (link_introduce(m->link, &mine))
		link_fail(m->link, FALLBACK_RDMA_FAILED);
}

/* The caller's side: the answer came with it. */
static void established(struct meeting *m, const struct intro *i)
{
	struct intro mine;

	if (!m->role) {
		introduce_again(m);
		return;
	}
	int why = check_intro(m, i);
	if (why) {
		give_up(m, (enum stat_id)why);
		return;
	}
	link_connected(m->link);
	link_agree(m->link, UINT64_C(1) << i->ring_shift);
	m->version = i->version;
	introduce(m, &mine);
	m->answered_ns = clock_monotonic_ns();
	bool waits = owes_intro(m);
	if ((!waits && !link_comes_up(m, i)) || link_introduce(m->link, &mine))
		come_to(m, MEET_NEVER);
	else if (!waits)
		is_ready(m);
}

/* Until it introduces itself it keeps rings and a queue pair of ours: no longer than it would as a silent peer. */
static bool intro_is_late(const struct meeting *m)
{
	return clock_monotonic_ns() - m->answered_ns > 2 * settings.rdma_idle * 1000;
}

static void introduced(struct meeting *m)
{
	int why = load_acq(m->link->intro_here) ? check_intro(m, &m->link->intro) : FALLBACK_RDMA_SILENT;

	if (why) {
		give_up(m, (enum stat_id)why);
		return;
	}
	if (link_comes_up(m, &m->link->intro))
		is_ready(m);
	else
		come_to(m, MEET_NEVER);
}

static void disconnected(struct meeting *m, enum stat_id why)
{
	uint32_t busy = MEET_BUSY;

	atomic_compare_exchange_strong(&m->state, &busy, MEET_NOBODY);
	if (m->link)
		link_fail(m->link, why);
}

static void rejected(struct meeting *m, int why)
{
	if (why == REJECTED_NO_LISTENER)
		stat_inc(STAT_rdma_nobody);
	come_to(m, why == REJECTED_NO_LISTENER ? MEET_NOBODY : MEET_NEVER);
}

static bool is_on(const struct rdma_cm_id *id, const struct ibv_context *device)
{
	return id && id->verbs == device;
}

static void let_go(struct meeting *m)
{
	if (m->link)
		link_let_go(m->link);
	meeting_drop_ids(m);
	if (load_rlx(m->state) == MEET_BUSY)
		come_to(m, MEET_NOBODY);
}

/* The kernel waits for us. */
static void leave_device(struct ibv_context *removed)
{
	for (struct meeting *m = meetings; m; m = m->next)
		if (is_on(m->id, removed) || is_on(m->listener, removed))
			let_go(m);
	device_close(removed);
	device_leave(removed);
}

void meeting_event(const struct rdma_cm_event *e, struct rdma_cm_id *id)
{
	struct meeting *m = id->context; /* NULL: a watch, which is told of a removal alone */

	log_debug("rdma_cm: %s, status %d", verbs.rdma_event_str(e->event), e->status);
	switch (e->event) {
	case RDMA_CM_EVENT_ADDR_RESOLVED:
		device_watch(id);
		if (verbs.rdma_resolve_route(id, RESOLVE_MS))
			never(m, FALLBACK_RDMA_NO_DEVICE);
		break;
	case RDMA_CM_EVENT_ROUTE_RESOLVED:
		call(m);
		break;
	case RDMA_CM_EVENT_CONNECT_REQUEST:
		answer(m, id, e->param.conn.private_data);
		break;
	case RDMA_CM_EVENT_ESTABLISHED:
		if (id == m->id)
			established(m, e->param.conn.private_data);
		break;
	case RDMA_CM_EVENT_ADDR_ERROR:
	case RDMA_CM_EVENT_ROUTE_ERROR:
		never(m, FALLBACK_RDMA_NO_DEVICE);
		break;
	case RDMA_CM_EVENT_REJECTED:
		rejected(m, e->status);
		break;
	case RDMA_CM_EVENT_UNREACHABLE:
	case RDMA_CM_EVENT_CONNECT_ERROR:
		disconnected(m, FALLBACK_RDMA_FAILED);
		break;
	case RDMA_CM_EVENT_DISCONNECTED:
		disconnected(m, 0);
		break;
	case RDMA_CM_EVENT_DEVICE_REMOVAL:
		leave_device(id->verbs);
		break;
	default:
		break;
	}
}

static void drop(struct meeting *m)
{
	if (m->link) {
		meeting_hang_up(m);
		links_destroy(m->link->links);
	}
	meeting_drop_ids(m);
	free(m);
}

/* False: the meeting is over. */
static bool step(struct meeting *m, uint64_t now)
{
	if (load_acq(m->taken) ? load_acq(m->ended) : load_acq(m->closed))
		return false;
	if (load_rlx(m->taken) && again_step(m, now))
		start(m);
	if (load_rlx(m->state) == MEET_NEW)
		start(m);
	if (load_rlx(m->state) == MEET_BUSY && owes_intro(m) && (load_acq(m->link->intro_here) || intro_is_late(m)))
		introduced(m);
	if (load_rlx(m->taken) && load_rlx(m->state) == MEET_READY)
		meeting_drop_id(&m->listener);
	return true;
}

int meeting_patience_ms(void)
{
	uint64_t due = UINT64_MAX, now = clock_monotonic_ns();

	for (struct meeting *m = meetings; m; m = m->next) {
		uint64_t its = again_due(m, now);
		due = its < due ? its : due;
	}
	return due == UINT64_MAX ? -1 : due <= now ? 0 : (int)((due - now) / 1000000) + 1;
}

void meeting_steps(void)
{
	struct meeting *m = atomic_exchange(&fresh, NULL);
	uint64_t now = clock_monotonic_ns();

	for (struct meeting *next; m; m = next) {
		next = m->next;
		m->next = meetings;
		meetings = m;
	}
	for (struct meeting **p = &meetings; (m = *p);) {
		if (step(m, now)) {
			p = &m->next;
			continue;
		}
		*p = m->next;
		drop(m);
	}
}
