/* Conversions. The common ones have a loop of their own; the rest goes through one general routine. */
#include "exec.h"

#include <float.h>
#include <math.h>
#include <string.h>

struct cvt {
	uint8_t to, from, rnd, sat, ftz, relu;
};

int64_t cvt_imm(enum ptx_type to, enum ptx_type from, enum rnd rnd, bool sat, bool ftz, bool relu)
{
	return (int64_t)to | (int64_t)from << 8 | (int64_t)rnd << 16 | (int64_t)sat << 24 | (int64_t)ftz << 25 |
	       (int64_t)relu << 26;
}

static struct cvt unpack_imm(int64_t i)
{
	return (struct cvt){(uint8_t)i, (uint8_t)(i >> 8), (uint8_t)(i >> 16), i >> 24 & 1, i >> 25 & 1, i >> 26 & 1};
}

static double round_integral(double v, enum rnd rnd)
{
	switch (rnd) {
	case RND_ZI: return trunc(v);
	case RND_MI: return floor(v);
	case RND_PI: return ceil(v);
	default: return nearbyint(v);
	}
}

/* What lies between the ends is exact in a double but for 64-bit integers, which stay integers. */
struct val {
	bool integer, is_signed;
	uint64_t i;
	double d;
};

static int64_t sext(uint64_t v, uint32_t bytes)
{
	return bytes == 8 ? (int64_t)v : (int64_t)(v << (64 - 8 * bytes)) >> (64 - 8 * bytes);
}

static struct val load_val(struct warp *w, uint32_t off, enum ptx_type t, int l, bool ftz)
{
	struct val v = {.integer = !ptx_is_float(t), .is_signed = ptx_is_signed(t)};
	uint32_t size = ptx_type_size(t);

	v.i = size == 8 ? R64(off)[l] : R32(off)[l];
	if (v.integer) {
		v.i = v.is_signed ? (uint64_t)sext(v.i, size) : size == 8 ? v.i : v.i & ((UINT64_C(1) << 8 * size) - 1);
		return v;
	}
	v.d = t == T_F64 ? RF64(off)[l] : t == T_F32 ? RF32(off)[l] : t == T_F16 ? half_to_float((uint16_t)v.i)
									 : bf16_to_float((uint16_t)v.i);
	if (ftz && t == T_F32 && fabs(v.d) < FLT_MIN)
		v.d = copysign(0, v.d);
	return v;
}

static uint64_t int_limits(struct val v, enum ptx_type t)
{
	uint32_t bits = 8 * ptx_type_size(t);

	if (ptx_is_signed(t)) {
		int64_t max = (int64_t)((UINT64_C(1) << (bits - 1)) - 1), min = -max - 1;

		if (!v.is_signed)
			return v.i > (uint64_t)max ? (uint64_t)max : v.i;
		return (int64_t)v.i > max ? (uint64_t)max : (int64_t)v.i < min ? (uint64_t)min : v.i;
	} else {
		uint64_t max = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;

		if (v.is_signed && (int64_t)v.i < 0)
			return 0;
		return v.i > max ? max : v.i;
	}
}

/* Floats saturate at the ends of the integer's range; no number becomes 0, or the top bit at 64 bits. */
static uint64_t float_to_int(double d, enum ptx_type t, enum rnd rnd, enum ptx_type from)
{
	uint32_t bits = 8 * ptx_type_size(t);
	double lo = ptx_is_signed(t) ? -ldexp(1, (int)bits - 1) : 0;
	double hi = ldexp(1, ptx_is_signed(t) ? (int)bits - 1 : (int)bits);

	if (d != d)
		return bits == 64 || from == T_F64 ? bits == 64 ? UINT64_C(1) << 63 : ptx_is_signed(t) && bits == 32 ? 0x80000000 : 0 : 0;
	d = round_integral(d, rnd);
	if (d < lo)
		d = lo;
	if (d >= hi)
		return bits == 64 ? (ptx_is_signed(t) ? INT64_MAX : UINT64_MAX)
				  : (UINT64_C(1) << (ptx_is_signed(t) ? bits - 1 : bits)) - 1;
	return ptx_is_signed(t) ? (uint64_t)(int64_t)d : (uint64_t)d;
}

/* The neighbours of the nearest value, for directed rounding. */
static float narrow_f32(double d, enum rnd rnd)
{
	float f = (float)d;

	if (d != d || (double)f == d)
		return f;
	if (rnd == RND_Z && fabs((double)f) > fabs(d))
		return nextafterf(f, 0);
	if (rnd == RND_M && (double)f > d)
		return nextafterf(f, -INFINITY);
	if (rnd == RND_P && (double)f < d)
		return nextafterf(f, INFINITY);
	return f;
}

static uint16_t step16(uint16_t h, bool away)
{
	return away ? h + 1 : h - 1; /* sign and magnitude: the same step for both signs */
}

static uint16_t narrow16(double d, enum rnd rnd, bool bf)
{
	uint16_t h = bf ? double_to_bf16(d) : double_to_half(d);
	double back = bf ? bf16_to_float(h) : half_to_float(h);

	if (d != d || back == d)
		return h;
	if (rnd == RND_Z && fabs(back) > fabs(d))
		return step16(h, false);
	if (rnd == RND_M && back > d)
		return !(h & 0x7fff) ? 0x8001 : step16(h, back < 0);
	if (rnd == RND_P && back < d)
		return !(h & 0x7fff) ? 0x0001 : step16(h, back > 0);
	return h;
}

static double int_to_double(struct val v)
{
	return v.is_signed ? (double)(int64_t)v.i : (double)v.i;
}

static float int_to_f32(struct val v, enum rnd rnd)
{
	float f = v.is_signed ? (float)(int64_t)v.i : (float)v.i;
	long double exact = v.is_signed ? (long double)(int64_t)v.i : (long double)v.i;

	if ((long double)f == exact || rnd == RND_N || rnd == RND_NONE)
		return f;
	if ((rnd == RND_Z && fabsl((long double)f) > fabsl(exact)))
		return nextafterf(f, 0);
	if (rnd == RND_M && (long double)f > exact)
		return nextafterf(f, -INFINITY);
	if (rnd == RND_P && (long double)f < exact)
		return nextafterf(f, INFINITY);
	return f;
}

static uint64_t to_float(struct val v, struct cvt c)
{
	union { float f; uint32_t u; double d; uint64_t u64; } r = {0};
	double d = v.integer ? int_to_double(v) : v.d;

	if (c.rnd >= RND_NI && c.rnd <= RND_PI)
		d = round_integral(d, c.rnd);
	if (c.sat)
		d = !(d > 0) ? 0 : d > 1 ? 1 : d;
	if (c.relu)
		d = d != d ? d : d > 0 ? d : 0;
	switch (c.to) {
	case T_F64:
		r.d = d;
		return r.u64;
	case T_F32:
		r.f = v.integer ? int_to_f32(v, c.rnd) : narrow_f32(d, c.rnd);
		if (c.ftz && fabsf(r.f) < FLT_MIN)
			r.f = copysignf(0, r.f);
		if (r.f != r.f)
			r.u = 0x7fffffff;
		return r.u;
	case T_TF32:
		r.f = (float)d;
		if (c.rnd == RND_N) /* nearest even, to 10 bits of fraction */
			r.u += 0xfff + ((r.u >> 13) & 1);
		else if (c.rnd == RND_NA)
			r.u += 0x1000;
		return r.u & 0xffffe000;
	case T_BF16:
		return narrow16(d, c.rnd, true);
	default:
		return narrow16(d, c.rnd, false);
	}
}

static uint64_t convert(struct val v, struct cvt c)
{
	uint32_t size = ptx_type_size(c.to);
	uint64_t r;

	if (ptx_is_float(c.to))
		return to_float(v, c);
	if (v.integer)
		r = c.sat ? int_limits(v, c.to) : v.i;
	else
		r = float_to_int(v.d, c.to, c.rnd, c.from);
	/* A short signed result is sign-extended to the register it lands in. */
	return ptx_is_signed(c.to) ? (uint64_t)sext(r, size) : size == 8 ? r : r & ((UINT64_C(1) << 8 * size) - 1);
}

static void op_cvt(struct warp *w, const struct insn *in, uint32_t m)
{
	struct cvt c = unpack_imm(in->imm);

	LANES(m, {
		uint64_t r = convert(load_val(w, in->a, c.from, l, c.ftz), c);
		if (in->aux == 8)
			R64(in->d)[l] = r;
		else if (in->aux == 2)
			R32(in->d)[l] = (uint16_t)r;
		else
			R32(in->d)[l] = (uint32_t)r;
	});
}

/* cvt.rn.f16x2.f32 d, a, b: a in the upper half, b in the lower. */
void op_cvt_pack(struct warp *w, const struct insn *in, uint32_t m)
{
	struct cvt c = unpack_imm(in->imm);

	c.to = c.to == T_F16X2 ? T_F16 : T_BF16;
	LANES(m, {
		uint32_t hi = (uint32_t)convert(load_val(w, in->a, c.from, l, c.ftz), c);
		uint32_t lo = (uint32_t)convert(load_val(w, in->b, c.from, l, c.ftz), c);
		R32(in->d)[l] = hi << 16 | lo;
	});
}

#define FAST(name, D, S, expr) \
	static void name(struct warp *w, const struct insn *in, uint32_t m) \
	{ \
		D *d = (D *)R32(in->d); \
		const S *pa = (const S *)R32(in->a); \
		LANES(m, { S a = pa[l]; d[l] = (D)(expr); }); \
	}
FAST(cvt_s64_s32, int64_t, int32_t, a)
FAST(cvt_u64_u32, uint64_t, uint32_t, a)
FAST(cvt_u32_u64, uint32_t, uint64_t, a)
FAST(cvt_f32_s32, float, int32_t, a)
FAST(cvt_f32_u32, float, uint32_t, a)
FAST(cvt_f64_f32, double, float, a)
FAST(cvt_copy32, uint32_t, uint32_t, a)
FAST(cvt_copy64, uint64_t, uint64_t, a)

static bool is(enum ptx_type t, enum ptx_type a, enum ptx_type b)
{
	return t == a || t == b;
}

/* Only when the destination register is as wide as the type: the compiler asks for aux == size. */
op_fn cvt_op(enum ptx_type to, enum ptx_type from, enum rnd rnd, bool sat, bool ftz, bool relu)
{
	if (sat || ftz || relu)
		return op_cvt;
	if (to == T_F32 && (rnd == RND_N || rnd == RND_NONE)) {
		if (from == T_S32)
			return cvt_f32_s32;
		if (from == T_U32)
			return cvt_f32_u32;
	}
	if (to == T_F64 && from == T_F32 && rnd == RND_NONE)
		return cvt_f64_f32;
	if (is(to, T_S64, T_U64))
		return from == T_S32 ? cvt_s64_s32 : from == T_U32 ? cvt_u64_u32 : is(from, T_S64, T_U64) ? cvt_copy64 : op_cvt;
	if (is(to, T_S32, T_U32))
		return is(from, T_S64, T_U64) ? cvt_u32_u64 : is(from, T_S32, T_U32) ? cvt_copy32 : op_cvt;
	return op_cvt;
}
