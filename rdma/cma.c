/*
 * The process at the other end of a stream on one host: whether it lives, and cross-memory attach, by which each copies
 * from or into the other's memory once both have tried that for real.
 */
#include "clock.h"
#include "fdtable.h"
#include "process.h"
#include "settings.h"
#include "shm.h"
#include "stats.h"
#include "sys.h"

#include <poll.h>

enum { DYING_MS = 100 }; /* from closed sockets to the end of a process that is killed */

/* What the peer tries its calls on: not the program's memory. */
static struct {
	_Atomic uint64_t nonce, scratch;
} probe_area;

static bool open_pidfd(struct stream *s)
{
	int none = -1;

	if (load_rlx(s->peer_pidfd) >= 0)
		return true;
	long fd = sys_call(SYS_pidfd_open, s->peer_pid, 0);
	if (fd >= 0)
		fd = fd_hide((int)fd);
	if (fd < 0) {
		fallback(FALLBACK_NO_PIDFD);
		return false;
	}
	if (!atomic_compare_exchange_strong(&s->peer_pidfd, &none, (int)fd)) /* another thread was faster */
		fd_close_hidden((int)fd);
	return true;
}

bool stream_peer_gone(struct stream *s)
{
	struct pollfd p = { .fd = load_rlx(s->peer_pidfd), .events = POLLIN };

	return p.fd >= 0 && sys_call(SYS_poll, &p, 1, 0) == 1;
}

ssize_t cma_read(uint32_t pid, void *to, uint64_t from, size_t n)
{
	struct iovec l = { to, n }, r = { (void *)(uintptr_t)from, n };

	return sys_call(SYS_process_vm_readv, pid, &l, 1, &r, 1, 0);
}

/*
 * Sockets are closed before a pidfd tells of the end, but after the memory is gone.  The memory alone
 * proves nothing: it is the first thread's, which may leave before the others.
 */
static bool is_dying(struct stream *s)
{
	char byte;

	return cma_read(s->peer_pid, &byte, 0, 1) == -ESRCH;
}

bool stream_peer_dead(struct stream *s)
{
	struct pollfd p = { .events = POLLIN };
	long fd = sys_call(SYS_pidfd_open, s->peer_pid, 0);

	if (fd < 0)
		return fd == -ESRCH;
	p.fd = (int)fd;
	bool dead = sys_call(SYS_poll, &p, 1, is_dying(s) ? DYING_MS : 0) == 1;
	sys_call(SYS_close, fd);
	return dead;
}

ssize_t cma_write(uint32_t pid, uint64_t to, const void *from, size_t n)
{
	struct iovec l = { (void *)(uintptr_t)from, n }, r = { (void *)(uintptr_t)to, n };

	return sys_call(SYS_process_vm_writev, pid, &l, 1, &r, 1, 0);
}

static void publish_probe(struct stream *s)
{
	struct wire_probe *mine = &s->map->probe[s->role];

	if (load_acq(mine->address))
		return;
	if (!load_rlx(probe_area.nonce))
		store_rlx(probe_area.nonce, clock_ticks() | 1);
	store_rlx(mine->nonce, load_rlx(probe_area.nonce));
	store_rlx(mine->pid, (uint32_t)process_id);
	store_rel(mine->address, (uint64_t)(uintptr_t)&probe_area);
}

static bool try_peer(struct stream *s, struct wire_probe *peer)
{
	uint64_t seen = 0, address = load_rlx(peer->address), mark = clock_ticks();

	return cma_read(s->peer_pid, &seen, address, sizeof(seen)) == sizeof(seen) && seen == load_rlx(peer->nonce) &&
	       cma_write(s->peer_pid, address + 8, &mark, sizeof(mark)) == sizeof(mark);
}

/* Tries the calls for real on the peer as soon as it has said where; again after nothing. */
void cma_self_test(struct stream *s)
{
	struct wire_probe *peer = &s->map->probe[!s->role];

	if (load_rlx(s->cma) != CMA_UNKNOWN)
		return;
	publish_probe(s);
	if (!load_acq(peer->address))
		return;
	bool ok = settings.cma && load_rlx(peer->pid) == s->peer_pid && try_peer(s, peer);
	if (!ok && settings.cma)
		fallback(FALLBACK_NO_CMA);
	uint32_t found = ok && open_pidfd(s) ? CMA_WORKS : CMA_FAILED, unknown = CMA_UNKNOWN;
	if (atomic_compare_exchange_strong(&s->cma, &unknown, found))
		store_rel(s->map->probe[s->role].result, found);
}
