/* SHA-256 (FIPS 180-4) and HMAC (RFC 2104) over it, for the handshake between hosts. */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct sha256 {
	uint32_t state[8];
	uint64_t bytes;
	uint8_t block[64];
};

void sha256_init(struct sha256 *h);
void sha256_add(struct sha256 *h, const void *data, size_t n);
void sha256_end(struct sha256 *h, uint8_t ret_digest[32]);

struct hmac {
	struct sha256 inner, outer;
};

void hmac_init(struct hmac *h, const void *key, size_t n);
void hmac_add(struct hmac *h, const void *data, size_t n);
void hmac_end(struct hmac *h, uint8_t ret_digest[32]);
