#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "callsite.h"
#include "recorder.h"

#define FRAMES 24
#define TEXT 1000
#define SEEN 4096 /* stacks whose text was written; one forgotten is written again, no harm */

#ifdef HAVE_UNWIND
#define UNWIND_LIBRARY "libunwind.so.8"
#else
#define UNWIND_LIBRARY NULL
#endif

static int (*backtrace_fn)(void **frames, int size);
static uint64_t seen[SEEN];

int callsite_init(void)
{
	void *lib;

	if (backtrace_fn)
		return 0;
	lib = UNWIND_LIBRARY ? dlopen(UNWIND_LIBRARY, RTLD_NOW | RTLD_LOCAL) : NULL;
	if (!lib)
		return -ENOSYS;
	*(void **)&backtrace_fn = dlsym(lib, "unw_backtrace");
	return backtrace_fn ? 0 : -ENOSYS;
}

static uint64_t hash_frames(void *const *frames, int n)
{
	uint64_t h = 0x9e3779b97f4a7c15ULL;
	int k;

	for (k = 0; k < n; k++)
		h = (h ^ (uintptr_t)frames[k]) * 0xff51afd7ed558ccdULL;
	h ^= h >> 32;
	return h ? h : 1;
}

/* ---- texts, without stdio ---- */

struct text {
	char buf[TEXT + 1];
	size_t len;
};

static void put(struct text *t, const char *s)
{
	size_t n = strnlen(s, TEXT - t->len);

	memcpy(t->buf + t->len, s, n);
	t->len += n;
	t->buf[t->len] = '\0';
}

static void put_hex(struct text *t, uintptr_t v)
{
	char digits[2 + 2 * sizeof(v) + 1];
	char *p = digits + sizeof(digits) - 1;

	*p = '\0';
	do {
		*--p = "0123456789abcdef"[v & 15];
	} while (v >>= 4);
	put(t, "0x");
	put(t, p);
}

static void put_frame(struct text *t, void *frame)
{
	const char *name, *slash;
	Dl_info info;

	if (t->len)
		put(t, " < ");
	if (!dladdr(frame, &info) || !info.dli_fname) {
		put_hex(t, (uintptr_t)frame);
		return;
	}
	slash = strrchr(info.dli_fname, '/');
	name = slash ? slash + 1 : info.dli_fname;
	put(t, name);
	put(t, "+");
	put_hex(t, (uintptr_t)frame - (uintptr_t)info.dli_fbase);
}

static void write_site(struct recorder *r, uint64_t key, void *const *frames, int n)
{
	struct text t = {.len = 0};
	int k;

	for (k = 0; k < n; k++)
		put_frame(&t, frames[k]);
	recorder_name(r, key, t.buf, NULL);
}

static bool first_time(uint64_t key)
{
	return __atomic_exchange_n(&seen[key % SEEN], key, __ATOMIC_RELAXED) != key;
}

uint64_t callsite_key(void)
{
	void *frames[FRAMES];
	int saved = errno, n = backtrace_fn ? backtrace_fn(frames, FRAMES) : 0;

	errno = saved;
	return n > 0 ? hash_frames(frames, n) : 0;
}

uint64_t callsite_site(struct recorder *r, unsigned skip)
{
	int saved = errno, n, from = (int)skip + 1;
	void *frames[FRAMES];
	uint64_t key = 0;

	if (!backtrace_fn || !recorder_on(r) || skip >= FRAMES)
		return 0;
	n = backtrace_fn(frames, FRAMES);
	if (n > from) {
		key = hash_frames(frames + from, n - from);
		if (first_time(key))
			write_site(r, key, frames + from, n - from);
	}
	errno = saved;
	return key;
}
