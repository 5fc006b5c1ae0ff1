/* Atomics and reductions: done with the host's own, so that grids of several streams may meet. */
#include "exec.h"
#include "watch.h"

#include <string.h>

static uint64_t apply_int(enum atom_op op, enum ptx_type t, uint64_t old, uint64_t b, uint64_t c)
{
	bool is_signed = ptx_is_signed(t);

	if (ptx_type_size(t) == 4) {
		old = is_signed ? (uint64_t)(int64_t)(int32_t)old : (uint32_t)old;
		b = is_signed ? (uint64_t)(int64_t)(int32_t)b : (uint32_t)b;
	}
	switch (op) {
	case A_ADD: return old + b;
	case A_MIN: return is_signed ? ((int64_t)old < (int64_t)b ? old : b) : old < b ? old : b;
	case A_MAX: return is_signed ? ((int64_t)old > (int64_t)b ? old : b) : old > b ? old : b;
	case A_INC: return old >= b ? 0 : old + 1;
	case A_DEC: return old == 0 || old > b ? b : old - 1;
	case A_AND: return old & b;
	case A_OR: return old | b;
	case A_XOR: return old ^ b;
	case A_CAS: return old == b ? c : old;
	default: return b;
	}
}

static double pick(enum atom_op op, double a, double b)
{
	if (op == A_ADD)
		return a + b;
	if (a != a || b != b)
		return a != a ? b : a;
	return op == A_MIN ? (a < b ? a : b) : a > b ? a : b;
}

static uint16_t apply_half(enum atom_op op, bool bf, uint16_t a, uint16_t b)
{
	double x = bf ? bf16_to_float(a) : half_to_float(a), y = bf ? bf16_to_float(b) : half_to_float(b);

	return bf ? double_to_bf16(pick(op, x, y)) : double_to_half(pick(op, x, y));
}

static uint64_t apply(enum atom_op op, enum ptx_type t, uint64_t old, uint64_t b, uint64_t c)
{
	union { uint32_t u; float f; } f, g;
	union { uint64_t u; double d; } d, e;
	bool bf = t == T_BF16 || t == T_BF16X2;

	if (!ptx_is_float(t) || op == A_EXCH || op == A_CAS)
		return apply_int(op, t, old, b, c);
	switch (t) {
	case T_F32:
		f.u = (uint32_t)old;
		g.u = (uint32_t)b;
		f.f = op == A_ADD ? f.f + g.f : (float)pick(op, f.f, g.f);
		return f.u;
	case T_F64:
		d.u = old;
		e.u = b;
		d.d = pick(op, d.d, e.d);
		return d.u;
	case T_F16: case T_BF16:
		return apply_half(op, bf, (uint16_t)old, (uint16_t)b);
	default:
		return (uint32_t)apply_half(op, bf, (uint16_t)(old >> 16), (uint16_t)(b >> 16)) << 16 |
		       apply_half(op, bf, (uint16_t)old, (uint16_t)b);
	}
}

#define LOOP(U) { \
	U old = __atomic_load_n((U *)p, __ATOMIC_SEQ_CST), new; \
	do \
		new = (U)apply(op, t, old, b, c); \
	while (!__atomic_compare_exchange_n((U *)p, &old, new, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)); \
	return old; }

static uint64_t update(uint8_t *p, enum atom_op op, enum ptx_type t, uint64_t b, uint64_t c)
{
	switch (ptx_type_size(t)) {
	case 2: LOOP(uint16_t)
	case 4: LOOP(uint32_t)
	default: LOOP(uint64_t)
	}
}

static uint64_t reg_val(struct warp *w, uint32_t off, uint32_t size, int l)
{
	return size == 8 ? R64(off)[l] : size == 2 ? (uint16_t)R32(off)[l] : R32(off)[l];
}

/* ext: type, space, flags, address register width, operation, count; then per element: destination, operand, new value. */
void op_atom(struct warp *w, const struct insn *in, uint32_t m)
{
	enum ptx_type t = (enum ptx_type)in->ext[0];
	enum ptx_space sp = (enum ptx_space)in->ext[1];
	enum atom_op op = (enum atom_op)in->ext[4];
	uint32_t size = ptx_type_size(t), n = in->ext[5];

	for (uint32_t k = m; k; k &= k - 1) {
		int l = __builtin_ctz(k);
		uint64_t addr = (in->ext[3] == 8 ? R64(in->a)[l] : in->ext[3] == 4 ? R32(in->a)[l] : 0) + (uint64_t)in->imm;

		for (uint32_t i = 0; i < n; i++, addr += size) {
			const uint32_t *e = in->ext + 6 + 3 * i;
			uint8_t *p = mem_lane(w, in, sp, l, addr, size, true);
			uint64_t old;

			if (!p)
				return;
			if (w->x->watch && sp != SP_SHARED)
				watch_atomic(w, in, l, addr, size);
			old = update(p, op, t, reg_val(w, e[1], size, l), e[2] ? reg_val(w, e[2], size, l) : 0);
			if (size == 8 && e[0])
				R64(e[0])[l] = old;
			else if (e[0])
				R32(e[0])[l] = (uint32_t)old;
		}
	}
}
