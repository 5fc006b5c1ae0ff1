#include "peer.h"

#include "clock.h"
#include "process.h"
#include "real.h"
#include "settings.h"
#include "sha256.h"
#include "tcp_pair.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { HUNG_S = 120, WORDS = 4096, SLOTS = PEER_SLOTS * PEER_SLOT, MEMORY = 2 * PEER_RING + WORDS + SLOTS + PEER_BULK };

__attribute__((noinline, no_sanitize("thread"))) void peer_patience(uint64_t dead_us)
{
	settings.rdma_dead = dead_us;
}

void peer_nap(void)
{
	struct timespec t = { .tv_nsec = 200000 };

	nanosleep(&t, NULL);
}

/* Instead of opening rdma-core (--wrap): the table is filled already. */
int __wrap_verbs_load(void);
int __wrap_verbs_load(void)
{
	return 0;
}

static void give_back(void)
{
	device_close(sim_context(0));
}

void peer_set_up(uint64_t dead_us, uint64_t idle_us)
{
	real_init();
	process_note();
	clock_init();
	settings.rdma_devices = "";
	settings.rdma_dead = dead_us;
	settings.rdma_idle = idle_us;
	settings.net_memory = UINT64_C(1) << 30;
	sim_verbs_install();
	sim_cm_install();
	sim_wire.retry_us = UINT64_MAX; /* no device gives up by itself */
	sim_start(1);
	atexit(give_back); /* behind the thread's end, which will be asked for later */
}

void peer_apart(uint64_t dead_us, uint64_t idle_us, void (*test)(int which), int which)
{
	int status = 0;
	pid_t pid = fork();

	if (!pid) {
		peer_set_up(dead_us, idle_us);
		alarm(HUNG_S);
		test(which);
		exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || status)
		sim_wrong("part %d: %x", which, status);
}

/* ---- a connection */

static void connect_tcp(struct peer *p)
{
	int fd[2];

	if (!tcp_pair(fd))
		sim_wrong("no connection: %s", strerror(errno));
	p->fd = fd[0];
	p->lib_fd = fd[1];
}

static void name_address(uint8_t addr[16], uint8_t host)
{
	memcpy(addr, (uint8_t[16]){ [10] = 0xff, [11] = 0xff, 10, 0, 0, host }, 16);
}

static struct sockaddr_in address(uint8_t host, uint16_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = htonl(0x0a000000 | host) };
}

static void make_tuple(struct peer *p)
{
	static uint16_t port = 1000;

	name_address(p->tuple.connect_addr, p->role ? 2 : 1);
	name_address(p->tuple.accept_addr, p->role ? 1 : 2);
	p->tuple.connect_port = htons(port++);
	p->tuple.accept_port = htons(80);
}

static void give_slot(struct peer *p, uint64_t i)
{
	struct ibv_sge sge = { (uintptr_t)p->memory + 2 * PEER_RING + WORDS + i * PEER_SLOT, PEER_SLOT, p->mr->lkey };
	struct ibv_recv_wr wr = { .wr_id = i, .sg_list = &sge, .num_sge = 1 }, *bad;

	ibv_post_srq_recv(p->srq, &wr, &bad);
}

static void make_queues(struct peer *p)
{
	struct ibv_srq_init_attr srq = { .attr = { .max_wr = PEER_SLOTS, .max_sge = 1 } };
	struct ibv_context *context = sim_context(1);

	p->pd = verbs.ibv_alloc_pd(context);
	p->cq = verbs.ibv_create_cq(context, PEER_CQES, NULL, NULL, 0);
	p->srq = verbs.ibv_create_srq(p->pd, &srq);
	p->memory = calloc(1, MEMORY);
	p->bulk = p->memory + MEMORY - PEER_BULK;
	p->mr = verbs.ibv_reg_mr(p->pd, p->memory, MEMORY, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ);
	for (uint64_t i = 0; i < PEER_SLOTS; i++)
		give_slot(p, i);
}

static void make_qp(struct peer *p)
{
	struct ibv_qp_init_attr attr = { .qp_type = IBV_QPT_RC, .send_cq = p->cq, .recv_cq = p->cq, .srq = p->srq };

	verbs.rdma_create_qp(p->id, p->pd, &attr);
}

void peer_start(struct peer *p, int role)
{
	*p = (struct peer){ .role = role, .version = VERBS_VERSION_MAX };
	connect_tcp(p);
	make_tuple(p);
	make_queues(p);
	memset(p->nonce[!role], 'n', 16);
	p->channel = verbs.rdma_create_event_channel();
	struct sockaddr_in me = address(2, p->tuple.connect_port);
	if (role && (verbs.rdma_create_id(p->channel, &p->listener, NULL, RDMA_PS_TCP) ||
			    verbs.rdma_bind_addr(p->listener, (void *)&me) || verbs.rdma_listen(p->listener, 1)))
		sim_wrong("no listener for RDMA");
	if (verbs_meet_open(&p->tuple, role, &p->meeting))
		sim_wrong("no meeting");
}

static void drop_id(struct rdma_cm_id **id)
{
	if (*id && (*id)->qp)
		verbs.rdma_destroy_qp(*id);
	if (*id)
		verbs.rdma_destroy_id(*id);
	*id = NULL;
}

void peer_end(struct peer *p)
{
	if (p->stream)
		stream_destroy(p->stream);
	else
		verbs_meet_close(p->meeting);
	drop_id(&p->id);
	drop_id(&p->listener);
	verbs.rdma_destroy_event_channel(p->channel);
	verbs.ibv_dereg_mr(p->mr);
	verbs.ibv_destroy_srq(p->srq);
	verbs.ibv_destroy_cq(p->cq);
	verbs.ibv_dealloc_pd(p->pd);
	free(p->memory);
	close(p->fd);
	close(p->lib_fd);
}

/* ---- meeting */

struct verbs_call peer_call_of(const struct peer *p)
{
	struct verbs_call c = {
		.magic = VERBS_MAGIC, .version_min = VERBS_VERSION_MIN, .version_max = p->version, .ring_shift = PEER_SHIFT,
	};
	struct sha256 h;
	uint8_t digest[32];

	sha256_init(&h);
	sha256_add(&h, &p->tuple, TUPLE_BYTES);
	if (p->again)
		sha256_add(&h, p->bond, sizeof(p->bond));
	sha256_end(&h, digest);
	memcpy(c.tuple, digest, sizeof(c.tuple));
	memcpy(c.nonce, p->nonce[1], sizeof(c.nonce));
	memset(c.boot, 'b', sizeof(c.boot));
	return c;
}

struct intro peer_intro_of(const struct peer *p)
{
	struct intro i = {
		.magic = VERBS_MAGIC, .version = p->version, .ring_shift = PEER_SHIFT,
		.ring_address = (uintptr_t)p->memory + PEER_RING, .ring_rkey = p->mr->rkey, .sends_by = p->sends_by,
	};

	memcpy(i.nonce, p->nonce[!p->role], sizeof(i.nonce));
	memset(i.boot, 'b', sizeof(i.boot));
	return i;
}

static struct rdma_cm_event *next_event(struct peer *p)
{
	struct rdma_cm_event *e;

	PEER_WAIT(!verbs.rdma_get_cm_event(p->channel, &e));
	return e;
}

static struct rdma_conn_param parameters(const void *data, size_t n)
{
	return (struct rdma_conn_param){ .private_data = data, .private_data_len = (uint8_t)n };
}

/* One try: -1 nobody listens yet, 0 refused, 1 answered. */
static int try_call(struct peer *p, const void *call, size_t n)
{
	struct sockaddr_in from = address(2, 0), to = address(1, p->tuple.connect_port);
	struct rdma_conn_param param = parameters(call, n);

	if (verbs.rdma_create_id(p->channel, &p->id, NULL, RDMA_PS_TCP) || verbs.rdma_resolve_addr(p->id, (void *)&from, (void *)&to, 1))
		sim_wrong("no id");
	verbs.rdma_ack_cm_event(next_event(p));
	make_qp(p);
	verbs.rdma_connect(p->id, &param);
	struct rdma_cm_event *e = next_event(p);
	int r = e->event == RDMA_CM_EVENT_ESTABLISHED ? 1 : e->status == 8 ? -1 : 0;
	if (r == 1)
		memcpy(&p->theirs, e->param.conn.private_data, sizeof(p->theirs));
	verbs.rdma_ack_cm_event(e);
	if (r != 1)
		drop_id(&p->id);
	return r;
}

bool peer_call(struct peer *p, const void *call, size_t n)
{
	int r;

	PEER_WAIT((r = try_call(p, call, n)) >= 0);
	memcpy(p->nonce[0], p->theirs.nonce, 16);
	return r;
}

void peer_take_call(struct peer *p)
{
	struct rdma_cm_event *e = next_event(p);
	struct verbs_call c;

	memcpy(&c, e->param.conn.private_data, sizeof(c));
	memcpy(p->nonce[1], c.nonce, 16);
	p->id = e->id;
	verbs.rdma_ack_cm_event(e);
	make_qp(p);
}

void peer_answer(struct peer *p, const void *intro, size_t n)
{
	struct rdma_conn_param param = parameters(intro, n);

	if (verbs.rdma_accept(p->id, &param))
		sim_wrong("its call is gone");
}

int peer_outcome(struct peer *p)
{
	int r;

	PEER_WAIT((r = verbs_meet_take(p->meeting, p->role, &p->stream)) != -EAGAIN);
	return r;
}

/* ---- what it sends and gets by RDMA */

/* False: its queue is full. */
static bool post(struct peer *p, struct ibv_send_wr *wr)
{
	struct ibv_send_wr *bad;

	wr->wr_id = ++p->posted;
	return !ibv_post_send(p->id->qp, wr, &bad);
}

static bool send_message(struct peer *p, const void *message, size_t n, unsigned flags)
{
	struct ibv_sge sge = { (uintptr_t)message, (uint32_t)n, 0 };
	struct ibv_send_wr wr = { .sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_SEND, .send_flags = IBV_SEND_INLINE | flags };

	return post(p, &wr);
}

void peer_message(struct peer *p, const void *message, size_t n)
{
	send_message(p, message, n, IBV_SEND_SOLICITED);
}

bool peer_message_quietly(struct peer *p, const void *message, size_t n)
{
	return send_message(p, message, n, 0);
}

void peer_write_with_imm(struct peer *p, const void *from, size_t n)
{
	struct ibv_sge sge = { (uintptr_t)from, (uint32_t)n, p->mr->lkey };
	struct ibv_send_wr wr = {
		.sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_RDMA_WRITE_WITH_IMM, .send_flags = IBV_SEND_SOLICITED,
		.wr.rdma = { p->theirs.ring_address, p->theirs.ring_rkey },
	};

	post(p, &wr);
}

static void ask(struct peer *p, enum ibv_wr_opcode what, const void *here, uint64_t there, uint32_t key, size_t n)
{
	struct ibv_sge sge = { (uintptr_t)here, (uint32_t)n, p->mr->lkey };
	struct ibv_send_wr wr = {
		.sg_list = &sge, .num_sge = 1, .opcode = what, .send_flags = IBV_SEND_SIGNALED, .wr.rdma = { there, key },
	};

	post(p, &wr);
}

void peer_write_by(struct peer *p, uint32_t key, const void *from, uint64_t to, size_t n)
{
	ask(p, IBV_WR_RDMA_WRITE, from, to, key, n);
}

void peer_read_by(struct peer *p, uint32_t key, void *to, uint64_t from, size_t n)
{
	ask(p, IBV_WR_RDMA_READ, to, from, key, n);
}

void peer_write(struct peer *p, const void *from, uint64_t to, size_t n)
{
	peer_write_by(p, p->theirs.ring_rkey, from, to, n);
}

static void note_message(struct peer *p, const struct ibv_wc *wc)
{
	const char *slot = p->memory + 2 * PEER_RING + WORDS + wc->wr_id * PEER_SLOT;

	if (wc->byte_len == sizeof(p->theirs))
		memcpy(&p->theirs, slot, sizeof(p->theirs));
	else if (wc->byte_len == sizeof(p->heard))
		memcpy(&p->heard, slot, sizeof(p->heard));
	else if (wc->byte_len == sizeof(p->advert))
		memcpy(&p->advert, slot, sizeof(p->advert));
	else
		sim_wrong("a message of %u bytes", wc->byte_len);
	if (!p->deaf)
		give_slot(p, wc->wr_id);
}

bool peer_listen(struct peer *p, bool *ret_message)
{
	struct ibv_wc wc;

	if (ibv_poll_cq(p->cq, 1, &wc) != 1)
		return false;
	*ret_message = wc.opcode & IBV_WC_RECV;
	if (*ret_message && !wc.status)
		note_message(p, &wc);
	return true;
}

void peer_await(struct peer *p, bool message)
{
	bool is_message;

	do
		PEER_WAIT(peer_listen(p, &is_message));
	while (is_message != message);
}

struct intro peer_begin(struct peer *p)
{
	struct verbs_call c = peer_call_of(p);

	if (p->role)
		peer_take_call(p);
	else if (!peer_call(p, &c, sizeof(c)))
		sim_wrong("an honest call is refused");
	return peer_intro_of(p);
}

void peer_introduce(struct peer *p, const void *intro, size_t n)
{
	if (p->role)
		peer_answer(p, intro, n);
	if (!p->role || p->version >= VERSION_WINDOWS)
		peer_message(p, intro, n);
}

static uint32_t name_of_link(const struct peer *p)
{
	struct sha256 h;
	uint8_t digest[32];
	uint32_t name;

	sha256_init(&h);
	sha256_add(&h, "link", 4);
	sha256_add(&h, p->nonce, sizeof(p->nonce));
	sha256_end(&h, digest);
	memcpy(&name, digest, sizeof(name));
	return name >> (32 - NAME_BITS);
}

void peer_meet(struct peer *p)
{
	struct intro i = peer_begin(p);

	peer_introduce(p, &i, sizeof(i));
	if (p->role || p->version >= VERSION_WINDOWS)
		peer_await(p, true);
	if (peer_outcome(p))
		sim_wrong("an honest peer is not met");
	if (p->theirs.version != p->version)
		sim_wrong("version %u with a peer of version %u", p->theirs.version, p->version);
	p->name = p->sends_by = name_of_link(p);
	memcpy(p->bond, p->nonce, sizeof(p->bond));
	p->again = true;
}

/* ---- and again */

void peer_fail(struct peer *p)
{
	verbs.rdma_disconnect(p->id);
	drop_id(&p->id);
	PEER_WAIT(load_acq(link_out(verbs_of(p->stream))->state) == LINK_DOWN);
	for (bool message; peer_listen(p, &message);) /* what has come by it */
		;
}

bool peer_is_sought(struct peer *p)
{
	struct verbs_call c = peer_call_of(p);
	struct rdma_cm_event *e;

	return p->role ? !verbs.rdma_get_cm_event(p->channel, &e) : try_call(p, &c, sizeof(c)) >= 0;
}

void peer_meet_again(struct peer *p)
{
	struct intro i = peer_begin(p);
	struct control c = { .type = CONTROL_STATE, .at = p->in_at };

	p->heard.type = 0;
	peer_introduce(p, &i, sizeof(i));
	while (p->heard.type != CONTROL_STATE)
		peer_await(p, true);
	p->name = name_of_link(p);
	peer_message(p, &c, sizeof(c));
	PEER_WAIT(load_acq(link_out(verbs_of(p->stream))->peer_here));
}

void peer_die(struct peer *p)
{
	if (p->id)
		verbs.rdma_disconnect(p->id);
	drop_id(&p->id);
	drop_id(&p->listener);
	close(p->fd);
	p->fd = -1;
}
