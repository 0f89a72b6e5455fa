/*
 * The x86-64 encoder. It runs forward into a buffer; one core knows REX, ModRM, SIB and displacement forms, and
 * everything else is an opcode constant. Running out of room sets a sticky flag that is checked once at the end.
 *
 * Opcodes are packed constants: bits 7..0 opcode, 15..8 escape (0, 0x0f, 0x38 = 0f 38, 0x3a = 0f 3a), 23..16
 * mandatory prefix (0, 0x66, 0xf2, 0xf3). Intel SDM volume 2, chapter 2.
 */
#ifndef PIPIT_JIT_X64_EMIT_H
#define PIPIT_JIT_X64_EMIT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum x64_reg { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };

/* Condition codes, as in the low nibble of Jcc, SETcc and CMOVcc. */
enum x64_cc { CC_O, CC_NO, CC_B, CC_AE, CC_E, CC_NE, CC_BE, CC_A, CC_S, CC_NS, CC_P, CC_NP, CC_L, CC_GE, CC_LE, CC_G };

struct x64_emit {
    uint8_t *base; /* first byte of the buffer, in the writable view */
    uint8_t *p;    /* next byte */
    uint8_t *end;
    bool overflow;
};

/* base + index * 2^scale + disp; index -1: none. RSP cannot be an index. */
struct x64_mem {
    int8_t base, index;
    uint8_t scale;
    int32_t disp;
};

static inline struct x64_mem x64_m(int base, int32_t disp)
{
    return (struct x64_mem){(int8_t)base, -1, 0, disp};
}

static inline struct x64_mem x64_mx(int base, int index, unsigned scale, int32_t disp)
{
    return (struct x64_mem){(int8_t)base, (int8_t)index, (uint8_t)scale, disp};
}

#define X64_OP(pfx, esc, op) ((uint32_t)(pfx) << 16 | (uint32_t)(esc) << 8 | (uint32_t)(op))

/* ALU group: reg <- reg op rm is opcode 8*n+3, rm <- rm op reg is 8*n+1, immediates use /n. */
enum x64_alu { ALU_ADD, ALU_OR, ALU_ADC, ALU_SBB, ALU_AND, ALU_SUB, ALU_XOR, ALU_CMP };
enum x64_shift { SH_ROL, SH_ROR, SH_RCL, SH_RCR, SH_SHL, SH_SHR, SH_SAR = 7 };

#define X64_MOVZX8 X64_OP(0, 0x0f, 0xb6)
#define X64_MOVZX16 X64_OP(0, 0x0f, 0xb7)
#define X64_MOVSX8 X64_OP(0, 0x0f, 0xbe)
#define X64_MOVSX16 X64_OP(0, 0x0f, 0xbf)
#define X64_MOVSXD X64_OP(0, 0, 0x63)
#define X64_IMUL X64_OP(0, 0x0f, 0xaf)
#define X64_BSR X64_OP(0, 0x0f, 0xbd)

static inline void x64_u8(struct x64_emit *e, uint8_t v)
{
    if (e->p < e->end)
        *e->p++ = v;
    else
        e->overflow = true;
}

static inline void x64_u32(struct x64_emit *e, uint32_t v)
{
    if (e->end - e->p >= 4) {
        memcpy(e->p, &v, 4);
        e->p += 4;
    } else {
        e->overflow = true;
    }
}

static inline void x64_u64(struct x64_emit *e, uint64_t v)
{
    x64_u32(e, (uint32_t)v);
    x64_u32(e, (uint32_t)(v >> 32));
}

/* Prefix, REX and opcode. `force`: emit REX even when empty, so that byte registers 4..7 are SPL..DIL. */
static inline void x64_head(struct x64_emit *e, bool w, uint32_t op, int reg, int index, int rm, bool force)
{
    uint8_t pfx = (uint8_t)(op >> 16), esc = (uint8_t)(op >> 8);
    uint8_t rex = (uint8_t)(0x40 | w << 3 | (reg & 8) >> 1 | (index & 8) >> 2 | (rm & 8) >> 3);
    if (pfx)
        x64_u8(e, pfx);
    if (rex != 0x40 || force)
        x64_u8(e, rex);
    if (esc) {
        x64_u8(e, 0x0f);
        if (esc != 0x0f)
            x64_u8(e, esc);
    }
    x64_u8(e, (uint8_t)op);
}

static inline void x64_modrm_rr(struct x64_emit *e, int reg, int rm)
{
    x64_u8(e, (uint8_t)(0xc0 | (reg & 7) << 3 | (rm & 7)));
}

/* ModRM, SIB and displacement. */
static inline void x64_modrm_rm(struct x64_emit *e, int reg, struct x64_mem m)
{
    bool sib = m.index >= 0 || (m.base & 7) == RSP;
    unsigned mod = m.disp == 0 && (m.base & 7) != RBP ? 0 : m.disp == (int8_t)m.disp ? 1 : 2;

    x64_u8(e, (uint8_t)(mod << 6 | (unsigned)(reg & 7) << 3 | (unsigned)(sib ? 4 : m.base & 7)));
    if (sib)
        x64_u8(e, (uint8_t)(m.scale << 6 | (m.index >= 0 ? m.index & 7 : 4) << 3 | (m.base & 7)));
    if (mod == 1)
        x64_u8(e, (uint8_t)m.disp);
    else if (mod == 2)
        x64_u32(e, (uint32_t)m.disp);
}

/* reg, rm with rm a register. */
static inline void x64_rr(struct x64_emit *e, bool w, uint32_t op, int reg, int rm)
{
    x64_head(e, w, op, reg, 0, rm, false);
    x64_modrm_rr(e, reg, rm);
}

/* The same with byte registers. */
static inline void x64_rr8(struct x64_emit *e, bool w, uint32_t op, int reg, int rm)
{
    x64_head(e, w, op, reg, 0, rm, reg >= RSP || rm >= RSP);
    x64_modrm_rr(e, reg, rm);
}

/* reg, rm with rm in memory. `byte`: reg is a byte register. */
static inline void x64_rm_(struct x64_emit *e, bool w, uint32_t op, int reg, struct x64_mem m, bool byte)
{
    x64_head(e, w, op, reg, m.index >= 0 ? m.index : 0, m.base, byte && reg >= RSP);
    x64_modrm_rm(e, reg, m);
}

static inline void x64_rm(struct x64_emit *e, bool w, uint32_t op, int reg, struct x64_mem m)
{
    x64_rm_(e, w, op, reg, m, false);
}

/* reg, [rip + target]: target is an address in the same buffer. */
static inline void x64_rip(struct x64_emit *e, bool w, uint32_t op, int reg, const uint8_t *target)
{
    x64_head(e, w, op, reg, 0, 0, false);
    x64_u8(e, (uint8_t)((reg & 7) << 3 | 5));
    x64_u32(e, (uint32_t)(target - (e->p + 4)));
}

static inline void x64_mov_rr(struct x64_emit *e, bool w, int dst, int src)
{
    x64_rr(e, w, 0x8b, dst, src);
}

static inline void x64_load(struct x64_emit *e, bool w, int dst, struct x64_mem m)
{
    x64_rm(e, w, 0x8b, dst, m);
}

static inline void x64_store(struct x64_emit *e, bool w, int src, struct x64_mem m)
{
    x64_rm(e, w, 0x89, src, m);
}

static inline void x64_store_imm(struct x64_emit *e, bool w, struct x64_mem m, int32_t imm)
{
    x64_rm(e, w, 0xc7, 0, m);
    x64_u32(e, (uint32_t)imm);
}

static inline void x64_lea(struct x64_emit *e, bool w, int dst, struct x64_mem m)
{
    x64_rm(e, w, 0x8d, dst, m);
}

/* The ten-byte mov, for constants that a relocation record may change; returns the address of the constant. */
static inline uint8_t *x64_mov_imm64(struct x64_emit *e, int dst, uint64_t v)
{
    x64_u8(e, (uint8_t)(0x48 | (dst & 8) >> 3));
    x64_u8(e, (uint8_t)(0xb8 | (dst & 7)));
    uint8_t *at = e->p;
    x64_u64(e, v);
    return at;
}

/* mov of a constant in the shortest form; does not touch flags. */
static inline void x64_mov_imm(struct x64_emit *e, int dst, uint64_t v)
{
    if (v == (uint32_t)v) {
        if (dst & 8)
            x64_u8(e, 0x41);
        x64_u8(e, (uint8_t)(0xb8 | (dst & 7)));
        x64_u32(e, (uint32_t)v);
    } else if ((int64_t)v == (int32_t)v) {
        x64_rr(e, true, 0xc7, 0, dst);
        x64_u32(e, (uint32_t)v);
    } else {
        x64_mov_imm64(e, dst, v);
    }
}

static inline void x64_alu_rr(struct x64_emit *e, bool w, enum x64_alu op, int dst, int src)
{
    x64_rr(e, w, (uint32_t)op * 8 + 3, dst, src);
}

static inline void x64_alu_rm(struct x64_emit *e, bool w, enum x64_alu op, int dst, struct x64_mem m)
{
    x64_rm(e, w, (uint32_t)op * 8 + 3, dst, m);
}

static inline void x64_alu_mr(struct x64_emit *e, bool w, enum x64_alu op, struct x64_mem m, int src)
{
    x64_rm(e, w, (uint32_t)op * 8 + 1, src, m);
}

static inline void x64_alu_ri(struct x64_emit *e, bool w, enum x64_alu op, int dst, int32_t imm)
{
    bool small = imm == (int8_t)imm;
    x64_rr(e, w, small ? 0x83 : 0x81, op, dst);
    if (small)
        x64_u8(e, (uint8_t)imm);
    else
        x64_u32(e, (uint32_t)imm);
}

static inline void x64_alu_mi(struct x64_emit *e, bool w, enum x64_alu op, struct x64_mem m, int32_t imm)
{
    bool small = imm == (int8_t)imm;
    x64_rm(e, w, small ? 0x83 : 0x81, op, m);
    if (small)
        x64_u8(e, (uint8_t)imm);
    else
        x64_u32(e, (uint32_t)imm);
}

static inline void x64_test_rr(struct x64_emit *e, bool w, int a, int b)
{
    x64_rr(e, w, 0x85, a, b);
}

/* A byte in memory. */
static inline void x64_test_mi8(struct x64_emit *e, struct x64_mem m, uint8_t imm)
{
    x64_rm_(e, false, 0xf6, 0, m, true);
    x64_u8(e, imm);
}

static inline void x64_test_ri(struct x64_emit *e, bool w, int a, int32_t imm)
{
    x64_rr(e, w, 0xf7, 0, a);
    x64_u32(e, (uint32_t)imm);
}

static inline void x64_shift_ri(struct x64_emit *e, bool w, enum x64_shift op, int dst, unsigned n)
{
    x64_rr(e, w, 0xc1, op, dst);
    x64_u8(e, (uint8_t)n);
}

static inline void x64_shift_cl(struct x64_emit *e, bool w, enum x64_shift op, int dst)
{
    x64_rr(e, w, 0xd3, op, dst);
}

static inline void x64_setcc(struct x64_emit *e, enum x64_cc cc, int dst)
{
    x64_rr8(e, false, X64_OP(0, 0x0f, 0x90 | cc), 0, dst);
}

static inline void x64_cmov(struct x64_emit *e, bool w, enum x64_cc cc, int dst, int src)
{
    x64_rr(e, w, X64_OP(0, 0x0f, 0x40 | cc), dst, src);
}

/* Jumps to a known address in the buffer, always with a 32-bit displacement. */
static inline void x64_jmp_to(struct x64_emit *e, const uint8_t *target)
{
    x64_u8(e, 0xe9);
    x64_u32(e, (uint32_t)(target - (e->p + 4)));
}

static inline void x64_call_to(struct x64_emit *e, const uint8_t *target)
{
    x64_u8(e, 0xe8);
    x64_u32(e, (uint32_t)(target - (e->p + 4)));
}

static inline void x64_jcc_to(struct x64_emit *e, enum x64_cc cc, const uint8_t *target)
{
    x64_u8(e, 0x0f);
    x64_u8(e, (uint8_t)(0x80 | cc));
    x64_u32(e, (uint32_t)(target - (e->p + 4)));
}

/* Forward jumps: the returned place is bound later by x64_bind (32-bit) or x64_bind8 (8-bit). */
static inline uint8_t *x64_jmp_fwd(struct x64_emit *e)
{
    x64_u8(e, 0xe9);
    x64_u32(e, 0);
    return e->p;
}

static inline uint8_t *x64_jcc_fwd(struct x64_emit *e, enum x64_cc cc)
{
    x64_u8(e, 0x0f);
    x64_u8(e, (uint8_t)(0x80 | cc));
    x64_u32(e, 0);
    return e->p;
}

static inline uint8_t *x64_jmp8_fwd(struct x64_emit *e)
{
    x64_u8(e, 0xeb);
    x64_u8(e, 0);
    return e->p;
}

static inline uint8_t *x64_jcc8_fwd(struct x64_emit *e, enum x64_cc cc)
{
    x64_u8(e, (uint8_t)(0x70 | cc));
    x64_u8(e, 0);
    return e->p;
}

static inline void x64_bind(struct x64_emit *e, uint8_t *after)
{
    int32_t d = (int32_t)(e->p - after);
    if (!e->overflow)
        memcpy(after - 4, &d, 4);
}

static inline void x64_bind8(struct x64_emit *e, uint8_t *after)
{
    if (e->p - after > 127)
        e->overflow = true;
    else if (!e->overflow)
        after[-1] = (uint8_t)(e->p - after);
}

static inline void x64_push(struct x64_emit *e, int r)
{
    if (r & 8)
        x64_u8(e, 0x41);
    x64_u8(e, (uint8_t)(0x50 | (r & 7)));
}

static inline void x64_pop(struct x64_emit *e, int r)
{
    if (r & 8)
        x64_u8(e, 0x41);
    x64_u8(e, (uint8_t)(0x58 | (r & 7)));
}

static inline void x64_call_mem(struct x64_emit *e, struct x64_mem m)
{
    x64_rm(e, false, 0xff, 2, m);
}

static inline void x64_jmp_mem(struct x64_emit *e, struct x64_mem m)
{
    x64_rm(e, false, 0xff, 4, m);
}

#endif
