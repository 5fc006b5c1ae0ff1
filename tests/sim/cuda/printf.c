#include "printf.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
	pthread_mutex_t lock;
	char *text;
	size_t n, cap;
} out = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void put(const char *s, size_t n)
{
	pthread_mutex_lock(&out.lock);
	if (out.n + n > out.cap) {
		out.cap = (out.n + n) * 2;
		out.text = realloc(out.text, out.cap);
		if (!out.text)
			abort();
	}
	memcpy(out.text + out.n, s, n);
	out.n += n;
	pthread_mutex_unlock(&out.lock);
}

void device_printf_flush(void)
{
	pthread_mutex_lock(&out.lock);
	if (out.n) {
		fwrite(out.text, 1, out.n, stdout);
		fflush(stdout);
		out.n = 0;
	}
	pthread_mutex_unlock(&out.lock);
}

/* One conversion, from '%' to its letter, rebuilt with a length that suits what is passed to snprintf(). */
struct spec {
	char flags[32];
	bool wide; /* l, ll, z, j: 8 bytes */
	char conv;
};

static const char *parse_spec(const char *p, struct spec *s)
{
	size_t n = 0;

	*s = (struct spec){0};
	while (*p && strchr("-+ #0123456789.", *p) && n < sizeof(s->flags) - 1)
		s->flags[n++] = *p++;
	while (*p && strchr("hljztL", *p)) {
		s->wide |= *p != 'h' && *p != 'L';
		p++;
	}
	s->conv = *p;
	return *p ? p + 1 : p;
}

static int format_one(char *buf, size_t cap, const struct spec *s, uint64_t v, const char *str)
{
	char f[48];
	double d;

	switch (s->conv) {
	case 'd': case 'i':
		snprintf(f, sizeof(f), "%%%sll%c", s->flags, s->conv);
		return snprintf(buf, cap, f, s->wide ? (long long)v : (long long)(int32_t)v);
	case 'u': case 'x': case 'X': case 'o':
		snprintf(f, sizeof(f), "%%%sll%c", s->flags, s->conv);
		return snprintf(buf, cap, f, s->wide ? (unsigned long long)v : (unsigned long long)(uint32_t)v);
	case 'c':
		snprintf(f, sizeof(f), "%%%sc", s->flags);
		return snprintf(buf, cap, f, (int)v);
	case 'p':
		return snprintf(buf, cap, "0x%llx", (unsigned long long)v);
	case 's':
		snprintf(f, sizeof(f), "%%%ss", s->flags);
		return snprintf(buf, cap, f, str);
	default:
		snprintf(f, sizeof(f), "%%%s%c", s->flags, s->conv);
		memcpy(&d, &v, sizeof(d));
		return snprintf(buf, cap, f, d);
	}
}

int device_printf(const char *fmt, bool (*arg)(void *, uint32_t, uint32_t, void *),
		  bool (*str)(void *, uint64_t, char *, size_t), void *ctx)
{
	char line[4096], text[512];
	size_t n = 0;
	uint32_t off = 0;
	int count = 0;

	while (*fmt && n < sizeof(line) - 1) {
		struct spec s;
		uint64_t v = 0;
		uint32_t size;
		int r;

		if (*fmt != '%' || fmt[1] == '%') {
			fmt += *fmt == '%';
			line[n++] = *fmt++;
			continue;
		}
		fmt = parse_spec(fmt + 1, &s);
		if (!s.conv)
			break;
		size = s.wide || strchr("sfFeEgGaAp", s.conv) ? 8 : 4;
		off = (off + size - 1) & ~(size - 1);
		if (!arg(ctx, off, size, &v) || (s.conv == 's' && !str(ctx, v, text, sizeof(text))))
			return -1;
		off += size;
		count++;
		r = format_one(line + n, sizeof(line) - n, &s, v, text);
		n += r < 0 ? 0 : (size_t)r < sizeof(line) - n ? (size_t)r : sizeof(line) - n - 1;
	}
	put(line, n);
	return count;
}

void device_print_assert(const char *msg, const char *file, uint32_t line, const char *fn, const uint32_t *c, uint32_t thread)
{
	char buf[1024];
	int n = snprintf(buf, sizeof(buf), "%s:%u: %s: block: [%u,%u,%u], thread: %u Assertion `%s` failed.\n", file, line, fn,
			 c[0], c[1], c[2], thread, msg);

	put(buf, n < 0 ? 0 : (size_t)n < sizeof(buf) ? (size_t)n : sizeof(buf) - 1);
}
