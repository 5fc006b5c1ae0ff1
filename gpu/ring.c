#include "ring.h"

#include <errno.h>
#include <sys/mman.h>

/* What lies before every record; bytes == 0: nothing follows up to the end of the memory. */
struct frame {
	uint64_t bytes; /* of frame and record */
	uint64_t unused;
};

_Static_assert(sizeof(struct frame) == RING_ALIGN, "records follow their frames aligned");

int ring_init(struct ring *r, uint64_t size)
{
	void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		return -ENOMEM;
	r->mem = mem;
	r->size = size;
	r->reserved = 0;
	atomic_store(&r->head, 0);
	atomic_store(&r->tail, 0);
	return 0;
}

void ring_finish(struct ring *r)
{
	if (r->mem)
		munmap(r->mem, r->size);
	r->mem = NULL;
}

static struct frame *frame_at(const struct ring *r, uint64_t at)
{
	return (struct frame *)(r->mem + (at & (r->size - 1)));
}

static uint64_t framed(size_t bytes)
{
	return (sizeof(struct frame) + bytes + RING_ALIGN - 1) & ~(uint64_t)(RING_ALIGN - 1);
}

void *ring_reserve(struct ring *r, size_t bytes)
{
	uint64_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
	uint64_t to_end = r->size - (head & (r->size - 1));
	uint64_t skip = to_end < framed(bytes) ? to_end : 0;

	/* The consumer has read what it released: its reads come before our writes. */
	uint64_t used = head - atomic_load_explicit(&r->tail, memory_order_acquire);
	if (used + skip + framed(bytes) > r->size)
		return NULL;
	if (skip)
		frame_at(r, head)->bytes = 0;
	r->reserved = head + skip;
	return frame_at(r, r->reserved) + 1;
}

void ring_publish(struct ring *r, size_t bytes)
{
	frame_at(r, r->reserved)->bytes = framed(bytes);
	atomic_store_explicit(&r->head, r->reserved + framed(bytes), memory_order_release);
}

void *ring_next(const struct ring *r, uint64_t *cursor)
{
	if (*cursor == atomic_load_explicit(&r->head, memory_order_acquire))
		return NULL;
	struct frame *f = frame_at(r, *cursor);
	if (!f->bytes) {
		*cursor += r->size - (*cursor & (r->size - 1));
		f = frame_at(r, *cursor);
	}
	*cursor += f->bytes;
	return f + 1;
}

void ring_release(struct ring *r, uint64_t cursor)
{
	atomic_store_explicit(&r->tail, cursor, memory_order_release);
}
