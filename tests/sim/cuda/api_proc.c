/* cuGetProcAddress, and the per-thread twins: both made from the rows of entries.def. */
#include <string.h>

#include "api.h"

#define ENTRY(base, symbol, since, args)
#define STREAM_ENTRY(base, symbol, suffix, since, args, names) \
	CUresult symbol##suffix args \
	{ \
		CUresult rc; \
		tls.ptds++; \
		rc = symbol names; \
		tls.ptds--; \
		return rc; \
	}
#include "entries.def"
#undef ENTRY
#undef STREAM_ENTRY

struct row {
	const char *base;
	void *legacy, *per_thread;
	int since;
};

static const struct row rows[] = {
#define ENTRY(base, symbol, since, args) {#base, (void *)symbol, NULL, since},
#define STREAM_ENTRY(base, symbol, suffix, since, args, names) {#base, (void *)symbol, (void *)symbol##suffix, since},
#include "entries.def"
#undef ENTRY
#undef STREAM_ENTRY
};

static CUresult look_up(const char *name, void **ret, int version, cuuint64_t flags, int *status)
{
	const struct row *best = NULL;
	bool known = false;

	if (!ret || !name || flags > 2)
		return REFUSE(CUDA_ERROR_INVALID_VALUE);
	*ret = NULL;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		if (strcmp(rows[i].base, name) || rows[i].since > settings.driver_version)
			continue;
		known = true;
		if (rows[i].since <= version && (!best || rows[i].since >= best->since))
			best = &rows[i];
	}
	*status = best ? CU_GET_PROC_ADDRESS_SUCCESS : known ? CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT
							     : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
	if (!best)
		return CUDA_ERROR_NOT_FOUND;
	*ret = flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM && best->per_thread ? best->per_thread : best->legacy;
	return CUDA_SUCCESS;
}

CUresult cuGetProcAddress(const char *name, void **ret, int version, cuuint64_t flags)
{
	int status;

	if (!settings.driver_version)
		settings_load();
	return look_up(name, ret, version, flags, &status);
}

/* The second form reports a miss in status and, as the real one, fails as well only without a place for it. */
CUresult cuGetProcAddress_v2(const char *name, void **ret, int version, cuuint64_t flags, int *ret_status)
{
	int status = 0;
	CUresult rc;

	if (!settings.driver_version)
		settings_load();
	rc = look_up(name, ret, version, flags, &status);
	if (rc == CUDA_ERROR_INVALID_VALUE)
		return rc;
	if (!ret_status)
		return rc;
	*ret_status = status;
	return CUDA_SUCCESS;
}
