/* The key that authenticates peers on other hosts; what a fit file is, SECURITY.md says. */
#pragma once
#include <stddef.h>
#include <stdint.h>

enum { SECRET_LEAST = 32, SECRET_MOST = 64 };

/* Of an empty path 0 bytes.  NULL, or why the file is not fit, in words that follow its name. */
const char *secret_read(const char *path, uint8_t ret_key[SECRET_MOST], size_t *ret_bytes);
