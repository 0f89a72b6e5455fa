/*
 * Where the process begins. The image is a static PIE without a dynamic linker: it relocates itself (only relative
 * relocations occur), seals what the linker marked read-only after that, and goes on in C.
 */
#include <elf.h>
#include <linux/mman.h>

#include "vmm/base/util.h"
#include "vmm/user/sys/call.h"
#include "vmm/user/sys/start.h"
#include "vmm/user/sys/sys.h"

__asm__(".pushsection .text\n"
        ".globl _start\n"
        ".type _start, @function\n"
        "_start:\n"
        "    xor %ebp, %ebp\n"
        "    mov %rsp, %rdi\n"
        "    lea __ehdr_start(%rip), %rsi\n"
        "    lea _DYNAMIC(%rip), %rdx\n"
        "    and $-16, %rsp\n"
        "    call sys_start\n"
        "    ud2\n"
        ".size _start, . - _start\n"
        ".hidden _DYNAMIC, __ehdr_start\n"
        ".popsection\n");

__attribute__((noreturn, used, visibility("hidden"))) void sys_start(uint64_t *stack, uint8_t *image,
                                                                     const Elf64_Dyn *dynamic);

static void relocate(uint8_t *image, const Elf64_Dyn *dynamic)
{
    const Elf64_Rela *rela = NULL;
    uint64_t size = 0;

    for (const Elf64_Dyn *d = dynamic; d->d_tag != DT_NULL; d++) {
        if (d->d_tag == DT_RELA)
            rela = (const Elf64_Rela *)(image + d->d_un.d_ptr);
        else if (d->d_tag == DT_RELASZ)
            size = d->d_un.d_val;
    }
    for (uint64_t i = 0; rela && i < size / sizeof(*rela); i++) {
        if (ELF64_R_TYPE(rela[i].r_info) != R_X86_64_RELATIVE)
            __builtin_trap(); /* the linker was given something that this program cannot have */
        *(uint64_t *)(image + rela[i].r_offset) = (uint64_t)(uintptr_t)image + (uint64_t)rela[i].r_addend;
    }
}

static void seal(uint8_t *image)
{
    const Elf64_Ehdr *eh = (const Elf64_Ehdr *)image;
    const Elf64_Phdr *ph = (const Elf64_Phdr *)(image + eh->e_phoff);

    for (unsigned i = 0; i < eh->e_phnum; i++) {
        if (ph[i].p_type == PT_GNU_RELRO)
            sys_call(__NR_mprotect, align_down((uint64_t)(uintptr_t)image + ph[i].p_vaddr, SYS_PAGE),
                     align_up(ph[i].p_memsz, SYS_PAGE), PROT_READ);
    }
}

void sys_start(uint64_t *stack, uint8_t *image, const Elf64_Dyn *dynamic)
{
    relocate(image, dynamic);
    seal(image);
    sys_memory_init();
    user_start(stack);
}
