/* The gate, see gate.h. */
#include "vmm/user/sys/gate.h"

#include <asm/unistd.h>
#include <errno.h>
#include <stddef.h>

#define TEXT(x) #x
#define VALUE(x) TEXT(x)

__asm__(".pushsection .text\n"
        ".globl sys_gate, sys_gate_window, sys_gate_insn, sys_gate_end, sys_gate_restart\n"
        ".hidden sys_gate, sys_gate_window, sys_gate_insn, sys_gate_end, sys_gate_restart\n"
        ".globl sys_gate_insn_judged, sys_gate_end_judged\n"
        ".hidden sys_gate_insn_judged, sys_gate_end_judged\n"
        ".type sys_gate, @function\n"
        ".balign 64\n"
        "sys_gate:\n"
        "    mov %rdi, %rax\n"
        "    mov %rdx, %rcx\n"
        "    mov %rsi, %r11\n"
        "    mov (%r11), %rdi\n"
        "    mov 8(%r11), %rsi\n"
        "    mov 16(%r11), %rdx\n"
        "    mov 24(%r11), %r10\n"
        "    mov 32(%r11), %r8\n"
        "    mov 40(%r11), %r9\n"
        "sys_gate_window:\n"
        "    cmpl $0, (%rcx)\n"
        "    jne sys_gate_restart\n"
        "    cmpl $0, 4(%rcx)\n"
        "    jne sys_gate_insn_judged\n"
        "sys_gate_insn:\n"
        "    syscall\n"
        "sys_gate_end:\n"
        "    ret\n"
        "sys_gate_insn_judged:\n"
        "    syscall\n"
        "sys_gate_end_judged:\n"
        "    ret\n"
        "sys_gate_restart:\n"
        "    mov $-" VALUE(SYS_RESTART) ", %rax\n"
                                        "    ret\n"
                                        ".size sys_gate, . - sys_gate\n"
                                        ".popsection\n");

extern const char sys_gate_window[] __attribute__((visibility("hidden")));
extern const char sys_gate_insn[] __attribute__((visibility("hidden")));
extern const char sys_gate_end[] __attribute__((visibility("hidden")));
extern const char sys_gate_insn_judged[] __attribute__((visibility("hidden")));
extern const char sys_gate_end_judged[] __attribute__((visibility("hidden")));
extern const char sys_gate_restart[] __attribute__((visibility("hidden")));

static uint64_t address(const char *label)
{
    return (uint64_t)(uintptr_t)label;
}

_Static_assert(offsetof(struct sys_gate_state, pending) == 0 && offsetof(struct sys_gate_state, judged) == 4, "gate");

uint64_t sys_gate_address(void)
{
    return address(sys_gate_end);
}

bool sys_gate_returns(uint64_t pc)
{
    return pc == address(sys_gate_end) || pc == address(sys_gate_end_judged);
}

void sys_gate_again(uint64_t *pc, uint64_t ax)
{
    bool at_insn = *pc == address(sys_gate_insn) || *pc == address(sys_gate_insn_judged);
    bool before = *pc >= address(sys_gate_window) && *pc < address(sys_gate_insn);

    if (at_insn || before || (sys_gate_returns(*pc) && ax == (uint64_t)-EINTR))
        *pc = address(sys_gate_restart);
}

void sys_gate_leave(uint64_t *pc, uint64_t *ax)
{
    bool at_insn = *pc == address(sys_gate_insn) || *pc == address(sys_gate_insn_judged);

    if (!at_insn && (*pc < address(sys_gate_window) || *pc >= address(sys_gate_insn)))
        return;
    /* A call that a stop had interrupted goes on as restart_syscall; with a handler it ends as interrupted. */
    if (at_insn && *ax == __NR_restart_syscall) {
        *pc = address(sys_gate_end);
        *ax = (uint64_t)-EINTR;
        return;
    }
    *pc = address(sys_gate_restart);
}
