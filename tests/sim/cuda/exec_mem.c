/* Loads and stores of every space, each lane's address checked against what is allocated. */
#include "exec.h"
#include "watch.h"

#include <string.h>

#define ERR_ILLEGAL 700
#define ERR_MISALIGNED 716
#define ERR_SPACE 717

static const char *space_name(enum ptx_space s)
{
	static const char *const names[] = {"generic", "global", "shared", "local", "param", "const", "reg"};

	return names[s];
}

static uint8_t *global_slow(struct warp *w, struct mcache *c, uint64_t addr, uint32_t n)
{
	struct mem_span s;
	uint64_t version = mem_version();

	if (!mem_find(addr, &s))
		return NULL;
	if (addr - s.base + n > s.size) /* two mappings may lie side by side */
		return mem_host(addr, n);
	*c = (struct mcache){s.base, s.size, s.host, version};
	return s.host + (addr - s.base);
}

static inline uint8_t *global_at(struct warp *w, const struct insn *in, uint64_t addr, uint32_t n)
{
	struct mcache *c = &w->x->cache[in->id & 7];
	uint64_t off = addr - c->base;

	if (__builtin_expect(off < c->span && n <= c->span - off && c->version == mem_version(), 1))
		return c->host + off;
	return global_slow(w, c, addr, n);
}

static inline uint8_t *shared_at(struct warp *w, uint64_t addr, uint32_t n)
{
	struct block *b = w->blk;

	return addr < b->shared_size && n <= b->shared_size - addr ? b->shared + addr : NULL;
}

static inline uint8_t *local_at(struct warp *w, int lane, uint64_t addr, uint32_t n)
{
	uint32_t size = w->x->launch->code->local_size;

	return addr < size && n <= size - addr ? w->local + (uint64_t)size * (uint32_t)lane + addr : NULL;
}

static inline uint8_t *param_at(struct warp *w, uint64_t addr, uint32_t n)
{
	const struct launch *l = w->x->launch;

	return addr < l->code->param_size && n <= l->code->param_size - addr ? l->params + addr : NULL;
}

static uint8_t *generic_at(struct warp *w, const struct insn *in, int lane, uint64_t addr, uint32_t n)
{
	switch (addr & WINDOW_MASK) {
	case SHARED_WINDOW: return shared_at(w, addr & ~WINDOW_MASK, n);
	case LOCAL_WINDOW: return local_at(w, lane, addr & ~WINDOW_MASK, n);
	case PARAM_WINDOW: return param_at(w, addr & ~WINDOW_MASK, n);
	default: return global_at(w, in, addr, n);
	}
}

static inline uint8_t *at(struct warp *w, const struct insn *in, enum ptx_space sp, int lane, uint64_t addr, uint32_t n)
{
	switch (sp) {
	case SP_GLOBAL: return global_at(w, in, addr, n);
	case SP_SHARED: return shared_at(w, addr, n);
	case SP_LOCAL: return local_at(w, lane, addr, n);
	case SP_PARAM: return param_at(w, addr, n);
	case SP_CONST: return global_at(w, in, addr, n);
	default: return generic_at(w, in, lane, addr, n);
	}
}

static __attribute__((cold, noinline)) uint8_t *bad_access(struct warp *w, const struct insn *in, enum ptx_space sp,
							   uint64_t addr, uint32_t n, bool misaligned, bool write)
{
	exec_fault(w, in, misaligned ? ERR_MISALIGNED : ERR_ILLEGAL, "%s %s of %u bytes at 0x%llx%s", space_name(sp),
		   write ? "write" : "read", n, (unsigned long long)addr, misaligned ? ": misaligned" : "");
	return NULL;
}

static inline uint8_t *checked(struct warp *w, const struct insn *in, enum ptx_space sp, int lane, uint64_t addr,
			       uint32_t n, uint32_t align, bool write)
{
	uint8_t *p;

	if (__builtin_expect((addr & (align - 1)) != 0, 0))
		return bad_access(w, in, sp, addr, n, true, write);
	p = at(w, in, sp, lane, addr, n);
	if (__builtin_expect(!p, 0))
		return bad_access(w, in, sp, addr, n, false, write);
	return p;
}

uint8_t *mem_lane(struct warp *w, const struct insn *in, enum ptx_space sp, int lane, uint64_t addr, uint32_t n, bool write)
{
	return checked(w, in, sp, lane, addr, n, n, write);
}

/* The address of a lane: a register (64- or 32-bit, aux says which; 0 = none) plus imm. */
static inline uint64_t lane_addr(struct warp *w, const struct insn *in, int l)
{
	if (in->aux == 8)
		return R64(in->a)[l] + (uint64_t)in->imm;
	if (in->aux == 4)
		return (uint32_t)(R32(in->a)[l] + (uint32_t)in->imm);
	return (uint64_t)in->imm;
}

static inline uint64_t get(const uint8_t *p, enum ptx_type t)
{
	switch (t) {
	case T_U8: case T_B8: return __atomic_load_n(p, __ATOMIC_RELAXED);
	case T_S8: return (uint64_t)(int64_t)(int8_t)__atomic_load_n(p, __ATOMIC_RELAXED);
	case T_S16: return (uint64_t)(int64_t)__atomic_load_n((const int16_t *)p, __ATOMIC_RELAXED);
	case T_U16: case T_B16: case T_F16: case T_BF16: return __atomic_load_n((const uint16_t *)p, __ATOMIC_RELAXED);
	case T_S32: return (uint64_t)(int64_t)__atomic_load_n((const int32_t *)p, __ATOMIC_RELAXED);
	case T_U64: case T_S64: case T_B64: case T_F64: case T_F32X2:
		return __atomic_load_n((const uint64_t *)p, __ATOMIC_RELAXED);
	default: return __atomic_load_n((const uint32_t *)p, __ATOMIC_RELAXED);
	}
}

static inline void put(uint8_t *p, uint32_t size, uint64_t v)
{
	switch (size) {
	case 1: __atomic_store_n(p, (uint8_t)v, __ATOMIC_RELAXED); break;
	case 2: __atomic_store_n((uint16_t *)p, (uint16_t)v, __ATOMIC_RELAXED); break;
	case 4: __atomic_store_n((uint32_t *)p, (uint32_t)v, __ATOMIC_RELAXED); break;
	default: __atomic_store_n((uint64_t *)p, v, __ATOMIC_RELAXED); break;
	}
}

/* ext: [0] type, [1] flags for watch.c, [2...] registers; bit 31 of a register marks a 64-bit one. */
#define EXT_TYPE(in) ((enum ptx_type)(in)->ext[0])
#define WIDE 0x80000000u

static inline void load_lanes(struct warp *w, const struct insn *in, uint32_t m, enum ptx_space sp)
{
	enum ptx_type t = EXT_TYPE(in);
	uint32_t size = ptx_type_size(t), total = size * in->n;

	for (uint32_t k = m; k; k &= k - 1) {
		int l = __builtin_ctz(k);
		uint64_t addr = lane_addr(w, in, l);
		uint8_t *p = checked(w, in, sp, l, addr, total, total, false);

		if (!p)
			return;
		if (__builtin_expect(w->x->watch != NULL, 0) && (sp == SP_GLOBAL || sp == SP_GENERIC))
			p = watch_read(w, in, l, addr, p, total);
		for (uint32_t i = 0; i < in->n; i++) {
			uint64_t v = get(p + i * size, t);
			uint32_t reg = in->ext[2 + i];

			if (reg & WIDE)
				R64(reg & ~WIDE)[l] = v;
			else
				R32(reg)[l] = (uint32_t)v;
		}
	}
}

static inline void store_lanes(struct warp *w, const struct insn *in, uint32_t m, enum ptx_space sp)
{
	uint32_t size = ptx_type_size(EXT_TYPE(in)), total = size * in->n;

	for (uint32_t k = m; k; k &= k - 1) {
		int l = __builtin_ctz(k);
		uint64_t addr = lane_addr(w, in, l);
		uint8_t *p = checked(w, in, sp, l, addr, total, total, true);

		if (!p)
			return;
		for (uint32_t i = 0; i < in->n; i++) {
			uint32_t reg = in->ext[2 + i];

			put(p + i * size, size, reg & WIDE ? R64(reg & ~WIDE)[l] : R32(reg)[l]);
		}
		if (__builtin_expect(w->x->watch != NULL, 0) && (sp == SP_GLOBAL || sp == SP_GENERIC))
			watch_write(w, in, l, addr, p, total);
	}
}

#define LDST(name, sp) \
	static void ld_##name(struct warp *w, const struct insn *in, uint32_t m) { load_lanes(w, in, m, sp); } \
	static void st_##name(struct warp *w, const struct insn *in, uint32_t m) { store_lanes(w, in, m, sp); }
LDST(generic, SP_GENERIC)
LDST(shared, SP_SHARED)
LDST(local, SP_LOCAL)
LDST(global, SP_GLOBAL)

static void ld_const(struct warp *w, const struct insn *in, uint32_t m)
{
	load_lanes(w, in, m, SP_CONST);
}

/* A kernel's parameter is the same for all lanes. */
static void ld_param(struct warp *w, const struct insn *in, uint32_t m)
{
	enum ptx_type t = EXT_TYPE(in);
	uint32_t size = ptx_type_size(t);
	uint8_t *p;

	if (in->aux) {
		load_lanes(w, in, m, SP_PARAM);
		return;
	}
	p = checked(w, in, SP_PARAM, 0, (uint64_t)in->imm, size * in->n, size, false);
	if (!p)
		return;
	for (uint32_t i = 0; i < in->n; i++) {
		uint64_t v = get(p + i * size, t);
		uint32_t reg = in->ext[2 + i];

		if (reg & WIDE)
			LANES(m, { R64(reg & ~WIDE)[l] = v; });
		else
			LANES(m, { R32(reg)[l] = (uint32_t)v; });
	}
}

op_fn mem_ld_op(enum ptx_space space)
{
	static const op_fn ops[] = {
		[SP_GENERIC] = ld_generic, [SP_GLOBAL] = ld_global, [SP_SHARED] = ld_shared, [SP_LOCAL] = ld_local,
		[SP_PARAM] = ld_param, [SP_CONST] = ld_const,
	};

	return ops[space];
}

op_fn mem_st_op(enum ptx_space space)
{
	static const op_fn ops[] = {
		[SP_GENERIC] = st_generic, [SP_GLOBAL] = st_global, [SP_SHARED] = st_shared, [SP_LOCAL] = st_local,
	};

	return space < sizeof(ops) / sizeof(*ops) ? ops[space] : NULL;
}

void op_fence(struct warp *w, const struct insn *in, uint32_t m)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (w->x->watch)
		watch_fence(w);
}

/* cp.async: done at once, which every legal program must be ready for. c = source size register, 0 for all. */
void op_cp_async(struct warp *w, const struct insn *in, uint32_t m)
{
	uint32_t n = in->n;

	for (uint32_t k = m; k; k &= k - 1) {
		int l = __builtin_ctz(k);
		uint64_t to = (in->aux & 1 ? R64(in->d)[l] : R32(in->d)[l]) + (uint64_t)(int64_t)(int32_t)in->ext[0];
		uint64_t from = R64(in->a)[l] + (uint64_t)in->imm;
		uint32_t have = in->c ? R32(in->c)[l] : n;
		uint8_t *d = checked(w, in, to & WINDOW_MASK ? SP_GENERIC : SP_SHARED, l, to, n, n, true), *s;

		if (!d)
			return;
		have = have > n ? n : have;
		memset(d, 0, n);
		if (!have)
			continue;
		s = checked(w, in, SP_GLOBAL, l, from, have, n, false);
		if (!s)
			return;
		if (w->x->watch)
			s = watch_read(w, in, l, from, s, have);
		memcpy(d, s, have);
	}
}
