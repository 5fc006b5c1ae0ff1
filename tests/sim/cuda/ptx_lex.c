#include "ptx_lex.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void lex_fail(struct lex *lx, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (lx->failed)
		return;
	lx->failed = true;
	n = snprintf(lx->err, lx->errlen, "line %u: ", lx->line);
	if (n < 0 || (size_t)n >= lx->errlen)
		return;
	va_start(ap, fmt);
	vsnprintf(lx->err + n, lx->errlen - (size_t)n, fmt, ap);
	va_end(ap);
}

static void skip_block_comment(struct lex *lx)
{
	for (lx->p += 2; *lx->p; lx->p++) {
		if (*lx->p == '\n')
			lx->line++;
		if (lx->p[0] == '*' && lx->p[1] == '/') {
			lx->p += 2;
			return;
		}
	}
}

void lex_skip(struct lex *lx)
{
	for (;;) {
		if (*lx->p == '\n') {
			lx->line++;
			lx->p++;
		} else if (*lx->p && isspace((unsigned char)*lx->p)) {
			lx->p++;
		} else if (lx->p[0] == '/' && lx->p[1] == '/') {
			while (*lx->p && *lx->p != '\n')
				lx->p++;
		} else if (lx->p[0] == '/' && lx->p[1] == '*') {
			skip_block_comment(lx);
		} else {
			return;
		}
	}
}

char lex_peek(struct lex *lx)
{
	lex_skip(lx);
	return lx->failed ? '\0' : *lx->p;
}

bool lex_accept(struct lex *lx, char c)
{
	if (lex_peek(lx) != c || !c)
		return false;
	lx->p++;
	return true;
}

bool lex_expect(struct lex *lx, char c)
{
	if (lex_accept(lx, c))
		return true;
	lex_fail(lx, "expected '%c' near '%.16s'", c, lx->p);
	return false;
}

bool lex_is_ident(char c)
{
	return isalnum((unsigned char)c) || c == '_' || c == '$' || c == '%';
}

char *lex_ident(struct lex *lx)
{
	const char *s;

	lex_skip(lx);
	s = lx->p;
	if (!lex_is_ident(*s) || isdigit((unsigned char)*s))
		return NULL;
	while (lex_is_ident(*lx->p))
		lx->p++;
	return arena_strdup(lx->arena, s, (size_t)(lx->p - s));
}

char *lex_dotted(struct lex *lx)
{
	const char *s;

	lex_skip(lx);
	s = lx->p;
	while (lex_is_ident(*lx->p) || *lx->p == '.' || (lx->p[0] == ':' && lx->p[1] == ':')) {
		if (*lx->p == ':')
			lx->p++;
		lx->p++;
	}
	return lx->p == s ? NULL : arena_strdup(lx->arena, s, (size_t)(lx->p - s));
}

static bool hex_float(struct lex *lx, struct ptx_operand *op)
{
	bool wide = lx->p[1] == 'd' || lx->p[1] == 'D';
	int digits = wide ? 16 : 8;
	uint64_t v = 0;

	for (int i = 0; i < digits; i++) {
		char c = lx->p[2 + i];

		if (!isxdigit((unsigned char)c))
			return false;
		v = v * 16 + (uint64_t)(isdigit((unsigned char)c) ? c - '0' : (c | 32) - 'a' + 10);
	}
	lx->p += 2 + digits;
	op->kind = wide ? OP_FLT : OP_F32;
	op->imm = (int64_t)v;
	return true;
}

static bool looks_decimal_float(const char *p)
{
	while (isdigit((unsigned char)*p))
		p++;
	return *p == '.' || *p == 'e' || *p == 'E';
}

bool lex_number(struct lex *lx, struct ptx_operand *op)
{
	char *end;

	lex_skip(lx);
	if (!isdigit((unsigned char)*lx->p))
		return false;
	if (*lx->p == '0' && (lx->p[1] | 32) == 'f' && hex_float(lx, op))
		return true;
	if (*lx->p == '0' && (lx->p[1] | 32) == 'd' && hex_float(lx, op))
		return true;
	if ((lx->p[1] | 32) != 'x' && looks_decimal_float(lx->p)) {
		double d = strtod(lx->p, &end);

		op->kind = OP_FLT;
		memcpy(&op->imm, &d, sizeof(d));
	} else {
		bool bin = *lx->p == '0' && (lx->p[1] | 32) == 'b';

		op->kind = OP_INT;
		op->imm = (int64_t)(bin ? strtoull(lx->p + 2, &end, 2) : strtoull(lx->p, &end, 0));
		if (*end == 'U' || *end == 'u')
			end++;
	}
	lx->p = end;
	return true;
}

static int64_t primary(struct lex *lx)
{
	struct ptx_operand op = {0};
	int64_t v;

	if (lex_accept(lx, '-'))
		return -primary(lx);
	if (lex_accept(lx, '+'))
		return primary(lx);
	if (lex_accept(lx, '~'))
		return ~primary(lx);
	if (lex_accept(lx, '!'))
		return !primary(lx);
	if (lex_accept(lx, '(')) {
		if (lex_peek(lx) == '.') { /* a cast: (.s64) or (.u64) */
			lex_dotted(lx);
			lex_expect(lx, ')');
			return primary(lx);
		}
		v = lex_int(lx);
		lex_expect(lx, ')');
		return v;
	}
	if (lex_number(lx, &op) && op.kind == OP_INT)
		return op.imm;
	if (!strncmp(lx->p, "WARP_SZ", 7)) {
		lx->p += 7;
		return 32;
	}
	lex_fail(lx, "expected an integer near '%.16s'", lx->p);
	return 0;
}

static int64_t product(struct lex *lx)
{
	int64_t v = primary(lx), b;

	for (;;) {
		if (lex_accept(lx, '*')) {
			v *= primary(lx);
		} else if (lex_peek(lx) == '/' || lex_peek(lx) == '%') {
			char c = *lx->p++;

			b = primary(lx);
			if (!b)
				lex_fail(lx, "division by zero");
			else
				v = c == '/' ? v / b : v % b;
		} else {
			return v;
		}
	}
}

static int64_t sum(struct lex *lx)
{
	int64_t v = product(lx);

	for (;;) {
		if (lex_accept(lx, '+'))
			v += product(lx);
		else if (lex_accept(lx, '-'))
			v -= product(lx);
		else
			return v;
	}
}

int64_t lex_int(struct lex *lx)
{
	int64_t v = sum(lx);

	for (;;) {
		char c = lex_peek(lx);

		if (c == '<' && lx->p[1] == '<') {
			lx->p += 2;
			v = (int64_t)((uint64_t)v << sum(lx));
		} else if (c == '>' && lx->p[1] == '>') {
			lx->p += 2;
			v >>= sum(lx);
		} else if (c == '&') {
			lx->p++;
			v &= sum(lx);
		} else if (c == '^') {
			lx->p++;
			v ^= sum(lx);
		} else {
			return v;
		}
	}
}

char *lex_string(struct lex *lx)
{
	const char *s;

	if (!lex_expect(lx, '"'))
		return NULL;
	s = lx->p;
	while (*lx->p && *lx->p != '"')
		lx->p++;
	lex_accept(lx, '"');
	return arena_strdup(lx->arena, s, (size_t)(lx->p - s - 1));
}

void lex_to(struct lex *lx, char c)
{
	while (*lx->p && *lx->p != c) {
		if (*lx->p == '\n')
			lx->line++;
		lx->p++;
	}
	if (*lx->p)
		lx->p++;
}
