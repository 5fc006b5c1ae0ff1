#include "log.h"

#include "settings.h"
#include "stats.h"
#include "sys.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

static bool have_dir(void)
{
	return settings.dir && *settings.dir;
}

/* A folder asked for is a reader found: warnings go there without being asked for. */
static bool wanted(enum log_level level)
{
	return level <= (enum log_level)settings.log || (have_dir() && level == LOG_WARN);
}

/* Within the limit that the program has set for its files. */
static bool append(long fd, const char *line, size_t n, int whence)
{
	long at = sys_call(SYS_lseek, fd, 0, whence);

	if (at >= 0 && !sys_file_may_reach((uint64_t)at + n))
		return false;
	return sys_call(SYS_write, fd, line, n) == (long)n;
}

static bool put(const char *line, size_t n)
{
	char path[512];

	if (!have_dir())
		return append(2, line, n, SEEK_CUR);
	int k = snprintf(path, sizeof(path), "%s/log", settings.dir);
	if (k < 0 || (size_t)k >= sizeof(path))
		return false;
	long fd = sys_call(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return settings.log && append(2, line, n, SEEK_CUR);
	bool ok = append(fd, line, n, SEEK_END);
	sys_call(SYS_close, fd);
	return ok;
}

bool log_write(enum log_level level, const char *fmt, ...)
{
	char line[512];
	int err = errno;
	va_list ap;

	if (!wanted(level))
		return true;
	int n = snprintf(line, sizeof(line), "dlaccel[%d]: ", (int)sys_call(SYS_getpid));
	va_start(ap, fmt);
	int k = vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);
	va_end(ap);
	if (k > 0)
		n += k;
	if ((size_t)n > sizeof(line) - 2)
		n = sizeof(line) - 2;
	line[n++] = '\n';
	bool ok = put(line, (size_t)n);
	stat_add(STAT_log_lines, ok);
	errno = err;
	return ok;
}
