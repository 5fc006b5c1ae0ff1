/*
 * The real dlsym and dlvsym, found without either: in the symbol tables of the objects that come
 * after this one. Idempotent, safe from any thread, and before any constructor has run.
 */
#pragma once
#include <link.h>
#include <stdbool.h>
#include <stdint.h>

typedef void *dlsym_fn(void *handle, const char *name);
typedef void *dlvsym_fn(void *handle, const char *name, const char *version);

extern dlsym_fn *loader_dlsym;
extern dlvsym_fn *loader_dlvsym;

void loader_init(void);

/* Of an object's dynamic section: the entry with this tag, and the table that it leads to; or NULL. */
const ElfW(Dyn) *loader_tag(const ElfW(Dyn) * d, ElfW(Sxword) tag);
const void *loader_table(ElfW(Addr) base, const ElfW(Dyn) * d, ElfW(Sxword) tag);
/* What the object gives for this name; NULL: nothing, or its table cannot be read. Takes no lock. */
void *loader_find(const struct dl_phdr_info *info, const char *name);
/* Does this address lie in the object? */
bool loader_contains(const struct dl_phdr_info *info, uintptr_t p);
