/*
 * String comparison for code that may run before anything is initialised: the address sanitizer's
 * strcmp, for one, asks dlsym for the real one first, and dlsym is ours.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

static inline bool text_equal(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

/* What follows `prefix` in `text`; NULL if it does not begin so. */
static inline const char *text_after(const char *text, const char *prefix)
{
	while (*prefix)
		if (*text++ != *prefix++)
			return NULL;
	return text;
}
