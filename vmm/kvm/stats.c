/* Exits by reason, and how long devices take: counted by each vCPU's thread for itself, added up for a report. */
#include <stdio.h>
#include <time.h>

#include "vmm/base/log.h"
#include "vmm/kvm/internal.h"

static const char *const kvm_exit_names[KVM_NREASONS] = {
    [KVM_EXIT_UNKNOWN] = "unknown",
    [KVM_EXIT_EXCEPTION] = "exception",
    [KVM_EXIT_IO] = "port",
    [KVM_EXIT_HYPERCALL] = "hypercall",
    [KVM_EXIT_DEBUG] = "debug",
    [KVM_EXIT_HLT] = "halt",
    [KVM_EXIT_MMIO] = "mmio",
    [KVM_EXIT_IRQ_WINDOW_OPEN] = "interrupt window",
    [KVM_EXIT_SHUTDOWN] = "triple fault",
    [KVM_EXIT_FAIL_ENTRY] = "failed entry",
    [KVM_EXIT_INTR] = "kick or signal",
    [KVM_EXIT_NMI] = "nmi",
    [KVM_EXIT_INTERNAL_ERROR] = "internal error",
    [KVM_EXIT_SYSTEM_EVENT] = "system event",
    [KVM_EXIT_ARM_NISV] = "access without syndrome",
};

const char *kvm_exit_name(unsigned reason)
{
    const char *name = reason < KVM_NREASONS ? kvm_exit_names[reason] : NULL;

    return name ? name : "other";
}

static uint64_t stats_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

uint64_t kvm_stats_begin(const struct kvm_vcpu *v)
{
    return likely(!v->kvm->cfg.stats) ? 0 : stats_now();
}

void kvm_stats_end(struct kvm_vcpu *v, enum kvm_access how, uint64_t since)
{
    uint64_t ns;

    if (likely(!v->kvm->cfg.stats))
        return;
    ns = stats_now() - since;
    kvm_stats_bump(&v->stats.served[how].n, 1);
    kvm_stats_bump(&v->stats.served[how].ns, ns);
    if (ns < 1000)
        kvm_stats_bump(&v->stats.served[how].within_us, 1);
    if (ns > atomic_load_explicit(&v->stats.served[how].longest_ns, memory_order_relaxed))
        atomic_store_explicit(&v->stats.served[how].longest_ns, ns, memory_order_relaxed);
}

static uint64_t stats_get(const _Atomic uint64_t *n)
{
    return atomic_load_explicit(n, memory_order_relaxed);
}

static void report_exits(const struct kvm *k)
{
    uint64_t sum[KVM_NREASONS] = {0}, all = 0;
    char line[400];
    size_t n = 0;

    for (unsigned i = 0; i < k->cfg.ncpus; i++)
        for (unsigned r = 0; k->vcpu[i] && r < KVM_NREASONS; r++) {
            uint64_t c = stats_get(&k->vcpu[i]->stats.exits[r]);

            sum[r] += c;
            all += c;
        }
    line[0] = '\0';
    for (unsigned r = 0; r < KVM_NREASONS && n < sizeof(line); r++)
        if (sum[r])
            n += (size_t)snprintf(line + n, sizeof(line) - n, "%s%s %llu", n ? ", " : "", kvm_exit_name(r),
                                  (unsigned long long)sum[r]);
    log_info("kvm", "%llu exits%s%s", (unsigned long long)all, n ? ": " : "", line);
}

static void report_served(const struct kvm *k, enum kvm_access how)
{
    static const char *const name[] = {[KVM_ACCESS_MMIO] = "mmio", [KVM_ACCESS_PORT] = "port"};
    uint64_t n = 0, ns = 0, longest = 0, within = 0;

    for (unsigned i = 0; i < k->cfg.ncpus; i++) {
        const struct kvm_stats *s;

        if (!k->vcpu[i])
            continue;
        s = &k->vcpu[i]->stats;
        n += stats_get(&s->served[how].n);
        ns += stats_get(&s->served[how].ns);
        within += stats_get(&s->served[how].within_us);
        longest = MAX(longest, stats_get(&s->served[how].longest_ns));
    }
    if (n)
        log_info("kvm",
                 "%s: %llu accesses served by devices in %llu ns each on average, %llu of them within 1 us, the "
                 "longest in %llu ns",
                 name[how], (unsigned long long)n, (unsigned long long)(ns / n), (unsigned long long)within,
                 (unsigned long long)longest);
}

void kvm_report(struct accel *a)
{
    const struct kvm *k = kvm_of(a);

    report_exits(k);
    report_served(k, KVM_ACCESS_MMIO);
    report_served(k, KVM_ACCESS_PORT);
    if (!(k->has & KVM_OPT_IRQFD))
        log_info("kvm", "without irqfd");
    if (!(k->has & KVM_OPT_IOEVENTFD))
        log_info("kvm", "without ioeventfd");
}
