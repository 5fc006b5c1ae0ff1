/* Floating point, by type. Compiled without contraction: mul and add are two roundings, fma is one. */
#include "exec.h"

#include <fenv.h>
#include <float.h>
#include <math.h>
#include <string.h>

float half_to_float(uint16_t h)
{
	_Float16 v;

	memcpy(&v, &h, 2);
	return (float)v;
}

uint16_t double_to_half(double d)
{
	_Float16 v = (_Float16)d;
	uint16_t h;

	memcpy(&h, &v, 2);
	return d != d ? 0x7fff : h;
}

uint16_t float_to_half(float f)
{
	return double_to_half(f);
}

/* Through a float rounded to odd, so that the second rounding cannot see a false tie. */
uint16_t double_to_bf16(double d)
{
	union { float f; uint32_t u; } v = {.f = (float)d};

	if (d != d)
		return 0x7fff;
	if ((double)v.f != d && isfinite(v.f)) {
		if (!(v.u & 1)) {
			bool up = fabs((double)v.f) < fabs(d);

			v.u = up ? v.u | 1 : v.u - 1;
		}
	} else if (!isfinite(v.f) && isfinite(d)) {
		return d < 0 ? 0xff80 : 0x7f80;
	}
	if ((v.u & 0x7fffffff) >= 0x7f800000)
		return (uint16_t)(v.u >> 16);
	return (uint16_t)((v.u + 0x7fff + ((v.u >> 16) & 1)) >> 16);
}

static inline float ftz(float f)
{
	return fabsf(f) < FLT_MIN ? copysignf(0.0f, f) : f;
}

static inline float canon(float f)
{
	union { uint32_t u; float f; } n = {.u = 0x7fffffff};

	return f != f ? n.f : f;
}

static inline double fmin_(double a, double b) { return a != a ? b : b != b ? a : a < b ? a : b < a ? b : signbit(a) ? a : b; }
static inline double fmax_(double a, double b) { return a != a ? b : b != b ? a : a > b ? a : b > a ? b : signbit(a) ? b : a; }
static inline double fminnan_(double a, double b) { return a != a ? a : b != b ? b : fmin_(a, b); }
static inline double fmaxnan_(double a, double b) { return a != a ? a : b != b ? b : fmax_(a, b); }
static inline float fmin_f(float a, float b) { return a != a ? b : b != b ? a : a < b ? a : b < a ? b : signbit(a) ? a : b; }
static inline float fmax_f(float a, float b) { return a != a ? b : b != b ? a : a > b ? a : b > a ? b : signbit(a) ? b : a; }

#define LOOP1(T, expr) { T *d = (T *)R32(in->d); const T *pa = (const T *)R32(in->a); \
	LANES(m, { T a = pa[l]; d[l] = (T)(expr); }); }
#define LOOP2(T, expr) { T *d = (T *)R32(in->d); const T *pa = (const T *)R32(in->a); const T *pb = (const T *)R32(in->b); \
	LANES(m, { T a = pa[l]; T b = pb[l]; d[l] = (T)(expr); }); }
#define LOOP3(T, expr) { T *d = (T *)R32(in->d); const T *pa = (const T *)R32(in->a); const T *pb = (const T *)R32(in->b); \
	const T *pc = (const T *)R32(in->c); LANES(m, { T a = pa[l]; T b = pb[l]; T c = pc[l]; d[l] = (T)(expr); }); }
#define F32(name, loop, expr) static void name(struct warp *w, const struct insn *in, uint32_t m) loop(float, expr)
#define F64(name, loop, expr) static void name(struct warp *w, const struct insn *in, uint32_t m) loop(double, expr)

/* f16 and bf16: computed in double, where sum, product and fma of such short numbers lose nothing that matters. */
#define H1(name, to, from, expr) \
	static void name(struct warp *w, const struct insn *in, uint32_t m) \
	{ LANES(m, { double a = from((uint16_t)R32(in->a)[l]); R32(in->d)[l] = to(expr); }); } \
	static void name##x2(struct warp *w, const struct insn *in, uint32_t m) \
	{ LANES(m, { uint32_t va = R32(in->a)[l]; uint32_t r; \
		{ double a = from((uint16_t)va); r = to(expr); } \
		{ double a = from((uint16_t)(va >> 16)); r |= (uint32_t)to(expr) << 16; } \
		R32(in->d)[l] = r; }); }
#define H2(name, to, from, expr) \
	static void name(struct warp *w, const struct insn *in, uint32_t m) \
	{ LANES(m, { double a = from((uint16_t)R32(in->a)[l]); double b = from((uint16_t)R32(in->b)[l]); \
		R32(in->d)[l] = to(expr); }); } \
	static void name##x2(struct warp *w, const struct insn *in, uint32_t m) \
	{ LANES(m, { uint32_t va = R32(in->a)[l]; uint32_t vb = R32(in->b)[l]; uint32_t r; \
		{ double a = from((uint16_t)va); double b = from((uint16_t)vb); r = to(expr); } \
		{ double a = from((uint16_t)(va >> 16)); double b = from((uint16_t)(vb >> 16)); r |= (uint32_t)to(expr) << 16; } \
		R32(in->d)[l] = r; }); }
#define H3(name, to, from, expr) \
	static void name(struct warp *w, const struct insn *in, uint32_t m) \
	{ LANES(m, { double a = from((uint16_t)R32(in->a)[l]); double b = from((uint16_t)R32(in->b)[l]); \
		double c = from((uint16_t)R32(in->c)[l]); R32(in->d)[l] = to(expr); }); } \
	static void name##x2(struct warp *w, const struct insn *in, uint32_t m) \
	{ LANES(m, { uint32_t va = R32(in->a)[l]; uint32_t vb = R32(in->b)[l]; uint32_t vc = R32(in->c)[l]; uint32_t r; \
		{ double a = from((uint16_t)va); double b = from((uint16_t)vb); double c = from((uint16_t)vc); r = to(expr); } \
		{ double a = from((uint16_t)(va >> 16)); double b = from((uint16_t)(vb >> 16)); \
		  double c = from((uint16_t)(vc >> 16)); r |= (uint32_t)to(expr) << 16; } \
		R32(in->d)[l] = r; }); }
#define HALF1(n, expr) H1(n##_f16, double_to_half, half_to_float, expr) H1(n##_bf16, double_to_bf16, bf16_to_float, expr)
#define HALF2(n, expr) H2(n##_f16, double_to_half, half_to_float, expr) H2(n##_bf16, double_to_bf16, bf16_to_float, expr)
#define HALF3(n, expr) H3(n##_f16, double_to_half, half_to_float, expr) H3(n##_bf16, double_to_bf16, bf16_to_float, expr)
#define LIST_HALF(n) [T_F16] = n##_f16, [T_BF16] = n##_bf16, [T_F16X2] = n##_f16x2, [T_BF16X2] = n##_bf16x2
#define LIST_ALL(n) op_table ops_##n = {LIST_HALF(n), [T_F32] = n##_f32, [T_F64] = n##_f64};
#define LIST_FLT(n) op_table ops_##n = {[T_F32] = n##_f32, [T_F64] = n##_f64};

F32(fadd_f32, LOOP2, a + b) F64(fadd_f64, LOOP2, a + b) HALF2(fadd, a + b) LIST_ALL(fadd)
F32(fsub_f32, LOOP2, a - b) F64(fsub_f64, LOOP2, a - b) HALF2(fsub, a - b) LIST_ALL(fsub)
F32(fmul_f32, LOOP2, a * b) F64(fmul_f64, LOOP2, a * b) HALF2(fmul, a * b) LIST_ALL(fmul)
F32(fdiv_f32, LOOP2, a / b) F64(fdiv_f64, LOOP2, a / b) LIST_FLT(fdiv)
F32(fmin_f32, LOOP2, canon(fmin_f(a, b))) F64(fmin_f64, LOOP2, fmin_(a, b)) HALF2(fmin, fmin_(a, b)) LIST_ALL(fmin)
F32(fmax_f32, LOOP2, canon(fmax_f(a, b))) F64(fmax_f64, LOOP2, fmax_(a, b)) HALF2(fmax, fmax_(a, b)) LIST_ALL(fmax)
F32(fminnan_f32, LOOP2, canon((float)fminnan_(a, b))) HALF2(fminnan, fminnan_(a, b))
op_table ops_fminnan = {LIST_HALF(fminnan), [T_F32] = fminnan_f32};
F32(fmaxnan_f32, LOOP2, canon((float)fmaxnan_(a, b))) HALF2(fmaxnan, fmaxnan_(a, b))
op_table ops_fmaxnan = {LIST_HALF(fmaxnan), [T_F32] = fmaxnan_f32};

/* Only the sign bit changes, whatever the rest says. */
#define SIGN(n, T, expr) static void n(struct warp *w, const struct insn *in, uint32_t m) \
	{ T *d = (T *)R32(in->d); const T *pa = (const T *)R32(in->a); LANES(m, { T a = pa[l]; d[l] = (expr); }); }
SIGN(fabs_f16, uint32_t, a & 0x7fff) SIGN(fabs_f16x2, uint32_t, a & 0x7fff7fff)
SIGN(fabs_f32, uint32_t, a & 0x7fffffff) SIGN(fabs_f64, uint64_t, a & INT64_MAX)
SIGN(fneg_f16, uint32_t, (a ^ 0x8000) & 0xffff) SIGN(fneg_f16x2, uint32_t, a ^ 0x80008000)
SIGN(fneg_f32, uint32_t, a ^ 0x80000000) SIGN(fneg_f64, uint64_t, a ^ (uint64_t)INT64_MIN)
#define LIST_SIGN(n) op_table ops_##n = {[T_F16] = n##_f16, [T_BF16] = n##_f16, [T_F16X2] = n##_f16x2, \
	[T_BF16X2] = n##_f16x2, [T_F32] = n##_f32, [T_F64] = n##_f64};
LIST_SIGN(fabs) LIST_SIGN(fneg)

F64(fma_f64, LOOP3, fma(a, b, c)) HALF3(fma, a * b + c)
F32(fma_f32_soft, LOOP3, fmaf(a, b, c))
#ifdef __x86_64__
__attribute__((target("avx2,fma")))
F32(fma_f32_hard, LOOP3, __builtin_fmaf(a, b, c))

static void fma_f32(struct warp *w, const struct insn *in, uint32_t m)
{
	static int have;

	if (!have)
		have = __builtin_cpu_supports("fma") && __builtin_cpu_supports("avx2") ? 1 : 2;
	if (have == 1)
		fma_f32_hard(w, in, m);
	else
		fma_f32_soft(w, in, m);
}
#else
#define fma_f32 fma_f32_soft
#endif
LIST_ALL(fma)

/* Each ftz form flushes what comes in and what goes out. */
F32(faddftz_f32, LOOP2, ftz(ftz(a) + ftz(b))) op_table ops_faddftz = {[T_F32] = faddftz_f32};
F32(fsubftz_f32, LOOP2, ftz(ftz(a) - ftz(b))) op_table ops_fsubftz = {[T_F32] = fsubftz_f32};
F32(fmulftz_f32, LOOP2, ftz(ftz(a) * ftz(b))) op_table ops_fmulftz = {[T_F32] = fmulftz_f32};
F32(fmaftz_f32, LOOP3, ftz(fmaf(ftz(a), ftz(b), ftz(c)))) op_table ops_fmaftz = {[T_F32] = fmaftz_f32};
F32(fftz_f32, LOOP1, ftz(a)) op_table ops_fftz = {[T_F32] = fftz_f32};

#define SAT(a) (!((a) > 0) ? 0 : (a) > 1 ? 1 : (a)) /* no number becomes 0 */
F32(fsat_f32, LOOP1, SAT(a)) F64(fsat_f64, LOOP1, SAT(a)) HALF1(fsat, SAT(a)) LIST_ALL(fsat)
HALF1(frelu, a != a ? a : a > 0 ? a : 0) op_table ops_frelu = {LIST_HALF(frelu)};

F32(frcp_f32, LOOP1, 1 / a) F64(frcp_f64, LOOP1, 1 / a) LIST_FLT(frcp)
F32(fsqrt_f32, LOOP1, sqrtf(a)) F64(fsqrt_f64, LOOP1, sqrt(a)) LIST_FLT(fsqrt)
F32(frsqrt_f32, LOOP1, (float)(1 / sqrt((double)a))) F64(frsqrt_f64, LOOP1, 1 / sqrt(a)) LIST_FLT(frsqrt)
F32(fex2_f32, LOOP1, exp2f(a)) HALF1(fex2, exp2(a)) op_table ops_fex2 = {LIST_HALF(fex2), [T_F32] = fex2_f32};
F32(flg2_f32, LOOP1, log2f(a)) op_table ops_flg2 = {[T_F32] = flg2_f32};
F32(fsin_f32, LOOP1, sinf(a)) op_table ops_fsin = {[T_F32] = fsin_f32};
F32(fcos_f32, LOOP1, cosf(a)) op_table ops_fcos = {[T_F32] = fcos_f32};
F32(ftanh_f32, LOOP1, tanhf(a)) HALF1(ftanh, tanh(a)) op_table ops_ftanh = {LIST_HALF(ftanh), [T_F32] = ftanh_f32};
/* copysign.f32 d, a, b: the sign of a, the rest of b. */
F32(copysign_f32, LOOP2, copysignf(b, a)) F64(copysign_f64, LOOP2, copysign(b, a)) LIST_FLT(copysign)

static bool testp(int what, double a, bool subnormal)
{
	switch (what) {
	case 0: return isfinite(a);
	case 1: return isinf(a);
	case 2: return !isnan(a);
	case 3: return isnan(a);
	case 4: return isfinite(a) && a != 0 && !subnormal;
	default: return a != 0 && subnormal;
	}
}

static void testp_f32(struct warp *w, const struct insn *in, uint32_t m)
{
	uint32_t r = 0;

	LANES(m, { float a = RF32(in->a)[l]; r |= (uint32_t)testp(in->aux, a, fabsf(a) < FLT_MIN) << l; });
	PRED(in->d) = (PRED(in->d) & ~m) | (r & m);
}

static void testp_f64(struct warp *w, const struct insn *in, uint32_t m)
{
	uint32_t r = 0;

	LANES(m, { double a = RF64(in->a)[l]; r |= (uint32_t)testp(in->aux, a, fabs(a) < DBL_MIN) << l; });
	PRED(in->d) = (PRED(in->d) & ~m) | (r & m);
}
LIST_FLT(testp)

/* Directed rounding: volatile keeps the compiler from moving arithmetic across the mode's change. */
static int mode_of(int rnd)
{
	return rnd == RND_Z ? FE_TOWARDZERO : rnd == RND_M ? FE_DOWNWARD : rnd == RND_P ? FE_UPWARD : FE_TONEAREST;
}
#define ROUNDED(n, T, expr) \
	static void n(struct warp *w, const struct insn *in, uint32_t m) \
	{ \
		int before = fegetround(); \
		fesetround(mode_of(in->aux)); \
		LANES(m, { volatile T a = ((T *)R32(in->a))[l]; volatile T b = ((T *)R32(in->b))[l]; \
			volatile T c = ((T *)R32(in->c))[l]; volatile T r = (expr); (void)b; (void)c; ((T *)R32(in->d))[l] = r; }); \
		fesetround(before); \
	}
ROUNDED(radd_f32, float, a + b) ROUNDED(radd_f64, double, a + b)
ROUNDED(rsub_f32, float, a - b) ROUNDED(rsub_f64, double, a - b)
ROUNDED(rmul_f32, float, a * b) ROUNDED(rmul_f64, double, a * b)
ROUNDED(rdiv_f32, float, a / b) ROUNDED(rdiv_f64, double, a / b)
ROUNDED(rfma_f32, float, fmaf(a, b, c)) ROUNDED(rfma_f64, double, fma(a, b, c))
ROUNDED(rrcp_f32, float, 1 / a) ROUNDED(rrcp_f64, double, 1 / a)
ROUNDED(rsqrt_f32, float, sqrtf(a)) ROUNDED(rsqrt_f64, double, sqrt(a))

op_fn fp_rounded_op(const char *name, enum ptx_type t)
{
	static const struct { const char *name; op_fn f32, f64; } table[] = {
		{"add", radd_f32, radd_f64}, {"sub", rsub_f32, rsub_f64}, {"mul", rmul_f32, rmul_f64},
		{"div", rdiv_f32, rdiv_f64}, {"fma", rfma_f32, rfma_f64}, {"mad", rfma_f32, rfma_f64},
		{"rcp", rrcp_f32, rrcp_f64}, {"sqrt", rsqrt_f32, rsqrt_f64},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
		if (!strcmp(table[i].name, name))
			return t == T_F32 ? table[i].f32 : t == T_F64 ? table[i].f64 : NULL;
	return NULL;
}
