/* What verbs reports, and in which order, while a link or a peer fails under a reliable connection.
 *
 *   prog_verbs serve ADDR PORT
 *   prog_verbs drive ADDR PORT [-b FROM] [-m write|send|idle] [-r RETRIES] [-t ACK_TIMEOUT]
 *
 * The driver keeps DEPTH transfers of LEN bytes in flight (none with -m idle). One line for each
 * thing seen, "SECONDS WHAT", in the guest's time since boot: listening, connected, flowing (the
 * first 64 good completions), moved N (once a second while completions come), wc N text, cm NAME,
 * async NAME, refused (a post was), released (device given back). Ends at SIGTERM, at a device
 * removal, or after 120 s. Single thread; sleeps in poll only. */
#include <errno.h>
#include <fcntl.h>
#include <infiniband/verbs.h>
#include <netdb.h>
#include <poll.h>
#include <rdma/rdma_cma.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { DEPTH = 8, LEN = 16384, FLOWING = 64, LIMIT = 120, RECV = 1 << 16 };

struct advert { /* private data of the accepting side */
	uint64_t addr;
	uint32_t rkey;
} __attribute__((packed));

struct end {
	bool driver;
	enum { MODE_WRITE, MODE_SEND, MODE_IDLE } mode;
	struct rdma_event_channel *channel;
	struct rdma_cm_id *listener, *id;
	struct ibv_pd *pd;
	struct ibv_comp_channel *completions;
	struct ibv_cq *cq;
	struct ibv_mr *mr;
	char *buf;
	struct advert peer;
	unsigned posted, flying;
	long good, bad;
	bool broken, removed;
	double said;
};

static volatile sig_atomic_t stop;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void say(const char *fmt, ...)
{
	va_list ap;

	printf("%.3f ", now());
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

static void die(const char *what)
{
	say("error %s: %s", what, strerror(errno));
	exit(1);
}

/* ---- connection ---- */

static struct rdma_cm_event *await(struct end *e, enum rdma_cm_event_type type)
{
	struct rdma_cm_event *ev;

	if (rdma_get_cm_event(e->channel, &ev))
		die("rdma_get_cm_event");
	if (ev->event != type) {
		say("error wanted %s, got %s status %d", rdma_event_str(type),
			rdma_event_str(ev->event), ev->status);
		exit(1);
	}
	return ev;
}

static void await_and_ack(struct end *e, enum rdma_cm_event_type type)
{
	rdma_ack_cm_event(await(e, type));
}

static void post_recv(struct end *e, unsigned slot)
{
	struct ibv_sge sge = {(uintptr_t)e->buf + slot * LEN, LEN, e->mr->lkey};
	struct ibv_recv_wr wr = {.wr_id = RECV | slot, .sg_list = &sge, .num_sge = 1}, *bad;

	if (ibv_post_recv(e->id->qp, &wr, &bad))
		die("ibv_post_recv");
}

static void make_qp(struct end *e)
{
	struct ibv_qp_init_attr attr = {.qp_type = IBV_QPT_RC, .sq_sig_all = 1,
		.cap = {DEPTH * 2, DEPTH * 2, 1, 1, 0}};

	e->pd = ibv_alloc_pd(e->id->verbs);
	e->completions = ibv_create_comp_channel(e->id->verbs);
	if (!e->pd || !e->completions)
		die("protection domain or completion channel");
	e->cq = ibv_create_cq(e->id->verbs, 4 * DEPTH, NULL, e->completions, 0);
	e->buf = calloc(DEPTH, LEN);
	if (!e->cq || !e->buf || ibv_req_notify_cq(e->cq, 0))
		die("completion queue");
	e->mr = ibv_reg_mr(e->pd, e->buf, DEPTH * LEN,
		IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
	if (!e->mr)
		die("ibv_reg_mr");
	attr.send_cq = attr.recv_cq = e->cq;
	if (rdma_create_qp(e->id, e->pd, &attr))
		die("rdma_create_qp");
}

static void serve(struct end *e, struct sockaddr *at)
{
	struct rdma_conn_param param = {.responder_resources = 4, .initiator_depth = 4,
		.rnr_retry_count = 7};
	struct advert mine;
	struct rdma_cm_event *ev;

	if (rdma_bind_addr(e->listener, at) || rdma_listen(e->listener, 4))
		die("rdma_listen");
	say("listening");
	ev = await(e, RDMA_CM_EVENT_CONNECT_REQUEST);
	e->id = ev->id;
	rdma_ack_cm_event(ev);
	make_qp(e);
	for (unsigned i = 0; i < DEPTH; i++)
		post_recv(e, i);
	mine = (struct advert){(uintptr_t)e->buf, e->mr->rkey};
	param.private_data = &mine;
	param.private_data_len = sizeof(mine);
	if (rdma_accept(e->id, &param))
		die("rdma_accept");
	await_and_ack(e, RDMA_CM_EVENT_ESTABLISHED);
}

static void set_ack_timeout(struct end *e, int value)
{
	uint8_t t = value;

	if (value >= 0 && rdma_set_option(e->id, RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, &t, 1))
		die("ACK_TIMEOUT");
}

static void drive(struct end *e, struct sockaddr *at, struct sockaddr *from, int retries, int ack_timeout)
{
	struct rdma_conn_param param = {.responder_resources = 4, .initiator_depth = 4,
		.rnr_retry_count = 7, .retry_count = retries};
	struct rdma_cm_event *ev;

	e->id = e->listener;
	e->listener = NULL;
	if (rdma_resolve_addr(e->id, from, at, 3000))
		die("rdma_resolve_addr");
	await_and_ack(e, RDMA_CM_EVENT_ADDR_RESOLVED);
	if (rdma_resolve_route(e->id, 3000))
		die("rdma_resolve_route");
	await_and_ack(e, RDMA_CM_EVENT_ROUTE_RESOLVED);
	make_qp(e);
	set_ack_timeout(e, ack_timeout);
	if (rdma_connect(e->id, &param))
		die("rdma_connect");
	ev = await(e, RDMA_CM_EVENT_ESTABLISHED);
	memcpy(&e->peer, ev->param.conn.private_data, sizeof(e->peer));
	rdma_ack_cm_event(ev);
}

static void say_connected(struct end *e)
{
	struct ibv_qp_init_attr init;
	struct ibv_qp_attr attr;

	if (ibv_query_qp(e->id->qp, &attr, IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_PATH_MTU, &init))
		die("ibv_query_qp");
	say("connected on %s: timeout %u, retries %u, mtu %u", ibv_get_device_name(e->id->verbs->device),
		attr.timeout, attr.retry_cnt, 128u << attr.path_mtu);
}

/* ---- transfers ---- */

static void post_transfer(struct end *e)
{
	unsigned slot = e->posted++ % DEPTH;
	struct ibv_sge sge = {(uintptr_t)e->buf + slot * LEN, LEN, e->mr->lkey};
	struct ibv_send_wr wr = {.wr_id = slot, .sg_list = &sge, .num_sge = 1,
		.opcode = e->mode == MODE_SEND ? IBV_WR_SEND : IBV_WR_RDMA_WRITE,
		.wr.rdma = {e->peer.addr + slot * LEN, e->peer.rkey}}, *bad;

	errno = ibv_post_send(e->id->qp, &wr, &bad);
	if (errno) {
		say("refused %s", strerror(errno));
		e->broken = true;
		return;
	}
	e->flying++;
}

static void keep_flying(struct end *e)
{
	while (e->driver && e->mode != MODE_IDLE && !e->broken && e->flying < DEPTH)
		post_transfer(e);
}

static void note_good(struct end *e)
{
	if (++e->good == FLOWING)
		say("flowing");
	if (e->good >= FLOWING && now() - e->said >= 1) {
		e->said = now();
		say("moved %ld", e->good);
	}
}

static void note_completion(struct end *e, struct ibv_wc *wc)
{
	if (wc->status != IBV_WC_SUCCESS) {
		if (e->bad++ < 2)
			say("wc %d %s", wc->status, ibv_wc_status_str(wc->status));
		e->broken = true;
		return;
	}
	note_good(e);
	if (wc->wr_id & RECV)
		post_recv(e, wc->wr_id & ~RECV);
	else
		e->flying--;
}

static void drain_cq(struct end *e)
{
	struct ibv_wc wc[16];
	int n;

	while ((n = ibv_poll_cq(e->cq, 16, wc)) > 0)
		for (int i = 0; i < n; i++)
			note_completion(e, &wc[i]);
	if (n < 0)
		say("error ibv_poll_cq %d", n);
}

/* ---- the three sources of news ---- */

static void on_completions(struct end *e)
{
	struct ibv_cq *cq;
	void *context;

	while (!ibv_get_cq_event(e->completions, &cq, &context)) {
		ibv_ack_cq_events(cq, 1);
		ibv_req_notify_cq(cq, 0);
	}
	drain_cq(e);
}

static void on_cm(struct end *e)
{
	struct rdma_cm_event *ev;

	while (!rdma_get_cm_event(e->channel, &ev)) {
		say("cm %s status %d", rdma_event_str(ev->event) + strlen("RDMA_CM_EVENT_"), ev->status);
		if (ev->event == RDMA_CM_EVENT_DISCONNECTED)
			e->broken = true;
		if (ev->event == RDMA_CM_EVENT_DEVICE_REMOVAL)
			e->removed = true;
		rdma_ack_cm_event(ev);
	}
}

static void on_async(struct end *e)
{
	struct ibv_async_event ev;

	while (!e->removed && !ibv_get_async_event(e->id->verbs, &ev)) {
		say("async %s", ibv_event_type_str(ev.event_type));
		e->removed = ev.event_type == IBV_EVENT_DEVICE_FATAL;
		ibv_ack_async_event(&ev);
	}
}

static void set_nonblocking(int fd)
{
	if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK))
		die("fcntl");
}

static void watch(struct end *e)
{
	struct pollfd p[] = {{e->channel->fd, POLLIN, 0}, {e->completions->fd, POLLIN, 0},
		{e->id->verbs->async_fd, POLLIN, 0}};
	double end = now() + LIMIT;

	for (int i = 0; i < 3; i++)
		set_nonblocking(p[i].fd);
	while (!stop && !e->removed && now() < end) {
		keep_flying(e);
		if (poll(p, 3, 200) < 0 && errno != EINTR)
			die("poll");
		on_cm(e);
		on_async(e);
		on_completions(e);
	}
}

/* `rdma link delete` waits for this. */
static void release(struct end *e)
{
	rdma_destroy_qp(e->id);
	ibv_dereg_mr(e->mr);
	ibv_destroy_cq(e->cq);
	ibv_destroy_comp_channel(e->completions);
	ibv_dealloc_pd(e->pd);
	rdma_destroy_id(e->id);
	if (e->listener)
		rdma_destroy_id(e->listener);
	rdma_destroy_event_channel(e->channel);
	free(e->buf);
	say("released");
}

/* ---- arguments ---- */

static void on_term(int sig)
{
	stop = 1;
}

static void usage(void)
{
	fprintf(stderr, "see the top of prog_verbs.c\n");
	exit(2);
}

static int mode_named(const char *name)
{
	static const char *const names[] = {"write", "send", "idle"};

	for (int i = 0; i < 3; i++)
		if (!strcmp(names[i], name))
			return i;
	usage();
	return -1;
}

/* Of either family. */
static struct sockaddr *address(const char *host, const char *port)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM}, *found;

	if (getaddrinfo(host, port, &hints, &found))
		usage();
	return found->ai_addr;
}

int main(int argc, char **argv)
{
	struct sockaddr *at, *from = NULL;
	struct end e = {.said = now()};
	int c, retries = 6, ack_timeout = 14;

	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGTERM, on_term);
	if (argc < 4)
		usage();
	optind = 4;
	while ((c = getopt(argc, argv, "b:m:r:t:")) != -1) {
		if (c == 'b')
			from = address(optarg, NULL);
		else if (c == 'm')
			e.mode = mode_named(optarg);
		else if (c == 'r')
			retries = atoi(optarg);
		else if (c == 't')
			ack_timeout = atoi(optarg);
		else
			usage();
	}
	at = address(argv[2], argv[3]);
	e.channel = rdma_create_event_channel();
	if (!e.channel || rdma_create_id(e.channel, &e.listener, NULL, RDMA_PS_TCP))
		die("rdma_create_id");
	e.driver = !strcmp(argv[1], "drive");
	if (e.driver)
		drive(&e, at, from, retries, ack_timeout);
	else
		serve(&e, at);
	say_connected(&e);
	watch(&e);
	say("end: %ld good, %ld bad", e.good, e.bad);
	release(&e);
	return 0;
}
