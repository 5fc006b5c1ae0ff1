#include "driver.h"

#define LEGACY false
#define PER_THREAD true

const struct cuda_row_info cuda_rows[ROW_COUNT] = {
#define CU(barrier, symbol, name, version, form) { #name, #symbol, version, form },
#include "driver.def"
#undef CU
};

unsigned char gpu_barrier_class[ROWS_AND_SPARES] = {
#define CU(barrier, symbol, name, version, form) BARRIER_##barrier,
#include "driver.def"
#undef CU
	[ROW_COUNT ... ROWS_AND_SPARES - 1] = BARRIER_DRAIN,
};

void *cuda_real[ROWS_AND_SPARES];
