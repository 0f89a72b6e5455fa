/* Model-specific registers that the VMM itself sets or treats apart (Intel SDM volume 4; AMD APM volume 2, A). */
#ifndef PIPIT_ARCH_X86_MSR_H
#define PIPIT_ARCH_X86_MSR_H

#define X86_MSR_TSC 0x10
#define X86_MSR_ARCH_CAPABILITIES 0x10a
#define X86_MSR_MISC_ENABLE 0x1a0
#define X86_MSR_PAT 0x277
#define X86_MSR_MTRR_DEF_TYPE 0x2ff
#define X86_MSR_TSC_DEADLINE 0x6e0
#define X86_MSR_KERNEL_GS_BASE 0xc0000102

#define X86_MISC_ENABLE_FAST_STRINGS 0x1
#define X86_MTRR_DEF_TYPE_ENABLE 0x800
#define X86_MTRR_WRITE_BACK 6
/* At reset (Intel SDM volume 3, 12.12.4): WB, WT, UC-, UC, twice. */
#define X86_PAT_RESET 0x0007040600070406

#endif
