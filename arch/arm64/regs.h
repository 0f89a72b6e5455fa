/*
 * AArch64 registers by number, for debuggers and tests: gdb's order and widths (its target descriptions aarch64-core
 * and aarch64-fpu), then what else is asked for by number.
 */
#ifndef PIPIT_ARM64_REGS_H
#define PIPIT_ARM64_REGS_H

enum arm64_reg {
    ARM64_REG_X0,                     /* 8 bytes each up to PC, X0 to X30 */
    ARM64_REG_SP = ARM64_REG_X0 + 31, /* the stack pointer in use */
    ARM64_REG_PC,
    ARM64_REG_PSTATE,                   /* as in SPSR_EL1, 8 bytes */
    ARM64_REG_V0,                       /* 16 bytes, thirty-two of them */
    ARM64_REG_FPSR = ARM64_REG_V0 + 32, /* 4 bytes */
    ARM64_REG_FPCR,                     /* 4 bytes */
    ARM64_REG_MPIDR,                    /* MPIDR_EL1, 8 bytes, read only */
    ARM64_NREGS
};

/* Bytes of a register; 0 where there is none of that number. */
static inline unsigned arm64_reg_size(unsigned reg)
{
    if (reg >= ARM64_NREGS)
        return 0;
    if (reg >= ARM64_REG_V0 && reg < ARM64_REG_FPSR)
        return 16;
    return reg == ARM64_REG_FPSR || reg == ARM64_REG_FPCR ? 4 : 8;
}

#endif
