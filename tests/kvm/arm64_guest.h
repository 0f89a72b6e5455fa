/*
 * Guest programs of a few instructions, assembled with the test: GUEST(name, text) gives guest_name up to its end. They
 * begin at EL1 with the MMU off and X0 the argument, and use no absolute address of their own.
 *
 * In them:
 *   memory                    the MMU on: a device's memory below 1 GiB, cached memory from there on (clobbers X9)
 *   imm REG, VALUE            a 64-bit constant
 *   vectors LABEL             exceptions from EL1 with its own stack go to the table at LABEL (clobbers X9)
 *   table LABEL, SYNC, IRQ    such a table, with branches to the two labels
 *   device REG                REG: the recording device
 *   gic SPI                   the GIC of version X28: this vCPU's interface and the distributor on, that SPI and the
 * PPIs 23 and 27 enabled, the SPI edge triggered where it is even; interrupts unmasked (clobbers X9 to X11) ack REG,
 * eoi REG          that GIC's interrupt acknowledge and end (REG: a number; clobber X9 and flags) psci FUNCTION HVC,
 * the result in X0 off                       SYSTEM_OFF
 */
#ifndef PIPIT_TESTS_KVM_ARM64_GUEST_H
#define PIPIT_TESTS_KVM_ARM64_GUEST_H

#include <stdint.h>

__asm__(".macro imm reg, value\n"
        "movz \\reg, #((\\value) & 0xffff)\n"
        "movk \\reg, #(((\\value) >> 16) & 0xffff), lsl #16\n"
        "movk \\reg, #(((\\value) >> 32) & 0xffff), lsl #32\n"
        "movk \\reg, #(((\\value) >> 48) & 0xffff), lsl #48\n"
        ".endm\n"
        /* MAIR: 0 Device-nGnRE, 1 write-back. TCR: 39 bits of address, 4 KiB granule, cached walks, no TTBR1, 40-bit
         * output. */
        ".macro memory\n"
        "imm x9, 0xff04\n"
        "msr mair_el1, x9\n"
        "imm x9, 0x200803519\n"
        "msr tcr_el1, x9\n"
        "imm x9, 0x40000000\n"
        "msr ttbr0_el1, x9\n"
        "isb\n"
        "tlbi vmalle1\n"
        "dsb nsh\n"
        "ic iallu\n"
        "dsb nsh\n"
        "isb\n"
        "mrs x9, sctlr_el1\n"
        "orr x9, x9, #1\n"
        "orr x9, x9, #4\n"
        "orr x9, x9, #0x1000\n"
        "msr sctlr_el1, x9\n"
        "isb\n"
        ".endm\n"
        ".macro vectors label\n"
        "adr x9, \\label\n"
        "msr vbar_el1, x9\n"
        "isb\n"
        ".endm\n"
        ".macro table label, sync, irq\n"
        ".balign 2048\n"
        "\\label:\n"
        ".space 0x200\n"
        "b \\sync\n"
        ".balign 128\n"
        "b \\irq\n"
        ".balign 128\n"
        ".endm\n"
        ".macro device reg\n"
        "imm \\reg, 0x09000000\n"
        ".endm\n"
        /* An SPI's INTID is 32 more than its number. GICD_CTLR: affinity routing, group 1; group 0 on a GICv2. */
        ".macro gic spi\n"
        "imm x9, 0x08000000\n"
        "mov w10, #(1 << (\\spi % 32))\n"
        "mov x11, #(0x104 + \\spi / 32 * 4)\n"
        "str w10, [x9, x11]\n"
        ".if (\\spi % 2) == 0\n"
        "mov x11, #(0xc08 + \\spi / 16 * 4)\n"
        "mov w10, #(2 << (\\spi % 16 * 2))\n"
        "str w10, [x9, x11]\n"
        ".endif\n"
        "mov w10, #0x12\n"
        "cmp x28, #3\n"
        "b.eq 81f\n"
        "mov x11, #(0x820 + \\spi)\n"
        "mov w10, #1\n"
        "strb w10, [x9, x11]\n"
        "81: str w10, [x9]\n"
        "b.ne 82f\n"
        "imm x9, 0x080a0000\n"
        "mrs x10, mpidr_el1\n"
        "and x10, x10, #0xff\n"
        "add x9, x9, x10, lsl #17\n"
        "add x9, x9, #0x10000\n"
        "82: imm x10, ((1 << 27) | (1 << 23) | (3 << 5))\n"
        "str w10, [x9, #0x100]\n"
        "b.ne 83f\n"
        "mov x10, #7\n"
        "msr S3_0_C12_C12_5, x10\n" /* ICC_SRE_EL1 */
        "isb\n"
        "mov x10, #0xf0\n"
        "msr S3_0_C4_C6_0, x10\n" /* ICC_PMR_EL1 */
        "mov x10, #1\n"
        "msr S3_0_C12_C12_7, x10\n" /* ICC_IGRPEN1_EL1 */
        "isb\n"
        "b 84f\n"
        "83: imm x9, 0x08010000\n"
        "mov w10, #0xf0\n"
        "str w10, [x9, #4]\n" /* GICC_PMR */
        "mov w10, #1\n"
        "str w10, [x9]\n" /* GICC_CTLR */
        "84: msr daifclr, #2\n"
        ".endm\n"
        ".macro ack reg\n"
        "cmp x28, #3\n"
        "b.ne 81f\n"
        "mrs x\\reg, S3_0_C12_C12_0\n" /* ICC_IAR1_EL1 */
        "dsb sy\n"
        "b 82f\n"
        "81: imm x9, 0x08010000\n"
        "ldr w\\reg, [x9, #12]\n" /* GICC_IAR */
        "82:\n"
        ".endm\n"
        ".macro eoi reg\n"
        "cmp x28, #3\n"
        "b.ne 81f\n"
        "msr S3_0_C12_C12_1, x\\reg\n" /* ICC_EOIR1_EL1 */
        "b 82f\n"
        "81: imm x9, 0x08010000\n"
        "str w\\reg, [x9, #16]\n" /* GICC_EOIR */
        "82:\n"
        ".endm\n"
        ".macro psci function\n"
        "imm x0, \\function\n"
        "hvc #0\n"
        ".endm\n"
        ".macro off\n"
        "psci 0x84000008\n"
        ".endm\n");

/* Hidden: an address from the GOT, which the compiler takes otherwise, loses a local symbol's offset in its section. */
#define GUEST(name, text)                                                                                              \
    extern const uint8_t guest_##name[] __attribute__((visibility("hidden")));                                         \
    extern const uint8_t guest_##name##_end[] __attribute__((visibility("hidden")));                                   \
    __asm__(".pushsection .rodata\n"                                                                                   \
            ".balign 4096\n"                                                                                           \
            "guest_" #name ":\n" text "guest_" #name "_end:\n"                                                         \
            ".popsection\n");

#endif
