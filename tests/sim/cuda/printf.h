/* The device's printf: lines gather in a buffer and come out when the host synchronises. Thread-safe. */
#ifndef SIMCUDA_PRINTF_H
#define SIMCUDA_PRINTF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* arg copies size bytes at offset off of the argument buffer; str copies a string of the device. */
int device_printf(const char *fmt, bool (*arg)(void *, uint32_t off, uint32_t size, void *ret),
		  bool (*str)(void *, uint64_t addr, char *buf, size_t cap), void *ctx);
void device_print_assert(const char *msg, const char *file, uint32_t line, const char *fn, const uint32_t *ctaid,
			 uint32_t thread);
void device_printf_flush(void);

#endif
