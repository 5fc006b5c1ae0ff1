/*
 * The machine. A warp of 32 lanes executes one decoded instruction at a time; every register is an
 * array of 32 values in the warp's frame, so that an operand, a constant and a special register are
 * all just an offset into the frame. Predicates are one 32-bit mask.
 *
 * Threading: a grid is run by one thread (its stream's). Grids of several streams run at the same
 * time, so global memory is touched with atomic loads and stores only.
 */
#ifndef SIMCUDA_EXEC_H
#define SIMCUDA_EXEC_H

#include "mem.h"
#include "ptx.h"

#define FULL 0xffffffffu
#define SHARED_WINDOW (UINT64_C(1) << 52)
#define LOCAL_WINDOW (UINT64_C(1) << 53)
#define PARAM_WINDOW (UINT64_C(1) << 54)
#define WINDOW_MASK (UINT64_C(0x7f) << 52)

struct warp;
struct insn;
typedef void (*op_fn)(struct warp *w, const struct insn *in, uint32_t m);

enum insn_kind {
	K_ALU,     /* fn never faults */
	K_MEM,     /* fn may fault */
	K_BRA,     /* to imm */
	K_BRX,     /* indexed: a = index, ext = targets, n = count */
	K_EXIT,
	K_BAR,     /* see struct bar_args in ext */
	K_CONV,    /* needs the lanes of mask operand c (warp-synchronous) */
	K_WARPBAR, /* bar.warp.sync */
	K_TRAP,
	K_YIELD,   /* nanosleep and the like: give the turn away */
};

struct insn {
	op_fn fn;
	uint32_t guard; /* frame offset of a predicate, 0 for none */
	uint8_t gneg, kind, n, aux;
	uint32_t d, a, b, c;
	int64_t imm;
	uint32_t *ext;
	uint32_t line, id;
};

enum bar_op { BAR_SYNC, BAR_ARRIVE, BAR_POPC, BAR_AND, BAR_OR };

/* Frame offset 0..255 is a sink; what lies there is never read for its value. */
#define FRAME_SINK 0
#define FRAME_FIRST 256

enum special {
	SR_TID_X, SR_TID_Y, SR_TID_Z, SR_NTID_X, SR_NTID_Y, SR_NTID_Z,
	SR_CTAID_X, SR_CTAID_Y, SR_CTAID_Z, SR_NCTAID_X, SR_NCTAID_Y, SR_NCTAID_Z,
	SR_LANEID, SR_WARPID, SR_NWARPID, SR_SMID, SR_NSMID,
	SR_MASK_EQ, SR_MASK_LT, SR_MASK_LE, SR_MASK_GT, SR_MASK_GE,
	SR_TOTAL_SMEM, SR_DYN_SMEM, SR_ENVREG1, SR_ENVREG2, SR_ZERO, SR_ONE,
	SR_COUNT,
};

struct frame_const {
	uint32_t off;
	uint8_t width; /* 4 or 8 */
	uint64_t val;
};

struct param_info {
	uint32_t off, size, align;
};

/* A kernel, ready to run. */
struct code {
	const char *name;
	struct insn *insns;
	uint32_t ninsns, frame_size;
	struct frame_const *consts;
	uint32_t nconsts;
	uint32_t special[SR_COUNT]; /* frame offsets, 0 when not used */
	uint32_t shared_size, local_size, param_size;
	struct param_info *params;
	uint32_t nparams, nregs32;
	uint32_t maxntid[3], reqntid[3], minnctapersm;
	bool has_maxntid, has_reqntid, uses_grid_sync;
	struct arena *arena;
};

enum frag_state { F_RUN, F_BAR, F_CONV, F_WARPBAR };

/* Lanes that are at the same instruction. */
struct frag {
	uint32_t mask, pc;
	uint32_t state, want; /* want: lanes that F_CONV and F_WARPBAR wait for; barrier number for F_BAR */
};

struct warp {
	uint8_t *r;
	struct block *blk;
	struct exec *x;
	uint8_t *local;
	uint32_t nfrag, live, initial, index;
	struct frag frag[33];
	uint32_t turn; /* rotates among fragments that spin */
};

struct barrier {
	uint32_t expected, arrived, popc;
	bool all_and, any_or;
};

struct block {
	struct launch *launch;
	struct warp *warps;
	uint32_t nwarps, live_threads, next_warp;
	uint32_t ctaid[3];
	uint64_t index;
	uint8_t *shared;
	uint32_t shared_size;
	struct barrier bar[16];
	uint64_t spins;
	void *caches; /* watch.c's */
};

struct mcache {
	uint64_t base, span;
	uint8_t *host;
	uint64_t version;
};

/* One grid being run by one thread. */
struct exec {
	struct mcache cache[8];
	struct launch *launch;
	struct block *blk; /* the one whose turn it is */
	int fault;         /* CUresult, 0 while all is well */
	char why[160];
	uint64_t insns;
	struct watch *watch; /* race detection and stale caches, NULL when off */
};

struct launch {
	const struct code *code;
	uint32_t grid[3], block[3];
	uint32_t dyn_shared;
	bool cooperative;
	uint64_t workspace; /* device memory for the grid barrier */
	uint64_t grid_id;
	uint8_t *params;
	const struct watch_key *key;
};

/* Runs the grid to its end; returns a CUresult, the reason of a fault in why. */
int exec_grid(struct launch *l, char *why, size_t whylen);

void exec_fault(struct warp *w, const struct insn *in, int code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Operand access. */
#define R32(off) ((uint32_t *)__builtin_assume_aligned(w->r + (off), 64))
#define RS32(off) ((int32_t *)__builtin_assume_aligned(w->r + (off), 64))
#define R64(off) ((uint64_t *)__builtin_assume_aligned(w->r + (off), 64))
#define RF32(off) ((float *)__builtin_assume_aligned(w->r + (off), 64))
#define RF64(off) ((double *)__builtin_assume_aligned(w->r + (off), 64))
#define PRED(off) (*(uint32_t *)(w->r + (off)))

/*
 * Runs body for each lane l of mask m. Lanes never depend on one another in a body, also when
 * source and destination are the same register: hence ivdep.
 */
#define LANES(m, body) do { \
	if ((m) == FULL) { \
		_Pragma("GCC ivdep") \
		for (int l = 0; l < 32; l++) { body } \
	} else { \
		for (uint32_t k_ = (m); k_; k_ &= k_ - 1) { int l = __builtin_ctz(k_); body } \
	} \
} while (0)

/* Tables of handlers by type; NULL where PTX has no such instruction. */
typedef const op_fn op_table[T_COUNT];
#define OP_TABLES(X) \
	X(add) X(sub) X(mullo) X(mulhi) X(mulwide) X(madlo) X(madhi) X(madwide) X(div) X(rem) X(abs) X(neg) \
	X(min) X(max) X(and) X(or) X(xor) X(not) X(cnot) X(shl) X(shr) X(popc) X(clz) X(bfind) X(bfindsh) X(brev) \
	X(bfe) X(bfi) X(sad) X(selp) X(slct) X(mov) X(addsat) X(subsat) \
	X(fadd) X(fsub) X(fmul) X(fma) X(fdiv) X(fmin) X(fmax) X(fminnan) X(fmaxnan) X(fabs) X(fneg) X(frcp) X(fsqrt) \
	X(frsqrt) X(fex2) X(flg2) X(fsin) X(fcos) X(ftanh) X(testp) X(copysign) \
	X(faddftz) X(fsubftz) X(fmulftz) X(fmaftz) X(fsat) X(fftz) X(frelu)
#define X(n) extern op_table ops_##n;
OP_TABLES(X)
#undef X

enum cmp { C_EQ, C_NE, C_LT, C_LE, C_GT, C_GE, C_EQU, C_NEU, C_LTU, C_LEU, C_GTU, C_GEU, C_NUM, C_NAN, C_COUNT };
extern const op_fn ops_setp[C_COUNT][T_COUNT];

/* Rounding, for cvt and for arithmetic that names one. */
enum rnd { RND_NONE, RND_N, RND_Z, RND_M, RND_P, RND_NI, RND_ZI, RND_MI, RND_PI, RND_NA };

/* exec_cvt.c: imm of the instruction is built by cvt_imm(). */
int64_t cvt_imm(enum ptx_type to, enum ptx_type from, enum rnd rnd, bool sat, bool ftz, bool relu);
op_fn cvt_op(enum ptx_type to, enum ptx_type from, enum rnd rnd, bool sat, bool ftz, bool relu);
void op_cvt_pack(struct warp *w, const struct insn *in, uint32_t m);

/* exec_fp.c: arithmetic with a directed rounding mode, b = rounding in aux. */
op_fn fp_rounded_op(const char *name, enum ptx_type t);

float half_to_float(uint16_t h);
uint16_t float_to_half(float f);
uint16_t double_to_half(double d);
static inline float bf16_to_float(uint16_t b)
{
	union { uint32_t u; float f; } v = {.u = (uint32_t)b << 16};
	return v.f;
}
uint16_t double_to_bf16(double d);

/* exec_misc.c */
#define MISC_OPS(X) \
	X(mov_special64) X(lop3) X(prmt) X(shf_l) X(shf_r) X(dp4a) X(dp2a) X(fns) X(carry) X(pred_mov) X(pred_and) X(pred_or) \
	X(pred_xor) X(pred_not) X(activemask) X(unpack) X(pack) X(clock32) X(clock64) X(clockhi) X(timer) X(setp_comb) X(set_val) \
	X(widen) X(narrow) X(swiden) X(bmsk) X(mul24) X(mad24) X(szext) X(selp_pred) X(isspacep) X(vprintf) X(dmalloc) X(dfree) \
	X(assertfail) X(nop) X(cvta_to) X(cvta_from) X(copy128)
#define X(n) void op_##n(struct warp *w, const struct insn *in, uint32_t m);
MISC_OPS(X)
#undef X

/* exec_warp.c */
#define WARP_OPS(X) X(shfl) X(vote) X(match) X(redux) X(elect) X(ldmatrix) X(stmatrix) X(mma) X(movmatrix)
#define X(n) void op_##n(struct warp *w, const struct insn *in, uint32_t m);
WARP_OPS(X)
#undef X

/* exec_mem.c */
struct mem_op {
	enum ptx_space space;
	enum ptx_type type;
	uint8_t nvec;
	bool wide[8]; /* the register of this element is 64 bits wide */
};
op_fn mem_ld_op(enum ptx_space space);
op_fn mem_st_op(enum ptx_space space);
uint8_t *mem_lane(struct warp *w, const struct insn *in, enum ptx_space space, int lane, uint64_t addr, uint32_t n,
		  bool write);
void op_fence(struct warp *w, const struct insn *in, uint32_t m);
void op_cp_async(struct warp *w, const struct insn *in, uint32_t m);
/* exec_atom.c */
enum atom_op { A_ADD, A_MIN, A_MAX, A_INC, A_DEC, A_AND, A_OR, A_XOR, A_EXCH, A_CAS, A_MINNAN };
void op_atom(struct warp *w, const struct insn *in, uint32_t m);

/* ptx_compile.c */
struct symbols; /* where the module's variables lie */
struct code *ptx_compile(const struct ptx_module *m, struct ptx_func *fn, char *err, size_t errlen);
void code_destroy(struct code *c);

#endif
