/* Zstandard by the system's own library, opened when a fat binary asks for it. */
#include <dlfcn.h>

#include "sim.h"

bool zstd_unpack(const uint8_t *s, size_t n, uint8_t *d, size_t cap, size_t *ret_n)
{
	size_t (*decompress)(void *, size_t, const void *, size_t);
	unsigned (*is_error)(size_t);
	void *lib = dlopen("libzstd.so.1", RTLD_NOW | RTLD_LOCAL);

	if (!lib) {
		strict_report("libzstd.so.1 is not here: %s", dlerror());
		return false;
	}
	decompress = (size_t (*)(void *, size_t, const void *, size_t))dlsym(lib, "ZSTD_decompress");
	is_error = (unsigned (*)(size_t))dlsym(lib, "ZSTD_isError");
	if (decompress && is_error)
		*ret_n = decompress(d, cap, s, n);
	return decompress && is_error && !is_error(*ret_n);
}
