/* Loads, stores, atomics, fences, asynchronous copies. */
#include "compile.h"
#include "watch_flags.h"

#include <string.h>

#define WIDE 0x80000000u

static uint32_t watch_flags(const struct ptx_insn *in)
{
	uint32_t f = 0;

	if (has_mod(in, "nc"))
		f |= WATCH_NC;
	if (has_mod(in, "volatile") || has_mod(in, "relaxed") || has_mod(in, "mmio"))
		f |= WATCH_STRONG;
	if (has_mod(in, "acquire"))
		f |= WATCH_STRONG | WATCH_ACQUIRE;
	if (has_mod(in, "release"))
		f |= WATCH_STRONG | WATCH_RELEASE;
	if (has_mod(in, "cv") || has_mod(in, "cg"))
		f |= WATCH_STRONG;
	return f;
}

static uint32_t vector_len(const struct ptx_insn *in)
{
	return has_mod(in, "v8") ? 8 : has_mod(in, "v4") ? 4 : has_mod(in, "v2") ? 2 : 1;
}

static uint32_t any_reg(struct comp *c, const struct ptx_operand *op, enum ptx_type t, bool load)
{
	uint32_t w;

	if (op->kind == OP_REG) {
		w = reg_width(c, op);
		if (w == 1) {
			comp_fail(c, "a predicate in memory");
			return 0;
		}
		return reg_off(c, op->reg) | (w == 8 ? WIDE : 0);
	}
	if (load)
		return new_reg(c, 8) | WIDE;
	return src(c, op, t) | (width_of(t) == 8 ? WIDE : 0);
}

static void emit_access(struct comp *c, const struct ptx_insn *in, bool load)
{
	const struct ptx_operand *addr, *val;
	enum ptx_space sp;
	enum ptx_type t = last_type(in);
	uint32_t n = vector_len(in), base, width, *e;
	int64_t off;
	struct insn *out;

	if (in->nops < 2) {
		comp_fail(c, "'%s' takes two operands", in->op);
		return;
	}
	addr = &in->ops[load ? 1 : 0];
	val = &in->ops[load ? 0 : 1];
	space_mod(in, &sp);
	e = ext(c, 2 + (n < 2 ? 2 : n));
	if (n > 1 && (val->kind != OP_VEC || val->nsub != (int)n)) {
		comp_fail(c, "vector of %u expected", n);
		return;
	}
	if (t == T_B128) { /* one 128-bit register is a pair */
		uint32_t r = any_reg(c, val, T_B64, load);

		t = T_B64;
		n = 2;
		e[2] = (r & ~WIDE) | WIDE;
		e[3] = ((r & ~WIDE) + 256) | WIDE;
	} else {
		for (uint32_t i = 0; i < n; i++)
			e[2 + i] = any_reg(c, n > 1 || val->kind == OP_VEC ? &val->sub[i] : val, t, load);
	}
	base = address(c, addr, &width, &off, &sp);
	if (c->failed)
		return;
	e[0] = (uint32_t)t;
	e[1] = watch_flags(in);
	out = emit(c, load ? mem_ld_op(sp) : mem_st_op(sp));
	out->kind = K_MEM;
	out->a = base;
	out->aux = (uint8_t)width;
	out->imm = off;
	out->n = (uint8_t)n;
	out->ext = e;
}

static void emit_ld(struct comp *c, const struct ptx_insn *in)
{
	if (has_mod(in, "acquire")) {
		emit_access(c, in, true);
		emit(c, op_fence);
		return;
	}
	emit_access(c, in, true);
}

static void emit_st(struct comp *c, const struct ptx_insn *in)
{
	if (has_mod(in, "release"))
		emit(c, op_fence);
	emit_access(c, in, false);
}

static int atom_mod(const struct ptx_insn *in)
{
	static const struct { const char *name; enum atom_op op; } table[] = {
		{"add", A_ADD}, {"min", A_MIN}, {"max", A_MAX}, {"inc", A_INC}, {"dec", A_DEC}, {"and", A_AND},
		{"or", A_OR}, {"xor", A_XOR}, {"exch", A_EXCH}, {"cas", A_CAS},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
		if (has_mod(in, table[i].name))
			return (int)table[i].op;
	return -1;
}

static void emit_atom(struct comp *c, const struct ptx_insn *in)
{
	bool red = in->op[0] == 'r';
	int op = atom_mod(in), first = red ? 0 : 1, cas = op == A_CAS;
	enum ptx_type t = last_type(in);
	uint32_t n = vector_len(in), base, width, *e;
	enum ptx_space sp;
	int64_t off;
	struct insn *out;

	if (op < 0 || !t || t == T_B128 || in->nops < first + 2 + cas) {
		comp_fail(c, "this atomic is not supported");
		return;
	}
	space_mod(in, &sp);
	base = address(c, &in->ops[first], &width, &off, &sp);
	e = ext(c, 6 + 3 * n);
	for (uint32_t i = 0; i < n && !c->failed; i++) {
		const struct ptx_operand *v = &in->ops[first + 1], *d = &in->ops[0];

		v = n > 1 ? &v->sub[i] : v;
		d = n > 1 && !red ? &d->sub[i] : d;
		e[6 + 3 * i] = red || d->kind == OP_SINK ? 0 : dst(c, d, t);
		e[7 + 3 * i] = src(c, v, t);
		e[8 + 3 * i] = cas ? src(c, &in->ops[first + 2], t) : 0;
	}
	e[0] = (uint32_t)t;
	e[1] = (uint32_t)sp;
	e[2] = watch_flags(in);
	e[3] = width;
	e[4] = (uint32_t)op;
	e[5] = n;
	if (c->failed)
		return;
	out = emit(c, op_atom);
	out->kind = K_MEM;
	out->a = base;
	out->imm = off;
	out->ext = e;
	if (has_mod(in, "acquire") || has_mod(in, "acq_rel"))
		emit(c, op_fence);
}

static void emit_fence(struct comp *c, const struct ptx_insn *in)
{
	emit(c, op_fence);
}

static void emit_nop(struct comp *c, const struct ptx_insn *in)
{
}

/* cp.async.ca.shared.global [dst], [src], size{, src-size}; the bookkeeping forms need nothing: a copy is done at once. */
static void emit_cp(struct comp *c, const struct ptx_insn *in)
{
	enum ptx_space sd = SP_SHARED, ss = SP_GLOBAL;
	uint32_t d, a, wd, wa, size = 0;
	int64_t od, oa;
	struct insn *out;

	if (!has_mod(in, "async") || has_mod(in, "bulk")) {
		comp_fail(c, "this copy is not supported");
		return;
	}
	if (has_mod(in, "commit_group") || has_mod(in, "wait_group") || has_mod(in, "wait_all"))
		return;
	if (in->nops < 3 || has_mod(in, "mbarrier")) {
		comp_fail(c, "this copy is not supported");
		return;
	}
	d = address(c, &in->ops[0], &wd, &od, &sd);
	a = address(c, &in->ops[1], &wa, &oa, &ss);
	if (in->nops > 3 && !(in->ops[3].kind == OP_REG && reg_width(c, &in->ops[3]) == 1))
		size = src(c, &in->ops[3], T_U32);
	if (!wd)
		d = const_reg(c, 0, 4), wd = 4;
	if (wa != 8 || in->ops[2].kind != OP_INT) {
		comp_fail(c, "this copy is not supported");
		return;
	}
	out = emit(c, op_cp_async);
	out->kind = K_MEM;
	out->d = d;
	out->a = a;
	out->c = size;
	out->imm = oa;
	out->aux = wd == 8;
	out->n = (uint8_t)in->ops[2].imm;
	out->ext = ext(c, 2);
	out->ext[0] = (uint32_t)od;
	out->ext[1] = WATCH_STRONG;
}

const struct emitter emitters_mem[] = {
	{"ld", emit_ld}, {"ldu", emit_ld}, {"st", emit_st}, {"atom", emit_atom}, {"red", emit_atom}, {"membar", emit_fence},
	{"fence", emit_fence}, {"cp", emit_cp}, {"prefetch", emit_nop}, {"prefetchu", emit_nop}, {"discard", emit_nop},
	{"applypriority", emit_nop}, {NULL, NULL},
};
