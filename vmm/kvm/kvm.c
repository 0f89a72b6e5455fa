/*
 * /dev/kvm: opening it, saying in one sentence why it cannot be used, and making a VM.
 *
 * What must be there stands in two tables, kvm_needs here and the architecture's; they are checked once, in order, and
 * the first capability that is missing is named. What is optional is a bit in struct kvm.has, with a fallback where it
 * is used.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/log.h"
#include "vmm/kvm/internal.h"

#define KVM_DEVICE "/dev/kvm"

static const struct kvm_need kvm_needs[] = {
    {KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY", "guest memory that a process provides"},
    {KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT", "way to keep a vCPU from entering the guest (Linux 4.13 has)"},
    {0, NULL, NULL},
};

static const struct {
    int cap;
    unsigned has;
    const char *without; /* what happens instead */
} kvm_options[] = {
    {KVM_CAP_IRQFD, KVM_OPT_IRQFD, "no irqfd: each interrupt of a device is a system call that names its line"},
    {KVM_CAP_IOEVENTFD, KVM_OPT_IOEVENTFD, "no ioeventfd: each doorbell of a virtio device leaves the guest"},
};

/* ---- opening ---- */

static int kvm_refuse_permission(int code, struct err *e)
{
    char text[1024], name[64] = "";
    struct group g, *found = NULL;
    struct stat st;

    if (stat(KVM_DEVICE, &st) < 0)
        return err_set_status(e, ERR_STATUS_KVM_PERMISSION, code, KVM_DEVICE " may not be opened by this user");
    if (getgrgid_r(st.st_gid, &g, text, sizeof(text), &found) == 0 && found)
        snprintf(name, sizeof(name), "%s", found->gr_name);
    else
        snprintf(name, sizeof(name), "%u", (unsigned)st.st_gid);
    if ((st.st_mode & (S_IRGRP | S_IWGRP)) != (S_IRGRP | S_IWGRP))
        return err_set_status(e, ERR_STATUS_KVM_PERMISSION, code,
                              KVM_DEVICE " may not be opened by this user: its mode is %04o, owner %u, group %s",
                              (unsigned)st.st_mode & 07777, (unsigned)st.st_uid, name);
    return err_set_status(e, ERR_STATUS_KVM_PERMISSION, code,
                          KVM_DEVICE " may not be opened by this user: only members of the group %s may", name);
}

static int kvm_open(struct err *e)
{
    int fd = open(KVM_DEVICE, O_RDWR | O_CLOEXEC);

    if (fd >= 0)
        return fd;
    switch (errno) {
    case ENOENT:
    case ENOTDIR:
    case ENODEV:
    case ENXIO:
        return err_set_status(e, ERR_STATUS_KVM_ABSENT, errno,
                              "there is no " KVM_DEVICE ": this kernel has no KVM for this processor, or its module is "
                              "not loaded, or virtualization is switched off in the firmware");
    case EACCES:
    case EPERM: return kvm_refuse_permission(errno, e);
    default: return err_set(e, errno, KVM_DEVICE " cannot be opened: %s", strerror(errno));
    }
}

static int kvm_check_fd(int fd, int cap)
{
    int r = ioctl(fd, KVM_CHECK_EXTENSION, cap);

    return r < 0 ? 0 : r;
}

int kvm_check(const struct kvm *k, int cap)
{
    return kvm_check_fd(k->vm_fd, cap);
}

static int kvm_check_needs(int fd, const struct kvm_need *need, struct err *e)
{
    for (; need->name; need++)
        if (!kvm_check_fd(fd, need->cap))
            return err_set_status(e, ERR_STATUS_KVM_CAPABILITY, ENOTSUP, "this host's KVM has no %s (%s)", need->what,
                                  need->name);
    return 0;
}

/* What can be said of the device without making a VM. */
static int kvm_check_device(int fd, struct err *e)
{
    int version = ioctl(fd, KVM_GET_API_VERSION, 0);
    int r;

    if (version < 0)
        return err_set_status(e, ERR_STATUS_KVM_ABSENT, errno, KVM_DEVICE " is not KVM: %s", strerror(errno));
    if (version != KVM_API_VERSION)
        return err_set_status(e, ERR_STATUS_KVM_CAPABILITY, ENOTSUP,
                              "this host's KVM has interface version %d; %d is needed", version, KVM_API_VERSION);
    r = kvm_check_needs(fd, kvm_needs, e);
    return r < 0 ? r : kvm_check_needs(fd, kvm_arch_needs, e);
}

static int kvm_check_cpus(int fd, unsigned ncpus, struct err *e)
{
    int most = kvm_check_fd(fd, KVM_CAP_MAX_VCPUS);
    int advised = kvm_check_fd(fd, KVM_CAP_NR_VCPUS);

    if (most == 0)
        most = advised ? advised : 4; /* Documentation/virt/kvm/api.rst, 4.7 */
    if (ncpus > (unsigned)most)
        return err_set_status(e, ERR_STATUS_CPUS, EINVAL, "%u vCPUs: this host's KVM allows %d", ncpus, most);
    if (advised > 0 && ncpus > (unsigned)advised)
        log_debug("kvm", "%u vCPUs; this host's KVM advises %d at most", ncpus, advised);
    return 0;
}

/* ---- the VM ---- */

static int kvm_create_vm(struct kvm *k, struct err *e)
{
    long type = kvm_arch_vm_type(k, e);

    if (type < 0)
        return (int)type;
    do
        k->vm_fd = ioctl(k->dev_fd, KVM_CREATE_VM, type);
    while (k->vm_fd < 0 && errno == EINTR);
    if (k->vm_fd >= 0)
        return 0;
    if (errno == EBUSY)
        return err_set(e, EBUSY,
                       "KVM makes no VM: another hypervisor on this host uses the processor's virtualization");
    return err_set(e, errno, "KVM makes no VM: %s", strerror(errno));
}

static void kvm_find_options(struct kvm *k)
{
    for (size_t i = 0; i < ARRAY_SIZE(kvm_options); i++) {
        if (kvm_check(k, kvm_options[i].cap))
            k->has |= kvm_options[i].has;
        else
            log_debug("kvm", "%s", kvm_options[i].without);
    }
}

static void kvm_destroy(struct accel *a)
{
    struct kvm *k = kvm_of(a);

    kvm_irq_destroy(k);
    kvm_arch_destroy(k);
    kvm_memory_destroy(k);
    if (k->vm_fd >= 0)
        close(k->vm_fd);
    if (k->dev_fd >= 0)
        close(k->dev_fd);
    free(k->vcpu);
    free(k);
}

/* ---- operations that interrupts on their way would spoil ---- */

static int kvm_reset(struct accel *a, struct err *e)
{
    int r = kvm_irq_flush(kvm_of(a));

    return r < 0 ? err_set(e, -r, "KVM does not deliver interrupts: %s", strerror(-r)) : kvm_arch_reset(a, e);
}

static void kvm_save(struct accel *a, struct state_writer *w)
{
    int r = kvm_irq_flush(kvm_of(a));

    if (r < 0)
        state_fail(w, r);
    kvm_arch_save(a, w);
}

static void kvm_vcpu_save(struct vcpu *vcpu, struct state_writer *w)
{
    int r = kvm_irq_flush(kvm_of(vcpu->accel));

    if (r < 0)
        state_fail(w, r);
    kvm_arch_vcpu_save(vcpu, w);
}

static const struct accel_ops kvm_ops = {
    .name = "kvm",
    .caps = ACCEL_CAP_DIRTY_LOG | ACCEL_CAP_STATE,
    .destroy = kvm_destroy,
    .vcpu_create = kvm_vcpu_create,
    .vcpu_destroy = kvm_vcpu_destroy,
    .complete = kvm_arch_complete,
    .reset = kvm_reset,
    .vcpu_reset = kvm_arch_vcpu_reset,
    .vcpu_set_entry = kvm_arch_vcpu_set_entry,
    .vcpu_run = kvm_vcpu_run,
    .vcpu_kick = kvm_vcpu_kick,
    .get_reg = kvm_arch_get_reg,
    .set_reg = kvm_arch_set_reg,
    .irq_line = kvm_irq_line,
    .doorbell_add = kvm_doorbell_add,
    .doorbell_remove = kvm_doorbell_remove,
    .dirty_log = kvm_dirty_log,
    .dirty_sync = kvm_dirty_sync,
    .pause = kvm_arch_pause,
    .resume = kvm_arch_resume,
    .vcpu_save = kvm_vcpu_save,
    .vcpu_load = kvm_arch_vcpu_load,
    .save = kvm_save,
    .load = kvm_arch_load,
    .report = kvm_report,
};

int kvm_create(struct accel **out, const struct kvm_config *cfg, struct err *e)
{
    struct kvm *k = calloc(1, sizeof(*k));
    int r;

    if (!k)
        return err_set(e, ENOMEM, "out of memory");
    k->accel.ops = &kvm_ops;
    k->cfg = *cfg;
    k->pid = getpid();
    k->vm_fd = -1;
    k->vcpu = calloc(cfg->ncpus, sizeof(struct kvm_vcpu *));
    k->dev_fd = k->vcpu ? kvm_open(e) : err_set(e, ENOMEM, "out of memory");
    if (k->dev_fd < 0) {
        r = k->dev_fd;
        goto fail;
    }
    if ((r = kvm_check_device(k->dev_fd, e)) < 0 || (r = kvm_check_cpus(k->dev_fd, cfg->ncpus, e)) < 0 ||
        (r = kvm_create_vm(k, e)) < 0)
        goto fail;
    r = ioctl(k->dev_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (r < (int)sizeof(struct kvm_run)) {
        r = err_set(e, EINVAL, "KVM's run area has %d bytes; %zu are needed", r, sizeof(struct kvm_run));
        goto fail;
    }
    k->run_size = (size_t)r;
    kvm_find_options(k);
    if ((r = kvm_memory_create(k, e)) < 0 || (r = kvm_arch_create(k, e)) < 0 || (r = kvm_irq_create(k, e)) < 0 ||
        (r = kvm_kick_init(e)) < 0)
        goto fail;
    *out = &k->accel;
    return 0;

fail:
    kvm_destroy(&k->accel);
    return r;
}

int kvm_probe(struct err *e)
{
    int fd = kvm_open(e);
    int r;

    if (fd < 0)
        return fd;
    r = kvm_check_device(fd, e);
    close(fd);
    return r;
}
