/* The choice of an accelerator. */
#include "vmm/machine/accel.h"

#include <errno.h>
#include <stdio.h>

#include "vmm/base/util.h"
#include "vmm/kvm/kvm.h"

static const struct accel_host this_host = {
#if defined(__aarch64__)
    .arch = VM_ARCH_ARM64,
#else
    .arch = VM_ARCH_X86,
#endif
#ifdef HAVE_JIT
    .jit = true,
#endif
    .kvm_probe = kvm_probe,
};
const struct accel_host *accel_host = &this_host;

const char *accel_arch_name(enum vm_arch arch)
{
    return arch == VM_ARCH_ARM64 ? "arm64" : "x86-64";
}

static int check_kvm(enum vm_arch arch, struct err *e)
{
    if (arch != accel_host->arch)
        return err_set_status(e, ERR_STATUS_ACCEL_ARCH, ENOTSUP,
                              "KVM cannot run this guest: it is for %s, and this host is %s", accel_arch_name(arch),
                              accel_arch_name(accel_host->arch));
    return accel_host->kvm_probe(e);
}

static int check_jit(enum vm_arch arch, struct err *e)
{
    if (!accel_host->jit)
        return err_set_status(e, ERR_STATUS_ACCEL_ARCH, ENOTSUP,
                              "the JIT is not in this pipit: it makes x86-64 code, and this host is %s",
                              accel_arch_name(accel_host->arch));
    if (arch != VM_ARCH_ARM64)
        return err_set_status(e, ERR_STATUS_ACCEL_ARCH, ENOTSUP,
                              "the JIT cannot run this guest: it is for %s, and the JIT runs arm64",
                              accel_arch_name(arch));
    return 0;
}

static const char *take_over(struct vm_config *c, const struct err *why)
{
    char text[sizeof(why->msg) + 32];

    snprintf(text, sizeof(text), "%s; the JIT does", why->msg);
    return config_str(c, text);
}

int accel_choose(struct vm_config *c, enum vm_arch arch, struct err *e)
{
    static const enum vm_accel any[] = {VM_ACCEL_KVM, VM_ACCEL_JIT};
    const enum vm_accel *order = c->naccel ? c->accel_order : any;
    unsigned n = c->naccel ? c->naccel : ARRAY_SIZE(any);
    struct err why = {0};

    for (unsigned i = 0; i < n; i++) {
        struct err this = {0};
        int r = order[i] == VM_ACCEL_KVM ? check_kvm(arch, &this) : check_jit(arch, &this);

        if (r == 0) {
            c->accel = order[i];
            if (why.code && order[i] == VM_ACCEL_JIT && (c->naccel || !c->jit_default.silent))
                c->accel_note = take_over(c, &why);
            return 0;
        }
        if (!why.code || (why.status == ERR_STATUS_ACCEL_ARCH && this.status != ERR_STATUS_ACCEL_ARCH))
            why = this;
    }
    *e = why;
    return -e->code;
}
