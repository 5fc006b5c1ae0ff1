/* The frame of a kernel, and what operands and modifiers mean. */
#include "compile.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_INSNS (1u << 22)

void comp_fail(struct comp *c, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (c->failed)
		return;
	c->failed = true;
	n = snprintf(c->err, c->errlen, "%s, line %u: ", c->entry->name, c->at ? c->at->line : 0);
	if (n < 0 || (size_t)n >= c->errlen)
		return;
	va_start(ap, fmt);
	vsnprintf(c->err + n, c->errlen - (size_t)n, fmt, ap);
	va_end(ap);
}

struct insn *emit(struct comp *c, op_fn fn)
{
	struct insn *in;

	if (c->n == c->cap) {
		c->cap = c->cap ? c->cap * 2 : 256;
		c->insns = realloc(c->insns, c->cap * sizeof(*c->insns));
		if (!c->insns)
			abort();
	}
	if (c->n > MAX_INSNS)
		comp_fail(c, "too many instructions");
	in = &c->insns[c->n];
	*in = (struct insn){.fn = fn, .guard = c->guard, .gneg = c->gneg, .line = c->at ? c->at->line : 0, .id = c->n};
	if (!fn)
		comp_fail(c, "'%s' does not exist for this type", c->at ? c->at->op : "?");
	c->n++;
	return in;
}

uint32_t *ext(struct comp *c, uint32_t n)
{
	return arena_alloc(c->code->arena, sizeof(uint32_t) * n);
}

uint32_t new_reg(struct comp *c, uint32_t width)
{
	uint32_t off;

	if (width == 1) {
		if (!c->preds_left) {
			c->preds = c->frame;
			c->frame += 64;
			c->preds_left = 16;
		}
		off = c->preds + 4 * (16 - c->preds_left--);
		return off;
	}
	off = c->frame;
	c->frame += width * 32;
	return off;
}

static uint32_t const_find(struct comp *c, uint64_t val, uint32_t width)
{
	uint32_t h = (uint32_t)((val * 0x9e3779b97f4a7c15u) >> 48) & 1023;

	for (uint32_t i = c->const_hash[h]; i; i = c->const_hash[1024 + i - 1])
		if (c->consts[i - 1].val == val && c->consts[i - 1].width == width)
			return c->consts[i - 1].off;
	return 0;
}

uint32_t const_reg(struct comp *c, uint64_t val, uint32_t width)
{
	uint32_t h = (uint32_t)((val * 0x9e3779b97f4a7c15u) >> 48) & 1023, off = const_find(c, val, width);

	if (off)
		return off;
	if (c->nconsts == c->capconsts) {
		c->capconsts = c->capconsts ? c->capconsts * 2 : 64;
		c->consts = realloc(c->consts, c->capconsts * sizeof(*c->consts));
		c->const_hash = realloc(c->const_hash, (1024 + c->capconsts) * sizeof(uint32_t));
	}
	off = new_reg(c, width);
	c->consts[c->nconsts] = (struct const_slot){val, (uint8_t)width, off};
	c->const_hash[1024 + c->nconsts] = c->const_hash[h];
	c->const_hash[h] = ++c->nconsts;
	return off;
}

uint32_t width_of(enum ptx_type t)
{
	return t == T_PRED ? 1 : ptx_type_size(t) == 16 ? 8 : ptx_type_size(t) == 8 ? 8 : 4;
}

uint32_t reg_off(struct comp *c, int reg)
{
	enum ptx_type t = c->ic->fn->regs[reg].type;

	if (!c->ic->regs[reg]) {
		c->ic->regs[reg] = new_reg(c, width_of(t));
		if (t == T_B128)
			new_reg(c, 8);
	}
	return c->ic->regs[reg];
}

uint32_t reg_width(struct comp *c, const struct ptx_operand *op)
{
	return op->kind == OP_REG ? width_of(c->ic->fn->regs[op->reg].type) : 0;
}

static const struct { const char *name; enum special s; } specials[] = {
	{"%tid.x", SR_TID_X}, {"%tid.y", SR_TID_Y}, {"%tid.z", SR_TID_Z},
	{"%ntid.x", SR_NTID_X}, {"%ntid.y", SR_NTID_Y}, {"%ntid.z", SR_NTID_Z},
	{"%ctaid.x", SR_CTAID_X}, {"%ctaid.y", SR_CTAID_Y}, {"%ctaid.z", SR_CTAID_Z},
	{"%nctaid.x", SR_NCTAID_X}, {"%nctaid.y", SR_NCTAID_Y}, {"%nctaid.z", SR_NCTAID_Z},
	{"%laneid", SR_LANEID}, {"%warpid", SR_WARPID}, {"%nwarpid", SR_NWARPID}, {"%smid", SR_SMID}, {"%nsmid", SR_NSMID},
	{"%lanemask_eq", SR_MASK_EQ}, {"%lanemask_lt", SR_MASK_LT}, {"%lanemask_le", SR_MASK_LE},
	{"%lanemask_gt", SR_MASK_GT}, {"%lanemask_ge", SR_MASK_GE},
	{"%total_smem_size", SR_TOTAL_SMEM}, {"%dynamic_smem_size", SR_DYN_SMEM}, {"%aggr_smem_size", SR_TOTAL_SMEM},
	{"%envreg1", SR_ENVREG1}, {"%envreg2", SR_ENVREG2},
	{"%clusterid.x", SR_CTAID_X}, {"%clusterid.y", SR_CTAID_Y}, {"%clusterid.z", SR_CTAID_Z},
	{"%nclusterid.x", SR_NCTAID_X}, {"%nclusterid.y", SR_NCTAID_Y}, {"%nclusterid.z", SR_NCTAID_Z},
	{"%cluster_nctaid.x", SR_ONE}, {"%cluster_nctaid.y", SR_ONE}, {"%cluster_nctaid.z", SR_ONE},
	{"%cluster_ctaid.x", SR_ZERO}, {"%cluster_ctaid.y", SR_ZERO}, {"%cluster_ctaid.z", SR_ZERO},
	{"%cluster_ctarank", SR_ZERO}, {"%cluster_nctarank", SR_ONE},
	{"%tid.w", SR_ZERO}, {"%ctaid.w", SR_ZERO}, {"%ntid.w", SR_ONE}, {"%nctaid.w", SR_ONE},
};

static uint32_t special_reg(struct comp *c, const char *name)
{
	struct insn *in;
	uint32_t off;

	for (size_t i = 0; i < sizeof(specials) / sizeof(*specials); i++) {
		if (strcmp(specials[i].name, name))
			continue;
		if (!c->code->special[specials[i].s])
			c->code->special[specials[i].s] = new_reg(c, 4);
		if (specials[i].s == SR_ENVREG1 || specials[i].s == SR_ENVREG2)
			c->code->uses_grid_sync = true;
		return c->code->special[specials[i].s];
	}
	if (!strncmp(name, "%envreg", 7) || !strncmp(name, "%pm", 3))
		return const_reg(c, 0, 4);
	if (!strcmp(name, "%clock") || !strcmp(name, "%clock_hi") || !strcmp(name, "%globaltimer_lo") ||
	    !strcmp(name, "%globaltimer_hi")) {
		off = new_reg(c, 4);
		in = emit(c, name[1] == 'g' ? op_timer : name[6] ? op_clockhi : op_clock32);
		in->d = off;
		in->aux = !strcmp(name, "%globaltimer_hi");
		return off;
	}
	comp_fail(c, "unknown special register '%s'", name);
	return 0;
}

static uint32_t special_reg64(struct comp *c, const char *name)
{
	op_fn fn = !strcmp(name, "%clock64") ? op_clock64 : !strcmp(name, "%globaltimer") ? op_timer
		 : !strcmp(name, "%gridid") ? op_mov_special64 : NULL;
	uint32_t off;
	struct insn *in;

	if (!fn)
		return 0;
	off = new_reg(c, 8);
	in = emit(c, fn);
	in->d = off;
	in->aux = 8;
	return off;
}

static uint32_t resize(struct comp *c, uint32_t off, uint32_t from, uint32_t to, bool is_signed)
{
	uint32_t r;
	struct insn *in;

	if (from == to)
		return off;
	r = new_reg(c, to);
	in = emit(c, to == 8 ? (is_signed ? op_swiden : op_widen) : op_narrow);
	in->d = r;
	in->a = off;
	return r;
}

static uint64_t literal(const struct ptx_operand *op, enum ptx_type t)
{
	union { double d; uint64_t u; } d = {.u = (uint64_t)op->imm};
	union { float f; uint32_t u; } f = {.u = (uint32_t)op->imm};

	if (op->kind == OP_INT)
		return ptx_type_size(t) == 8 ? (uint64_t)op->imm
		     : ptx_type_size(t) == 4 ? (uint32_t)op->imm : (uint16_t)op->imm;
	if (op->kind == OP_F32)
		d.d = f.f;
	switch (t) {
	case T_F64: return d.u;
	case T_F16: return double_to_half(d.d);
	case T_BF16: return double_to_bf16(d.d);
	case T_B64: case T_U64: case T_S64: return op->kind == OP_F32 ? f.u : d.u;
	default:
		if (op->kind == OP_F32)
			return f.u;
		f.f = (float)d.d;
		return f.u;
	}
}

static struct ptx_var *module_var(const struct comp *c, const char *name)
{
	struct ptx_var *best = NULL;

	for (struct ptx_var *v = c->mod->vars; v; v = v->next)
		if (!strcmp(v->name, name) && (!best || best->external))
			best = v;
	return best;
}

/* Functions are numbered from 1 on: their "addresses", good for comparing and for calls through a pointer. */
uint64_t func_number(const struct comp *c, const char *name)
{
	uint64_t n = 1;

	for (struct ptx_func *f = c->mod->funcs; f; f = f->next, n++)
		if (!strcmp(f->name, name))
			return (UINT64_C(1) << 40) | n;
	return 0;
}

bool symbol_addr(struct comp *c, const char *name, uint64_t *ret_addr, enum ptx_space *ret_space)
{
	struct ptx_var *v;

	for (struct inline_ctx *ic = c->ic; ic; ic = ic->up) {
		int i = strmap_get(&ic->vars, name, strlen(name));

		if (i >= 0) {
			*ret_addr = c->locals[i].addr;
			*ret_space = c->locals[i].space;
			return true;
		}
		if (!ic->is_entry)
			continue;
		for (v = ic->fn->params; v; v = v->next)
			if (!strcmp(v->name, name)) {
				*ret_addr = v->addr;
				*ret_space = SP_PARAM;
				return true;
			}
	}
	v = module_var(c, name);
	if (v) {
		*ret_addr = v->addr;
		*ret_space = v->space;
		return true;
	}
	*ret_addr = func_number(c, name);
	*ret_space = SP_GENERIC;
	return *ret_addr != 0;
}

uint32_t src(struct comp *c, const struct ptx_operand *op, enum ptx_type t)
{
	uint32_t width = width_of(t), off;
	enum ptx_space sp;
	uint64_t addr;

	switch (op->kind) {
	case OP_REG:
		if (reg_width(c, op) == 1) {
			comp_fail(c, "a predicate where a value is expected");
			return 0;
		}
		return resize(c, reg_off(c, op->reg), reg_width(c, op), width, ptx_is_signed(t));
	case OP_INT: case OP_FLT: case OP_F32:
		return const_reg(c, literal(op, t), width);
	case OP_SPECIAL:
		off = special_reg64(c, op->name);
		if (off)
			return resize(c, off, 8, width, false);
		off = special_reg(c, op->name);
		return resize(c, off, 4, width, false);
	case OP_SYM:
		if (!symbol_addr(c, op->name, &addr, &sp))
			comp_fail(c, "unknown symbol '%s'", op->name);
		return const_reg(c, addr + (uint64_t)op->imm, width);
	case OP_SINK:
		return FRAME_SINK;
	default:
		comp_fail(c, "operand of the wrong kind");
		return 0;
	}
}

uint32_t src_pred(struct comp *c, const struct ptx_operand *op, bool *ret_neg)
{
	*ret_neg = op->neg;
	if (op->kind == OP_REG && reg_width(c, op) == 1)
		return reg_off(c, op->reg);
	if (op->kind == OP_INT) { /* a constant predicate: the sink's neighbour is never written */
		*ret_neg = (op->imm != 0) != op->neg;
		return 252;
	}
	comp_fail(c, "predicate expected");
	return 0;
}

uint32_t dst(struct comp *c, const struct ptx_operand *op, enum ptx_type t)
{
	if (op->kind == OP_SINK)
		return new_reg(c, width_of(t));
	if (op->kind != OP_REG || reg_width(c, op) == 1) {
		comp_fail(c, "register expected");
		return 0;
	}
	return reg_width(c, op) == width_of(t) ? reg_off(c, op->reg) : new_reg(c, width_of(t));
}

/* A result narrower or wider than its register is moved there. */
void dst_done(struct comp *c, const struct ptx_operand *op, enum ptx_type t, uint32_t off)
{
	struct insn *in;

	if (op->kind != OP_REG || c->failed || reg_width(c, op) == width_of(t))
		return;
	in = emit(c, reg_width(c, op) == 4 ? op_narrow : ptx_is_signed(t) ? op_swiden : op_widen);
	in->d = reg_off(c, op->reg);
	in->a = off;
}

uint32_t dst_pred(struct comp *c, const struct ptx_operand *op)
{
	if (op->kind == OP_SINK)
		return new_reg(c, 1);
	if (op->kind != OP_REG || reg_width(c, op) != 1) {
		comp_fail(c, "predicate expected");
		return 0;
	}
	return reg_off(c, op->reg);
}

uint32_t address(struct comp *c, const struct ptx_operand *op, uint32_t *ret_width, int64_t *ret_off,
		 enum ptx_space *io_space)
{
	uint64_t addr;
	enum ptx_space sp;

	*ret_width = 0;
	*ret_off = op->imm;
	if (op->kind != OP_ADDR) {
		comp_fail(c, "address expected");
		return 0;
	}
	if (op->reg >= 0) {
		struct ptx_operand r = {.kind = OP_REG, .reg = op->reg};

		*ret_width = reg_width(c, &r);
		if (*ret_width == 1)
			comp_fail(c, "a predicate as address");
		/* In a function that was expanded in place, .param is its caller's memory. */
		if (*io_space == SP_PARAM && !c->ic->is_entry)
			*io_space = SP_LOCAL;
		return reg_off(c, op->reg);
	}
	if (!op->name)
		return 0;
	if (!symbol_addr(c, op->name, &addr, &sp)) {
		comp_fail(c, "unknown symbol '%s'", op->name);
		return 0;
	}
	*ret_off += (int64_t)addr;
	if (*io_space == SP_GENERIC || *io_space == SP_PARAM)
		*io_space = sp;
	return 0;
}

bool has_mod(const struct ptx_insn *in, const char *mod)
{
	for (int i = 0; i < in->nmods; i++)
		if (!strcmp(in->mods[i], mod))
			return true;
	return false;
}

enum ptx_type type_mod(const struct ptx_insn *in, int nth)
{
	for (int i = 0; i < in->nmods; i++) {
		enum ptx_type t = ptx_type_of(in->mods[i]);

		if (t != T_NONE && nth-- == 0)
			return t;
	}
	return T_NONE;
}

enum ptx_type last_type(const struct ptx_insn *in)
{
	enum ptx_type t = T_NONE;

	for (int i = 0; type_mod(in, i); i++)
		t = type_mod(in, i);
	return t;
}

enum rnd rnd_mod(const struct ptx_insn *in)
{
	static const struct { const char *name; enum rnd rnd; } table[] = {
		{"rn", RND_N}, {"rz", RND_Z}, {"rm", RND_M}, {"rp", RND_P}, {"rni", RND_NI}, {"rzi", RND_ZI},
		{"rmi", RND_MI}, {"rpi", RND_PI}, {"rna", RND_NA},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
		if (has_mod(in, table[i].name))
			return table[i].rnd;
	return RND_NONE;
}

bool space_mod(const struct ptx_insn *in, enum ptx_space *ret_space)
{
	static const struct { const char *name; enum ptx_space space; } table[] = {
		{"global", SP_GLOBAL}, {"shared", SP_SHARED}, {"local", SP_LOCAL}, {"param", SP_PARAM}, {"const", SP_CONST},
		{"shared::cta", SP_SHARED}, {"shared::cluster", SP_SHARED}, {"param::entry", SP_PARAM}, {"param::func", SP_PARAM},
	};

	*ret_space = SP_GENERIC;
	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
		if (has_mod(in, table[i].name)) {
			*ret_space = table[i].space;
			return true;
		}
	return false;
}

bool want_ops(struct comp *c, const struct ptx_insn *in, int n)
{
	if (in->nops == n)
		return true;
	comp_fail(c, "'%s' takes %d operands, not %d", in->op, n, in->nops);
	return false;
}
