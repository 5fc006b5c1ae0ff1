/* A position in the program's iovec: what of it is still to be sent or filled. */
#pragma once
#include <stddef.h>
#include <sys/uio.h>

struct cursor {
	const struct iovec *iov;
	int cnt;
	size_t off;  /* into iov[0] */
	size_t left; /* bytes in all */
};

static inline void cursor_skip_empty(struct cursor *c)
{
	while (c->cnt && c->off == c->iov->iov_len) {
		c->iov++;
		c->cnt--;
		c->off = 0;
	}
}

static inline struct cursor cursor_init(const struct iovec *iov, int cnt)
{
	struct cursor c = { .iov = iov, .cnt = cnt };

	for (int i = 0; i < cnt; i++)
		c.left += iov[i].iov_len;
	cursor_skip_empty(&c);
	return c;
}

static inline char *cursor_ptr(const struct cursor *c)
{
	return (char *)c->iov->iov_base + c->off;
}

/* Contiguous bytes at the cursor. */
static inline size_t cursor_run(const struct cursor *c)
{
	return c->cnt ? c->iov->iov_len - c->off : 0;
}

static inline void cursor_advance(struct cursor *c, size_t n)
{
	c->left -= n;
	while (n) {
		size_t run = cursor_run(c), k = n < run ? n : run;
		c->off += k;
		n -= k;
		cursor_skip_empty(c);
	}
}

/* At most `max` entries and `limit` bytes from the cursor on; returns the entries, *ret_bytes their sum. */
static inline int cursor_export(const struct cursor *c, struct iovec *out, int max, size_t limit, size_t *ret_bytes)
{
	struct cursor t = *c;
	size_t sum = 0;
	int n = 0;

	while (n < max && t.left && sum < limit) {
		size_t k = cursor_run(&t);
		if (k > limit - sum)
			k = limit - sum;
		out[n++] = (struct iovec){ cursor_ptr(&t), k };
		sum += k;
		cursor_advance(&t, k);
	}
	*ret_bytes = sum;
	return n;
}
