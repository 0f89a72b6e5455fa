/*
 * Tier 1: CRC32 and CRC32C.
 *
 * The host has an instruction for the polynomial of CRC32C only. The other one goes by carry-less products: with bits
 * as the registers have them, the highest coefficient lowest, the 64 bits that are to be reduced are a power series,
 * and times P's inverse they give the quotient; the quotient times P has the remainder just above. V. Gopal et al.,
 * "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction", Intel, 2009, calls it a Barrett
 * reduction. One or two bytes are quicker by a table, which is also for hosts without that instruction.
 */
#include "jit/tier1/t1.h"
#include "jit/x64/sse.h"

#define CRC32_R8 X64_OP(0xf2, 0x38, 0xf0)
#define CRC32_R X64_OP(0xf2, 0x38, 0xf1) /* 16 bits with prefix 0x66, 64 with W */
#define SSE_PCLMULQDQ SSE_66_3A(0x44)
#define SSE_PEXTRD SSE_66_3A(0x16) /* r/m32, xmm */

/* Log2 of the bytes. */
static unsigned t1_crc_size(uint32_t insn)
{
    return bits32(insn, 11, 10);
}

bool t1_crc_keeps_flags(uint32_t insn)
{
    return insn >> 12 & 1 || (t1_crc_size(insn) >= 2 && t1_have.pclmul);
}

static bool t1_crc32c(struct t1 *t, uint32_t insn)
{
    unsigned d = t1_zr(a64_rd(insn)), n = t1_zr(a64_rn(insn)), m = t1_zr(a64_rm(insn)), size = t1_crc_size(insn);
    int acc = d == m ? RAX : t1_dst(t, d, RAX), hm;

    t->keep_flags = true;
    if (d == T1_ZR)
        return true;
    hm = t1_get(t, m, RCX);
    if (d != n || acc == RAX)
        t1_copy(t, false, n, acc);
    if (size == 1)
        x64_u8(t->e, 0x66);
    if (size == 0)
        x64_rr8(t->e, false, CRC32_R8, acc, hm);
    else
        x64_rr(t->e, size == 3, CRC32_R, acc, hm);
    t1_put(t, d, acc);
    return true;
}

/* XMM x = guest register g, its lower half or all; flags stay. */
static void t1_crc_load(struct t1 *t, bool w, int x, unsigned g)
{
    if (g == T1_ZR)
        sse_rr(t->e, SSE_PXOR, x, x);
    else if (t1_host(t, g) >= 0)
        x64_rr(t->e, w, SSE_MOVD_LOAD, x, t1_host(t, g));
    else
        sse_rm(t->e, w ? SSE_MOVQ_LOAD : SSE_MOVD_LOAD, x, t1_slot(g));
}

static void t1_crc_pclmul(struct t1 *t, bool w, int dst, unsigned n, unsigned m)
{
    struct x64_mem k = t1_const(w ? JIT_CONST_CRC32_X : JIT_CONST_CRC32_W);

    t1_crc_load(t, w, XMM1, m);
    t1_crc_load(t, false, XMM0, n);
    sse_rr(t->e, SSE_PXOR, XMM0, XMM1);
    sse_rm(t->e, SSE_PCLMULQDQ, XMM0, k);
    x64_u8(t->e, 0x00); /* lower half times lower half */
    sse_rm(t->e, SSE_PCLMULQDQ, XMM0, k);
    x64_u8(t->e, 0x10); /* lower half times the constant's upper half */
    sse_rri(t->e, SSE_PEXTRD, XMM0, dst, 2);
}

/* RAX = the CRC of RAX and guest register m. */
static void t1_crc_table(struct t1 *t, unsigned size, unsigned m)
{
    struct x64_mem entry = t1_const(JIT_CONST_CRC32_BYTE);

    entry.index = RCX;
    entry.scale = 2;
    for (unsigned i = 0; i < 1u << size; i++) {
        if (i % 4 == 0) {
            t1_copy(t, true, m, RDX);
            if (i)
                x64_shift_ri(t->e, true, SH_SHR, RDX, 32);
            else if (size < 2)
                x64_rr(t->e, false, size ? X64_MOVZX16 : X64_MOVZX8, RDX, RDX);
            x64_alu_rr(t->e, false, ALU_XOR, RAX, RDX);
        }
        x64_rr(t->e, false, X64_MOVZX8, RCX, RAX);
        x64_shift_ri(t->e, false, SH_SHR, RAX, 8);
        x64_alu_rm(t->e, false, ALU_XOR, RAX, entry);
    }
}

static bool t1_crc32(struct t1 *t, uint32_t insn)
{
    unsigned d = t1_zr(a64_rd(insn)), n = t1_zr(a64_rn(insn)), m = t1_zr(a64_rm(insn)), size = t1_crc_size(insn);
    int dst = RAX;

    t->keep_flags = t1_crc_keeps_flags(insn);
    if (d == T1_ZR)
        return true;
    if (size >= 2 && t1_have.pclmul) {
        dst = t1_dst(t, d, RAX);
        t1_crc_pclmul(t, size == 3, dst, n, m);
    } else {
        t1_copy(t, false, n, RAX);
        t1_crc_table(t, size, m);
    }
    t1_put(t, d, dst);
    return true;
}

void t1_init_crc(void)
{
    t1_table[A64_crc32] = t1_crc32;
    t1_table[A64_crc32c] = t1_crc32c;
}
