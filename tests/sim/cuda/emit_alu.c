/* Arithmetic, logic, comparison. */
#include "compile.h"

#include <string.h>

/* d, a [, b [, c]] of types td, ta, tb, tc. */
static struct insn *emit_typed(struct comp *c, const struct ptx_insn *in, op_fn fn, enum ptx_type td, enum ptx_type ta,
			       enum ptx_type tb, enum ptx_type tc)
{
	uint32_t a, b = 0, e = 0, d;
	struct insn *out;

	if (!want_ops(c, in, tc ? 4 : tb ? 3 : 2))
		return emit(c, op_nop);
	a = src(c, &in->ops[1], ta);
	if (tb)
		b = src(c, &in->ops[2], tb);
	if (tc)
		e = src(c, &in->ops[3], tc);
	d = dst(c, &in->ops[0], td);
	out = emit(c, fn);
	out->d = d;
	out->a = a;
	out->b = b;
	out->c = e;
	return out;
}

static void done(struct comp *c, const struct ptx_insn *in, enum ptx_type td)
{
	if (!c->failed)
		dst_done(c, &in->ops[0], td, c->insns[c->n - 1].d);
}

/* A further step on the value just made (saturate, flush, relu). */
static void post(struct comp *c, op_fn fn)
{
	uint32_t d = c->insns[c->n - 1].d;
	struct insn *out = emit(c, fn);

	out->d = out->a = d;
}

struct by_name {
	const char *name;
	op_table *ints, *floats;
};

static const struct by_name *find_name(const struct by_name *t, const char *name)
{
	for (; t->name; t++)
		if (!strcmp(t->name, name))
			return t;
	return NULL;
}

static enum ptx_type x2_of(enum ptx_type t)
{
	return t == T_U16X2 ? T_U16 : t == T_S16X2 ? T_S16 : T_F32;
}

/* Pairs without a handler of their own: each half through the plain one. */
static void emit_halves(struct comp *c, const struct ptx_insn *in, op_table *table, enum ptx_type t, int nsrc)
{
	enum ptx_type e = x2_of(t);
	uint32_t bytes = ptx_type_size(e), whole = ptx_type_size(t), half[4][2] = {{0}}, d;
	struct insn *out;

	for (int i = 1; i <= nsrc; i++) {
		uint32_t s = src(c, &in->ops[i], t);

		half[i][0] = new_reg(c, 4);
		half[i][1] = new_reg(c, 4);
		out = emit(c, op_unpack);
		out->a = s;
		out->n = 2;
		out->aux = (uint8_t)bytes;
		out->imm = whole;
		out->ext = ext(c, 2);
		out->ext[0] = half[i][0];
		out->ext[1] = half[i][1];
	}
	for (int h = 0; h < 2; h++) {
		half[0][h] = new_reg(c, 4);
		out = emit(c, (*table)[e]);
		out->d = half[0][h];
		out->a = half[1][h];
		out->b = half[2][h];
		out->c = half[3][h];
	}
	d = dst(c, &in->ops[0], t);
	out = emit(c, op_pack);
	out->d = d;
	out->n = 2;
	out->aux = (uint8_t)bytes;
	out->imm = whole;
	out->ext = ext(c, 2);
	out->ext[0] = half[0][0];
	out->ext[1] = half[0][1];
}

static const struct by_name binaries[] = {
	{"add", &ops_add, &ops_fadd}, {"sub", &ops_sub, &ops_fsub}, {"mul", &ops_mullo, &ops_fmul},
	{"div", &ops_div, &ops_fdiv}, {"rem", &ops_rem, NULL}, {"min", &ops_min, &ops_fmin}, {"max", &ops_max, &ops_fmax},
	{"copysign", NULL, &ops_copysign}, {NULL, NULL, NULL},
};

static op_fn float_binary(const struct ptx_insn *in, const struct by_name *b, enum ptx_type t)
{
	enum rnd r = rnd_mod(in);

	if ((r == RND_Z || r == RND_M || r == RND_P) && t >= T_F32)
		return fp_rounded_op(in->op, t);
	if (has_mod(in, "NaN"))
		return in->op[1] == 'i' ? ops_fminnan[t] : ops_fmaxnan[t];
	if (has_mod(in, "ftz") && t == T_F32) {
		if (b->floats == &ops_fadd)
			return ops_faddftz[t];
		if (b->floats == &ops_fsub)
			return ops_fsubftz[t];
		if (b->floats == &ops_fmul)
			return ops_fmulftz[t];
	}
	return (*b->floats)[t];
}

static void float_post(struct comp *c, const struct ptx_insn *in, enum ptx_type t)
{
	if (has_mod(in, "ftz") && t == T_F32 && ops_fftz[t])
		post(c, ops_fftz[t]);
	if (has_mod(in, "sat"))
		post(c, ops_fsat[t]);
	if (has_mod(in, "relu"))
		post(c, ops_frelu[t]);
}

static void emit_carry(struct comp *c, const struct ptx_insn *in, bool takes, bool sets, bool subtract, enum ptx_type t);

static void emit_binary(struct comp *c, const struct ptx_insn *in)
{
	const struct by_name *b = find_name(binaries, in->op);
	enum ptx_type t = last_type(in);

	if (has_mod(in, "cc")) {
		emit_carry(c, in, false, true, in->op[0] == 's', t);
		return;
	}
	if (t == T_U16X2 || t == T_S16X2 || t == T_F32X2) {
		if (want_ops(c, in, 3))
			emit_halves(c, in, t == T_F32X2 ? b->floats : b->ints, t, 2);
		done(c, in, t);
		return;
	}
	if (ptx_is_float(t)) {
		emit_typed(c, in, b->floats ? float_binary(in, b, t) : NULL, t, t, t, T_NONE)->aux = (uint8_t)rnd_mod(in);
		float_post(c, in, t);
	} else if (has_mod(in, "wide")) {
		enum ptx_type td = t == T_U16 ? T_U32 : t == T_S16 ? T_S32 : t == T_U32 ? T_U64 : T_S64;

		emit_typed(c, in, ops_mulwide[t], td, t, t, T_NONE);
		t = td;
	} else if (has_mod(in, "hi")) {
		emit_typed(c, in, ops_mulhi[t], t, t, t, T_NONE);
	} else if (has_mod(in, "sat")) {
		emit_typed(c, in, in->op[0] == 'a' ? ops_addsat[t] : ops_subsat[t], t, t, t, T_NONE);
	} else {
		emit_typed(c, in, b->ints ? (*b->ints)[t] : NULL, t, t, t, T_NONE);
		if (has_mod(in, "relu"))
			comp_fail(c, "integer relu");
	}
	done(c, in, t);
}

static void emit_mad(struct comp *c, const struct ptx_insn *in)
{
	enum ptx_type t = last_type(in), td = t;
	enum rnd r = rnd_mod(in);

	if (has_mod(in, "cc")) {
		comp_fail(c, "mad.cc is not supported");
		return;
	}
	if (t == T_F32X2) {
		if (want_ops(c, in, 4))
			emit_halves(c, in, &ops_fma, t, 3);
	} else if (ptx_is_float(t)) {
		op_fn fn = ops_fma[t];

		if ((r == RND_Z || r == RND_M || r == RND_P) && t >= T_F32)
			fn = fp_rounded_op("fma", t);
		else if (has_mod(in, "ftz") && t == T_F32)
			fn = ops_fmaftz[t];
		emit_typed(c, in, fn, t, t, t, t)->aux = (uint8_t)r;
		float_post(c, in, t);
	} else if (has_mod(in, "wide")) {
		td = t == T_U16 ? T_U32 : t == T_S16 ? T_S32 : t == T_U32 ? T_U64 : T_S64;
		emit_typed(c, in, ops_madwide[t], td, t, t, td);
	} else {
		emit_typed(c, in, has_mod(in, "hi") ? ops_madhi[t] : ops_madlo[t], t, t, t, t);
	}
	done(c, in, td);
}

static const struct by_name unaries[] = {
	{"abs", &ops_abs, &ops_fabs}, {"neg", &ops_neg, &ops_fneg}, {"not", &ops_not, NULL}, {"cnot", &ops_cnot, NULL},
	{"brev", &ops_brev, NULL}, {"rcp", NULL, &ops_frcp}, {"sqrt", NULL, &ops_fsqrt}, {"rsqrt", NULL, &ops_frsqrt},
	{"ex2", NULL, &ops_fex2}, {"lg2", NULL, &ops_flg2}, {"sin", NULL, &ops_fsin}, {"cos", NULL, &ops_fcos},
	{"tanh", NULL, &ops_ftanh}, {NULL, NULL, NULL},
};

static void emit_unary(struct comp *c, const struct ptx_insn *in)
{
	const struct by_name *u = find_name(unaries, in->op);
	enum ptx_type t = last_type(in);
	enum rnd r = rnd_mod(in);
	op_table *table = ptx_is_float(t) ? u->floats : u->ints;
	op_fn fn = table ? (*table)[t] : NULL;

	if (t == T_PRED) {
		bool neg;
		uint32_t a = src_pred(c, &in->ops[1], &neg), d = dst_pred(c, &in->ops[0]);
		struct insn *out = emit(c, op_pred_not);

		out->d = d;
		out->a = a;
		out->imm = neg;
		return;
	}
	if ((r == RND_Z || r == RND_M || r == RND_P) && t >= T_F32)
		fn = fp_rounded_op(in->op, t);
	emit_typed(c, in, fn, t, t, T_NONE, T_NONE)->aux = (uint8_t)r;
	if (ptx_is_float(t))
		float_post(c, in, t);
	done(c, in, t);
}

/* popc, clz, bfind: a 32-bit result whatever the source. */
static void emit_count(struct comp *c, const struct ptx_insn *in)
{
	enum ptx_type t = last_type(in);
	op_fn fn = in->op[0] == 'p' ? ops_popc[t] : in->op[0] == 'c' ? ops_clz[t]
		 : has_mod(in, "shiftamt") ? ops_bfindsh[t] : ops_bfind[t];

	emit_typed(c, in, fn, T_U32, t, T_NONE, T_NONE);
	done(c, in, T_U32);
}

static const struct by_name logics[] = {
	{"and", &ops_and, NULL}, {"or", &ops_or, NULL}, {"xor", &ops_xor, NULL}, {NULL, NULL, NULL},
};

static void emit_logic(struct comp *c, const struct ptx_insn *in)
{
	enum ptx_type t = last_type(in);
	bool na, nb;
	uint32_t a, b, d;
	struct insn *out;

	if (t != T_PRED) {
		emit_typed(c, in, (*find_name(logics, in->op)->ints)[t], t, t, t, T_NONE);
		done(c, in, t);
		return;
	}
	if (!want_ops(c, in, 3))
		return;
	a = src_pred(c, &in->ops[1], &na);
	b = src_pred(c, &in->ops[2], &nb);
	d = dst_pred(c, &in->ops[0]);
	out = emit(c, in->op[0] == 'a' ? op_pred_and : in->op[0] == 'o' ? op_pred_or : op_pred_xor);
	out->d = d;
	out->a = a;
	out->b = b;
	out->imm = na | nb << 1;
}

static void emit_shift(struct comp *c, const struct ptx_insn *in)
{
	enum ptx_type t = last_type(in);

	emit_typed(c, in, in->op[2] == 'l' ? ops_shl[t] : ops_shr[t], t, t, T_U32, T_NONE);
	done(c, in, t);
}

static void emit_funnel(struct comp *c, const struct ptx_insn *in)
{
	struct insn *out = emit_typed(c, in, has_mod(in, "l") ? op_shf_l : op_shf_r, T_B32, T_B32, T_B32, T_U32);

	out->aux = has_mod(in, "clamp");
	done(c, in, T_B32);
}

static void emit_bfe(struct comp *c, const struct ptx_insn *in)
{
	enum ptx_type t = last_type(in);

	emit_typed(c, in, ops_bfe[t], t, t, T_U32, T_U32);
	done(c, in, t);
}

/* Four operands behind the destination: the last one rides in ext. */
static void emit_bfi(struct comp *c, const struct ptx_insn *in)
{
	enum ptx_type t = last_type(in);
	uint32_t a, b, p, l, d;
	struct insn *out;

	if (!want_ops(c, in, 5))
		return;
	a = src(c, &in->ops[1], t);
	b = src(c, &in->ops[2], t);
	p = src(c, &in->ops[3], T_U32);
	l = src(c, &in->ops[4], T_U32);
	d = dst(c, &in->ops[0], t);
	out = emit(c, ops_bfi[t]);
	out->d = d;
	out->a = a;
	out->b = b;
	out->c = p;
	out->ext = ext(c, 1);
	out->ext[0] = l;
	done(c, in, t);
}

static void emit_lop3(struct comp *c, const struct ptx_insn *in)
{
	uint32_t a, b, e, d;
	struct insn *out;

	if (in->nops != 5 || has_mod(in, "or") || has_mod(in, "and")) {
		comp_fail(c, "this form of lop3 is not supported");
		return;
	}
	a = src(c, &in->ops[1], T_B32);
	b = src(c, &in->ops[2], T_B32);
	e = src(c, &in->ops[3], T_B32);
	d = dst(c, &in->ops[0], T_B32);
	out = emit(c, op_lop3);
	out->d = d;
	out->a = a;
	out->b = b;
	out->c = e;
	out->imm = in->ops[4].imm;
}

static void emit_prmt(struct comp *c, const struct ptx_insn *in)
{
	static const char *const modes[] = {"", "f4e", "b4e", "rc8", "ecl", "ecr", "rc16"};
	struct insn *out = emit_typed(c, in, op_prmt, T_B32, T_B32, T_B32, T_B32);

	for (uint8_t i = 1; i < 7; i++)
		if (has_mod(in, modes[i]))
			out->aux = i;
	done(c, in, T_B32);
}

static void emit_dp(struct comp *c, const struct ptx_insn *in)
{
	enum ptx_type ta = type_mod(in, 0), tb = type_mod(in, 1);
	struct insn *out = emit_typed(c, in, in->op[2] == '4' ? op_dp4a : op_dp2a, T_B32, T_B32, T_B32, T_B32);

	out->aux = (uint8_t)((ta == T_S32) | (tb == T_S32) << 1 | (has_mod(in, "hi") << 2));
	done(c, in, T_B32);
}

static void emit_sad(struct comp *c, const struct ptx_insn *in)
{
	enum ptx_type t = last_type(in);

	emit_typed(c, in, ops_sad[t], t, t, t, t);
	done(c, in, t);
}

static void emit_carry(struct comp *c, const struct ptx_insn *in, bool takes, bool sets, bool subtract, enum ptx_type t)
{
	struct insn *out = emit_typed(c, in, op_carry, t, t, t, T_NONE);

	if (!c->cc)
		c->cc = new_reg(c, 1);
	out->aux = (uint8_t)(takes | sets << 1 | subtract << 2 | (ptx_type_size(t) == 8) << 3);
	out->ext = ext(c, 1);
	out->ext[0] = c->cc;
	done(c, in, t);
}

static void emit_addc(struct comp *c, const struct ptx_insn *in)
{
	emit_carry(c, in, true, has_mod(in, "cc"), in->op[0] == 's', last_type(in));
}

/* mad.lo.cc and madc: the product first, then an addition with carry. */
static void emit_madc(struct comp *c, const struct ptx_insn *in)
{
	enum ptx_type t = last_type(in);
	bool takes = in->op[3] == 'c';
	uint32_t a, b, e, d, p = new_reg(c, width_of(t));
	struct insn *out;

	if (!want_ops(c, in, 4))
		return;
	if (!takes && !has_mod(in, "cc")) {
		emit_mad(c, in);
		return;
	}
	a = src(c, &in->ops[1], t);
	b = src(c, &in->ops[2], t);
	e = src(c, &in->ops[3], t);
	d = dst(c, &in->ops[0], t);
	out = emit(c, has_mod(in, "hi") ? ops_mulhi[t] : ops_mullo[t]);
	out->d = p;
	out->a = a;
	out->b = b;
	if (!c->cc)
		c->cc = new_reg(c, 1);
	out = emit(c, op_carry);
	out->d = d;
	out->a = p;
	out->b = e;
	out->aux = (uint8_t)(takes | has_mod(in, "cc") << 1 | (ptx_type_size(t) == 8) << 3);
	out->ext = ext(c, 1);
	out->ext[0] = c->cc;
	done(c, in, t);
}

static void emit_mul24(struct comp *c, const struct ptx_insn *in)
{
	bool mad = in->op[1] == 'a';
	struct insn *out = emit_typed(c, in, mad ? op_mad24 : op_mul24, T_B32, T_B32, T_B32, mad ? T_B32 : T_NONE);

	out->aux = (uint8_t)((last_type(in) == T_S32) | has_mod(in, "hi") << 1);
	done(c, in, T_B32);
}

static void emit_bmsk(struct comp *c, const struct ptx_insn *in)
{
	struct insn *out = emit_typed(c, in, in->op[0] == 'b' ? op_bmsk : op_szext, T_B32, T_B32, T_U32, T_NONE);

	out->aux = in->op[0] == 'b' ? has_mod(in, "clamp") : (uint8_t)((last_type(in) == T_S32) | has_mod(in, "clamp") << 1);
	done(c, in, T_B32);
}

static void emit_fns(struct comp *c, const struct ptx_insn *in)
{
	emit_typed(c, in, op_fns, T_B32, T_B32, T_B32, T_B32);
	done(c, in, T_B32);
}

static enum cmp cmp_mod(const struct ptx_insn *in, enum ptx_type *io_type)
{
	static const struct { const char *name; enum cmp cmp; bool uns; } table[] = {
		{"eq", C_EQ, false}, {"ne", C_NE, false}, {"lt", C_LT, false}, {"le", C_LE, false}, {"gt", C_GT, false},
		{"ge", C_GE, false}, {"lo", C_LT, true}, {"ls", C_LE, true}, {"hi", C_GT, true}, {"hs", C_GE, true},
		{"equ", C_EQU, false}, {"neu", C_NEU, false}, {"ltu", C_LTU, false}, {"leu", C_LEU, false},
		{"gtu", C_GTU, false}, {"geu", C_GEU, false}, {"num", C_NUM, false}, {"nan", C_NAN, false},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		if (!has_mod(in, table[i].name))
			continue;
		if (table[i].uns && ptx_is_signed(*io_type))
			*io_type = *io_type == T_S16 ? T_U16 : *io_type == T_S32 ? T_U32 : T_U64;
		return table[i].cmp;
	}
	return C_COUNT;
}

static uint8_t bool_mod(const struct ptx_insn *in)
{
	return has_mod(in, "and") ? 1 : has_mod(in, "or") ? 2 : has_mod(in, "xor") ? 3 : 0;
}

/* The comparison of ops[1] and ops[2] into predicate d, combined with ops[3]; nd (or 0) takes the complement. */
static void emit_compare(struct comp *c, const struct ptx_insn *in, enum ptx_type t, uint32_t d, uint32_t nd)
{
	enum cmp cmp = cmp_mod(in, &t);
	uint8_t how = bool_mod(in);
	uint32_t a, b, p = 0, raw = how || nd ? new_reg(c, 1) : d;
	bool neg = false;
	struct insn *out;

	if (cmp == C_COUNT || !want_ops(c, in, how ? 4 : 3)) {
		comp_fail(c, "unknown comparison");
		return;
	}
	a = src(c, &in->ops[1], t);
	b = src(c, &in->ops[2], t);
	if (how)
		p = src_pred(c, &in->ops[3], &neg);
	if (has_mod(in, "ftz") && t == T_F32) {
		uint32_t fa = new_reg(c, 4), fb = new_reg(c, 4);

		out = emit(c, ops_fftz[t]);
		out->d = fa;
		out->a = a;
		out = emit(c, ops_fftz[t]);
		out->d = fb;
		out->a = b;
		a = fa;
		b = fb;
	}
	out = emit(c, ops_setp[cmp][t]);
	out->d = raw;
	out->a = a;
	out->b = b;
	if (raw == d)
		return;
	out = emit(c, op_setp_comb);
	out->d = raw;
	out->c = p;
	out->imm = neg;
	out->aux = how;
	out->ext = ext(c, 1);
	out->ext[0] = nd;
	out = emit(c, op_pred_mov);
	out->d = d;
	out->a = raw;
}

static void emit_setp(struct comp *c, const struct ptx_insn *in)
{
	enum ptx_type t = last_type(in);
	uint32_t d, nd = 0;

	if (in->nops < 3) {
		comp_fail(c, "setp takes three operands");
		return;
	}
	if (t == T_F16X2 || t == T_BF16X2) {
		comp_fail(c, "setp on pairs is not supported");
		return;
	}
	if (in->ops[0].kind == OP_PAIR) {
		d = dst_pred(c, &in->ops[0].sub[0]);
		nd = dst_pred(c, &in->ops[0].sub[1]);
	} else {
		d = dst_pred(c, &in->ops[0]);
	}
	emit_compare(c, in, t, d, nd);
}

/* set.lt.u32.f32: all ones for integers, 1.0 for floats. */
static void emit_set(struct comp *c, const struct ptx_insn *in)
{
	enum ptx_type td = type_mod(in, 0), t = last_type(in);
	uint32_t p = new_reg(c, 1), d;
	struct insn *out;

	if (ptx_type_size(t) == 4 && (t == T_F16X2 || t == T_BF16X2)) {
		comp_fail(c, "set on pairs is not supported");
		return;
	}
	emit_compare(c, in, t, p, 0);
	if (c->failed)
		return;
	d = dst(c, &in->ops[0], td);
	out = emit(c, op_set_val);
	out->d = d;
	out->a = p;
	out->imm = td == T_F32 ? 0x3f800000 : td == T_F16 ? 0x3c00 : td == T_BF16 ? 0x3f80 : 0xffffffff;
}

static void emit_testp(struct comp *c, const struct ptx_insn *in)
{
	static const char *const names[] = {"finite", "infinite", "number", "notanumber", "normal", "subnormal"};
	enum ptx_type t = last_type(in);
	uint32_t a, d;
	struct insn *out;

	if (!want_ops(c, in, 2))
		return;
	a = src(c, &in->ops[1], t);
	d = dst_pred(c, &in->ops[0]);
	out = emit(c, ops_testp[t]);
	out->d = d;
	out->a = a;
	for (uint8_t i = 0; i < 6; i++)
		if (has_mod(in, names[i]))
			out->aux = i;
}

const struct emitter emitters_alu[] = {
	{"add", emit_binary}, {"sub", emit_binary}, {"mul", emit_binary}, {"div", emit_binary}, {"rem", emit_binary},
	{"min", emit_binary}, {"max", emit_binary}, {"copysign", emit_binary},
	{"mad", emit_madc}, {"fma", emit_mad}, {"madc", emit_madc}, {"addc", emit_addc}, {"subc", emit_addc},
	{"abs", emit_unary}, {"neg", emit_unary}, {"not", emit_unary}, {"cnot", emit_unary}, {"brev", emit_unary},
	{"rcp", emit_unary}, {"sqrt", emit_unary}, {"rsqrt", emit_unary}, {"ex2", emit_unary}, {"lg2", emit_unary},
	{"sin", emit_unary}, {"cos", emit_unary}, {"tanh", emit_unary},
	{"popc", emit_count}, {"clz", emit_count}, {"bfind", emit_count},
	{"and", emit_logic}, {"or", emit_logic}, {"xor", emit_logic}, {"shl", emit_shift}, {"shr", emit_shift},
	{"shf", emit_funnel}, {"bfe", emit_bfe}, {"bfi", emit_bfi}, {"lop3", emit_lop3}, {"prmt", emit_prmt},
	{"dp4a", emit_dp}, {"dp2a", emit_dp}, {"sad", emit_sad}, {"mul24", emit_mul24}, {"mad24", emit_mul24},
	{"bmsk", emit_bmsk}, {"szext", emit_bmsk}, {"fns", emit_fns},
	{"setp", emit_setp}, {"set", emit_set}, {"testp", emit_testp},
	{NULL, NULL},
};
