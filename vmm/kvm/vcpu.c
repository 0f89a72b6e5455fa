/*
 * Running a vCPU: KVM_RUN again and again, with the guest's device accesses sent to the buses in between.
 *
 * An access is complete only when KVM_RUN is entered again, so vcpu_run leaves for a kick at no other place than behind
 * a KVM_RUN that was interrupted: the vCPU's state is whole then (Documentation/virt/kvm/api.rst, 5).
 *
 * Kicks: immediate_exit in the shared run area is the one flag. Who kicks sets it, then signals the thread. A thread
 * outside KVM_RUN finds it set when it next gets there; one inside is brought out by the signal, whose handler does
 * nothing. The flag is taken (exchanged with 0) behind an interrupted KVM_RUN and nowhere else, so no kick is lost, and
 * a signal that comes late costs one turn of the loop. A vCPU that no thread has run yet cannot be signalled: the
 * thread publishes its number, then enters KVM_RUN, while who kicks sets the flag, then reads the number; one sees the
 * other.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/base/log.h"
#include "vmm/kvm/internal.h"

/* This thread's number, 0 where it has not run a vCPU yet. */
static __thread pid_t kvm_tid;

/* ---- kicks ---- */

static void kvm_on_kick(int sig)
{
    (void)sig;
}

int kvm_kick_init(struct err *e)
{
    /* SA_RESTART: what the thread does beside KVM_RUN (which never restarts) is not disturbed. */
    struct sigaction sa = {.sa_handler = kvm_on_kick, .sa_flags = SA_RESTART | SA_ONSTACK};

    sigfillset(&sa.sa_mask);
    if (sigaction(SIGRTMIN, &sa, NULL) < 0)
        return err_set(e, errno, "no handler for the signal that kicks vCPUs: %s", strerror(errno));
    return 0;
}

void kvm_vcpu_kick(struct vcpu *vcpu)
{
    struct kvm_vcpu *v = kvm_vcpu_of(vcpu);
    int saved = errno; /* a signal handler may be the caller */
    pid_t tid;

    __atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    tid = atomic_load(&v->tid);
    if (tid && tid != kvm_tid)
        syscall(SYS_tgkill, v->kvm->pid, tid, SIGRTMIN);
    errno = saved;
}

static bool kvm_take_kick(struct kvm_vcpu *v)
{
    return __atomic_exchange_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
}

/* The calling thread runs this vCPU from here on. */
static void kvm_adopt(struct kvm_vcpu *v)
{
    sigset_t set;

    if (!kvm_tid) {
        sigemptyset(&set);
        sigaddset(&set, SIGRTMIN);
        pthread_sigmask(SIG_UNBLOCK, &set, NULL);
        kvm_tid = (pid_t)syscall(SYS_gettid);
    }
    atomic_store(&v->tid, kvm_tid);
}

/* ---- exits ---- */

static void kvm_exit_mmio(struct kvm_vcpu *v)
{
    struct kvm_run *run = v->run;
    struct bus *bus = v->kvm->cfg.bus;
    gpa_t addr = GPA(run->mmio.phys_addr);
    uint64_t since = kvm_stats_begin(v);
    uint64_t val;
    int r;

    if (run->mmio.is_write) {
        r = bus_write(bus, v->vcpu.index, addr, run->mmio.len, le64_get(run->mmio.data));
    } else {
        r = bus_read(bus, v->vcpu.index, addr, run->mmio.len, &val);
        le64_put(run->mmio.data, r < 0 ? UINT64_MAX : val);
    }
    if (unlikely(r < 0))
        kvm_arch_vcpu_unmapped(v);
    kvm_stats_end(v, KVM_ACCESS_MMIO, since);
}

static int kvm_exit_system_event(struct kvm_vcpu *v)
{
    switch (v->run->system_event.type) {
    case KVM_SYSTEM_EVENT_SHUTDOWN: return VCPU_EXIT_POWEROFF;
    case KVM_SYSTEM_EVENT_RESET: return VCPU_EXIT_RESET;
    case KVM_SYSTEM_EVENT_CRASH: log_error("kvm", "the guest says that it crashed"); return VCPU_EXIT_ERROR;
    default:
        log_error("kvm", "vCPU %u: a system event of unknown type %u", v->vcpu.index, v->run->system_event.type);
        return VCPU_EXIT_ERROR;
    }
}

/* The bytes of the instruction that was not emulated, where the host says them. */
static void kvm_describe_insn(const struct kvm_run *run, char *text, size_t size)
{
    size_t n = 0;

    text[0] = '\0';
    if (run->emulation_failure.ndata < 3 || !(run->emulation_failure.flags & 1))
        return;
    n = (size_t)snprintf(text, size, " (");
    for (unsigned i = 0; i < MIN((unsigned)run->emulation_failure.insn_size, 15u) && n + 4 < size; i++)
        n += (size_t)snprintf(text + n, size - n, i ? " %02x" : "%02x", run->emulation_failure.insn_bytes[i]);
    snprintf(text + n, size - n, ")");
}

static enum vcpu_exit kvm_exit_internal_error(struct kvm_vcpu *v)
{
    /* KVM_INTERNAL_ERROR_*, from 1. */
    static const char *const why[] = {
        "for no known reason",
        "KVM cannot emulate the guest's instruction",
        "an exception arose while another one was delivered",
        "an exit arose while an event was delivered",
        "the processor left the guest for an unexpected reason",
    };
    const struct kvm_run *run = v->run;
    unsigned sub = run->internal.suberror;
    char insn[64] = "";

    if (sub == KVM_INTERNAL_ERROR_EMULATION)
        kvm_describe_insn(run, insn, sizeof(insn));
    log_error("kvm", "vCPU %u stopped at 0x%llx: %s%s (internal error %u)", v->vcpu.index,
              (unsigned long long)kvm_arch_vcpu_pc(v), why[sub < ARRAY_SIZE(why) ? sub : 0], insn, sub);
    return VCPU_EXIT_ERROR;
}

static enum vcpu_exit kvm_exit_fail_entry(struct kvm_vcpu *v)
{
    uint64_t reason = v->run->fail_entry.hardware_entry_failure_reason;
    const char *more = kvm_arch_entry_failure(reason);

    log_error("kvm", "vCPU %u at 0x%llx: the processor does not enter the guest, reason 0x%llx%s%s", v->vcpu.index,
              (unsigned long long)kvm_arch_vcpu_pc(v), (unsigned long long)reason, more ? ": " : "", more ? more : "");
    return VCPU_EXIT_ERROR;
}

/* Everything but MMIO. */
static int kvm_exit_other(struct kvm_vcpu *v)
{
    unsigned reason = v->run->exit_reason;
    int r;

    switch (reason) {
    case KVM_EXIT_INTR: return KVM_GO_ON;
    case KVM_EXIT_DEBUG: return VCPU_EXIT_DEBUG;
    case KVM_EXIT_SHUTDOWN: return VCPU_EXIT_RESET; /* x86: a triple fault, after which a PC resets */
    case KVM_EXIT_SYSTEM_EVENT: return kvm_exit_system_event(v);
    case KVM_EXIT_INTERNAL_ERROR: return kvm_exit_internal_error(v);
    case KVM_EXIT_FAIL_ENTRY: return kvm_exit_fail_entry(v);
    default: break;
    }
    r = kvm_arch_vcpu_exit(v);
    if (r != -ENOSYS)
        return r;
    log_error("kvm", "vCPU %u at 0x%llx: an exit for an unexpected reason, %u (%s)", v->vcpu.index,
              (unsigned long long)kvm_arch_vcpu_pc(v), reason, kvm_exit_name(reason));
    return VCPU_EXIT_ERROR;
}

static enum vcpu_exit kvm_run_failed(struct kvm_vcpu *v, int code)
{
    log_error("kvm", "vCPU %u at 0x%llx cannot run: %s%s", v->vcpu.index, (unsigned long long)kvm_arch_vcpu_pc(v),
              strerror(code), code == EFAULT ? " (the host cannot give it a page of its memory)" : "");
    return VCPU_EXIT_ERROR;
}

enum vcpu_exit kvm_vcpu_run(struct vcpu *vcpu)
{
    struct kvm_vcpu *v = kvm_vcpu_of(vcpu);
    struct kvm_run *run = v->run;

    if (unlikely(!kvm_tid || atomic_load_explicit(&v->tid, memory_order_relaxed) != kvm_tid))
        kvm_adopt(v);
    for (;;) {
        if (ioctl(v->fd, KVM_RUN, 0) < 0) {
            /* EAGAIN: the vCPU has been started by another one, and runs from the next turn on. */
            if (errno != EINTR && errno != EAGAIN)
                return kvm_run_failed(v, errno);
            kvm_stats_exit(v, KVM_EXIT_INTR);
            if (kvm_take_kick(v))
                return VCPU_EXIT_KICK;
            continue;
        }
        kvm_stats_exit(v, run->exit_reason);
        if (likely(run->exit_reason == KVM_EXIT_MMIO)) {
            kvm_exit_mmio(v);
        } else {
            int r = kvm_exit_other(v);

            if (r != KVM_GO_ON)
                return (enum vcpu_exit)r;
        }
    }
}

/* ---- making and ending ---- */

int kvm_vcpu_create(struct accel *a, unsigned index, struct vcpu **out, struct err *e)
{
    struct kvm *k = kvm_of(a);
    struct kvm_vcpu *v = calloc(1, sizeof(*v));
    int r;

    if (!v)
        return err_set(e, ENOMEM, "out of memory for vCPU %u", index);
    v->vcpu = (struct vcpu){.accel = a, .index = index};
    v->kvm = k;
    v->fd = ioctl(k->vm_fd, KVM_CREATE_VCPU, (unsigned long)index);
    if (v->fd < 0) {
        r = err_set(e, errno, "KVM makes no vCPU %u: %s", index, strerror(errno));
        goto fail;
    }
    v->run = mmap(NULL, k->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
    if (v->run == MAP_FAILED) {
        v->run = NULL;
        r = err_set(e, errno, "the run area of vCPU %u cannot be mapped: %s", index, strerror(errno));
        goto fail;
    }
    k->vcpu[index] = v;
    r = kvm_arch_vcpu_create(v, e);
    if (r < 0)
        goto fail;
    *out = &v->vcpu;
    return 0;

fail:
    kvm_vcpu_destroy(&v->vcpu);
    return r;
}

void kvm_vcpu_destroy(struct vcpu *vcpu)
{
    struct kvm_vcpu *v = kvm_vcpu_of(vcpu);

    kvm_arch_vcpu_destroy(v);
    v->kvm->vcpu[vcpu->index] = NULL;
    if (v->run)
        munmap(v->run, v->kvm->run_size);
    if (v->fd >= 0)
        close(v->fd);
    free(v);
}
