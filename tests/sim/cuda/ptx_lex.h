/* A cursor over PTX text. Every function skips blanks and comments first. */
#ifndef SIMCUDA_PTX_LEX_H
#define SIMCUDA_PTX_LEX_H

#include "ptx.h"

struct lex {
	const char *p;
	uint32_t line;
	struct arena *arena;
	bool failed;
	char *err;
	size_t errlen;
};

void lex_fail(struct lex *lx, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void lex_skip(struct lex *lx);
char lex_peek(struct lex *lx);
bool lex_accept(struct lex *lx, char c);
bool lex_expect(struct lex *lx, char c);
bool lex_is_ident(char c);
char *lex_ident(struct lex *lx);     /* NULL at anything else */
char *lex_dotted(struct lex *lx);    /* an opcode or directive with its dots, "::" included */
bool lex_number(struct lex *lx, struct ptx_operand *ret_op);
int64_t lex_int(struct lex *lx);     /* a constant expression */
char *lex_string(struct lex *lx);
void lex_to(struct lex *lx, char c); /* skips past the next c */

#endif
