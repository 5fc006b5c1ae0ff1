/* What needs more than one lane: barriers, shuffles, votes, matrix fragments; and the instructions that end or pause. */
#include "compile.h"

#include <string.h>

/* bar.sync a{, b}; bar.red.op.u32 d, a{, b}, p; bar.arrive a, b; bar.warp.sync mask; and their barrier.cta.* twins. */
static void emit_bar(struct comp *c, const struct ptx_insn *in)
{
	bool red = has_mod(in, "red"), neg = false;
	int first = red ? 1 : 0;
	uint32_t id, count = 0, p = 0, d = 0, mask;
	enum bar_op op;
	struct insn *out;

	if (has_mod(in, "warp")) {
		mask = src(c, &in->ops[0], T_B32);
		out = emit(c, op_nop);
		out->kind = K_WARPBAR;
		out->c = mask;
		return;
	}
	if (has_mod(in, "cluster"))  {
		/* A cluster is one block here. */
		if (has_mod(in, "arrive"))
			return;
	}
	if (in->nops < first && !has_mod(in, "cluster")) {
		comp_fail(c, "barrier without operands");
		return;
	}
	id = in->nops > first && !has_mod(in, "cluster") ? src(c, &in->ops[first], T_U32) : const_reg(c, has_mod(in, "cluster") ? 15 : 0, 4);
	if (in->nops > first + 1 + red)
		count = src(c, &in->ops[first + 1], T_U32);
	op = has_mod(in, "arrive") ? BAR_ARRIVE : !red ? BAR_SYNC : has_mod(in, "popc") ? BAR_POPC
	   : has_mod(in, "and") ? BAR_AND : BAR_OR;
	if (red) {
		p = src_pred(c, &in->ops[in->nops - 1], &neg);
		d = op == BAR_POPC ? dst(c, &in->ops[0], T_U32) : dst_pred(c, &in->ops[0]);
	}
	out = emit(c, op_nop);
	out->kind = K_BAR;
	out->d = d;
	out->ext = ext(c, 5);
	out->ext[0] = op;
	out->ext[1] = id;
	out->ext[2] = count;
	out->ext[3] = p;
	out->ext[4] = neg;
}

static void emit_shfl(struct comp *c, const struct ptx_insn *in)
{
	static const char *const modes[] = {"up", "down", "bfly", "idx"};
	bool sync = has_mod(in, "sync"), pair;
	uint32_t a, b, e, mask = 0, d, p = 0;
	struct insn *out;

	if (!want_ops(c, in, sync ? 5 : 4))
		return;
	pair = in->ops[0].kind == OP_PAIR;
	a = src(c, &in->ops[1], T_B32);
	b = src(c, &in->ops[2], T_B32);
	e = src(c, &in->ops[3], T_B32);
	if (sync)
		mask = src(c, &in->ops[4], T_B32);
	d = dst(c, pair ? &in->ops[0].sub[0] : &in->ops[0], T_B32);
	if (pair)
		p = dst_pred(c, &in->ops[0].sub[1]);
	out = emit(c, op_shfl);
	out->kind = K_CONV;
	out->d = d;
	out->a = a;
	out->b = b;
	out->c = mask;
	out->ext = ext(c, 2);
	out->ext[0] = p;
	out->ext[1] = e;
	out->aux = pair ? 16 : 0;
	for (uint8_t i = 0; i < 4; i++)
		if (has_mod(in, modes[i]))
			out->aux |= i;
}

static void emit_vote(struct comp *c, const struct ptx_insn *in)
{
	bool sync = has_mod(in, "sync"), neg, ballot = has_mod(in, "ballot");
	uint32_t p, mask = 0, d;
	struct insn *out;

	if (!want_ops(c, in, sync ? 3 : 2))
		return;
	p = src_pred(c, &in->ops[1], &neg);
	if (sync)
		mask = src(c, &in->ops[2], T_B32);
	d = ballot ? dst(c, &in->ops[0], T_B32) : dst_pred(c, &in->ops[0]);
	out = emit(c, op_vote);
	out->kind = K_CONV;
	out->d = d;
	out->a = p;
	out->c = mask;
	out->imm = neg ? 0xffffffff : 0;
	out->aux = ballot ? 3 : has_mod(in, "any") ? 1 : has_mod(in, "uni") ? 2 : 0;
}

static void emit_match(struct comp *c, const struct ptx_insn *in)
{
	bool all = has_mod(in, "all"), pair = in->ops[0].kind == OP_PAIR;
	enum ptx_type t = last_type(in);
	uint32_t a, mask, d, p = 0;
	struct insn *out;

	if (!want_ops(c, in, 3))
		return;
	a = src(c, &in->ops[1], t);
	mask = src(c, &in->ops[2], T_B32);
	d = dst(c, pair ? &in->ops[0].sub[0] : &in->ops[0], T_B32);
	p = pair ? dst_pred(c, &in->ops[0].sub[1]) : new_reg(c, 1);
	out = emit(c, op_match);
	out->kind = K_CONV;
	out->d = d;
	out->a = a;
	out->c = mask;
	out->aux = (uint8_t)((ptx_type_size(t) == 8) | all << 1);
	out->ext = ext(c, 1);
	out->ext[0] = p;
}

static void emit_redux(struct comp *c, const struct ptx_insn *in)
{
	static const struct { const char *name; enum atom_op op; } table[] = {
		{"add", A_ADD}, {"min", A_MIN}, {"max", A_MAX}, {"and", A_AND}, {"or", A_OR}, {"xor", A_XOR},
	};
	enum ptx_type t = last_type(in);
	uint32_t a, mask, d;
	struct insn *out;

	if (!want_ops(c, in, 3) || ptx_is_float(t)) {
		comp_fail(c, "redux of floats is not supported");
		return;
	}
	a = src(c, &in->ops[1], T_B32);
	mask = src(c, &in->ops[2], T_B32);
	d = dst(c, &in->ops[0], T_B32);
	out = emit(c, op_redux);
	out->kind = K_CONV;
	out->d = d;
	out->a = a;
	out->c = mask;
	out->imm = t == T_S32;
	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
		if (has_mod(in, table[i].name))
			out->aux = (uint8_t)table[i].op;
}

static void emit_elect(struct comp *c, const struct ptx_insn *in)
{
	uint32_t mask, d, p;
	struct insn *out;

	if (!want_ops(c, in, 2) || in->ops[0].kind != OP_PAIR) {
		comp_fail(c, "elect takes a pair and a mask");
		return;
	}
	mask = src(c, &in->ops[1], T_B32);
	d = dst(c, &in->ops[0].sub[0], T_B32);
	p = dst_pred(c, &in->ops[0].sub[1]);
	out = emit(c, op_elect);
	out->kind = K_CONV;
	out->d = d;
	out->c = mask;
	out->ext = ext(c, 1);
	out->ext[0] = p;
}

static void emit_activemask(struct comp *c, const struct ptx_insn *in)
{
	uint32_t d = dst(c, &in->ops[0], T_B32);

	emit(c, op_activemask)->d = d;
}

static void emit_trap(struct comp *c, const struct ptx_insn *in)
{
	emit(c, op_nop)->kind = K_TRAP;
}

static void emit_yield(struct comp *c, const struct ptx_insn *in)
{
	emit(c, op_nop)->kind = K_YIELD;
}

static void emit_nothing(struct comp *c, const struct ptx_insn *in)
{
}

static const struct ptx_operand *element(const struct ptx_operand *op, int i, int *ret_n)
{
	*ret_n = op->kind == OP_VEC ? op->nsub : 1;
	return op->kind == OP_VEC ? &op->sub[i] : op;
}

/* ldmatrix.sync.aligned.m8n8.x4{.trans}.shared.b16 {d...}, [a];  stmatrix the other way round */
static void emit_matrix(struct comp *c, const struct ptx_insn *in)
{
	bool load = in->op[0] == 'l';
	int n = has_mod(in, "x4") ? 4 : has_mod(in, "x2") ? 2 : 1, have = 0;
	const struct ptx_operand *regs;
	enum ptx_space sp;
	uint32_t base, width, full, *e = ext(c, 6);
	int64_t off;
	struct insn *out;

	if (!want_ops(c, in, 2) || !has_mod(in, "m8n8") || !has_mod(in, "b16")) {
		comp_fail(c, "this matrix move is not supported");
		return;
	}
	regs = &in->ops[load ? 0 : 1];
	space_mod(in, &sp);
	for (int i = 0; i < n && !c->failed; i++) {
		const struct ptx_operand *r = element(regs, i, &have);

		if (have != n)
			comp_fail(c, "%d registers expected", n);
		else
			e[2 + i] = load ? dst(c, r, T_B32) : src(c, r, T_B32);
	}
	base = address(c, &in->ops[load ? 1 : 0], &width, &off, &sp);
	if (c->failed)
		return;
	if (!width) {
		base = const_reg(c, 0, 4);
		width = 4;
	}
	e[0] = has_mod(in, "trans");
	e[1] = sp;
	full = const_reg(c, 0xffffffff, 4);
	out = emit(c, load ? op_ldmatrix : op_stmatrix);
	out->kind = K_CONV;
	out->a = base;
	out->aux = (uint8_t)width;
	out->imm = off;
	out->n = (uint8_t)n;
	out->c = full;
	out->ext = e;
}

static void emit_movmatrix(struct comp *c, const struct ptx_insn *in)
{
	uint32_t a, d, full = const_reg(c, 0xffffffff, 4);
	struct insn *out;

	if (!want_ops(c, in, 2) || !has_mod(in, "trans"))
		return;
	a = src(c, &in->ops[1], T_B32);
	d = dst(c, &in->ops[0], T_B32);
	out = emit(c, op_movmatrix);
	out->kind = K_CONV;
	out->d = d;
	out->a = a;
	out->c = full;
}

static const struct {
	const char *shape;
	enum ptx_type type;
	uint32_t k, na, nb;
} mma_shapes[] = {
	{"m16n8k16", T_F16, 16, 4, 2}, {"m16n8k8", T_F16, 8, 2, 1}, {"m16n8k16", T_BF16, 16, 4, 2},
	{"m16n8k8", T_BF16, 8, 2, 1}, {"m16n8k8", T_TF32, 8, 4, 2}, {"m16n8k4", T_TF32, 4, 2, 1},
};

static void mma_regs(struct comp *c, const struct ptx_operand *op, uint32_t want, bool dest, enum ptx_type t, uint32_t *at)
{
	int have = 0;

	for (uint32_t i = 0; i < want && !c->failed; i++) {
		const struct ptx_operand *r = element(op, (int)i, &have);

		if (have != (int)want)
			comp_fail(c, "%u registers expected in a fragment, not %d", want, have);
		else
			at[i] = dest ? dst(c, r, t) : src(c, r, t);
	}
}

/* mma.sync.aligned.shape.row.col.dtype.atype.btype.ctype d, a, b, c */
static void emit_mma(struct comp *c, const struct ptx_insn *in)
{
	enum ptx_type td = type_mod(in, 0), ta = type_mod(in, 1), tb = type_mod(in, 2), tc = type_mod(in, 3);
	uint32_t nd = td == T_F16 ? 2 : 4, nc = tc == T_F16 ? 2 : 4, *e = ext(c, 24), full;
	struct insn *out;

	full = const_reg(c, 0xffffffff, 4);
	for (size_t i = 0; i < sizeof(mma_shapes) / sizeof(*mma_shapes); i++) {
		if (!has_mod(in, mma_shapes[i].shape) || mma_shapes[i].type != ta || ta != tb || !want_ops(c, in, 4))
			continue;
		if ((td != T_F32 && td != T_F16) || (tc != T_F32 && tc != T_F16) || !has_mod(in, "row") || !has_mod(in, "col"))
			break;
		e[0] = mma_shapes[i].k;
		e[1] = ta;
		e[2] = td;
		e[3] = tc;
		e[4] = nd;
		e[5] = mma_shapes[i].na;
		e[6] = mma_shapes[i].nb;
		e[7] = nc;
		mma_regs(c, &in->ops[1], e[5], false, T_B32, e + 8 + nd);
		mma_regs(c, &in->ops[2], e[6], false, T_B32, e + 8 + nd + e[5]);
		mma_regs(c, &in->ops[3], nc, false, T_B32, e + 8 + nd + e[5] + e[6]);
		mma_regs(c, &in->ops[0], nd, true, T_B32, e + 8);
		out = emit(c, op_mma);
		out->kind = K_CONV;
		out->c = full;
		out->ext = e;
		return;
	}
	comp_fail(c, "this shape of mma is not supported");
}

const struct emitter emitters_warp[] = {
	{"bar", emit_bar}, {"barrier", emit_bar}, {"shfl", emit_shfl}, {"vote", emit_vote}, {"match", emit_match},
	{"redux", emit_redux}, {"elect", emit_elect}, {"activemask", emit_activemask}, {"trap", emit_trap},
	{"brkpt", emit_nothing}, {"pmevent", emit_nothing}, {"setmaxnreg", emit_nothing}, {"griddepcontrol", emit_nothing},
	{"nanosleep", emit_yield}, {"ldmatrix", emit_matrix}, {"stmatrix", emit_matrix}, {"movmatrix", emit_movmatrix},
	{"mma", emit_mma}, {NULL, NULL},
};
