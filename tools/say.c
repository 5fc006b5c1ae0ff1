#include "dlaccel.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int usage_shown(const char *usage)
{
	fputs(usage, stdout);
	return STATUS_OK;
}

int usage_wrong(const char *usage)
{
	fputs(usage, stderr);
	return STATUS_USAGE;
}

/* One write a line, so that lines of several ranks on one stderr stay whole. */
void say(const char *fmt, ...)
{
	char line[2048] = "dlaccel: ";
	size_t n = strlen(line);
	va_list ap;

	va_start(ap, fmt);
	int k = vsnprintf(line + n, sizeof(line) - n - 1, fmt, ap);
	va_end(ap);
	if (k > 0)
		n = n + (size_t)k < sizeof(line) - 1 ? n + (size_t)k : sizeof(line) - 2;
	line[n++] = '\n';
	fflush(stdout);
	if (write(STDERR_FILENO, line, n) < 0)
		return; /* stderr is closed: nobody listens */
}

static char *scratch(size_t *ret_room)
{
	static char ring[8][32];
	static unsigned next;

	*ret_room = sizeof(ring[0]);
	return ring[next++ % 8];
}

const char *say_bytes(uint64_t bytes)
{
	static const char *const units[] = { "B", "kB", "MB", "GB", "TB", "PB" };
	double v = (double)bytes;
	unsigned u = 0;
	size_t room;
	char *text = scratch(&room);

	for (; v >= 999.5 && u < 5; u++)
		v /= 1000;
	snprintf(text, room, "%.*f %s", u && v < 99.95 ? 1 : 0, v, units[u]);
	return text;
}

static const char *exact(uint64_t v, uint64_t step, const char *const *units, unsigned n)
{
	size_t room;
	char *text = scratch(&room);
	unsigned u = 0;

	for (; v && v % step == 0 && u + 1 < n; u++)
		v /= step;
	snprintf(text, room, "%" PRIu64 "%s", v, v ? units[u] : "");
	return text;
}

const char *say_size(uint64_t bytes)
{
	static const char *const units[] = { "", "K", "M", "G" };
	return exact(bytes, 1024, units, 4);
}

const char *say_time(uint64_t us)
{
	static const char *const units[] = { "us", "ms", "s" };
	return exact(us, 1000, units, 3);
}

/* Bytes of the printable character at `p`, 0: control character or not UTF-8. */
static unsigned character(const unsigned char *p)
{
	static const unsigned least[] = { 0, ' ', 0xa0, 0x800, 0x10000 };
	unsigned n = *p < 0x80 ? 1 : *p < 0xc0 ? 0 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : *p < 0xf8 ? 4 : 0;
	unsigned code = n > 1 ? *p & (0x7fu >> n) : *p;

	for (unsigned i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (p[i] & 0x3f);
	}
	return code >= least[n] && code != 0x7f && !(code >= 0xd800 && code < 0xe000) && code < 0x110000 ? n : 0;
}

char *plain_text(char *text)
{
	unsigned n;

	for (unsigned char *p = (unsigned char *)text; *p; p += n ? n : 1) {
		n = character(p);
		if (!n)
			*p = '?';
	}
	return text;
}

void put_json(FILE *out, const char *text)
{
	unsigned n;

	putc('"', out);
	for (const unsigned char *p = (const unsigned char *)text; *p; p += n ? n : 1) {
		n = character(p);
		if (*p == '"' || *p == '\\')
			fprintf(out, "\\%c", *p);
		else if (n)
			fwrite(p, 1, n, out);
		else
			fprintf(out, "\\u%04x", *p);
	}
	putc('"', out);
}

int read_text(const char *path, char *ret_text, size_t room)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, ret_text, room - 1);
	int err = errno;
	close(fd);
	if (n < 0)
		return -err;
	ret_text[n] = 0;
	return 0;
}

pid_t parse_pid(const char *text)
{
	char *end;
	long v = strtol(text, &end, 10);

	return *end || end == text || v <= 0 || v > INT32_MAX ? 0 : (pid_t)v;
}

static const char *unreadable(int rc)
{
	switch (rc) {
	case -ENOEXEC:
		return "libdlaccel.so is not in it";
	case -ESRCH:
		return "no such process";
	case -EPERM:
	case -EACCES:
		return "not permitted (another user's, or ptrace_scope): as root, or name the run's folder";
	case -ENOMSG:
		return "no counters of dlaccel";
	default:
		return strerror(-rc);
	}
}

int say_unreadable(const char *command, const char *who, int rc)
{
	fprintf(stderr, "dlaccel %s: %s: %s\n", command, who, unreadable(rc));
	return STATUS_NO;
}
