/* Tier 1: what the translators of Advanced SIMD on integers share. */
#ifndef PIPIT_JIT_TIER1_SIMD_H
#define PIPIT_JIT_TIER1_SIMD_H

#include "jit/tier1/t1.h"
#include "jit/x64/sse.h"

static inline bool t1_q(uint32_t insn)
{
    return insn >> 30 & 1;
}

static inline unsigned t1_size(uint32_t insn)
{
    return bits32(insn, 23, 22);
}

static inline void t1_vload(struct t1 *t, int xmm, unsigned v)
{
    t1_vget(t, xmm, v);
}

/* XMM x op= Vv. */
static inline void t1_vwith(struct t1 *t, uint32_t op, int x, unsigned v)
{
    t1_vop(t, false, op, x, v, 16);
}

/* Stores XMM0 as the result. */
static inline bool t1_vdone(struct t1 *t, uint32_t insn)
{
    if (!t1_q(insn))
        sse_rr(t->e, SSE_MOVQ_LOAD, XMM0, XMM0);
    t1_vput(t, a64_rd(insn), XMM0, 16);
    t->keep_flags = true;
    return true;
}

/* immh:immb of the shift group: the element's log2 size; `amount` for right shifts is 2 * bits - imm. */
static inline unsigned t1_shift_size(uint32_t insn)
{
    return 31 - (unsigned)__builtin_clz(bits32(insn, 22, 19));
}

/* By log2 of the element's bytes; 0: there is none. */
#define T1_PADD                                                                                                        \
    {                                                                                                                  \
        SSE_66(0xfc), SSE_66(0xfd), SSE_66(0xfe), SSE_66(0xd4)                                                         \
    }
#define T1_PSUB                                                                                                        \
    {                                                                                                                  \
        SSE_66(0xf8), SSE_66(0xf9), SSE_66(0xfa), SSE_66(0xfb)                                                         \
    }

/* simd.c */
/* Vd = Vn op Vm for what is one host instruction. */
bool t1_vbinary(struct t1 *t, uint32_t insn, uint32_t op, unsigned n, unsigned m);
/* Narrows XMM0's elements of 2^(size+1) bytes to the lower half of XMM0 and writes it to the half of Vd that Q says. */
bool t1_narrow(struct t1 *t, uint32_t insn, unsigned size);
/* XMM x = operand v, its lower (or with Q upper) half widened. */
void t1_widen(struct t1 *t, uint32_t insn, int x, unsigned v);
/* RAX (zero-extended element) to all elements of XMM0. */
void t1_spread(struct t1 *t, unsigned shift);

/* simd_more.c */
bool t1_shift_bytes(struct t1 *t, uint32_t insn, bool left); /* SHL, USHR */
void t1_init_simd_more(void);

#endif
