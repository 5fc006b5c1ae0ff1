/* A peer that does the rendezvous rightly and then writes seeded garbage over everything that it
 * shares with its victim; or that gets the rendezvous itself wrong in every way it can.
 *
 *   hostile victim server|client PORT...  the process under attack (preloaded): one connection to an
 *                                         attacker, one to an honest peer
 *   hostile honest PORT                   the honest peer (preloaded): checks every byte
 *   hostile attack ROLE SEED KIND PORT    not preloaded; KIND scribble, hello, memory (a right hello with memory not to
 *                                         be trusted), freeze (claims an offered block and does nothing more, alive),
 *                                         offer (dies with its own in place), chunk (dies in the middle of its own)
 *
 * The victim may lose its connection to the attacker and nothing else: no crash, no hang, and the
 * honest connection goes on unharmed. hostile.py starts the processes and judges. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "calls.h"
#include "handshake.h"
#include "rendezvous.h"

#define ATTACK_MS 400
#define FREEZE_MS 4000
#define PATIENCE_MS 20000 /* with a victim that has a slow machine */
#define ROUNDS 20
#define SHIFT 18

static void die(const char *what)
{
	printf("%s: %s\n", what, strerror(errno));
	exit(3);
}

static long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static struct sockaddr_in loopback(int port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static int listen_any(void)
{
	struct sockaddr_in a = loopback(0);
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (bind(fd, (void *)&a, len) || listen(fd, 16) || getsockname(fd, (void *)&a, &len))
		die("listen");
	printf("%d\n", ntohs(a.sin_port));
	fflush(stdout);
	return fd;
}

static int connect_port(int port)
{
	struct sockaddr_in a = loopback(port);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (connect(fd, (void *)&a, sizeof(a)))
		die("connect");
	return fd;
}

/* ---- the victim */

static atomic_int honest_rounds;

static int all(int fd, char *buf, size_t n, int sends)
{
	for (size_t done = 0; done < n;) {
		ssize_t r = sends ? send(fd, buf + done, n - done, MSG_NOSIGNAL) :
			recv(fd, buf + done, n - done, 0);

		if (r <= 0)
			return -1;
		done += r;
	}
	return 0;
}

/* Echoes messages of four sizes for as long as the honest peer sends them. */
static void *serve_honest(void *arg)
{
	int fd = *(int *)arg;
	static char buf[400000];
	uint32_t n;

	while (!all(fd, (char *)&n, sizeof(n), 0) && n <= sizeof(buf)) {
		if (all(fd, buf, n, 0) || all(fd, buf, n, 1))
			break;
		atomic_fetch_add(&honest_rounds, 1);
	}
	close(fd);
	return NULL;
}

static void use_attacked(int fd, struct rng *r, char *buf, size_t size)
{
	struct pollfd p = { fd, POLLIN | POLLOUT, 0 };
	size_t n = 1 + rng_below(r, rng_below(r, 4) ? 5000 : size - 1);
	int left;

	switch (rng_below(r, 7)) {
	case 0:
		poll(&p, 1, 2);
		break;
	case 1:
		recv(fd, buf, n, MSG_DONTWAIT | MSG_PEEK);
		break;
	case 2:
		ioctl(fd, FIONREAD, &left);
		break;
	case 3:
	case 4:
		send(fd, buf, n, MSG_NOSIGNAL | MSG_DONTWAIT);
		break;
	default:
		recv(fd, buf, n, rng_below(r, 3) ? MSG_DONTWAIT : 0);
	}
}

/* Until the connection is over. Blocking calls have a time-out: the attacker owes nobody an answer. */
static void *serve_attacker(void *arg)
{
	int fd = *(int *)arg;
	struct timeval tv = { 0, 20000 };
	struct rng r = { 1 };
	size_t size = 1 << 20;
	char *buf = malloc(size);
	struct pollfd p = { fd, POLLIN, 0 };
	long last = now_ms(), longest = 0;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	for (;;) {
		use_attacked(fd, &r, buf, size);
		longest = now_ms() - last > longest ? now_ms() - last : longest;
		last = now_ms();
		if (poll(&p, 1, 0) == 1 && (p.revents & (POLLHUP | POLLERR | POLLNVAL)))
			break;
		if (recv(fd, buf, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
			break;
	}
	/* What is left can be read to its end. */
	for (int i = 0; i < 100000 && recv(fd, buf, size, MSG_DONTWAIT) > 0; i++)
		;
	close(fd);
	free(buf);
	/* Each call has a time-out of 20 ms, or does not wait. */
	if (longest > FREEZE_MS / 2)
		printf("victim: a call took %ld ms\n", longest);
	return NULL;
}

/* The first byte says who it is. */
static int take_connection(int listener, int fds[2])
{
	int fd = accept(listener, NULL, NULL);
	char who;

	if (fd < 0 || recv(fd, &who, 1, 0) != 1)
		die("accept");
	fds[who == 'X'] = fd;
	return 0;
}

static int run_victim(int argc, char **argv)
{
	int fds[2] = { -1, -1 };
	pthread_t t[2];

	if (!strcmp(argv[2], "server")) {
		int listener = listen_any();

		while (fds[0] < 0 || fds[1] < 0)
			take_connection(listener, fds);
	} else {
		fds[0] = connect_port(atoi(argv[3]));
		fds[1] = connect_port(atoi(argv[4]));
	}
	pthread_create(&t[0], NULL, serve_honest, &fds[0]);
	pthread_create(&t[1], NULL, serve_attacker, &fds[1]);
	pthread_join(t[1], NULL);
	pthread_join(t[0], NULL);
	printf("victim: ended well, honest rounds %s\n", atomic_load(&honest_rounds) >= ROUNDS ? "many" : "few");
	return 0;
}

/* ---- the honest peer: goes on until its stdin ends, and for ROUNDS messages however busy the machine */

static int stdin_open(void)
{
	struct pollfd p = { 0, POLLIN, 0 };

	return poll(&p, 1, 0) == 0;
}

static int run_honest(const char *port)
{
	static const uint32_t sizes[] = { 10, 3000, 70000, 64, 400000, 64, 64, 20 };
	static char out[400004], in[400000];
	int fd, listener;
	uint64_t at = 0;

	if (atoi(port)) {
		fd = connect_port(atoi(port));
		send(fd, "H", 1, 0);
	} else {
		listener = listen_any();
		fd = accept(listener, NULL, NULL);
	}
	for (int i = 0; i < ROUNDS || stdin_open(); i++) {
		uint32_t n = sizes[i % 8];

		memcpy(out, &n, 4);
		pattern_fill(out + 4, n, 5, at);
		if (all(fd, out, n + 4, 1) || all(fd, in, n, 0) || pattern_check(in, n, 5, at) >= 0)
			die("the honest connection was harmed");
		at += n;
	}
	printf("honest: unharmed\n");
	close(fd);
	return 0;
}

/* ---- the attacker */

struct attacker {
	int fd, role;
	struct tuple tuple;
	struct wire_map *map;
	size_t bytes;
	struct rng rng;
	pid_t victim;
	uint64_t received, sent; /* through TCP, doorbells included */
};

static bool put_some(struct attacker *a, const void *p, size_t n)
{
	ssize_t k = send(a->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);

	a->sent += k > 0 ? k : 0;
	return k > 0;
}

static uint32_t pick(struct attacker *a, uint32_t n)
{
	return rng_below(&a->rng, n);
}

static uint64_t inode(const char *path)
{
	struct stat st;

	return stat(path, &st) ? 0 : st.st_ino;
}

static struct wire_hello make_hello(struct attacker *a)
{
	struct wire_hello h = { .magic = WIRE_MAGIC, .version_min = WIRE_VERSION_MIN,
		.version_max = WIRE_VERSION_MAX, .size = sizeof(h), .ring_shift = SHIFT,
		.connect_port = a->tuple.connect_port, .accept_port = a->tuple.accept_port,
		.pid = getpid(), .uid = geteuid(), .net_ns = inode("/proc/self/ns/net"),
		.pid_ns = inode("/proc/self/ns/pid"), .nonce = 1 };
	boot_id_read(h.boot_id);
	memcpy(h.connect_addr, a->tuple.connect_addr, 16);
	memcpy(h.accept_addr, a->tuple.accept_addr, 16);
	return h;
}

/* Of memory as it has to be. */
static const size_t RIGHT_BYTES = WIRE_HEADER + ((size_t)2 << SHIFT);
enum { RIGHT_SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW };

static int make_memory(struct attacker *a, size_t bytes, int seals)
{
	int fd = memfd_create("dlaccel", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, bytes) || (seals && fcntl(fd, F_ADD_SEALS, seals)))
		die("memfd");
	a->bytes = bytes;
	a->map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return fd;
}

static void fill_memory(struct attacker *a)
{
	a->map->magic = WIRE_MAGIC;
	a->map->version = WIRE_VERSION_MAX;
	a->map->ring_shift = SHIFT;
	for (int i = 0; i < 2; i++) {
		a->map->dir[i].seg[0].b = SEG_OPEN;
		a->map->dir[i].segw = 1;
	}
}

static int send_hello(int fd, const void *msg, size_t n, const int *fds, int nfds)
{
	char space[CMSG_SPACE(8 * sizeof(int))] = { 0 };
	struct iovec iov = { (void *)msg, n };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c = (struct cmsghdr *)space;

	if (nfds) {
		m.msg_control = space;
		m.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		*c = (struct cmsghdr){ CMSG_LEN(nfds * sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
		memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
	}
	return sendmsg(fd, &m, MSG_NOSIGNAL);
}

/* The victim opened the rendezvous if it connects; it does so when its program uses the socket. */
static int call_victim(struct attacker *a)
{
	struct sockaddr_un un;
	socklen_t len = rendezvous_name(a->fd, a->role, &un);
	long end = now_ms() + PATIENCE_MS;
	char junk[64];

	while (now_ms() < end) {
		int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

		if (!connect(fd, (void *)&un, len))
			return fd;
		close(fd);
		put_some(a, "abcdefghijklmnop", 16);
		recv(a->fd, junk, sizeof(junk), MSG_DONTWAIT);
		usleep(500);
	}
	return -1;
}

static void introduce(struct attacker *a)
{
	struct wire_hello h = make_hello(a);
	int fd = call_victim(a), memfd;

	if (fd < 0) {
		printf("attacker: nobody answers\n");
		exit(4);
	}
	memfd = make_memory(a, RIGHT_BYTES, RIGHT_SEALS);
	fill_memory(a);
	send_hello(fd, &h, sizeof(h), &memfd, 1);
	atomic_store(&a->map->joined[1], 1);
	close(memfd);
	close(fd);
}

static int squat(struct attacker *a)
{
	struct sockaddr_un un;
	socklen_t len = rendezvous_name(a->fd, a->role, &un);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (bind(fd, (void *)&un, len) || listen(fd, 4))
		die("squat");
	return fd;
}

/* Traffic, until the victim calls. */
static int await_call(struct attacker *a, int listener)
{
	long end = now_ms() + PATIENCE_MS;
	char junk[64];

	while (now_ms() < end) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd >= 0)
			return fd;
		put_some(a, "abcdefghijklmnop", 16);
		recv(a->fd, junk, sizeof(junk), MSG_DONTWAIT);
		usleep(500);
	}
	printf("attacker: nobody calls\n");
	exit(4);
}

static void take_call(struct attacker *a, int listener)
{
	char space[CMSG_SPACE(sizeof(int))];
	struct wire_hello h;
	struct iovec iov = { &h, sizeof(h) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = space,
		.msg_controllen = sizeof(space) };
	int fd = await_call(a, listener), memfd;

	if (recvmsg(fd, &m, 0) != sizeof(h) || !CMSG_FIRSTHDR(&m))
		die("hello");
	memcpy(&memfd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(memfd));
	a->bytes = WIRE_HEADER + ((size_t)2 << h.ring_shift);
	a->map = mmap(NULL, a->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	a->victim = h.pid;
	a->map->agreed = WIRE_VERSION_MAX;
	atomic_store(&a->map->joined[0], 1);
	close(memfd);
	close(fd);
}

static uint64_t nasty_value(struct attacker *a, uint64_t now)
{
	switch (pick(a, 9)) {
	case 0:
		return 0;
	case 1:
		return UINT64_MAX - pick(a, 3);
	case 2:
		return now + 1 + pick(a, 100);
	case 3:
		return now - 1 - pick(a, 100);
	case 4:
		return now + (1u << SHIFT) - 2 + pick(a, 4);
	case 5:
		return UINT64_C(1) << pick(a, 64);
	case 6:
		return now + (1u << pick(a, 31));
	case 7:
		return pick(a, 5);
	}
	return rng_next(&a->rng);
}

/* One of the fields whose wrong value is the most interesting. */
static void scribble_field(struct attacker *a)
{
	struct wire_dir *d = &a->map->dir[pick(a, 2)];
	struct wire_seg *g = &d->seg[pick(a, 4) ? pick(a, 3) : pick(a, WIRE_SEGMENTS)];
	struct wire_block *b = &d->block;
	_Atomic uint64_t *const wide[] = { &d->rw, &d->tx, &d->origin, &d->rr, &d->rx, &g->x, &g->a, &g->b,
		&b->src, &b->len, &b->x, &b->dst, &b->n };
	_Atomic uint32_t *const narrow[] = { &d->segw, &d->segr, &d->counted, &d->edge, &d->spinner,
		&d->want_inline, &d->cpu, &d->token, &d->want_switch, &b->state, &b->src_pid,
		&b->dst_pid, &b->chunk, &b->chunks, &b->next, &b->done };

	if (pick(a, 2)) {
		_Atomic uint64_t *p = wide[pick(a, sizeof(wide) / sizeof(*wide))];

		atomic_store(p, nasty_value(a, atomic_load(p)));
	} else {
		_Atomic uint32_t *p = narrow[pick(a, sizeof(narrow) / sizeof(*narrow))];

		atomic_store(p, nasty_value(a, atomic_load(p)));
	}
}

/* A block offered with addresses of all kinds, right in what the victim checks first. */
static void offer_nonsense(struct attacker *a)
{
	struct wire_dir *d = &a->map->dir[a->role];
	struct wire_block *b = &d->block;

	atomic_store(&b->src, pick(a, 2) ? (uint64_t)(uintptr_t)a : rng_next(&a->rng));
	atomic_store(&b->len, nasty_value(a, 300000));
	atomic_store(&b->x, atomic_load(&d->rw));
	atomic_store(&b->src_pid, pick(a, 3) ? (uint32_t)getpid() : (uint32_t)a->victim);
	atomic_store(&b->state, BLOCK_OFFERED);
}

static void scribble(struct attacker *a)
{
	char junk[5000];
	uint32_t what = pick(a, 20);
	_Atomic uint64_t *word = (_Atomic uint64_t *)a->map + pick(a, WIRE_HEADER / 8);

	if (what < 10)
		scribble_field(a);
	else if (what < 11)
		atomic_store(word, nasty_value(a, atomic_load(word)));
	else if (what < 13)
		offer_nonsense(a);
	else if (what < 16)
		put_some(a, junk, 1 + pick(a, what == 13 ? sizeof(junk) : 3));
	else if (what < 18)
		recv(a->fd, junk, sizeof(junk), MSG_DONTWAIT);
	else
		usleep(pick(a, 500));
}

/* Everything that the victim has sent, as a legal receiver would take it. */
static void take_all(struct attacker *a)
{
	static char junk[1 << 18];
	struct wire_dir *d = &a->map->dir[!a->role];
	ssize_t n;

	while ((n = recv(a->fd, junk, sizeof(junk), MSG_DONTWAIT)) > 0)
		a->received += n;
	atomic_store(&d->rx, a->received);
	atomic_store(&d->rr, atomic_load(&d->rw));
	atomic_store(&d->segr, atomic_load(&d->segw) - 1);
	atomic_store(&d->token, 0);
	atomic_store(&d->spinner, 4);
}

static void plain_traffic(struct attacker *a)
{
	char junk[5000] = { 0 };

	put_some(a, junk, 1 + pick(a, sizeof(junk) - 1));
	recv(a->fd, junk, sizeof(junk), MSG_DONTWAIT);
	usleep(300);
}

/* The fields that a legal peer would have set by now, so that the victim really uses the memory. */
static void look_legal(struct attacker *a)
{
	static uint64_t probe[2] = { 4711 };
	struct wire_probe *p = &a->map->probe[a->role];

	atomic_store(&p->nonce, probe[0]);
	atomic_store(&p->pid, getpid());
	atomic_store(&p->result, CMA_WORKS);
	atomic_store(&p->address, (uint64_t)(uintptr_t)probe);
	atomic_store(&a->map->dir[!a->role].counted, 1);
	for (int i = 0; i < 40; i++) {
		char junk[3000] = { 0 };

		put_some(a, junk, sizeof(junk));
		recv(a->fd, junk, sizeof(junk), MSG_DONTWAIT);
		usleep(300);
	}
}

static void join_victim(struct attacker *a)
{
	if (a->role)
		introduce(a);
	else
		take_call(a, squat(a));
	look_legal(a);
}

/* Claims the first block that the victim offers, and lets it wait. */
static void attack_by_silence(struct attacker *a)
{
	struct wire_block *b;
	long end = now_ms() + 30000;

	join_victim(a);
	b = &a->map->dir[!a->role].block;
	while (now_ms() < end) {
		uint32_t st = BLOCK_OFFERED;

		if (!atomic_compare_exchange_strong(&b->state, &st, BLOCK_CLAIMED)) {
			take_all(a);
			usleep(50);
			continue;
		}
		if (pick(a, 2)) {
			atomic_store(&b->n, 40960);
			atomic_store(&b->chunk, 4096);
			atomic_store(&b->chunks, 10);
			atomic_store(&b->state, BLOCK_GO);
		}
		usleep(FREEZE_MS * 1000);
		return;
	}
	printf("attacker: no block was offered\n");
}

/* The victim has taken all inline bytes, and nothing but doorbells comes.  A liar says that the last so many were none. */
static void turn_to_ring(struct attacker *a, uint64_t lie)
{
	struct wire_dir *d = &a->map->dir[a->role];
	struct wire_seg *g = &d->seg[(atomic_load(&d->segw) - 1) % WIRE_SEGMENTS];
	uint64_t open = SEG_OPEN;
	long end = now_ms() + PATIENCE_MS;

	while (atomic_load(&d->rx) != a->sent && now_ms() < end)
		usleep(500);
	if (atomic_load(&d->rx) != a->sent)
		printf("attacker: the victim has %lu of %lu bytes\n", atomic_load(&d->rx), a->sent);
	atomic_store(&d->tx, a->sent);
	while (!atomic_compare_exchange_strong(&g->b, &open, a->sent - lie))
		open = SEG_OPEN;
}

static struct wire_block *offer(struct attacker *a, uint64_t src, uint64_t len)
{
	struct wire_dir *d = &a->map->dir[a->role];
	struct wire_block *b = &d->block;

	atomic_store(&b->src, src);
	atomic_store(&b->len, len);
	atomic_store(&b->x, atomic_load(&d->rw));
	atomic_store(&b->src_pid, getpid());
	atomic_store(&b->state, BLOCK_OFFERED);
	if (put_some(a, "", 1))
		atomic_fetch_add(&d->tx, 1);
	return b;
}

/* What became of the block: the victim copies it, has done so, has put its first bytes into the ring, or leaves it. */
static uint32_t await_decision(struct wire_block *b, long end)
{
	uint32_t st;

	do
		st = atomic_load(&b->state);
	while ((st == BLOCK_OFFERED || st == BLOCK_CLAIMED || st == BLOCK_PULLING) && now_ms() < end);
	return st;
}

/* Offers a block that is not there, and dies with the offer in place, or after the victim has looked at it. */
static void attack_by_offer(struct attacker *a)
{
	struct wire_block *b;

	join_victim(a);
	turn_to_ring(a, pick(a, 2) * 3000);
	b = offer(a, 16, 300000);
	if (pick(a, 3) && await_decision(b, now_ms() + PATIENCE_MS) == BLOCK_OFFERED)
		printf("attacker: nobody looked at the offer\n");
}

/* Takes one of the chunks of a block that the victim copies too, and dies with it. */
static void attack_by_chunk(struct attacker *a)
{
	size_t len = 8 << 20;
	char *block = calloc(1, len);
	long end = now_ms() + PATIENCE_MS;

	join_victim(a);
	turn_to_ring(a, 0);
	while (now_ms() < end) {
		struct wire_block *b = offer(a, (uintptr_t)block, len);
		uint32_t st = await_decision(b, end);
		if (st == BLOCK_GO && atomic_fetch_add(&b->next, 1) < atomic_load(&b->chunks))
			return;
		if (st == BLOCK_PULLED)
			atomic_fetch_add(&a->map->dir[a->role].rw, atomic_load(&b->n));
	}
	printf("attacker: no chunk was left\n");
}

static void attack_memory(struct attacker *a)
{
	long end;

	join_victim(a);
	end = now_ms() + ATTACK_MS;
	while (now_ms() < end)
		for (int i = 0; i < 20; i++)
			scribble(a);
}

/* ---- wrong rendezvous messages */

static int no_memory(bool pipes)
{
	int p[2];

	return !pipes ? open("/dev/null", O_RDWR) : pipe(p) ? -1 : p[0];
}

static int wrong_fd(struct attacker *a)
{
	switch (pick(a, 6)) {
	case 0:
	case 1:
		return no_memory(pick(a, 2));
	case 2:
		return make_memory(a, RIGHT_BYTES, 0);
	case 3:
		return make_memory(a, RIGHT_BYTES - 4096 * pick(a, 20), RIGHT_SEALS);
	case 4:
		return make_memory(a, pick(a, 5000), RIGHT_SEALS | F_SEAL_FUTURE_WRITE);
	}
	return make_memory(a, RIGHT_BYTES, RIGHT_SEALS);
}

static void say_hello_wrongly(struct attacker *a, int fd)
{
	struct wire_hello h = make_hello(a);
	unsigned char msg[sizeof(h) + 300] = { 0 };
	size_t n = pick(a, 3) ? sizeof(h) : pick(a, sizeof(msg));
	int fds[8], nfds = pick(a, 4) ? 1 : pick(a, 8);

	memcpy(msg, &h, sizeof(h));
	for (uint32_t i = pick(a, 4); i; i--)
		msg[pick(a, sizeof(h))] = rng_next(&a->rng);
	if (!pick(a, 4))
		memcpy(msg + offsetof(struct wire_hello, ring_shift), &(uint32_t){ pick(a, 70) }, 4);
	for (int i = 0; i < nfds; i++) {
		fds[i] = wrong_fd(a);
		if (a->bytes >= sizeof(struct wire_map) && a->map != MAP_FAILED && pick(a, 2))
			fill_memory(a);
	}
	send_hello(fd, msg, n, fds, nfds);
	for (int i = 0; i < nfds; i++)
		close(fds[i]);
}

/* A hello without fault, with memory that would kill who trusts it, or is none of ours. */
static int untrusted_memory(struct attacker *a, int which)
{
	if (which < 2)
		return no_memory(which);
	size_t bytes = which == 3 ? RIGHT_BYTES - 4096 : which == 4 ? RIGHT_BYTES + 4096 : RIGHT_BYTES;
	int fd = make_memory(a, bytes, which == 2 ? F_SEAL_GROW : RIGHT_SEALS);
	fill_memory(a);
	if (which == 5)
		a->map->magic++;
	if (which == 6)
		a->map->ring_shift++;
	if (which == 7)
		a->map->version = WIRE_VERSION_MIN - 1;
	return fd;
}

static void attack_by_memory(struct attacker *a, int which)
{
	struct wire_hello h = make_hello(a);
	long end = now_ms() + ATTACK_MS;
	int fd = call_victim(a), memfd = untrusted_memory(a, which);

	if (fd < 0 || memfd < 0)
		die("no call, or no memory");
	send_hello(fd, &h, sizeof(h), &memfd, 1);
	close(memfd);
	close(fd);
	while (now_ms() < end)
		plain_traffic(a);
}

/* The victim calls us: silence, hanging up, or nonsense instead of an answer. */
static void answer_wrongly(struct attacker *a, int listener)
{
	int fd = await_call(a, listener);

	if (pick(a, 2))
		send(fd, "nonsense", 8, MSG_NOSIGNAL);
	if (pick(a, 2))
		usleep(20000);
	close(fd);
}

static void attack_rendezvous(struct attacker *a)
{
	long end = now_ms() + ATTACK_MS;
	int listener = a->role ? -1 : squat(a);

	while (now_ms() < end) {
		if (!a->role) {
			if (listener >= 0)
				answer_wrongly(a, listener);
			close(listener);
			listener = -1;
			plain_traffic(a);
			continue;
		}
		int fd = call_victim(a);

		if (fd < 0)
			return;
		say_hello_wrongly(a, fd);
		if (pick(a, 3))
			close(fd);
		a->bytes = 0;
	}
}

static int run_attack(char **argv)
{
	struct attacker a = { .role = !strcmp(argv[2], "accept"), .rng = { mix64(atoi(argv[3])) } };

	if (a.role) {
		a.fd = accept(listen_any(), NULL, NULL);
	} else {
		a.fd = connect_port(atoi(argv[5]));
		a.sent += send(a.fd, "X", 1, 0);
	}
	tuple_read(a.fd, a.role, &a.tuple);
	if (!strcmp(argv[4], "scribble"))
		attack_memory(&a);
	else if (!strcmp(argv[4], "freeze"))
		attack_by_silence(&a);
	else if (!strcmp(argv[4], "offer"))
		attack_by_offer(&a);
	else if (!strcmp(argv[4], "chunk"))
		attack_by_chunk(&a);
	else if (!strcmp(argv[4], "memory"))
		attack_by_memory(&a, atoi(argv[3]) % 8);
	else
		attack_rendezvous(&a);
	printf("attacker: done\n");
	fflush(stdout);
	raise(SIGKILL);
	return 0;
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc > 2 && !strcmp(argv[1], "victim"))
		return run_victim(argc, argv);
	if (argc > 2 && !strcmp(argv[1], "honest"))
		return run_honest(argv[2]);
	if (argc > 5 && !strcmp(argv[1], "attack"))
		return run_attack(argv);
	return 2;
}
