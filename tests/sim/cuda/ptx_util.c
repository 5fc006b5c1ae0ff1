#include "ptx.h"

#include <stdlib.h>
#include <string.h>

struct chunk {
	struct chunk *next;
	size_t used, cap;
	char data[] __attribute__((aligned(16)));
};

struct arena {
	struct chunk *head;
};

struct arena *arena_create(void)
{
	return calloc(1, sizeof(struct arena));
}

void arena_destroy(struct arena *a)
{
	if (!a)
		return;
	for (struct chunk *c = a->head, *n; c; c = n) {
		n = c->next;
		free(c);
	}
	free(a);
}

void *arena_alloc(struct arena *a, size_t size)
{
	struct chunk *c = a->head;
	size_t cap;

	size = (size + 15) & ~(size_t)15;
	if (!c || c->cap - c->used < size) {
		cap = size > 65536 ? size : 65536;
		c = calloc(1, sizeof(*c) + cap);
		if (!c)
			abort();
		c->cap = cap;
		c->next = a->head;
		a->head = c;
	}
	c->used += size;
	return c->data + c->used - size;
}

char *arena_strdup(struct arena *a, const char *s, size_t n)
{
	char *r = arena_alloc(a, n + 1);

	memcpy(r, s, n);
	return r;
}

static size_t hash_name(const char *s, size_t n)
{
	size_t h = 1469598103934665603u;

	while (n--)
		h = (h ^ (unsigned char)*s++) * 1099511628211u;
	return h;
}

void strmap_init(struct strmap *m)
{
	memset(m, 0, sizeof(*m));
}

void strmap_finish(struct strmap *m)
{
	free(m->slot);
	memset(m, 0, sizeof(*m));
}

static void strmap_grow(struct strmap *m)
{
	struct strmap old = *m;

	m->cap = old.cap ? old.cap * 2 : 64;
	m->n = 0;
	m->slot = calloc(m->cap, sizeof(*m->slot));
	if (!m->slot)
		abort();
	for (size_t i = 0; i < old.cap; i++)
		if (old.slot[i].key)
			strmap_set(m, old.slot[i].key, old.slot[i].val);
	free(old.slot);
}

void strmap_set(struct strmap *m, const char *key, int val)
{
	size_t i;

	if (m->n * 2 >= m->cap)
		strmap_grow(m);
	for (i = hash_name(key, strlen(key)) & (m->cap - 1); m->slot[i].key; i = (i + 1) & (m->cap - 1))
		if (!strcmp(m->slot[i].key, key))
			break;
	if (!m->slot[i].key)
		m->n++;
	m->slot[i].key = key;
	m->slot[i].val = val;
}

int strmap_get(const struct strmap *m, const char *key, size_t len)
{
	if (!m->cap)
		return -1;
	for (size_t i = hash_name(key, len) & (m->cap - 1); m->slot[i].key; i = (i + 1) & (m->cap - 1))
		if (!strncmp(m->slot[i].key, key, len) && !m->slot[i].key[len])
			return m->slot[i].val;
	return -1;
}

static const struct { const char *name; uint32_t size; } types[T_COUNT] = {
	[T_NONE] = {"", 0},
	[T_B8] = {"b8", 1}, [T_B16] = {"b16", 2}, [T_B32] = {"b32", 4}, [T_B64] = {"b64", 8},
	[T_B128] = {"b128", 16},
	[T_U8] = {"u8", 1}, [T_U16] = {"u16", 2}, [T_U32] = {"u32", 4}, [T_U64] = {"u64", 8},
	[T_S8] = {"s8", 1}, [T_S16] = {"s16", 2}, [T_S32] = {"s32", 4}, [T_S64] = {"s64", 8},
	[T_F16] = {"f16", 2}, [T_F16X2] = {"f16x2", 4}, [T_BF16] = {"bf16", 2}, [T_BF16X2] = {"bf16x2", 4},
	[T_TF32] = {"tf32", 4}, [T_F32] = {"f32", 4}, [T_F32X2] = {"f32x2", 8}, [T_F64] = {"f64", 8},
	[T_U16X2] = {"u16x2", 4}, [T_S16X2] = {"s16x2", 4},
	[T_PRED] = {"pred", 4},
};

enum ptx_type ptx_type_of(const char *name)
{
	for (int t = 1; t < T_COUNT; t++)
		if (!strcmp(types[t].name, name))
			return (enum ptx_type)t;
	return T_NONE;
}

uint32_t ptx_type_size(enum ptx_type t)
{
	return types[t].size;
}

struct ptx_func *ptx_find_func(const struct ptx_module *m, const char *name)
{
	struct ptx_func *proto = NULL;

	for (struct ptx_func *f = m->funcs; f; f = f->next)
		if (!strcmp(f->name, name)) {
			if (f->has_body)
				return f;
			proto = f;
		}
	return proto;
}
