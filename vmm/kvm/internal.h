/*
 * What the files of this room share: one VM, its vCPUs, and the functions that each architecture implements
 * (kvm_arch_*, in x86*.c or arm64*.c).
 */
#ifndef PIPIT_KVM_INTERNAL_H
#define PIPIT_KVM_INTERNAL_H

#include <linux/kvm.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "vmm/base/util.h"
#include "vmm/core/irq.h"
#include "vmm/core/state.h"
#include "vmm/kvm/kvm.h"

/* Exit reasons that are counted one by one; what newer kernels add beyond counts as the last. */
#define KVM_NREASONS 48

/* Optional capabilities that this host has (struct kvm, has). */
#define KVM_OPT_IRQFD 0x1
#define KVM_OPT_IOEVENTFD 0x2

struct kvm_line {
    struct kvm *kvm;
    bool edge;
    atomic_bool level;  /* as it was set last, where it is an edge triggered line */
    int fd;             /* irqfd; -1: KVM_IRQ_LINE */
    atomic_bool raised; /* since kvm_irq_flush: the kernel may still be about to deliver it */
};

/* How a device is reached. */
enum kvm_access { KVM_ACCESS_MMIO, KVM_ACCESS_PORT, KVM_NACCESSES };

/* Written by the vCPU's thread only; relaxed atomics, since report may run beside it. */
struct kvm_stats {
    _Atomic uint64_t exits[KVM_NREASONS];
    /* With kvm_config.stats: what devices served, and the time from the exit to the next entry, in ns. */
    struct {
        _Atomic uint64_t n, ns, longest_ns, within_us;
    } served[KVM_NACCESSES];
};

struct kvm_arch;
struct kvm_arch_vcpu;

struct kvm_vcpu {
    struct vcpu vcpu;
    struct kvm *kvm;
    int fd;
    struct kvm_run *run;
    _Atomic pid_t tid; /* of the thread that runs it, 0 before its first run */
    struct kvm_stats stats;
    struct kvm_arch_vcpu *arch; /* kvm_arch_vcpu_create's */
};

struct kvm {
    struct accel accel;
    struct kvm_config cfg;
    int dev_fd, vm_fd;
    pid_t pid;
    size_t run_size;                  /* bytes of a vCPU's struct kvm_run mapping */
    unsigned has;                     /* KVM_OPT_* */
    struct kvm_vcpu **vcpu;           /* cfg.ncpus, NULL where not (or no longer) there */
    struct kvm_line *line;            /* kvm_arch_lines */
    uint64_t *dirty[MEM_MAX_REGIONS]; /* bitmaps of the dirty log, NULL while it is off */
    struct kvm_arch *arch;            /* kvm_arch_create's */
};

/* ---- kvm.c ---- */

/* A capability that is required, and what it is for, as the end of the sentence "this host's KVM has no ...". */
struct kvm_need {
    int cap;
    const char *name; /* KVM_CAP_*; NULL ends the table */
    const char *what;
};

static inline struct kvm *kvm_of(struct accel *a)
{
    return container_of(a, struct kvm, accel);
}

static inline struct kvm_vcpu *kvm_vcpu_of(struct vcpu *v)
{
    return container_of(v, struct kvm_vcpu, vcpu);
}

/* KVM_CHECK_EXTENSION on the VM: the value, 0 where the host has no such capability. */
int kvm_check(const struct kvm *k, int cap);

/* ---- vcpu.c ---- */

/* What an exit handler says: KVM_GO_ON, or an enum vcpu_exit that vcpu_run returns. */
#define KVM_GO_ON (-1)

int kvm_vcpu_create(struct accel *a, unsigned index, struct vcpu **out, struct err *e);
void kvm_vcpu_destroy(struct vcpu *vcpu);
enum vcpu_exit kvm_vcpu_run(struct vcpu *vcpu);
void kvm_vcpu_kick(struct vcpu *vcpu);
/* Installs the handler of the signal that kicks. */
int kvm_kick_init(struct err *e);

/* ---- memory.c ---- */

int kvm_memory_create(struct kvm *k, struct err *e);
void kvm_memory_destroy(struct kvm *k);
int kvm_dirty_log(struct accel *a, bool on);
int kvm_dirty_sync(struct accel *a);

/* ---- irq.c ---- */

int kvm_irq_create(struct kvm *k, struct err *e);
void kvm_irq_destroy(struct kvm *k);
int kvm_irq_line(struct accel *a, unsigned num, bool edge, struct irq_line *out, struct err *e);
/* Returns with every edge that was raised before delivered to the interrupt controller. */
int kvm_irq_flush(struct kvm *k);
int kvm_doorbell_add(struct accel *a, int fd, gpa_t addr, uint32_t value);
void kvm_doorbell_remove(struct accel *a, int fd, gpa_t addr, uint32_t value);

/* ---- stats.c ---- */

static inline void kvm_stats_bump(_Atomic uint64_t *n, uint64_t by)
{
    atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + by, memory_order_relaxed);
}

static inline void kvm_stats_exit(struct kvm_vcpu *v, unsigned reason)
{
    kvm_stats_bump(&v->stats.exits[MIN(reason, (unsigned)KVM_NREASONS - 1)], 1);
}

/* CLOCK_MONOTONIC in ns where times are taken, else 0. */
uint64_t kvm_stats_begin(const struct kvm_vcpu *v);
/* An access has been served that began at `since`. */
void kvm_stats_end(struct kvm_vcpu *v, enum kvm_access how, uint64_t since);
const char *kvm_exit_name(unsigned reason);
void kvm_report(struct accel *a);

/* ---- the architecture ---- */

extern const struct kvm_need kvm_arch_needs[];
/* KVM_CREATE_VM's argument, or -errno with a sentence. */
long kvm_arch_vm_type(const struct kvm *k, struct err *e);
/* Interrupt lines, numbered as accel_ops.irq_line numbers them; and the number that KVM_IRQ_LINE and KVM_IRQFD want. */
unsigned kvm_arch_lines(void);
uint32_t kvm_arch_line_irq(unsigned num);
uint32_t kvm_arch_line_gsi(unsigned num);
/* The VM is there, with its memory and no vCPU: interrupt controller and what else must precede vCPUs. On failure
 * kvm_arch_destroy is called too; it finds k->arch NULL or whatever was made. */
int kvm_arch_create(struct kvm *k, struct err *e);
void kvm_arch_destroy(struct kvm *k);
/* The vCPU's descriptor and run area are there, and k->vcpu[] holds it. As above for failure. */
int kvm_arch_vcpu_create(struct kvm_vcpu *v, struct err *e);
void kvm_arch_vcpu_destroy(struct kvm_vcpu *v);
/* An exit that the common code does not know: KVM_GO_ON, an enum vcpu_exit, or -ENOSYS where it is unknown here too. */
int kvm_arch_vcpu_exit(struct kvm_vcpu *v);
/* The access of this KVM_EXIT_MMIO met no device; a read gives ones unless something else happens here. */
void kvm_arch_vcpu_unmapped(struct kvm_vcpu *v);
/* Where the guest is, for messages. */
uint64_t kvm_arch_vcpu_pc(struct kvm_vcpu *v);
/* More about KVM_EXIT_FAIL_ENTRY's reason, or NULL. */
const char *kvm_arch_entry_failure(uint64_t reason);

/* The seam's operations of these names. */
int kvm_arch_complete(struct accel *a, struct err *e);
int kvm_arch_reset(struct accel *a, struct err *e);
int kvm_arch_vcpu_reset(struct vcpu *vcpu, struct err *e);
int kvm_arch_vcpu_set_entry(struct vcpu *vcpu, const struct vcpu_entry *entry, struct err *e);
int kvm_arch_get_reg(struct vcpu *vcpu, unsigned reg, void *buf, size_t len);
int kvm_arch_set_reg(struct vcpu *vcpu, unsigned reg, const void *buf, size_t len);
void kvm_arch_pause(struct accel *a);
void kvm_arch_resume(struct accel *a);
void kvm_arch_vcpu_save(struct vcpu *vcpu, struct state_writer *w);
int kvm_arch_vcpu_load(struct vcpu *vcpu, struct state_reader *r);
void kvm_arch_save(struct accel *a, struct state_writer *w);
int kvm_arch_load(struct accel *a, struct state_reader *r);

#endif
