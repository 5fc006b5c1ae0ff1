/*
 * The real dlsym and dlvsym, found without either: in the symbol tables of the objects that come
 * after this one. Idempotent, safe from any thread, and before any constructor has run.
 */
#pragma once

typedef void *dlsym_fn(void *handle, const char *name);
typedef void *dlvsym_fn(void *handle, const char *name, const char *version);

extern dlsym_fn *loader_dlsym;
extern dlvsym_fn *loader_dlvsym;

void loader_init(void);
