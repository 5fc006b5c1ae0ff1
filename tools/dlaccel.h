/*
 * `dlaccel`, the command.  What all its commands share: the table of commands, the exit statuses and
 * the few words in which they speak.  Single-threaded throughout.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

enum exit_status {
	STATUS_OK = 0,
	STATUS_NO = 1, /* the answer is no, or the thing asked for failed */
	STATUS_USAGE = 2,
	STATUS_CANNOT_RUN = 126, /* as a shell has them */
	STATUS_NOT_FOUND = 127,
};

#define COMMAND(name, doc) int cmd_##name(int argc, char **argv);
#include "commands.def"
#undef COMMAND

/* Usage, as asked for on stdout or as a complaint on stderr; each returns the exit status. */
int usage_shown(const char *usage);
int usage_wrong(const char *usage);

/* One line on stderr, "dlaccel: " before it. */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* 13.8 GB, 41.2 ms: three digits and a unit that fits, in a buffer that lives for eight calls. */
const char *say_bytes(uint64_t bytes);
/* 4M, 64K, 50ms: exactly, as a setting is written. */
const char *say_size(uint64_t bytes);
const char *say_time(uint64_t us);

/* Text of unknown origin: every byte that is no part of a printable character (UTF-8) becomes '?', in place. */
char *plain_text(char *text);
/* The same, quoted for JSON, without changing it. */
void put_json(FILE *out, const char *text);

/* Reads up to room - 1 bytes of a small file as text.  0 or -errno. */
int read_text(const char *path, char *ret_text, size_t room);

/* A process number; 0 if the text is none. */
pid_t parse_pid(const char *text);

/* Why somebody's counters could not be read, as one line on stderr.  Returns STATUS_NO. */
int say_unreadable(const char *command, const char *who, int rc);
