/*
 * Messages for the user: off by default, because any output of ours can break a guest that has its
 * output read.  One line a call, one write(), no allocation, errno kept.  With DLACCEL_DIR they go
 * to <dir>/log, where `dlaccel run` shows them; with DLACCEL_LOG alone, or where that file cannot be
 * had, to stderr.
 */
#pragma once

#include <stdbool.h>

enum log_level { LOG_OFF, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* False: it was wanted and could not be written. */
bool log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_warn(...) log_write(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)
