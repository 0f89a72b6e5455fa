/*
 * A bzImage around a program, by hand: the setup header of the Linux boot protocol (Documentation/arch/x86/boot.rst),
 * version 2.15, in the least that makes a loader use the 64-bit entry point, and the flat program behind it. There is no
 * real-mode code: a loader that begins there gets a halted CPU. PAYLOAD is the program's file, INIT_SIZE the memory that
 * it takes from 1 MiB up.
 */
#define XLF_KERNEL_64 0x1
#define LOADED_HIGH 0x1

    .code16
    .section .text
    .globl  _start
_start:
    .org    0x1f1
    .byte   1                       /* setup_sects: one behind this one */
    .word   0                       /* root_flags */
    .long   (payload_end - payload + 15) / 16
    .word   0, 0, 0                 /* ram_size, vid_mode, root_dev */
    .word   0xaa55
    .byte   0xeb, setup - . - 1     /* jump */
    .ascii  "HdrS"
    .word   0x020f                  /* version */
    .long   0                       /* realmode_swtch */
    .word   0, 0                    /* start_sys_seg, kernel_version: none */
    .byte   0                       /* type_of_loader: the loader's to fill in */
    .byte   LOADED_HIGH
    .word   0                       /* setup_move_size */
    .long   0x100000                /* code32_start */
    .long   0, 0                    /* ramdisk_image, ramdisk_size */
    .long   0                       /* bootsect_kludge */
    .word   0                       /* heap_end_ptr */
    .byte   0, 0                    /* ext_loader_ver, ext_loader_type */
    .long   0                       /* cmd_line_ptr */
    .long   0x7fffffff              /* initrd_addr_max */
    .long   0x100000                /* kernel_alignment */
    .byte   0                       /* relocatable_kernel */
    .byte   20                      /* min_alignment */
    .word   XLF_KERNEL_64
    .long   2047                    /* cmdline_size */
    .long   0                       /* hardware_subarch: PC */
    .quad   0                       /* hardware_subarch_data */
    .long   0, 0                    /* payload_offset, payload_length: not compressed */
    .quad   0                       /* setup_data */
    .quad   0x100000                /* pref_address */
    .long   INIT_SIZE
    .long   0                       /* handover_offset */
    .long   0                       /* kernel_info_offset */
setup:
    cli
1:  hlt
    jmp     1b
    .org    0x400
payload:
    .incbin PAYLOAD
payload_end:

    .section .note.GNU-stack, "", @progbits
