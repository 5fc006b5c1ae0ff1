/*
 * The text of a PTX module as a tree: what the parser makes and the compiler reads.
 * Everything hangs off one arena and is immutable once ptx_parse() has returned.
 */
#ifndef SIMCUDA_PTX_H
#define SIMCUDA_PTX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ptx_type {
	T_NONE,
	T_B8, T_B16, T_B32, T_B64, T_B128,
	T_U8, T_U16, T_U32, T_U64,
	T_S8, T_S16, T_S32, T_S64,
	T_F16, T_F16X2, T_BF16, T_BF16X2, T_TF32, T_F32, T_F32X2, T_F64,
	T_U16X2, T_S16X2,
	T_PRED,
	T_COUNT,
};

enum ptx_space { SP_GENERIC, SP_GLOBAL, SP_SHARED, SP_LOCAL, SP_PARAM, SP_CONST, SP_REG };

enum ptx_opkind {
	OP_NONE,
	OP_REG,      /* reg */
	OP_SPECIAL,  /* name: %tid.x and the like */
	OP_INT,      /* imm */
	OP_FLT,      /* imm holds the bits of a double */
	OP_F32,      /* imm holds the bits of a float (0f...) */
	OP_SYM,      /* name, imm = offset */
	OP_ADDR,     /* [reg or name, + imm] */
	OP_VEC,      /* {a, b, ...} in sub */
	OP_LIST,     /* (a, b, ...) in sub */
	OP_PAIR,     /* a|b in sub */
	OP_SINK,     /* _ */
};

struct ptx_operand {
	enum ptx_opkind kind;
	bool neg; /* !p */
	int reg;  /* index in the function's registers, -1 for none */
	const char *name;
	int64_t imm;
	struct ptx_operand *sub;
	int nsub;
};

struct ptx_reg {
	enum ptx_type type;
};

/* A reference from initialised data to another symbol. */
struct ptx_reloc {
	uint64_t at;
	const char *name;
	int64_t add;
	bool generic;
	struct ptx_reloc *next;
};

struct ptx_var {
	const char *name;
	enum ptx_space space;
	enum ptx_type type;
	uint32_t align;
	uint64_t size;
	bool external, unsized;
	uint8_t *init;
	struct ptx_reloc *relocs;
	struct ptx_func *owner; /* declared inside this function, NULL at module level */
	struct ptx_var *next;
	uint64_t addr; /* set by the compiler or the loader */
};

struct ptx_insn {
	uint32_t line;
	int guard; /* register index, -1 for none */
	bool gneg;
	bool label; /* a label's place: only name is set */
	const char *name;
	int scope;
	const char *op;     /* first part: "ld" */
	const char **mods;  /* the others: "global", "f32" */
	int nmods;
	struct ptx_operand *ops;
	int nops;
	struct ptx_insn *next;
};

struct ptx_func {
	const char *name;
	bool entry, has_body;
	struct ptx_var *params, *rets;
	int nparams;
	struct ptx_reg *regs;
	int nregs, capregs;
	struct ptx_insn *body;
	int ninsns;
	int *scope_parent;
	int nscopes;
	struct ptx_var *vars; /* .param, .local, .shared of the body */
	uint32_t maxntid[3], reqntid[3], minnctapersm, maxnreg;
	bool has_maxntid, has_reqntid;
	bool address_taken;
	struct ptx_func *next;
};

struct ptx_module {
	struct arena *arena;
	int version; /* major * 10 + minor */
	int target;  /* 90 for sm_90 */
	char target_suffix;
	struct ptx_var *vars;
	struct ptx_func *funcs;
	char error[256];
};

struct ptx_module *ptx_parse(const char *text, char *err, size_t errlen);
void ptx_free(struct ptx_module *m);
struct ptx_func *ptx_find_func(const struct ptx_module *m, const char *name);

enum ptx_type ptx_type_of(const char *name);
uint32_t ptx_type_size(enum ptx_type t);
static inline bool ptx_is_signed(enum ptx_type t) { return t >= T_S8 && t <= T_S64; }
static inline bool ptx_is_float(enum ptx_type t) { return t >= T_F16 && t <= T_F64; }

/* Memory that goes away all at once. */
struct arena *arena_create(void);
void arena_destroy(struct arena *a);
void *arena_alloc(struct arena *a, size_t size);
char *arena_strdup(struct arena *a, const char *s, size_t n);

/* Names to integers. */
struct strmap {
	struct { const char *key; int val; } *slot;
	size_t cap, n;
};
void strmap_init(struct strmap *m);
void strmap_finish(struct strmap *m);
void strmap_set(struct strmap *m, const char *key, int val);
int strmap_get(const struct strmap *m, const char *key, size_t len); /* -1: absent */

#endif
