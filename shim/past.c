#include "past.h"

#include "driver.h"
#include "gpu.h"
#include "loader.h"
#include "log.h"
#include "lookup.h"
#include "stats.h"
#include "sys.h"

#include <string.h>

#if defined(__x86_64__)
#define JUMP_SLOT R_X86_64_JUMP_SLOT
#define GLOB_DAT R_X86_64_GLOB_DAT
#define ADDRESS R_X86_64_64
#else
#define JUMP_SLOT R_AARCH64_JUMP_SLOT
#define GLOB_DAT R_AARCH64_GLOB_DAT
#define ADDRESS R_AARCH64_ABS64
#endif

_Atomic bool past_watched;

static int watcher; /* the process; in its children nothing is deferred anyway */
static struct dl_phdr_info driver; /* whose object stays: it was opened once more */

/*
 * Objects stand in the order in which they came; one that goes moves those behind it. Changed only while the loader goes
 * through them, which it does for one thread at a time.
 */
static struct seen {
	unsigned objects;
	unsigned long long adds, subs;
} seen;

/* Found under the loader's lock, acted upon outside of it. */
struct findings {
	bool again; /* look at all, not only at what is new */
	unsigned at;
	bool past;
	char unknown[64];
};

struct references {
	ElfW(Addr) base;
	const ElfW(Sym) * sym;
	const char *str;
	struct {
		const ElfW(Rela) * at;
		size_t first, count;
	} rela[2]; /* of functions called, of all others */
};

static void read_dynamic(const ElfW(Dyn) * d, struct references *r)
{
	static const ElfW(Sxword) tag[2][2] = { { DT_JMPREL, DT_PLTRELSZ }, { DT_RELA, DT_RELASZ } };
	const ElfW(Dyn) *relative = loader_tag(d, DT_RELACOUNT);

	r->sym = loader_table(r->base, d, DT_SYMTAB);
	r->str = loader_table(r->base, d, DT_STRTAB);
	for (int k = 0; k < 2; k++) {
		const ElfW(Dyn) *bytes = loader_tag(d, tag[k][1]);
		r->rela[k].at = loader_table(r->base, d, tag[k][0]);
		r->rela[k].count = bytes ? bytes->d_un.d_val / sizeof(ElfW(Rela)) : 0;
	}
	/* These name no symbol, stand first, and are a million in some libraries. */
	r->rela[1].first = relative ? relative->d_un.d_val : 0;
}

static const char *name_of(const struct references *r, const ElfW(Rela) * rela)
{
	uint32_t type = (uint32_t)ELF64_R_TYPE(rela->r_info);

	if (type != JUMP_SLOT && type != GLOB_DAT && type != ADDRESS)
		return "";
	return r->str + r->sym[ELF64_R_SYM(rela->r_info)].st_name;
}

static bool is_unknown(const char *name, const void *leads_to)
{
	return name[2] >= 'A' && name[2] <= 'Z' &&
	       (loader_contains(&driver, (uintptr_t)leads_to) || loader_find(&driver, name));
}

static void look_at(const struct references *r, const ElfW(Rela) * rela, struct findings *f)
{
	const char *name = name_of(r, rela);
	const void *leads_to;
	int row;

	if (name[0] != 'c' || name[1] != 'u')
		return;
	leads_to = *(void *const *)(r->base + rela->r_offset);
	row = cuda_row_of(name);
	if (row >= 0)
		f->past |= dl_hooks[row] && cuda_real[row] && leads_to == cuda_real[row];
	else if (is_unknown(name, leads_to))
		strncpy(f->unknown, name, sizeof(f->unknown) - 1);
}

static void look_at_all(const struct references *r, struct findings *f)
{
	for (int k = 0; k < 2; k++)
		for (size_t i = r->rela[k].first; r->rela[k].at && i < r->rela[k].count; i++)
			look_at(r, &r->rela[k].at[i], f);
}

static bool is_driver(const struct dl_phdr_info *info)
{
	return info->dlpi_addr == driver.dlpi_addr && info->dlpi_phdr == driver.dlpi_phdr;
}

/* False: nothing has come since the last time. */
static bool begin(const struct dl_phdr_info *info, const struct findings *f)
{
	unsigned long long gone = info->dlpi_subs - seen.subs;
	bool any = f->again || info->dlpi_adds != seen.adds;

	seen.objects = f->again || gone > seen.objects ? 0 : seen.objects - (unsigned)gone;
	seen.adds = info->dlpi_adds;
	seen.subs = info->dlpi_subs;
	return any;
}

static int look(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct references r = { .base = info->dlpi_addr };
	struct findings *f = arg;

	if (!f->at && !begin(info, f))
		return 1;
	if (f->at++ < seen.objects)
		return 0;
	seen.objects = f->at;
	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_DYNAMIC)
			read_dynamic((const void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr), &r);
	if (r.sym && r.str && !is_driver(info))
		look_at_all(&r, f);
	return 0;
}

static int find_driver(struct dl_phdr_info *info, size_t size, void *arg)
{
	if (!loader_contains(info, (uintptr_t)arg))
		return 0;
	driver = *info;
	return 1;
}

static void turn_off(enum stat_id why, const char *unknown)
{
	if (unknown)
		log_info("cuda: %s is newer than this version knows, and its calls are not seen", unknown);
	gpu_off(why);
}

void past_unknown(const char *name)
{
	turn_off(FALLBACK_CUDA_UNSEEN, name);
}

/* When the program ends everything is off: what remains is to say why it should have been before. */
static void say(enum stat_id why, const char *unknown)
{
	fallback(why);
}

static void look_through(bool again, void (*act)(enum stat_id why, const char *unknown))
{
	static _Atomic bool found_past, found_unknown;
	struct findings f = { .again = again };

	dl_iterate_phdr(look, &f);
	if (f.past && !atomic_exchange(&found_past, true))
		act(FALLBACK_CUDA_PAST, NULL);
	if (f.unknown[0] && !atomic_exchange(&found_unknown, true))
		act(FALLBACK_CUDA_UNSEEN, f.unknown);
}

static bool is_watcher(void)
{
	return (int)sys_call(SYS_getpid) == watcher;
}

void past_look(void)
{
	if (is_watcher())
		look_through(false, turn_off);
}

void past_watch(void)
{
	/* Whatever that look-up has to make is made before the loader's lock is held. */
	cuda_row_of("cuInit");
	if (dl_iterate_phdr(find_driver, cuda_real[ROW_cuInit]))
		atomic_store(&past_watched, true);
	watcher = (int)sys_call(SYS_getpid);
	look_through(true, turn_off);
}

void past_report(void)
{
	if (is_watcher())
		look_through(true, say);
}
