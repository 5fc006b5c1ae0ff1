/* What lanes do together: shuffles, votes, matches, warp reductions. */
#include "exec.h"

/* shfl: a value, b lane/offset, c clamp and segment mask; aux: mode | 16 when d2 (ext[0]) takes the predicate. */
void op_shfl(struct warp *w, const struct insn *in, uint32_t m)
{
	uint32_t src[32], pred = 0, *d = R32(in->d);
	int mode = in->aux & 15;

	for (int l = 0; l < 32; l++)
		src[l] = R32(in->a)[l];
	for (uint32_t k = m; k; k &= k - 1) {
		int l = __builtin_ctz(k), j;
		uint32_t b = R32(in->b)[l] & 31, c = R32(in->ext[1])[l], cval = c & 31, seg = (c >> 8) & 31;
		int max = (int)(((uint32_t)l & seg) | (cval & ~seg)), min = (int)((uint32_t)l & seg);
		bool ok;

		switch (mode) {
		case 0: j = l - (int)b; ok = j >= max; break;              /* up */
		case 1: j = l + (int)b; ok = j <= max; break;              /* down */
		case 2: j = l ^ (int)b; ok = j <= max; break;              /* bfly */
		default: j = min | (int)(b & ~seg); ok = j <= max; break;  /* idx */
		}
		d[l] = src[ok ? j : l];
		pred |= (uint32_t)ok << l;
	}
	if (in->aux & 16)
		PRED(in->ext[0]) = (PRED(in->ext[0]) & ~m) | pred;
}

/* vote: predicate a (xor imm) over the mask's lanes; aux: 0 all, 1 any, 2 uni, 3 ballot. */
void op_vote(struct warp *w, const struct insn *in, uint32_t m)
{
	uint32_t who = m, v = (PRED(in->a) ^ (uint32_t)in->imm) & who, r;

	if (in->aux == 3) {
		LANES(m, { R32(in->d)[l] = v; });
		return;
	}
	r = in->aux == 0 ? v == who : in->aux == 1 ? v != 0 : v == 0 || v == who;
	PRED(in->d) = (PRED(in->d) & ~m) | (r ? m : 0);
}

static uint64_t lane_val(struct warp *w, uint32_t off, int l, bool wide)
{
	return wide ? R64(off)[l] : R32(off)[l];
}

/* match: aux bit 0 = 64-bit, bit 1 = all; ext[0] = predicate of match.all. */
void op_match(struct warp *w, const struct insn *in, uint32_t m)
{
	bool wide = in->aux & 1, all = true;
	uint32_t res[32] = {0};
	uint64_t first = lane_val(w, in->a, __builtin_ctz(m), wide);

	for (uint32_t k = m; k; k &= k - 1) {
		int l = __builtin_ctz(k);

		for (uint32_t j = m; j; j &= j - 1)
			if (lane_val(w, in->a, __builtin_ctz(j), wide) == lane_val(w, in->a, l, wide))
				res[l] |= j & -j;
		all = all && lane_val(w, in->a, l, wide) == first;
	}
	if (in->aux & 2) {
		LANES(m, { R32(in->d)[l] = all ? m : 0; });
		PRED(in->ext[0]) = (PRED(in->ext[0]) & ~m) | (all ? m : 0);
	} else {
		LANES(m, { R32(in->d)[l] = res[l]; });
	}
}

/* redux: aux as enum atom_op, imm 1 = signed. */
void op_redux(struct warp *w, const struct insn *in, uint32_t m)
{
	uint32_t v = R32(in->a)[__builtin_ctz(m)];

	for (uint32_t k = m & (m - 1); k; k &= k - 1) {
		uint32_t b = R32(in->a)[__builtin_ctz(k)];

		switch (in->aux) {
		case A_ADD: v += b; break;
		case A_AND: v &= b; break;
		case A_OR: v |= b; break;
		case A_XOR: v ^= b; break;
		case A_MIN: v = in->imm ? ((int32_t)b < (int32_t)v ? b : v) : b < v ? b : v; break;
		default: v = in->imm ? ((int32_t)b > (int32_t)v ? b : v) : b > v ? b : v; break;
		}
	}
	LANES(m, { R32(in->d)[l] = v; });
}

void op_elect(struct warp *w, const struct insn *in, uint32_t m)
{
	uint32_t leader = (uint32_t)__builtin_ctz(m);

	LANES(m, { R32(in->d)[l] = leader; });
	PRED(in->ext[0]) = (PRED(in->ext[0]) & ~m) | 1u << leader;
}
