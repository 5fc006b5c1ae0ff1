/* What the two halves of the parser share: declarations (ptx_decl.c), bodies (ptx_parse.c). */
#ifndef SIMCUDA_PTX_PARSE_H
#define SIMCUDA_PTX_PARSE_H

#include "ptx_lex.h"

struct range { /* .reg .f32 %f<10> */
	int first, count;
};

struct scope {
	struct strmap regs, ranges, vars;
	struct scope *up;
	int id;
};

struct parser {
	struct lex lx;
	struct ptx_module *mod;
	struct ptx_func *fn;
	struct scope *scope;
	struct range *ranges;
	int nranges, capranges;
	const char **varnames; /* what a scope's .vars map points into */
	int nvars, capvars;
	struct ptx_insn **tail;
	struct ptx_func **ftail;
	struct ptx_var **vtail;
};

/* After the space directive (.global, .shared ...): types, names, sizes, initialisers. */
void parse_vars(struct parser *ps, enum ptx_space space, bool external);
struct ptx_var *parse_params(struct parser *ps, int *ret_n);
void parse_regs(struct parser *ps);
int find_reg(struct parser *ps, const char *name);
const char *find_var(struct parser *ps, const char *name);
void scope_push(struct parser *ps);
void scope_pop(struct parser *ps);
bool space_of(const char *directive, enum ptx_space *ret_space);

#endif
