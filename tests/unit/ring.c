/* One thread drives both ends of a stream over a real TCP connection: every byte must come out as it went
 * in, through the hot area, the cold one and TCP, whatever the sizes and however late the receiver. */
#include <criterion/criterion.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <ucontext.h>

#include "clock.h"
#include "real.h"
#include "settings.h"
#include "stats.h"
#include "shm.h"
#include "sys.h"
#include "tcp_pair.h"

enum { RING = 1 << 20, MOST = 700000 };

struct end {
	struct stream *s;
	int fd;
	uint64_t bytes; /* sent or received so far */
};

struct pair {
	struct end tx, rx;
	uint32_t seed;
};

static uint32_t pick(struct pair *p, uint32_t n)
{
	p->seed = p->seed * 1664525 + 1013904223;
	return (uint32_t)(((uint64_t)p->seed * n) >> 32);
}

static char byte_at(uint64_t pos)
{
	return (char)(pos * 2654435761u >> 13 ^ pos >> 20);
}

static struct wire_map *shared_memory(void)
{
	struct wire_map *m = mmap(NULL, WIRE_HEADER + 2 * RING, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	cr_assert_neq(m, MAP_FAILED);
	for (int i = 0; i < 2; i++) {
		m->joined[i] = 1;
		m->dir[i].counted = 1;
		m->dir[i].segw = 1;
		m->dir[i].seg[0].b = SEG_OPEN;
		m->dir[i].cold_from = m->dir[i].cold_end = UINT64_MAX;
	}
	return m;
}

static struct end make_end(struct wire_map *m, int role, int fd)
{
	struct end e = { .fd = fd };

	cr_assert_eq(shm_create(&e.s, m, WIRE_HEADER + 2 * RING, role), 0);
	e.s->self = true; /* no blocks */
	return e;
}

static struct pair make_pair(uint32_t seed)
{
	struct wire_map *m = shared_memory();
	int fd[2];

	real_init();
	settings.spin = 0; /* nobody comes while the only thread waits */
	cr_assert(tcp_pair(fd));
	return (struct pair){ make_end(m, 0, fd[0]), make_end(m, 1, fd[1]), seed };
}

static void send_some(struct pair *p, size_t n)
{
	static char buf[MOST];
	struct iovec v[2] = { { buf, n / 3 }, { buf + n / 3, n - n / 3 } };

	for (size_t i = 0; i < n; i++)
		buf[i] = byte_at(p->tx.bytes + i);
	ssize_t k = stream_send(p->tx.s, p->tx.fd, v, 2, (struct stream_opts){ MSG_DONTWAIT | MSG_NOSIGNAL });
	cr_assert(k == -EAGAIN || (k > 0 && (size_t)k <= n), "send of %zu gave %zd", n, k);
	p->tx.bytes += k > 0 ? (uint64_t)k : 0;
}

/* Returns what came; -EAGAIN only if nothing lies unread. */
static ssize_t receive_some(struct pair *p, size_t n, int flags)
{
	static char buf[MOST];
	struct iovec v = { buf, n };
	ssize_t k = stream_recv(p->rx.s, p->rx.fd, &v, 1, (struct stream_opts){ MSG_DONTWAIT | flags });

	cr_assert(k > 0 || k == -EAGAIN, "recv gave %zd", k);
	for (ssize_t i = 0; i < k; i++)
		cr_assert_eq(buf[i], byte_at(p->rx.bytes + (uint64_t)i), "byte %llu differs",
			(unsigned long long)(p->rx.bytes + (uint64_t)i));
	if (k > 0 && !(flags & MSG_PEEK))
		p->rx.bytes += (uint64_t)k;
	return k;
}

/* What is in TCP comes when the kernel gets round to it, on a busy machine after the next look. */
static ssize_t receive_what_is_sent(struct pair *p, size_t n, int flags)
{
	ssize_t k = receive_some(p, n, flags);

	for (int looks = 0; k == -EAGAIN && p->rx.bytes != p->tx.bytes && looks < 10000; looks++) {
		usleep(1000);
		k = receive_some(p, n, flags);
	}
	return k;
}

static size_t some_size(struct pair *p)
{
	return 1 + pick(p, pick(p, 3) ? 70000 : MOST - 1);
}

/* Mostly sending, or mostly receiving, for a while: the stream fills and empties. */
static void tide(struct pair *p)
{
	uint32_t sends = pick(p, 10);

	for (int i = 0; i < 30; i++) {
		if (pick(p, 10) < sends)
			send_some(p, some_size(p));
		else if (receive_what_is_sent(p, some_size(p), pick(p, 5) ? 0 : MSG_PEEK) == -EAGAIN)
			cr_assert_eq(p->rx.bytes, p->tx.bytes, "nothing to read, %llu bytes missing",
				(unsigned long long)(p->tx.bytes - p->rx.bytes));
	}
}

static uint64_t count(unsigned slot)
{
	return dlaccel_stats.slot[slot].value;
}

Test(ring, every_byte_through_every_area)
{
	for (uint32_t seed = 0; seed < 12; seed++) {
		struct pair p = make_pair(seed);
		for (int i = 0; i < 40; i++)
			tide(&p);
		while (receive_what_is_sent(&p, MOST, 0) > 0)
			;
		cr_assert_eq(p.rx.bytes, p.tx.bytes);
		close(p.tx.fd);
		close(p.rx.fd);
	}
	cr_assert_gt(count(STAT_net_cold), 50, "the cold area was hardly used");
	cr_assert_gt(count(STAT_net_rewinds), 50, "the hot area was hardly begun again");
	cr_assert_gt(count(STAT_net_overflow), 50, "the ring was hardly ever full");
	cr_assert_gt(count(STAT_net_bytes_ring), 12u << 20, "the ring was hardly used");
}

/* Capacity: what a bare connection takes without a reader, this one takes too, and an idle one touches little. */
Test(ring, takes_no_less_than_bare)
{
	struct pair p = make_pair(1);
	uint64_t before = 0;

	do {
		before = p.tx.bytes;
		send_some(&p, 200000);
	} while (p.tx.bytes != before);
	uint64_t upgraded = p.tx.bytes;
	int fd[2];
	static char buf[200000];
	cr_assert(tcp_pair(fd));
	uint64_t bare = 0;
	for (ssize_t k; (k = send(fd[0], buf, sizeof(buf), MSG_DONTWAIT)) > 0;)
		bare += (uint64_t)k;
	cr_assert_geq(upgraded, bare);
}

static void drain(struct pair *p)
{
	while (receive_some(p, MOST, 0) > 0)
		;
}

Test(ring, small_messages_touch_little)
{
	struct pair p = make_pair(1);

	for (int i = 0; i < 20000; i++) {
		send_some(&p, 1 + pick(&p, 9000));
		drain(&p);
	}
	cr_assert_gt(count(STAT_net_bytes_ring), 1u << 20, "the ring was hardly used");
	cr_assert_leq(p.tx.s->side->touched, 16384, "so that both directions and the header stay within 64 KiB");
}

Test(ring, what_large_messages_took_is_given_back)
{
	struct pair p = make_pair(1);

	for (int i = 0; i < 3; i++) {
		for (int k = 0; k < 3; k++)
			send_some(&p, 300000);
		cr_assert_gt(p.tx.s->side->touched, 1u << 19);
		drain(&p);
		for (int k = 0; k < 3000; k++) {
			send_some(&p, 1 + pick(&p, 3000));
			drain(&p);
		}
		cr_assert_eq(p.tx.s->side->touched, 16384);
		cr_assert_eq(count(STAT_net_ring_pages), 2 * (WIRE_HEADER + 16384));
	}
	cr_assert_geq(count(STAT_net_trims), 3);
}

Test(ring, no_more_is_touched_than_may_be)
{
	settings.net_memory = 300000;
	struct pair p = make_pair(1);

	for (int i = 0; i < 300; i++) {
		send_some(&p, 1 + pick(&p, MOST));
		cr_assert_leq(count(STAT_net_ring_pages), settings.net_memory);
		cr_assert_leq(p.tx.s->side->touched, settings.net_memory);
		if (i % 3)
			drain(&p);
	}
	cr_assert_gt(count(FALLBACK_MEMORY_CAP), 0);
	cr_assert_gt(count(STAT_net_bytes_ring), 1u << 20);
	stream_destroy(p.tx.s);
	stream_destroy(p.rx.s);
	cr_assert_eq(count(STAT_net_ring_pages), 0);
}

/* A process whose threads meet several peers at once has been let through by each look at what is left. */
Test(ring, no_more_streams_than_fit)
{
	struct wire_map *m = shared_memory();
	struct stream *first, *second;

	settings.net_memory = 2 * SHM_LEAST - 1;
	cr_assert_eq(shm_create(&first, m, WIRE_HEADER + 2 * RING, 0), 0);
	cr_assert_eq(shm_create(&second, shared_memory(), WIRE_HEADER + 2 * RING, 0), -ENOMEM);
	stream_destroy(first);
	cr_assert_eq(shm_create(&second, shared_memory(), WIRE_HEADER + 2 * RING, 0), 0);
	stream_destroy(second);
	cr_assert_eq(count(STAT_net_ring_pages), 0);
}

#ifdef __x86_64__ /* the registers of a system call */
static void trap(struct sock_filter *rules, unsigned short n, void (*handler)(int, siginfo_t *, void *))
{
	struct sock_fprog filter = { n, rules };
	struct sigaction act = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO };

	cr_assert_eq(sigaction(SIGSYS, &act, NULL), 0);
	cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	cr_assert_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), 0);
}

/* ---- the sender acts in the middle of a peek: when the receiver looks into TCP */

static struct pair *interrupted;

static void act_in_between(int sig, siginfo_t *info, void *context)
{
	greg_t *reg = ((ucontext_t *)context)->uc_mcontext.gregs;
	struct pair *p = interrupted;

	interrupted = NULL;
	if (p)
		send_some(p, 100000);
	reg[REG_RAX] = sys_call(SYS_recvmsg, reg[REG_RDI], reg[REG_RSI], reg[REG_RDX], 1 /* passes the filter */);
}

static void trap_peeks(void)
{
	struct sock_filter rules[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_recvmsg, 0, 5),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, MSG_PEEK, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[3])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};

	trap(rules, sizeof(rules) / sizeof(rules[0]), act_in_between);
}

static size_t unread_in_ring(struct pair *p)
{
	return p->rx.s->in->rw - p->rx.s->in->rr;
}

static void await_arrival(struct pair *p)
{
	int n = 0;

	while ((uint64_t)n != p->tx.s->side->tx - p->rx.s->side->rx) {
		usleep(100);
		cr_assert_eq(ioctl(p->rx.fd, FIONREAD, &n), 0);
	}
}

/* What TCP holds behind the bytes of a segment that was finished meanwhile are doorbells. */
Test(ring, a_peek_shows_no_doorbell)
{
	struct pair p = make_pair(1);
	uint64_t rung = 0;

	trap_peeks();
	for (int i = 0; i < 50; i++) {
		uint64_t overflows = count(STAT_net_overflow);
		while (count(STAT_net_overflow) == overflows)
			send_some(&p, 60000);
		for (size_t n; (n = unread_in_ring(&p)) > 1000;)
			cr_assert_gt(receive_some(&p, n - 1000 < MOST ? n - 1000 : MOST, 0), 0);
		await_arrival(&p);
		rung = count(STAT_net_doorbells);
		interrupted = &p;
		cr_assert_gt(receive_some(&p, MOST, MSG_PEEK), 1000);
		cr_assert_null(interrupted, "the peek did not look into TCP");
		cr_assert_gt(count(STAT_net_doorbells), rung, "the sender stayed in TCP");
		while (receive_what_is_sent(&p, MOST, 0) > 0)
			;
		cr_assert_eq(p.rx.bytes, p.tx.bytes);
	}
}

/* ---- the sender of a block loses patience with a receiver that is stopped while it pulls the block's first bytes */

static char block[100000];

static void take_back(struct pair *p)
{
	uint32_t pulling = BLOCK_PULLING;

	cr_assert(atomic_compare_exchange_strong(&p->tx.s->out->block.state, &pulling, BLOCK_REVOKED));
}

/* As wait_for_decision does; the bytes go on through TCP. */
static void take_block_back(struct pair *p)
{
	take_back(p);
	p->tx.s->side->dead = true;
	send_some(p, sizeof(block));
}

static _Atomic bool taken_back;

/* What it sends instead is some time on its way. */
static void *send_late(void *arg)
{
	while (!taken_back)
		usleep(100);
	usleep(3000);
	send_some(arg, sizeof(block));
	return NULL;
}

static void take_block_back_slowly(struct pair *p)
{
	take_back(p);
	taken_back = true;
}

static void (*interruption)(struct pair *p) = take_block_back;

static void copy_and_revoke(int sig, siginfo_t *info, void *context)
{
	greg_t *reg = ((ucontext_t *)context)->uc_mcontext.gregs;
	struct iovec *to = (void *)reg[REG_RSI], *from = (void *)reg[REG_R10];
	struct pair *p = interrupted;

	memcpy(to->iov_base, from->iov_base, to->iov_len);
	reg[REG_RAX] = (greg_t)to->iov_len;
	interrupted = NULL;
	if (p)
		interruption(p);
}

static void trap_copies(void)
{
	struct sock_filter rules[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_readv, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};

	trap(rules, sizeof(rules) / sizeof(rules[0]), copy_and_revoke);
}

static void offer(struct pair *p)
{
	struct wire_block *b = &p->tx.s->out->block;

	for (size_t i = 0; i < sizeof(block); i++)
		block[i] = byte_at(p->tx.bytes + i);
	b->src = (uintptr_t)block;
	b->len = sizeof(block);
	b->x = p->tx.s->side->rw;
	b->src_pid = p->rx.s->peer_pid = (uint32_t)getpid();
	p->rx.s->cma = CMA_WORKS;
	b->state = BLOCK_OFFERED;
}

/* Offered, and what is done with its copy. */
static struct pair pair_with_offer(void (*what)(struct pair *p))
{
	struct pair p = make_pair(1);

	while (p.tx.s->side->rw < 50000)
		send_some(&p, 3000);
	while (receive_what_is_sent(&p, MOST, 0) > 0)
		;
	cr_assert_eq(p.rx.bytes, p.tx.bytes);
	cr_assert_eq(p.tx.s->side->mode, MODE_RING);
	trap_copies();
	offer(&p);
	interruption = what;
	return p;
}

/* As the sender does, between the last copy and its flag; what it counts as moved is moved. */
static void take_rest_back(struct pair *p)
{
	struct wire_block *b = &p->tx.s->out->block;
	uint32_t going = BLOCK_GO;

	if (!b->flag[0] || b->state != BLOCK_GO)
		interrupted = p; /* the next one */
	else
		b->n = b->chunk;
	cr_assert(!b->flag[0] || atomic_compare_exchange_strong(&b->state, &going, BLOCK_REVOKED));
}

Test(ring, what_was_moved_of_a_revoked_block_counts)
{
	struct pair p = pair_with_offer(take_rest_back);

	interrupted = &p;
	ssize_t n = receive_some(&p, sizeof(block), 0);
	cr_assert_null(interrupted, "one chunk is all of it");
	cr_assert_eq(n, (ssize_t)p.tx.s->out->block.n);
	cr_assert_eq(p.tx.s->out->block.state, BLOCK_IDLE);
	p.tx.bytes += (uint64_t)n;
	send_some(&p, sizeof(block) - (size_t)n);
	while (p.rx.bytes < p.tx.bytes)
		receive_what_is_sent(&p, MOST, 0);
	cr_assert_not(p.rx.s->side->broken);
}

/* The program was told of it: it is not to hear that nothing is there. */
Test(ring, a_revoked_pull_waits_for_what_is_sent_instead)
{
	struct pair p = pair_with_offer(take_block_back_slowly);
	pthread_t sender;

	cr_assert(!pthread_create(&sender, NULL, send_late, &p));
	interrupted = &p;
	cr_assert_gt(receive_some(&p, 1000, MSG_DONTWAIT), 0);
	cr_assert_null(interrupted, "nothing was pulled");
	pthread_join(sender, NULL);
	while (p.rx.bytes < p.tx.bytes)
		receive_what_is_sent(&p, MOST, 0);
	cr_assert_not(p.rx.s->side->broken);
}

/* Then what it has pulled is nobody's: the stream goes on with what the sender sent instead. */
Test(ring, a_revoked_pull_is_not_published)
{
	struct pair p = pair_with_offer(take_block_back);

	interrupted = &p;
	while (receive_what_is_sent(&p, 1000, 0) > 0)
		;
	cr_assert_null(interrupted, "nothing was pulled");
	cr_assert_eq(p.rx.bytes, p.tx.bytes, "%llu bytes missing", (unsigned long long)(p.tx.bytes - p.rx.bytes));
	cr_assert_not(p.rx.s->side->broken);
	shutdown(p.tx.fd, SHUT_WR);
	char c;
	cr_assert_eq(stream_recv(p.rx.s, p.rx.fd, &(struct iovec){ &c, 1 }, 1, (struct stream_opts){ 0 }), 0, "no end");
	cr_assert_eq(p.rx.s->in->rw, p.tx.s->side->rw, "published by its receiver");
}
#endif
