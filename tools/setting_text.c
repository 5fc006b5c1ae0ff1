#include "setting_text.h"

#include "dlaccel.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

static const char *const kinds[] = {
	[SETTING_BOOL] = "switch", [SETTING_SIZE] = "size",   [SETTING_TIME] = "time",
	[SETTING_COUNT] = "number", [SETTING_LEVEL] = "level", [SETTING_TEXT] = "text",
};

const char *setting_kind(const struct setting_row *row)
{
	return kinds[row->kind];
}

static const char *number_text(uint64_t v)
{
	static char text[2][24];
	static unsigned next;
	char *p = text[next++ % 2];

	snprintf(p, sizeof(text[0]), "%" PRIu64, v);
	return p;
}

static const char *value_text(enum setting_kind kind, uint64_t v)
{
	static const char *const levels[] = { "off", "warn", "info", "debug" };

	switch (kind) {
	case SETTING_BOOL:
		return v ? "on" : "off";
	case SETTING_SIZE:
		return say_size(v);
	case SETTING_TIME:
		return say_time(v);
	case SETTING_LEVEL:
		return levels[v & 3];
	default:
		return number_text(v);
	}
}

static const void *field(const struct setting_row *row)
{
	return (const char *)&settings + row->offset;
}

const char *setting_text(const struct setting_row *row)
{
	if (row->kind == SETTING_TEXT)
		return *(const char *const *)field(row);
	return value_text(row->kind, *(const uint64_t *)field(row));
}

/* The table keeps a default as it stands in the source: a text has its quotes, and none is "". */
const char *setting_default(const struct setting_row *row)
{
	uint64_t v = 0;

	if (row->kind == SETTING_TEXT)
		return "";
	settings_parse(row->kind, row->def, &v);
	return value_text(row->kind, v);
}

bool setting_changed(const struct setting_row *row)
{
	return strcmp(setting_text(row), setting_default(row)) != 0;
}

const char *setting_short(const struct setting_row *row)
{
	static char text[64];
	size_t n = strlen("DLACCEL_"), i = 0;

	if (strlen(row->name) <= n)
		return "all";
	for (const char *p = row->name + n; *p && i + 1 < sizeof(text); p++)
		text[i++] = *p == '_' ? '-' : (char)tolower((unsigned char)*p);
	text[i] = 0;
	return text;
}

static bool same_name(const char *a, const char *b)
{
	for (; *a && *b; a++, b++)
		if ((*a == '_' ? '-' : tolower((unsigned char)*a)) != *b)
			return false;
	return !*a && !*b;
}

const struct setting_row *setting_switch(const char *name)
{
	for (unsigned i = 0; i < settings_count; i++)
		if (settings_rows[i].kind == SETTING_BOOL && same_name(name, setting_short(&settings_rows[i])))
			return &settings_rows[i];
	return NULL;
}

void setting_switches(char *ret_names, size_t room)
{
	size_t n = 0;

	ret_names[0] = 0;
	for (unsigned i = 0; i < settings_count && n < room; i++)
		if (settings_rows[i].kind == SETTING_BOOL)
			n += (size_t)snprintf(ret_names + n, room - n, "%s%s", n ? ", " : "",
				setting_short(&settings_rows[i]));
}

static unsigned complain(const char *entry)
{
	const struct setting_row *near = NULL;
	char text[120], name[80];
	int rc = settings_check(entry, &near);

	if (!rc)
		return 0;
	snprintf(text, sizeof(text), "%s", entry);
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(plain_text(text), "="), text);
	if (rc == -EINVAL)
		say("invalid %s: %s stays at %s (a %s)", text, name, setting_default(near), setting_kind(near));
	else if (near)
		say("unused variable %s (maybe: %s?)", name, near->name);
	else
		say("unused variable %s", name);
	return 1;
}

unsigned settings_complain(char *const *environ)
{
	unsigned wrong = 0;

	for (; environ && *environ; environ++)
		wrong += complain(*environ);
	return wrong;
}

void settings_announce(void)
{
	for (unsigned i = 0; i < settings_count; i++)
		if (setting_changed(&settings_rows[i]))
			say("%s=%s (default %s)", settings_rows[i].name, setting_text(&settings_rows[i]),
				*setting_default(&settings_rows[i]) ? setting_default(&settings_rows[i]) : "empty");
}
