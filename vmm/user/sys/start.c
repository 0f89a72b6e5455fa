/*
 * Where the process begins. The image is linked to a fixed place, so that nothing is to be relocated; what the linker
 * marked as read-only from the start on is made so.
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
        "    and $-16, %rsp\n"
        "    call sys_start\n"
        "    ud2\n"
        ".size _start, . - _start\n"
        ".popsection\n");

__attribute__((noreturn, used, visibility("hidden"))) void sys_start(uint64_t *stack);

extern const Elf64_Ehdr __ehdr_start __attribute__((visibility("hidden")));

static void seal(void)
{
    const Elf64_Phdr *ph = (const Elf64_Phdr *)((const char *)&__ehdr_start + __ehdr_start.e_phoff);

    for (unsigned i = 0; i < __ehdr_start.e_phnum; i++) {
        uint64_t start = align_down(ph[i].p_vaddr, SYS_PAGE);
        if (ph[i].p_type == PT_GNU_RELRO)
            sys_call(__NR_mprotect, start, align_down(ph[i].p_vaddr + ph[i].p_memsz, SYS_PAGE) - start, PROT_READ);
    }
}

void sys_start(uint64_t *stack)
{
    seal();
    sys_memory_init();
    user_start(stack);
}
