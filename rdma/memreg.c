#include "memreg.h"
#include "log.h"
#include "memwatch.h"
#include "sys.h"

#include <linux/capability.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

enum { ROOM = 1024, NOT_KEPT = -1, FOLLOWED = -2 };

struct memreg {
	const struct memreg_ops *ops;
	void *device;
	size_t limit;
	bool ours; /* not in a child: there all of this is zero */
	pthread_mutex_t lock;
	struct memreg_hold pool[ROOM];
	struct memreg_hold *sorted[ROOM]; /* what is listed, by start */
	size_t n, longest;		  /* longest: no listed one is longer */
	uint64_t clock, news;
	bool said_full;
	struct memreg_counts counts;
};

/* ---- limit ---- */

static bool may_lock_anything(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{0}};

	return !sys_call(SYS_capget, &head, data) && data[0].effective & (1u << CAP_IPC_LOCK);
}

size_t memreg_limit(size_t wish)
{
	struct rlimit r;

	if (may_lock_anything() || getrlimit(RLIMIT_MEMLOCK, &r) || r.rlim_cur == RLIM_INFINITY)
		return wish;
	return r.rlim_cur < wish ? r.rlim_cur : wish;
}

/* ---- the sorted list ---- */

/* Index of the first listed one that starts after addr. */
static size_t upper(const struct memreg *m, uintptr_t addr)
{
	size_t lo = 0, hi = m->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (m->sorted[mid]->start <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static struct memreg_hold *find(const struct memreg *m, uintptr_t start, uintptr_t end)
{
	for (size_t i = upper(m, start); i-- && start - m->sorted[i]->start < m->longest;)
		if (m->sorted[i]->end >= end)
			return m->sorted[i];
	return NULL;
}

static void list(struct memreg *m, struct memreg_hold *h)
{
	size_t at = upper(m, h->start);

	memmove(&m->sorted[at + 1], &m->sorted[at], (m->n - at) * sizeof(m->sorted[0]));
	m->sorted[at] = h;
	m->n++;
	h->listed = true;
	if (h->end - h->start > m->longest)
		m->longest = h->end - h->start;
}

static void unlist(struct memreg *m, struct memreg_hold *h)
{
	size_t at = upper(m, h->start);

	while (m->sorted[--at] != h)
		;
	m->n--;
	memmove(&m->sorted[at], &m->sorted[at + 1], (m->n - at) * sizeof(m->sorted[0]));
	h->listed = false;
}

/* ---- one registration ---- */

static void release(struct memreg *m, struct memreg_hold *h)
{
	if (h->listed)
		unlist(m, h);
	if (h->slot >= 0)
		memwatch_disarm(h->slot);
	m->ops->dereg(m->device, &h->key);
	m->counts.bytes -= h->end - h->start;
	h->taken = false;
}

/* Off the list at once; the device's part goes with the last holder. */
static void retire(struct memreg *m, struct memreg_hold *h)
{
	if (h->holders)
		unlist(m, h);
	else
		release(m, h);
}

static bool evict_one(struct memreg *m)
{
	struct memreg_hold *oldest = NULL;

	for (size_t i = 0; i < m->n; i++)
		if (!m->sorted[i]->holders && (!oldest || m->sorted[i]->used < oldest->used))
			oldest = m->sorted[i];
	if (!oldest)
		return false;
	release(m, oldest);
	m->counts.evicted++;
	return true;
}

static struct memreg_hold *free_hold(struct memreg *m)
{
	for (int i = 0; i < ROOM; i++)
		if (!m->pool[i].taken)
			return &m->pool[i];
	return NULL;
}

static struct memreg_hold *take_hold(struct memreg *m)
{
	struct memreg_hold *h = free_hold(m);

	return h || !evict_one(m) ? h : free_hold(m);
}

/* All caches have their slots from one table. */
static int take_slot(struct memreg *m, uintptr_t start, uintptr_t end)
{
	int slot = memwatch_arm(start, end);

	return slot == -ENOSPC && evict_one(m) ? memwatch_arm(start, end) : slot;
}

static int full(struct memreg *m, size_t len)
{
	if (!m->said_full)
		log_warn("RDMA: cannot register %zu bytes beside %zu; raise the limit of locked memory "
			 "(ulimit -l) above the buffers that are sent", len, m->counts.bytes);
	m->said_full = true;
	return -ENOMEM;
}

static int register_it(struct memreg *m, struct memreg_hold *h)
{
	size_t len = h->end - h->start;
	int r;

	while (m->counts.bytes + len > m->limit)
		if (!evict_one(m))
			return full(m, len);
	while ((r = m->ops->reg(m->device, h->start, len, &h->key)) == -ENOMEM)
		if (!evict_one(m))
			return full(m, len);
	if (!r)
		m->counts.bytes += len;
	return r;
}

/* Armed first, registered, then confirmed: a change at any time between leaves it unlisted. */
static int make(struct memreg *m, struct memreg_hold *h)
{
	int r;

	h->slot = m->ops->follows_mappings ? FOLLOWED : take_slot(m, h->start, h->end);
	r = register_it(m, h);
	if (r) {
		if (h->slot >= 0)
			memwatch_disarm(h->slot);
		return r;
	}
	h->taken = true;
	m->counts.registered++;
	if (h->slot == FOLLOWED || (h->slot >= 0 && memwatch_confirm(h->slot)))
		list(m, h);
	else
		m->counts.once++;
	return 0;
}

/* A longer one makes idle ones inside it useless. */
static void drop_inside(struct memreg *m, const struct memreg_hold *h)
{
	for (size_t i = m->n; i--;) {
		struct memreg_hold *old = m->sorted[i];
		if (old != h && !old->holders && old->start >= h->start && old->end <= h->end)
			release(m, old);
	}
}

/* ---- sweep ---- */

static void sweep(struct memreg *m)
{
	uint64_t news = memwatch_news();

	if (news == m->news || m->ops->follows_mappings)
		return;
	m->news = news;
	for (size_t i = m->n; i--;)
		if (memwatch_stale(m->sorted[i]->slot)) {
			retire(m, m->sorted[i]);
			m->counts.stale++;
		}
}

/* Whoever has the lock may be registering for long, and sweeps by itself. */
bool memreg_sweep(struct memreg *m)
{
	if (!m->ours || m->ops->follows_mappings)
		return false;
	if (pthread_mutex_trylock(&m->lock))
		return true;
	sweep(m);
	bool left = m->n;
	pthread_mutex_unlock(&m->lock);
	return left;
}

/* ---- get and put ---- */

static bool is_true(const struct memreg_hold *h)
{
	return h->slot == FOLLOWED || memwatch_holds(h->slot);
}

static struct memreg_hold *hit(struct memreg *m, uintptr_t start, uintptr_t end)
{
	struct memreg_hold *h = find(m, start, end);

	if (!h || !is_true(h))
		return NULL;
	m->counts.hits++;
	return h;
}

static int miss(struct memreg *m, uintptr_t start, uintptr_t end, struct memreg_hold **ret_h)
{
	struct memreg_hold *h = take_hold(m);
	int r;

	if (!h)
		return -ENOSPC;
	*h = (struct memreg_hold){.start = start, .end = end};
	r = make(m, h);
	if (r)
		return r;
	if (h->listed)
		drop_inside(m, h);
	*ret_h = h;
	return 0;
}

static int get(struct memreg *m, uintptr_t start, uintptr_t end, struct memreg_hold **ret_hold)
{
	struct memreg_hold *h;
	int r = 0;

	sweep(m);
	h = hit(m, start, end);
	if (!h)
		r = miss(m, start, end, &h);
	if (r)
		return r;
	h->holders++;
	h->used = ++m->clock;
	*ret_hold = h;
	return 0;
}

int memreg_get(struct memreg *m, const void *addr, size_t len, struct memreg_hold **ret_hold)
{
	uintptr_t mask = (uintptr_t)getpagesize() - 1, start = (uintptr_t)addr & ~mask;
	uintptr_t end = ((uintptr_t)addr + len + mask) & ~mask;
	int r;

	if (!m->ours)
		return -EPERM;
	if (!len || end <= start)
		return -EINVAL;
	pthread_mutex_lock(&m->lock);
	r = get(m, start, end, ret_hold);
	pthread_mutex_unlock(&m->lock);
	return r;
}

void memreg_put(struct memreg *m, struct memreg_hold *h)
{
	if (!m->ours)
		return;
	pthread_mutex_lock(&m->lock);
	if (!--h->holders && !h->listed)
		release(m, h);
	pthread_mutex_unlock(&m->lock);
}

void memreg_count(struct memreg *m, struct memreg_counts *ret_counts)
{
	pthread_mutex_lock(&m->lock);
	*ret_counts = m->counts;
	ret_counts->entries = m->n;
	pthread_mutex_unlock(&m->lock);
}

/* ---- life ---- */

int memreg_create(const struct memreg_ops *ops, void *device, size_t limit, struct memreg **ret_m)
{
	struct memreg *m = mmap(NULL, sizeof(*m), PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (m == MAP_FAILED)
		return -ENOMEM;
	if (madvise(m, sizeof(*m), MADV_WIPEONFORK)) {
		munmap(m, sizeof(*m));
		return -ENOTSUP;
	}
	m->ops = ops;
	m->device = device;
	m->limit = limit;
	m->ours = true;
	pthread_mutex_init(&m->lock, NULL);
	*ret_m = m;
	return 0;
}

void memreg_destroy(struct memreg *m)
{
	if (!m)
		return;
	for (int i = 0; i < ROOM && m->ours; i++)
		if (m->pool[i].taken)
			release(m, &m->pool[i]);
	munmap(m, sizeof(*m));
}
