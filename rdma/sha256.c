#include "sha256.h"

#include <string.h>

static const uint32_t round_constant[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t turn(uint32_t x, int n)
{
	return x >> n | x << (32 - n);
}

static uint32_t load32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void store32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static void expand(const uint8_t *block, uint32_t *w)
{
	for (int i = 0; i < 16; i++)
		w[i] = load32(block + 4 * i);
	for (int i = 16; i < 64; i++) {
		uint32_t a = w[i - 15], b = w[i - 2];
		w[i] = w[i - 16] + (turn(a, 7) ^ turn(a, 18) ^ a >> 3) + w[i - 7] + (turn(b, 17) ^ turn(b, 19) ^ b >> 10);
	}
}

static void compress(struct sha256 *h)
{
	uint32_t w[64], s[8];

	expand(h->block, w);
	memcpy(s, h->state, sizeof(s));
	for (int i = 0; i < 64; i++) {
		uint32_t e = s[4], a = s[0];
		uint32_t t1 = s[7] + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & s[5]) ^ (~e & s[6])) + round_constant[i] + w[i];
		uint32_t t2 = (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
		memmove(s + 1, s, 7 * sizeof(s[0]));
		s[4] += t1;
		s[0] = t1 + t2;
	}
	for (int i = 0; i < 8; i++)
		h->state[i] += s[i];
}

void sha256_init(struct sha256 *h)
{
	*h = (struct sha256){ .state = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c,
				      0x1f83d9ab, 0x5be0cd19 } };
}

void sha256_add(struct sha256 *h, const void *data, size_t n)
{
	for (const uint8_t *p = data; n--; p++) {
		h->block[h->bytes++ % 64] = *p;
		if (h->bytes % 64 == 0)
			compress(h);
	}
}

void sha256_end(struct sha256 *h, uint8_t ret_digest[32])
{
	uint64_t bits = h->bytes * 8;
	uint8_t length[8];

	store32(length, (uint32_t)(bits >> 32));
	store32(length + 4, (uint32_t)bits);
	sha256_add(h, "\x80", 1);
	while (h->bytes % 64 != 56)
		sha256_add(h, "", 1);
	sha256_add(h, length, 8);
	for (int i = 0; i < 8; i++)
		store32(ret_digest + 4 * i, h->state[i]);
}

void hmac_init(struct hmac *h, const void *key, size_t n)
{
	uint8_t pad[64] = { 0 };

	sha256_init(&h->inner);
	if (n > sizeof(pad)) {
		sha256_add(&h->inner, key, n);
		sha256_end(&h->inner, pad);
		sha256_init(&h->inner);
	} else {
		memcpy(pad, key, n);
	}
	for (int i = 0; i < 64; i++)
		pad[i] ^= 0x36;
	sha256_add(&h->inner, pad, sizeof(pad));
	for (int i = 0; i < 64; i++)
		pad[i] ^= 0x36 ^ 0x5c;
	sha256_init(&h->outer);
	sha256_add(&h->outer, pad, sizeof(pad));
}

void hmac_add(struct hmac *h, const void *data, size_t n)
{
	sha256_add(&h->inner, data, n);
}

void hmac_end(struct hmac *h, uint8_t ret_digest[32])
{
	uint8_t digest[32];

	sha256_end(&h->inner, digest);
	sha256_add(&h->outer, digest, sizeof(digest));
	sha256_end(&h->outer, ret_digest);
}
