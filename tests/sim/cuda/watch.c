#include "watch.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "watch_flags.h"

#define PAGE_WORDS 1024
#define BUCKETS 4096
#define SECTOR 32
#define SECTORS 1024
#define MAX_REPORTS 20

struct word {
	uint32_t wseq, rseq;
	uint16_t wname, rname;
	uint8_t wslot, rslot, written, read;
};

struct page {
	uint64_t index;
	struct page *next;
	struct word words[PAGE_WORDS];
};

static struct {
	pthread_mutex_t lock;
	struct page *bucket[BUCKETS];
	char *names[4096];
	unsigned nnames;
	uint64_t races;
} shadow = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct page *page_of(uint64_t index, bool create)
{
	struct page **at = &shadow.bucket[(index * 0x9e3779b97f4a7c15u >> 40) % BUCKETS];

	for (struct page *p = *at; p; p = p->next)
		if (p->index == index)
			return p;
	if (!create)
		return NULL;
	struct page *p = calloc(1, sizeof(*p));

	if (!p)
		abort();
	p->index = index;
	p->next = *at;
	*at = p;
	return p;
}

static uint16_t intern(const char *name)
{
	for (unsigned i = 0; i < shadow.nnames; i++)
		if (!strcmp(shadow.names[i], name))
			return (uint16_t)i;
	if (shadow.nnames == 4096)
		return 0;
	shadow.names[shadow.nnames] = strdup(name);
	return (uint16_t)shadow.nnames++;
}

static bool ordered(const struct watch_key *k, uint32_t slot, uint32_t seq)
{
	if (slot != k->slot)
		return k->vc[slot] >= seq;
	if (k->before && seq - k->first < k->steps && seq != k->seq)
		return k->before[(seq - k->first) / 64] >> (seq - k->first) % 64 & 1;
	return seq == k->seq || k->vc[slot] >= seq;
}

static void report(const struct watch_key *k, uint64_t addr, const char *what, const char *other)
{
	if (shadow.races++ < MAX_REPORTS)
		fprintf(stderr, "simcuda: race at 0x%llx: %s %s, nothing orders it and %s\n", (unsigned long long)addr, k->name, what, other);
}

static void touch(const struct watch_key *k, uint64_t addr, uint64_t n, bool write)
{
	uint16_t name;

	pthread_mutex_lock(&shadow.lock);
	name = intern(k->name);
	for (uint64_t a = addr & ~UINT64_C(3); a < addr + n; a += 4) {
		struct word *w = &page_of(a / 4 / PAGE_WORDS, true)->words[a / 4 % PAGE_WORDS];

		if (w->written && !ordered(k, w->wslot, w->wseq))
			report(k, a, write ? "writes" : "reads", shadow.names[w->wname]);
		else if (write && w->read && !ordered(k, w->rslot, w->rseq))
			report(k, a, "writes", shadow.names[w->rname]);
		if (write) {
			w->wslot = (uint8_t)k->slot;
			w->wseq = k->seq;
			w->wname = name;
			w->written = true;
		} else {
			w->rslot = (uint8_t)k->slot;
			w->rseq = k->seq;
			w->rname = name;
			w->read = true;
		}
	}
	pthread_mutex_unlock(&shadow.lock);
}

void watch_range(const struct watch_key *k, uint64_t addr, uint64_t n, bool write)
{
	if (k && k->vc && n)
		touch(k, addr, n, write);
}

void watch_forget(uint64_t addr, uint64_t n)
{
	pthread_mutex_lock(&shadow.lock);
	for (uint64_t i = addr / 4 / PAGE_WORDS; i <= (addr + n - 1) / 4 / PAGE_WORDS; i++) {
		struct page *p = page_of(i, false);

		for (uint64_t k = 0; p && k < PAGE_WORDS; k++) {
			uint64_t a = (i * PAGE_WORDS + k) * 4;

			if (a + 4 > addr && a < addr + n)
				memset(&p->words[k], 0, sizeof(p->words[k]));
		}
	}
	pthread_mutex_unlock(&shadow.lock);
}

uint64_t watch_races(void)
{
	return __atomic_load_n(&shadow.races, __ATOMIC_RELAXED);
}

/* The caches of one block. Direct-mapped: what is pushed out is read anew, as real caches do. */
struct sector {
	uint64_t tag; /* address / SECTOR + 1, 0 = empty */
	uint8_t bytes[SECTOR] __attribute__((aligned(16)));
};

struct caches {
	struct sector weak[SECTORS], readonly[SECTORS];
};

void watch_block_start(struct block *b)
{
	if (!b->caches)
		b->caches = calloc(1, sizeof(struct caches));
	else
		memset(b->caches, 0, sizeof(struct caches));
	if (!b->caches)
		abort();
}

void watch_block_end(struct block *b)
{
	free(b->caches);
}

static struct sector *place(struct sector *set, uint64_t addr)
{
	return &set[addr / SECTOR % SECTORS];
}

static uint8_t *cached(struct sector *set, uint64_t addr, uint8_t *p)
{
	struct sector *s = place(set, addr);
	uint64_t tag = addr / SECTOR + 1, off = addr % SECTOR;

	if (s->tag != tag) {
		if (!mem_host(addr - off, SECTOR))
			return p;
		memcpy(s->bytes, p - off, SECTOR);
		s->tag = tag;
	}
	return s->bytes + off;
}

uint8_t *watch_read(struct warp *w, const struct insn *in, int lane, uint64_t addr, uint8_t *p, uint32_t n)
{
	uint32_t flags = in->ext[1];
	struct caches *c = w->blk->caches;

	if (addr & WINDOW_MASK)
		return p;
	if (w->x->watch->key)
		touch(w->x->watch->key, addr, n, false);
	if (!w->x->watch->stale || flags & WATCH_STRONG)
		return p;
	return cached(flags & WATCH_NC ? c->readonly : c->weak, addr, p);
}

void watch_write(struct warp *w, const struct insn *in, int lane, uint64_t addr, uint8_t *p, uint32_t n)
{
	struct sector *s;

	if (addr & WINDOW_MASK)
		return;
	if (w->x->watch->key)
		touch(w->x->watch->key, addr, n, true);
	if (!w->x->watch->stale)
		return;
	/* A block sees its own writes; the read-only cache does not. */
	s = place(((struct caches *)w->blk->caches)->weak, addr);
	if (s->tag == addr / SECTOR + 1)
		memcpy(s->bytes + addr % SECTOR, p, n);
}

void watch_atomic(struct warp *w, const struct insn *in, int lane, uint64_t addr, uint32_t n)
{
	struct sector *s;

	if (addr & WINDOW_MASK)
		return;
	/* Two atomics do not race with each other: one that only reads is enough to be seen by plain accesses. */
	if (w->x->watch->key)
		touch(w->x->watch->key, addr, n, false);
	if (!w->x->watch->stale)
		return;
	s = place(((struct caches *)w->blk->caches)->weak, addr);
	if (s->tag == addr / SECTOR + 1)
		s->tag = 0;
}

void watch_fence(struct warp *w)
{
	if (w->x->watch->stale)
		memset(((struct caches *)w->blk->caches)->weak, 0, sizeof(((struct caches *)0)->weak));
}
