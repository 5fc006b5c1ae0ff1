/* Calls: each is expanded in place, so that a kernel is one flat piece of code and lanes meet again after a call. */
#include "compile.h"

#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 24

void ic_enter(struct comp *c, struct inline_ctx *ic, struct ptx_func *fn)
{
	*ic = (struct inline_ctx){.fn = fn, .up = c->ic, .is_entry = !c->ic, .depth = c->ic ? c->ic->depth + 1 : 0};
	ic->regs = calloc((size_t)fn->nregs + 1, sizeof(*ic->regs));
	if (!ic->regs)
		abort();
	c->ic = ic;
}

void ic_leave(struct comp *c)
{
	struct inline_ctx *ic = c->ic;

	c->ic = ic->up;
	free(ic->regs);
	strmap_finish(&ic->vars);
}

/* Arguments and results are variables of the caller: the callee's names are made to mean the same memory. */
static void bind(struct comp *c, struct inline_ctx *callee, struct ptx_var *formal, const struct ptx_operand *actual)
{
	struct inline_ctx *caller = callee->up;
	uint64_t addr;
	enum ptx_space sp;

	if (formal->space == SP_REG && actual->kind == OP_REG) {
		c->ic = caller;
		callee->regs[formal->addr] = reg_off(c, actual->reg);
		c->ic = callee;
		return;
	}
	c->ic = caller;
	if (actual->kind == OP_SYM && symbol_addr(c, actual->name, &addr, &sp) && sp == SP_LOCAL) {
		c->ic = callee;
		add_local(c, formal->name, addr, SP_LOCAL);
		return;
	}
	c->ic = callee;
	comp_fail(c, "argument '%s' cannot be passed", formal->name);
}

static void bind_list(struct comp *c, struct ptx_var *formal, const struct ptx_operand *list)
{
	for (int i = 0; formal && list && i < list->nsub; i++, formal = formal->next)
		bind(c, c->ic, formal, &list->sub[i]);
	if (formal && !c->failed)
		comp_fail(c, "too few arguments");
}

static void expand_call(struct comp *c, struct ptx_func *fn, const struct ptx_operand *rets, const struct ptx_operand *args)
{
	struct inline_ctx ic;
	const struct ptx_insn *at = c->at;
	uint32_t skip = 0, guard = c->guard;
	bool gneg = c->gneg;

	if (c->ic->depth >= MAX_DEPTH) {
		comp_fail(c, "calls nest too deep (recursion is not supported): '%s'", fn->name);
		return;
	}
	if (guard) { /* lanes that do not call jump over the body */
		c->gneg = !gneg;
		emit(c, op_nop)->kind = K_BRA;
		skip = c->n - 1;
		c->guard = 0;
		c->gneg = false;
	}
	ic_enter(c, &ic, fn);
	bind_list(c, fn->rets, rets);
	bind_list(c, fn->params, args);
	place_vars(c, fn);
	if (!c->failed)
		compile_body(c);
	ic_leave(c);
	c->at = at;
	if (guard)
		c->insns[skip].imm = c->n;
	c->guard = guard;
	c->gneg = gneg;
}

static bool call_runtime(struct comp *c, const char *name, const struct ptx_operand *rets, const struct ptx_operand *args);

/* Through a pointer: one comparison and one expansion for each function that fits. */
static void call_indirect(struct comp *c, const struct ptx_insn *in, const struct ptx_operand *rets,
			  const struct ptx_operand *ptr, const struct ptx_operand *args)
{
	uint32_t p = src(c, ptr, T_U64), hit = new_reg(c, 1), guard = c->guard, all;
	bool gneg = c->gneg;
	struct insn *out;
	int nargs = args ? args->nsub : 0;

	all = new_reg(c, 1);
	out = emit(c, op_pred_mov);
	out->d = all;
	out->a = 252;
	out->imm = 1;
	for (struct ptx_func *f = c->mod->funcs; f && !c->failed; f = f->next) {
		if (f->entry || !f->has_body || f->nparams != nargs || !f->rets != !rets)
			continue;
		c->guard = 0;
		c->gneg = false;
		out = emit(c, op_pred_xor); /* hit = false in all lanes */
		out->d = hit;
		out->a = out->b = hit;
		c->guard = guard;
		c->gneg = gneg;
		out = emit(c, ops_setp[C_EQ][T_U64]);
		out->d = hit;
		out->a = p;
		out->b = const_reg(c, func_number(c, f->name), 8);
		c->guard = hit;
		c->gneg = false;
		expand_call(c, f, rets, args);
	}
	c->guard = guard;
	c->gneg = gneg;
}

/* call (rets), f, (args), prototype;  every part but f may be missing */
void emit_call(struct comp *c, const struct ptx_insn *in)
{
	const struct ptx_operand *rets = NULL, *args = NULL, *target = NULL;
	struct ptx_func *fn;

	for (int i = 0; i < in->nops; i++) {
		if (in->ops[i].kind == OP_LIST && !target)
			rets = &in->ops[i];
		else if (in->ops[i].kind == OP_LIST && !args)
			args = &in->ops[i];
		else if (!target)
			target = &in->ops[i];
	}
	if (!target || (target->kind != OP_SYM && target->kind != OP_REG)) {
		comp_fail(c, "call of nothing");
		return;
	}
	if (target->kind == OP_REG) {
		call_indirect(c, in, rets, target, args);
		return;
	}
	fn = ptx_find_func(c->mod, target->name);
	if (fn && fn->has_body)
		expand_call(c, fn, rets, args);
	else if (!call_runtime(c, target->name, rets, args))
		comp_fail(c, "unresolved extern function '%s'", target->name);
}

/* The argument in .param memory, as a register. */
static uint32_t load_arg(struct comp *c, const struct ptx_operand *arg, enum ptx_type t)
{
	uint64_t addr;
	enum ptx_space sp;
	struct insn *in;
	uint32_t r;

	if (arg->kind == OP_REG)
		return src(c, arg, t);
	if (arg->kind != OP_SYM || !symbol_addr(c, arg->name, &addr, &sp)) {
		comp_fail(c, "argument expected");
		return 0;
	}
	r = new_reg(c, width_of(t));
	in = emit(c, mem_ld_op(SP_LOCAL));
	in->kind = K_MEM;
	in->imm = (int64_t)addr;
	in->n = 1;
	in->ext = ext(c, 3);
	in->ext[0] = (uint32_t)t;
	in->ext[2] = r | (width_of(t) == 8 ? 0x80000000u : 0);
	return r;
}

static void store_ret(struct comp *c, const struct ptx_operand *ret, enum ptx_type t, uint32_t r)
{
	uint64_t addr;
	enum ptx_space sp;
	struct insn *in;

	if (ret->kind != OP_SYM || !symbol_addr(c, ret->name, &addr, &sp))
		return;
	in = emit(c, mem_st_op(SP_LOCAL));
	in->kind = K_MEM;
	in->imm = (int64_t)addr;
	in->n = 1;
	in->ext = ext(c, 3);
	in->ext[0] = (uint32_t)t;
	in->ext[2] = r | (width_of(t) == 8 ? 0x80000000u : 0);
}

static bool call_runtime(struct comp *c, const char *name, const struct ptx_operand *rets, const struct ptx_operand *args)
{
	static const struct { const char *name; op_fn fn; int nargs; enum ptx_type ret; } table[] = {
		{"vprintf", op_vprintf, 2, T_B32}, {"malloc", op_dmalloc, 1, T_B64}, {"free", op_dfree, 1, T_NONE},
		{"__assertfail", op_assertfail, 5, T_NONE},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		uint32_t a[5] = {0}, r = FRAME_SINK;
		struct insn *in;

		if (strcmp(table[i].name, name) || !args || args->nsub != table[i].nargs)
			continue;
		for (int k = 0; k < table[i].nargs; k++)
			a[k] = load_arg(c, &args->sub[k], k == 2 && table[i].fn == op_assertfail ? T_B32 : T_B64);
		if (table[i].ret)
			r = new_reg(c, width_of(table[i].ret));
		in = emit(c, table[i].fn);
		in->kind = K_MEM;
		in->d = r;
		in->a = a[0];
		in->b = a[1];
		in->c = a[2];
		in->ext = ext(c, 1);
		in->ext[0] = a[3];
		if (table[i].ret && rets && rets->nsub == 1)
			store_ret(c, &rets->sub[0], table[i].ret, r);
		return true;
	}
	return false;
}
