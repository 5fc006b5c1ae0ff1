/* The program's own key, by its settings. */
#include "log.h"
#include "secret.h"
#include "settings.h"
#include "stats.h"
#include "verbs.h"

int verbs_secret(uint8_t ret_key[SECRET_MOST], size_t *ret_bytes)
{
	const char *why = secret_read(settings.secret_file, ret_key, ret_bytes);

	if (!why)
		return 0;
	log_warn("RDMA is off: DLACCEL_SECRET_FILE %s", why);
	fallback(FALLBACK_SECRET);
	return -EPERM;
}
