/* The memory of a stream's links: one mapping, shared with a fork's children, in which each link has its room. */
#include "budget.h"
#include "verbs.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

enum { WORDS_BYTES = 4096 };

uint64_t link_rings_bytes(uint64_t ring_bytes)
{
	return 2 * ring_bytes + WORDS_BYTES;
}

bool link_fits(uint64_t more, uint64_t limit)
{
	return budget_fits(more, limit);
}

void link_count(struct link *l, uint64_t bytes)
{
	add_rlx(l->counted, bytes);
	budget_add(bytes);
}

uint64_t link_ring_wish(void)
{
	uint64_t limit = settings.net_memory / 4;

	for (int shift = RING_SHIFT_MOST; shift >= RING_SHIFT_LEAST; shift -= 2, limit *= 2)
		if (link_fits(link_rings_bytes(UINT64_C(1) << shift), limit))
			return UINT64_C(1) << shift;
	return 0;
}

void link_agree(struct link *l, uint64_t ring_bytes)
{
	l->ring_bytes = ring_bytes;
	l->words = (struct peer_words *)(l->ring + ring_bytes);
}

static size_t header_bytes(void)
{
	return (sizeof(struct links) + 4095) & ~(size_t)4095;
}

void link_lay_out(struct link *l, uint64_t ring_bytes)
{
	struct links *ls = l->links;

	l->staging = (char *)ls + header_bytes() + (size_t)(l - ls->link) * ls->room;
	l->ring = l->staging + ring_bytes;
	l->bounce = l->ring + ring_bytes + WORDS_BYTES;
	link_agree(l, ring_bytes);
}

void link_give_back(struct link *l)
{
	budget_give(load_rlx(l->counted));
	store_rlx(l->counted, 0);
	madvise(l->staging, l->links->room, MADV_REMOVE);
}

void link_clear(struct link *l)
{
	struct links *ls = l->links;

	link_give_back(l);
	memset(l, 0, sizeof(*l));
	l->links = ls;
	link_lay_out(l, ls->ring_bytes);
}

int links_map(struct meeting *m, uint64_t ring_bytes, struct links **ret_links)
{
	size_t room = link_rings_bytes(ring_bytes) + BOUNCE_BYTES, bytes = header_bytes() + LINKS * room;
	struct links *ls = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (ls == MAP_FAILED)
		return -ENOMEM;
	ls->meeting = m;
	ls->ring_bytes = ring_bytes;
	ls->room = room;
	ls->bytes = bytes;
	for (int i = 0; i < LINKS; i++) {
		ls->link[i].links = ls;
		link_lay_out(&ls->link[i], ring_bytes);
	}
	*ret_links = ls;
	return 0;
}

void links_unmap(struct links *ls)
{
	for (int i = 0; i < LINKS; i++)
		budget_give(load_rlx(ls->link[i].counted));
	munmap(ls, ls->bytes);
}
