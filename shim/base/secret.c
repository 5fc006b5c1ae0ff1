#include "secret.h"

#include "sys.h"

#include <fcntl.h>
#include <sys/stat.h>

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

const char *secret_read(const char *path, uint8_t ret_key[SECRET_MOST], size_t *ret_bytes)
{
	*ret_bytes = 0;
	if (!path || !*path)
		return NULL;
	long fd = sys_call(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	const char *why = unfit(fd, (uint32_t)sys_call(SYS_geteuid));
	long n = why ? 0 : sys_call(SYS_read, fd, ret_key, SECRET_MOST);
	if (fd >= 0)
		sys_call(SYS_close, fd);
	if (!why && n < SECRET_LEAST)
		why = "has fewer than 32 bytes";
	if (!why)
		*ret_bytes = (size_t)n;
	return why;
}
