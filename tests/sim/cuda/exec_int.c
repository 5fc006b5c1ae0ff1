/* Integer, logic, shift, compare and select, by type. 8- and 16-bit values live zero-extended in 32-bit slots. */
#include "exec.h"

/* name, element as the operation sees it (T), slot (S), destination as written (D, then widened to its slot) */
#define UN(name, T, S, D, DS, expr) \
	static void name(struct warp *w, const struct insn *in, uint32_t m) \
	{ \
		DS *d = (DS *)R32(in->d); \
		const S *pa = (const S *)R32(in->a); \
		LANES(m, { T a = (T)pa[l]; d[l] = (DS)(D)(expr); }); \
	}
#define BIN(name, T, S, D, DS, expr) \
	static void name(struct warp *w, const struct insn *in, uint32_t m) \
	{ \
		DS *d = (DS *)R32(in->d); \
		const S *pa = (const S *)R32(in->a); \
		const S *pb = (const S *)R32(in->b); \
		LANES(m, { T a = (T)pa[l]; T b = (T)pb[l]; d[l] = (DS)(D)(expr); }); \
	}
#define TER(name, T, S, C, CS, D, DS, expr) \
	static void name(struct warp *w, const struct insn *in, uint32_t m) \
	{ \
		DS *d = (DS *)R32(in->d); \
		const S *pa = (const S *)R32(in->a); \
		const S *pb = (const S *)R32(in->b); \
		const CS *pc = (const CS *)R32(in->c); \
		LANES(m, { T a = (T)pa[l]; T b = (T)pb[l]; C c = (C)pc[l]; d[l] = (DS)(D)(expr); }); \
	}

typedef unsigned __int128 u128;
typedef __int128 s128;

/* suffix, signed type, unsigned type, slot, bits */
#define INTS(X, S) \
	X(u16, uint16_t, uint16_t, int16_t, uint32_t, 16, S) \
	X(s16, int16_t, uint16_t, int16_t, uint32_t, 16, S) \
	X(u32, uint32_t, uint32_t, int32_t, uint32_t, 32, S) \
	X(s32, int32_t, uint32_t, int32_t, uint32_t, 32, S) \
	X(u64, uint64_t, uint64_t, int64_t, uint64_t, 64, S) \
	X(s64, int64_t, uint64_t, int64_t, uint64_t, 64, S)

#define wide_of_u16 uint32_t
#define wide_of_s16 int32_t
#define wide_of_u32 uint64_t
#define wide_of_s32 int64_t
#define wide_of_u64 u128
#define wide_of_s64 s128

#define ARITH(sx, T, U, I, S, N, _) \
	BIN(add_##sx, U, S, U, S, a + b) \
	BIN(sub_##sx, U, S, U, S, a - b) \
	BIN(mullo_##sx, U, S, U, S, (S)a * (S)b) \
	BIN(mulhi_##sx, T, S, U, S, ((wide_of_##sx)a * (wide_of_##sx)b) >> N) \
	TER(madlo_##sx, U, S, U, S, U, S, (S)a * (S)b + c) \
	TER(madhi_##sx, T, S, U, S, U, S, (U)(((wide_of_##sx)a * (wide_of_##sx)b) >> N) + c) \
	/* Division by zero is all ones, the remainder the dividend; nothing traps. */ \
	BIN(div_##sx, T, S, U, S, b == 0 ? (T)-1 : (T)-1 < 0 && b == (T)-1 ? (T)(0 - (U)a) : (T)(a / b)) \
	BIN(rem_##sx, T, S, U, S, b == 0 ? a : (T)-1 < 0 && b == (T)-1 ? (T)0 : (T)(a % b)) \
	UN(abs_##sx, T, S, U, S, a < 0 ? 0 - (U)a : (U)a) \
	UN(neg_##sx, T, S, U, S, 0 - (U)a) \
	BIN(min_##sx, T, S, U, S, a < b ? a : b) \
	BIN(max_##sx, T, S, U, S, a > b ? a : b) \
	TER(sad_##sx, T, S, U, S, U, S, c + (a < b ? (U)b - (U)a : (U)a - (U)b))
INTS(ARITH, 0)

TER(madwide_u16, uint16_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, (uint32_t)a * b + c)
TER(madwide_s16, int16_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, (uint32_t)((int32_t)a * b) + c)
TER(madwide_u32, uint32_t, uint32_t, uint64_t, uint64_t, uint64_t, uint64_t, (uint64_t)a * b + c)
TER(madwide_s32, int32_t, uint32_t, uint64_t, uint64_t, uint64_t, uint64_t, (uint64_t)((int64_t)a * b) + c)
BIN(mulwide_u16, uint16_t, uint32_t, uint32_t, uint32_t, (uint32_t)a * b)
BIN(mulwide_s16, int16_t, uint32_t, uint32_t, uint32_t, (int32_t)a * b)
BIN(mulwide_u32, uint32_t, uint32_t, uint64_t, uint64_t, (uint64_t)a * b)
BIN(mulwide_s32, int32_t, uint32_t, uint64_t, uint64_t, (int64_t)a * b)

static inline int32_t sat_add(int32_t a, int32_t b)
{
	int64_t v = (int64_t)a + b;

	return v > INT32_MAX ? INT32_MAX : v < INT32_MIN ? INT32_MIN : (int32_t)v;
}

static inline int32_t sat_sub(int32_t a, int32_t b)
{
	int64_t v = (int64_t)a - b;

	return v > INT32_MAX ? INT32_MAX : v < INT32_MIN ? INT32_MIN : (int32_t)v;
}
BIN(addsat_s32, int32_t, uint32_t, uint32_t, uint32_t, sat_add(a, b))
BIN(subsat_s32, int32_t, uint32_t, uint32_t, uint32_t, sat_sub(a, b))
op_table ops_addsat = {[T_S32] = addsat_s32};
op_table ops_subsat = {[T_S32] = subsat_s32};

/* Shift amounts are 32-bit and clamped at the width. */
#define BITS(sx, U, I, S, N) \
	BIN(and_##sx, U, S, U, S, a & b) \
	BIN(or_##sx, U, S, U, S, a | b) \
	BIN(xor_##sx, U, S, U, S, a ^ b) \
	UN(not_##sx, U, S, U, S, ~a) \
	UN(cnot_##sx, U, S, U, S, a == 0) \
	UN(mov_##sx, U, S, U, S, a) \
	static void shl_##sx(struct warp *w, const struct insn *in, uint32_t m) \
	{ \
		S *d = (S *)R32(in->d); \
		const S *pa = (const S *)R32(in->a); \
		const uint32_t *pb = R32(in->b); \
		LANES(m, { uint32_t b = pb[l]; d[l] = b >= N ? 0 : (U)((U)pa[l] << (b & (N - 1))); }); \
	} \
	static void shr_u##sx(struct warp *w, const struct insn *in, uint32_t m) \
	{ \
		S *d = (S *)R32(in->d); \
		const S *pa = (const S *)R32(in->a); \
		const uint32_t *pb = R32(in->b); \
		LANES(m, { uint32_t b = pb[l]; d[l] = b >= N ? 0 : (U)((U)pa[l] >> (b & (N - 1))); }); \
	} \
	static void shr_s##sx(struct warp *w, const struct insn *in, uint32_t m) \
	{ \
		S *d = (S *)R32(in->d); \
		const S *pa = (const S *)R32(in->a); \
		const uint32_t *pb = R32(in->b); \
		LANES(m, { uint32_t b = pb[l]; d[l] = (U)((I)pa[l] >> (b >= N ? N - 1 : b)); }); \
	} \
	static void selp_##sx(struct warp *w, const struct insn *in, uint32_t m) \
	{ \
		S *d = (S *)R32(in->d); \
		const S *pa = (const S *)R32(in->a); \
		const S *pb = (const S *)R32(in->b); \
		uint32_t p = PRED(in->c) ^ (uint32_t)in->imm; \
		LANES(m, { d[l] = (p >> l) & 1 ? pa[l] : pb[l]; }); \
	} \
	static void slct_##sx(struct warp *w, const struct insn *in, uint32_t m) \
	{ \
		S *d = (S *)R32(in->d); \
		const S *pa = (const S *)R32(in->a); \
		const S *pb = (const S *)R32(in->b); \
		const uint32_t *pc = R32(in->c); \
		const float *fc = RF32(in->c); \
		bool flt = in->aux; \
		LANES(m, { bool t = flt ? fc[l] >= 0 : (int32_t)pc[l] >= 0; d[l] = t ? pa[l] : pb[l]; }); \
	}
BITS(b16, uint16_t, int16_t, uint32_t, 16)
BITS(b32, uint32_t, int32_t, uint32_t, 32)
BITS(b64, uint64_t, int64_t, uint64_t, 64)

UN(popc_b32, uint32_t, uint32_t, uint32_t, uint32_t, __builtin_popcount(a))
UN(popc_b64, uint64_t, uint64_t, uint32_t, uint32_t, __builtin_popcountll(a))
UN(clz_b32, uint32_t, uint32_t, uint32_t, uint32_t, a ? __builtin_clz(a) : 32)
UN(clz_b64, uint64_t, uint64_t, uint32_t, uint32_t, a ? __builtin_clzll(a) : 64)

static inline uint32_t find32(uint32_t a, bool is_signed)
{
	a = is_signed && (int32_t)a < 0 ? ~a : a;
	return a ? 31 - (uint32_t)__builtin_clz(a) : FULL;
}

static inline uint32_t find64(uint64_t a, bool is_signed)
{
	a = is_signed && (int64_t)a < 0 ? ~a : a;
	return a ? 63 - (uint32_t)__builtin_clzll(a) : FULL;
}

static inline uint32_t shiftamt(uint32_t pos, uint32_t top)
{
	return pos == FULL ? FULL : top - pos;
}
UN(bfind_u32, uint32_t, uint32_t, uint32_t, uint32_t, find32(a, false))
UN(bfind_s32, uint32_t, uint32_t, uint32_t, uint32_t, find32(a, true))
UN(bfind_u64, uint64_t, uint64_t, uint32_t, uint32_t, find64(a, false))
UN(bfind_s64, uint64_t, uint64_t, uint32_t, uint32_t, find64(a, true))
UN(bfindsh_u32, uint32_t, uint32_t, uint32_t, uint32_t, shiftamt(find32(a, false), 31))
UN(bfindsh_s32, uint32_t, uint32_t, uint32_t, uint32_t, shiftamt(find32(a, true), 31))
UN(bfindsh_u64, uint64_t, uint64_t, uint32_t, uint32_t, shiftamt(find64(a, false), 63))
UN(bfindsh_s64, uint64_t, uint64_t, uint32_t, uint32_t, shiftamt(find64(a, true), 63))

static inline uint64_t reverse(uint64_t a, int bits)
{
	uint64_t r = 0;

	for (int i = 0; i < bits; i++)
		r |= ((a >> i) & 1) << (bits - 1 - i);
	return r;
}
UN(brev_b32, uint32_t, uint32_t, uint32_t, uint32_t, reverse(a, 32))
UN(brev_b64, uint64_t, uint64_t, uint64_t, uint64_t, reverse(a, 64))

static inline uint64_t extract(uint64_t a, uint32_t pos, uint32_t len, uint32_t bits, bool is_signed)
{
	uint64_t r = 0, sign = 0;

	pos &= 0xff;
	len &= 0xff;
	if (is_signed && len)
		sign = a >> (pos + len - 1 < bits - 1 ? pos + len - 1 : bits - 1) & 1;
	if (pos < bits)
		r = a >> pos;
	if (pos + len > bits)
		len = pos < bits ? bits - pos : 0;
	if (len < 64)
		r &= (UINT64_C(1) << len) - 1;
	return sign && len < 64 ? r | ~UINT64_C(0) << len : r;
}

#define BFE(sx, S, N, sgn) \
	static void bfe_##sx(struct warp *w, const struct insn *in, uint32_t m) \
	{ \
		S *d = (S *)R32(in->d); \
		const S *pa = (const S *)R32(in->a); \
		const uint32_t *pb = R32(in->b); \
		const uint32_t *pc = R32(in->c); \
		LANES(m, { d[l] = (S)extract(pa[l], pb[l], pc[l], N, sgn); }); \
	}
BFE(u32, uint32_t, 32, false)
BFE(s32, uint32_t, 32, true)
BFE(u64, uint64_t, 64, false)
BFE(s64, uint64_t, 64, true)

static inline uint64_t insert(uint64_t a, uint64_t b, uint32_t pos, uint32_t len, uint32_t bits)
{
	uint64_t mask;

	pos &= 0xff;
	len &= 0xff;
	if (pos >= bits || !len)
		return b;
	if (len > bits - pos)
		len = bits - pos;
	mask = (len >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << len) - 1) << pos;
	return (b & ~mask) | (a << pos & mask);
}

#define BFI(sx, S, N) \
	static void bfi_##sx(struct warp *w, const struct insn *in, uint32_t m) \
	{ \
		S *d = (S *)R32(in->d); \
		const S *pa = (const S *)R32(in->a); \
		const S *pb = (const S *)R32(in->b); \
		const uint32_t *pc = R32(in->c); \
		const uint32_t *pe = R32(in->ext[0]); \
		LANES(m, { d[l] = (S)insert(pa[l], pb[l], pc[l], pe[l], N); }); \
	}
BFI(b32, uint32_t, 32)
BFI(b64, uint64_t, 64)

#define LIST_INT(n) op_table ops_##n = { \
	[T_U16] = n##_u16, [T_S16] = n##_s16, [T_U32] = n##_u32, [T_S32] = n##_s32, [T_U64] = n##_u64, [T_S64] = n##_s64};
LIST_INT(add)
LIST_INT(sub)
LIST_INT(mullo)
LIST_INT(mulhi)
LIST_INT(madlo)
LIST_INT(madhi)
LIST_INT(div)
LIST_INT(rem)
LIST_INT(abs)
LIST_INT(neg)
LIST_INT(min)
LIST_INT(max)
LIST_INT(sad)
op_table ops_mulwide = {[T_U16] = mulwide_u16, [T_S16] = mulwide_s16, [T_U32] = mulwide_u32, [T_S32] = mulwide_s32};
op_table ops_madwide = {[T_U16] = madwide_u16, [T_S16] = madwide_s16, [T_U32] = madwide_u32, [T_S32] = madwide_s32};
op_table ops_popc = {[T_B32] = popc_b32, [T_B64] = popc_b64};
op_table ops_clz = {[T_B32] = clz_b32, [T_B64] = clz_b64};
op_table ops_brev = {[T_B32] = brev_b32, [T_B64] = brev_b64};
op_table ops_bfind = {[T_U32] = bfind_u32, [T_S32] = bfind_s32, [T_U64] = bfind_u64, [T_S64] = bfind_s64,
		      [T_B32] = bfind_u32, [T_B64] = bfind_u64};
op_table ops_bfindsh = {[T_U32] = bfindsh_u32, [T_S32] = bfindsh_s32, [T_U64] = bfindsh_u64, [T_S64] = bfindsh_s64};
op_table ops_bfe = {[T_U32] = bfe_u32, [T_S32] = bfe_s32, [T_U64] = bfe_u64, [T_S64] = bfe_s64};
op_table ops_bfi = {[T_B32] = bfi_b32, [T_B64] = bfi_b64};

/* Operations on bits do not care for the type, only for its width. */
#define LIST_BITS(n) op_table ops_##n = { \
	[T_B8] = n##_b16, [T_U8] = n##_b16, [T_S8] = n##_b16, \
	[T_B16] = n##_b16, [T_U16] = n##_b16, [T_S16] = n##_b16, [T_F16] = n##_b16, [T_BF16] = n##_b16, \
	[T_B32] = n##_b32, [T_U32] = n##_b32, [T_S32] = n##_b32, [T_F32] = n##_b32, [T_F16X2] = n##_b32, \
	[T_BF16X2] = n##_b32, [T_TF32] = n##_b32, [T_U16X2] = n##_b32, [T_S16X2] = n##_b32, \
	[T_B64] = n##_b64, [T_U64] = n##_b64, [T_S64] = n##_b64, [T_F64] = n##_b64, [T_F32X2] = n##_b64};
LIST_BITS(and)
LIST_BITS(or)
LIST_BITS(xor)
LIST_BITS(not)
LIST_BITS(cnot)
LIST_BITS(mov)
LIST_BITS(selp)
LIST_BITS(slct)
LIST_BITS(shl)
op_table ops_shr = {[T_B16] = shr_ub16, [T_U16] = shr_ub16, [T_S16] = shr_sb16, [T_B32] = shr_ub32, [T_U32] = shr_ub32,
		    [T_S32] = shr_sb32, [T_B64] = shr_ub64, [T_U64] = shr_ub64, [T_S64] = shr_sb64};

/* setp: the mask of lanes for which the comparison holds, into predicate d (and its complement into c if set). */
#define SETP(cn, sx, T, S, expr) \
	static void setp_##cn##_##sx(struct warp *w, const struct insn *in, uint32_t m) \
	{ \
		const S *pa = (const S *)R32(in->a); \
		const S *pb = (const S *)R32(in->b); \
		uint32_t r = 0; \
		LANES(m, { T a = (T)pa[l]; T b = (T)pb[l]; r |= (uint32_t)(expr) << l; }); \
		PRED(in->d) = (PRED(in->d) & ~m) | (r & m); \
	}
#define SETPS(sx, T, S) \
	SETP(eq, sx, T, S, a == b) SETP(ne, sx, T, S, a != b) SETP(lt, sx, T, S, a < b) \
	SETP(le, sx, T, S, a <= b) SETP(gt, sx, T, S, a > b) SETP(ge, sx, T, S, a >= b)
SETPS(u16, uint16_t, uint32_t)
SETPS(s16, int16_t, uint32_t)
SETPS(u32, uint32_t, uint32_t)
SETPS(s32, int32_t, uint32_t)
SETPS(u64, uint64_t, uint64_t)
SETPS(s64, int64_t, uint64_t)
#define FSETPS(sx, T, S) \
	SETP(eq, sx, T, S, a == b) SETP(lt, sx, T, S, a < b) SETP(le, sx, T, S, a <= b) \
	SETP(gt, sx, T, S, a > b) SETP(ge, sx, T, S, a >= b) \
	SETP(equ, sx, T, S, !(a < b || a > b)) SETP(neu, sx, T, S, !(a == b)) SETP(ltu, sx, T, S, !(a >= b)) \
	SETP(leu, sx, T, S, !(a > b)) SETP(gtu, sx, T, S, !(a <= b)) SETP(geu, sx, T, S, !(a < b)) \
	SETP(num, sx, T, S, a == a && b == b) SETP(nan, sx, T, S, a != a || b != b)
FSETPS(f32, float, float)
FSETPS(f64, double, double)

#define HSETP(cn, op) \
	static void setp_##cn##_f16(struct warp *w, const struct insn *in, uint32_t m) \
	{ \
		uint32_t r = 0; \
		LANES(m, { \
			float a = half_to_float((uint16_t)R32(in->a)[l]); \
			float b = half_to_float((uint16_t)R32(in->b)[l]); \
			r |= (uint32_t)(op) << l; \
		}); \
		PRED(in->d) = (PRED(in->d) & ~m) | (r & m); \
	} \
	static void setp_##cn##_bf16(struct warp *w, const struct insn *in, uint32_t m) \
	{ \
		uint32_t r = 0; \
		LANES(m, { \
			float a = bf16_to_float((uint16_t)R32(in->a)[l]); \
			float b = bf16_to_float((uint16_t)R32(in->b)[l]); \
			r |= (uint32_t)(op) << l; \
		}); \
		PRED(in->d) = (PRED(in->d) & ~m) | (r & m); \
	}
HSETP(eq, a == b) HSETP(ne, a != b && a == a && b == b) HSETP(lt, a < b) HSETP(le, a <= b) HSETP(gt, a > b)
HSETP(ge, a >= b) HSETP(equ, !(a < b || a > b)) HSETP(neu, !(a == b)) HSETP(ltu, !(a >= b)) HSETP(leu, !(a > b))
HSETP(gtu, !(a <= b)) HSETP(geu, !(a < b)) HSETP(num, a == a && b == b) HSETP(nan, a != a || b != b)

/* For floats "ne" is ordered: false when one side is no number. */
SETP(fne, f32, float, float, a != b && a == a && b == b)
SETP(fne, f64, double, double, a != b && a == a && b == b)

#define INT_CMP(n) [T_U16] = setp_##n##_u16, [T_S16] = setp_##n##_s16, [T_B16] = setp_##n##_u16, [T_U32] = setp_##n##_u32, \
	[T_S32] = setp_##n##_s32, [T_B32] = setp_##n##_u32, [T_U64] = setp_##n##_u64, [T_S64] = setp_##n##_s64, \
	[T_B64] = setp_##n##_u64
#define FLT_CMP(n) [T_F16] = setp_##n##_f16, [T_BF16] = setp_##n##_bf16, [T_F32] = setp_##n##_f32, [T_F64] = setp_##n##_f64
/* lo, ls, hi, hs are the unsigned names; the compiler maps them to lt, le, gt, ge of unsigned types. */
const op_fn ops_setp[C_COUNT][T_COUNT] = {
	[C_EQ] = {INT_CMP(eq), FLT_CMP(eq)},
	[C_NE] = {INT_CMP(ne), [T_F16] = setp_ne_f16, [T_BF16] = setp_ne_bf16, [T_F32] = setp_fne_f32, [T_F64] = setp_fne_f64},
	[C_LT] = {INT_CMP(lt), FLT_CMP(lt)},
	[C_LE] = {INT_CMP(le), FLT_CMP(le)},
	[C_GT] = {INT_CMP(gt), FLT_CMP(gt)},
	[C_GE] = {INT_CMP(ge), FLT_CMP(ge)},
	[C_EQU] = {FLT_CMP(equ)}, [C_NEU] = {FLT_CMP(neu)}, [C_LTU] = {FLT_CMP(ltu)}, [C_LEU] = {FLT_CMP(leu)},
	[C_GTU] = {FLT_CMP(gtu)}, [C_GEU] = {FLT_CMP(geu)}, [C_NUM] = {FLT_CMP(num)}, [C_NAN] = {FLT_CMP(nan)},
};
