/*
 * x86-64 registers by number, for debuggers and tests: gdb's order and widths (its target descriptions 64bit-core,
 * 64bit-sse and 64bit-segments), then control registers.
 */
#ifndef PIPIT_ARCH_X86_REGS_H
#define PIPIT_ARCH_X86_REGS_H

enum x86_reg {
    X86_REG_RAX, /* 8 bytes each up to RIP */
    X86_REG_RBX,
    X86_REG_RCX,
    X86_REG_RDX,
    X86_REG_RSI,
    X86_REG_RDI,
    X86_REG_RBP,
    X86_REG_RSP,
    X86_REG_R8,
    X86_REG_R9,
    X86_REG_R10,
    X86_REG_R11,
    X86_REG_R12,
    X86_REG_R13,
    X86_REG_R14,
    X86_REG_R15,
    X86_REG_RIP,
    X86_REG_EFLAGS, /* 4 bytes each up to GS */
    X86_REG_CS,
    X86_REG_SS,
    X86_REG_DS,
    X86_REG_ES,
    X86_REG_FS,
    X86_REG_GS,
    X86_REG_ST0,                     /* 10 bytes, eight of them */
    X86_REG_FCTRL = X86_REG_ST0 + 8, /* 4 bytes each up to FOP */
    X86_REG_FSTAT,
    X86_REG_FTAG,
    X86_REG_FISEG,
    X86_REG_FIOFF,
    X86_REG_FOSEG,
    X86_REG_FOOFF,
    X86_REG_FOP,
    X86_REG_XMM0,                      /* 16 bytes, sixteen of them */
    X86_REG_MXCSR = X86_REG_XMM0 + 16, /* 4 bytes */
    X86_REG_FS_BASE,                   /* 8 bytes each up to the end */
    X86_REG_GS_BASE,
    X86_REG_KERNEL_GS_BASE,
    X86_REG_CR0,
    X86_REG_CR2,
    X86_REG_CR3,
    X86_REG_CR4,
    X86_REG_CR8,
    X86_REG_EFER,
    X86_NREGS
};

#endif
