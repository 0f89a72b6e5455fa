/* Constants that generated code reads through RBP. */
#include "jit/rt/rt.h"

static void jit_const_lanes(arm64_vreg *c, uint64_t v)
{
    c->d[0] = c->d[1] = v;
}

/* PSHUFB control that reverses elements of `el` bytes within groups of `group` bytes. */
static void jit_const_reverse(arm64_vreg *c, unsigned group, unsigned el)
{
    for (unsigned i = 0; i < 16; i++) {
        unsigned base = i / group * group, e = (i % group) / el;
        c->b[i] = (uint8_t)(base + (group / el - 1 - e) * el + i % el);
    }
}

/* For CRC32 as jit/tier1/crc.c has it: the polynomial with the highest coefficient lowest, x^32 being bit 0. */
static void jit_const_crc32(arm64_vreg *x, arm64_vreg *w, arm64_vreg *byte)
{
    const uint64_t p = UINT64_C(0x1db710641);
    uint64_t inverse = 0, left = 1;
    uint32_t crc = 1;

    for (unsigned i = 0; i < 64; i++) {
        if (left >> i & 1) {
            inverse |= BIT64(i);
            left ^= p << i;
        }
    }
    x->d[0] = inverse;
    w->d[0] = inverse << 32;
    x->d[1] = w->d[1] = p;
    /* A byte's CRC is the sum of those of its bits. */
    for (unsigned bit = 128; bit; bit >>= 1) {
        crc = (uint32_t)(crc & 1 ? (crc ^ p) >> 1 : crc >> 1);
        for (unsigned i = 0; i < 256; i += 2 * bit)
            byte[(i + bit) / 4].s[(i + bit) % 4] = byte[i / 4].s[i % 4] ^ crc;
    }
}

void jit_consts_init(arm64_vreg c[JIT_CONSTS])
{
    jit_const_lanes(&c[JIT_CONST_ABS32], UINT64_C(0x7fffffff7fffffff));
    jit_const_lanes(&c[JIT_CONST_ABS64], UINT64_C(0x7fffffffffffffff));
    jit_const_lanes(&c[JIT_CONST_SIGN32], UINT64_C(0x8000000080000000));
    jit_const_lanes(&c[JIT_CONST_SIGN64], UINT64_C(0x8000000000000000));
    c[JIT_CONST_SIGN32_S].d[0] = UINT64_C(0x80000000);
    c[JIT_CONST_SIGN64_S].d[0] = UINT64_C(0x8000000000000000);
    jit_const_lanes(&c[JIT_CONST_MIN32], UINT64_C(0x0080000000800000));
    jit_const_lanes(&c[JIT_CONST_MIN64], UINT64_C(0x0010000000000000));
    jit_const_lanes(&c[JIT_CONST_LOW8], UINT64_C(0x00ff00ff00ff00ff));
    jit_const_lanes(&c[JIT_CONST_LOW16], UINT64_C(0x0000ffff0000ffff));
    jit_const_lanes(&c[JIT_CONST_X70], UINT64_C(0x7070707070707070));
    jit_const_lanes(&c[JIT_CONST_NIBBLE], UINT64_C(0x0f0f0f0f0f0f0f0f));
    jit_const_reverse(&c[JIT_CONST_REV64_8], 8, 1);
    jit_const_reverse(&c[JIT_CONST_REV64_16], 8, 2);
    jit_const_reverse(&c[JIT_CONST_REV32_8], 4, 1);
    jit_const_reverse(&c[JIT_CONST_REV32_16], 4, 2);
    jit_const_reverse(&c[JIT_CONST_REV16_8], 2, 1);
    for (unsigned i = 0; i < 16; i++)
        c[JIT_CONST_POPCNT].b[i] = (uint8_t)__builtin_popcount(i);
    jit_const_crc32(&c[JIT_CONST_CRC32_X], &c[JIT_CONST_CRC32_W], &c[JIT_CONST_CRC32_BYTE]);
}
