/*
 * How programs find the driver: dlsym, dlvsym and cuGetProcAddress all end in one exact-name look-up
 * in gpu/driver.def. What the driver itself answers is kept as the real entry, what the program gets
 * is the hook. Names that are not the driver's never come here.
 *
 * Threading: any thread; a lock of its own, under which only the loader is called.
 */
#pragma once
#include "hooks.h"

/* dlsym's and dlvsym's assembly asks first whether a name is any business of ours. */
int cuda_dlsym_wanted(void *handle, const char *name);
void *cuda_dlsym(void *handle, const char *name);
void *cuda_dlvsym(void *handle, const char *name, const char *version);

/* The row of an entry by its exported name, or -1. */
int cuda_row_of(const char *name);

/* Where the thunks of export_cuda.S ask. args: the first six integer arguments. */
struct gpu_verdict cuda_gate(unsigned row, const uint64_t *args);

/* For hooks reached through the PLT, without any look-up before: 0 if the driver has this entry. */
int cuda_resolve_row(unsigned row);

/* From export_cuda.S: the address of each row's hook, NULL for those that are not hooked. */
extern void *const dl_hooks[];
/* The thunks for entries that the table does not know. */
extern void *const dl_spare_hooks[];
/* Entries of CUPTI whose use means that a profiler wants to see every call. */
extern void *const dl_cupti_hooks[];
