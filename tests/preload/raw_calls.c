/* A program that moves its bytes by system calls of its own, which nobody can interpose, as Go and
 * liburing do, mixed with libc's: nothing of such a connection may leave TCP, and no byte may differ. */
#include "pair.h"

#include <sys/syscall.h>

static long raw_call(long nr, long a, long b, long c)
{
	long r;

	__asm__ volatile("syscall" : "=a"(r) : "a"(nr), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return r;
}

static void raw_put(struct end *e, size_t n)
{
	char *buf = malloc(n);

	make(e, buf, n);
	for (size_t done = 0; done < n;) {
		long r = raw_call(SYS_write, e->fd, (long)(buf + done), n - done);

		check(r > 0);
		done += r;
	}
	free(buf);
}

static void raw_take(struct end *e, size_t n)
{
	char *buf = malloc(n);

	for (size_t done = 0; done < n;) {
		long r = raw_call(SYS_read, e->fd, (long)(buf + done), n - done);

		check(r > 0);
		took(e, buf + done, r);
		done += r;
	}
	free(buf);
}

static void exchange(struct end *e, size_t n, int raw)
{
	if (e->role == CLIENT) {
		raw ? raw_put(e, n) : put(e, e->fd, n);
		raw ? raw_take(e, n) : take(e, e->fd, n);
	} else {
		raw ? raw_take(e, n) : take(e, e->fd, n);
		raw ? raw_put(e, n) : put(e, e->fd, n);
	}
}

static void both(struct end *e)
{
	/* From the first byte on: what is counted later cannot agree with the kernel's count. */
	exchange(e, 10, 1);
	for (int i = 0; i < 20; i++) {
		exchange(e, 100 << (i % 12), i % 3 == 0);
		exchange(e, 100000, i % 2);
	}
	say("done");
}

const struct pair pair = { .client = both, .server = both, .cold = 1 };
