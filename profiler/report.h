/*
 * Reading a record file and showing it. Code of the tool: heap and stdio are allowed, the file is
 * not trusted. Everything is read into memory first, so a file that is still written to is no
 * problem.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "record.h"

struct report_name {
	uint64_t key;
	uint32_t grid[3], block[3];
	uint32_t shared;
	char *text; /* printable UTF-8, whatever the file held */
};

struct report {
	struct record_header head; /* its texts are terminated and printable */
	struct record *records;	   /* valid ones, by start */
	size_t count;
	struct report_name *names; /* by key */
	size_t name_count;
	uint64_t overwritten; /* older records that gave way */
	uint64_t torn;	      /* unfinished when the program was killed, or damaged */
	uint64_t bad_names;
};

#define REPORT_MAX_FILE (5ULL << 30)

/* -EBADMSG: not a record file; -EPROTO: of another version or machine; else -errno */
int report_load(const char *path, struct report *ret_report);
int report_parse(const void *data, size_t len, struct report *ret_report);
void report_free(struct report *r);

const struct report_name *report_find(const struct report *r, uint64_t key);
/* Its text, or "0x..." in buf */
const char *report_name_text(const struct report *r, uint64_t key, char buf[32]);
const char *report_kind_text(unsigned kind);

/* ---- figures ---- */

struct report_step {
	uint64_t start, dur; /* ns */
	uint32_t tokens;
	uint16_t flags;
};

struct report_kernel {
	uint64_t key, count, total; /* ns */
};

struct report_figures {
	struct report_step *steps;
	size_t step_count;
	int steps_derived;	   /* not recorded: found here in the calls */
	uint64_t median, p10, p90; /* ns, whole steps with dlaccel on */
	uint64_t off_median, off_count, on_count;
	struct report_kernel *kernels; /* by total time, falling */
	size_t kernel_count;
	struct report_kernel *fallbacks; /* by count; total unused */
	size_t fallback_count;
	uint64_t calls, calls_handled, batches, batched, syncs, sync_ns;
	uint64_t bytes[3];	  /* sockets: kernel, shared memory, verbs */
	uint64_t device_busy;	  /* ns, sum over streams */
	uint64_t first, last;	  /* ns */
	uint32_t period, support; /* of the last step found */
};

int report_figures(const struct report *r, struct report_figures *ret_figures);
void report_figures_free(struct report_figures *f);

/* ---- output: 0 or -EIO ---- */

int report_text(const struct report *r, FILE *out);
int report_json(const struct report *r, FILE *out);
int report_chrome(const struct report *r, FILE *out);
int report_html(const struct report *r, FILE *out);

/* For JSON strings and HTML; the input is printable UTF-8. */
void report_put_json(FILE *out, const char *text);
void report_put_html(FILE *out, const char *text);
