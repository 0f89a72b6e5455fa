/*
 * Entry points, page tables, interrupt stubs, and the trampoline of the application processors.
 *
 * Three ways lead to long mode with our own GDT and page tables: entry_pvh (PVH boot protocol: 32 bits, paging off, EBX
 * is the start_info's address), entry_64 (Linux boot protocol, 64 bits: RSI is the zero page's address), and the
 * trampoline, which a start-up IPI begins in real mode. What the registers were at an entry is kept in `entry` for main
 * to look at. The page tables are part of the image: 8 GiB in 2 MiB pages (a software KVM may have no larger ones), uncached
 * from 3 to 4 GiB, with equal virtual and physical addresses.
 */
#define CR0_PE 0x1
#define CR0_MP 0x2
#define CR0_EM 0x4
#define CR0_PG 0x80000000
#define CR4_PAE 0x20
#define CR4_OSFXSR 0x200
#define MSR_EFER 0xc0000080
#define EFER_LME 0x100
#define STACK 16384 /* bytes a CPU, see guest.h */

#define XEN_ELFNOTE_PHYS32_ENTRY 18

#ifndef NO_PVH
    .section .note.pvh, "a", @note
    .balign 4
    .long   4, 4, XEN_ELFNOTE_PHYS32_ENTRY
    .asciz  "Xen"
    .long   entry_pvh
#endif

    .macro  load_segments
    movl    $0x10, %eax
    movl    %eax, %ds
    movl    %eax, %es
    movl    %eax, %ss
    xorl    %eax, %eax
    movl    %eax, %fs
    movl    %eax, %gs
    .endm

    .section .text.start, "ax"
    .code32
    .globl  entry_pvh
entry_pvh:
    /* entry: magic, info, cr0, cr4, flags, efer, cs, ds, es, ss */
    movl    %ebx, entry + 8
    movl    $1, entry
    movl    %cr0, %eax
    movl    %eax, entry + 16
    movl    %cr4, %eax
    movl    %eax, entry + 24
    movw    %cs, entry + 48
    movw    %ds, entry + 56
    movw    %es, entry + 64
    movw    %ss, entry + 72
    movl    $stacks + STACK, %esp
    pushfl
    popl    %eax
    movl    %eax, entry + 32
    movl    $MSR_EFER, %ecx
    rdmsr
    movl    %eax, entry + 40
    movl    $first_64, %edi
/* 32 bits, paging off; continues at EDI in long mode. */
to_long:
    lgdt    gdt_pointer
    movl    %cr4, %eax
    orl     $(CR4_PAE | CR4_OSFXSR), %eax
    movl    %eax, %cr4
    movl    $pml4, %eax
    movl    %eax, %cr3
    movl    $MSR_EFER, %ecx
    rdmsr
    orl     $EFER_LME, %eax
    wrmsr
    movl    %cr0, %eax
    andl    $~CR0_EM, %eax
    orl     $(CR0_PG | CR0_MP | CR0_PE), %eax
    movl    %eax, %cr0
    ljmp    $8, $in_long
    .code64
in_long:
    load_segments
    jmp     *%rdi

    .org    0x200
    .globl  entry_64
entry_64:
    movq    %rsi, entry + 8
    movq    $2, entry
    movq    %cr0, %rax
    movq    %rax, entry + 16
    movq    %cr4, %rax
    movq    %rax, entry + 24
    movw    %cs, entry + 48
    movw    %ds, entry + 56
    movw    %es, entry + 64
    movw    %ss, entry + 72
    movq    $stacks + STACK, %rsp
    pushfq
    popq    entry + 32
    movl    $MSR_EFER, %ecx
    rdmsr
    movl    %eax, entry + 40
    lgdt    gdt_pointer
    pushq   $8
    pushq   $1f
    lretq
1:  movq    $pml4, %rax
    movq    %rax, %cr3
    movq    %cr4, %rax
    orq     $CR4_OSFXSR, %rax
    movq    %rax, %cr4
    load_segments
first_64:
    movq    $stacks + STACK, %rsp
    xorl    %ebp, %ebp
    cld
    movq    $bss_start, %rdi
    movq    $bss_end, %rcx
    subq    %rdi, %rcx
    shrq    $3, %rcx
    xorl    %eax, %eax
    rep stosq
    call    guest_main
1:  cli
    hlt
    jmp     1b

/* ---- application processors: copied to a page below 1 MiB ---- */
    .globl  trampoline, trampoline_end
    .code16
trampoline:
    cli
    movw    %cs, %ax
    movw    %ax, %ds
    lgdtl   trampoline_gdt_pointer - trampoline
    movl    %cr0, %eax
    orl     $CR0_PE, %eax
    movl    %eax, %cr0
    ljmpl   $0x18, $1f
    .balign 4
trampoline_gdt_pointer:
    .word   gdt_end - gdt - 1
    .long   gdt
trampoline_end:
    .code32
1:  movw    $0x10, %ax
    movw    %ax, %ds
    movw    %ax, %ss
    movl    $second_64, %edi
    jmp     to_long
    .code64
second_64:
    movl    $1, %eax
    lock xaddl %eax, cpus_started
    incl    %eax /* the first one is CPU 0 */
    movl    %eax, %edi
    incl    %eax
    imulq   $STACK, %rax
    leaq    stacks(%rax), %rsp
    xorl    %ebp, %ebp
    cld
    call    ap_main
1:  cli
    hlt
    jmp     1b

/* ---- interrupts ---- */
    .text
    .globl  interrupt_stubs
    .balign 16
interrupt_stubs:
    .set    vector, 0
    .rept   256
    .balign 16
    .if     !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30)
    pushq   $0
    .endif
    pushq   $vector
    jmp     interrupt_common
    .set    vector, vector + 1
    .endr

/* struct frame of guest.h, from its end: what the CPU pushed, the error code, the vector, and here the registers. */
interrupt_common:
    pushq   %rax
    pushq   %rcx
    pushq   %rdx
    pushq   %rbx
    pushq   %rbp
    pushq   %rsi
    pushq   %rdi
    pushq   %r8
    pushq   %r9
    pushq   %r10
    pushq   %r11
    pushq   %r12
    pushq   %r13
    pushq   %r14
    pushq   %r15
    cld
    movq    %rsp, %rdi
    movq    %rsp, %rbp
    andq    $-16, %rsp
    call    guest_interrupt
    movq    %rbp, %rsp
    popq    %r15
    popq    %r14
    popq    %r13
    popq    %r12
    popq    %r11
    popq    %r10
    popq    %r9
    popq    %r8
    popq    %rdi
    popq    %rsi
    popq    %rbp
    popq    %rbx
    popq    %rdx
    popq    %rcx
    popq    %rax
    addq    $16, %rsp
    iretq

/* ---- tables ---- */
    .data
    .balign 16
gdt:
    .quad   0
    .quad   0x00af9b000000ffff /* 0x08: 64-bit code */
    .quad   0x00cf93000000ffff /* 0x10: data */
    .quad   0x00cf9b000000ffff /* 0x18: 32-bit code */
gdt_end:
    .word   0
gdt_pointer:
    .word   gdt_end - gdt - 1
    .quad   gdt

    .balign 8
    .globl  entry, cpus_started
entry:
    .fill   10, 8, 0
cpus_started:
    .quad   0

#define PTE_TABLE 0x3
#define PTE_LARGE 0x83
#define PTE_UNCACHED 0x18
    .balign 4096
    .globl  pdpt
pml4:
    .quad   pdpt + PTE_TABLE
    .fill   511, 8, 0
pdpt:
    .set    i, 0
    .rept   8
    .quad   pd + (i << 12) + PTE_TABLE
    .set    i, i + 1
    .endr
    .fill   504, 8, 0
pd:
    .set    i, 0
    .rept   8 * 512
    .if     (i >> 9) == 3
    .quad   (i << 21) + PTE_LARGE + PTE_UNCACHED
    .else
    .quad   (i << 21) + PTE_LARGE
    .endif
    .set    i, i + 1
    .endr

    .section .note.GNU-stack, "", @progbits
