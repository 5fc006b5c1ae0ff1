/* Instructions that are one of their kind: byte permutes, carries, predicates, packing, clocks, calls to the runtime. */
#include "exec.h"
#include "printf.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MISC(n) void op_##n(struct warp *w, const struct insn *in, uint32_t m)

MISC(nop)
{
}

MISC(lop3)
{
	uint32_t lut = (uint32_t)in->imm;

	LANES(m, {
		uint32_t a = R32(in->a)[l]; uint32_t b = R32(in->b)[l]; uint32_t c = R32(in->c)[l]; uint32_t r = 0;
		if (lut & 0x01) r |= ~a & ~b & ~c;
		if (lut & 0x02) r |= ~a & ~b & c;
		if (lut & 0x04) r |= ~a & b & ~c;
		if (lut & 0x08) r |= ~a & b & c;
		if (lut & 0x10) r |= a & ~b & ~c;
		if (lut & 0x20) r |= a & ~b & c;
		if (lut & 0x40) r |= a & b & ~c;
		if (lut & 0x80) r |= a & b & c;
		R32(in->d)[l] = r;
	});
}

static uint32_t permute(uint64_t v, uint32_t c, int mode)
{
	uint32_t r = 0;

	for (uint32_t i = 0; i < 4; i++) {
		uint32_t sel = c >> 4 * i & 15, s = c & 3, byte;

		switch (mode) {
		case 1: sel = (s + i) & 7; break;                           /* f4e */
		case 2: sel = (s - i) & 7; break;                           /* b4e */
		case 3: sel = s; break;                                     /* rc8 */
		case 4: sel = i > s ? i : s; break;                         /* ecl */
		case 5: sel = i < s ? i : s; break;                         /* ecr */
		case 6: sel = (s & 1) * 2 + (i & 1); break;                 /* rc16 */
		}
		byte = (uint32_t)(v >> 8 * (sel & 7)) & 0xff;
		if (mode == 0 && sel & 8)
			byte = byte & 0x80 ? 0xff : 0;
		r |= byte << 8 * i;
	}
	return r;
}

MISC(prmt)
{
	LANES(m, {
		uint64_t v = R32(in->a)[l] | (uint64_t)R32(in->b)[l] << 32;
		R32(in->d)[l] = permute(v, R32(in->c)[l], in->aux);
	});
}

/* Funnel shifts; aux 1 = clamp at 32, 0 = wrap. */
MISC(shf_l)
{
	LANES(m, {
		uint64_t v = R32(in->a)[l] | (uint64_t)R32(in->b)[l] << 32;
		uint32_t n = R32(in->c)[l];
		n = in->aux ? (n > 32 ? 32 : n) : n & 31;
		R32(in->d)[l] = (uint32_t)(v << n >> 32);
	});
}

MISC(shf_r)
{
	LANES(m, {
		uint64_t v = R32(in->a)[l] | (uint64_t)R32(in->b)[l] << 32;
		uint32_t n = R32(in->c)[l];
		n = in->aux ? (n > 32 ? 32 : n) : n & 31;
		R32(in->d)[l] = (uint32_t)(v >> n);
	});
}

/* aux bit 0: a signed, bit 1: b signed, bit 2: dp2a's upper half. */
MISC(dp4a)
{
	LANES(m, {
		uint32_t a = R32(in->a)[l]; uint32_t b = R32(in->b)[l]; int64_t s = (int32_t)R32(in->c)[l];
		for (int i = 0; i < 4; i++) {
			int32_t x = in->aux & 1 ? (int8_t)(a >> 8 * i) : (uint8_t)(a >> 8 * i);
			int32_t y = in->aux & 2 ? (int8_t)(b >> 8 * i) : (uint8_t)(b >> 8 * i);
			s += x * y;
		}
		R32(in->d)[l] = (uint32_t)s;
	});
}

MISC(dp2a)
{
	LANES(m, {
		uint32_t a = R32(in->a)[l]; uint32_t b = R32(in->b)[l] >> (in->aux & 4 ? 16 : 0);
		int64_t s = (int32_t)R32(in->c)[l];
		for (int i = 0; i < 2; i++) {
			int32_t x = in->aux & 1 ? (int16_t)(a >> 16 * i) : (uint16_t)(a >> 16 * i);
			int32_t y = in->aux & 2 ? (int8_t)(b >> 8 * i) : (uint8_t)(b >> 8 * i);
			s += (int64_t)x * y;
		}
		R32(in->d)[l] = (uint32_t)s;
	});
}

static uint32_t find_nth(uint32_t mask, uint32_t base, int32_t offset)
{
	int32_t left = offset < 0 ? -offset : offset, step = offset < 0 ? -1 : 1;

	if (offset == 0)
		return mask >> base & 1 ? base : FULL;
	for (int32_t i = (int32_t)base; i >= 0 && i < 32; i += step)
		if (mask >> i & 1 && --left == 0)
			return (uint32_t)i;
	return FULL;
}

MISC(fns)
{
	LANES(m, { R32(in->d)[l] = find_nth(R32(in->a)[l], R32(in->b)[l] & 31, (int32_t)R32(in->c)[l]); });
}

/* add/sub/mad with the carry flag in predicate ext[0]; aux: 1 = takes it, 2 = sets it, 4 = subtract, 8 = 64 bits. */
MISC(carry)
{
	uint32_t cc = PRED(in->ext[0]), out = cc;

	LANES(m, {
		unsigned __int128 a = in->aux & 8 ? R64(in->a)[l] : R32(in->a)[l];
		unsigned __int128 b = in->aux & 8 ? R64(in->b)[l] : R32(in->b)[l];
		unsigned __int128 in_c = in->aux & 1 ? cc >> l & 1 : 0;
		unsigned __int128 r = in->aux & 4 ? a - b - in_c : a + b + in_c;
		int bits = in->aux & 8 ? 64 : 32;
		if (in->aux & 8)
			R64(in->d)[l] = (uint64_t)r;
		else
			R32(in->d)[l] = (uint32_t)r;
		out = (out & ~(1u << l)) | (uint32_t)(r >> bits & 1) << l;
	});
	if (in->aux & 2)
		PRED(in->ext[0]) = out;
}

/* Predicates are masks. imm bit 0 inverts a, bit 1 inverts b. */
#define PREDOP(n, expr) MISC(n) { \
	uint32_t a = PRED(in->a) ^ (in->imm & 1 ? FULL : 0), b = PRED(in->b) ^ (in->imm & 2 ? FULL : 0), r = (expr); \
	(void)b; PRED(in->d) = (PRED(in->d) & ~m) | (r & m); }
PREDOP(pred_mov, a)
PREDOP(pred_and, a & b)
PREDOP(pred_or, a | b)
PREDOP(pred_xor, a ^ b)
PREDOP(pred_not, ~a)

MISC(selp_pred)
{
	uint32_t c = PRED(in->c), r = (PRED(in->a) & c) | (PRED(in->b) & ~c);

	PRED(in->d) = (PRED(in->d) & ~m) | (r & m);
}

/* setp with .and/.or/.xor: d holds the comparison, c the other predicate (imm 1: inverted), ext[0] takes the complement. */
MISC(setp_comb)
{
	uint32_t t = PRED(in->d), nt = ~t, c = PRED(in->c) ^ (in->imm ? FULL : 0);

	switch (in->aux) {
	case 1: t &= c; nt &= c; break;
	case 2: t |= c; nt |= c; break;
	case 3: t ^= c; nt ^= c; break;
	}
	PRED(in->d) = (PRED(in->d) & ~m) | (t & m);
	if (in->ext[0])
		PRED(in->ext[0]) = (PRED(in->ext[0]) & ~m) | (nt & m);
}

/* set: predicate a to all ones or to imm's value (1.0). */
MISC(set_val)
{
	uint32_t p = PRED(in->a);

	LANES(m, { R32(in->d)[l] = p >> l & 1 ? (uint32_t)in->imm : 0; });
}

MISC(activemask)
{
	LANES(m, { R32(in->d)[l] = m; });
}

MISC(widen)
{
	LANES(m, { R64(in->d)[l] = R32(in->a)[l]; });
}

MISC(swiden)
{
	LANES(m, { R64(in->d)[l] = (uint64_t)(int64_t)(int32_t)R32(in->a)[l]; });
}

MISC(narrow)
{
	LANES(m, { R32(in->d)[l] = (uint32_t)R64(in->a)[l]; });
}

/* mov.b64 {a, b}, c and its kin: ext = registers, n of them; aux = bytes of each, imm = bytes of the whole. */
MISC(unpack)
{
	uint32_t bits = in->aux * 8u;

	LANES(m, {
		uint64_t v = in->imm == 8 ? R64(in->a)[l] : R32(in->a)[l];
		for (uint32_t i = 0; i < in->n; i++)
			R32(in->ext[i])[l] = (uint32_t)(v >> i * bits & (bits == 32 ? FULL : (1u << bits) - 1));
	});
}

MISC(pack)
{
	uint32_t bits = in->aux * 8u;

	LANES(m, {
		uint64_t v = 0;
		for (uint32_t i = 0; i < in->n; i++)
			v |= (uint64_t)(R32(in->ext[i])[l] & (bits == 32 ? FULL : (1u << bits) - 1)) << i * bits;
		if (in->imm == 8)
			R64(in->d)[l] = v;
		else
			R32(in->d)[l] = (uint32_t)v;
	});
}

MISC(copy128)
{
	LANES(m, { uint64_t lo = R64(in->a)[l]; uint64_t hi = R64(in->b)[l]; R64(in->d)[l] = lo; R64(in->c)[l] = hi; });
}

/* The clock of a multiprocessor counts instructions of the grid: never backwards, the same in every run. */
MISC(clock32)
{
	LANES(m, { R32(in->d)[l] = (uint32_t)w->x->insns; });
}

MISC(clockhi)
{
	LANES(m, { R32(in->d)[l] = (uint32_t)(w->x->insns >> 32); });
}

MISC(clock64)
{
	LANES(m, { R64(in->d)[l] = w->x->insns; });
}

MISC(timer)
{
	struct timespec ts;
	uint64_t ns;

	clock_gettime(CLOCK_REALTIME, &ts);
	ns = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
	LANES(m, {
		if (in->aux == 8)
			R64(in->d)[l] = ns;
		else
			R32(in->d)[l] = (uint32_t)(in->aux ? ns >> 32 : ns);
	});
}

MISC(mov_special64)
{
	LANES(m, { R64(in->d)[l] = w->x->launch->grid_id; });
}

/* bmsk: aux 1 = clamp, 0 = wrap. */
MISC(bmsk)
{
	LANES(m, {
		uint32_t a = R32(in->a)[l]; uint32_t b = R32(in->b)[l];
		if (!in->aux) { a &= 31; b &= 31; }
		R32(in->d)[l] = a > 31 ? 0 : (uint32_t)((b > 31 ? FULL : ((1u << b) - 1)) << a);
	});
}

/* aux bit 0 signed, bit 1 high half. */
static uint32_t mul24(uint32_t a, uint32_t b, int how)
{
	int64_t p = how & 1 ? (int64_t)((int32_t)(a << 8) >> 8) * ((int32_t)(b << 8) >> 8)
			    : (int64_t)((uint64_t)(a & 0xffffff) * (b & 0xffffff));

	return (uint32_t)(how & 2 ? p >> 16 : p);
}

MISC(mul24)
{
	LANES(m, { R32(in->d)[l] = mul24(R32(in->a)[l], R32(in->b)[l], in->aux); });
}

MISC(mad24)
{
	LANES(m, { R32(in->d)[l] = mul24(R32(in->a)[l], R32(in->b)[l], in->aux) + R32(in->c)[l]; });
}

/* szext: aux bit 0 signed, bit 1 clamp. */
MISC(szext)
{
	LANES(m, {
		uint32_t a = R32(in->a)[l]; uint32_t n = R32(in->b)[l];
		n = in->aux & 2 ? n : n & 31;
		if (n >= 32)
			R32(in->d)[l] = a;
		else if (n == 0)
			R32(in->d)[l] = 0;
		else
			R32(in->d)[l] = in->aux & 1 ? (uint32_t)((int32_t)(a << (32 - n)) >> (32 - n)) : a & ((1u << n) - 1);
	});
}

MISC(isspacep)
{
	uint32_t r = 0;

	LANES(m, {
		uint64_t win = R64(in->a)[l] & WINDOW_MASK;
		bool is = in->aux == SP_SHARED ? win == SHARED_WINDOW : in->aux == SP_LOCAL ? win == LOCAL_WINDOW :
			  in->aux == SP_PARAM ? win == PARAM_WINDOW : in->aux == SP_GLOBAL ? !win : false;
		r |= (uint32_t)is << l;
	});
	PRED(in->d) = (PRED(in->d) & ~m) | (r & m);
}

/* imm = window of the space, 0 for global and const. */
MISC(cvta_from)
{
	LANES(m, { R64(in->d)[l] = R64(in->a)[l] | (uint64_t)in->imm; });
}

MISC(cvta_to)
{
	LANES(m, { R64(in->d)[l] = R64(in->a)[l] & ~(uint64_t)in->imm; });
}

static void *generic_bytes(struct warp *w, const struct insn *in, int l, uint64_t addr, uint32_t n)
{
	return mem_lane(w, in, SP_GENERIC, l, addr, n, false);
}

/* A string of the program, copied out byte by byte so that its end is checked too. */
static bool device_string(struct warp *w, const struct insn *in, int l, uint64_t addr, char *buf, size_t cap)
{
	for (size_t i = 0; i < cap; i++) {
		char *p = generic_bytes(w, in, l, addr + i, 1);

		if (!p)
			return false;
		buf[i] = *p;
		if (!*p)
			return true;
	}
	buf[cap - 1] = '\0';
	return true;
}

struct arg_source {
	struct warp *w;
	const struct insn *in;
	int lane;
	uint64_t base;
};

static bool next_arg(void *ctx, uint32_t off, uint32_t size, void *ret)
{
	struct arg_source *s = ctx;
	void *p = generic_bytes(s->w, s->in, s->lane, s->base + off, size);

	if (p)
		memcpy(ret, p, size);
	return p != NULL;
}

static bool string_arg(void *ctx, uint64_t addr, char *buf, size_t cap)
{
	struct arg_source *s = ctx;

	return device_string(s->w, s->in, s->lane, addr, buf, cap);
}

/* vprintf(format, arguments): a and b are generic addresses, d takes the number of arguments. */
MISC(vprintf)
{
	char fmt[1024];

	for (uint32_t k = m; k; k &= k - 1) {
		int l = __builtin_ctz(k);
		struct arg_source s = {w, in, l, R64(in->b)[l]};

		if (!device_string(w, in, l, R64(in->a)[l], fmt, sizeof(fmt)))
			return;
		R32(in->d)[l] = (uint32_t)device_printf(fmt, next_arg, string_arg, &s);
	}
}

MISC(dmalloc)
{
	LANES(m, {
		uint64_t addr = 0;
		if (mem_alloc(R64(in->a)[l], 16, MEM_INTERNAL, NULL, &addr))
			addr = 0;
		R64(in->d)[l] = addr;
	});
}

MISC(dfree)
{
	for (uint32_t k = m; k; k &= k - 1) {
		uint64_t addr = R64(in->a)[__builtin_ctz(k)];

		if (addr && mem_free(addr, MEM_INTERNAL))
			exec_fault(w, in, 700, "free() of 0x%llx, which malloc() never gave", (unsigned long long)addr);
	}
}

/* __assertfail(message, file, line, function, charsize) */
MISC(assertfail)
{
	int l = __builtin_ctz(m);
	char msg[128] = "", file[256] = "", fn[128] = "";

	if (device_string(w, in, l, R64(in->a)[l], msg, sizeof(msg)) &&
	    device_string(w, in, l, R64(in->b)[l], file, sizeof(file)) &&
	    device_string(w, in, l, R64(in->ext[0])[l], fn, sizeof(fn)))
		device_print_assert(msg, file, R32(in->c)[l], fn, w->blk->ctaid, w->index * 32 + (uint32_t)l);
	exec_fault(w, in, 710, "assertion '%s'", msg);
}
