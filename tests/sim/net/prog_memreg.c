/* The registration cache under a real device: the same addresses, other pages, between transfers.
 *
 *   prog_memreg DEVICE GID_INDEX watch|believe
 *
 * Two queue pairs of one process, connected to each other. Each round changes the pages below a
 * buffer in one of several ways, then writes from it and into it by RDMA, with registrations from the
 * cache, and compares. "believe" is the control: a cache that does not watch, which must fail. The
 * last line says stale transfers in each direction, and the cache's counts; all stays as it is until the input ends. */
#include <arpa/inet.h>
#include <errno.h>
#include <infiniband/verbs.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memreg.h"
#include "memwatch.h"
#include "verbs_api.h"

enum { SIZE = 1 << 18, ROUNDS = 24 };

static struct ibv_context *context;
static struct ibv_pd *pd;
static struct ibv_cq *cq;
static struct ibv_qp *qp[2];
static char *far; /* the other end's buffer, registered once and for all */
static struct ibv_mr *far_mr;
static struct memreg *cache;
static int stale_out, stale_in;

static void die(const char *what)
{
	perror(what);
	exit(2);
}

/* ---- the device ---- */

static void open_device(const char *name)
{
	struct ibv_device **list = ibv_get_device_list(NULL);

	for (int i = 0; list && list[i]; i++)
		if (!strcmp(ibv_get_device_name(list[i]), name))
			context = ibv_open_device(list[i]);
	if (!context)
		die(name);
	pd = ibv_alloc_pd(context);
	cq = ibv_create_cq(context, 16, NULL, NULL, 0);
	if (!pd || !cq)
		die("ibv_create_cq");
}

static void make_qp(int i)
{
	struct ibv_qp_init_attr init = {.send_cq = cq, .recv_cq = cq, .qp_type = IBV_QPT_RC,
		.sq_sig_all = 1, .cap = {4, 4, 1, 1, 0}};
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_INIT, .port_num = 1,
		.qp_access_flags = IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ};

	qp[i] = ibv_create_qp(pd, &init);
	if (!qp[i] || ibv_modify_qp(qp[i], &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT |
							  IBV_QP_ACCESS_FLAGS))
		die("queue pair");
}

static void connect_qp(int i, int gid_index)
{
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_RTR, .path_mtu = IBV_MTU_1024,
		.dest_qp_num = qp[!i]->qp_num, .max_dest_rd_atomic = 1, .min_rnr_timer = 12,
		.ah_attr = {.is_global = 1, .port_num = 1,
			.grh = {.sgid_index = gid_index, .hop_limit = 1}}};

	if (ibv_query_gid(context, 1, gid_index, &attr.ah_attr.grh.dgid))
		die("ibv_query_gid");
	if (ibv_modify_qp(qp[i], &attr, IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU |
			    IBV_QP_DEST_QPN | IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
			    IBV_QP_MIN_RNR_TIMER))
		die("ready to receive");
	attr = (struct ibv_qp_attr){.qp_state = IBV_QPS_RTS, .timeout = 14, .retry_cnt = 6,
		.rnr_retry = 6, .max_rd_atomic = 1};
	if (ibv_modify_qp(qp[i], &attr, IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
			    IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC))
		die("ready to send");
}

static void read_rdma(int i, void *to, uint32_t lkey, const void *from, uint32_t rkey)
{
	struct ibv_sge sge = {(uintptr_t)to, SIZE, lkey};
	struct ibv_send_wr wr = {.sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_RDMA_READ, .send_flags = IBV_SEND_SIGNALED,
		.wr.rdma = {(uintptr_t)from, rkey}}, *bad;
	struct ibv_wc wc;
	int n;

	if (ibv_post_send(qp[i], &wr, &bad))
		die("ibv_post_send");
	while (!(n = ibv_poll_cq(cq, 1, &wc)))
		;
	if (n < 0 || wc.status != IBV_WC_SUCCESS) {
		fprintf(stderr, "completion: %s\n", ibv_wc_status_str(wc.status));
		exit(2);
	}
}

/* ---- one round ---- */

static void fill(char *p, unsigned seed)
{
	for (unsigned i = 0; i < SIZE; i++)
		p[i] = (seed * 2654435761u + i * 40503u) >> 13;
}

static struct memreg_hold *hold(char *p)
{
	struct memreg_hold *h;
	int r = memreg_get(cache, p, SIZE, &h);

	if (r) {
		errno = -r;
		die("memreg_get");
	}
	return h;
}

static void transfer(char *p, unsigned round)
{
	struct memreg_hold *h;

	fill(p, round * 2);
	h = hold(p);
	read_rdma(1, far, far_mr->lkey, p, h->key.rkey);
	memreg_put(cache, h);
	stale_out += !!memcmp(p, far, SIZE);

	memset(p, 0, SIZE);
	fill(far, round * 2 + 1);
	h = hold(p);
	read_rdma(0, p, h->key.lkey, far, far_mr->rkey);
	memreg_put(cache, h);
	stale_in += !!memcmp(p, far, SIZE);
}

/* ---- ways to get other pages at an address ---- */

static char *by_free(char *p)
{
	char *q;

	free(p);
	q = malloc(SIZE);
	return q;
}

static char *by_map(char *p)
{
	static char *at;

	if (at)
		munmap(at, SIZE);
	at = mmap(at, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | (at ? MAP_FIXED : 0),
		-1, 0);
	return at;
}

static char *by_advice(char *p)
{
	if (!p)
		p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	madvise(p, SIZE, MADV_DONTNEED);
	return p;
}

static char *by_move(char *p)
{
	static char *at;

	if (at)
		mremap(at, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, at + (256L << 20));
	at = mmap(at, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | (at ? MAP_FIXED : 0),
		-1, 0);
	return at;
}

static char *by_nothing(char *p)
{
	return p ? p : mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static const struct {
	const char *name;
	char *(*next)(char *p);
} ways[] = {{"free", by_free}, {"munmap", by_map}, {"MADV_DONTNEED", by_advice},
	{"mremap", by_move}, {"nothing", by_nothing}};

static void play(int way)
{
	char *p = NULL;
	int same = 0;

	for (unsigned i = 0; i < ROUNDS; i++) {
		char *before = p;

		p = ways[way].next(p);
		if (!p || p == MAP_FAILED)
			die(ways[way].name);
		same += p == before;
		transfer(p, i);
	}
	printf("%s: %d rounds, %d at the same address\n", ways[way].name, ROUNDS, same);
	if (same < ROUNDS / 2) {
		fprintf(stderr, "too few at the same address: nothing was tested\n");
		exit(2);
	}
}

int main(int argc, char **argv)
{
	struct memreg_ops ops;
	struct memreg_counts c;

	if (argc != 4)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	mallopt(M_MMAP_THRESHOLD, SIZE / 2); /* free() unmaps inside glibc */
	if (verbs_load() || memwatch_start()) {
		fprintf(stderr, "rdma-core's tables or the kernel's watch are missing\n");
		return 2;
	}
	open_device(argv[1]);
	ops = *verbs_registrar_for(context);
	printf("device: %s\n", ops.follows_mappings ? "on demand" : "pins");
	if (!strcmp(argv[3], "believe"))
		ops = (struct memreg_ops){verbs_registrar.reg, verbs_registrar.dereg, true};
	else
		ops = verbs_registrar;
	for (int i = 0; i < 2; i++)
		make_qp(i);
	for (int i = 0; i < 2; i++)
		connect_qp(i, atoi(argv[2]));
	far = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	far_mr = ibv_reg_mr(pd, far, SIZE, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ);
	if (!far_mr || memreg_create(&ops, pd, memreg_limit(1 << 30), &cache))
		die("registration");
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		play((int)i);
	memreg_count(cache, &c);
	printf("stale out %d, in %d; hits %llu, registered %llu, once %llu, stale %llu, kept %zu\n", stale_out,
		stale_in, (unsigned long long)c.hits, (unsigned long long)c.registered,
		(unsigned long long)c.once, (unsigned long long)c.stale, c.entries);
	for (char byte; read(STDIN_FILENO, &byte, 1) > 0;)
		;
	memreg_destroy(cache);
	return stale_out || stale_in;
}
