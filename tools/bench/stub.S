/*
 * The smallest guest that shows that a vCPU runs: by the PVH entry (Xen docs/misc/pvh.pandoc: 32-bit protected mode,
 * paging off) it writes one byte to COM1 and ends the machine, by pipit's debug device (port 0x614) and by the
 * isa-debug-exit of others (port 0x501). Built with -DSTAY it halts for good instead; with -DEXITS=n it first makes n
 * accesses to a virtio-mmio register, whose address EXITS_AT names.
 */
#define COM1 0x3f8
#define DEBUG_EXIT 0x614
#define ISA_DEBUG_EXIT 0x501
#define XEN_ELFNOTE_PHYS32_ENTRY 18

    .section .note.pvh, "a", @note
    .balign 4
    .long 4, 4, XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long start

    .text
    .code32
    .globl start
start:
#ifdef EXITS
    movl $EXITS, %ecx
1:  movl EXITS_AT, %eax
    decl %ecx
    jnz 1b
#endif
    movw $COM1, %dx
    movb $'!', %al
    outb %al, %dx
#ifndef STAY
    xorl %eax, %eax
    movw $DEBUG_EXIT, %dx
    outl %eax, %dx
    movw $ISA_DEBUG_EXIT, %dx
    outl %eax, %dx
#endif
2:  cli
    hlt
    jmp 2b
