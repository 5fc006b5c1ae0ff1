#include "device.h"
#include "memory.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { PACKET = 4096, WQES = 256, SLOTS = 2048, CQES = 16384, INLINE = 128 };

struct wqe {
	struct ibv_send_wr wr;
	struct ibv_sge sge[2];
	size_t length;       /* of both */
	char inlined[INLINE];
	size_t done;
	uint64_t lost_since; /* microseconds; 0: not lost */
	bool answered;       /* a READ's packet in hand, whether the answer arrived or not */
	bool executed;       /* the packet in hand has arrived, its acknowledgement has not */
	bool refused;        /* for memory that is not the requester's */
	uint64_t again_at;   /* microseconds; told to come again, since there was no receive */
};

struct sim_qp {
	struct ibv_qp qp;
	struct sim_qp *peer, *next;
	struct device_sim *dev;
	_Atomic int state;
	_Atomic bool broken;
	_Atomic uint64_t not_ready_us; /* whoever finds no receive is to come again after so long */
	pthread_mutex_t own, responder; /* held for a packet in hand: own before the peer's responder */
	pthread_mutex_t queue_lock;
	struct wqe queue[WQES];
	unsigned head, tail;
};

struct sim_cq {
	struct ibv_cq cq;
	pthread_mutex_t lock;
	bool armed;
	struct ibv_wc wc[CQES];
	unsigned head, tail, depth;
};

struct sim_channel {
	struct ibv_comp_channel channel;
	struct ibv_cq *cq;
};

struct receive {
	uint64_t id;
	struct ibv_sge sge;
};

struct sim_srq {
	struct ibv_srq srq;
	pthread_mutex_t lock;
	struct receive slot[SLOTS];
	unsigned head, tail;
	unsigned limit; /* fewer than that: said once */
};

struct device_sim {
	struct ibv_context context;
	struct ibv_device device;
	struct sim_qp *qps;
	pthread_mutex_t qps_lock;
	uint64_t dice;
};

struct sim_wire sim_wire = { .hole_from = UINT64_MAX, .lockable = UINT64_MAX };
static struct device_sim devices[2];
static struct sim_qp *_Atomic buried; /* their peers may still look at them */

bool sim_is_first(const struct ibv_context *context)
{
	return context == &devices[0].context;
}

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static unsigned roll(struct device_sim *d, unsigned sides)
{
	d->dice = d->dice * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(d->dice >> 33) % sides;
}

/* ---- completions */

static void complete(struct ibv_cq *cq, struct ibv_wc wc, bool event)
{
	struct sim_cq *q = (struct sim_cq *)cq;

	pthread_mutex_lock(&q->lock);
	if (q->tail - q->head == q->depth)
		sim_wrong("a completion queue of %u overflows", q->depth);
	q->wc[q->tail++ % CQES] = wc;
	atomic_fetch_add(&sim_wire.completions, cq->context == &devices[0].context);
	bool told = q->armed && event;
	q->armed &= !told;
	pthread_mutex_unlock(&q->lock);
	if (told)
		eventfd_write(q->cq.channel->fd, 1);
}

static int poll_cq(struct ibv_cq *cq, int most, struct ibv_wc *wc)
{
	struct sim_cq *q = (struct sim_cq *)cq;
	int n = 0;

	if (sim_is_first(cq->context) && atomic_load(&sim_wire.blind))
		return 0;
	pthread_mutex_lock(&q->lock);
	while (n < most && q->head != q->tail)
		wc[n++] = q->wc[q->head++ % CQES];
	pthread_mutex_unlock(&q->lock);
	return n;
}

/* A reset takes completions of its past away. */
static void forget(struct sim_cq *q, uint32_t qpn)
{
	unsigned to;

	pthread_mutex_lock(&q->lock);
	to = q->head;
	for (unsigned i = q->head; i != q->tail; i++)
		if (q->wc[i % CQES].qp_num != qpn || q->wc[i % CQES].opcode & IBV_WC_RECV)
			q->wc[to++ % CQES] = q->wc[i % CQES];
	q->tail = to;
	pthread_mutex_unlock(&q->lock);
}

/* Of solicited messages, as rdma/ asks for it. */
static int req_notify_cq(struct ibv_cq *cq, int solicited)
{
	struct sim_cq *q = (struct sim_cq *)cq;

	pthread_mutex_lock(&q->lock);
	q->armed = true;
	pthread_mutex_unlock(&q->lock);
	return 0;
}

static int get_cq_event(struct ibv_comp_channel *channel, struct ibv_cq **ret_cq, void **ret_context)
{
	eventfd_t n;

	*ret_cq = ((struct sim_channel *)channel)->cq;
	return eventfd_read(channel->fd, &n);
}

static void ack_cq_events(struct ibv_cq *cq, unsigned n)
{
}

static struct ibv_cq *create_cq(struct ibv_context *c, int depth, void *context, struct ibv_comp_channel *channel, int vector)
{
	struct sim_cq *q = calloc(1, sizeof(*q));

	q->cq.context = c;
	q->cq.channel = channel;
	q->depth = (unsigned)depth;
	if (channel)
		((struct sim_channel *)channel)->cq = &q->cq;
	pthread_mutex_init(&q->lock, NULL);
	return &q->cq;
}

static struct ibv_comp_channel *create_channel(struct ibv_context *c)
{
	struct sim_channel *made = calloc(1, sizeof(*made));

	made->channel.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return &made->channel;
}

/* ---- receives */

static int post_srq_recv(struct ibv_srq *srq, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
	struct sim_srq *q = (struct sim_srq *)srq;

	pthread_mutex_lock(&q->lock);
	q->slot[q->tail % SLOTS].id = wr->wr_id;
	q->slot[q->tail++ % SLOTS].sge = *wr->sg_list;
	pthread_mutex_unlock(&q->lock);
	return 0;
}

static struct ibv_srq *create_srq(struct ibv_pd *pd, struct ibv_srq_init_attr *attr)
{
	struct sim_srq *q = calloc(1, sizeof(*q));

	q->srq.context = pd->context;
	q->srq.pd = pd;
	pthread_mutex_init(&q->lock, NULL);
	return &q->srq;
}

static int modify_srq(struct ibv_srq *srq, struct ibv_srq_attr *attr, int mask)
{
	struct sim_srq *q = (struct sim_srq *)srq;

	pthread_mutex_lock(&q->lock);
	if (mask & IBV_SRQ_LIMIT)
		q->limit = attr->srq_limit;
	pthread_mutex_unlock(&q->lock);
	return 0;
}

/* ---- queue pairs */

static int post_send(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
	struct sim_qp *q = (struct sim_qp *)qp;
	int r = atomic_load(&q->state) == IBV_QPS_RESET ? EINVAL : 0;

	pthread_mutex_lock(&q->queue_lock);
	for (; wr && !r; wr = wr->next) {
		*bad = wr;
		if (q->tail - q->head == WQES) {
			r = ENOMEM;
			break;
		}
		struct wqe *w = &q->queue[q->tail % WQES];
		*w = (struct wqe){ .wr = *wr };
		if (wr->opcode == IBV_WR_BIND_MW && !sim_is_known(wr->bind_mw.mw))
			sim_wrong("a window is bound by another key than it was bound with last");
		for (int i = 0; i < wr->num_sge; i++) {
			w->sge[i] = wr->sg_list[i];
			w->length += w->sge[i].length;
		}
		if (wr->send_flags & IBV_SEND_INLINE)
			memcpy(w->inlined, (void *)w->sge->addr, w->sge->length);
		q->tail++;
	}
	pthread_mutex_unlock(&q->queue_lock);
	return r;
}

/* Encoded so; the connection manager sets the first. */
static const uint64_t not_ready_us[] = { 655360, 10, 20, 30, 40, 60, 80, 120, 160, 240, 320, 480, 640, 960, 1280 };

static int create_qp(struct rdma_cm_id *id, struct ibv_pd *pd, struct ibv_qp_init_attr *attr)
{
	static _Atomic uint32_t numbers = 1;
	struct device_sim *d = (struct device_sim *)id->verbs;
	struct sim_qp *q = calloc(1, sizeof(*q));

	q->dev = d;
	q->qp = (struct ibv_qp){ .context = id->verbs, .pd = pd, .send_cq = attr->send_cq, .recv_cq = attr->recv_cq,
		.srq = attr->srq, .qp_num = atomic_fetch_add(&numbers, 1) };
	q->state = IBV_QPS_INIT;
	q->not_ready_us = not_ready_us[0];
	pthread_mutex_init(&q->own, NULL);
	pthread_mutex_init(&q->responder, NULL);
	pthread_mutex_init(&q->queue_lock, NULL);
	id->qp = &q->qp;
	pthread_mutex_lock(&d->qps_lock);
	q->next = d->qps;
	d->qps = q;
	pthread_mutex_unlock(&d->qps_lock);
	return 0;
}

static void reset(struct sim_qp *q)
{
	pthread_mutex_lock(&q->own);
	atomic_store(&q->state, IBV_QPS_RESET);
	pthread_mutex_lock(&q->queue_lock);
	q->head = q->tail;
	pthread_mutex_unlock(&q->queue_lock);
	pthread_mutex_unlock(&q->own);
	pthread_mutex_lock(&q->responder);
	pthread_mutex_unlock(&q->responder);
	forget((struct sim_cq *)q->qp.send_cq, q->qp.qp_num);
}

static int modify_qp(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask)
{
	struct sim_qp *q = (struct sim_qp *)qp;

	if (mask & IBV_QP_MIN_RNR_TIMER)
		atomic_store(&q->not_ready_us, not_ready_us[attr->min_rnr_timer]);
	else if (attr->qp_state == IBV_QPS_RESET)
		reset(q);
	else
		atomic_store(&q->state, attr->qp_state);
	return 0;
}

/* The memory stays: the peer's packets find a queue pair that answers nothing. */
static void destroy_qp(struct rdma_cm_id *id)
{
	struct sim_qp *q = (struct sim_qp *)id->qp;

	pthread_mutex_lock(&q->dev->qps_lock);
	for (struct sim_qp **p = &q->dev->qps; *p; p = &(*p)->next)
		if (*p == q) {
			*p = q->next;
			break;
		}
	pthread_mutex_unlock(&q->dev->qps_lock);
	reset(q);
	sim_unbind(&q->qp);
	id->qp = NULL;
	q->next = atomic_load(&buried);
	while (!atomic_compare_exchange_weak(&buried, &q->next, q))
		;
}

void sim_reap(void)
{
	for (struct sim_qp *q = atomic_exchange(&buried, NULL), *next; q; q = next) {
		next = q->next;
		free(q);
	}
}

/* ---- packets */

static bool is_up(struct sim_qp *q)
{
	return atomic_load(&q->state) == IBV_QPS_RTS;
}

static void linger(struct device_sim *d)
{
	if ((unsigned)roll(d, 256) < atomic_load(&sim_wire.slow)) {
		struct timespec t = { .tv_nsec = roll(d, roll(d, 8) ? 300000 : 4000000) };
		nanosleep(&t, NULL);
	} else if (!roll(d, 8)) {
		sched_yield();
	}
}

static bool in_hole(void)
{
	static _Atomic uint64_t since;
	uint64_t from = atomic_load(&sim_wire.hole_from), length = atomic_load(&sim_wire.hole_us);

	if (atomic_load(&sim_wire.packets) < from) {
		atomic_store(&since, 0);
		return false;
	}
	if (!atomic_load(&since))
		atomic_store(&since, now_us());
	return length == UINT64_MAX || now_us() - atomic_load(&since) < length;
}

static bool use_receive(struct ibv_srq *srq, struct receive *ret)
{
	struct sim_srq *q = (struct sim_srq *)srq;

	pthread_mutex_lock(&q->lock);
	bool any = q->head != q->tail;
	if (any)
		*ret = q->slot[q->head++ % SLOTS];
	bool few = any && q->tail - q->head < q->limit;
	if (few)
		q->limit = 0;
	pthread_mutex_unlock(&q->lock);
	if (few)
		sim_event(srq->context, (struct ibv_async_event){ .event_type = IBV_EVENT_SRQ_LIMIT_REACHED, .element.srq = srq });
	return any;
}

/* A message, or a WRITE that is told of.  False: there is no receive for it. */
static bool deliver(struct sim_qp *to, struct wqe *w, char *packet, size_t n)
{
	bool with_imm = w->wr.opcode == IBV_WR_RDMA_WRITE_WITH_IMM;
	struct receive r;

	if (!use_receive(to->qp.srq, &r)) {
		w->again_at = now_us() + to->not_ready_us;
		atomic_store(&sim_wire.not_ready_us, to->not_ready_us);
		return false;
	}
	if (!with_imm)
		sim_dma(to->qp.srq->pd, r.sge.lkey, r.sge.addr, packet, n, true);
	complete(to->qp.recv_cq, (struct ibv_wc){ .wr_id = r.id, .opcode = with_imm ? IBV_WC_RECV_RDMA_WITH_IMM : IBV_WC_RECV,
		.wc_flags = with_imm ? IBV_WC_WITH_IMM : 0, .byte_len = (uint32_t)w->length, .qp_num = to->qp.qp_num },
		w->wr.send_flags & IBV_SEND_SOLICITED);
	return true;
}

static void hold(void)
{
	struct timespec nap = { .tv_nsec = 100000 };

	while (atomic_load(&sim_wire.hold)) {
		atomic_store(&sim_wire.held, true);
		nanosleep(&nap, NULL);
	}
	atomic_store(&sim_wire.held, false);
}

/* The packet in hand, at the responder.  False: no answer. */
static bool respond(struct sim_qp *q, struct wqe *w, char *packet, size_t n)
{
	struct sim_qp *peer = q->peer;
	const struct ibv_send_wr *wr = &w->wr;
	bool read = wr->opcode == IBV_WR_RDMA_READ, ok;

	pthread_mutex_lock(&peer->responder);
	ok = is_up(peer);
	if (ok && wr->opcode == IBV_WR_SEND) {
		ok = deliver(peer, w, packet, n);
	} else if (ok) {
		linger(q->dev);
		if (sim_is_window(wr->wr.rdma.rkey) || (read && sim_is_first(peer->qp.context)))
			hold();
		ok = sim_remote_dma(&peer->qp, wr->wr.rdma.rkey, wr->wr.rdma.remote_addr + w->done, packet, n, !read);
		if (!ok) {
			atomic_fetch_add(&sim_wire.bad_keys, 1);
			atomic_store(&peer->state, IBV_QPS_ERR);
			sim_event(peer->qp.context, (struct ibv_async_event){ .event_type = IBV_EVENT_QP_ACCESS_ERR, .element.qp = &peer->qp });
			w->refused = true;
		} else if (wr->opcode == IBV_WR_RDMA_WRITE_WITH_IMM && w->done + n == w->length) {
			ok = deliver(peer, w, packet, n);
		}
	}
	pthread_mutex_unlock(&peer->responder);
	return ok;
}

static bool gather(const struct ibv_pd *pd, const struct wqe *w, char *packet, size_t n)
{
	size_t first = w->sge[0].length, k = w->done < first ? first - w->done : 0;

	if (k > n)
		k = n;
	return sim_dma(pd, w->sge[0].lkey, w->sge[0].addr + w->done, packet, k, false) &&
	       sim_dma(pd, w->sge[1].lkey, w->sge[1].addr + w->done + k - first, packet + k, n - k, false);
}

static bool take_local(const struct ibv_pd *pd, const struct wqe *w, char *packet, size_t n)
{
	if (w->wr.send_flags & IBV_SEND_INLINE)
		memcpy(packet, w->inlined + w->done, n);
	else if (w->wr.opcode != IBV_WR_RDMA_READ)
		return gather(pd, w, packet, n);
	return true;
}

/* One packet there and its answer back. */
static bool carry(struct sim_qp *q, struct wqe *w, size_t n)
{
	char packet[PACKET];
	bool read = w->wr.opcode == IBV_WR_RDMA_READ;

	if (in_hole() || !is_up(q->peer) || !take_local(q->qp.pd, w, packet, n))
		return false;
	linger(q->dev);
	if (!w->executed && !respond(q, w, packet, n))
		return false;
	atomic_fetch_add(&sim_wire.packets, 1);
	w->executed = !read;
	w->answered = read;
	if (read && sim_is_first(q->qp.context) && w->done + n == w->length)
		hold();
	if (in_hole() || roll(q->dev, 256) < atomic_load(&sim_wire.ack_loss))
		return false;
	linger(q->dev);
	w->executed = w->answered = false;
	return !read || sim_dma(q->qp.pd, w->sge->lkey, w->sge->addr + w->done, packet, n, true);
}

static void end_wqe(struct sim_qp *q, struct wqe *w, enum ibv_wc_status status)
{
	struct ibv_wc wc = { .wr_id = w->wr.wr_id, .status = status, .qp_num = q->qp.qp_num };

	pthread_mutex_lock(&q->queue_lock);
	q->head++;
	pthread_mutex_unlock(&q->queue_lock);
	if (status || w->wr.send_flags & IBV_SEND_SIGNALED)
		complete(q->qp.send_cq, wc, false);
}

/* As soft-RoCE: the completion is there before the queue pair is in error. */
static void fail(struct sim_qp *q, struct wqe *w)
{
	end_wqe(q, w, IBV_WC_RETRY_EXC_ERR);
	linger(q->dev);
	atomic_store(&q->state, IBV_QPS_ERR);
}

/* What a device does by itself: nothing of it is on the wire. */
static bool is_local(const struct ibv_send_wr *wr)
{
	return wr->opcode == IBV_WR_BIND_MW || wr->opcode == IBV_WR_LOCAL_INV;
}

static void do_locally(struct sim_qp *q, struct wqe *w)
{
	bool ok = w->wr.opcode == IBV_WR_BIND_MW ? sim_bind(&q->qp, &w->wr) : sim_invalidate(w->wr.invalidate_rkey);

	if (!ok && is_up(q)) /* else its window may have gone meanwhile */
		sim_wrong("a window is used as it must not be");
	end_wqe(q, w, ok ? IBV_WC_SUCCESS : IBV_WC_WR_FLUSH_ERR);
}

/* Only a fence keeps the next request from being executed while a READ's answer is on its way, or lost. */
static void overtake(struct sim_qp *q, struct wqe *read)
{
	char packet[PACKET];

	pthread_mutex_lock(&q->queue_lock);
	struct wqe *next = q->tail - q->head > 1 ? &q->queue[(q->head + 1) % WQES] : NULL;
	pthread_mutex_unlock(&q->queue_lock);
	if (!next || next->executed || next->wr.send_flags & IBV_SEND_FENCE || is_local(&next->wr) || next->length > PACKET || in_hole() ||
	    read->done + PACKET < read->length)
		return;
	next->executed = is_up(q->peer) && take_local(q->qp.pd, next, packet, next->length) && respond(q, next, packet, next->length);
}

static void step(struct sim_qp *q, struct wqe *w)
{
	size_t left = w->length - w->done, n = left < PACKET ? left : PACKET;

	if (atomic_load(&q->broken)) {
		fail(q, w);
	} else if (is_local(&w->wr)) {
		do_locally(q, w);
	} else if (carry(q, w, n)) {
		w->lost_since = 0;
		w->done += n;
		if (w->done == w->length)
			end_wqe(q, w, IBV_WC_SUCCESS);
	} else if (w->refused) {
		fail(q, w);
	} else if (now_us() < w->again_at) { /* as often as it takes: no try is used up */
		w->lost_since = 0;
	} else if (!w->lost_since) {
		w->lost_since = now_us();
		if (w->answered)
			overtake(q, w);
	} else if (now_us() - w->lost_since > atomic_load(&sim_wire.retry_us)) {
		fail(q, w);
	}
}

/* True: there was something to do. */
static bool turn(struct sim_qp *q)
{
	pthread_mutex_lock(&q->own);
	pthread_mutex_lock(&q->queue_lock);
	struct wqe *w = q->head != q->tail ? &q->queue[q->head % WQES] : NULL;
	pthread_mutex_unlock(&q->queue_lock);
	int state = atomic_load(&q->state);
	bool lost = w && (w->lost_since || now_us() < w->again_at);
	if (w && state == IBV_QPS_ERR)
		end_wqe(q, w, IBV_WC_WR_FLUSH_ERR);
	else if (w && state == IBV_QPS_RTS && now_us() >= w->again_at)
		step(q, w);
	pthread_mutex_unlock(&q->own);
	return w && !lost;
}

static void *run(void *arg)
{
	struct device_sim *d = arg;
	struct timespec nap = { .tv_nsec = 20000 };

	for (;;) {
		bool busy = false;
		pthread_mutex_lock(&d->qps_lock);
		for (struct sim_qp *q = d->qps; q; q = q->next)
			busy |= turn(q);
		pthread_mutex_unlock(&d->qps_lock);
		if (!busy)
			nanosleep(&nap, NULL);
	}
	return NULL;
}

/* ---- the rest of the table */

static struct ibv_pd *alloc_pd(struct ibv_context *c)
{
	struct ibv_pd *pd = calloc(1, sizeof(*pd));

	pd->context = c;
	return pd;
}

static int dealloc_pd(struct ibv_pd *pd)
{
	free(pd);
	return 0;
}

static int destroy_channel(struct ibv_comp_channel *channel)
{
	close(channel->fd);
	free(channel);
	return 0;
}

static int destroy_cq(struct ibv_cq *cq)
{
	free(cq);
	return 0;
}

static int destroy_srq(struct ibv_srq *srq)
{
	free(srq);
	return 0;
}

static const char *device_name(struct ibv_device *d)
{
	return d->name;
}

static const char *status_text(enum ibv_wc_status s)
{
	return "simulated";
}

void sim_wrong(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	_exit(1);
}

void sim_verbs_install(void)
{
	verbs.ibv_get_device_name = device_name;
	verbs.ibv_alloc_pd = alloc_pd;
	verbs.ibv_dealloc_pd = dealloc_pd;
	sim_memory_install();
	verbs.ibv_create_comp_channel = create_channel;
	verbs.ibv_destroy_comp_channel = destroy_channel;
	verbs.ibv_create_cq = create_cq;
	verbs.ibv_destroy_cq = destroy_cq;
	verbs.ibv_get_cq_event = get_cq_event;
	verbs.ibv_ack_cq_events = ack_cq_events;
	verbs.ibv_create_srq = create_srq;
	verbs.ibv_modify_srq = modify_srq;
	verbs.ibv_destroy_srq = destroy_srq;
	verbs.ibv_modify_qp = modify_qp;
	verbs.ibv_wc_status_str = status_text;
	verbs.rdma_create_qp = create_qp;
	verbs.rdma_destroy_qp = destroy_qp;
	sim_events_install();
}

struct ibv_context *sim_context(int device)
{
	return &devices[device].context;
}

struct rdma_cm_id *sim_id_create(int device)
{
	struct rdma_cm_id *id = calloc(1, sizeof(*id));

	id->verbs = sim_context(device);
	return id;
}

void sim_id_destroy(struct rdma_cm_id *id)
{
	free(id);
}

void sim_connect(struct rdma_cm_id *a, struct rdma_cm_id *b)
{
	struct sim_qp *p = (struct sim_qp *)a->qp, *q = (struct sim_qp *)b->qp;

	p->peer = q;
	q->peer = p;
	atomic_store(&p->state, IBV_QPS_RTS);
	atomic_store(&q->state, IBV_QPS_RTS);
}

void sim_break(struct rdma_cm_id *id)
{
	if (id->qp)
		atomic_store(&((struct sim_qp *)id->qp)->broken, true);
}

static void open_descriptors(struct device_sim *d)
{
	sim_open_events(&d->context);
	d->context.cmd_fd = eventfd(0, EFD_CLOEXEC);
}

void sim_renew(int device)
{
	struct device_sim *d = &devices[device];

	close(d->context.async_fd);
	close(d->context.cmd_fd);
	open_descriptors(d);
}

bool sim_is_idle(void)
{
	bool busy = false;

	for (int i = 0; i < 2; i++) {
		pthread_mutex_lock(&devices[i].qps_lock);
		for (struct sim_qp *q = devices[i].qps; q; q = q->next) {
			pthread_mutex_lock(&q->queue_lock);
			busy |= q->head != q->tail;
			pthread_mutex_unlock(&q->queue_lock);
		}
		pthread_mutex_unlock(&devices[i].qps_lock);
	}
	return !busy;
}

void sim_start(uint64_t seed)
{
	pthread_t t;

	for (int i = 0; i < 2; i++) {
		struct device_sim *d = &devices[i];
		d->dice = seed * 2 + (uint64_t)i;
		if (d->context.device)
			continue;
		d->context.device = &d->device;
		open_descriptors(d);
		d->context.ops.poll_cq = poll_cq;
		d->context.ops.req_notify_cq = req_notify_cq;
		d->context.ops.post_srq_recv = post_srq_recv;
		d->context.ops.post_send = post_send;
		sim_memory_of(&d->context);
		d->device.name[0] = (char)('a' + i);
		pthread_mutex_init(&d->qps_lock, NULL);
		if (pthread_create(&t, NULL, run, d))
			abort();
		pthread_detach(t);
	}
}
