#include "lookup.h"

#include "gpu.h"
#include "hooks.h"
#include "loader.h"
#include "futex.h"
#include "log.h"
#include "past.h"
#include "settings.h"
#include "stats.h"
#include "text.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAMES 2048 /* a power of two, more than twice the rows */
#define CUPTI_ROW ROWS_AND_SPARES
#define DRIVER_MISSING 303 /* CUDA_ERROR_SHARED_OBJECT_INIT_FAILED */

static struct lock lock;
static _Atomic bool indexed;
static uint16_t by_name[NAMES], by_symbol[NAMES]; /* row + 1; of a symbol: the first of its rows */
static _Atomic bool bound;
static const void *driver_base;
static unsigned spares;

static const char *const cupti_names[] = {
#define CUPTI(name) #name,
#include "cupti.def"
#undef CUPTI
};
#define CUPTI_COUNT (sizeof(cupti_names) / sizeof(*cupti_names))
static void *cupti_real[CUPTI_COUNT];

/* Another library's constructor may ask before ours has run. */
static bool enabled(void)
{
	static _Atomic bool read;

	if (!atomic_exchange_explicit(&read, true, memory_order_relaxed))
		settings_read(environ);
	return settings.enabled && settings.cuda;
}

static uint32_t hash_name(const char *s)
{
	uint32_t h = 2166136261u;

	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 16777619u;
	return h ^ (h >> 15);
}

/* Rows of one symbol stand together in the table, so the first one found leads to all. */
static void index_row(uint16_t *table, const char *key, bool symbol, unsigned row)
{
	uint32_t i = hash_name(key) & (NAMES - 1);

	for (; table[i]; i = (i + 1) & (NAMES - 1))
		if (symbol && text_equal(cuda_rows[table[i] - 1].symbol, key))
			return;
	table[i] = (uint16_t)(row + 1);
}

static void index_rows(void)
{
	if (atomic_load_explicit(&indexed, memory_order_acquire))
		return;
	lock_take(&lock);
	if (!atomic_load(&indexed)) {
		for (unsigned i = 0; i < ROW_COUNT; i++) {
			index_row(by_name, cuda_rows[i].name, false, i);
			index_row(by_symbol, cuda_rows[i].symbol, true, i);
		}
		atomic_store_explicit(&indexed, true, memory_order_release);
	}
	lock_drop(&lock);
}

int cuda_row_of(const char *name)
{
	index_rows();
	for (uint32_t i = hash_name(name) & (NAMES - 1); by_name[i]; i = (i + 1) & (NAMES - 1))
		if (text_equal(cuda_rows[by_name[i] - 1].name, name))
			return by_name[i] - 1;
	return -1;
}

static int first_of_symbol(const char *symbol)
{
	index_rows();
	for (uint32_t i = hash_name(symbol) & (NAMES - 1); by_symbol[i]; i = (i + 1) & (NAMES - 1))
		if (text_equal(cuda_rows[by_symbol[i] - 1].symbol, symbol))
			return by_symbol[i] - 1;
	return -1;
}

/* The newest row of the symbol that is not newer than `version`. */
static int newest(const char *symbol, int version, bool per_thread)
{
	int best = -1, first = first_of_symbol(symbol);

	if (first < 0)
		return -1;
	for (unsigned i = (unsigned)first; i < ROW_COUNT && text_equal(cuda_rows[i].symbol, symbol); i++)
		if (cuda_rows[i].per_thread == per_thread && cuda_rows[i].version <= version &&
			(best < 0 || cuda_rows[i].version > cuda_rows[best].version))
			best = (int)i;
	return best;
}

static int row_by_symbol(const char *symbol, int version, uint64_t flags)
{
	int row = flags & CU_GET_PROC_PER_THREAD ? newest(symbol, version, true) : -1;

	return row >= 0 ? row : newest(symbol, version, false);
}

/* The entry behind ours: the next in the program's own scope, or wherever a driver is loaded. */
static void *next_after_us(const char *name, const char *library)
{
	void *p = loader_dlsym(RTLD_NEXT, name);
	void *handle = p ? NULL : dlopen(library, RTLD_LAZY | RTLD_NOLOAD);

	if (!handle)
		return p;
	p = loader_dlsym(handle, name);
	dlclose(handle);
	return p;
}

static void report_missing(void)
{
	char names[400];
	unsigned have = 0, total = 0, len = 0;

	names[0] = 0;
	for (unsigned i = 0; i < ROW_COUNT; i++) {
		if (!dl_hooks[i])
			continue;
		total++;
		have += cuda_real[i] != NULL;
		size_t n = strlen(cuda_rows[i].name);
		if (cuda_real[i] || len + n + 2 > sizeof(names))
			continue;
		names[len++] = ' ';
		memcpy(names + len, cuda_rows[i].name, n + 1);
		len += (unsigned)n;
	}
	stat_add(STAT_cuda_hooks, have);
	stat_add(STAT_cuda_hooks_missing, total - have);
	log_info("cuda: %u/%u hooks%s%s", have, total, have < total ? "; this driver lacks" : "",
		names);
}

/* The first entry seen tells which object is the driver; all others are taken from there. */
static void bind_driver(void *entry)
{
	Dl_info info;
	void *handle = NULL;
	bool first = false;

	if (atomic_load_explicit(&bound, memory_order_acquire))
		return;
	lock_take(&lock);
	if (!atomic_load(&bound) && dladdr(entry, &info)) {
		driver_base = info.dli_fbase;
		/* Kept: the real entries must stay where they are. */
		handle = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
		for (unsigned i = 0; i < ROW_COUNT; i++) {
			const char *name = cuda_rows[i].name;
			if (handle)
				cuda_real[i] = loader_dlsym(handle, name);
			if (!cuda_real[i])
				cuda_real[i] = next_after_us(name, "libcuda.so.1");
		}
		atomic_store_explicit(&bound, true, memory_order_release);
		report_missing();
		atexit(past_report);
		first = true;
	}
	lock_drop(&lock);
	if (first)
		past_watch();
}

static bool of_driver(const void *p)
{
	Dl_info info;

	return dladdr(p, &info) && info.dli_fbase == driver_base;
}

/* What the program gets for a known entry that the driver answered with p. */
static void *hooked(int row, void *p)
{
	if (!p || !enabled() || !dl_hooks[row])
		return p;
	bind_driver(p);
	if (cuda_real[row] != p && cuda_real[row] && !of_driver(p)) {
		gpu_off(FALLBACK_CUDA_SECOND_DRIVER);
		return p;
	}
	if (!cuda_real[row])
		cuda_real[row] = p;
	return dl_hooks[row];
}

/* An entry newer than this table drains everything, as one of which the table says no better. */
static void *hooked_unknown(const char *name, void *p)
{
	unsigned i;

	if (!p || !enabled())
		return p;
	bind_driver(p);
	if (!of_driver(p))
		return p;
	lock_take(&lock);
	for (i = 0; i < spares && cuda_real[ROW_COUNT + i] != p; i++)
		;
	if (i == spares && spares < SPARE_ROWS) {
		cuda_real[ROW_COUNT + i] = p;
		spares++;
		log_info("cuda: %s is newer than this version knows: it drains", name);
	}
	lock_drop(&lock);
	if (i < SPARE_ROWS)
		return dl_spare_hooks[i];
	gpu_off(FALLBACK_CUDA_SPARE);
	return p;
}

static int cupti_row(const char *name)
{
	for (unsigned i = 0; i < CUPTI_COUNT; i++)
		if (text_equal(name, cupti_names[i]))
			return (int)i;
	return -1;
}

/* By its name: an interposer that wraps the driver finds the driver itself, and there we are asked. */
static bool is_libcuda(const void *p)
{
	Dl_info info;
	const char *file;

	if (!p || !dladdr(p, &info) || !info.dli_fname)
		return false;
	file = strrchr(info.dli_fname, '/');
	return !strncmp(file ? file + 1 : info.dli_fname, "libcuda.so", 10);
}

static bool driver_has(const char *name)
{
	void *handle = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
	bool has = handle && loader_dlsym(handle, name);

	if (handle)
		dlclose(handle);
	return has;
}

/*
 * An entry that the table does not know and we do not export, in a scope that begins with the caller's: taken
 * where everybody sees the driver's. What only the caller may see we cannot give it: then nothing is deferred any more.
 */
static int unknown_wanted(void *handle, const char *name)
{
	void *p = handle == RTLD_DEFAULT ? loader_dlsym(RTLD_DEFAULT, name) : NULL;

	if (p)
		return is_libcuda(p);
	if (driver_has(name))
		past_unknown(name);
	return 0;
}

/* For these two scopes the caller matters, so of known names only those that we export ourselves are taken, or none. */
int cuda_dlsym_wanted(void *handle, const char *name)
{
	int row;

	if (atomic_load_explicit(&past_watched, memory_order_relaxed))
		past_look();
	if (name[0] != 'c' || name[1] != 'u')
		return 0;
	if (name[2] == 'p')
		return handle != RTLD_NEXT && cupti_row(name) >= 0;
	if (name[2] < 'A' || name[2] > 'Z')
		return 0;
	row = cuda_row_of(name);
	if (row >= 0)
		return handle != RTLD_NEXT && dl_hooks[row] != NULL;
	if (!enabled())
		return 0;
	return handle == RTLD_DEFAULT || handle == RTLD_NEXT ? unknown_wanted(handle, name) : 1;
}

static void *own_hook(int row, int cupti)
{
	return cupti >= 0 ? dl_cupti_hooks[cupti] : row >= 0 ? dl_hooks[row] : NULL;
}

static void *answer(const char *name, int row, int cupti, void *p)
{
	if (cupti >= 0) {
		if (!p || !enabled())
			return p;
		cupti_real[cupti] = p;
		return dl_cupti_hooks[cupti];
	}
	return row >= 0 ? hooked(row, p) : hooked_unknown(name, p);
}

static void *finish(const char *name, void *p)
{
	int cupti = name[2] == 'p' ? cupti_row(name) : -1;
	int row = cupti < 0 ? cuda_row_of(name) : -1;

	/* Found in a scope that begins with us: what the program means is the entry behind ours. */
	if (p && p == own_hook(row, cupti))
		return answer(name, row, cupti,
			next_after_us(name, cupti < 0 ? "libcuda.so.1" : "libcupti.so"));
	if (cupti < 0 && !is_libcuda(p))
		return p;
	return answer(name, row, cupti, p);
}

/* The default scope seen from here is the caller's but for libraries that only the caller sees. */
void *cuda_dlsym(void *handle, const char *name)
{
	return finish(name, loader_dlsym(handle, name));
}

void *cuda_dlvsym(void *handle, const char *name, const char *version)
{
	return finish(name, loader_dlvsym(handle, name, version));
}

int cuda_resolve_row(unsigned row)
{
	void *p;

	if (cuda_real[row])
		return 0;
	loader_init();
	p = next_after_us(cuda_rows[row].name, "libcuda.so.1");
	if (p)
		bind_driver(p);
	return cuda_real[row] ? 0 : DRIVER_MISSING;
}

static struct gpu_verdict cupti_gate(unsigned i)
{
	gpu_off(FALLBACK_CUDA_PROFILER);
	if (!cupti_real[i])
		cupti_real[i] = next_after_us(cupti_names[i], "libcupti.so");
	return (struct gpu_verdict){ cupti_real[i], DRIVER_MISSING };
}

struct gpu_verdict cuda_gate(unsigned row, const uint64_t *args)
{
	if (row >= CUPTI_ROW)
		return cupti_gate(row - CUPTI_ROW);
	if (!cuda_real[row] && cuda_resolve_row(row))
		return (struct gpu_verdict){ NULL, DRIVER_MISSING };
	return gpu_barrier(row, args);
}

static CUresult ask_v1(const char *symbol, void **ret_fn, int version, uint64_t flags)
{
	return REAL(cuGetProcAddress)(symbol, ret_fn, version, flags);
}

static CUresult ask_v2(const char *symbol, void **ret_fn, int version, uint64_t flags)
{
	int status;

	return REAL(cuGetProcAddress_v2)(symbol, ret_fn, version, flags, &status);
}

/* The row whose exported entry this is. Of several that are one code the likely one. */
static int row_of_entry(const void *p, int likely)
{
	if (likely >= 0 && cuda_real[likely] == p)
		return likely;
	for (unsigned i = 0; i < ROW_COUNT; i++)
		if (cuda_real[i] == p)
			return (int)i;
	return -1;
}

/* A driver may give other addresses than it exports: the row for which it gives this one. */
static int row_given_as(fn_cuGetProcAddress *ask, const char *symbol, const void *p)
{
	int first = first_of_symbol(symbol);

	for (unsigned i = (unsigned)first; first >= 0 && i < ROW_COUNT; i++) {
		const struct cuda_row_info *r = &cuda_rows[i];
		void *given = NULL;
		if (!text_equal(r->symbol, symbol))
			break;
		if (!ask(symbol, &given, r->version, r->per_thread ? CU_GET_PROC_PER_THREAD : 0) && given == p)
			return (int)i;
	}
	return -1;
}

/* What a name stands for in which version is the driver's to say: only what it gave tells the row. */
static void replace(
	fn_cuGetProcAddress *ask, const char *symbol, void **fn, int version, uint64_t flags)
{
	int row;

	if (!symbol || !*symbol || !fn || !*fn || !enabled())
		return;
	bind_driver(*fn);
	row = row_of_entry(*fn, row_by_symbol(symbol, version, flags));
	if (row < 0)
		row = row_given_as(ask, symbol, *fn);
	*fn = row >= 0 ? hooked(row, *fn) : hooked_unknown(symbol, *fn);
}

CUresult hook_cuGetProcAddress(const char *symbol, void **ret_fn, int version, uint64_t flags)
{
	CUresult result = REAL(cuGetProcAddress)(symbol, ret_fn, version, flags);

	if (!result)
		replace(ask_v1, symbol, ret_fn, version, flags);
	return result;
}

CUresult hook_cuGetProcAddress_v2(
	const char *symbol, void **ret_fn, int version, uint64_t flags, int *ret_status)
{
	CUresult result = REAL(cuGetProcAddress_v2)(symbol, ret_fn, version, flags, ret_status);

	if (!result)
		replace(ask_v2, symbol, ret_fn, version, flags);
	return result;
}
