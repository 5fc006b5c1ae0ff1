/*
 * Raw system calls for the shim's own traffic: they return -errno, leave errno alone, are no
 * cancellation points and are not seen by other interposers.  Calls made *for* the program go
 * through real.h instead.
 */
#pragma once
#include <errno.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
static inline long sys6(long n, long a, long b, long c, long d, long e, long f)
{
	long ret;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}
#elif defined(__aarch64__)
static inline long sys6(long n, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = n;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;
	__asm__ volatile("svc 0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}
#else
#error "dlaccel: no raw system calls for this architecture yet"
#endif

#define SYS_ARG(n, a, b, c, d, e, f, ...) \
	sys6(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define sys_call(...) SYS_ARG(__VA_ARGS__, 0, 0, 0, 0, 0, 0)

/* Beyond RLIMIT_FSIZE the kernel does not only refuse: SIGXFSZ would kill the program for a file of ours. */
static inline int sys_file_may_reach(uint64_t size)
{
	struct {
		uint64_t now, most;
	} limit;

	return sys_call(SYS_prlimit64, 0, 1 /* RLIMIT_FSIZE */, 0, &limit) || size <= limit.now;
}
