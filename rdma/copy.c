#include "copy.h"

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <emmintrin.h>

enum { LINE = 64, PAGE = 4096 };

static inline __attribute__((always_inline)) void *by_lines(char *to, const char *from, size_t n, void (*store)(__m128i *, __m128i))
{
	size_t head = -(uintptr_t)to & (LINE - 1);
	char *dst = to;

	if (n < head + LINE)
		return memcpy(to, from, n);
	memcpy(to, from, head);
	for (to += head, from += head, n -= head; n >= LINE; to += LINE, from += LINE, n -= LINE) {
		const __m128i *f = (const void *)from;
		__m128i *t = (void *)to;
		__m128i a = _mm_loadu_si128(f), b = _mm_loadu_si128(f + 1), c = _mm_loadu_si128(f + 2), d = _mm_loadu_si128(f + 3);
		store(t, a);
		store(t + 1, b);
		store(t + 2, c);
		store(t + 3, d);
	}
	memcpy(to, from, n);
	return dst;
}

static inline void store_cached(__m128i *to, __m128i v)
{
	_mm_store_si128(to, v);
}

static inline void store_past(__m128i *to, __m128i v)
{
	_mm_stream_si128(to, v);
}

/*
 * libc's memcpy is a `rep movsb`, which takes two to five times as long where the target lies 1 to 31 bytes behind the
 * source, modulo a page (AMD, glibc 2.36).  The ring is aligned, and malloc's large buffers lie 16 bytes behind a page's begin.
 */
static int is_slow_for_memcpy(const void *dst, const void *src, size_t n)
{
	return n >= 1024 && (((uintptr_t)dst - (uintptr_t)src) & (PAGE - 1)) - 1 < 31;
}

void *copy_through_caches(void *restrict dst, const void *restrict src, size_t n)
{
	if (is_slow_for_memcpy(dst, src, n))
		return by_lines(dst, src, n, store_cached);
	return memcpy(dst, src, n);
}

void *copy_past_caches(void *restrict dst, const void *restrict src, size_t n)
{
	by_lines(dst, src, n, store_past);
	_mm_sfence(); /* such stores are ordered by nothing else, not by the release that publishes them */
	return dst;
}

#else

void *copy_through_caches(void *restrict dst, const void *restrict src, size_t n)
{
	return memcpy(dst, src, n);
}

void *copy_past_caches(void *restrict dst, const void *restrict src, size_t n)
{
	return memcpy(dst, src, n);
}

#endif
