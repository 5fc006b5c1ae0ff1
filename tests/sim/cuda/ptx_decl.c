/* Declarations: registers, variables with their initialisers, parameters, and the scopes they live in. */
#include "ptx_parse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void scope_push(struct parser *ps)
{
	struct scope *s = calloc(1, sizeof(*s));

	if (!s)
		abort();
	s->up = ps->scope;
	s->id = ps->fn->nscopes++;
	ps->fn->scope_parent = realloc(ps->fn->scope_parent, sizeof(int) * (size_t)ps->fn->nscopes);
	ps->fn->scope_parent[s->id] = s->up ? s->up->id : -1;
	ps->scope = s;
}

void scope_pop(struct parser *ps)
{
	struct scope *s = ps->scope;

	ps->scope = s->up;
	strmap_finish(&s->regs);
	strmap_finish(&s->ranges);
	strmap_finish(&s->vars);
	free(s);
}

static int add_regs(struct parser *ps, enum ptx_type t, int count)
{
	struct ptx_func *fn = ps->fn;
	int first = fn->nregs;

	if (count < 0 || count > 1 << 20) {
		lex_fail(&ps->lx, "too many registers");
		return 0;
	}
	while (fn->nregs + count > fn->capregs) {
		fn->capregs = fn->capregs ? fn->capregs * 2 : 256;
		fn->regs = realloc(fn->regs, sizeof(*fn->regs) * (size_t)fn->capregs);
	}
	for (int i = 0; i < count; i++)
		fn->regs[fn->nregs++].type = t;
	return first;
}

static void add_range(struct parser *ps, const char *prefix, enum ptx_type t, int count)
{
	if (ps->nranges == ps->capranges) {
		ps->capranges = ps->capranges ? ps->capranges * 2 : 64;
		ps->ranges = realloc(ps->ranges, sizeof(*ps->ranges) * (size_t)ps->capranges);
	}
	ps->ranges[ps->nranges] = (struct range){add_regs(ps, t, count), count};
	strmap_set(&ps->scope->ranges, prefix, ps->nranges++);
}

void parse_regs(struct parser *ps)
{
	struct lex *lx = &ps->lx;
	char *type = lex_dotted(lx), *name;
	enum ptx_type t = type ? ptx_type_of(type + 1) : T_NONE;

	if (t == T_NONE) {
		lex_fail(lx, "unknown register type '%s'", type ? type : "");
		return;
	}
	do {
		name = lex_ident(lx);
		if (!name) {
			lex_fail(lx, "register name expected");
			return;
		}
		if (lex_accept(lx, '<')) {
			add_range(ps, name, t, (int)lex_int(lx));
			lex_expect(lx, '>');
		} else {
			strmap_set(&ps->scope->regs, name, add_regs(ps, t, 1));
		}
	} while (lex_accept(lx, ','));
	lex_expect(lx, ';');
}

static int find_in_range(struct parser *ps, struct scope *s, const char *name, size_t n)
{
	size_t digits = n;
	int r;
	long num;

	while (digits > 0 && name[digits - 1] >= '0' && name[digits - 1] <= '9')
		digits--;
	/* "%p1<4>" makes %p10 ... %p13: every split of the trailing digits is a candidate. */
	for (size_t split = digits; split < n; split++) {
		r = strmap_get(&s->ranges, name, split);
		if (r < 0)
			continue;
		num = strtol(name + split, NULL, 10);
		if (num < ps->ranges[r].count)
			return ps->ranges[r].first + (int)num;
	}
	return -1;
}

int find_reg(struct parser *ps, const char *name)
{
	size_t n = strlen(name);
	int r;

	for (struct scope *s = ps->scope; s; s = s->up) {
		r = strmap_get(&s->regs, name, n);
		if (r < 0)
			r = find_in_range(ps, s, name, n);
		if (r >= 0)
			return r;
	}
	return -1;
}

const char *find_var(struct parser *ps, const char *name)
{
	for (struct scope *s = ps->scope; s; s = s->up) {
		int v = strmap_get(&s->vars, name, strlen(name));

		if (v >= 0)
			return ps->varnames[v];
	}
	return name;
}

bool space_of(const char *d, enum ptx_space *ret_space)
{
	static const struct { const char *name; enum ptx_space space; } table[] = {
		{".global", SP_GLOBAL}, {".const", SP_CONST}, {".shared", SP_SHARED},
		{".local", SP_LOCAL}, {".param", SP_PARAM},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
		if (!strcmp(d, table[i].name)) {
			*ret_space = table[i].space;
			return true;
		}
	return false;
}

/* Variables of inner scopes may repeat a name (every call sequence has a "param0"). */
static const char *unique_name(struct parser *ps, const char *name)
{
	char buf[512];
	int n;

	if (ps->nvars == ps->capvars) {
		ps->capvars = ps->capvars ? ps->capvars * 2 : 64;
		ps->varnames = realloc(ps->varnames, sizeof(*ps->varnames) * (size_t)ps->capvars);
	}
	n = snprintf(buf, sizeof(buf), "%s@%d", name, ps->nvars);
	ps->varnames[ps->nvars] = arena_strdup(ps->lx.arena, buf, (size_t)n);
	strmap_set(&ps->scope->vars, name, ps->nvars++);
	return ps->varnames[ps->nvars - 1];
}

static void put_bytes(struct ptx_var *v, uint64_t at, const void *src, uint32_t n)
{
	if (at + n <= v->size)
		memcpy(v->init + at, src, n);
}

static void put_number(struct ptx_var *v, uint64_t at, const struct ptx_operand *op, bool minus)
{
	uint32_t n = ptx_type_size(v->type);
	double d = 0;
	float f;
	int64_t i = minus ? -op->imm : op->imm;

	if (op->kind == OP_INT && !ptx_is_float(v->type)) {
		put_bytes(v, at, &i, n);
		return;
	}
	if (op->kind == OP_F32) {
		memcpy(&f, &op->imm, 4);
		d = f;
	} else if (op->kind == OP_FLT) {
		memcpy(&d, &op->imm, 8);
	} else {
		d = (double)op->imm;
	}
	d = minus ? -d : d;
	f = (float)d;
	if (n == 8)
		put_bytes(v, at, &d, 8);
	else if (n == 4)
		put_bytes(v, at, &f, 4);
	else
		put_bytes(v, at, &op->imm, n); /* f16 is written as its bits */
}

static void init_symbol(struct parser *ps, struct ptx_var *v, uint64_t at)
{
	struct ptx_reloc *r = arena_alloc(ps->lx.arena, sizeof(*r));

	r->at = at;
	r->name = lex_ident(&ps->lx);
	if (r->name && !strcmp(r->name, "generic") && lex_accept(&ps->lx, '(')) {
		r->generic = true;
		r->name = lex_ident(&ps->lx);
		lex_expect(&ps->lx, ')');
	}
	if (lex_accept(&ps->lx, '+'))
		r->add = lex_int(&ps->lx);
	r->next = v->relocs;
	v->relocs = r;
}

static uint64_t parse_init(struct parser *ps, struct ptx_var *v, uint64_t at)
{
	struct lex *lx = &ps->lx;
	struct ptx_operand op = {0};
	bool minus;

	if (lex_accept(lx, '{')) {
		if (lex_accept(lx, '}'))
			return at;
		do
			at = parse_init(ps, v, at);
		while (lex_accept(lx, ','));
		lex_expect(lx, '}');
		return at;
	}
	minus = lex_accept(lx, '-');
	if (lex_number(lx, &op))
		put_number(v, at, &op, minus);
	else if (lex_peek(lx) == '(') {
		op.kind = OP_INT;
		op.imm = lex_int(lx);
		put_number(v, at, &op, minus);
	} else
		init_symbol(ps, v, at);
	return at + ptx_type_size(v->type);
}

static uint64_t count_init(struct lex *lx)
{
	const char *p = lx->p;
	uint64_t n = 1;
	int depth = 0;

	for (; *p && *p != ';'; p++) {
		depth += *p == '{';
		depth -= *p == '}';
		if (*p == ',' && depth == 1)
			n++;
	}
	return n;
}

static void parse_one_var(struct parser *ps, struct ptx_var *v, uint32_t vec)
{
	struct lex *lx = &ps->lx;
	uint64_t elems = vec, dim;
	const char *name = lex_ident(lx);

	if (!name) {
		lex_fail(lx, "variable name expected near '%.16s'", lx->p);
		return;
	}
	v->name = ps->scope ? unique_name(ps, name) : name;
	v->owner = ps->fn;
	while (lex_accept(lx, '[')) {
		if (lex_accept(lx, ']')) {
			v->unsized = true;
			continue;
		}
		dim = (uint64_t)lex_int(lx);
		elems *= dim;
		lex_expect(lx, ']');
	}
	if (lex_peek(lx) == '=' && v->unsized) {
		elems *= count_init(lx);
		v->unsized = false;
	}
	v->size = v->unsized ? 0 : elems * ptx_type_size(v->type);
	if (v->align < ptx_type_size(v->type) * vec && v->align == 0)
		v->align = ptx_type_size(v->type) * vec;
	if (v->size > (uint64_t)1 << 32) {
		lex_fail(lx, "variable '%s' is too large", name);
		return;
	}
	if (!lex_accept(lx, '='))
		return;
	v->init = arena_alloc(lx->arena, v->size);
	parse_init(ps, v, 0);
}

/* Attributes between the space and the name; returns false when the name is next. */
static bool var_attribute(struct parser *ps, struct ptx_var *proto, uint32_t *vec)
{
	struct lex *lx = &ps->lx;
	char *d;
	enum ptx_space ignored;

	if (lex_peek(lx) != '.')
		return false;
	d = lex_dotted(lx);
	if (!strcmp(d, ".align")) {
		uint32_t a = (uint32_t)lex_int(lx);

		/* The second one, after .ptr, tells the pointee's alignment. */
		if (proto->type == T_NONE)
			proto->align = a;
	} else if (!strcmp(d, ".v2") || !strcmp(d, ".v4")) {
		*vec = (uint32_t)(d[2] - '0');
	} else if (!strcmp(d, ".attribute")) {
		lex_to(lx, ')');
	} else if (!strcmp(d, ".ptr") || space_of(d, &ignored)) {
		;
	} else {
		proto->type = ptx_type_of(d + 1);
		if (proto->type == T_NONE && (!strcmp(d, ".texref") || !strcmp(d, ".surfref") || !strcmp(d, ".samplerref")))
			proto->type = T_U64;
		if (proto->type == T_NONE)
			lex_fail(lx, "unknown type '%s'", d);
	}
	return true;
}

void parse_vars(struct parser *ps, enum ptx_space space, bool external)
{
	struct ptx_var proto = {.space = space, .external = external}, *v;
	uint32_t vec = 1;

	while (var_attribute(ps, &proto, &vec) && !ps->lx.failed)
		;
	do {
		v = arena_alloc(ps->lx.arena, sizeof(*v));
		*v = proto;
		parse_one_var(ps, v, vec);
		if (ps->lx.failed)
			return;
		if (ps->fn) {
			v->next = ps->fn->vars;
			ps->fn->vars = v;
		} else {
			*ps->vtail = v;
			ps->vtail = &v->next;
		}
	} while (lex_accept(&ps->lx, ','));
	lex_expect(&ps->lx, ';');
}

static void parse_param(struct parser *ps, struct ptx_var *v)
{
	char *d = lex_dotted(&ps->lx);
	uint32_t vec = 1;

	if (!d || (strcmp(d, ".param") && strcmp(d, ".reg"))) {
		lex_fail(&ps->lx, "parameter expected near '%.16s'", ps->lx.p);
		return;
	}
	v->space = strcmp(d, ".reg") ? SP_PARAM : SP_REG;
	while (var_attribute(ps, v, &vec) && !ps->lx.failed)
		;
	/* A prototype of a call may leave the name out: "_" is then written. */
	parse_one_var(ps, v, vec);
	if (v->space == SP_REG && ps->scope) {
		const char *at = strrchr(v->name, '@');

		add_regs(ps, v->type, 1);
		strmap_set(&ps->scope->regs, arena_strdup(ps->lx.arena, v->name, (size_t)(at - v->name)), ps->fn->nregs - 1);
		v->addr = (uint64_t)ps->fn->nregs - 1;
	}
}

struct ptx_var *parse_params(struct parser *ps, int *ret_n)
{
	struct ptx_var *first = NULL, **tail = &first, *v;

	*ret_n = 0;
	if (!lex_expect(&ps->lx, '('))
		return NULL;
	if (lex_accept(&ps->lx, ')'))
		return NULL;
	do {
		v = arena_alloc(ps->lx.arena, sizeof(*v));
		parse_param(ps, v);
		*tail = v;
		tail = &v->next;
		++*ret_n;
	} while (!ps->lx.failed && lex_accept(&ps->lx, ','));
	lex_expect(&ps->lx, ')');
	return first;
}
