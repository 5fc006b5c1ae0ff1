#include "verbs_api.h"
#include "callsite.h"
#include "log.h"
#include "stats.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>

enum { IBVERBS, RDMACM };

struct verbs_api verbs;

static int result = -ENOENT;
static const char *const sonames[] = {"libibverbs.so.1", "librdmacm.so.1"};

static void *open_library(int which)
{
	void *lib = dlopen(sonames[which], RTLD_NOW | RTLD_LOCAL);

	if (!lib)
		log_info("RDMA is off: %s", dlerror());
	return lib;
}

static bool resolve(void *lib, const char *name, void *ret_pointer)
{
	void *found = dlsym(lib, name);

	if (!found)
		log_info("RDMA is off: this rdma-core has no %s", name);
	*(void **)ret_pointer = found;
	return found;
}

static bool resolve_all(void *const *libs)
{
	bool good = true;

#define VERB(library, name) good = good && resolve(libs[library], #name, &verbs.name);
#include "verbs_api.def"
#undef VERB
	return good;
}

/* Kernels since 5.12 give a child its own copy of a registered page. Before, the parent could be
 * the one that gets the copy; ibv_fork_init would guard against it, but only before any
 * registration of the program's own, which is not ours to know. */
static int check_fork(void)
{
	if (verbs.ibv_is_fork_initialized() == IBV_FORK_UNNEEDED)
		return 0;
	log_info("RDMA is off: registered memory does not survive a fork on this kernel");
	return -ENOTSUP;
}

static void load(void)
{
	void *libs[] = {open_library(IBVERBS), open_library(RDMACM)};

	if (libs[IBVERBS] && libs[RDMACM] && resolve_all(libs))
		result = check_fork();
	callsite_init(); /* receives tell apart by it what they wait for; without it by length alone */
}

int verbs_load(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, load);
	return result;
}

/* ---- registrar ---- */

/* No peer reads or writes the program's memory but through a window, for as long as a call has opened it; or, where there are none, reads by this key. */
static int reg(void *pd, uintptr_t start, size_t len, int access, struct memreg_key *ret_key)
{
	struct ibv_mr *mr = verbs.ibv_reg_mr(pd, (void *)start, len, IBV_ACCESS_LOCAL_WRITE | access);

	if (!mr)
		return -errno;
	stat_inc(STAT_rdma_registrations);
	*ret_key = (struct memreg_key){mr, mr->lkey, mr->rkey};
	return 0;
}

static int reg_pinned(void *pd, uintptr_t start, size_t len, struct memreg_key *ret_key)
{
	return reg(pd, start, len, IBV_ACCESS_REMOTE_READ, ret_key);
}

static int reg_windows(void *pd, uintptr_t start, size_t len, struct memreg_key *ret_key)
{
	return reg(pd, start, len, IBV_ACCESS_MW_BIND, ret_key);
}

static int reg_on_demand(void *pd, uintptr_t start, size_t len, struct memreg_key *ret_key)
{
	return reg(pd, start, len, IBV_ACCESS_REMOTE_READ | IBV_ACCESS_ON_DEMAND, ret_key);
}

static void dereg(void *pd, struct memreg_key *key)
{
	verbs.ibv_dereg_mr(key->handle);
}

const struct memreg_ops verbs_registrar = {reg_pinned, dereg, false};
const struct memreg_ops verbs_registrar_windows = {reg_windows, dereg, false};
const struct memreg_ops verbs_registrar_on_demand = {reg_on_demand, dereg, true};

static const struct memreg_ops *registrar_pinned(struct ibv_context *context)
{
	struct ibv_device_attr attr = {0};
	unsigned windows = IBV_DEVICE_MEM_WINDOW_TYPE_2A | IBV_DEVICE_MEM_WINDOW_TYPE_2B;

	return !verbs.ibv_query_device(context, &attr) && attr.device_cap_flags & windows ? &verbs_registrar_windows : &verbs_registrar;
}

/* No device at hand has both on-demand paging and windows to try: paging is worth more. */
const struct memreg_ops *verbs_registrar_for(struct ibv_context *context)
{
	uint32_t need = IBV_ODP_SUPPORT_READ;
	struct verbs_context *ext = verbs_get_ctx_op(context, query_device_ex);
	struct ibv_device_attr_ex attr = {0};

	/* ibv_query_device_ex is inline and calls the library past the table. */
	if (!ext || ext->query_device_ex(context, NULL, &attr, sizeof(attr)))
		return registrar_pinned(context);
	if (!(attr.odp_caps.general_caps & IBV_ODP_SUPPORT))
		return registrar_pinned(context);
	if ((attr.odp_caps.per_transport_caps.rc_odp_caps & need) != need)
		return registrar_pinned(context);
	return &verbs_registrar_on_demand;
}
