/* What two ends that meet say of themselves, and whether it is true. */
#include "sha256.h"
#include "stats.h"
#include "verbs_meeting.h"

#include <string.h>

void intro_marks(const struct meeting *m, uint8_t ret_mark[2][MARK_BYTES])
{
	for (int d = 0; d < 2; d++) {
		struct sha256 h;
		uint8_t digest[32], direction = (uint8_t)d;
		sha256_init(&h);
		sha256_add(&h, "mark", 4);
		sha256_add(&h, &direction, 1);
		sha256_add(&h, m->nonce, sizeof(m->nonce));
		sha256_end(&h, digest);
		memcpy(ret_mark[d], digest, MARK_BYTES);
	}
}

uint32_t intro_name(const struct meeting *m)
{
	struct sha256 h;
	uint8_t digest[32];
	uint32_t name;

	sha256_init(&h);
	sha256_add(&h, "link", 4);
	sha256_add(&h, m->nonce, sizeof(m->nonce));
	sha256_end(&h, digest);
	memcpy(&name, digest, sizeof(name));
	return name >> (32 - NAME_BITS);
}

/* Of the connection; and of the stream, so that the ends of one that has come to its end are met by nobody. */
void intro_hash(const struct meeting *m, uint8_t ret_hash[16])
{
	struct sha256 h;
	uint8_t digest[32];

	sha256_init(&h);
	sha256_add(&h, &m->tuple, TUPLE_BYTES);
	if (m->again)
		sha256_add(&h, m->bond, sizeof(m->bond));
	sha256_end(&h, digest);
	memcpy(ret_hash, digest, 16);
}

static void prove(const struct meeting *m, int role, const struct intro *i, uint8_t ret_proof[32])
{
	struct hmac h;
	uint8_t who = (uint8_t)role;

	memset(ret_proof, 0, 32);
	if (!m->key_bytes)
		return;
	hmac_init(&h, m->key, m->key_bytes);
	hmac_add(&h, "dlaccel rdma", 12);
	hmac_add(&h, &who, 1);
	hmac_add(&h, m->nonce, sizeof(m->nonce));
	hmac_add(&h, &m->tuple, TUPLE_BYTES);
	hmac_add(&h, i, offsetof(struct intro, proof));
	hmac_end(&h, ret_proof);
}

uint8_t intro_shift(const struct link *l)
{
	return (uint8_t)__builtin_ctzll(l->ring_bytes);
}

void introduce(const struct meeting *m, struct intro *ret)
{
	*ret = (struct intro){
		.magic = VERBS_MAGIC, .version = m->version,
		.ring_shift = intro_shift(m->link),
		.ring_address = (uintptr_t)m->link->ring, .ring_rkey = m->link->rkey, .sends_by = m->sends_by,
	};
	memcpy(ret->nonce, m->nonce[m->role], 16);
	boot_id(ret->boot);
	prove(m, m->role, ret, ret->proof);
}

/* Both proofs are made for both nonces: what was said once proves nothing another time. */
int check_intro(struct meeting *m, const struct intro *i)
{
	uint8_t boot[16] = { 0 }, proof[32], differ = 0;

	if (i->magic != VERBS_MAGIC || i->version < VERBS_VERSION_MIN || i->version > VERBS_VERSION_MAX ||
	    i->ring_shift > intro_shift(m->link) || i->ring_shift < (m->role ? RING_SHIFT_LEAST : intro_shift(m->link)))
		return FALLBACK_BAD_HELLO;
	boot_id(boot);
	if (!memcmp(boot, i->boot, 16))
		return FALLBACK_FOREIGN_NS;
	memcpy(m->nonce[!m->role], i->nonce, 16);
	prove(m, !m->role, i, proof);
	for (int k = 0; k < 32; k++)
		differ |= (uint8_t)(proof[k] ^ i->proof[k]);
	return differ ? FALLBACK_SECRET : 0;
}

int check_call(const struct meeting *m, const struct verbs_call *c)
{
	uint8_t hash[16], boot[16] = { 0 };

	intro_hash(m, hash);
	boot_id(boot);
	if (c->magic != VERBS_MAGIC || memcmp(hash, c->tuple, 16))
		return FALLBACK_BAD_HELLO;
	if (c->ring_shift && (c->ring_shift < RING_SHIFT_LEAST || c->ring_shift > RING_SHIFT_MOST))
		return FALLBACK_BAD_HELLO;
	if (c->version_min > VERBS_VERSION_MAX || c->version_max < VERBS_VERSION_MIN)
		return FALLBACK_VERSION;
	if (!memcmp(boot, c->boot, 16))
		return FALLBACK_FOREIGN_NS;
	return c->secret != (m->key_bytes != 0) ? FALLBACK_SECRET : 0;
}
