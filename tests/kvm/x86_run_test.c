/*
 * vCPUs under the host's KVM: what the guest accesses reaches the buses as it was made, kicks end runs and none is
 * lost, and what a guest does to itself ends as it should.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arch/x86/regs.h"
#include "tests/check.h"
#include "tests/kvm/x86_guest.h"
#include "tests/lib/vm86.h"

static struct vm86 m;

static bool start(const uint8_t *begin, const uint8_t *end, enum vcpu_mode mode)
{
    return vm86_load(&m, begin, (size_t)(end - begin), mode, 0x7000);
}
#define START(name) CHECK(start(guest_##name, guest_##name##_end, VCPU_MODE_X86_LONG))

static bool accessed(unsigned i, bool port, bool write, uint64_t addr, unsigned size, uint64_t val)
{
    const struct vm86_access *a = &m.access[i];

    if (i < atomic_load(&m.naccesses) && a->port == port && a->write == write && a->addr == addr && a->size == size &&
        a->val == val)
        return true;
    printf("  access %u of %u: %s %s of %u bytes at 0x%llx, 0x%llx\n", i, atomic_load(&m.naccesses),
           a->port ? "port" : "mmio", a->write ? "write" : "read", a->size, (unsigned long long)a->addr,
           (unsigned long long)a->val);
    return false;
}

/* ---- accesses ---- */

GUEST(mmio, "mov $0xd0000000, %ebx\n"
            "movabs $0x1122334455667788, %rax\n"
            "mov %al, 1(%rbx)\n"
            "mov %ax, 2(%rbx)\n"
            "mov %eax, 4(%rbx)\n"
            "mov %rax, 8(%rbx)\n"
            "mov 0x10(%rbx), %cl\n"
            "mov 0x12(%rbx), %dx\n"
            "mov 0x14(%rbx), %esi\n"
            "mov 0x18(%rbx), %rdi\n"
            "leave_with 7\n")

static void mmio_sizes_and_values(void)
{
    START(mmio);
    atomic_store(&m.answer, UINT64_C(0xa1b2c3d4e5f60718));
    CHECK_EQ(vm86_run(&m, 0), VCPU_EXIT_KICK);
    CHECK_EQ(atomic_load(&m.exit), 7);
    CHECK_EQ(atomic_load(&m.naccesses), 8);
    CHECK(accessed(0, false, true, 1, 1, 0x88));
    CHECK(accessed(1, false, true, 2, 2, 0x7788));
    CHECK(accessed(2, false, true, 4, 4, 0x55667788));
    CHECK(accessed(3, false, true, 8, 8, UINT64_C(0x1122334455667788)));
    for (unsigned i = 0; i < 4; i++)
        CHECK(accessed(4 + i, false, false, 0x10 + (i ? 1u << i : 0), 1u << i, UINT64_C(0xa1b2c3d4e5f60718)));
    CHECK_EQ(vm86_reg(&m, 0, X86_REG_RCX) & 0xff, 0x18);
    CHECK_EQ(vm86_reg(&m, 0, X86_REG_RDX) & 0xffff, 0x0718);
    CHECK_EQ(vm86_reg(&m, 0, X86_REG_RSI), 0xe5f60718);
    CHECK_EQ(vm86_reg(&m, 0, X86_REG_RDI), UINT64_C(0xa1b2c3d4e5f60718));
}

GUEST(port, "mov $0x600, %edx\n"
            "mov $0x55667788, %eax\n"
            "out %al, %dx\n"
            "add $2, %edx\n"
            "out %ax, %dx\n"
            "add $2, %edx\n"
            "out %eax, %dx\n"
            "in %dx, %eax\n"
            "mov %eax, %ebx\n"
            "xor %eax, %eax\n"
            "in %dx, %ax\n"
            "mov %eax, %esi\n"
            "xor %eax, %eax\n"
            "in %dx, %al\n"
            "mov %eax, %edi\n"
            /* Three words from memory, in one instruction. */
            "mov $0x200000, %esi\n"
            "movl $0x00020001, (%rsi)\n"
            "movw $0x0003, 4(%rsi)\n"
            "mov $3, %ecx\n"
            "mov $0x608, %edx\n"
            "rep outsw\n"
            "mov $0xf4, %dx\n"
            "mov $8, %al\n"
            "out %al, %dx\n"
            "1: hlt\n"
            "jmp 1b\n")

static void port_sizes_and_values(void)
{
    START(port);
    atomic_store(&m.answer, 0xe5f60718);
    CHECK_EQ(vm86_run(&m, 0), VCPU_EXIT_KICK);
    CHECK_EQ(atomic_load(&m.exit), 8);
    CHECK_EQ(atomic_load(&m.naccesses), 9);
    CHECK(accessed(0, true, true, 0, 1, 0x88));
    CHECK(accessed(1, true, true, 2, 2, 0x7788));
    CHECK(accessed(2, true, true, 4, 4, 0x55667788));
    for (unsigned i = 0; i < 3; i++)
        CHECK(accessed(3 + i, true, false, 4, 4u >> i, 0xe5f60718));
    for (unsigned i = 0; i < 3; i++)
        CHECK(accessed(6 + i, true, true, 8, 2, 1 + i));
    CHECK_EQ(vm86_reg(&m, 0, X86_REG_RBX), 0xe5f60718);
    CHECK_EQ(vm86_reg(&m, 0, X86_REG_RDI), 0x18);
}

GUEST(unassigned, "mov $0xcf000000, %ebx\n"
                  "movl $1, (%rbx)\n"
                  "mov (%rbx), %rsi\n"
                  "mov $0x700, %edx\n"
                  "out %al, %dx\n"
                  "xor %eax, %eax\n"
                  "in %dx, %al\n"
                  "mov %eax, %edi\n"
                  /* Half in a device, half behind it. */
                  "mov $0x60e, %edx\n"
                  "in %dx, %eax\n"
                  "mov %eax, %ecx\n"
                  "leave_with 0\n")

static void unassigned_reads_as_ones(void)
{
    START(unassigned);
    CHECK_EQ(vm86_run(&m, 0), VCPU_EXIT_KICK);
    CHECK_EQ(atomic_load(&m.exit), 0);
    CHECK_EQ(atomic_load(&m.naccesses), 0);
    CHECK_EQ(vm86_reg(&m, 0, X86_REG_RSI), UINT64_MAX);
    CHECK_EQ(vm86_reg(&m, 0, X86_REG_RDI), 0xff);
    CHECK_EQ(vm86_reg(&m, 0, X86_REG_RCX), 0xffffffff);
}

/* ---- entries ---- */

/* The 32-bit entry of PVH: EBX, flat segments, paging off. */
GUEST(pvh, ".code32\n"
           "mov %cr0, %eax\n"
           "mov %eax, %esi\n"
           "mov %cr4, %edi\n"
           "mov %cs, %cx\n"
           "mov $0x200000, %esp\n"
           "push %ebx\n"
           "pushf\n"
           "pop %edx\n"
           "pop %ebp\n"
           "leave_with 9\n"
           ".code64\n")

static void pvh_entry(void)
{
    CHECK(start(guest_pvh, guest_pvh_end, VCPU_MODE_X86_PVH));
    CHECK_EQ(vm86_run(&m, 0), VCPU_EXIT_KICK);
    CHECK_EQ(atomic_load(&m.exit), 9);
    CHECK_EQ(vm86_reg(&m, 0, X86_REG_RBP), 0x7000);
    CHECK_EQ(vm86_reg(&m, 0, X86_REG_RSI) & 0x80000001, 1);
    /* CR4. KVM on SVM keeps the host's machine checks on (bit 6), and QEMU 10's emulated SVM shows that to the guest.
     */
    CHECK_EQ(vm86_reg(&m, 0, X86_REG_RDI) & ~UINT64_C(0x40), 0);
    CHECK_EQ(vm86_reg(&m, 0, X86_REG_RDX) & 0x20300, 0); /* VM, IF, TF */
}

GUEST(long, "mov %rsi, %rbx\n"
            "mov %cs, %ecx\n"
            "mov %ss, %edx\n"
            "mov %cr0, %rdi\n"
            "mov %cr3, %rbp\n"
            "mov $0x200000, %esp\n"
            "pushf\n"
            "pop %r8\n"
            "leave_with 10\n")

static void long_mode_entry(void)
{
    START(long);
    CHECK_EQ(vm86_run(&m, 0), VCPU_EXIT_KICK);
    CHECK_EQ(atomic_load(&m.exit), 10);
    CHECK_EQ(vm86_reg(&m, 0, X86_REG_RBX), 0x7000);
    CHECK_EQ(vm86_reg(&m, 0, X86_REG_RCX) & 0xffff, 0x10);
    CHECK_EQ(vm86_reg(&m, 0, X86_REG_RDX) & 0xffff, 0x18);
    CHECK_EQ(vm86_reg(&m, 0, X86_REG_RDI) & 0x80000001, 0x80000001);
    CHECK_EQ(vm86_reg(&m, 0, X86_REG_RBP), 0x9000);
    CHECK_EQ(vm86_reg(&m, 0, X86_REG_R8) & 0x200, 0);
}

/* ---- registers ---- */

GUEST(regs, "inc %rax\n"
            "movdqu %xmm15, 0x200000\n"
            "mov %al, %bl\n"
            "leave_with 11\n")

static unsigned reg_width(unsigned r)
{
    if (r >= X86_REG_ST0 && r < X86_REG_FCTRL)
        return 10;
    if (r >= X86_REG_XMM0 && r < X86_REG_MXCSR)
        return 16;
    return r <= X86_REG_RIP || r > X86_REG_MXCSR ? 8 : 4;
}

static void registers_read_back_what_was_set(void)
{
    const struct accel_ops *ops = m.accel->ops;
    uint8_t buf[16], xmm[16], stored[16];

    START(regs);
    for (unsigned r = 0; r < X86_NREGS; r++) {
        CHECK_EQ(ops->get_reg(m.vcpu[0], r, buf, reg_width(r)), 0);
        CHECK_EQ(ops->set_reg(m.vcpu[0], r, buf, reg_width(r)), 0);
        CHECK(ops->get_reg(m.vcpu[0], r, buf, reg_width(r) + 1) < 0);
    }
    CHECK(ops->get_reg(m.vcpu[0], X86_NREGS, buf, 8) < 0);
    for (unsigned r = X86_REG_RAX; r <= X86_REG_R15; r++) {
        uint64_t v = UINT64_C(0x0123456789abcdef) * (r + 1);

        CHECK_EQ(ops->set_reg(m.vcpu[0], r, &v, 8), 0);
        CHECK_EQ(vm86_reg(&m, 0, r), v);
    }
    for (unsigned i = 0; i < 16; i++) {
        memset(xmm, 0x10 + (int)i, sizeof(xmm));
        CHECK_EQ(ops->set_reg(m.vcpu[0], X86_REG_XMM0 + i, xmm, 16), 0);
        CHECK_EQ(ops->get_reg(m.vcpu[0], X86_REG_XMM0 + i, buf, 16), 0);
        CHECK(!memcmp(xmm, buf, 16));
    }
    for (unsigned i = 0; i < 8; i++) {
        uint8_t st[10] = {1, 2, 3, 4, 5, 6, 7, 0x80 | (uint8_t)i, 0xff, 0x3f}, got[10];

        CHECK_EQ(ops->set_reg(m.vcpu[0], X86_REG_ST0 + i, st, 10), 0);
        CHECK_EQ(ops->get_reg(m.vcpu[0], X86_REG_ST0 + i, got, 10), 0);
        CHECK(!memcmp(st, got, 10));
    }
    {
        uint32_t tag = 0xff3f, got;

        CHECK_EQ(ops->set_reg(m.vcpu[0], X86_REG_FTAG, &tag, 4), 0);
        CHECK_EQ(ops->get_reg(m.vcpu[0], X86_REG_FTAG, &got, 4), 0);
        CHECK_EQ(got, tag);
    }
    {
        /* SSE has to be on for the guest's movdqu. */
        uint64_t cr4 = vm86_reg(&m, 0, X86_REG_CR4) | 0x600, base = UINT64_C(0x7fff12345678);

        CHECK_EQ(ops->set_reg(m.vcpu[0], X86_REG_CR4, &cr4, 8), 0);
        CHECK_EQ(ops->set_reg(m.vcpu[0], X86_REG_KERNEL_GS_BASE, &base, 8), 0);
        CHECK_EQ(vm86_reg(&m, 0, X86_REG_KERNEL_GS_BASE), base);
        CHECK_EQ(ops->set_reg(m.vcpu[0], X86_REG_FS_BASE, &base, 8), 0);
        CHECK_EQ(vm86_reg(&m, 0, X86_REG_FS_BASE), base);
    }
    CHECK_EQ(vm86_run(&m, 0), VCPU_EXIT_KICK);
    CHECK_EQ(atomic_load(&m.exit), 11);
    CHECK_EQ(vm86_reg(&m, 0, X86_REG_RBX) & 0xff, 0xf0);
    CHECK_EQ(mem_read(m.mem, GPA(0x200000), stored, 16), 0);
    CHECK(!memcmp(xmm, stored, 16));
}

/* ---- kicks ---- */

GUEST(spin, "1: inc %rax\n"
            "jmp 1b\n")
GUEST(halt, "cli\n"
            "1: hlt\n"
            "jmp 1b\n")
GUEST(knock, "mov $0xd0000000, %ebx\n"
             "1: mov %eax, (%rbx)\n"
             "jmp 1b\n")

static void *kick_soon(void *opaque)
{
    uint64_t *when = opaque;

    usleep(50000);
    *when = vm86_now();
    m.accel->ops->vcpu_kick(m.vcpu[0]);
    return NULL;
}

/* True where a kick from another thread ends the run within half a second, and not before. */
static bool kick_ends_run(void)
{
    uint64_t kicked = 0, ended;
    enum vcpu_exit x;
    pthread_t t;

    if (pthread_create(&t, NULL, kick_soon, &kicked) != 0)
        return false;
    x = m.accel->ops->vcpu_run(m.vcpu[0]);
    ended = vm86_now();
    pthread_join(t, NULL);
    if (ended >= kicked)
        printf("  left %llu us after the kick\n", (unsigned long long)(ended - kicked) / 1000);
    return x == VCPU_EXIT_KICK && kicked && ended >= kicked && ended - kicked < 500000000;
}

static void kick_ends_a_run(void)
{
    START(spin);
    CHECK(kick_ends_run());
    CHECK(vm86_reg(&m, 0, X86_REG_RAX) > 0);
    START(halt);
    CHECK(kick_ends_run());
    START(knock);
    CHECK(kick_ends_run());
}

static void kick_before_a_run_ends_it_at_once(void)
{
    START(spin);
    m.accel->ops->vcpu_kick(m.vcpu[0]);
    m.accel->ops->vcpu_kick(m.vcpu[0]);
    CHECK_EQ(m.accel->ops->vcpu_run(m.vcpu[0]), VCPU_EXIT_KICK);
    CHECK_EQ(vm86_reg(&m, 0, X86_REG_RAX), 0);
    /* Both were taken: the next run lasts until it is kicked. */
    CHECK(kick_ends_run());
}

static void on_alarm(int sig)
{
    (void)sig;
    m.accel->ops->vcpu_kick(m.vcpu[0]);
}

static void kick_from_a_signal_handler(void)
{
    struct sigaction sa = {.sa_handler = on_alarm}, old;
    uint64_t begin = vm86_now();

    START(spin);
    CHECK(sigaction(SIGALRM, &sa, &old) == 0);
    ualarm(50000, 0);
    CHECK_EQ(m.accel->ops->vcpu_run(m.vcpu[0]), VCPU_EXIT_KICK);
    sigaction(SIGALRM, &old, NULL);
    CHECK(vm86_now() - begin < UINT64_C(5000000000));
}

#define STORM 3000
static atomic_uint storm_asked, storm_seen;

/* Asks, kicks and waits to be seen; a kick that is lost stops the storm. */
static void *storm(void *opaque)
{
    (void)opaque;
    for (unsigned i = 1; i <= STORM; i++) {
        uint64_t begin = vm86_now();

        atomic_store(&storm_asked, i);
        m.accel->ops->vcpu_kick(m.vcpu[0]);
        while (atomic_load(&storm_seen) < i) {
            if (vm86_now() - begin > UINT64_C(10000000000))
                return NULL;
            sched_yield(); /* there may be one processor */
        }
    }
    return (void *)1;
}

static void no_kick_is_lost(void)
{
    void *all = NULL;
    pthread_t t;

    START(knock);
    atomic_store(&storm_asked, 0);
    atomic_store(&storm_seen, 0);
    CHECK(pthread_create(&t, NULL, storm, NULL) == 0);
    while (atomic_load(&storm_seen) < STORM && pthread_tryjoin_np(t, &all) != 0) {
        CHECK_EQ(m.accel->ops->vcpu_run(m.vcpu[0]), VCPU_EXIT_KICK);
        atomic_store(&storm_seen, atomic_load(&storm_asked));
    }
    pthread_join(t, &all);
    CHECK(all);
}

/* ---- ends ---- */

GUEST(triple, "ud2\n")
GUEST(astray, "mov $0xd0000000, %eax\n"
              "jmp *%rax\n")

static void triple_fault_is_a_reset(void)
{
    START(triple);
    CHECK_EQ(vm86_run(&m, 0), VCPU_EXIT_RESET);
}

static void running_a_device_is_an_error(void)
{
    struct err e = {0};

    START(astray);
    CHECK_EQ(vm86_run(&m, 0), VCPU_EXIT_ERROR);
    CHECK_EQ(m.accel->ops->vcpu_reset(m.vcpu[0], &e), 0);
}

static void reset_starts_anew(void)
{
    struct err e = {0};

    START(mmio);
    CHECK_EQ(vm86_run(&m, 0), VCPU_EXIT_KICK);
    CHECK_EQ(atomic_load(&m.exit), 7);
    CHECK_EQ(m.accel->ops->reset(m.accel, &e), 0);
    CHECK_EQ(m.accel->ops->vcpu_reset(m.vcpu[0], &e), 0);
    /* The reset vector (Intel SDM volume 3, 10.1.4). */
    CHECK_EQ(vm86_reg(&m, 0, X86_REG_RIP), 0xfff0);
    CHECK_EQ(vm86_reg(&m, 0, X86_REG_RDI), 0);
    START(mmio);
    CHECK_EQ(vm86_run(&m, 0), VCPU_EXIT_KICK);
    CHECK_EQ(atomic_load(&m.exit), 7);
    CHECK_EQ(atomic_load(&m.naccesses), 8);
}

int main(void)
{
    const char *why = vm86_unavailable();

    if (why) {
        printf("skip x86_run_test: %s\n", why);
        return 0;
    }
    if (!vm86_create(&m, 1, NULL)) {
        printf("FAIL x86_run_test: no machine\n");
        return 1;
    }
    RUN(mmio_sizes_and_values);
    RUN(port_sizes_and_values);
    RUN(unassigned_reads_as_ones);
    RUN(pvh_entry);
    RUN(long_mode_entry);
    RUN(registers_read_back_what_was_set);
    RUN(kick_ends_a_run);
    RUN(kick_before_a_run_ends_it_at_once);
    RUN(kick_from_a_signal_handler);
    RUN(no_kick_is_lost);
    RUN(triple_fault_is_a_reset);
    RUN(running_a_device_is_an_error);
    RUN(reset_starts_anew);
    vm86_destroy(&m);
    return check_done();
}
