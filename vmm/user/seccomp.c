/*
 * Running and installing filters: see seccomp.h. A program is checked as the kernel does it (bpf_check_classic and
 * seccomp_check_filter), so that running it needs no checks; translation is in seccomp_host.c.
 */
#include "vmm/user/seccomp.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <string.h>

#include "vmm/user/access.h"
#include "vmm/user/open_flags.h"
#include "vmm/user/seccomp_host.h"
#include "vmm/user/signal.h"
#include "vmm/user/sys/call.h"
#include "vmm/user/sys/lock.h"
#include "vmm/user/sys/sys.h"
#include "vmm/user/trace.h"

#define PROGRAM_MAX 4096
#define CHAIN_MAX 32768 /* MAX_INSNS_PER_PATH of the kernel: of all programs, with 4 more for each */

struct user_filter {
    _Atomic uint32_t refs;
    struct user_filter *prev; /* installed before; it is run, too */
    bool listened;            /* the host has it, with a descriptor for SECCOMP_RET_USER_NOTIF */
    bool strict;              /* mode 1: read, write, exit and sigreturn alone */
    unsigned len;
    struct sock_filter insn[];
};

struct user_filter *user_seccomp_get(struct user_filter *f)
{
    if (f)
        atomic_fetch_add(&f->refs, 1);
    return f;
}

void user_seccomp_put(struct user_filter *f)
{
    struct user_filter *prev;

    for (; f && atomic_fetch_sub(&f->refs, 1) == 1; f = prev) {
        prev = f->prev;
        sys_free(f);
    }
}

/* ---- checking ---- */

static bool check_insn(const struct sock_filter *p, unsigned at, unsigned len)
{
    unsigned left = len - at - 1; /* behind this one */

    switch (p->code) {
    case BPF_LD | BPF_W | BPF_ABS: return p->k < sizeof(struct seccomp_data) && p->k % 4 == 0;
    case BPF_ALU | BPF_DIV | BPF_K: return p->k != 0;
    case BPF_ALU | BPF_LSH | BPF_K:
    case BPF_ALU | BPF_RSH | BPF_K: return p->k < 32;
    case BPF_LD | BPF_MEM:
    case BPF_LDX | BPF_MEM:
    case BPF_ST:
    case BPF_STX: return p->k < BPF_MEMWORDS;
    case BPF_JMP | BPF_JA: return p->k < left;
    case BPF_JMP | BPF_JEQ | BPF_K:
    case BPF_JMP | BPF_JEQ | BPF_X:
    case BPF_JMP | BPF_JGE | BPF_K:
    case BPF_JMP | BPF_JGE | BPF_X:
    case BPF_JMP | BPF_JGT | BPF_K:
    case BPF_JMP | BPF_JGT | BPF_X:
    case BPF_JMP | BPF_JSET | BPF_K:
    case BPF_JMP | BPF_JSET | BPF_X: return p->jt < left && p->jf < left;
    case BPF_RET | BPF_K:
    case BPF_RET | BPF_A:
    case BPF_LD | BPF_W | BPF_LEN:
    case BPF_LDX | BPF_W | BPF_LEN:
    case BPF_LD | BPF_IMM:
    case BPF_LDX | BPF_IMM:
    case BPF_MISC | BPF_TAX:
    case BPF_MISC | BPF_TXA:
    case BPF_ALU | BPF_ADD: /* BPF_K, which is 0 as BPF_ADD is */
    case BPF_ALU | BPF_ADD | BPF_X:
    case BPF_ALU | BPF_SUB | BPF_K:
    case BPF_ALU | BPF_SUB | BPF_X:
    case BPF_ALU | BPF_MUL | BPF_K:
    case BPF_ALU | BPF_MUL | BPF_X:
    case BPF_ALU | BPF_DIV | BPF_X:
    case BPF_ALU | BPF_AND | BPF_K:
    case BPF_ALU | BPF_AND | BPF_X:
    case BPF_ALU | BPF_OR | BPF_K:
    case BPF_ALU | BPF_OR | BPF_X:
    case BPF_ALU | BPF_XOR | BPF_K:
    case BPF_ALU | BPF_XOR | BPF_X:
    case BPF_ALU | BPF_LSH | BPF_X:
    case BPF_ALU | BPF_RSH | BPF_X:
    case BPF_ALU | BPF_NEG: return true;
    default: return false;
    }
}

static bool check_program(const struct user_filter *f)
{
    for (unsigned i = 0; i < f->len; i++) {
        if (!check_insn(&f->insn[i], i, f->len))
            return false;
    }
    return BPF_CLASS(f->insn[f->len - 1].code) == BPF_RET;
}

/* ---- running ---- */

static uint32_t alu(uint16_t op, uint32_t a, uint32_t b)
{
    switch (op) {
    case BPF_ADD: return a + b;
    case BPF_SUB: return a - b;
    case BPF_MUL: return a * b;
    case BPF_DIV: return b ? a / b : 0;
    case BPF_AND: return a & b;
    case BPF_OR: return a | b;
    case BPF_XOR: return a ^ b;
    case BPF_LSH: return a << (b & 31);
    case BPF_RSH: return a >> (b & 31);
    default: return 0 - a;
    }
}

static bool jump(uint16_t op, uint32_t a, uint32_t b)
{
    switch (op) {
    case BPF_JEQ: return a == b;
    case BPF_JGE: return a >= b;
    case BPF_JGT: return a > b;
    default: return a & b;
    }
}

/* A checked program only jumps forward and ends with a return. */
static uint32_t run(const struct user_filter *f, const struct seccomp_data *data)
{
    uint32_t a = 0, x = 0, mem[BPF_MEMWORDS] = {0};

    for (const struct sock_filter *p = f->insn;; p++) {
        uint32_t operand = BPF_SRC(p->code) == BPF_X ? x : p->k;
        switch (BPF_CLASS(p->code)) {
        case BPF_LD:
            a = BPF_MODE(p->code) == BPF_ABS   ? le32_get((const char *)data + p->k)
                : BPF_MODE(p->code) == BPF_IMM ? p->k
                : BPF_MODE(p->code) == BPF_LEN ? (uint32_t)sizeof(*data)
                                               : mem[p->k];
            break;
        case BPF_LDX:
            x = BPF_MODE(p->code) == BPF_IMM   ? p->k
                : BPF_MODE(p->code) == BPF_LEN ? (uint32_t)sizeof(*data)
                                               : mem[p->k];
            break;
        case BPF_ST: mem[p->k] = a; break;
        case BPF_STX: mem[p->k] = x; break;
        case BPF_ALU: a = alu(BPF_OP(p->code), a, operand); break;
        case BPF_JMP: p += BPF_OP(p->code) == BPF_JA ? p->k : jump(BPF_OP(p->code), a, operand) ? p->jt : p->jf; break;
        case BPF_RET: return BPF_RVAL(p->code) == BPF_A ? a : p->k;
        default:
            if (BPF_MISCOP(p->code) == BPF_TAX)
                x = a;
            else
                a = x;
        }
    }
}

static uint32_t run_strict(uint64_t nr)
{
    /* read, write, exit, rt_sigreturn */
    return nr == 63 || nr == 64 || nr == 93 || nr == 139 ? SECCOMP_RET_ALLOW : SECCOMP_RET_KILL_THREAD;
}

/* Of several filters the strictest action counts, of equal ones the newest filter's. */
static uint32_t run_all(const struct user_filter *f, const struct seccomp_data *data, const struct user_filter **by)
{
    uint32_t result = SECCOMP_RET_ALLOW;

    for (; f; f = f->prev) {
        uint32_t r = f->strict ? run_strict((uint64_t)data->nr) : run(f, data);
        if ((int32_t)(r & SECCOMP_RET_ACTION_FULL) < (int32_t)(result & SECCOMP_RET_ACTION_FULL)) {
            result = r;
            *by = f;
        }
    }
    return result;
}

/* SIGSYS at the SVC, with X0 as it was: the handler may give the call a result. */
static void trap(struct user_thread *t, uint64_t nr, uint32_t data)
{
    t->fault = (struct user_fault){
        .sig = ABI_SIGSYS, .code = ABI_SYS_SECCOMP, .addr = t->cpu->pc, .value = data, .nr = (uint32_t)nr};
    t->event = USER_EVENT_FAULT;
}

bool user_seccomp_allows(struct user_thread *t, uint64_t nr, const uint64_t a[6], int64_t *ret)
{
    struct seccomp_data data = {.nr = (int)nr, .arch = AUDIT_ARCH_AARCH64, .instruction_pointer = t->cpu->pc};
    const struct user_filter *by = NULL;
    bool strict;
    uint32_t r;

    if (user_trace_suspends_seccomp(t))
        return true;
    memcpy(data.args, a, sizeof(data.args));
    r = run_all(t->filters, &data, &by);
    strict = by && by->strict;
    t->gate.judged = 1;
    *ret = -ENOSYS;
    switch (r & SECCOMP_RET_ACTION_FULL) {
    case SECCOMP_RET_ALLOW:
    case SECCOMP_RET_LOG: return true;
    case SECCOMP_RET_ERRNO: *ret = -(int64_t)MIN(r & SECCOMP_RET_DATA, 4095u); return false;
    case SECCOMP_RET_TRAP:
        trap(t, nr, r & SECCOMP_RET_DATA);
        *ret = -USER_NO_RESULT;
        return false;
    case SECCOMP_RET_TRACE: {
        bool known = t->trace.rechecked;
        if (!user_trace_seccomp(t, r & SECCOMP_RET_DATA))
            return false;
        if (known)
            return true;
        t->trace.rechecked = true;
        *ret = -USER_CALL_AGAIN;
        return false;
    }
    case SECCOMP_RET_USER_NOTIF:
        /* The host's copy decides the same, and asks whoever listens: the call goes through the first gate. */
        t->gate.judged = 0;
        return by->listened;
    case SECCOMP_RET_KILL_THREAD:
        if (!strict && !user_thread_alone(t))
            user_thread_end(t, __NR_exit, ABI_SIGSYS);
        __attribute__((fallthrough));
    default: user_signal_kill(t, strict ? ABI_SIGKILL : ABI_SIGSYS); return false;
    }
}

/* ---- installing ---- */

static int copy_program(uint64_t va, struct user_filter **out)
{
    struct {
        uint16_t len;
        uint64_t insns;
    } prog;
    struct user_filter *f;

    if (user_copy_in(&prog, va, sizeof(prog)))
        return -EFAULT;
    if (!prog.len || prog.len > PROGRAM_MAX)
        return -EINVAL;
    f = sys_alloc(sizeof(*f) + prog.len * sizeof(f->insn[0]));
    if (!f)
        return -ENOMEM;
    f->refs = 1;
    f->len = prog.len;
    int r = user_copy_in(f->insn, prog.insns, prog.len * sizeof(f->insn[0])) ? -EFAULT : check_program(f) ? 0 : -EINVAL;
    if (r)
        sys_free(f);
    else
        *out = f;
    return r;
}

/* Only what cannot gain privileges, or has them, may filter its calls. */
static bool may_install(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {0};

    if (sys_call(__NR_prctl, PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1)
        return true;
    return !sys_call(__NR_capget, &head, data) && (data[0].effective & BIT32(CAP_SYS_ADMIN));
}

#define FLAG_WAIT_KILLABLE_RECV 0x20
#define FLAGS_KNOWN                                                                                                    \
    (SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_LOG | SECCOMP_FILTER_FLAG_SPEC_ALLOW |                            \
     SECCOMP_FILTER_FLAG_TSYNC_ESRCH | SECCOMP_FILTER_FLAG_NEW_LISTENER | FLAG_WAIT_KILLABLE_RECV)

static bool chain_fits(const struct user_filter *f, const struct user_filter *before)
{
    unsigned total = f->len;

    for (; before; before = before->prev)
        total += before->len + 4;
    return total <= CHAIN_MAX;
}

bool user_seccomp_begins_with(const struct user_filter *f, const struct user_filter *other)
{
    while (f && f != other)
        f = f->prev;
    return f == other;
}

static int64_t set_filter(struct user_thread *t, uint64_t flags, uint64_t va)
{
    const uint64_t both = SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_NEW_LISTENER;
    bool listen = flags & SECCOMP_FILTER_FLAG_NEW_LISTENER;
    struct user_filter *f;
    int64_t r;

    if ((flags & ~(uint64_t)FLAGS_KNOWN) || ((flags & FLAG_WAIT_KILLABLE_RECV) && !listen) ||
        ((flags & both) == both && !(flags & SECCOMP_FILTER_FLAG_TSYNC_ESRCH)))
        return -EINVAL;
    r = copy_program(va, &f);
    if (r)
        return r;
    if (!may_install()) {
        sys_free(f);
        return -EACCES;
    }
    if (!chain_fits(f, t->filters)) {
        sys_free(f);
        return -ENOMEM;
    }
    r = flags & SECCOMP_FILTER_FLAG_TSYNC ? user_thread_filters_differ(t) : 0;
    if (r) {
        sys_free(f);
        return flags & SECCOMP_FILTER_FLAG_TSYNC_ESRCH ? -ESRCH : r;
    }
    /* The kernel's copy serves the programs that this one executes; a host that allows no filters does without. */
    r = user_seccomp_host_install(f->insn, f->len, flags);
    if (listen && r < 0) {
        sys_free(f);
        return r;
    }
    f->listened = listen;
    f->prev = t->filters;
    t->filters = f;
    if (flags & SECCOMP_FILTER_FLAG_TSYNC)
        user_thread_share_filters(t);
    return listen ? r : 0;
}

static int64_t set_strict(struct user_thread *t)
{
    struct user_filter *f;

    /* A mode is for good. */
    if (t->filters)
        return -EINVAL;
    f = sys_alloc(sizeof(*f));
    if (!f)
        return -ENOMEM;
    f->refs = 1;
    f->strict = true;
    f->prev = t->filters;
    t->filters = f;
    return 0;
}

static int64_t action_available(uint64_t va)
{
    uint32_t action;

    if (user_get32(va, &action))
        return -EFAULT;
    switch (action) {
    case SECCOMP_RET_KILL_PROCESS:
    case SECCOMP_RET_KILL_THREAD:
    case SECCOMP_RET_TRAP:
    case SECCOMP_RET_ERRNO:
    case SECCOMP_RET_TRACE:
    case SECCOMP_RET_USER_NOTIF:
    case SECCOMP_RET_LOG:
    case SECCOMP_RET_ALLOW: return 0;
    default: return -EOPNOTSUPP;
    }
}

int64_t user_call_seccomp(struct user_thread *t, const uint64_t a[6])
{
    switch ((uint32_t)a[0]) {
    case SECCOMP_SET_MODE_STRICT: return a[1] || a[2] ? -EINVAL : set_strict(t);
    case SECCOMP_SET_MODE_FILTER: return set_filter(t, a[1], a[2]);
    case SECCOMP_GET_NOTIF_SIZES: return user_host_call(t, __NR_seccomp, a[0], a[1], a[2]);
    case SECCOMP_GET_ACTION_AVAIL: return a[1] ? -EINVAL : action_available(a[2]);
    default: return -EINVAL;
    }
}

int64_t user_seccomp_prctl(struct user_thread *t, uint64_t mode, uint64_t program)
{
    switch (mode) {
    case SECCOMP_MODE_STRICT: return set_strict(t);
    case SECCOMP_MODE_FILTER: return set_filter(t, 0, program);
    default: return -EINVAL;
    }
}

/* arm64's number for the host's, or the same where it has none. */
static uint32_t guest_number(uint32_t host)
{
    for (uint32_t nr = 0; nr < USER_CALL_COUNT; nr++) {
        if (user_calls[nr].name && (uint32_t)user_calls[nr].host == host)
            return nr;
    }
    return host;
}

int64_t user_seccomp_receive(struct user_thread *t, const uint64_t a[6])
{
    struct seccomp_notif n;
    int64_t r = user_host_call(t, __NR_ioctl, a[0], a[1], a[2]);

    if (r || user_copy_in(&n, a[2], sizeof(n)))
        return r ? r : -EFAULT;
    /* A program of the host's own is shown as it is. */
    if (n.data.arch != AUDIT_ARCH_X86_64 || n.data.instruction_pointer != sys_gate_address())
        return 0;
    if (n.data.nr == __NR_openat)
        n.data.args[2] = user_open_flags_to_guest(n.data.args[2]);
    n.data.nr = (int)guest_number((uint32_t)n.data.nr);
    n.data.arch = AUDIT_ARCH_AARCH64;
    return user_copy_out(a[2], &n, sizeof(n)) ? -EFAULT : 0;
}

void user_seccomp_convert(const struct user_thread *t, struct abi_siginfo *info)
{
    info->call.nr = guest_number(info->call.nr);
    info->call.arch = ABI_AUDIT_ARCH;
    info->call.addr = t->cpu->pc;
}
