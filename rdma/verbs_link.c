/* Devices and queue pairs, made and unmade. */
#include "clock.h"
#include "fdtable.h"
#include "log.h"
#include "memwatch.h"
#include "process.h"
#include "settings.h"
#include "stats.h"
#include "stream.h"
#include "sys.h"
#include "verbs.h"
#include "verbs_api.h"
#include "verbs_device.h"

#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define SETTLE_NS UINT64_C(3000000000) /* after the port come its routes and neighbours */

static struct device *devices;

bool verbs_is_ours(void)
{
	static int pid;

	if (!pid)
		pid = process_id;
	return pid == process_id;
}

/* ---- devices */

static int fill_srq(struct device *d)
{
	int r = 0;

	for (uint64_t i = 0; i < SRQ_DEPTH && !r; i++)
		r = device_give_slot(d, i);
	return r;
}

/* Before the slots are used up by messages that wake nobody, we are told so. */
static void ask_for_receives(struct device *d)
{
	struct ibv_srq_attr attr = { .srq_limit = SRQ_DEPTH / 2 };

	if (verbs.ibv_modify_srq(d->srq, &attr, IBV_SRQ_LIMIT))
		log_debug("RDMA device does not say when it has few receives left");
}

/* Descriptors of the library's leave the low numbers to the program. */
static void hide(int *fd)
{
	int high = fd_hide((int)sys_call(SYS_fcntl, *fd, F_DUPFD_CLOEXEC, 0));

	if (high < 0)
		return;
	sys_call(SYS_close, *fd);
	*fd = high;
}

static int open_queues(struct device *d)
{
	struct ibv_srq_init_attr srq = { .attr = { .max_wr = SRQ_DEPTH, .max_sge = 1 } };
	size_t bytes = (size_t)SRQ_DEPTH * SLOT;

	d->pd = verbs.ibv_alloc_pd(d->context);
	d->channel = verbs.ibv_create_comp_channel(d->context);
	d->slots = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!d->pd || !d->channel || d->slots == MAP_FAILED)
		return -ENOMEM;
	hide(&d->channel->fd);
	d->cq = verbs.ibv_create_cq(d->context, CQ_DEPTH, NULL, d->channel, 0);
	d->srq = verbs.ibv_create_srq(d->pd, &srq);
	d->slots_mr = verbs.ibv_reg_mr(d->pd, d->slots, bytes, IBV_ACCESS_LOCAL_WRITE);
	if (!d->cq || !d->srq || !d->slots_mr)
		return -errno;
	int r = fill_srq(d);
	ask_for_receives(d);
	return r;
}

static void say_refused(const char *name, int r)
{
	size_t limit = memreg_limit(SIZE_MAX);

	if (r == -ENOMEM && limit < SIZE_MAX)
		log_info("RDMA device %s is not used: its queues need more than the %zu bytes that may be locked (ulimit -l)", name, limit);
	else
		log_info("RDMA device %s is not used: %s", name, strerror(-r));
}

static struct device *device_open(struct rdma_cm_id *id)
{
	struct device *d = calloc(1, sizeof(*d));
	const char *name = verbs.ibv_get_device_name(id->verbs->device);

	if (!d)
		return NULL;
	d->context = id->verbs;
	d->next = devices;
	devices = d;
	int r = setting_lists(settings.rdma_devices, name) ? open_queues(d) : -EPERM;
	if (!r) {
		const struct memreg_ops *registrar = verbs_registrar_for(d->context);
		d->windows = registrar == &verbs_registrar_windows;
		r = memreg_create(registrar, d->pd, memreg_limit(SIZE_MAX), &d->memreg);
	}
	d->gone = r != 0;
	d->refused = r;
	if (r) {
		say_refused(name, r);
		return d;
	}
	ibv_req_notify_cq(d->cq, 1);
	if (memwatch_start())
		log_info("RDMA: this kernel does not say when memory changes: each block is registered anew");
	log_info("RDMA device %s is used", name);
	return d;
}

int device_of(struct rdma_cm_id *id, struct device **ret_device)
{
	struct device *d = devices;

	if (!id->verbs)
		return -ENODEV;
	while (d && d->context != id->verbs)
		d = d->next;
	if (!d)
		d = device_open(id);
	if (!d || d->gone || d->failed)
		return d && d->refused ? d->refused : -ENODEV;
	*ret_device = d;
	return 0;
}

struct device *device_next(struct device *d)
{
	d = d ? d->next : devices;
	while (d && d->gone)
		d = d->next;
	return d;
}

/* Everything of ours on it; the library's own part goes with its last id. */
void device_close(struct ibv_context *context)
{
	struct device *d = devices;

	while (d && d->context != context)
		d = d->next;
	if (!d)
		return;
	d->context = NULL; /* another device's may come to lie there */
	if (d->gone)
		return;
	log_info("RDMA device %s is given back", verbs.ibv_get_device_name(context->device));
	d->gone = true;
	full_fence();
	while (atomic_load(&d->users)) /* their link is down already */
		sched_yield();
	verbs_lock(&d->cq_lock);
	memreg_destroy(d->memreg);
	verbs.ibv_destroy_srq(d->srq);
	verbs.ibv_destroy_cq(d->cq);
	verbs.ibv_dereg_mr(d->slots_mr);
	verbs.ibv_dealloc_pd(d->pd);
	d->cq = NULL;
	d->memreg = NULL;
	verbs_unlock(&d->cq_lock);
	fd_clear(d->channel->fd); /* hidden, the library could not close it */
	verbs.ibv_destroy_comp_channel(d->channel);
}

int device_completion_fd(struct device *d)
{
	return d->channel->fd;
}

int device_async_fd(struct device *d)
{
	return d->context->async_fd;
}

struct memreg_hold *device_register(struct device *d, const void *p, size_t n)
{
	struct memreg_hold *h;

	atomic_fetch_add(&d->users, 1); /* device_close sets `gone`, then waits for these */
	if (!signal_in_handler() && !d->gone && !memreg_get(d->memreg, p, n, &h))
		return h;
	atomic_fetch_sub(&d->users, 1);
	return NULL;
}

void device_unregister(struct device *d, struct memreg_hold *h)
{
	memreg_put(d->memreg, h);
	atomic_fetch_sub(&d->users, 1);
}

bool device_sweep(struct device *d)
{
	return memreg_sweep(d->memreg);
}

void device_each_link(struct device *d, void (*call)(struct link *l))
{
	for (int i = 0; i < HASH; i++)
		for (struct link *l = d->links[i], *next; l; l = next) {
			next = l->next;
			call(l);
		}
}

uint64_t device_usable_ns(const struct device *d, uint8_t port)
{
	return d->gone ? 0 : d->failed ? UINT64_MAX : d->usable_ns[port % PORTS];
}

static void port_failed(struct link *l)
{
	if (load_acq(l->state) == LINK_UP)
		link_fail(l, FALLBACK_RDMA_PORT);
}

static void device_failed(struct link *l)
{
	link_fail(l, FALLBACK_RDMA_FAILED);
}

static void queue_pair_failed(struct device *d, uint32_t qpn)
{
	struct link *l = device_find_link(d, qpn);

	if (l)
		link_fail(l, FALLBACK_RDMA_FAILED);
}

/* Of a queue pair: what it is when the event has been acknowledged, nobody says. */
static uint32_t number_of(const struct ibv_async_event *e)
{
	switch (e->event_type) {
	case IBV_EVENT_QP_FATAL:
	case IBV_EVENT_QP_REQ_ERR:
	case IBV_EVENT_QP_ACCESS_ERR:
		return e->element.qp->qp_num;
	default:
		return 0;
	}
}

static void heed(struct device *d, enum ibv_event_type type, uint32_t qpn, uint64_t *usable)
{
	switch (type) {
	case IBV_EVENT_PORT_ERR:
		*usable = UINT64_MAX;
		device_each_link(d, port_failed);
		break;
	case IBV_EVENT_PORT_ACTIVE:
		*usable = clock_monotonic_ns() + SETTLE_NS;
		break;
	case IBV_EVENT_QP_FATAL:
	case IBV_EVENT_QP_REQ_ERR:
	case IBV_EVENT_QP_ACCESS_ERR:
		queue_pair_failed(d, qpn);
		break;
	case IBV_EVENT_SRQ_LIMIT_REACHED:
		ask_for_receives(d); /* first: those that are used up from here on are heard of again */
		device_drain(d);
		break;
	case IBV_EVENT_DEVICE_FATAL:
	case IBV_EVENT_CQ_ERR:
	case IBV_EVENT_SRQ_ERR:
		d->failed = true;
		device_each_link(d, device_failed);
		break;
	default:
		break;
	}
}

void device_async(struct device *d)
{
	struct ibv_async_event e;

	if (verbs.ibv_get_async_event(d->context, &e))
		return;
	enum ibv_event_type type = e.event_type;
	uint32_t qpn = number_of(&e);
	uint64_t *usable = &d->usable_ns[(unsigned)e.element.port_num % PORTS];
	verbs.ibv_ack_async_event(&e);
	log_info("RDMA device %s: %s", verbs.ibv_get_device_name(d->context->device), verbs.ibv_event_type_str(type));
	heed(d, type, qpn, usable);
}

/* ---- links */

static int make_qp(struct device *d, struct link *l, struct rdma_cm_id *id)
{
	struct ibv_qp_init_attr attr = {
		.qp_type = IBV_QPT_RC, .send_cq = d->cq, .recv_cq = d->cq, .srq = d->srq,
		.cap = { .max_send_wr = LINK_SENDS, .max_send_sge = 2, .max_inline_data = LINK_INLINE },
	};

	if (verbs.rdma_create_qp(id, d->pd, &attr))
		return -errno;
	l->qp = id->qp;
	l->qpn = id->qp->qp_num;
	return 0;
}

static void enlist(struct device *d, struct link *l)
{
	verbs_lock(&d->cq_lock);
	l->next = d->links[l->qpn % HASH];
	d->links[l->qpn % HASH] = l;
	verbs_unlock(&d->cq_lock);
}

static void delist(struct device *d, struct link *l)
{
	verbs_lock(&d->cq_lock);
	for (struct link **p = &d->links[l->qpn % HASH]; *p; p = &(*p)->next)
		if (*p == l) {
			*p = l->next;
			break;
		}
	verbs_unlock(&d->cq_lock);
}

int link_open(struct link *l, struct device *d, struct rdma_cm_id *id, bool windowed)
{
	uint64_t bytes = link_rings_bytes(l->ring_bytes);
	struct ibv_mw *mw = windowed && d->windows ? ibv_alloc_mw(d->pd, IBV_MW_TYPE_2) : NULL;
	int access = mw ? IBV_ACCESS_MW_BIND : IBV_ACCESS_REMOTE_WRITE;
	struct ibv_mr *mr = verbs.ibv_reg_mr(d->pd, l->staging, bytes, IBV_ACCESS_LOCAL_WRITE | access);
	int r = mr ? make_qp(d, l, id) : -errno;

	if (r) {
		if (mw)
			ibv_dealloc_mw(mw);
		if (mr)
			verbs.ibv_dereg_mr(mr);
		return r;
	}
	link_count(l, bytes);
	l->memory = mr;
	l->ring_window = mw;
	l->lkey = mr->lkey;
	l->rkey = mw ? ibv_inc_rkey(mw->rkey) : mr->rkey;
	l->device = d;
	l->id = id;
	enlist(d, l);
	return 0;
}

int link_create(struct device *d, struct rdma_cm_id *id, struct meeting *m, uint64_t ring_bytes, bool windowed, struct link **ret_link)
{
	struct links *ls;
	int r = links_map(m, ring_bytes, &ls);

	if (r)
		return r;
	r = link_open(&ls->link[0], d, id, windowed);
	if (r)
		links_unmap(ls);
	else
		*ret_link = &ls->link[0];
	return r;
}

/* One whose message has found no slot comes again so soon (0.64 ms); the connection manager's 655 ms would be taken for a failure. */
void link_connected(struct link *l)
{
	struct ibv_qp_attr attr = { .min_rnr_timer = 12 };

	verbs.ibv_modify_qp(l->qp, &attr, IBV_QP_MIN_RNR_TIMER);
}

static void drop_window(void **window)
{
	if (*window)
		ibv_dealloc_mw(*window);
	*window = NULL;
}

/* Before what they are bound to: memory, and the queue pair, whose destruction soft-RoCE has wait for them.  Under sq_lock. */
static void drop_windows(struct link *l)
{
	drop_window(&l->window);
	drop_window(&l->block_window);
	drop_window(&l->ring_window);
}

/* Nothing has revoked it: its memory could not be given back else. */
void link_drop_block_window(struct link *l)
{
	verbs_lock(&l->sq_lock);
	drop_window(&l->block_window);
	verbs_unlock(&l->sq_lock);
}

void link_let_go(struct link *l)
{
	if (!l->device)
		return;
	link_fail(l, FALLBACK_RDMA_REMOVED);
	device_drain(l->device); /* what has arrived is there to be read without it; and a READ of which the peer was told */
	delist(l->device, l);
	verbs_lock(&l->sq_lock);
	bool had = l->qp;
	drop_windows(l);
	if (had) {
		verbs.rdma_destroy_qp(l->id);
		device_ends(l->device, l->posted - load_acq(l->completed));
	}
	l->qp = NULL;
	struct ibv_mr *bounce = atomic_exchange(&l->bounce_memory, NULL);
	verbs_unlock(&l->sq_lock);
	link_close_window(l);
	if (had)
		verbs.ibv_dereg_mr(l->memory);
	if (bounce)
		verbs.ibv_dereg_mr(bounce);
	if (load_rlx(l->told_polls))
		link_polls_no_more(l);
}

/* Few connections ever need it.  Under sq_lock, since the thread may let go of the device. */
uint32_t link_bounce(struct link *l)
{
	struct ibv_mr *mr;

	verbs_lock(&l->sq_lock);
	mr = load_rlx(l->bounce_memory);
	if (!mr && l->qp && link_fits(BOUNCE_BYTES, settings.net_memory)) {
		mr = verbs.ibv_reg_mr(l->device->pd, l->bounce, BOUNCE_BYTES, IBV_ACCESS_LOCAL_WRITE);
		store_rlx(l->bounce_memory, mr);
		if (mr)
			link_count(l, BOUNCE_BYTES);
	}
	uint32_t key = mr ? mr->lkey : 0;
	verbs_unlock(&l->sq_lock);
	return key;
}

/* By the call that had it opened, or, for one that sleeps on a device that goes, by the thread. */
void link_close_window(struct link *l)
{
	struct memreg_hold *h = atomic_exchange(&l->window_memory, NULL);

	if (!h)
		return;
	if (load_acq(l->state) != LINK_UP) { /* nothing has revoked it */
		verbs_lock(&l->sq_lock);
		drop_window(&l->window);
		verbs_unlock(&l->sq_lock);
	}
	device_unregister(l->device, h);
}

void links_destroy(struct links *ls)
{
	for (int i = 0; i < LINKS; i++)
		link_let_go(&ls->link[i]);
	links_unmap(ls);
}

/* Of requests that asked for no completion: flushed, this one comes behind them.  Else link_quiet would wait for them in vain. */
static void ask_for_the_end(struct link *l)
{
	struct ibv_send_wr wr = { .wr_id = l->posted + 1, .opcode = IBV_WR_RDMA_WRITE, .send_flags = IBV_SEND_SIGNALED }, *bad;

	if (!l->unsignalled || !device_takes(l->device, 1))
		return;
	if (ibv_post_send(l->qp, &wr, &bad))
		device_ends(l->device, 1);
	else
		l->posted++;
}

/* True: the first to say so. */
static bool want_down(struct link *l)
{
	bool first = !atomic_exchange(&l->wanted_down, true);

	if (first)
		thread_wake();
	return first;
}

void link_fail(struct link *l, enum stat_id why)
{
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_ERR };

	if (!verbs_is_ours()) { /* a queue pair of another process, whose memory may not even be here */
		want_down(l);
		return;
	}
	verbs_lock(&l->sq_lock);
	bool was_up = load_rlx(l->state) == LINK_UP;
	if (load_rlx(l->state) != LINK_DOWN && l->qp) { /* one that is being made may have a peer that floods it */
		verbs.ibv_modify_qp(l->qp, &attr, IBV_QP_STATE);
		ask_for_the_end(l);
	}
	if (was_up)
		store_rel(l->state, LINK_DOWN); /* whoever sees it may rely on the queue pair's state */
	verbs_unlock(&l->sq_lock);
	link_wake_done(l);
	if (was_up && why)
		fallback(why);
}

/*
 * Flushed completions end what we asked for, the reset what the peer asks for; a destroyed queue pair has ended both.  A reset takes
 * completions away: those that there are have been noted before.
 */
void link_quiet(struct link *l)
{
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_RESET };
	uint64_t start = clock_ticks();
	bool still = !verbs_is_ours();

	while (!still) {
		bool late = clock_ticks() - start > us_to_ticks(settings.rdma_dead);
		if (l->device)
			device_drain(l->device);
		verbs_lock(&l->sq_lock);
		still = late || !l->qp || load_acq(l->completed) == l->posted;
		if (still && l->qp)
			verbs.ibv_modify_qp(l->qp, &attr, IBV_QP_STATE);
		verbs_unlock(&l->sq_lock);
		if (!still)
			sched_yield();
	}
}

/* Until the parent has done so, or for as long as a failure may take: it may be stopped, or gone. */
void link_leave_to_parent(struct link *l)
{
	uint64_t start = clock_ticks();

	if ((load_acq(l->state) == LINK_DOWN && !load_acq(l->told_polls)) || !want_down(l))
		return;
	atomic_fetch_add(&stream_unsure, 1);
	while ((load_acq(l->state) == LINK_UP || load_acq(l->told_polls)) && clock_ticks() - start < us_to_ticks(settings.rdma_dead))
		sched_yield();
	if (!load_acq(l->told_polls))
		atomic_fetch_sub(&stream_unsure, 1);
}
