/*
 * Matrix fragments: ldmatrix, stmatrix, movmatrix, mma.sync. The layouts are those of the PTX manual: for a
 * fragment of 8 rows, lane l holds row l / 4 and the pair of columns beginning at 2 * (l % 4).
 */
#include "exec.h"

#include <string.h>

#define ERR_ILLEGAL 700

/* n matrices of 8x8 16-bit values; ext: [0] transposed, [1] space, [2...] destination registers. a = address. */
void op_ldmatrix(struct warp *w, const struct insn *in, uint32_t m)
{
	uint16_t tile[8][8];
	enum ptx_space sp = (enum ptx_space)in->ext[1];

	for (uint32_t k = 0; k < in->n; k++) {
		for (uint32_t row = 0; row < 8; row++) {
			int l = (int)(k * 8 + row);
			uint64_t addr = (in->aux == 8 ? R64(in->a)[l] : R32(in->a)[l]) + (uint64_t)in->imm;
			uint8_t *p = mem_lane(w, in, sp, l, addr, 16, false);

			if (!p)
				return;
			memcpy(tile[row], p, 16);
		}
		LANES(m, {
			uint32_t r = (uint32_t)l / 4; uint32_t c = 2 * ((uint32_t)l % 4);
			R32(in->ext[2 + k])[l] = in->ext[0] ? tile[c][r] | (uint32_t)tile[c + 1][r] << 16
							    : tile[r][c] | (uint32_t)tile[r][c + 1] << 16;
		});
	}
}

void op_stmatrix(struct warp *w, const struct insn *in, uint32_t m)
{
	uint16_t tile[8][8];
	enum ptx_space sp = (enum ptx_space)in->ext[1];

	for (uint32_t k = 0; k < in->n; k++) {
		for (uint32_t l = 0; l < 32; l++) {
			uint32_t v = R32(in->ext[2 + k])[l], r = l / 4, c = 2 * (l % 4);

			if (in->ext[0]) {
				tile[c][r] = (uint16_t)v;
				tile[c + 1][r] = (uint16_t)(v >> 16);
			} else {
				tile[r][c] = (uint16_t)v;
				tile[r][c + 1] = (uint16_t)(v >> 16);
			}
		}
		for (uint32_t row = 0; row < 8; row++) {
			int l = (int)(k * 8 + row);
			uint64_t addr = (in->aux == 8 ? R64(in->a)[l] : R32(in->a)[l]) + (uint64_t)in->imm;
			uint8_t *p = mem_lane(w, in, sp, l, addr, 16, true);

			if (!p)
				return;
			memcpy(p, tile[row], 16);
		}
	}
}

/* movmatrix.sync.aligned.m8n8.trans.b16 */
void op_movmatrix(struct warp *w, const struct insn *in, uint32_t m)
{
	uint16_t tile[8][8];

	for (uint32_t l = 0; l < 32; l++) {
		tile[l / 4][2 * (l % 4)] = (uint16_t)R32(in->a)[l];
		tile[l / 4][2 * (l % 4) + 1] = (uint16_t)(R32(in->a)[l] >> 16);
	}
	LANES(m, { R32(in->d)[l] = tile[2 * (l % 4)][l / 4] | (uint32_t)tile[2 * (l % 4) + 1][l / 4] << 16; });
}

/* What the compiler leaves in ext for one mma: the shape, the types, then the registers of d, a, b, c. */
enum { X_K, X_TYPE, X_TYPE_D, X_TYPE_C, X_ND, X_NA, X_NB, X_NC, X_REGS };

static float element(uint32_t bits, enum ptx_type t, int half)
{
	union { uint32_t u; float f; } v = {.u = bits};

	if (t == T_F16)
		return half_to_float((uint16_t)(bits >> 16 * half));
	if (t == T_BF16)
		return bf16_to_float((uint16_t)(bits >> 16 * half));
	v.u &= 0xffffe000; /* tf32: the low bits are not looked at */
	return v.f;
}

/*
 * A is 16 x K, row major; B is K x 8. Registers of A alternate rows r and r + 8, then the next columns;
 * those of B walk down K. One 32-bit register holds 4 / size values that are neighbours along K.
 */
static void load_a(struct warp *w, const struct insn *in, float a[16][16])
{
	enum ptx_type t = (enum ptx_type)in->ext[X_TYPE];
	uint32_t per = 4 / ptx_type_size(t), na = in->ext[X_NA], k0 = 4 * per;
	const uint32_t *reg = in->ext + X_REGS + in->ext[X_ND];

	for (uint32_t i = 0; i < na; i++)
		for (uint32_t l = 0; l < 32; l++)
			for (uint32_t e = 0; e < per; e++)
				a[l / 4 + 8 * (i & 1)][(l % 4) * per + e + k0 * (i / 2)] = element(R32(reg[i])[l], t, (int)e);
}

static void load_b(struct warp *w, const struct insn *in, float b[16][8])
{
	enum ptx_type t = (enum ptx_type)in->ext[X_TYPE];
	uint32_t per = 4 / ptx_type_size(t), nb = in->ext[X_NB], k0 = 4 * per;
	const uint32_t *reg = in->ext + X_REGS + in->ext[X_ND] + in->ext[X_NA];

	for (uint32_t i = 0; i < nb; i++)
		for (uint32_t l = 0; l < 32; l++)
			for (uint32_t e = 0; e < per; e++)
				b[(l % 4) * per + e + k0 * i][l / 4] = element(R32(reg[i])[l], t, (int)e);
}

static float load_c(struct warp *w, const struct insn *in, uint32_t l, uint32_t i)
{
	const uint32_t *reg = in->ext + X_REGS + in->ext[X_ND] + in->ext[X_NA] + in->ext[X_NB];

	if (in->ext[X_TYPE_C] == T_F16)
		return half_to_float((uint16_t)(R32(reg[i / 2])[l] >> 16 * (i & 1)));
	return RF32(reg[i])[l];
}

static void store_d(struct warp *w, const struct insn *in, uint32_t l, const float v[4])
{
	const uint32_t *reg = in->ext + X_REGS;

	if (in->ext[X_TYPE_D] == T_F16) {
		for (uint32_t i = 0; i < 2; i++)
			R32(reg[i])[l] = float_to_half(v[2 * i]) | (uint32_t)float_to_half(v[2 * i + 1]) << 16;
		return;
	}
	for (uint32_t i = 0; i < 4; i++)
		RF32(reg[i])[l] = v[i];
}

/* Products are exact, the sum over K is done in double and rounded once: at least as good as any hardware. */
void op_mma(struct warp *w, const struct insn *in, uint32_t m)
{
	float a[16][16] = {{0}}, b[16][8] = {{0}}, out[32][4];
	uint32_t kk = in->ext[X_K];

	load_a(w, in, a);
	load_b(w, in, b);
	for (uint32_t l = 0; l < 32; l++)
		for (uint32_t i = 0; i < 4; i++) {
			uint32_t row = l / 4 + 8 * (i / 2), col = 2 * (l % 4) + (i & 1);
			double s = load_c(w, in, l, i);

			for (uint32_t k = 0; k < kk; k++)
				s += (double)a[row][k] * b[k][col];
			out[l][i] = (float)s;
		}
	for (uint32_t l = 0; l < 32; l++)
		store_d(w, in, l, out[l]);
}
