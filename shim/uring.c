#include "uring.h"

#include "life.h"
#include "real.h"
#include "sys.h"
#include "wait.h"

#include <linux/io_uring.h>
#include <sys/mman.h>

enum { RINGS_MOST = 64, BATCH_MOST = 256 };

/* newer than some headers */
#define SETUP_NO_MMAP (1u << 14)
#define SETUP_NO_SQARRAY (1u << 16)

struct uring {
	_Atomic int fd; /* + 1; 0: free */
	_Atomic uint32_t *head, *tail;
	uint32_t mask, entries;
	uint32_t *array; /* NULL: entries are used in their order */
	struct io_uring_sqe *sqes;
};

static struct uring rings[RINGS_MOST];

static void *map_ring(int fd, size_t bytes, uint64_t off)
{
	long p = sys_call(SYS_mmap, 0, bytes, PROT_READ, MAP_SHARED, fd, off);

	return p < 0 && p > -4096 ? NULL : (void *)p;
}

static bool look_into(struct uring *u, int fd, const struct io_uring_params *p)
{
	bool indirect = !(p->flags & SETUP_NO_SQARRAY);
	size_t bytes = indirect ? p->sq_off.array + p->sq_entries * sizeof(uint32_t) : p->sq_off.dropped + sizeof(uint32_t);
	char *sq = map_ring(fd, bytes, IORING_OFF_SQ_RING);

	u->sqes = map_ring(fd, p->sq_entries * sizeof(struct io_uring_sqe), IORING_OFF_SQES);
	if (!sq || !u->sqes)
		return false;
	u->head = (_Atomic uint32_t *)(sq + p->sq_off.head);
	u->tail = (_Atomic uint32_t *)(sq + p->sq_off.tail);
	u->mask = *(uint32_t *)(sq + p->sq_off.ring_mask);
	u->array = indirect ? (uint32_t *)(sq + p->sq_off.array) : NULL;
	u->entries = p->sq_entries;
	return true;
}

static bool remember(int fd, const struct io_uring_params *p)
{
	const unsigned unseen = IORING_SETUP_SQPOLL | IORING_SETUP_SQE128 | SETUP_NO_MMAP;

	if (p->flags & unseen)
		return false;
	for (int i = 0; i < RINGS_MOST; i++) {
		int none = 0;
		if (!atomic_compare_exchange_strong(&rings[i].fd, &none, -1))
			continue;
		if (look_into(&rings[i], fd, p)) {
			atomic_store(&rings[i].fd, fd + 1);
			return true;
		}
		atomic_store(&rings[i].fd, 0);
		return false;
	}
	return false;
}

long uring_setup(unsigned entries, void *params)
{
	long fd = real.syscall(SYS_io_uring_setup, entries, (long)params, 0, 0, 0, 0);

	if (fd >= 0 && sockets_on && !remember((int)fd, params))
		waits_go_blind();
	return fd;
}

static struct uring *ring_of(long fd)
{
	for (int i = 0; i < RINGS_MOST; i++)
		if (atomic_load(&rings[i].fd) == fd + 1)
			return &rings[i];
	return NULL;
}

/* What is about to be submitted; returns whether it touches a connection of ours. */
static bool look_at(const struct io_uring_sqe *e)
{
	if (e->opcode == IORING_OP_EPOLL_CTL || e->opcode == IORING_OP_CLOSE)
		return false;
	return fd_kind(fd_get(e->fd)) != FD_FOREIGN;
}

struct ctl {
	int ep, op, fd;
	struct epoll_event ev;
};

static unsigned collect(struct uring *u, unsigned n, struct ctl *ret_ctl)
{
	uint32_t head = atomic_load(u->head), tail = atomic_load(u->tail);
	unsigned found = 0;

	if (n > tail - head)
		n = tail - head;
	for (uint32_t i = 0; i < n && i < u->entries && found < BATCH_MOST; i++) {
		uint32_t at = (head + i) & u->mask;
		if (u->array)
			at = u->array[at];
		if (at >= u->entries)
			continue;
		const struct io_uring_sqe *e = &u->sqes[at];
		if (look_at(e))
			waits_go_blind();
		if (e->opcode == IORING_OP_EPOLL_CTL && fd_kind(fd_get((int)e->off)) == FD_SOCK) {
			const struct epoll_event *ev = (const void *)(uintptr_t)e->addr;
			ret_ctl[found++] = (struct ctl){ e->fd, (int)e->len, (int)e->off, ev ? *ev : (struct epoll_event){ 0 } };
		} else if (e->opcode == IORING_OP_CLOSE) {
			life_forget(e->fd);
		}
	}
	return found;
}

long uring_enter(long fd, long to_submit, long min_complete, long flags, long sig, long size)
{
	struct uring *u = to_submit > 0 ? ring_of(fd) : NULL;
	struct ctl ctl[BATCH_MOST];
	unsigned n = u ? collect(u, (unsigned)to_submit, ctl) : 0;
	long r = real.syscall(SYS_io_uring_enter, fd, to_submit, min_complete, flags, sig, size);

	for (unsigned i = 0; r > 0 && i < n; i++)
		wait_epoll_note(ctl[i].ep, ctl[i].op, ctl[i].fd, &ctl[i].ev);
	return r;
}
