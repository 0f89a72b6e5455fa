/*
 * Entry points, exception vectors, and run(), which executes a piece of code at a chosen EL until its first exception.
 * CPU n's stack is the 16 KiB that end at stacks + (n + 1) * 16384.
 */
#define FRAME 320 /* sizeof(struct frame) */

    .section .text.start, "ax"
    .global _start
_start:
    mov     x19, #0
    bl      cpu_init
    bl      main
    b       guest_off

/* PSCI CPU_ON comes here with the CPU's index in x0. */
    .global cpu_entry
cpu_entry:
    mov     x19, x0
    bl      cpu_init
    mov     x0, x19
    bl      cpu_main
1:  wfi
    b       1b

cpu_init:
    msr     spsel, #1
    adrp    x0, stacks
    add     x0, x0, :lo12:stacks
    add     x1, x19, #1
    add     x0, x0, x1, lsl #14
    mov     sp, x0
    adrp    x0, vectors
    add     x0, x0, :lo12:vectors
    msr     vbar_el1, x0
    mov     x0, #3 << 20
    msr     cpacr_el1, x0
    isb
    ret

    .text
    .macro  vector off
    .balign 0x80
    sub     sp, sp, #FRAME
    stp     x0, x1, [sp]
    mov     x0, #\off
    b       vector_common
    .endm

    .balign 0x800
vectors:
    vector  0x000
    vector  0x080
    vector  0x100
    vector  0x180
    vector  0x200
    vector  0x280
    vector  0x300
    vector  0x380
    vector  0x400
    vector  0x480
    vector  0x500
    vector  0x580
    vector  0x600
    vector  0x680
    vector  0x700
    vector  0x780

vector_common:
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    mrs     x1, sp_el0
    stp     x30, x1, [sp, #240]
    mrs     x1, elr_el1
    mrs     x2, spsr_el1
    stp     x1, x2, [sp, #256]
    mrs     x1, esr_el1
    mrs     x2, far_el1
    stp     x1, x2, [sp, #272]
    mrs     x1, daif
    mrs     x2, currentel
    orr     x1, x1, x2
    mrs     x2, spsel
    orr     x1, x1, x2
    stp     x0, x1, [sp, #288]
    mov     x0, sp
    bl      guest_trap
    ldp     x1, x2, [sp, #256]
    msr     elr_el1, x1
    msr     spsr_el1, x2
    ldp     x30, x1, [sp, #240]
    msr     sp_el0, x1
    ldp     x2, x3, [sp, #16]
    ldp     x4, x5, [sp, #32]
    ldp     x6, x7, [sp, #48]
    ldp     x8, x9, [sp, #64]
    ldp     x10, x11, [sp, #80]
    ldp     x12, x13, [sp, #96]
    ldp     x14, x15, [sp, #112]
    ldp     x16, x17, [sp, #128]
    ldp     x18, x19, [sp, #144]
    ldp     x20, x21, [sp, #160]
    ldp     x22, x23, [sp, #176]
    ldp     x24, x25, [sp, #192]
    ldp     x26, x27, [sp, #208]
    ldp     x28, x29, [sp, #224]
    ldp     x0, x1, [sp], #FRAME
    eret

/* void run_enter(const struct run *r): see guest.h. */
    .global run_enter
run_enter:
    stp     x29, x30, [sp, #-96]!
    stp     x19, x20, [sp, #16]
    stp     x21, x22, [sp, #32]
    stp     x23, x24, [sp, #48]
    stp     x25, x26, [sp, #64]
    stp     x27, x28, [sp, #80]
    adrp    x1, run_sp
    mov     x2, sp
    str     x2, [x1, :lo12:run_sp]
    ldp     x1, x2, [x0], #16
    msr     elr_el1, x1
    msr     spsr_el1, x2
    ldr     x1, [x0], #8
    msr     sp_el0, x1
    mov     x30, x0
    ldp     x0, x1, [x30]
    ldp     x2, x3, [x30, #16]
    mov     x30, #0
    eret
    .global run_return
run_return:
    adrp    x1, run_sp
    ldr     x1, [x1, :lo12:run_sp]
    mov     sp, x1
    ldp     x19, x20, [sp, #16]
    ldp     x21, x22, [sp, #32]
    ldp     x23, x24, [sp, #48]
    ldp     x25, x26, [sp, #64]
    ldp     x27, x28, [sp, #80]
    ldp     x29, x30, [sp], #96
    ret

    .bss
    .balign 8
run_sp:
    .skip   8
