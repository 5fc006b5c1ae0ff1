#include "handshake.h"

#include "clock.h"
#include "fdtable.h"
#include "log.h"
#include "process.h"
#include "settings.h"
#include "shm.h"
#include "stats.h"
#include "sys.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/un.h>

#ifndef F_ADD_SEALS
#define F_ADD_SEALS 1033
#define F_GET_SEALS 1034
#endif
#define SEAL_SEAL 1
#define SEAL_SHRINK 2
#define SEAL_GROW 4
#define SEALS (SEAL_SEAL | SEAL_SHRINK | SEAL_GROW)

enum { RING_SHIFT_MIN = 16, RING_SHIFT_MAX = 30 };

union address {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

static int normalise(const union address *a, uint8_t *ret_addr, uint16_t *ret_port, uint32_t *ret_scope)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	if (a->any.sa_family == AF_INET) {
		memcpy(ret_addr, mapped, 12);
		memcpy(ret_addr + 12, &a->in.sin_addr, 4);
		*ret_port = a->in.sin_port;
		return 0;
	}
	if (a->any.sa_family != AF_INET6)
		return -EINVAL;
	memcpy(ret_addr, &a->in6.sin6_addr, 16);
	*ret_port = a->in6.sin6_port;
	if (a->in6.sin6_scope_id)
		*ret_scope = a->in6.sin6_scope_id;
	return 0;
}

static int address_of(int fd, long call, uint8_t *ret_addr, uint16_t *ret_port, uint32_t *ret_scope)
{
	union address a = { 0 };
	socklen_t len = sizeof(a);
	long r = sys_call(call, fd, &a, &len);

	return r ? (int)r : normalise(&a, ret_addr, ret_port, ret_scope);
}

int tuple_of(int fd, int role, struct tuple *ret_tuple)
{
	struct tuple t = { 0 };
	int r = address_of(fd, role ? SYS_getpeername : SYS_getsockname, t.connect_addr, &t.connect_port, &t.scope);

	if (!r)
		r = address_of(fd, role ? SYS_getsockname : SYS_getpeername, t.accept_addr, &t.accept_port, &t.scope);
	if (r)
		return r;
	if (t.connect_port == t.accept_port && !memcmp(t.connect_addr, t.accept_addr, 16))
		return -EINVAL;
	*ret_tuple = t;
	return 0;
}

static char *put_hex(char *p, const void *bytes, size_t n)
{
	static const char digits[] = "0123456789abcdef";

	for (const uint8_t *b = bytes; n--; b++) {
		*p++ = digits[*b >> 4];
		*p++ = digits[*b & 15];
	}
	return p;
}

void boot_id(uint8_t *ret_id)
{
	char text[40] = "";
	long fd = sys_call(SYS_openat, AT_FDCWD, "/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	sys_call(SYS_read, fd, text, sizeof(text) - 1);
	sys_call(SYS_close, fd);
	unsigned digit = 0;
	for (char *p = text; *p && digit < 32; p++) {
		unsigned v = *p >= '0' && *p <= '9' ? (unsigned)(*p - '0') : (unsigned)(*p - 'a' + 10);
		if (*p == '-' || v > 15)
			continue;
		ret_id[digit / 2] = (uint8_t)(ret_id[digit / 2] << 4 | v);
		digit++;
	}
}

/*
 * Which boot is part of the name: on machines whose programs share a network namespace and yet are of
 * different hosts (a simulation), ends must not take each other for neighbours.
 */
static socklen_t name_of(const struct tuple *t, struct sockaddr_un *ret_addr)
{
	static const char prefix[] = "dlaccel.";
	uint8_t boot[16] = { 0 };

	memset(ret_addr, 0, sizeof(*ret_addr));
	ret_addr->sun_family = AF_UNIX;
	memcpy(ret_addr->sun_path + 1, prefix, sizeof(prefix) - 1);
	char *p = put_hex(ret_addr->sun_path + sizeof(prefix), t, TUPLE_BYTES);
	boot_id(boot);
	p = put_hex(p, boot, 8);
	return (socklen_t)(p - (char *)ret_addr);
}

static uint64_t namespace_inode(const char *path)
{
	struct stat st;

	return stat(path, &st) ? 0 : st.st_ino;
}

/* What both ends must agree on besides the connection itself. */
static void fill_hello(struct wire_hello *h, const struct tuple *t, uint32_t ring_shift)
{
	*h = (struct wire_hello){
		.magic = WIRE_MAGIC,
		.version_min = WIRE_VERSION_MIN,
		.version_max = WIRE_VERSION_MAX,
		.size = sizeof(*h),
		.ring_shift = ring_shift,
		.connect_port = t->connect_port,
		.accept_port = t->accept_port,
		.pid = (uint32_t)process_id,
		.uid = (uint32_t)sys_call(SYS_geteuid),
		.net_ns = namespace_inode("/proc/self/ns/net"),
		.pid_ns = namespace_inode("/proc/self/ns/pid"),
		.nonce = clock_ticks(),
	};
	memcpy(h->connect_addr, t->connect_addr, 16);
	memcpy(h->accept_addr, t->accept_addr, 16);
	boot_id(h->boot_id);
}

/* A name already taken is somebody else's doing: no two live connections share a tuple. */
int rendezvous_open(const struct tuple *t, struct rendezvous *ret)
{
	struct sockaddr_un name;
	socklen_t len = name_of(t, &name);
	long fd = sys_call(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd >= 0)
		fd = fd_hide((int)fd);
	if (fd < 0) {
		fallback(FALLBACK_NO_FD);
		return -EMFILE;
	}
	long r = sys_call(SYS_bind, fd, &name, len);
	if (!r)
		r = sys_call(SYS_listen, fd, 4);
	if (r) {
		fd_close_hidden((int)fd);
		if (r == -EADDRINUSE)
			fallback(FALLBACK_SQUATTED);
		return -EPERM;
	}
	*ret = (struct rendezvous){ .listener = (int)fd, .call = -1 };
	return 0;
}

void rendezvous_close(struct rendezvous *r)
{
	fd_close_hidden(r->listener);
	fd_close_hidden(r->call);
	*r = (struct rendezvous){ -1, -1 };
}

static bool uid_listed(uint32_t uid)
{
	const char *p = settings.peer_uids;

	while (p && *p) {
		char *end;
		unsigned long v = strtoul(p, &end, 10);
		if (end == p)
			return false;
		if (v == uid)
			return true;
		p = *end == ',' ? end + 1 : end;
	}
	return false;
}

/* Who is really at the other end, by the kernel's word. */
static int check_peer(int fd, uint32_t *ret_pid)
{
	struct ucred cred = { 0 };
	socklen_t len = sizeof(cred);

	if (sys_call(SYS_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) || len != sizeof(cred))
		return -EPERM;
	if (cred.uid != (uint32_t)sys_call(SYS_geteuid) && !uid_listed(cred.uid)) {
		fallback(FALLBACK_FOREIGN_UID);
		return -EPERM;
	}
	if (!cred.pid) { /* not visible from our pid namespace */
		fallback(FALLBACK_FOREIGN_NS);
		return -EPERM;
	}
	*ret_pid = (uint32_t)cred.pid;
	return 0;
}

static uint32_t ring_shift(void)
{
	uint32_t shift = RING_SHIFT_MIN;

	while (shift < RING_SHIFT_MAX && (UINT64_C(1) << shift) < settings.net_ring)
		shift++;
	return shift;
}

static size_t map_size(uint32_t shift)
{
	return WIRE_HEADER + ((size_t)2 << shift);
}

static int create_memory(uint32_t shift, int *ret_fd, struct wire_map **ret_map)
{
	size_t bytes = map_size(shift);
	long fd = sys_file_may_reach(bytes) ? sys_call(SYS_memfd_create, "dlaccel", MFD_CLOEXEC | MFD_ALLOW_SEALING) : -EFBIG;

	if (fd < 0)
		goto err;
	if (sys_call(SYS_ftruncate, fd, bytes) || sys_call(SYS_fcntl, fd, F_ADD_SEALS, SEALS))
		goto err_close;
	struct wire_map *m = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, (int)fd, 0);
	if (m == MAP_FAILED)
		goto err_close;
	long r = sys_call(SYS_madvise, m, WIRE_HEADER, 23 /* MADV_POPULATE_WRITE */);
	if (r && r != -EINVAL)
		goto err_unmap;
	m->magic = WIRE_MAGIC;
	m->version = WIRE_VERSION_MAX;
	m->ring_shift = shift;
	for (int i = 0; i < 2; i++) {
		m->dir[i].seg[0].b = SEG_OPEN;
		m->dir[i].segw = 1;
		m->dir[i].cold_from = m->dir[i].cold_end = UINT64_MAX;
	}
	*ret_fd = (int)fd;
	*ret_map = m;
	return 0;
err_unmap:
	munmap(m, bytes);
err_close:
	sys_call(SYS_close, fd);
err:
	fallback(FALLBACK_NO_MEMFD);
	return -ENOMEM;
}

/* Memory that cannot shrink under us, of the size that was said. */
static int map_memory(int fd, uint32_t shift, struct wire_map **ret_map)
{
	size_t bytes = map_size(shift);
	struct stat st;
	struct wire_map *m = MAP_FAILED;

	if (!fstat(fd, &st) && S_ISREG(st.st_mode) && (size_t)st.st_size == bytes &&
	    (sys_call(SYS_fcntl, fd, F_GET_SEALS) & SEALS) == SEALS)
		m = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (m == MAP_FAILED) {
		fallback(FALLBACK_BAD_MEMORY);
		return -EPERM;
	}
	if (m->magic != WIRE_MAGIC || m->ring_shift != shift || m->version < WIRE_VERSION_MIN) {
		munmap(m, bytes);
		fallback(FALLBACK_BAD_MEMORY);
		return -EPERM;
	}
	*ret_map = m;
	return 0;
}

static int make_stream(struct wire_map *map, uint32_t shift, int role, uint32_t peer_pid, struct stream **ret_stream)
{
	struct stream *s;
	int r = shm_create(&s, map, map_size(shift), role);

	if (r) {
		munmap(map, map_size(shift));
		return r;
	}
	s->peer_pid = peer_pid;
	s->self = peer_pid == (uint32_t)process_id;
	if (!role)
		store_rlx(map->agreed, map->version < WIRE_VERSION_MAX ? map->version : WIRE_VERSION_MAX);
	store_rel(map->joined[role], 1);
	*ret_stream = s;
	return 0;
}

static int send_hello(int fd, const struct wire_hello *h, int memfd)
{
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	struct iovec iov = { (void *)h, sizeof(*h) };
	struct msghdr m = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &memfd, sizeof(int));
	return sys_call(SYS_sendmsg, fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) == (long)sizeof(*h) ? 0 : -EPERM;
}

static int introduce(int fd, const struct tuple *t, struct stream **ret_stream)
{
	uint32_t pid, shift = ring_shift();
	struct wire_hello h;
	struct wire_map *map;
	int memfd, r = check_peer(fd, &pid);

	if (r)
		return r;
	r = create_memory(shift, &memfd, &map);
	if (r)
		return r;
	fill_hello(&h, t, shift);
	r = send_hello(fd, &h, memfd);
	sys_call(SYS_close, memfd);
	if (r) {
		munmap(map, map_size(shift));
		return -EAGAIN;
	}
	return make_stream(map, shift, 1, pid, ret_stream);
}

int rendezvous_call(const struct tuple *t, struct stream **ret_stream)
{
	struct sockaddr_un name;
	socklen_t len = name_of(t, &name);
	long fd = sys_call(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0) {
		fallback(FALLBACK_NO_FD);
		return -EMFILE;
	}
	long r = sys_call(SYS_connect, fd, &name, len);
	if (r)
		r = r == -EAGAIN ? -EAGAIN : -ENOENT;
	else
		r = introduce((int)fd, t, ret_stream);
	sys_call(SYS_close, fd);
	return (int)r;
}

/* The first descriptor that came along; all others are closed.  -1: none. */
static int take_fds(struct msghdr *m)
{
	int kept = -1;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		int n = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		for (int i = 0; i < n; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + (size_t)i * sizeof(int), sizeof(int));
			if (kept < 0)
				kept = fd;
			else
				sys_call(SYS_close, fd);
		}
	}
	return kept;
}

static int receive_hello(int fd, struct wire_hello *ret_hello, int *ret_memfd)
{
	union {
		char room[CMSG_SPACE(4 * sizeof(int))];
		struct cmsghdr align;
	} control;
	char later[256]; /* what a newer version may have added */
	struct iovec iov[2] = { { ret_hello, sizeof(*ret_hello) }, { later, sizeof(later) } };
	struct msghdr m = {
		.msg_iov = iov, .msg_iovlen = 2, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	long n = sys_call(SYS_recvmsg, fd, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	if (n == -EAGAIN)
		return -EAGAIN;
	if (!n) /* it has called and has no memory to offer: it says so itself */
		return -ENOMEM;
	int memfd = n < 0 ? -1 : take_fds(&m);
	if (n >= (long)sizeof(*ret_hello) && memfd >= 0 && !(m.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
		*ret_memfd = memfd;
		return 0;
	}
	if (memfd >= 0)
		sys_call(SYS_close, memfd);
	fallback(FALLBACK_BAD_HELLO);
	return -EPERM;
}

static int check_hello(const struct wire_hello *h, const struct tuple *t, uint32_t pid)
{
	struct wire_hello mine;

	fill_hello(&mine, t, 0);
	if (h->magic != WIRE_MAGIC || h->size < sizeof(*h) || h->pid != pid || h->ring_shift < RING_SHIFT_MIN ||
	    h->ring_shift > RING_SHIFT_MAX || memcmp(h->connect_addr, mine.connect_addr, 16) ||
	    memcmp(h->accept_addr, mine.accept_addr, 16) || h->connect_port != mine.connect_port ||
	    h->accept_port != mine.accept_port) {
		fallback(FALLBACK_BAD_HELLO);
		return -EPERM;
	}
	if (h->version_min > WIRE_VERSION_MAX || h->version_max < WIRE_VERSION_MIN) {
		fallback(FALLBACK_VERSION);
		return -EPERM;
	}
	if (h->net_ns != mine.net_ns || h->pid_ns != mine.pid_ns || memcmp(h->boot_id, mine.boot_id, 16)) {
		fallback(FALLBACK_FOREIGN_NS);
		return -EPERM;
	}
	return 0;
}

static int take_call(int fd, const struct tuple *t, struct stream **ret_stream)
{
	struct wire_hello h;
	struct wire_map *map;
	uint32_t pid;
	int memfd, r = check_peer(fd, &pid);

	if (!r)
		r = receive_hello(fd, &h, &memfd);
	if (r)
		return r;
	r = check_hello(&h, t, pid);
	if (!r)
		r = map_memory(memfd, h.ring_shift, &map);
	sys_call(SYS_close, memfd);
	return r ? r : make_stream(map, h.ring_shift, 0, pid, ret_stream);
}

/* A caller may be caught between connect and send: its call is kept for the next look. */
static int next_call(struct rendezvous *r)
{
	if (r->call >= 0)
		return 0;
	long fd = sys_call(SYS_accept4, r->listener, 0, 0, SOCK_CLOEXEC);
	if (fd < 0)
		return fd == -EAGAIN ? -EAGAIN : -EPERM;
	r->call = fd_hide((int)fd);
	return r->call < 0 ? -EAGAIN : 0;
}

int rendezvous_take(struct rendezvous *r, const struct tuple *t, struct stream **ret_stream)
{
	int ret = next_call(r);

	if (!ret)
		ret = take_call(r->call, t, ret_stream);
	if (!ret || (ret != -EAGAIN && r->call >= 0)) {
		fd_close_hidden(r->call);
		r->call = -1;
	}
	return ret;
}
