#include "real.h"

#include <dlfcn.h>
#include <gnu/libc-version.h>
#include <stdatomic.h>
#include <string.h>

enum { REQUIRED = 1, OPTIONAL = 0 };

typedef void *dlsym_fn(void *, const char *);

void *real_dlsym(void *handle, const char *name)
{
	static _Atomic(dlsym_fn *) cached;
	dlsym_fn *fn = atomic_load_explicit(&cached, memory_order_relaxed);

	if (!fn) {
		static const char *const versions[] = { "GLIBC_2.34", "GLIBC_2.2.5", "GLIBC_2.17" };
		for (unsigned i = 0; !fn && i < sizeof(versions) / sizeof(*versions); i++)
			fn = (dlsym_fn *)dlvsym(RTLD_NEXT, "dlsym", versions[i]);
		if (!fn)
			return NULL;
		atomic_store_explicit(&cached, fn, memory_order_relaxed);
	}
	return fn(handle, name);
}

#define HOOK(presence, ret, name, params, args)                                                    \
	static ret boot_##name params                                                              \
	{                                                                                          \
		real_init();                                                                       \
		return real.name args;                                                             \
	}
#include "hooks_libc.def"
#undef HOOK

struct real real = {
#define HOOK(presence, ret, name, params, args) .name = boot_##name,
#include "hooks_libc.def"
#undef HOOK
};

bool real_epoll_ctl_is_libcs;

static bool is_libcs(void *fn)
{
	Dl_info here, libc;

	return dladdr(fn, &here) && dladdr((void *)gnu_get_libc_version, &libc) && here.dli_fbase == libc.dli_fbase;
}

/* Threads may run this at once: each stores the same values. */
int real_init(void)
{
	static _Atomic int done = -1;
	int missing = 0;

	if (atomic_load_explicit(&done, memory_order_acquire) >= 0)
		return done;
#define HOOK(presence, ret, name, params, args)                                                    \
	real.name = (ret(*) params)real_dlsym(RTLD_NEXT, #name);                                   \
	missing += presence && !real.name;
#include "hooks_libc.def"
#undef HOOK
	real_epoll_ctl_is_libcs = real.epoll_ctl && is_libcs((void *)real.epoll_ctl);
	atomic_store_explicit(&done, missing, memory_order_release);
	return missing;
}
