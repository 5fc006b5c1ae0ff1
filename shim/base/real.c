#include "real.h"

#include <dlfcn.h>
#include <gnu/libc-version.h>
#include <link.h>
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

_Atomic bool real_data_is_direct;

struct range {
	uintptr_t from, to;
};

static bool is_in(const struct range *r, const void *fn)
{
	return (uintptr_t)fn >= r->from && (uintptr_t)fn < r->to;
}

static int find_libc(struct dl_phdr_info *info, size_t size, void *arg)
{
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		uintptr_t from = info->dlpi_addr + p->p_vaddr;
		struct range r = { from, from + p->p_memsz };
		if (p->p_type != PT_LOAD || !is_in(&r, (const void *)gnu_get_libc_version))
			continue;
		*(struct range *)arg = r;
		return 1;
	}
	return 0;
}

/* By where libc's code lies: dladdr goes through its symbols, one by one. */
static void find_out_whose(void)
{
	struct range libc = { 0, 0 };

	dl_iterate_phdr(find_libc, &libc);
	const void *data[] = { (const void *)real.read, (const void *)real.readv, (const void *)real.recv, (const void *)real.recvmsg,
		(const void *)real.write, (const void *)real.writev, (const void *)real.send, (const void *)real.sendmsg };
	bool all = true;
	for (unsigned i = 0; i < sizeof(data) / sizeof(*data); i++)
		all &= is_in(&libc, data[i]);
	real_data_is_direct = all;
	real_epoll_ctl_is_libcs = is_in(&libc, (const void *)real.epoll_ctl);
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
	find_out_whose();
	atomic_store_explicit(&done, missing, memory_order_release);
	return missing;
}
