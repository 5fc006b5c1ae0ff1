#include "compile.h"

#include <stdlib.h>
#include <string.h>

struct fixup {
	uint32_t insn;
	int slot; /* -1: imm, else index in ext */
	const char *label;
	int scope;
	struct fixup *next;
};

struct label {
	const char *name;
	int scope;
	uint32_t at;
	const struct ptx_insn *table; /* .branchtargets */
	struct label *next;
};

static uint64_t align_up(uint64_t v, uint64_t a)
{
	return a > 1 ? (v + a - 1) & ~(a - 1) : v;
}

int add_local(struct comp *c, const char *name, uint64_t addr, enum ptx_space space)
{
	if (c->nlocals == c->caplocals) {
		c->caplocals = c->caplocals ? c->caplocals * 2 : 64;
		c->locals = realloc(c->locals, c->caplocals * sizeof(*c->locals));
	}
	c->locals[c->nlocals] = (struct local_var){name, addr, space};
	strmap_set(&c->ic->vars, name, (int)c->nlocals);
	return (int)c->nlocals++;
}

/* A variable of one thread: .local, or .param on the way to a call. */
static uint64_t place_local(struct comp *c, const struct ptx_var *v)
{
	uint64_t at = align_up(c->code->local_size, v->align);

	c->code->local_size = (uint32_t)(at + v->size);
	add_local(c, v->name, at, SP_LOCAL);
	return at;
}

void place_vars(struct comp *c, struct ptx_func *fn)
{
	for (struct ptx_var *v = fn->vars; v; v = v->next) {
		if (v->space == SP_SHARED) {
			uint64_t at = v->addr;

			/* One copy per block, however often the function is expanded. */
			if (v->addr == UINT64_MAX) {
				at = align_up(c->code->shared_size, v->align);
				c->code->shared_size = (uint32_t)(at + v->size);
				v->addr = at;
			}
			add_local(c, v->name, at, SP_SHARED);
		} else if (v->space == SP_GLOBAL || v->space == SP_CONST) {
			comp_fail(c, "'%s' is global inside a function", v->name);
		} else {
			place_local(c, v);
		}
	}
}

static const struct emitter *find_emitter(const char *op)
{
	static const struct emitter *const groups[] = {emitters_alu, emitters_move, emitters_mem, emitters_warp};

	for (size_t g = 0; g < sizeof(groups) / sizeof(*groups); g++)
		for (const struct emitter *e = groups[g]; e->name; e++)
			if (!strcmp(e->name, op))
				return e;
	return NULL;
}

static void add_fixup(struct comp *c, uint32_t insn, int slot, const char *label, int scope)
{
	struct fixup *f = arena_alloc(c->code->arena, sizeof(*f));

	*f = (struct fixup){insn, slot, label, scope, c->ic->fixups};
	c->ic->fixups = f;
}

static const struct label *find_label(struct comp *c, const char *name, int scope)
{
	for (; scope >= 0; scope = c->ic->fn->scope_parent[scope])
		for (const struct label *l = c->ic->labels; l; l = l->next)
			if (l->scope == scope && !strcmp(l->name, name))
				return l;
	comp_fail(c, "unknown label '%s'", name);
	return NULL;
}

static void emit_branch(struct comp *c, const struct ptx_insn *in)
{
	struct insn *out = emit(c, op_nop);

	out->kind = K_BRA;
	if (in->nops != 1 || in->ops[0].kind != OP_SYM)
		comp_fail(c, "branch without a label");
	else
		add_fixup(c, c->n - 1, -1, in->ops[0].name, in->scope);
}

static void emit_indexed(struct comp *c, const struct ptx_insn *in)
{
	const struct label *table = want_ops(c, in, 2) ? find_label(c, in->ops[1].name, in->scope) : NULL;
	uint32_t idx;
	struct insn *out;

	if (!table || !table->table)
		return;
	idx = src(c, &in->ops[0], T_U32);
	out = emit(c, op_nop);
	out->kind = K_BRX;
	out->a = idx;
	out->imm = table->table->nops;
	out->ext = ext(c, (uint32_t)table->table->nops);
	for (int i = 0; i < table->table->nops; i++)
		add_fixup(c, c->n - 1, i, table->table->ops[i].name, in->scope);
}

/* In the kernel itself a return ends the thread; in an expansion it is a branch to the expansion's end. */
static void emit_return(struct comp *c, bool leave)
{
	struct insn *out = emit(c, op_nop);

	if (leave || c->ic->is_entry) {
		out->kind = K_EXIT;
	} else {
		out->kind = K_BRA;
		add_fixup(c, c->n - 1, -1, NULL, 0);
	}
}

static void compile_insn(struct comp *c, const struct ptx_insn *in)
{
	const struct emitter *e;

	c->guard = in->guard < 0 ? 0 : reg_off(c, in->guard);
	c->gneg = in->gneg;
	if (!strcmp(in->op, "bra"))
		emit_branch(c, in);
	else if (!strcmp(in->op, "brx"))
		emit_indexed(c, in);
	else if (!strcmp(in->op, "ret") || !strcmp(in->op, "exit"))
		emit_return(c, in->op[0] == 'e');
	else if (!strcmp(in->op, "call"))
		emit_call(c, in);
	else if (in->op[0] == '.')
		;
	else if ((e = find_emitter(in->op)))
		e->fn(c, in);
	else
		comp_fail(c, "unknown instruction '%s'", in->op);
	c->guard = 0;
	c->gneg = false;
}

static void resolve_fixups(struct comp *c)
{
	for (struct fixup *f = c->ic->fixups; f && !c->failed; f = f->next) {
		const struct label *l = f->label ? find_label(c, f->label, f->scope) : NULL;
		uint32_t target = f->label ? (l ? l->at : 0) : c->n;

		if (f->slot < 0)
			c->insns[f->insn].imm = target;
		else
			c->insns[f->insn].ext[f->slot] = target;
	}
}

static void collect_tables(struct comp *c)
{
	for (struct ptx_insn *in = c->ic->fn->body; in; in = in->next) {
		struct label *l;

		if (!in->name)
			continue;
		l = arena_alloc(c->code->arena, sizeof(*l));
		*l = (struct label){in->name, in->scope, 0, in->label ? NULL : in, c->ic->labels};
		c->ic->labels = l;
	}
}

static void place_label(struct comp *c, const struct ptx_insn *in)
{
	for (struct label *l = c->ic->labels; l; l = l->next)
		if (l->name == in->name) {
			l->at = c->n;
			return;
		}
}

void compile_body(struct comp *c)
{
	collect_tables(c);
	for (struct ptx_insn *in = c->ic->fn->body; in && !c->failed; in = in->next) {
		c->at = in;
		if (in->label)
			place_label(c, in);
		else
			compile_insn(c, in);
	}
	resolve_fixups(c);
}

static void layout_params(struct comp *c)
{
	struct ptx_func *fn = c->entry;
	uint32_t off = 0, i = 0;

	c->code->params = arena_alloc(c->code->arena, sizeof(struct param_info) * (size_t)(fn->nparams + 1));
	for (struct ptx_var *v = fn->params; v; v = v->next) {
		off = (uint32_t)align_up(off, v->align);
		v->addr = off;
		c->code->params[i++] = (struct param_info){off, (uint32_t)v->size, v->align};
		off += (uint32_t)v->size;
	}
	c->code->nparams = i;
	c->code->param_size = off;
}

/* Module-level .shared: every kernel of the module gets all of them; the unsized ones begin behind the rest. */
static void layout_shared(struct comp *c)
{
	for (struct ptx_var *v = c->mod->vars; v; v = v->next)
		if (v->space == SP_SHARED && !v->external) {
			v->addr = align_up(c->code->shared_size, v->align);
			c->code->shared_size = (uint32_t)(v->addr + v->size);
		}
	for (struct ptx_func *f = c->mod->funcs; f; f = f->next)
		for (struct ptx_var *v = f->vars; v; v = v->next)
			if (v->space == SP_SHARED)
				v->addr = UINT64_MAX;
}

static bool uses_dynamic(const struct comp *c)
{
	for (struct ptx_var *v = c->mod->vars; v; v = v->next)
		if (v->space == SP_SHARED && v->external)
			return true;
	return false;
}

/* The address of dynamic shared memory is only known once all static variables are placed: compile twice. */
static void place_dynamic(struct comp *c, uint32_t static_size)
{
	for (struct ptx_var *v = c->mod->vars; v; v = v->next)
		if (v->space == SP_SHARED && v->external)
			v->addr = align_up(static_size, v->align > 16 ? v->align : 16);
}

static void finish(struct comp *c)
{
	struct code *code = c->code;
	struct ptx_func *fn = c->entry;

	code->name = arena_strdup(code->arena, fn->name, strlen(fn->name));
	code->insns = arena_alloc(code->arena, c->n * sizeof(*c->insns));
	memcpy(code->insns, c->insns, c->n * sizeof(*c->insns));
	code->ninsns = c->n;
	code->frame_size = c->frame;
	code->nconsts = c->nconsts;
	code->consts = arena_alloc(code->arena, c->nconsts * sizeof(*code->consts));
	for (uint32_t i = 0; i < c->nconsts; i++)
		code->consts[i] = (struct frame_const){c->consts[i].off, c->consts[i].width, c->consts[i].val};
	memcpy(code->maxntid, fn->maxntid, sizeof(fn->maxntid));
	memcpy(code->reqntid, fn->reqntid, sizeof(fn->reqntid));
	code->has_maxntid = fn->has_maxntid;
	code->has_reqntid = fn->has_reqntid;
	code->minnctapersm = fn->minnctapersm;
	code->local_size = (code->local_size + 15) & ~15u;
	/* As many registers as ptxas might give: a number that grows with the kernel and stays legal. */
	code->nregs32 = 16 + c->n / 8 > 255 ? 255 : 16 + c->n / 8;
	if (uses_dynamic(c))
		code->shared_size = (uint32_t)align_up(code->shared_size, 16);
}

static struct code *compile_once(const struct ptx_module *m, struct ptx_func *fn, uint32_t static_size, char *err, size_t errlen)
{
	struct comp c = {.mod = m, .entry = fn, .frame = FRAME_FIRST, .err = err, .errlen = errlen};
	struct inline_ctx ic;
	struct arena *arena = arena_create();

	c.code = arena_alloc(arena, sizeof(*c.code));
	c.code->arena = arena;
	c.const_hash = calloc(1024, sizeof(uint32_t));
	c.preds = c.frame;
	layout_params(&c);
	layout_shared(&c);
	place_dynamic(&c, static_size);
	ic_enter(&c, &ic, fn);
	place_vars(&c, fn);
	if (!c.failed)
		compile_body(&c);
	emit(&c, op_nop)->kind = K_EXIT;
	ic_leave(&c);
	if (!c.failed)
		finish(&c);
	free(c.insns);
	free(c.consts);
	free(c.const_hash);
	free(c.locals);
	if (!c.failed)
		return c.code;
	arena_destroy(arena);
	return NULL;
}

struct code *ptx_compile(const struct ptx_module *m, struct ptx_func *fn, char *err, size_t errlen)
{
	struct code *c = compile_once(m, fn, 0, err, errlen), *again;
	struct comp probe = {.mod = m};

	if (!c || !c->shared_size || !uses_dynamic(&probe))
		return c;
	again = compile_once(m, fn, c->shared_size, err, errlen);
	code_destroy(c);
	return again;
}

void code_destroy(struct code *c)
{
	if (c)
		arena_destroy(c->arena);
}
