/* The key that authenticates peers on other hosts; what a fit file is, SECURITY.md says. */
#include "log.h"
#include "settings.h"
#include "stats.h"
#include "sys.h"
#include "verbs.h"

#include <fcntl.h>
#include <sys/stat.h>

enum { KEY_LEAST = 32, KEY_MOST = 64 };

static const char *unfit(long fd, uint32_t me)
{
	struct stat st;

	if (fd < 0)
		return "cannot be opened";
	if (fstat((int)fd, &st) || !S_ISREG(st.st_mode))
		return "is not a regular file";
	if (st.st_uid != me)
		return "belongs to another user";
	if (st.st_mode & 077)
		return "can be read by others (mode 0600 or 0400)";
	return NULL;
}

int verbs_secret(uint8_t ret_key[64], size_t *ret_bytes)
{
	const char *path = settings.secret_file;

	*ret_bytes = 0;
	if (!path || !*path)
		return 0;
	long fd = sys_call(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	const char *why = unfit(fd, (uint32_t)sys_call(SYS_geteuid));
	long n = why ? 0 : sys_call(SYS_read, fd, ret_key, KEY_MOST);
	if (fd >= 0)
		sys_call(SYS_close, fd);
	if (!why && n < KEY_LEAST)
		why = "has fewer than 32 bytes";
	if (why) {
		log_warn("RDMA is off: DLACCEL_SECRET_FILE %s", why);
		fallback(FALLBACK_SECRET);
		return -EPERM;
	}
	*ret_bytes = (size_t)n;
	return 0;
}
