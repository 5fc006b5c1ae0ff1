#include "past.h"

#include "driver.h"
#include "loader.h"
#include "lookup.h"
#include "stats.h"

#if defined(__x86_64__)
#define JUMP_SLOT R_X86_64_JUMP_SLOT
#define GLOB_DAT R_X86_64_GLOB_DAT
#else
#define JUMP_SLOT R_AARCH64_JUMP_SLOT
#define GLOB_DAT R_AARCH64_GLOB_DAT
#endif

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

static bool leads_past(const struct references *r, const ElfW(Rela) * rela)
{
	const char *name = r->str + r->sym[ELF64_R_SYM(rela->r_info)].st_name;
	uint32_t type = (uint32_t)ELF64_R_TYPE(rela->r_info);
	int row;

	if ((type != JUMP_SLOT && type != GLOB_DAT) || name[0] != 'c' || name[1] != 'u')
		return false;
	row = cuda_row_of(name);
	return row >= 0 && dl_hooks[row] && cuda_real[row] &&
	       *(void *const *)(r->base + rela->r_offset) == cuda_real[row];
}

static bool any_leads_past(const struct references *r)
{
	for (int k = 0; k < 2; k++)
		for (size_t i = r->rela[k].first; r->rela[k].at && i < r->rela[k].count; i++)
			if (leads_past(r, &r->rela[k].at[i]))
				return true;
	return false;
}

static int look(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct references r = { .base = info->dlpi_addr };

	if (loader_contains(info, (uintptr_t)cuda_real[ROW_cuInit]))
		return 0;
	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_DYNAMIC)
			read_dynamic((const void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr), &r);
	if (r.sym && r.str && any_leads_past(&r))
		fallback(FALLBACK_CUDA_PAST);
	return 0;
}

void past_report(void)
{
	dl_iterate_phdr(look, NULL);
}
