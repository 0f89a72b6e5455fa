/*
 * Translation of a filter. In front of the guest's program goes one that lets pass what does not come through the first
 * gate, and that turns the host's number into arm64's by a binary search; the guest's own loads of number and
 * architecture are replaced one by one, so that its jumps stay as they are.
 */
#include "vmm/user/seccomp_host.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>

#include "vmm/user/sys/call.h"
#include "vmm/user/sys/gate.h"
#include "vmm/user/sys/sys.h"
#include "vmm/user/syscall.h"

#define PROGRAM_MAX 4096
#define DATA(field) offsetof(struct seccomp_data, field)

struct program {
    struct sock_filter insn[PROGRAM_MAX];
    unsigned len;
    bool full;
};

static unsigned emit(struct program *p, uint16_t code, uint8_t jt, uint8_t jf, uint32_t k)
{
    if (p->len == PROGRAM_MAX) {
        p->full = true;
        return 0;
    }
    p->insn[p->len] = (struct sock_filter){code, jt, jf, k};
    return p->len++;
}

/* ---- numbers ---- */

struct pair {
    uint16_t host, guest;
};

static unsigned collect(struct pair *pairs)
{
    unsigned n = 0;

    for (unsigned nr = 0; nr < USER_CALL_COUNT; nr++) {
        if (!user_calls[nr].name)
            continue;
        /* By insertion: the two orders differ much, but this is done once a filter. */
        unsigned i = n++;
        for (; i > 0 && pairs[i - 1].host > user_calls[nr].host; i--)
            pairs[i] = pairs[i - 1];
        pairs[i] = (struct pair){(uint16_t)user_calls[nr].host, (uint16_t)nr};
    }
    return n;
}

/* A holds the host's number; at the end of each way it holds arm64's, or -1. Ends are collected in a chain of jumps
 * whose targets are filled in when it is known where the program goes on. */
#define TO_END UINT32_MAX

static void emit_search(struct program *p, const struct pair *pairs, unsigned n)
{
    if (n == 1) {
        emit(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 2, pairs->host);
        emit(p, BPF_LD | BPF_IMM, 0, 0, pairs->guest);
        emit(p, BPF_JMP | BPF_JA, 0, 0, TO_END);
        emit(p, BPF_LD | BPF_IMM, 0, 0, UINT32_MAX);
        emit(p, BPF_JMP | BPF_JA, 0, 0, TO_END);
        return;
    }
    unsigned half = n / 2, jump;
    emit(p, BPF_JMP | BPF_JGE | BPF_K, 0, 1, pairs[half].host);
    jump = emit(p, BPF_JMP | BPF_JA, 0, 0, 0);
    emit_search(p, pairs, half);
    p->insn[jump].k = p->len - jump - 1;
    emit_search(p, pairs + half, n - half);
}

/* A word of BPF's memory that the guest's program does not use. */
static int free_word(const struct sock_filter *insn, unsigned len)
{
    uint32_t used = 0;

    for (unsigned i = 0; i < len; i++) {
        uint16_t class = BPF_CLASS(insn[i].code);
        bool mem = class == BPF_ST || class == BPF_STX ||
                   ((class == BPF_LD || class == BPF_LDX) && BPF_MODE(insn[i].code) == BPF_MEM);
        if (mem)
            used |= BIT32(insn[i].k);
    }
    return used == BIT32(BPF_MEMWORDS) - 1 ? -1 : __builtin_ctz(~used);
}

static void emit_prefix(struct program *p, unsigned word)
{
    struct pair pairs[USER_CALL_COUNT];
    uint64_t gate = sys_gate_address();

    emit(p, BPF_LD | BPF_W | BPF_ABS, 0, 0, DATA(instruction_pointer));
    emit(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 2, (uint32_t)gate);
    emit(p, BPF_LD | BPF_W | BPF_ABS, 0, 0, DATA(instruction_pointer) + 4);
    emit(p, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, (uint32_t)(gate >> 32));
    emit(p, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
    emit(p, BPF_LD | BPF_W | BPF_ABS, 0, 0, DATA(nr));
    unsigned start = p->len;
    emit_search(p, pairs, collect(pairs));
    for (unsigned i = start; i < p->len; i++) {
        if (p->insn[i].code == (BPF_JMP | BPF_JA) && p->insn[i].k == TO_END)
            p->insn[i].k = p->len - i - 1;
    }
    emit(p, BPF_ST, 0, 0, word);
}

static void emit_guest(struct program *p, const struct sock_filter *insn, unsigned len, unsigned word)
{
    emit(p, BPF_LD | BPF_IMM, 0, 0, 0); /* A is zero when a program begins */
    for (unsigned i = 0; i < len; i++) {
        if (insn[i].code == (BPF_LD | BPF_W | BPF_ABS) && insn[i].k == DATA(nr))
            emit(p, BPF_LD | BPF_MEM, 0, 0, word);
        else if (insn[i].code == (BPF_LD | BPF_W | BPF_ABS) && insn[i].k == DATA(arch))
            emit(p, BPF_LD | BPF_IMM, 0, 0, AUDIT_ARCH_AARCH64);
        else
            emit(p, insn[i].code, insn[i].jt, insn[i].jf, insn[i].k);
    }
}

int64_t user_seccomp_host_install(const struct sock_filter *insn, unsigned len, uint64_t flags)
{
    struct program *p = sys_alloc(sizeof(*p));
    int word = free_word(insn, len);
    int64_t r = -ENOMEM;

    if (p && word >= 0) {
        emit_prefix(p, (unsigned)word);
        emit_guest(p, insn, len, (unsigned)word);
        struct sock_fprog prog = {.len = (unsigned short)p->len, .filter = p->insn};
        if (!p->full)
            r = sys_call(__NR_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
    }
    sys_free(p);
    return r;
}
