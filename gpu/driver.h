/*
 * The real driver behind the hooks: one pointer for each row of driver.def, filled in as the program
 * finds its driver (shim/lookup.c), and the class that says what a row means for queued work.
 *
 * Threading: pointers are set once, before the program can call the hook that uses them; the
 * classes change only when everything is turned off.
 */
#pragma once
#include "cuda_abi.h"

#include <stdbool.h>

enum cuda_barrier {
	BARRIER_PASS,
	BARRIER_DRAIN,
	BARRIER_SYNC,
	BARRIER_WAIT,
	BARRIER_ALLOC,
	BARRIER_QUEUE,
	BARRIER_HOOK,
};

enum cuda_row {
#define CU(barrier, symbol, name, version, form) ROW_##name,
#include "driver.def"
#undef CU
	ROW_COUNT
};

/* Entries that the table does not know get one of these rows each; they drain everything. */
#define SPARE_ROWS 64
#define ROWS_AND_SPARES (ROW_COUNT + SPARE_ROWS)

struct cuda_row_info {
	const char *name, *symbol;
	int version;
	bool per_thread;
};

extern const struct cuda_row_info cuda_rows[ROW_COUNT];
extern unsigned char gpu_barrier_class[ROWS_AND_SPARES];
extern void *cuda_real[ROWS_AND_SPARES];

#define CALL(name, params) typedef CUresult fn_##name params;
CUDA_CALLS(CALL)
#undef CALL

#define REAL(name) ((fn_##name *)cuda_real[ROW_##name])
#define HAVE(name) (cuda_real[ROW_##name] != NULL)
