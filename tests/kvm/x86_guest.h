/*
 * Guest programs of a few instructions, assembled with the test: GUEST(name, text) gives guest_name up to its end.
 *
 * In them:
 *   stack                 a stack below 0x200000
 *   gate VECTOR, LABEL    an interrupt gate, in the descriptor table at 0x201000 (clobbers RAX and RDX)
 *   idt                   makes that table the one that is used (clobbers nothing)
 *   lapic                 RBX: the LAPIC's registers, with the LAPIC on
 *   pin NUMBER, ENTRY     the IOAPIC's redirection entry, to APIC 0 (clobbers RDX)
 *   leave_with CODE       ends the run
 */
#ifndef PIPIT_TESTS_KVM_X86_GUEST_H
#define PIPIT_TESTS_KVM_X86_GUEST_H

#include <stdint.h>

__asm__(".macro stack\n"
        "mov $0x200000, %esp\n"
        ".endm\n"
        ".macro gate vector, label\n"
        "lea \\label(%rip), %rax\n"
        "mov $0x201000 + 16 * \\vector, %edx\n"
        "mov %ax, (%rdx)\n"
        "movl $0x8e000010, 2(%rdx)\n"
        "shr $16, %rax\n"
        "mov %ax, 6(%rdx)\n"
        "movq $0, 8(%rdx)\n"
        ".endm\n"
        ".macro idt\n"
        "movw $0xfff, 0x200ff0\n"
        "movq $0x201000, 0x200ff2\n"
        "lidt 0x200ff0\n"
        ".endm\n"
        ".macro lapic\n"
        "mov $0xfee00000, %ebx\n"
        "movl $0x1ff, 0xf0(%rbx)\n"
        ".endm\n"
        ".macro pin number, entry\n"
        "mov $0xfec00000, %edx\n"
        "movl $0x11 + 2 * \\number, (%rdx)\n"
        "movl $0, 0x10(%rdx)\n"
        "movl $0x10 + 2 * \\number, (%rdx)\n"
        "movl $\\entry, 0x10(%rdx)\n"
        ".endm\n"
        ".macro leave_with code\n"
        "mov $\\code, %al\n"
        "out %al, $0xf4\n"
        "99: hlt\n"
        "jmp 99b\n"
        ".endm\n");

#define GUEST(name, text)                                                                                              \
    extern const uint8_t guest_##name[], guest_##name##_end[];                                                         \
    __asm__(".pushsection .rodata\n"                                                                                   \
            ".balign 16\n"                                                                                             \
            "guest_" #name ":\n" text "guest_" #name "_end:\n"                                                         \
            ".popsection\n");

#endif
