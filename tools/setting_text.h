/*
 * Settings as people read them.  The values are those of this process, which settings_read took from
 * the environment.
 */
#pragma once
#include "settings.h"

#include <stdbool.h>

/* Value and default as they would be written; "" for an empty text. */
const char *setting_text(const struct setting_row *row);
const char *setting_default(const struct setting_row *row);
bool setting_changed(const struct setting_row *row);
/* switch, size, time, number, level, text. */
const char *setting_kind(const struct setting_row *row);

/* The row of a switch by its short name: "cma" for DLACCEL_CMA.  NULL: no such on/off setting. */
const struct setting_row *setting_switch(const char *name);
/* "cma", in a buffer that lives until the next call. */
const char *setting_short(const struct setting_row *row);
/* The names of all switches, comma-separated. */
void setting_switches(char *ret_names, size_t room);

/* Says what is wrong in an environment; returns how many entries are. */
unsigned settings_complain(char *const *environ);
/* Says what differs from the default. */
void settings_announce(void);
