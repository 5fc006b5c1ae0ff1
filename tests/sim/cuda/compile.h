/*
 * From the parsed text to decoded instructions. ptx_compile.c has control flow and layout,
 * compile_operands.c the frame and operands, compile_call.c the calls; emit_*.c one function per group of
 * instructions.
 */
#ifndef SIMCUDA_COMPILE_H
#define SIMCUDA_COMPILE_H

#include "exec.h"

/* One expansion of a function: where its registers, labels and variables went. */
struct inline_ctx {
	struct ptx_func *fn;
	struct inline_ctx *up;
	uint32_t *regs;   /* frame offsets by register index, 0 = not yet placed */
	struct strmap vars; /* name to index in comp.locals */
	bool is_entry;
	uint32_t depth;
	struct fixup *fixups;
	struct label *labels;
};

struct local_var { /* a .local or a call's .param */
	const char *name;
	uint64_t addr;
	enum ptx_space space; /* SP_LOCAL or SP_SHARED */
};

struct const_slot {
	uint64_t val;
	uint8_t width;
	uint32_t off;
};

struct comp {
	const struct ptx_module *mod;
	struct ptx_func *entry;
	struct code *code;
	struct inline_ctx *ic;
	const struct ptx_insn *at;
	struct insn *insns;
	uint32_t n, cap;
	uint32_t frame, preds, preds_left;
	struct const_slot *consts;
	uint32_t nconsts, capconsts;
	uint32_t *const_hash;
	struct local_var *locals;
	uint32_t nlocals, caplocals;
	uint32_t guard; /* of the instruction being compiled */
	bool gneg;
	uint32_t cc; /* the carry flag's predicate */
	bool failed;
	char *err;
	size_t errlen;
};

void comp_fail(struct comp *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A new instruction with the current guard; valid until the next one is made. */
struct insn *emit(struct comp *c, op_fn fn);
uint32_t *ext(struct comp *c, uint32_t n);
uint32_t new_reg(struct comp *c, uint32_t width); /* 4 or 8; 1 for a predicate */
uint32_t const_reg(struct comp *c, uint64_t val, uint32_t width);

/* Operands. width is 4 or 8: a register of another width is converted. */
uint32_t src(struct comp *c, const struct ptx_operand *op, enum ptx_type t);
uint32_t src_pred(struct comp *c, const struct ptx_operand *op, bool *ret_neg);
uint32_t dst(struct comp *c, const struct ptx_operand *op, enum ptx_type t);
uint32_t dst_pred(struct comp *c, const struct ptx_operand *op);
void dst_done(struct comp *c, const struct ptx_operand *op, enum ptx_type t, uint32_t off);
uint32_t reg_width(struct comp *c, const struct ptx_operand *op); /* 0 when it is no register; 1 for predicates */
uint32_t reg_off(struct comp *c, int reg);
uint32_t width_of(enum ptx_type t);
bool symbol_addr(struct comp *c, const char *name, uint64_t *ret_addr, enum ptx_space *ret_space);
/* Splits [base+off]: a register (ret_width 4 or 8) or nothing (0), and an offset. */
uint32_t address(struct comp *c, const struct ptx_operand *op, uint32_t *ret_width, int64_t *ret_off,
		 enum ptx_space *io_space);

/* Modifiers. */
bool has_mod(const struct ptx_insn *in, const char *mod);
enum ptx_type type_mod(const struct ptx_insn *in, int nth); /* nth type, counted from 0; T_NONE past the last */
enum ptx_type last_type(const struct ptx_insn *in);
enum rnd rnd_mod(const struct ptx_insn *in);
bool space_mod(const struct ptx_insn *in, enum ptx_space *ret_space);
bool want_ops(struct comp *c, const struct ptx_insn *in, int n);

/* Tables of the groups: name to emitter. */
struct emitter {
	const char *name;
	void (*fn)(struct comp *c, const struct ptx_insn *in);
};
extern const struct emitter emitters_alu[], emitters_move[], emitters_mem[], emitters_warp[];
void emit_call(struct comp *c, const struct ptx_insn *in);

/* Between the files of the compiler. */
uint64_t func_number(const struct comp *c, const char *name);
int add_local(struct comp *c, const char *name, uint64_t addr, enum ptx_space space);
void place_vars(struct comp *c, struct ptx_func *fn);
void compile_body(struct comp *c);
void ic_enter(struct comp *c, struct inline_ctx *ic, struct ptx_func *fn);
void ic_leave(struct comp *c);

#endif
