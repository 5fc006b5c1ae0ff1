/* Modules, functions, statements and operands. */
#include "ptx_parse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void parse_operand(struct parser *ps, struct ptx_operand *op);

static struct ptx_operand *operand_list(struct parser *ps, char close, int *ret_n)
{
	struct ptx_operand buf[64], *r;
	int n = 0;

	if (!lex_accept(&ps->lx, close)) {
		do {
			if (n == 64) {
				lex_fail(&ps->lx, "too many operands");
				return NULL;
			}
			parse_operand(ps, &buf[n++]);
		} while (!ps->lx.failed && lex_accept(&ps->lx, ','));
		lex_expect(&ps->lx, close);
	}
	r = arena_alloc(ps->lx.arena, sizeof(*r) * (size_t)(n ? n : 1));
	memcpy(r, buf, sizeof(*r) * (size_t)n);
	*ret_n = n;
	return r;
}

static void named_operand(struct parser *ps, struct ptx_operand *op, char *name)
{
	struct lex *lx = &ps->lx;

	if (!strcmp(name, "_")) {
		op->kind = OP_SINK;
		return;
	}
	op->reg = find_reg(ps, name);
	if (op->reg >= 0) {
		op->kind = OP_REG;
		return;
	}
	if (name[0] == '%') {
		op->kind = OP_SPECIAL;
		op->name = name;
		if (*lx->p == '.') { /* %tid.x */
			char full[64];
			char *dim = lex_dotted(lx);
			int n = snprintf(full, sizeof(full), "%s%s", name, dim);

			op->name = arena_strdup(lx->arena, full, (size_t)n);
		}
		return;
	}
	if (!strcmp(name, "WARP_SZ")) {
		op->kind = OP_INT;
		op->imm = 32;
		return;
	}
	op->kind = OP_SYM;
	op->name = find_var(ps, name);
	if (lex_peek(lx) == '[') {
		lex_accept(lx, '[');
		op->imm = lex_int(lx);
		lex_expect(lx, ']');
	} else if (lex_accept(lx, '+')) {
		op->imm = lex_int(lx);
	}
}

static void address_operand(struct parser *ps, struct ptx_operand *op)
{
	struct lex *lx = &ps->lx;
	char *name = lex_ident(lx);

	op->reg = -1;
	if (name) {
		op->reg = find_reg(ps, name);
		if (op->reg < 0)
			op->name = find_var(ps, name);
		if (lex_accept(lx, '+'))
			op->imm = lex_int(lx);
		else if (lex_peek(lx) == '-')
			op->imm = lex_int(lx);
	} else {
		op->imm = lex_int(lx);
	}
	lex_expect(lx, ']');
	op->kind = OP_ADDR;
}

static void number_operand(struct parser *ps, struct ptx_operand *op)
{
	struct lex *lx = &ps->lx;
	bool minus = false;

	if (lex_peek(lx) == '-') {
		const char *save = lx->p;

		lx->p++;
		if (lex_number(lx, op) && op->kind != OP_INT)
			minus = true;
		else
			lx->p = save;
	} else if (lex_number(lx, op)) {
		if (op->kind != OP_INT)
			return;
		if (!strchr("+-*<", lex_peek(lx)))
			return;
		op->imm += lex_accept(lx, '+') ? lex_int(lx) : 0;
		return;
	}
	if (minus) {
		op->imm ^= op->kind == OP_F32 ? (int64_t)0x80000000 : INT64_MIN;
		return;
	}
	op->kind = OP_INT;
	op->imm = lex_int(lx);
}

static void parse_operand(struct parser *ps, struct ptx_operand *op)
{
	struct lex *lx = &ps->lx;
	struct ptx_operand *pair;
	char *name;

	memset(op, 0, sizeof(*op));
	op->reg = -1;
	if (lex_accept(lx, '{')) {
		op->kind = OP_VEC;
		op->sub = operand_list(ps, '}', &op->nsub);
		return;
	}
	if (lex_accept(lx, '[')) {
		address_operand(ps, op);
		return;
	}
	if (lex_accept(lx, '!'))
		op->neg = true;
	name = lex_ident(lx);
	if (!name) {
		number_operand(ps, op);
		return;
	}
	named_operand(ps, op, name);
	if (lex_peek(lx) != '|' || op->kind == OP_SYM)
		return;
	lex_accept(lx, '|');
	pair = arena_alloc(lx->arena, sizeof(*pair) * 2);
	pair[0] = *op;
	parse_operand(ps, &pair[1]);
	*op = (struct ptx_operand){.kind = OP_PAIR, .reg = -1, .sub = pair, .nsub = 2};
}

static struct ptx_insn *new_insn(struct parser *ps)
{
	struct ptx_insn *in = arena_alloc(ps->lx.arena, sizeof(*in));

	in->line = ps->lx.line;
	in->guard = -1;
	in->scope = ps->scope->id;
	*ps->tail = in;
	ps->tail = &in->next;
	ps->fn->ninsns++;
	return in;
}

static void split_opcode(struct parser *ps, struct ptx_insn *in, char *op)
{
	const char *mods[24];
	char *dot;

	in->op = op;
	for (dot = strchr(op, '.'); dot && in->nmods < 24; dot = strchr(dot + 1, '.')) {
		*dot = '\0';
		mods[in->nmods++] = dot + 1;
	}
	in->mods = arena_alloc(ps->lx.arena, sizeof(*in->mods) * (size_t)(in->nmods + 1));
	memcpy(in->mods, mods, sizeof(*mods) * (size_t)in->nmods);
}

static void parse_operands(struct parser *ps, struct ptx_insn *in)
{
	struct lex *lx = &ps->lx;
	struct ptx_operand buf[16];

	while (lex_peek(lx) && *lx->p != ';') {
		if (in->nops == 16) {
			lex_fail(lx, "too many operands");
			return;
		}
		if (lex_accept(lx, '(')) {
			buf[in->nops] = (struct ptx_operand){.kind = OP_LIST, .reg = -1};
			buf[in->nops].sub = operand_list(ps, ')', &buf[in->nops].nsub);
		} else {
			parse_operand(ps, &buf[in->nops]);
		}
		in->nops++;
		if (lx->failed || !lex_accept(lx, ','))
			break;
	}
	lex_expect(lx, ';');
	in->ops = arena_alloc(lx->arena, sizeof(*in->ops) * (size_t)(in->nops + 1));
	memcpy(in->ops, buf, sizeof(*in->ops) * (size_t)in->nops);
}

static void parse_guard(struct parser *ps, struct ptx_insn *in)
{
	char *name;

	in->gneg = lex_accept(&ps->lx, '!');
	name = lex_ident(&ps->lx);
	in->guard = name ? find_reg(ps, name) : -1;
	if (in->guard < 0)
		lex_fail(&ps->lx, "unknown predicate '%s'", name ? name : "");
}

static void parse_instruction(struct parser *ps, bool guarded)
{
	struct ptx_insn *in = new_insn(ps);
	char *op;

	if (guarded)
		parse_guard(ps, in);
	op = lex_dotted(&ps->lx);
	if (!op) {
		lex_fail(&ps->lx, "instruction expected near '%.16s'", ps->lx.p);
		return;
	}
	in->line = ps->lx.line;
	split_opcode(ps, in, op);
	parse_operands(ps, in);
}

static void body_directive(struct parser *ps)
{
	char *d = lex_dotted(&ps->lx);
	enum ptx_space space;

	if (!strcmp(d, ".reg"))
		parse_regs(ps);
	else if (space_of(d, &space))
		parse_vars(ps, space, false);
	else if (!strcmp(d, ".loc"))
		lex_to(&ps->lx, '\n'), ps->lx.p--;
	else if (!strcmp(d, ".pragma"))
		lex_to(&ps->lx, ';');
	else
		lex_fail(&ps->lx, "unknown directive '%s'", d);
}

/* name:  or  name: .branchtargets a, b; */
static bool parse_label(struct parser *ps)
{
	struct lex save = ps->lx;
	char *name = lex_ident(&ps->lx);
	struct ptx_insn *in;

	if (!name || lex_peek(&ps->lx) != ':' || ps->lx.p[1] == ':') {
		ps->lx = save;
		return false;
	}
	lex_accept(&ps->lx, ':');
	if (lex_peek(&ps->lx) == '.') {
		struct lex at = ps->lx;
		char *d = lex_dotted(&ps->lx);

		if (!strcmp(d, ".callprototype") || !strcmp(d, ".calltargets")) {
			lex_to(&ps->lx, ';');
			return true;
		}
		if (!strcmp(d, ".branchtargets")) {
			in = new_insn(ps);
			in->op = ".branchtargets";
			in->name = name;
			parse_operands(ps, in);
			return true;
		}
		ps->lx = at;
	}
	in = new_insn(ps);
	in->label = true;
	in->name = name;
	return true;
}

static void parse_block(struct parser *ps)
{
	scope_push(ps);
	while (!ps->lx.failed && !lex_accept(&ps->lx, '}')) {
		char c = lex_peek(&ps->lx);

		if (!c)
			lex_fail(&ps->lx, "'}' expected");
		else if (c == '{')
			ps->lx.p++, parse_block(ps);
		else if (c == '.')
			body_directive(ps);
		else if (c == '@')
			ps->lx.p++, parse_instruction(ps, true);
		else if (c == ';')
			ps->lx.p++;
		else if (!parse_label(ps))
			parse_instruction(ps, false);
	}
	scope_pop(ps);
}

static void parse_triple(struct parser *ps, uint32_t v[3])
{
	for (int i = 0; i < 3; i++)
		v[i] = 1;
	for (int i = 0; i < 3; i++) {
		v[i] = (uint32_t)lex_int(&ps->lx);
		if (!lex_accept(&ps->lx, ','))
			return;
	}
}

static void parse_performance(struct parser *ps, struct ptx_func *fn)
{
	uint32_t ignored[3];

	while (!ps->lx.failed && lex_peek(&ps->lx) == '.') {
		char *d = lex_dotted(&ps->lx);

		if (!strcmp(d, ".maxntid"))
			parse_triple(ps, fn->maxntid), fn->has_maxntid = true;
		else if (!strcmp(d, ".reqntid"))
			parse_triple(ps, fn->reqntid), fn->has_reqntid = true;
		else if (!strcmp(d, ".minnctapersm"))
			fn->minnctapersm = (uint32_t)lex_int(&ps->lx);
		else if (!strcmp(d, ".maxnreg"))
			fn->maxnreg = (uint32_t)lex_int(&ps->lx);
		else if (!strcmp(d, ".maxnctapersm") || !strcmp(d, ".maxclusterrank"))
			lex_int(&ps->lx);
		else if (!strcmp(d, ".reqnctapercluster"))
			parse_triple(ps, ignored);
		else if (!strcmp(d, ".pragma"))
			lex_to(&ps->lx, ';');
		else if (strcmp(d, ".noreturn") && strcmp(d, ".explicitcluster") && strcmp(d, ".abi_preserve"))
			lex_fail(&ps->lx, "unknown directive '%s'", d);
	}
}

static void parse_func(struct parser *ps, bool entry)
{
	struct ptx_func *fn = arena_alloc(ps->lx.arena, sizeof(*fn));
	int ignored;

	fn->entry = entry;
	ps->fn = fn;
	scope_push(ps);
	if (!entry && lex_peek(&ps->lx) == '(')
		fn->rets = parse_params(ps, &ignored);
	fn->name = lex_ident(&ps->lx);
	if (!fn->name)
		lex_fail(&ps->lx, "function name expected");
	if (lex_peek(&ps->lx) == '(')
		fn->params = parse_params(ps, &fn->nparams);
	parse_performance(ps, fn);
	ps->tail = &fn->body;
	if (lex_accept(&ps->lx, '{')) {
		fn->has_body = true;
		parse_block(ps);
	} else {
		lex_expect(&ps->lx, ';');
	}
	scope_pop(ps);
	ps->fn = NULL;
	*ps->ftail = fn;
	ps->ftail = &fn->next;
}

static void parse_version(struct parser *ps)
{
	int major = (int)lex_int(&ps->lx), minor = 0;

	if (lex_accept(&ps->lx, '.'))
		minor = (int)lex_int(&ps->lx);
	ps->mod->version = major * 10 + minor;
}

static void parse_target(struct parser *ps)
{
	do {
		char *t = lex_ident(&ps->lx), *end;

		if (t && !strncmp(t, "sm_", 3)) {
			ps->mod->target = (int)strtol(t + 3, &end, 10);
			ps->mod->target_suffix = *end;
		}
	} while (lex_accept(&ps->lx, ','));
}

/* "8.5" would be read as a float by lex_int(). */
static void parse_version_number(struct parser *ps)
{
	char *end;

	lex_skip(&ps->lx);
	ps->mod->version = (int)strtol(ps->lx.p, &end, 10) * 10;
	if (*end == '.')
		ps->mod->version += (int)strtol(end + 1, &end, 10);
	else
		parse_version(ps);
	ps->lx.p = end;
}

static void skip_section(struct parser *ps)
{
	int depth = 0;

	do {
		char c = lex_peek(&ps->lx);

		if (!c)
			return;
		depth += c == '{';
		depth -= c == '}';
		ps->lx.p++;
	} while (depth || ps->lx.p[-1] != '}');
}

static void module_directive(struct parser *ps)
{
	struct lex *lx = &ps->lx;
	bool external = false;
	enum ptx_space space;
	char *d;

	for (;;) {
		d = lex_dotted(lx);
		if (!d || *d != '.') {
			lex_fail(lx, "directive expected near '%.16s'", lx->p);
			return;
		}
		if (!strcmp(d, ".extern"))
			external = true;
		else if (strcmp(d, ".visible") && strcmp(d, ".weak") && strcmp(d, ".common"))
			break;
	}
	if (!strcmp(d, ".version"))
		parse_version_number(ps);
	else if (!strcmp(d, ".target"))
		parse_target(ps);
	else if (!strcmp(d, ".address_size"))
		lex_int(lx);
	else if (!strcmp(d, ".entry") || !strcmp(d, ".func"))
		parse_func(ps, d[1] == 'e');
	else if (space_of(d, &space))
		parse_vars(ps, space, external);
	else if (!strcmp(d, ".file") || !strcmp(d, ".loc"))
		lex_to(lx, '\n');
	else if (!strcmp(d, ".section"))
		skip_section(ps);
	else if (!strcmp(d, ".pragma") || !strcmp(d, ".alias"))
		lex_to(lx, ';');
	else
		lex_fail(lx, "unknown directive '%s'", d);
}

static void check_header(struct parser *ps)
{
	if (!ps->lx.failed && !ps->mod->version)
		lex_fail(&ps->lx, "no .version");
	if (!ps->lx.failed && !ps->mod->target)
		lex_fail(&ps->lx, "no .target");
}

struct ptx_module *ptx_parse(const char *text, char *err, size_t errlen)
{
	struct arena *arena = arena_create();
	struct ptx_module *m = arena_alloc(arena, sizeof(*m));
	struct parser ps = {
		.lx = {.p = text, .line = 1, .arena = arena, .err = err, .errlen = errlen},
		.mod = m, .ftail = &m->funcs, .vtail = &m->vars,
	};

	m->arena = arena;
	while (lex_peek(&ps.lx))
		module_directive(&ps);
	check_header(&ps);
	while (ps.scope)
		scope_pop(&ps);
	free(ps.ranges);
	free(ps.varnames);
	if (ps.lx.failed) {
		if (ps.fn) { /* not yet on the module's list */
			free(ps.fn->regs);
			free(ps.fn->scope_parent);
		}
		ptx_free(m);
		return NULL;
	}
	return m;
}

void ptx_free(struct ptx_module *m)
{
	if (!m)
		return;
	for (struct ptx_func *f = m->funcs; f; f = f->next) {
		free(f->regs);
		free(f->scope_parent);
	}
	arena_destroy(m->arena);
}
