#include "handles.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

static size_t bytes_of(uint32_t size)
{
	return size * sizeof(struct handle_slot);
}

int handles_init(struct handles *h, uint32_t size)
{
	void *mem = mmap(
		NULL, bytes_of(size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		return -ENOMEM;
	h->slot = mem;
	h->size = size;
	h->count = 0;
	return 0;
}

void handles_finish(struct handles *h)
{
	if (h->slot)
		munmap(h->slot, bytes_of(h->size));
	h->slot = NULL;
}

static uint32_t home(const struct handles *h, uint64_t key)
{
	return (uint32_t)(hash_mix(0x51ed, key) >> 7) & (h->size - 1);
}

/* The key's slot, or the free one where it would go. */
static struct handle_slot *probe_for(const struct handles *h, uint64_t key)
{
	uint32_t i = home(h, key);

	while (h->slot[i].used && h->slot[i].key != key)
		i = (i + 1) & (h->size - 1);
	return &h->slot[i];
}

uint64_t *handles_find(const struct handles *h, uint64_t key)
{
	struct handle_slot *s = probe_for(h, key);

	return s->used ? &s->value : NULL;
}

int handles_put(struct handles *h, uint64_t key, uint64_t value)
{
	struct handle_slot *s = probe_for(h, key);

	if (!s->used && h->count >= h->size / 4 * 3)
		return -ENOSPC;
	h->count += !s->used;
	*s = (struct handle_slot){ .key = key, .value = value, .used = 1 };
	return 0;
}

void handles_put_anyway(struct handles *h, uint64_t key, uint64_t value)
{
	if (!handles_put(h, key, value))
		return;
	handles_clear(h);
	handles_put(h, key, value);
}

/* Closes the gap, so that no search ends at it too early. */
void handles_remove(struct handles *h, uint64_t key)
{
	struct handle_slot *s = probe_for(h, key);
	uint32_t mask = h->size - 1, gap = (uint32_t)(s - h->slot);

	if (!s->used)
		return;
	h->count--;
	for (uint32_t i = (gap + 1) & mask; h->slot[i].used; i = (i + 1) & mask)
		if (((i - home(h, h->slot[i].key)) & mask) >= ((i - gap) & mask)) {
			h->slot[gap] = h->slot[i];
			gap = i;
		}
	h->slot[gap].used = 0;
}

void handles_clear(struct handles *h)
{
	if (h->count)
		memset(h->slot, 0, bytes_of(h->size));
	h->count = 0;
}
