/*
 * Vector instructions for the encoder: SSE up to 4.2 in the legacy encoding, which every supported host has, and the
 * VEX encoding of AVX and FMA3, which need a check at run time.
 */
#ifndef PIPIT_JIT_X64_SSE_H
#define PIPIT_JIT_X64_SSE_H

#include "jit/x64/emit.h"

enum x64_xmm { XMM0, XMM1, XMM2, XMM3, XMM4, XMM5, XMM6, XMM15 = 15 };

/* Opcodes: xmm, xmm/m. */
#define SSE_66(op) X64_OP(0x66, 0x0f, op)
#define SSE_66_38(op) X64_OP(0x66, 0x38, op)
#define SSE_66_3A(op) X64_OP(0x66, 0x3a, op)
#define SSE_PS(op) X64_OP(0, 0x0f, op)
#define SSE_PD(op) X64_OP(0x66, 0x0f, op)
#define SSE_SS(op) X64_OP(0xf3, 0x0f, op)
#define SSE_SD(op) X64_OP(0xf2, 0x0f, op)

#define SSE_MOVUPS_LOAD SSE_PS(0x10)
#define SSE_MOVUPS_STORE SSE_PS(0x11)
#define SSE_MOVAPS_LOAD SSE_PS(0x28)
#define SSE_MOVAPS_STORE SSE_PS(0x29)
#define SSE_MOVSS_LOAD SSE_SS(0x10)
#define SSE_MOVSD_LOAD SSE_SD(0x10)
#define SSE_MOVQ_LOAD SSE_SS(0x7e)  /* xmm, xmm/m64: upper half zero */
#define SSE_MOVQ_STORE SSE_66(0xd6) /* m64, xmm */
#define SSE_MOVD_LOAD SSE_66(0x6e)  /* xmm, r/m32 (r/m64 with W) */
#define SSE_MOVD_STORE SSE_66(0x7e) /* r/m32, xmm */
#define SSE_XORPS SSE_PS(0x57)
#define SSE_ANDPS SSE_PS(0x54)
#define SSE_UCOMIS 0x2e
#define SSE_COMIS 0x2f
#define SSE_PAND SSE_66(0xdb)
#define SSE_PANDN SSE_66(0xdf)
#define SSE_POR SSE_66(0xeb)
#define SSE_PXOR SSE_66(0xef)
#define SSE_PCMPEQD SSE_66(0x76)
#define SSE_PUNPCKLQDQ SSE_66(0x6c)
#define SSE_PUNPCKHQDQ SSE_66(0x6d)
#define SSE_PACKUSWB SSE_66(0x67)
#define SSE_PACKUSDW SSE_66_38(0x2b)
#define SSE_PSHUFB SSE_66_38(0x00)
#define SSE_PSHUFD SSE_66(0x70)

static inline void sse_rr(struct x64_emit *e, uint32_t op, int dst, int src)
{
    x64_rr(e, false, op, dst, src);
}

static inline void sse_rm(struct x64_emit *e, uint32_t op, int reg, struct x64_mem m)
{
    x64_rm(e, false, op, reg, m);
}

static inline void sse_rri(struct x64_emit *e, uint32_t op, int dst, int src, uint8_t imm)
{
    x64_rr(e, false, op, dst, src);
    x64_u8(e, imm);
}

/* Shift groups: op 0x71 words, 0x72 doublewords, 0x73 quadwords; ext 2 right, 4 arithmetic, 6 left, 3 and 7 bytes. */
static inline void sse_shift(struct x64_emit *e, uint8_t op, unsigned ext, int reg, unsigned n)
{
    x64_rr(e, false, SSE_66(op), (int)ext, reg);
    x64_u8(e, (uint8_t)n);
}

/*
 * The VEX encoding of an opcode above, 128 bits wide: three operands, dst = src1 op src2. Legacy operations of two
 * operands that have no src1 (moves, shuffles) want zero there. Intel SDM volume 2, 2.3.
 */
static inline void vex_head(struct x64_emit *e, bool w, uint32_t op, int reg, int src1, int index, int base)
{
    uint8_t pfx = (uint8_t)(op >> 16), esc = (uint8_t)(op >> 8);
    uint8_t pp = pfx == 0x66 ? 1 : pfx == 0xf3 ? 2 : pfx == 0xf2 ? 3 : 0;
    uint8_t low = (uint8_t)((~src1 & 15) << 3 | pp);

    if (esc == 0x0f && !w && !(index & 8) && !(base & 8)) {
        x64_u8(e, 0xc5);
        x64_u8(e, (uint8_t)((reg & 8 ? 0 : 0x80) | low));
    } else {
        x64_u8(e, 0xc4);
        x64_u8(e, (uint8_t)((reg & 8 ? 0 : 0x80) | (index & 8 ? 0 : 0x40) | (base & 8 ? 0 : 0x20) |
                            (esc == 0x38   ? 2
                             : esc == 0x3a ? 3
                                           : 1)));
        x64_u8(e, (uint8_t)(w << 7 | low));
    }
    x64_u8(e, (uint8_t)op);
}

static inline void vex_rrr(struct x64_emit *e, bool w, uint32_t op, int dst, int src1, int src2)
{
    vex_head(e, w, op, dst, src1, 0, src2);
    x64_modrm_rr(e, dst, src2);
}

static inline void vex_rrm(struct x64_emit *e, bool w, uint32_t op, int dst, int src1, struct x64_mem m)
{
    vex_head(e, w, op, dst, src1, m.index >= 0 ? m.index : 0, m.base);
    x64_modrm_rm(e, dst, m);
}

#endif
