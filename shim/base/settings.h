/*
 * The settings of this process: one table (settings.def), read once from the environment, validated,
 * printable.  What is wrong in the environment is kept as counts and reported by whoever first has
 * something to say; reading itself is silent.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum setting_kind { SETTING_BOOL, SETTING_SIZE, SETTING_TIME, SETTING_COUNT, SETTING_LEVEL, SETTING_TEXT };

struct settings {
#define SETTING_FIELD_BOOL uint64_t
#define SETTING_FIELD_SIZE uint64_t
#define SETTING_FIELD_TIME uint64_t
#define SETTING_FIELD_COUNT uint64_t
#define SETTING_FIELD_LEVEL uint64_t
#define SETTING_FIELD_TEXT const char *
#define SETTING(kind, field, name, def, doc) SETTING_FIELD_##kind field;
#include "settings.def"
#undef SETTING
};

struct setting_row {
	enum setting_kind kind;
	const char *name; /* the whole variable: DLACCEL_NET_RING */
	size_t offset;    /* of the field in struct settings */
	const char *def;  /* the default, as text */
	const char *doc;
};

extern struct settings settings;
extern const struct setting_row settings_rows[];
extern const unsigned settings_count;

/* Reads environ; NULL is an empty one.  Invalid values keep the default. */
void settings_read(char *const *environ);

/* What a relative path means now; the program may go to another folder before it is used. */
void settings_make_absolute(const char **path);

/* One value: 0, or -EINVAL with *ret_value untouched. */
int settings_parse(enum setting_kind kind, const char *text, uint64_t *ret_value);

/* Is the name in a comma-separated list?  An empty one has every name. */
bool setting_lists(const char *list, const char *name);

/*
 * What is wrong with `entry` ("NAME=value")?  0: nothing, or not ours; -ENOENT: an unknown DLACCEL_
 * variable; -EINVAL: a value that does not parse.  *ret_near: the row meant, or the nearest name.
 */
int settings_check(const char *entry, const struct setting_row **ret_near);
