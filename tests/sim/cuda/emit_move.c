/* Moves, selections, conversions, addresses. */
#include "compile.h"

#include <string.h>

static uint32_t *vec_regs(struct comp *c, const struct ptx_operand *v, enum ptx_type elem, bool dest)
{
	uint32_t *r = ext(c, (uint32_t)v->nsub);

	for (int i = 0; i < v->nsub; i++)
		r[i] = dest ? dst(c, &v->sub[i], elem) : src(c, &v->sub[i], elem);
	return r;
}

static enum ptx_type part_type(uint32_t bytes)
{
	return bytes == 8 ? T_B64 : bytes == 4 ? T_B32 : bytes == 2 ? T_B16 : T_B8;
}

static void mov64_pair(struct comp *c, uint32_t d0, uint32_t a0, uint32_t d1, uint32_t a1)
{
	struct insn *out = emit(c, op_copy128);

	out->d = d0;
	out->a = a0;
	out->c = d1;
	out->b = a1;
}

/* A b128 register is two 64-bit ones side by side. */
static void emit_mov128(struct comp *c, const struct ptx_insn *in)
{
	const struct ptx_operand *d = &in->ops[0], *a = &in->ops[1];
	uint32_t ds[2], as[2];

	for (int i = 0; i < 2; i++) {
		ds[i] = d->kind == OP_VEC && d->nsub == 2 ? dst(c, &d->sub[i], T_B64)
		      : d->kind == OP_REG ? reg_off(c, d->reg) + 256 * (uint32_t)i : 0;
		as[i] = a->kind == OP_VEC && a->nsub == 2 ? src(c, &a->sub[i], T_B64)
		      : a->kind == OP_REG ? reg_off(c, a->reg) + 256 * (uint32_t)i : 0;
		if (!ds[i] || !as[i]) {
			comp_fail(c, "mov.b128 of something else than pairs");
			return;
		}
	}
	mov64_pair(c, ds[0], as[0], ds[1], as[1]);
}

static void emit_vector_mov(struct comp *c, const struct ptx_insn *in, enum ptx_type t)
{
	bool split = in->ops[0].kind == OP_VEC;
	const struct ptx_operand *v = &in->ops[split ? 0 : 1];
	uint32_t bytes = v->nsub ? ptx_type_size(t) / (uint32_t)v->nsub : 0, whole;
	enum ptx_type elem = part_type(bytes);
	uint32_t *regs;
	struct insn *out;

	if (v->nsub < 2 || v->nsub > 4 || !bytes || bytes > 4) {
		comp_fail(c, "mov of an odd vector");
		return;
	}
	if (split) {
		whole = src(c, &in->ops[1], t);
		regs = vec_regs(c, v, elem, true);
	} else {
		regs = vec_regs(c, v, elem, false);
		whole = dst(c, &in->ops[0], t);
	}
	out = emit(c, split ? op_unpack : op_pack);
	out->a = out->d = whole;
	out->ext = regs;
	out->n = (uint8_t)v->nsub;
	out->aux = (uint8_t)bytes;
	out->imm = width_of(t);
	if (!split)
		dst_done(c, &in->ops[0], t, whole);
}

static void emit_pred_mov(struct comp *c, const struct ptx_insn *in)
{
	bool neg;
	uint32_t a = src_pred(c, &in->ops[1], &neg), d = dst_pred(c, &in->ops[0]);
	struct insn *out = emit(c, op_pred_mov);

	out->d = d;
	out->a = a;
	out->imm = neg;
}

static void emit_mov(struct comp *c, const struct ptx_insn *in)
{
	enum ptx_type t = last_type(in);
	uint32_t a, d;
	struct insn *out;

	if (!want_ops(c, in, 2))
		return;
	if (t == T_B128) {
		emit_mov128(c, in);
	} else if (in->ops[0].kind == OP_VEC || in->ops[1].kind == OP_VEC) {
		emit_vector_mov(c, in, t);
	} else if (t == T_PRED) {
		emit_pred_mov(c, in);
	} else {
		a = src(c, &in->ops[1], t);
		d = dst(c, &in->ops[0], t);
		out = emit(c, ops_mov[t]);
		out->d = d;
		out->a = a;
		dst_done(c, &in->ops[0], t, d);
	}
}

static void emit_selp(struct comp *c, const struct ptx_insn *in)
{
	enum ptx_type t = last_type(in);
	uint32_t a, b, p, d;
	bool neg;
	struct insn *out;

	if (!want_ops(c, in, 4))
		return;
	a = src(c, &in->ops[1], t);
	b = src(c, &in->ops[2], t);
	p = src_pred(c, &in->ops[3], &neg);
	d = dst(c, &in->ops[0], t);
	out = emit(c, ops_selp[t]);
	out->d = d;
	out->a = a;
	out->b = b;
	out->c = p;
	out->imm = neg ? 0xffffffff : 0;
	dst_done(c, &in->ops[0], t, d);
}

static void emit_slct(struct comp *c, const struct ptx_insn *in)
{
	enum ptx_type t = type_mod(in, 0), tc = last_type(in);
	uint32_t a, b, e, d;
	struct insn *out;

	if (!want_ops(c, in, 4))
		return;
	a = src(c, &in->ops[1], t);
	b = src(c, &in->ops[2], t);
	e = src(c, &in->ops[3], tc);
	d = dst(c, &in->ops[0], t);
	out = emit(c, ops_slct[t]);
	out->d = d;
	out->a = a;
	out->b = b;
	out->c = e;
	out->aux = tc == T_F32;
	dst_done(c, &in->ops[0], t, d);
}

/* The register's width decides how wide the converted value is written. */
static uint8_t result_bytes(struct comp *c, const struct ptx_operand *op, enum ptx_type to)
{
	if (op->kind == OP_REG)
		return c->ic->fn->regs[op->reg].type ? (uint8_t)(reg_width(c, op) == 8 ? 8
			: ptx_type_size(c->ic->fn->regs[op->reg].type) == 2 ? 2 : 4) : 4;
	return (uint8_t)width_of(to);
}

static void emit_cvt_pack(struct comp *c, const struct ptx_insn *in, enum ptx_type to, enum ptx_type from)
{
	uint32_t a = src(c, &in->ops[1], from), b = src(c, &in->ops[2], from), d = dst(c, &in->ops[0], to);
	struct insn *out = emit(c, op_cvt_pack);

	out->d = d;
	out->a = a;
	out->b = b;
	out->imm = cvt_imm(to, from, rnd_mod(in), has_mod(in, "sat"), has_mod(in, "ftz"), has_mod(in, "relu"));
}

static void emit_cvt(struct comp *c, const struct ptx_insn *in)
{
	enum ptx_type to = type_mod(in, 0), from = type_mod(in, 1), any;
	bool sat = has_mod(in, "sat"), ftz = has_mod(in, "ftz"), relu = has_mod(in, "relu");
	enum rnd rnd = rnd_mod(in);
	uint32_t a, d;
	uint8_t bytes;
	struct insn *out;

	if (!to || !from || has_mod(in, "pack") || has_mod(in, "rs")) {
		comp_fail(c, "this conversion is not supported");
		return;
	}
	if ((to == T_F16X2 || to == T_BF16X2) && want_ops(c, in, 3)) {
		emit_cvt_pack(c, in, to, from);
		return;
	}
	if (!want_ops(c, in, 2))
		return;
	a = src(c, &in->ops[1], from);
	bytes = result_bytes(c, &in->ops[0], to);
	any = bytes == 8 ? T_B64 : T_B32;
	d = dst(c, &in->ops[0], any);
	/* Fast forms write exactly the type's width. */
	out = emit(c, width_of(to) == (bytes == 8 ? 8u : 4u) && ptx_type_size(to) >= 4
			? cvt_op(to, from, rnd, sat, ftz, relu) : cvt_op(to, from, rnd, true, ftz, relu));
	out->d = d;
	out->a = a;
	out->aux = bytes;
	out->imm = cvt_imm(to, from, rnd, sat, ftz, relu);
}

static int64_t window_of(enum ptx_space sp)
{
	return sp == SP_SHARED ? (int64_t)SHARED_WINDOW : sp == SP_LOCAL ? (int64_t)LOCAL_WINDOW
	     : sp == SP_PARAM ? (int64_t)PARAM_WINDOW : 0;
}

/* cvta.to.shared.u64 d, a: from generic to the space; without "to" the other way. */
static void emit_cvta(struct comp *c, const struct ptx_insn *in)
{
	enum ptx_space sp;
	uint32_t a, d;
	struct insn *out;

	if (!want_ops(c, in, 2) || !space_mod(in, &sp))
		return;
	if (sp == SP_PARAM && !c->ic->is_entry)
		sp = SP_LOCAL;
	a = src(c, &in->ops[1], T_U64);
	d = dst(c, &in->ops[0], T_U64);
	out = emit(c, has_mod(in, "to") ? op_cvta_to : op_cvta_from);
	out->d = d;
	out->a = a;
	out->imm = has_mod(in, "to") ? (int64_t)WINDOW_MASK : window_of(sp);
	if (has_mod(in, "to") && !window_of(sp))
		out->imm = 0;
	dst_done(c, &in->ops[0], T_U64, d);
}

static void emit_isspacep(struct comp *c, const struct ptx_insn *in)
{
	enum ptx_space sp;
	uint32_t a, d;
	struct insn *out;

	space_mod(in, &sp);
	a = src(c, &in->ops[1], T_U64);
	d = dst_pred(c, &in->ops[0]);
	out = emit(c, op_isspacep);
	out->d = d;
	out->a = a;
	out->aux = (uint8_t)sp;
}

const struct emitter emitters_move[] = {
	{"mov", emit_mov}, {"selp", emit_selp}, {"slct", emit_slct}, {"cvt", emit_cvt}, {"cvta", emit_cvta},
	{"isspacep", emit_isspacep}, {NULL, NULL},
};
