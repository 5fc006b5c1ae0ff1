/*
 * What a program hands over as an image: PTX text, or a fat binary that holds some. A cubin (machine
 * code) cannot be run here and is refused as a real driver refuses one for another architecture.
 */
#include <stdlib.h>
#include <string.h>

#include "api.h"

#define WRAPPER_MAGIC 0x466243b1u
#define FATBIN_MAGIC 0xba55ed50u
#define KIND_PTX 1
#define FLAG_LZ4 0x2000u
#define FLAG_ZSTD 0x8000u

struct wrapper {
	uint32_t magic, version;
	const void *data;
	void *unused;
};

struct fatbin {
	uint32_t magic;
	uint16_t version, header_size;
	uint64_t size;
};

struct entry {
	uint16_t kind, attr;
	uint32_t header_size;
	uint64_t size;
	uint32_t packed_size, unknown1;
	uint16_t minor, major;
	uint32_t arch, name_offset, name_len;
	uint64_t flags, unknown2, unpacked_size;
};

/* LZ4 block format: token, literals, offset, match, again. */
static bool lz4(const uint8_t *s, size_t n, uint8_t *d, size_t cap, size_t *ret_n)
{
	const uint8_t *end = s + n;
	size_t at = 0;

	while (s < end) {
		uint8_t token = *s++;
		size_t lit = token >> 4, len = token & 15, off;

		for (uint8_t b = 255; lit >= 15 && b == 255 && s < end;)
			lit += b = *s++;
		if (lit > (size_t)(end - s) || lit > cap - at)
			return false;
		memcpy(d + at, s, lit);
		at += lit;
		s += lit;
		if (s >= end)
			break;
		if (end - s < 2)
			return false;
		off = s[0] | (size_t)s[1] << 8;
		s += 2;
		for (uint8_t b = 255; len >= 15 && b == 255 && s < end;)
			len += b = *s++;
		len += 4;
		if (!off || off > at || len > cap - at)
			return false;
		for (size_t i = 0; i < len; i++, at++)
			d[at] = d[at - off];
	}
	*ret_n = at;
	return true;
}

static int unpack(const struct entry *e, const uint8_t *data, char **ret)
{
	size_t cap = e->unpacked_size ? e->unpacked_size : e->size, n = 0;
	char *text = calloc(1, cap + 1);

	if (!text)
		return CUDA_ERROR_OUT_OF_MEMORY;
	if (e->flags & FLAG_ZSTD) {
		if (!zstd_unpack(data, e->packed_size ? e->packed_size : e->size, (uint8_t *)text, cap, &n)) {
			free(text);
			return CUDA_ERROR_INVALID_IMAGE;
		}
	} else if (e->flags & FLAG_LZ4) {
		if (!lz4(data, e->packed_size, (uint8_t *)text, cap, &n)) {
			free(text);
			return CUDA_ERROR_INVALID_IMAGE;
		}
	} else {
		memcpy(text, data, e->size);
	}
	*ret = text;
	return 0;
}

/* The newest PTX that this device may run. */
static int from_fatbin(const struct fatbin *f, char **ret)
{
	const uint8_t *p = (const uint8_t *)f + f->header_size, *end = p + f->size;
	const struct entry *best = NULL;

	while (p + sizeof(struct entry) <= end) {
		const struct entry *e = (const struct entry *)p;

		if (e->header_size < 32 || e->size > (size_t)(end - p))
			return CUDA_ERROR_INVALID_IMAGE;
		if (e->kind == KIND_PTX && e->arch <= (uint32_t)settings.cc && (!best || e->arch > best->arch))
			best = e;
		p += e->header_size + e->size;
	}
	if (!best)
		return CUDA_ERROR_NO_BINARY_FOR_GPU;
	return unpack(best, (const uint8_t *)best + best->header_size, ret);
}

int image_to_ptx(const void *image, size_t size, char **ret)
{
	uint32_t magic;

	memcpy(&magic, image, 4);
	if (magic == WRAPPER_MAGIC)
		return image_to_ptx(((const struct wrapper *)image)->data, 0, ret);
	if (magic == FATBIN_MAGIC)
		return from_fatbin(image, ret);
	if (!memcmp(image, "\177ELF", 4))
		return CUDA_ERROR_NO_BINARY_FOR_GPU;
	*ret = size ? strndup(image, size) : strdup(image);
	return *ret ? 0 : CUDA_ERROR_OUT_OF_MEMORY;
}
