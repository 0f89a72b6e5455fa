/* What goes into a guest and out of it beside accesses: interrupt lines, doorbells, timers, and vCPUs that start
 * others. */
#include <errno.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "arch/x86/regs.h"
#include "tests/check.h"
#include "tests/kvm/x86_guest.h"
#include "tests/lib/vm86.h"
#include "vmm/base/util.h"

static struct vm86 m;

static bool start(const uint8_t *begin, const uint8_t *end)
{
    m.on_access = NULL;
    return vm86_load(&m, begin, (size_t)(end - begin), VCPU_MODE_X86_LONG, 0);
}
#define START(name) CHECK(start(guest_##name, guest_##name##_end))

/* ---- interrupt lines ---- */

#define PIN 5
#define ROUNDS 20

/* Interrupts from pin 5: writes 1 to 0 when it is ready; the handler writes their count to 4, then 0 to 8. */
GUEST(edge, "stack\n"
            "gate 0x40, 2f\n"
            "idt\n"
            "lapic\n"
            "pin 5, 0x40\n"
            "mov $0xd0000000, %edi\n"
            "xor %esi, %esi\n"
            "movl $1, (%rdi)\n"
            "sti\n"
            "1: hlt\n"
            "jmp 1b\n"
            "2: inc %esi\n"
            "mov %esi, 4(%rdi)\n"
            "movl $0, 8(%rdi)\n"
            "movl $0, 0xb0(%rbx)\n"
            "iretq\n")
/* The same, level triggered. */
GUEST(level, "stack\n"
             "gate 0x40, 2f\n"
             "idt\n"
             "lapic\n"
             "pin 5, 0x8040\n"
             "mov $0xd0000000, %edi\n"
             "xor %esi, %esi\n"
             "movl $1, (%rdi)\n"
             "sti\n"
             "1: hlt\n"
             "jmp 1b\n"
             "2: inc %esi\n"
             "mov %esi, 4(%rdi)\n"
             "movl $0, 8(%rdi)\n"
             "movl $0, 0xb0(%rbx)\n"
             "iretq\n")

static struct irq_line line;
static atomic_bool ready;
static atomic_uint counted; /* what the handler said last */

static void end_run(struct vm86 *vm, int code)
{
    atomic_store(&vm->exit, code);
    vm->accel->ops->vcpu_kick(vm->vcpu[0]);
}

/* Raises once the guest is ready, and again at each count but the last. An edge in the handler is not lost. */
static void raise_again(struct vm86 *vm, const struct vm86_access *a)
{
    if (a->addr == 4)
        atomic_store(&counted, (unsigned)a->val);
    if (a->addr == 0 || (a->addr == 4 && a->val < ROUNDS))
        irq_raise(&line);
    else if (a->addr == 8 && atomic_load(&counted) == ROUNDS)
        end_run(vm, 1);
}

/* A level: stays up for three interrupts at a time. */
static void hold_level(struct vm86 *vm, const struct vm86_access *a)
{
    if (a->addr == 4)
        atomic_store(&counted, (unsigned)a->val);
    if (a->addr == 0)
        irq_set(&line, true);
    else if (a->addr == 4 && a->val == 3)
        irq_set(&line, false);
    else if (a->addr == 8 && atomic_load(&counted) == 3)
        end_run(vm, 1);
}

static void edges_are_interrupts(void)
{
    struct err e = {0};

    START(edge);
    CHECK_EQ(m.accel->ops->irq_line(m.accel, PIN, true, &line, &e), 0);
    m.on_access = raise_again;
    CHECK_EQ(vm86_run(&m, 0), VCPU_EXIT_KICK);
    CHECK_EQ(atomic_load(&m.exit), 1);
    CHECK_EQ(atomic_load(&counted), ROUNDS);
    CHECK_EQ(vm86_reg(&m, 0, X86_REG_RSI), ROUNDS);
    /* Neither is it one to stay up, nor to go down. */
    irq_set(&line, true);
    irq_set(&line, false);
    atomic_store(&m.exit, -1);
    m.accel->ops->vcpu_kick(m.vcpu[0]);
    CHECK_EQ(m.accel->ops->vcpu_run(m.vcpu[0]), VCPU_EXIT_KICK);
    CHECK_EQ(vm86_reg(&m, 0, X86_REG_RSI), ROUNDS);
}

/* An edge before the guest has set up its IOAPIC would be lost, as it should. */
static void *raise_later(void *opaque)
{
    (void)opaque;
    for (unsigned k = 0; k < 10000 && !atomic_load(&ready); k++)
        usleep(1000);
    for (unsigned i = 1; i <= ROUNDS; i++) {
        usleep(2000);
        irq_raise(&line);
        for (unsigned k = 0; k < 5000 && atomic_load(&counted) < i; k++)
            usleep(1000);
    }
    end_run(&m, 2);
    return NULL;
}

static void count_only(struct vm86 *vm, const struct vm86_access *a)
{
    (void)vm;
    if (a->addr == 0)
        atomic_store(&ready, true);
    if (a->addr == 4)
        atomic_store(&counted, (unsigned)a->val);
}

/* Into a halted vCPU, from another thread. */
static void edges_wake_from_other_threads(void)
{
    struct err e = {0};
    pthread_t t;

    START(edge);
    CHECK_EQ(m.accel->ops->irq_line(m.accel, PIN, true, &line, &e), 0);
    atomic_store(&ready, false);
    atomic_store(&counted, 0);
    m.on_access = count_only;
    CHECK(pthread_create(&t, NULL, raise_later, NULL) == 0);
    CHECK_EQ(vm86_run(&m, 0), VCPU_EXIT_KICK);
    pthread_join(t, NULL);
    CHECK_EQ(atomic_load(&m.exit), 2);
    CHECK_EQ(atomic_load(&counted), ROUNDS);
}

static void levels_last_until_they_are_lowered(void)
{
    struct irq_line other;
    struct err e = {0};

    START(level);
    CHECK_EQ(m.accel->ops->irq_line(m.accel, PIN, false, &line, &e), 0);
    m.on_access = hold_level;
    CHECK_EQ(vm86_run(&m, 0), VCPU_EXIT_KICK);
    CHECK_EQ(atomic_load(&m.exit), 1);
    CHECK_EQ(vm86_reg(&m, 0, X86_REG_RSI), 3);
    CHECK_EQ(m.accel->ops->irq_line(m.accel, 24, true, &other, &e), -EINVAL);
}

/* ---- doorbells ---- */

GUEST(bell, "mov $0xd0000000, %edi\n"
            "movl $1, 0x50(%rdi)\n"
            "movl $2, 0x50(%rdi)\n"
            "movl $1, 0x54(%rdi)\n"
            "movw $1, 0x50(%rdi)\n"
            "movl $1, 0x50(%rdi)\n"
            "leave_with 3\n")

static uint64_t rung(int fd)
{
    uint64_t n = 0;

    return read(fd, &n, sizeof(n)) == (ssize_t)sizeof(n) ? n : 0;
}

static void doorbells_stay_out_of_the_bus(void)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int r;

    CHECK(fd >= 0);
    START(bell);
    r = m.accel->ops->doorbell_add(m.accel, fd, GPA(VM86_MMIO + 0x50), 1);
    if (r == -ENOTSUP) {
        printf("skip doorbells: this host's KVM has no ioeventfd\n");
        return;
    }
    CHECK_EQ(r, 0);
    CHECK_EQ(vm86_run(&m, 0), VCPU_EXIT_KICK);
    CHECK_EQ(rung(fd), 2);
    /* Another value, another address, another width: those reach the device. */
    CHECK_EQ(atomic_load(&m.naccesses), 3);
    CHECK(m.access[0].addr == 0x50 && m.access[0].val == 2);
    CHECK(m.access[1].addr == 0x54 && m.access[1].val == 1);
    CHECK(m.access[2].addr == 0x50 && m.access[2].size == 2);

    CHECK(m.accel->ops->doorbell_add(m.accel, fd, GPA(VM86_MMIO + 0x50), 1) < 0); /* there is one */
    m.accel->ops->doorbell_remove(m.accel, fd, GPA(VM86_MMIO + 0x50), 1);
    START(bell);
    CHECK_EQ(vm86_run(&m, 0), VCPU_EXIT_KICK);
    CHECK_EQ(rung(fd), 0);
    CHECK_EQ(atomic_load(&m.naccesses), 5);
    close(fd);
}

/* ---- timers ---- */

/* The TSC deadline timer, 20 million cycles ahead. RSI: cycles too late. */
GUEST(deadline, "stack\n"
                "gate 0x41, 2f\n"
                "idt\n"
                "lapic\n"
                "movl $0x40041, 0x320(%rbx)\n"
                "rdtsc\n"
                "shl $32, %rdx\n"
                "or %rdx, %rax\n"
                "add $20000000, %rax\n"
                "mov %rax, %rsi\n"
                "mov %rax, %rdx\n"
                "shr $32, %rdx\n"
                "mov $0x6e0, %ecx\n"
                "wrmsr\n"
                "sti\n"
                "1: hlt\n"
                "jmp 1b\n"
                "2: rdtsc\n"
                "shl $32, %rdx\n"
                "or %rdx, %rax\n"
                "sub %rsi, %rax\n"
                "mov %rax, %rsi\n"
                "leave_with 4\n")

static void deadline_timer_fires(void)
{
    START(deadline);
    CHECK_EQ(vm86_run(&m, 0), VCPU_EXIT_KICK);
    CHECK_EQ(atomic_load(&m.exit), 4);
    printf("  %lld cycles after the deadline\n", (long long)vm86_reg(&m, 0, X86_REG_RSI));
    CHECK((int64_t)vm86_reg(&m, 0, X86_REG_RSI) >= 0);
}

/* ---- several vCPUs ---- */

/*
 * vCPU 0 copies a real-mode program to 0x10000 and sends INIT and SIPI to each of the others, which write their APIC ID
 * to port 0x600 and add one to a word at 0x11000; then it waits for the word to become their number.
 */
GUEST(smp, "stack\n"
           "lapic\n"
           "lea 5f(%rip), %rsi\n"
           "mov $0x10000, %edi\n"
           "mov $6f - 5f, %ecx\n"
           "rep movsb\n"
           "movl $0, 0x11000\n"
           "movl $0x000c4500, 0x300(%rbx)\n"
           "movl $0x000c4610, 0x300(%rbx)\n"
           "1: pause\n"
           "cmpl $2, 0x11000\n"
           "jne 1b\n"
           "leave_with 5\n"
           ".code16\n"
           "5: mov $1, %eax\n"
           "cpuid\n"
           "shr $24, %ebx\n"
           "mov %bl, %al\n"
           "mov $0x600, %dx\n"
           "out %al, %dx\n"
           "mov $0x1100, %ax\n"
           "mov %ax, %ds\n"
           "lock incw 0\n"
           "7: hlt\n"
           "jmp 7b\n"
           ".code64\n"
           "6:\n")

static void *run_secondary(void *opaque)
{
    unsigned cpu = *(unsigned *)opaque;

    return (void *)(uintptr_t)(vm86_run(&m, cpu) + 1);
}

static void secondaries_start_by_sipi(void)
{
    unsigned cpu[] = {1, 2}, seen = 0;
    pthread_t t[2];

    vm86_destroy(&m);
    CHECK(vm86_create(&m, 3, NULL));
    START(smp);
    for (unsigned i = 0; i < 2; i++)
        CHECK(pthread_create(&t[i], NULL, run_secondary, &cpu[i]) == 0);
    CHECK_EQ(vm86_run(&m, 0), VCPU_EXIT_KICK);
    for (unsigned i = 0; i < 2; i++) {
        void *x;

        pthread_join(t[i], &x);
        CHECK_EQ((uintptr_t)x - 1, VCPU_EXIT_KICK);
    }
    CHECK_EQ(atomic_load(&m.exit), 5);
    CHECK_EQ(atomic_load(&m.naccesses), 2);
    for (unsigned i = 0; i < 2; i++) {
        CHECK_EQ(m.access[i].val, m.access[i].cpu);
        seen |= BIT32(m.access[i].cpu);
    }
    CHECK_EQ(seen, 6);
}

/* A vCPU that waits to be started leaves when it is kicked, and has done nothing. */
static void waiting_secondaries_can_be_kicked(void)
{
    START(smp);
    m.accel->ops->vcpu_kick(m.vcpu[2]);
    CHECK_EQ(m.accel->ops->vcpu_run(m.vcpu[2]), VCPU_EXIT_KICK);
    CHECK_EQ(vm86_reg(&m, 2, X86_REG_RIP), 0xfff0);
}

/* ---- hosts that lack what is optional ---- */

/* KVM_CHECK_EXTENSION says that there is no such capability, from here on. */
static bool deny_capability(unsigned cap)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
    bool good = ctx &&
                seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EINVAL), SCMP_SYS(ioctl), 2,
                                 SCMP_A1(SCMP_CMP_EQ, KVM_CHECK_EXTENSION, 0), SCMP_A2(SCMP_CMP_EQ, cap, 0)) == 0 &&
                seccomp_load(ctx) == 0;

    seccomp_release(ctx);
    return good;
}

/* Last: what is denied stays denied. */
static void interrupts_without_irqfd(void)
{
    vm86_destroy(&m);
    CHECK(deny_capability(KVM_CAP_IRQFD));
    CHECK(deny_capability(KVM_CAP_IOEVENTFD));
    CHECK(vm86_create(&m, 1, NULL));
    edges_are_interrupts();
    if (!check_bad)
        edges_wake_from_other_threads();
}

static void doorbells_without_ioeventfd(void)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

    CHECK(fd >= 0);
    START(bell);
    CHECK_EQ(m.accel->ops->doorbell_add(m.accel, fd, GPA(VM86_MMIO + 0x50), 1), -ENOTSUP);
    CHECK_EQ(vm86_run(&m, 0), VCPU_EXIT_KICK);
    CHECK_EQ(rung(fd), 0);
    CHECK_EQ(atomic_load(&m.naccesses), 5);
    close(fd);
}

int main(void)
{
    const char *why = vm86_unavailable();

    if (why) {
        printf("skip x86_irq_test: %s\n", why);
        return 0;
    }
    if (!vm86_create(&m, 1, NULL)) {
        printf("FAIL x86_irq_test: no machine\n");
        return 1;
    }
    RUN(edges_are_interrupts);
    RUN(edges_wake_from_other_threads);
    RUN(levels_last_until_they_are_lowered);
    RUN(doorbells_stay_out_of_the_bus);
    RUN(deadline_timer_fires);
    RUN(secondaries_start_by_sipi);
    RUN(waiting_secondaries_can_be_kicked);
    RUN(interrupts_without_irqfd);
    RUN(doorbells_without_ioeventfd);
    vm86_destroy(&m);
    return check_done();
}
