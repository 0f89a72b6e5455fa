/* The choice of an accelerator, on hosts of either architecture, with and without KVM and the JIT. */
#include <errno.h>
#include <string.h>

#include "tests/check.h"
#include "vmm/machine/accel.h"

static struct vm_config c;
static struct err e;
static unsigned probes;

static int there(struct err *err)
{
    (void)err;
    probes++;
    return 0;
}

static int denied(struct err *err)
{
    probes++;
    return err_set_status(err, ERR_STATUS_KVM_PERMISSION, EACCES, "/dev/kvm may not be opened");
}

static const struct accel_host x86 = {.arch = VM_ARCH_X86, .jit = true, .kvm_probe = there};
static const struct accel_host x86_denied = {.arch = VM_ARCH_X86, .jit = true, .kvm_probe = denied};
static const struct accel_host arm64 = {.arch = VM_ARCH_ARM64, .kvm_probe = there};
static const struct accel_host arm64_denied = {.arch = VM_ARCH_ARM64, .kvm_probe = denied};

/* order: "" for auto, "k", "j", "kj"... */
static int choose(const struct accel_host *host, enum vm_arch guest, const char *order)
{
    config_free(&c);
    config_init(&c);
    for (; *order; order++)
        c.accel_order[c.naccel++] = *order == 'k' ? VM_ACCEL_KVM : VM_ACCEL_JIT;
    accel_host = host;
    e = (struct err){0};
    probes = 0;
    return accel_choose(&c, guest, &e);
}

static void kvm_for_the_hosts_own(void)
{
    CHECK(choose(&x86, VM_ARCH_X86, "") == 0);
    CHECK(c.accel == VM_ACCEL_KVM && !c.accel_note);
    CHECK(choose(&arm64, VM_ARCH_ARM64, "") == 0);
    CHECK(c.accel == VM_ACCEL_KVM && !c.accel_note);
    CHECK(choose(&arm64, VM_ARCH_ARM64, "jk") == 0);
    CHECK(c.accel == VM_ACCEL_KVM && !c.accel_note); /* no JIT took over */
}

static void jit_for_arm64_on_x86(void)
{
    CHECK(choose(&x86, VM_ARCH_ARM64, "") == 0);
    CHECK(c.accel == VM_ACCEL_JIT && strstr(c.accel_note, "it is for arm64, and this host is x86-64; the JIT does"));
    CHECK_EQ(probes, 0); /* nothing that KVM could say matters */
    CHECK(choose(&x86, VM_ARCH_ARM64, "kj") == 0 && c.accel_note);
    CHECK(choose(&x86, VM_ARCH_ARM64, "j") == 0 && !c.accel_note);
    CHECK(choose(&x86, VM_ARCH_ARM64, "jk") == 0 && !c.accel_note);
    CHECK(choose(&x86, VM_ARCH_ARM64, "k") == -ENOTSUP);
    CHECK_EQ(e.status, ERR_STATUS_ACCEL_ARCH);
}

static void x86_guests_need_kvm(void)
{
    CHECK(choose(&x86_denied, VM_ARCH_X86, "") == -EACCES);
    CHECK(e.status == ERR_STATUS_KVM_PERMISSION && strstr(e.msg, "/dev/kvm"));
    CHECK(choose(&x86_denied, VM_ARCH_X86, "jk") == -EACCES); /* the nearer miss, whatever the order */
    CHECK_EQ(e.status, ERR_STATUS_KVM_PERMISSION);
    CHECK(choose(&x86, VM_ARCH_X86, "j") == -ENOTSUP);
    CHECK(e.status == ERR_STATUS_ACCEL_ARCH && strstr(e.msg, "the JIT runs arm64"));
    CHECK(choose(&arm64, VM_ARCH_X86, "") == -ENOTSUP);
    CHECK(e.status == ERR_STATUS_ACCEL_ARCH && strstr(e.msg, "it is for x86-64, and this host is arm64"));
}

static void arm64_hosts_have_no_jit(void)
{
    CHECK(choose(&arm64_denied, VM_ARCH_ARM64, "") == -EACCES);
    CHECK_EQ(e.status, ERR_STATUS_KVM_PERMISSION);
    CHECK(choose(&arm64, VM_ARCH_ARM64, "j") == -ENOTSUP);
    CHECK(e.status == ERR_STATUS_ACCEL_ARCH && strstr(e.msg, "not in this pipit"));
}

int main(void)
{
    RUN(kvm_for_the_hosts_own);
    RUN(jit_for_arm64_on_x86);
    RUN(x86_guests_need_kvm);
    RUN(arm64_hosts_have_no_jit);
    config_free(&c);
    return check_done();
}
