#include "loader.h"
#include "text.h"

#include <elf.h>
#include <string.h>

dlsym_fn *loader_dlsym;
dlvsym_fn *loader_dlvsym;

struct symbols {
	ElfW(Addr) base;
	const ElfW(Sym) * sym;
	const char *str;
	const uint16_t *versym;
	const uint32_t *hash;
};

const ElfW(Dyn) *loader_tag(const ElfW(Dyn) * d, ElfW(Sxword) tag)
{
	for (; d->d_tag != DT_NULL; d++)
		if (d->d_tag == tag)
			return d;
	return NULL;
}

/* glibc relocates these addresses in place on most machines, but not in every object. */
const void *loader_table(ElfW(Addr) base, const ElfW(Dyn) * d, ElfW(Sxword) tag)
{
	ElfW(Addr) p;

	d = loader_tag(d, tag);
	if (!d)
		return NULL;
	p = d->d_un.d_ptr;
	return (const void *)(p < base ? base + p : p);
}

static bool read_dynamic(ElfW(Addr) base, const ElfW(Dyn) * d, struct symbols *ret)
{
	*ret = (struct symbols){ base, loader_table(base, d, DT_SYMTAB), loader_table(base, d, DT_STRTAB),
		loader_table(base, d, DT_VERSYM), loader_table(base, d, DT_GNU_HASH) };
	return ret->sym && ret->str && ret->hash;
}

static uint32_t gnu_hash(const char *name)
{
	uint32_t h = 5381;

	for (; *name; name++)
		h = h * 33 + (unsigned char)*name;
	return h;
}

/* Only the version that a plain reference would get: the top bit marks the old ones. */
static bool is_it(const struct symbols *s, uint32_t i, const char *name)
{
	return s->sym[i].st_shndx != SHN_UNDEF && !(s->versym && s->versym[i] & 0x8000) &&
	       text_equal(s->str + s->sym[i].st_name, name);
}

/* Layout: buckets, first symbol, words of the bloom filter, shift; the filter; buckets; chains. */
static void *find(const struct symbols *s, const char *name)
{
	uint32_t h = gnu_hash(name), buckets = s->hash[0], first = s->hash[1];
	const uint32_t *bucket = s->hash + 4 + s->hash[2] * (sizeof(ElfW(Addr)) / 4);
	const uint32_t *chain = bucket + buckets;
	uint32_t i = buckets ? bucket[h % buckets] : 0;

	if (i < first)
		return NULL;
	for (;; i++) {
		if ((chain[i - first] | 1) == (h | 1) && is_it(s, i, name))
			return (void *)(s->base + s->sym[i].st_value);
		if (chain[i - first] & 1)
			return NULL;
	}
}

bool loader_contains(const struct dl_phdr_info *info, uintptr_t p)
{
	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_LOAD &&
			p - info->dlpi_addr - info->dlpi_phdr[i].p_vaddr < info->dlpi_phdr[i].p_memsz)
			return true;
	return false;
}

void *loader_find(const struct dl_phdr_info *info, const char *name)
{
	struct symbols s;

	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_DYNAMIC &&
			read_dynamic(info->dlpi_addr,
				(const void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr), &s))
			return find(&s, name);
	return NULL;
}

static int look(struct dl_phdr_info *info, size_t size, void *arg)
{
	bool *behind_us = arg;
	struct symbols s;

	if (!*behind_us) {
		*behind_us = loader_contains(info, (uintptr_t)&loader_dlsym);
		return 0;
	}
	for (int i = 0; i < info->dlpi_phnum; i++) {
		if (info->dlpi_phdr[i].p_type != PT_DYNAMIC ||
			!read_dynamic(info->dlpi_addr,
				(const void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr), &s))
			continue;
		if (!loader_dlvsym)
			loader_dlvsym = (dlvsym_fn *)find(&s, "dlvsym");
		if (!loader_dlsym)
			loader_dlsym = (dlsym_fn *)find(&s, "dlsym");
	}
	return loader_dlsym && loader_dlvsym;
}

void loader_init(void)
{
	bool behind_us = false;

	if (!loader_dlsym || !loader_dlvsym)
		dl_iterate_phdr(look, &behind_us);
}
