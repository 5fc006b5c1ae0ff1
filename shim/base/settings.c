#include "settings.h"

#include "sys.h"
#include "text.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/auxv.h>

struct settings settings = {
#define SETTING(kind, field, name, def, doc) .field = def,
#include "settings.def"
#undef SETTING
};

#define PREFIX "DLACCEL"
#define NAME_OF(name) (sizeof(name) > 1 ? PREFIX "_" name : PREFIX)

const struct setting_row settings_rows[] = {
#define SETTING(kind, field, name, def, doc)                                                       \
	{ SETTING_##kind, NAME_OF(name), offsetof(struct settings, field), #def, doc },
#include "settings.def"
#undef SETTING
};
const unsigned settings_count = sizeof(settings_rows) / sizeof(*settings_rows);

static bool same_word(const char *a, const char *b)
{
	for (; *a && *b; a++, b++)
		if ((*a | 0x20) != (*b | 0x20))
			return false;
	return !*a && !*b;
}

static int parse_word(const char *text, const char *const *words, unsigned n, uint64_t *ret_value)
{
	for (unsigned i = 0; i < n; i++)
		if (same_word(text, words[i])) {
			*ret_value = i;
			return 0;
		}
	return -EINVAL;
}

static int parse_bool(const char *text, uint64_t *ret_value)
{
	static const char *const words[] = { "0", "1", "off", "on", "no", "yes", "false", "true" };
	uint64_t v;

	if (parse_word(text, words, 8, &v))
		return -EINVAL;
	*ret_value = v & 1;
	return 0;
}

static int parse_digits(const char **text, uint64_t *ret_value)
{
	const char *p = *text;
	uint64_t v = 0;

	for (; *p >= '0' && *p <= '9'; p++) {
		if (v > (UINT64_MAX - 9) / 10)
			return -EINVAL;
		v = v * 10 + (uint64_t)(*p - '0');
	}
	if (p == *text)
		return -EINVAL;
	*text = p;
	*ret_value = v;
	return 0;
}

static int scale(uint64_t v, uint64_t unit, uint64_t *ret_value)
{
	if (unit && v > UINT64_MAX / unit)
		return -EINVAL;
	*ret_value = v * unit;
	return 0;
}

static uint64_t size_unit(const char *s)
{
	char c = (char)(*s & ~0x20);

	if (!*s)
		return 1;
	if (s[1] && !same_word(s + 1, "B") && !same_word(s + 1, "iB"))
		return 0;
	return c == 'K' ? 1u << 10 : c == 'M' ? 1u << 20 : c == 'G' ? 1u << 30 : 0;
}

static uint64_t time_unit(const char *s)
{
	return !*s || same_word(s, "us") ? 1 : same_word(s, "ms") ? 1000 : same_word(s, "s") ? 1000000 : 0;
}

int settings_parse(enum setting_kind kind, const char *text, uint64_t *ret_value)
{
	static const char *const levels[] = { "off", "warn", "info", "debug" };
	uint64_t v, unit;

	if (kind == SETTING_BOOL)
		return parse_bool(text, ret_value);
	if (kind == SETTING_LEVEL && !parse_word(text, levels, 4, ret_value))
		return 0;
	if (parse_digits(&text, &v))
		return -EINVAL;
	unit = kind == SETTING_SIZE ? size_unit(text) : kind == SETTING_TIME ? time_unit(text) : !*text;
	if (!unit || (kind == SETTING_LEVEL && v > 3))
		return -EINVAL;
	return scale(v, unit, ret_value);
}

static const char *after_name(const char *entry, const char *name)
{
	const char *p = text_after(entry, name);

	return p && *p == '=' ? p + 1 : NULL;
}

static const struct setting_row *find_row(const char *entry, const char **ret_value)
{
	for (unsigned i = 0; i < settings_count; i++) {
		*ret_value = after_name(entry, settings_rows[i].name);
		if (*ret_value)
			return &settings_rows[i];
	}
	return NULL;
}

/* Programs overwrite their environment with the title that ps shows: redis, nginx. */
static const char *keep(const char *text)
{
	static char room[8192];
	static size_t used;
	size_t n = strlen(text) + 1;

	if (n > sizeof(room) - used)
		return text;
	used += n;
	return memcpy(room + used - n, text, n);
}

static void apply(const struct setting_row *row, const char *text)
{
	char *field = (char *)&settings + row->offset;

	if (row->kind == SETTING_TEXT)
		*(const char **)field = keep(text);
	else
		settings_parse(row->kind, text, (uint64_t *)field);
}

/* In a program that runs with more rights than its user the environment is the user's: off. */
void settings_read(char *const *environ)
{
	const char *value;
	bool said = false; /* whether RDMA is wanted */

	if (getauxval(AT_SECURE)) {
		settings.enabled = 0;
		return;
	}
	for (; environ && *environ; environ++) {
		if (!text_after(*environ, PREFIX))
			continue;
		const struct setting_row *row = find_row(*environ, &value);
		if (!row)
			continue;
		apply(row, value);
		said |= row->offset == offsetof(struct settings, rdma);
	}
	if (!said && *settings.secret_file) /* with a key each end knows whom it meets */
		settings.rdma = 1;
}

void settings_make_absolute(const char **path)
{
	char whole[PATH_MAX];
	size_t n = strlen(*path) + 1;
	long at = n > 1 && **path != '/' ? sys_call(SYS_getcwd, whole, sizeof(whole)) : 0;

	/* A folder that cannot be named from here has no slash before it. */
	if (at <= 0 || *whole != '/' || (size_t)at + n > sizeof(whole))
		return;
	whole[at - 1] = '/';
	memcpy(whole + at, *path, n);
	const char *kept = keep(whole);
	if (kept != whole)
		*path = kept;
}

bool setting_lists(const char *list, const char *name)
{
	size_t n = strlen(name);

	if (!list || !*list)
		return true;
	for (const char *p = list; *p; p += strcspn(p, ","), p += *p == ',')
		if (strcspn(p, ",") == n && !strncmp(p, name, n))
			return true;
	return false;
}

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	unsigned m = a < b ? a : b;
	return m < c ? m : c;
}

/* Levenshtein distance over names of at most 63 characters. */
static unsigned distance(const char *a, size_t an, const char *b)
{
	unsigned row[64];
	size_t bn = strlen(b);

	if (an > 63 || bn > 63)
		return UINT_MAX;
	for (size_t j = 0; j <= bn; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; i <= an; i++) {
		unsigned diag = row[0];
		row[0] = (unsigned)i;
		for (size_t j = 1; j <= bn; j++) {
			unsigned up = row[j];
			row[j] = min3(up + 1, row[j - 1] + 1, diag + (a[i - 1] != b[j - 1]));
			diag = up;
		}
	}
	return row[bn];
}

static const struct setting_row *nearest(const char *entry)
{
	const struct setting_row *best = NULL;
	unsigned least = UINT_MAX;
	size_t n = strcspn(entry, "=");

	for (unsigned i = 0; i < settings_count; i++) {
		unsigned d = distance(entry, n, settings_rows[i].name);
		if (d < least) {
			least = d;
			best = &settings_rows[i];
		}
	}
	return best;
}

int settings_check(const char *entry, const struct setting_row **ret_near)
{
	const char *value;
	uint64_t v;

	if (strncmp(entry, PREFIX, sizeof(PREFIX) - 1))
		return 0;
	const struct setting_row *row = find_row(entry, &value);
	if (!row) {
		*ret_near = nearest(entry);
		return -ENOENT;
	}
	if (row->kind == SETTING_TEXT || !settings_parse(row->kind, value, &v))
		return 0;
	*ret_near = row;
	return -EINVAL;
}
