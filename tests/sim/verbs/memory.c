#include "memory.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

enum { KEYS = 65536, WINDOWS = 4096 };
static const uint32_t WINDOW = UINT32_C(1) << 31; /* of keys: WINDOW | index << 8 | what its owner counts */

/* Registered memory, by key. */
static struct { char *at; size_t len; int access; unsigned windows; const struct ibv_pd *pd; } keys[KEYS];
static struct window {
	struct ibv_mw mw; /* pd NULL: none */
	const struct ibv_qp *qp; /* NULL: not bound */
	uint32_t key, last, of;
	uint64_t at, len;
	unsigned access;
} windows[WINDOWS];
static pthread_rwlock_t keys_lock = PTHREAD_RWLOCK_INITIALIZER;
static uint32_t next_key = 1;

/* A device asks no thread of the program for leave. */
__attribute__((no_sanitize("thread"))) static void copy(char *to, const char *from, size_t n)
{
	volatile char *t = to;
	const volatile char *f = from;

	for (; n >= 8 && !(((uintptr_t)t | (uintptr_t)f) & 7); n -= 8, t += 8, f += 8)
		*(volatile uint64_t *)t = *(const volatile uint64_t *)f;
	while (n--)
		*t++ = *f++;
}

/* ---- registrations */

static bool lies_within(uint64_t at, size_t n, uint64_t start, uint64_t len)
{
	return at >= start && at - start <= len && n <= len - (at - start);
}

static bool lock_pages(const struct ibv_context *context, size_t len)
{
	if (!sim_is_first(context))
		return true;
	bool fits = atomic_fetch_add(&sim_wire.locked, len) + len <= atomic_load(&sim_wire.lockable);
	if (!fits)
		atomic_fetch_sub(&sim_wire.locked, len);
	return fits;
}

static struct ibv_mr *reg_mr(struct ibv_pd *pd, void *addr, size_t len, int access)
{
	if (!lock_pages(pd->context, len)) {
		errno = ENOMEM;
		return NULL;
	}
	struct ibv_mr *mr = calloc(1, sizeof(*mr));

	pthread_rwlock_wrlock(&keys_lock);
	while (keys[next_key % KEYS].at || !(next_key % KEYS) || next_key & WINDOW)
		next_key = (next_key + 1) & ~WINDOW;
	keys[next_key % KEYS] = (__typeof__(keys[0])){ .at = addr, .len = len, .access = access, .pd = pd };
	*mr = (struct ibv_mr){ .context = pd->context, .pd = pd, .addr = addr, .length = len, .lkey = next_key, .rkey = next_key };
	next_key++;
	pthread_rwlock_unlock(&keys_lock);
	return mr;
}

static int dereg_mr(struct ibv_mr *mr)
{
	pthread_rwlock_wrlock(&keys_lock);
	if (keys[mr->lkey % KEYS].windows)
		sim_wrong("memory is given back with a window onto it");
	keys[mr->lkey % KEYS].at = NULL;
	pthread_rwlock_unlock(&keys_lock);
	if (sim_is_first(mr->context))
		atomic_fetch_sub(&sim_wire.locked, mr->length);
	free(mr);
	return 0;
}

/* ---- windows */

static struct window *window_of(uint32_t key)
{
	return &windows[(key & ~WINDOW) >> 8];
}

static struct ibv_mw *alloc_mw(struct ibv_pd *pd, enum ibv_mw_type type)
{
	struct window *w = NULL;

	pthread_rwlock_wrlock(&keys_lock);
	for (uint32_t i = 0; i < WINDOWS && !w; i++)
		if (!windows[i].mw.pd) {
			w = &windows[i];
			w->last = WINDOW | i << 8 | (w->last & 0xff);
			w->mw = (struct ibv_mw){ .context = pd->context, .pd = pd, .rkey = w->last, .type = type };
		}
	pthread_rwlock_unlock(&keys_lock);
	return w ? &w->mw : NULL;
}

static void free_window(struct window *w)
{
	if (w->qp)
		keys[w->of % KEYS].windows--;
	w->qp = NULL;
}

static int dealloc_mw(struct ibv_mw *mw)
{
	struct window *w = (struct window *)mw;

	pthread_rwlock_wrlock(&keys_lock);
	free_window(w);
	w->mw.pd = NULL;
	pthread_rwlock_unlock(&keys_lock);
	return 0;
}

static bool bind_window(struct window *w, const struct ibv_qp *qp, uint32_t key, const struct ibv_mw_bind_info *info)
{
	uint32_t of = info->mr->lkey;
	int need = IBV_ACCESS_MW_BIND | IBV_ACCESS_LOCAL_WRITE;
	uint64_t start = (uintptr_t)keys[of % KEYS].at;

	if (w->qp || w->mw.pd != qp->pd || keys[of % KEYS].pd != qp->pd || key == w->last || (key ^ w->last) & ~0xffu ||
	    (keys[of % KEYS].access & need) != need ||
	    !lies_within(info->addr, info->length, start, keys[of % KEYS].len))
		return false;
	w->qp = qp;
	w->key = w->last = key;
	w->of = of;
	w->at = info->addr;
	w->len = info->length;
	w->access = info->mw_access_flags;
	keys[of % KEYS].windows++;
	return true;
}

bool sim_bind(const struct ibv_qp *qp, const struct ibv_send_wr *wr)
{
	pthread_rwlock_wrlock(&keys_lock);
	bool ok = bind_window((struct window *)wr->bind_mw.mw, qp, wr->bind_mw.rkey, &wr->bind_mw.bind_info);
	pthread_rwlock_unlock(&keys_lock);
	return ok;
}

bool sim_is_known(const struct ibv_mw *mw)
{
	pthread_rwlock_rdlock(&keys_lock);
	bool known = mw->rkey == ((const struct window *)mw)->last;
	pthread_rwlock_unlock(&keys_lock);
	return known;
}

bool sim_invalidate(uint32_t key)
{
	struct window *w = window_of(key);

	pthread_rwlock_wrlock(&keys_lock);
	bool ok = key & WINDOW && w->qp && w->key == key;
	if (ok)
		free_window(w);
	pthread_rwlock_unlock(&keys_lock);
	return ok;
}

bool sim_is_window(uint32_t key)
{
	return key & WINDOW;
}

void sim_unbind(const struct ibv_qp *qp)
{
	pthread_rwlock_wrlock(&keys_lock);
	for (int i = 0; i < WINDOWS; i++)
		if (windows[i].qp == qp)
			free_window(&windows[i]);
	pthread_rwlock_unlock(&keys_lock);
}

/* ---- packets */

static void move(uint64_t at, char *packet, size_t n, bool into)
{
	if (into)
		copy((char *)at, packet, n);
	else
		copy(packet, (char *)at, n);
}

static bool is_registered(const struct ibv_pd *pd, uint32_t key, uint64_t at, size_t n, int access)
{
	return !n || (keys[key % KEYS].at && keys[key % KEYS].pd == pd && (keys[key % KEYS].access & access) == access &&
		lies_within(at, n, (uintptr_t)keys[key % KEYS].at, keys[key % KEYS].len));
}

bool sim_dma(const struct ibv_pd *pd, uint32_t key, uint64_t at, char *packet, size_t n, bool into)
{
	pthread_rwlock_rdlock(&keys_lock);
	bool ok = is_registered(pd, key, at, n, 0);
	if (ok)
		move(at, packet, n, into);
	pthread_rwlock_unlock(&keys_lock);
	return ok;
}

static bool is_open(const struct ibv_qp *qp, uint32_t key, uint64_t at, size_t n, unsigned access)
{
	const struct window *w = window_of(key);

	return w->qp == qp && w->key == key && (w->access & access) == access && lies_within(at, n, w->at, w->len);
}

bool sim_remote_dma(const struct ibv_qp *qp, uint32_t key, uint64_t at, char *packet, size_t n, bool into)
{
	unsigned access = into ? IBV_ACCESS_REMOTE_WRITE : IBV_ACCESS_REMOTE_READ;

	pthread_rwlock_rdlock(&keys_lock);
	bool ok = key & WINDOW ? (key & ~WINDOW) >> 8 < WINDOWS && is_open(qp, key, at, n, access) : is_registered(qp->pd, key, at, n, (int)access);
	if (ok)
		move(at, packet, n, into);
	pthread_rwlock_unlock(&keys_lock);
	return ok;
}

/* ---- the table */

static int query_device(struct ibv_context *c, struct ibv_device_attr *ret)
{
	*ret = (struct ibv_device_attr){ .device_cap_flags = IBV_DEVICE_MEM_WINDOW_TYPE_2B };
	return 0;
}

void sim_memory_install(void)
{
	verbs.ibv_reg_mr = reg_mr;
	verbs.ibv_dereg_mr = dereg_mr;
	verbs.ibv_query_device = query_device;
}

void sim_memory_of(struct ibv_context *c)
{
	c->ops.alloc_mw = alloc_mw;
	c->ops.dealloc_mw = dealloc_mw;
}
