#include "mem.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ARENA_SIZE (UINT64_C(1) << 40)
#define ARENA_LEAST (UINT64_C(1) << 34)
#define GRAIN UINT64_C(512)

struct hole {
	uint64_t base, size;
};

static struct {
	pthread_rwlock_t lock;
	_Atomic uint64_t version;
	struct mem_span *spans; /* sorted by base */
	size_t n, cap;
	struct hole *holes; /* free address space, sorted by base */
	size_t nholes, capholes;
	struct hole *reserved;
	size_t nreserved, capreserved;
	uint64_t arena, used, capacity, next_id;
} mem = {.lock = PTHREAD_RWLOCK_INITIALIZER, .version = 1};

static void *grow(void *p, size_t n, size_t *cap, size_t elem)
{
	if (n < *cap)
		return p;
	*cap = *cap ? *cap * 2 : 64;
	p = realloc(p, *cap * elem);
	if (!p)
		abort();
	return p;
}

/* Address space alone. A sanitizer leaves little of it, elsewhere each time. */
static void *reserve(uint64_t *size)
{
	void *p = MAP_FAILED;

	for (; p == MAP_FAILED && *size >= ARENA_LEAST; *size /= 2)
		p = mmap(NULL, *size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	*size *= 2;
	return p;
}

int mem_init(uint64_t capacity)
{
	uint64_t size = ARENA_SIZE;
	void *p;

	if (mem.arena)
		return 0;
	p = reserve(&size);
	if (p == MAP_FAILED)
		return -errno;
	/* As the driver does, hand out addresses on 2 MiB boundaries first. */
	mem.arena = ((uint64_t)(uintptr_t)p + (2 << 20) - 1) & ~(uint64_t)((2 << 20) - 1);
	mem.capacity = capacity;
	mem.holes = grow(NULL, 0, &mem.capholes, sizeof(*mem.holes));
	mem.holes[mem.nholes++] = (struct hole){mem.arena, size - (4 << 20)};
	return 0;
}

uint64_t mem_version(void)
{
	return atomic_load_explicit(&mem.version, memory_order_acquire);
}

/* Index of the last span that begins at or before addr, or n. */
static size_t locate(uint64_t addr)
{
	size_t lo = 0, hi = mem.n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (mem.spans[mid].base <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo ? lo - 1 : mem.n;
}

static size_t locate_in(uint64_t addr)
{
	size_t i = locate(addr);

	return i < mem.n && addr - mem.spans[i].base < mem.spans[i].size ? i : mem.n;
}

static void span_insert(struct mem_span s)
{
	size_t at = mem.n;

	mem.spans = grow(mem.spans, mem.n, &mem.cap, sizeof(*mem.spans));
	while (at && mem.spans[at - 1].base > s.base)
		at--;
	memmove(&mem.spans[at + 1], &mem.spans[at], (mem.n - at) * sizeof(s));
	s.id = ++mem.next_id;
	mem.spans[at] = s;
	mem.n++;
	mem.version++;
}

static void span_remove(size_t i)
{
	free(mem.spans[i].old);
	free(mem.spans[i].dirty);
	memmove(&mem.spans[i], &mem.spans[i + 1], (mem.n - i - 1) * sizeof(*mem.spans));
	mem.n--;
	mem.version++;
}

static void hole_insert(uint64_t base, uint64_t size)
{
	size_t at = 0;

	mem.holes = grow(mem.holes, mem.nholes, &mem.capholes, sizeof(*mem.holes));
	while (at < mem.nholes && mem.holes[at].base < base)
		at++;
	memmove(&mem.holes[at + 1], &mem.holes[at], (mem.nholes - at) * sizeof(*mem.holes));
	mem.holes[at] = (struct hole){base, size};
	mem.nholes++;
	if (at + 1 < mem.nholes && base + size == mem.holes[at + 1].base) {
		mem.holes[at].size += mem.holes[at + 1].size;
		mem.nholes--;
		memmove(&mem.holes[at + 1], &mem.holes[at + 2], (mem.nholes - at - 1) * sizeof(*mem.holes));
	}
	if (at && mem.holes[at - 1].base + mem.holes[at - 1].size == base) {
		mem.holes[at - 1].size += mem.holes[at].size;
		mem.nholes--;
		memmove(&mem.holes[at], &mem.holes[at + 1], (mem.nholes - at) * sizeof(*mem.holes));
	}
}

static int hole_take(uint64_t size, uint64_t align, uint64_t *ret_base)
{
	for (size_t i = 0; i < mem.nholes; i++) {
		struct hole h = mem.holes[i];
		uint64_t base = (h.base + align - 1) & ~(align - 1);

		if (base + size > h.base + h.size)
			continue;
		mem.nholes--;
		memmove(&mem.holes[i], &mem.holes[i + 1], (mem.nholes - i) * sizeof(h));
		if (base > h.base)
			hole_insert(h.base, base - h.base);
		if (base + size < h.base + h.size)
			hole_insert(base + size, h.base + h.size - base - size);
		*ret_base = base;
		return 0;
	}
	return -ENOMEM;
}

static uint64_t rounded(uint64_t size)
{
	return (size + GRAIN - 1) & ~(GRAIN - 1);
}

static bool charge(uint64_t size)
{
	if (mem.used + size > mem.capacity || mem.used + size < size)
		return false;
	mem.used += size;
	return true;
}

bool mem_charge(uint64_t size)
{
	bool ok;

	pthread_rwlock_wrlock(&mem.lock);
	ok = charge(size);
	pthread_rwlock_unlock(&mem.lock);
	return ok;
}

void mem_uncharge(uint64_t size)
{
	pthread_rwlock_wrlock(&mem.lock);
	mem.used -= size;
	pthread_rwlock_unlock(&mem.lock);
}

static uint8_t *backing(uint64_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static int alloc_locked(uint64_t size, uint64_t align, enum mem_kind kind, void *owner, uint64_t *ret_addr)
{
	struct mem_span s = {.size = size, .kind = kind, .owner = owner};

	if (!charge(rounded(size)))
		return -ENOMEM;
	s.host = backing(rounded(size));
	/* A gap after each span keeps an index one too far from landing in the neighbour. */
	if (!s.host || hole_take(rounded(size) + GRAIN, align < GRAIN ? GRAIN : align, &s.base)) {
		if (s.host)
			munmap(s.host, rounded(size));
		mem.used -= rounded(size);
		return -ENOMEM;
	}
	span_insert(s);
	*ret_addr = s.base;
	return 0;
}

int mem_alloc(uint64_t size, uint64_t align, enum mem_kind kind, void *owner, uint64_t *ret_addr)
{
	int rc;

	if (!size || size > ARENA_SIZE)
		return size ? -ENOMEM : -EINVAL;
	pthread_rwlock_wrlock(&mem.lock);
	rc = alloc_locked(size, align, kind, owner, ret_addr);
	pthread_rwlock_unlock(&mem.lock);
	return rc;
}

static void free_at(size_t i)
{
	struct mem_span s = mem.spans[i];

	span_remove(i);
	munmap(s.host, rounded(s.size));
	hole_insert(s.base, rounded(s.size) + GRAIN);
	mem.used -= rounded(s.size);
}

int mem_free(uint64_t addr, enum mem_kind kind)
{
	size_t i;
	int rc = -EINVAL;

	pthread_rwlock_wrlock(&mem.lock);
	i = locate_in(addr);
	if (i < mem.n && mem.spans[i].base == addr && mem.spans[i].kind == kind) {
		free_at(i);
		rc = 0;
	}
	pthread_rwlock_unlock(&mem.lock);
	return rc;
}

static bool overlaps(uint64_t addr, uint64_t size)
{
	size_t i = locate(addr + size - 1);

	return i < mem.n && mem.spans[i].base + mem.spans[i].size > addr;
}

int mem_attach(uint64_t addr, uint64_t size, uint8_t *host, enum mem_kind kind, uint32_t flags, void *owner)
{
	int rc = -EEXIST;

	pthread_rwlock_wrlock(&mem.lock);
	if (size && !overlaps(addr, size)) {
		span_insert((struct mem_span){.base = addr, .size = size, .host = host, .kind = kind, .flags = flags, .owner = owner});
		rc = 0;
	}
	pthread_rwlock_unlock(&mem.lock);
	return rc;
}

int mem_detach(uint64_t addr, uint8_t **ret_host, uint64_t *ret_size)
{
	size_t i;
	int rc = -EINVAL;

	pthread_rwlock_wrlock(&mem.lock);
	i = locate_in(addr);
	if (i < mem.n && mem.spans[i].base == addr) {
		if (ret_host)
			*ret_host = mem.spans[i].host;
		if (ret_size)
			*ret_size = mem.spans[i].size;
		span_remove(i);
		rc = 0;
	}
	pthread_rwlock_unlock(&mem.lock);
	return rc;
}

bool mem_find(uint64_t addr, struct mem_span *ret_span)
{
	size_t i;
	bool found;

	pthread_rwlock_rdlock(&mem.lock);
	i = locate_in(addr);
	found = i < mem.n;
	if (found)
		*ret_span = mem.spans[i];
	pthread_rwlock_unlock(&mem.lock);
	return found;
}

/* Mappings of one VMM range may lie side by side in both worlds; a copy may then run across them. */
uint8_t *mem_host(uint64_t addr, uint64_t n)
{
	uint8_t *host = NULL;
	uint64_t at;
	size_t i;

	pthread_rwlock_rdlock(&mem.lock);
	i = locate_in(addr);
	if (i < mem.n) {
		host = mem.spans[i].host + (addr - mem.spans[i].base);
		at = mem.spans[i].base + mem.spans[i].size;
		while (at - addr < n && i + 1 < mem.n && mem.spans[i + 1].base == at &&
		       mem.spans[i + 1].host == mem.spans[i].host + mem.spans[i].size) {
			i++;
			at += mem.spans[i].size;
		}
		if (at - addr < n)
			host = NULL;
	}
	pthread_rwlock_unlock(&mem.lock);
	return host;
}

void mem_usage(uint64_t *ret_free, uint64_t *ret_total)
{
	pthread_rwlock_rdlock(&mem.lock);
	*ret_free = mem.capacity - mem.used;
	*ret_total = mem.capacity;
	pthread_rwlock_unlock(&mem.lock);
}

int mem_reserve(uint64_t size, uint64_t align, uint64_t *ret_addr)
{
	int rc;

	pthread_rwlock_wrlock(&mem.lock);
	rc = hole_take(size, align, ret_addr);
	if (!rc) {
		mem.reserved = grow(mem.reserved, mem.nreserved, &mem.capreserved, sizeof(*mem.reserved));
		mem.reserved[mem.nreserved++] = (struct hole){*ret_addr, size};
	}
	pthread_rwlock_unlock(&mem.lock);
	return rc;
}

int mem_unreserve(uint64_t addr, uint64_t size)
{
	int rc = -EINVAL;

	pthread_rwlock_wrlock(&mem.lock);
	for (size_t i = 0; i < mem.nreserved && rc; i++) {
		if (mem.reserved[i].base != addr || mem.reserved[i].size != size)
			continue;
		mem.reserved[i] = mem.reserved[--mem.nreserved];
		hole_insert(addr, size);
		rc = 0;
	}
	pthread_rwlock_unlock(&mem.lock);
	return rc;
}

bool mem_reserved(uint64_t addr, uint64_t size)
{
	bool found = false;

	pthread_rwlock_rdlock(&mem.lock);
	for (size_t i = 0; i < mem.nreserved && !found; i++)
		found = addr >= mem.reserved[i].base && addr + size <= mem.reserved[i].base + mem.reserved[i].size;
	pthread_rwlock_unlock(&mem.lock);
	return found;
}

unsigned mem_free_owned(void *owner)
{
	unsigned n = 0;

	pthread_rwlock_wrlock(&mem.lock);
	for (size_t i = mem.n; i--;) {
		if (mem.spans[i].owner != owner)
			continue;
		switch (mem.spans[i].kind) {
		case MEM_DEVICE:
		case MEM_POOL:
		case MEM_MODULE:
		case MEM_INTERNAL:
			free_at(i);
			n++;
			break;
		case MEM_PINNED:
		case MEM_MANAGED:
			munmap(mem.spans[i].host, (mem.spans[i].size + 4095) & ~UINT64_C(4095));
			if (mem.spans[i].kind == MEM_MANAGED)
				mem.used -= rounded(mem.spans[i].size);
			span_remove(i);
			n++;
			break;
		case MEM_REGISTERED:
			span_remove(i);
			break;
		case MEM_VMM:
			break;
		}
	}
	pthread_rwlock_unlock(&mem.lock);
	return n;
}

unsigned mem_count(enum mem_kind kind)
{
	unsigned n = 0;

	pthread_rwlock_rdlock(&mem.lock);
	for (size_t i = 0; i < mem.n; i++)
		n += mem.spans[i].kind == kind;
	pthread_rwlock_unlock(&mem.lock);
	return n;
}
