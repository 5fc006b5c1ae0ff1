/*
 * Damaged record files: the reader and every report must survive anything that a disk, a kill or a
 * stranger leaves behind. With -fsanitize=fuzzer the entry point is libFuzzer's; else a program
 * that mutates valid files: report_fuzz [first seed] [runs].
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "record.h"
#include "report.h"

#define RECORDS 128
#define NAMES_SIZE 4096
#define IMAGE (RECORD_HEADER_SIZE + NAMES_SIZE + RECORDS * sizeof(struct record))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static FILE *null;
	struct report r;

	if (!null)
		null = fopen("/dev/null", "w");
	if (!null)
		abort();
	if (report_parse(data, size, &r))
		return 0;
	if (report_text(&r, null) || report_json(&r, null) || report_chrome(&r, null) ||
		report_html(&r, null))
		abort();
	report_free(&r);
	return 0;
}

#ifndef FUZZ_LIBFUZZER

static uint64_t next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	return *state ^= *state << 17;
}

static size_t put_name(char *at, uint64_t key, const char *text)
{
	struct record_name n = {.ready = 1,
		.key = key,
		.grid = {1, 2, 3},
		.block = {4, 5, 6},
		.length = (uint32_t)strlen(text)};

	n.size = (uint32_t)(sizeof(n) + n.length + 7) & ~7U;
	memcpy(at, &n, sizeof(n));
	memcpy(at + sizeof(n), text, n.length);
	return n.size;
}

static void make_valid(char *image, uint64_t *state)
{
	struct record_header h = {.version = RECORD_VERSION,
		.byte_order = RECORD_BYTE_ORDER,
		.header_size = RECORD_HEADER_SIZE,
		.record_size = sizeof(struct record),
		.names_at = RECORD_HEADER_SIZE,
		.names_size = NAMES_SIZE,
		.records_at = RECORD_HEADER_SIZE + NAMES_SIZE,
		.records = RECORDS,
		.pid = 1,
		.program = "fuzz",
		.next = next(state) % (3 * RECORDS)};
	struct record rec;
	uint64_t k, first = h.next > RECORDS ? h.next - RECORDS : 0;
	char text[40];

	memset(image, 0, IMAGE);
	memcpy(h.magic, RECORD_MAGIC, sizeof(h.magic));
	for (k = 1; k <= 20; k++) {
		snprintf(text, sizeof(text), "name <%u> \"&\xc3\xa4", (unsigned)k);
		h.names_used += put_name(image + h.names_at + h.names_used, k, text);
	}
	for (k = first; k < h.next; k++) {
		rec = (struct record){.seq = k + 1,
			.start = k * 1000 + next(state) % 500,
			.dur = next(state) % 3000,
			.name = next(state) % 24,
			.bytes = next(state) % 4096,
			.thread = next(state) % 3,
			.stream = next(state) % 4,
			.correlation = next(state) % 64,
			.value = k % 9,
			.kind = (uint16_t)(1 + next(state) % (RECORD_KINDS - 1)),
			.flags = (uint16_t)next(state)};
		memcpy(image + h.records_at + (k % RECORDS) * sizeof(rec), &rec, sizeof(rec));
	}
	memcpy(image, &h, sizeof(h));
}

/* A value that sits on an edge somewhere. */
static uint64_t edge(uint64_t *state)
{
	static const uint64_t edges[] = {0, 1, 7, 8, 63, 64, 4095, 4096, 0x7fffffff, 0x80000000,
		0xffffffff, 1ULL << 32, INT64_MAX, 1ULL << 63, UINT64_MAX, UINT64_MAX - 7, IMAGE};
	uint64_t r = next(state);

	return edges[r % (sizeof(edges) / sizeof(*edges))] + (r >> 60) - 8 * (r >> 63);
}

static void damage(char *image, size_t *size, uint64_t *state)
{
	uint64_t value = edge(state), how = next(state) % 6;
	/* the header and the names decide where everything else is read */
	size_t area = next(state) % 2	? sizeof(struct record_header)
		      : next(state) % 2 ? RECORD_HEADER_SIZE + 1200
					: *size;
	size_t at = area ? next(state) % area : 0;

	if (how == 0)
		*size = next(state) % (*size + 1);
	else if (how == 1 && at < *size)
		image[at] ^= (char)(1 << next(state) % 8);
	else if (how == 2 && (at & ~7UL) + 8 <= *size)
		memcpy(image + (at & ~7UL), &value, 8);
	else if (how == 3 && (at & ~3UL) + 4 <= *size)
		memcpy(image + (at & ~3UL), &value, 4);
	else if (how == 4)
		for (; at < *size && value--; at++)
			image[at] = (char)next(state);
	else if (how == 5 && at + 64 <= *size)
		memmove(image + at, image + next(state) % (*size - 63), 64);
}

/* In a block of exactly its size, so that a sanitizer sees one byte too many. */
static void run_one(uint64_t seed)
{
	uint64_t state = seed * 0x9e3779b97f4a7c15ULL + 1;
	size_t size = IMAGE;
	char *image = malloc(IMAGE), *exact;
	unsigned n;

	make_valid(image, &state);
	for (n = next(&state) % 8; n--;)
		damage(image, &size, &state);
	exact = malloc(size ? size : 1);
	memcpy(exact, image, size);
	LLVMFuzzerTestOneInput((const uint8_t *)exact, size);
	free(exact);
	free(image);
}

int main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
	uint64_t runs = argc > 2 ? strtoull(argv[2], NULL, 0) : 2000;

	for (; runs--; seed++)
		run_one(seed);
	return 0;
}

#endif
