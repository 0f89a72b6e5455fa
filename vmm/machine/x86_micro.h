/*
 * The x86-64 `micro` machine: what a kernel needs and nothing of a PC beside it. A 16550, virtio on mmio, the interrupt
 * controllers and timers that KVM has in the kernel, and ACPI to describe them, to power off and to reset.
 */
#ifndef PIPIT_MACHINE_X86_MICRO_H
#define PIPIT_MACHINE_X86_MICRO_H

/* Memory. RAM is at 0 up to X86_RAM_LOW_MAX, the rest from X86_RAM_HIGH (arch/x86/boot.h). */
#define MICRO_VIRTIO 0xd0000000
#define MICRO_VIRTIO_STRIDE 0x1000
#define MICRO_VIRTIO_SIZE 0x200
#define MICRO_IOAPIC 0xfec00000
#define MICRO_LAPIC 0xfee00000
#define MICRO_MEMORY_MAX (UINT64_C(1) << 40)

/* Ports. */
#define MICRO_UART 0x3f8 /* COM1 */
#define MICRO_UART_SIZE 8
#define MICRO_POWER 0x600
#define MICRO_DEBUG 0x610
#define MICRO_DEBUG_SIZE 8

/* Global system interrupts: pins of the one IOAPIC, which has 24. */
#define MICRO_GSI_POWER_BUTTON 3
#define MICRO_GSI_UART 4
#define MICRO_GSI_VIRTIO 5 /* plus the slot */
#define MICRO_SLOTS 19

/* APIC numbers are vCPU numbers, and 255 is the one that means all. */
#define MICRO_MAX_CPUS 255

#endif
