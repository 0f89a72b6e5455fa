/*
 * QEMU's command line: the headless subset that tools around QEMU use. Options come in any order, so everything is
 * read in two passes: the first takes settings and named back ends, the second makes devices from them, in the order
 * of the command line. What is not understood is refused by its name; nothing is accepted and then left undone, except
 * options that ask for what is so anyway.
 */
#include "vmm/machine/args_qemu.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/fw_cfg.h"
#include "vmm/base/log.h"
#include "vmm/base/util.h"
#include "vmm/machine/accel.h"
#include "vmm/machine/board.h"
#include "vmm/machine/disk_boot.h"

#define QEMU_VERSION "10.0.0" /* the release whose options these are */

int qemu_options_done(struct options *o, const char *what, struct err *e)
{
    const char *key = options_unused(o);

    return key ? err_set(e, EINVAL, "%s: \"%s\" is not supported", what, key) : 0;
}

/* ---- machine ---- */

static bool is_virt(const char *type)
{
    if (!strcmp(type, "virt"))
        return true;
    if (strncmp(type, "virt-", 5) != 0 || !isdigit((unsigned char)type[5]))
        return false;
    return strspn(type + 5, "0123456789.") == strlen(type + 5);
}

/* A machine property that can be asked for only in the state that this machine is in (or "auto", where it has that). */
struct fixed_property {
    const char *key;
    bool value;
};

static const struct fixed_property virt_fixed[] = {
    {"virtualization", false},
    {"secure", false},
    {"its", false},
    {"mte", false},
    {"acpi", false},
    {"ras", false},
    {"highmem", true},
    {"highmem-ecam", true},
    {"highmem-mmio", true},
    {"highmem-redists", true},
};

static const struct fixed_property microvm_fixed[] = {
    {"acpi", true}, {"isa-serial", true}, {"pit", false},     {"pic", false},
    {"rtc", false}, {"pcie", false},      {"ioapic2", false}, {"x-option-roms", false},
};

static int check_fixed(struct options *o, const char *what, const struct fixed_property *p, unsigned n, struct err *e)
{
    for (unsigned i = 0; i < n; i++) {
        const char *s = options_get(o, p[i].key);
        bool v = p[i].value;
        int r = s && !strcmp(s, "auto") ? 0 : options_get_bool(o, what, p[i].key, &v, e);

        if (r < 0)
            return r;
        if (v != p[i].value)
            return err_set(e, EINVAL, "%s: %s=%s is not supported", what, p[i].key, v ? "on" : "off");
    }
    return 0;
}

static int add_accels(struct qemu_args *a, const char *list, const char *what, struct err *e)
{
    struct vm_config *c = a->c;

    for (const char *p = list; *p;) {
        size_t n = strcspn(p, ":");
        bool kvm = n == 3 && !strncmp(p, "kvm", 3);

        if (!kvm && !(n == 3 && !strncmp(p, "tcg", 3)) && !(n == 3 && !strncmp(p, "jit", 3)))
            return err_set(e, EINVAL, "%s: accelerator \"%.*s\" is not there; kvm and tcg (pipit's own JIT) are", what,
                           (int)n, p);
        if (c->naccel == ARRAY_SIZE(c->accel_order))
            return err_set(e, EINVAL, "%s: more than %zu accelerators", what, ARRAY_SIZE(c->accel_order));
        c->accel_order[c->naccel++] = kvm ? VM_ACCEL_KVM : VM_ACCEL_JIT;
        p += n + (p[n] == ':');
    }
    return 0;
}

static int machine_gic(struct qemu_args *a, const char *v, struct err *e)
{
    if (!strcmp(v, "2"))
        a->c->gic_version = 2;
    else if (!strcmp(v, "3"))
        a->c->gic_version = 3;
    else if (!strcmp(v, "max") || !strcmp(v, "host"))
        a->c->gic_version = 0; /* KVM's default is the host's */
    else
        return err_set(e, EINVAL, "-machine gic-version=%s is not supported; 2, 3, max and host are", v);
    a->c->jit_default.gic_version = !strcmp(v, "host") ? 0 : 3;
    return 0;
}

static const char *machines_of(enum qemu_target t)
{
    static const char *const names[] = {
        [QEMU_ANY] = "virt and microvm are", [QEMU_AARCH64] = "virt is", [QEMU_X86_64] = "microvm is"};

    return names[t];
}

static int machine_type(struct qemu_args *a, const char *s, struct err *e)
{
    a->machine_none = !strcmp(s, "none");
    if (a->machine_none)
        return 0;
    if (is_virt(s) && a->target != QEMU_X86_64)
        a->c->machine = VM_MACHINE_VIRT;
    else if (!strcmp(s, "microvm") && a->target != QEMU_AARCH64)
        a->c->machine = VM_MACHINE_MICRO;
    else
        return err_set(e, EINVAL, "machine %s is not supported; %s (-M help)", s, machines_of(a->target));
    return 0;
}

static int virt_options(struct qemu_args *a, struct options *o, struct err *e)
{
    const char *s = options_get(o, "gic-version");
    int r;

    if (s && (r = machine_gic(a, s, e)) < 0)
        return r;
    s = options_get(o, "dumpdtb");
    if (s)
        a->c->dump_dtb = config_str(a->c, s);
    s = options_get(o, "iommu");
    if (s && strcmp(s, "none") != 0)
        return err_set(e, EINVAL, "-machine iommu=%s is not supported", s);
    if ((r = options_get_bool(o, "-machine", "dtb-randomness", &a->c->dtb_randomness, e)) < 0)
        return r;
    return check_fixed(o, "-machine", virt_fixed, ARRAY_SIZE(virt_fixed), e);
}

static int microvm_options(struct options *o, struct err *e)
{
    /* ACPI says where the devices are, whatever the command line says. */
    options_find(o, "auto-kernel-cmdline");
    return check_fixed(o, "-machine", microvm_fixed, ARRAY_SIZE(microvm_fixed), e);
}

static int set_machine_options(struct qemu_args *a, struct options *o, struct err *e)
{
    static const struct fixed_property fixed[] = {{"usb", false}, {"graphics", false}};
    const char *s = options_get(o, "type");
    int r = s ? machine_type(a, s, e) : 0;

    if (r < 0)
        return r;
    s = options_get(o, "accel");
    if (s) {
        a->c->naccel = 0;
        r = add_accels(a, s, "-machine accel", e);
        if (r < 0)
            return r;
    }
    r = a->c->machine == VM_MACHINE_MICRO ? microvm_options(o, e) : virt_options(a, o, e);
    if (r == 0)
        r = check_fixed(o, "-machine", fixed, ARRAY_SIZE(fixed), e);
    return r < 0 ? r : qemu_options_done(o, "-machine", e);
}

static void print_machines(enum qemu_target t)
{
    puts("Supported machines are:");
    if (t != QEMU_AARCH64)
        puts("microvm              microvm (i386)");
    puts("none                 empty machine (for -accel help and the like)");
    if (t != QEMU_X86_64)
        puts("virt                 ARM virtual machine (alias of virt-10.0)\n"
             "virt-10.0            ARM virtual machine");
}

static int set_machine(struct qemu_args *a, const char *v, struct err *e)
{
    struct options o;
    int r;

    if (!strcmp(v, "help") || !strcmp(v, "?")) {
        print_machines(a->target);
        a->done = true;
        return 0;
    }
    r = options_parse(&o, v, "type", e);
    if (r < 0)
        return r;
    r = set_machine_options(a, &o, e);
    options_free(&o);
    return r;
}

static int set_accel(struct qemu_args *a, const char *v, struct err *e)
{
    struct options o;
    const char *s;
    int r;

    if (!strcmp(v, "help") || !strcmp(v, "?")) {
        puts("Accelerators supported in QEMU binary:");
        if (a->target != QEMU_X86_64 && accel_host->jit)
            puts("tcg");
        if (a->target != (accel_host->arch == VM_ARCH_X86 ? QEMU_AARCH64 : QEMU_X86_64))
            puts("kvm");
        a->done = true;
        return 0;
    }
    r = options_parse(&o, v, "accel", e);
    if (r < 0)
        return r;
    s = options_get(&o, "thread");
    if (s && strcmp(s, "multi") != 0)
        r = err_set(e, EINVAL, "-accel thread=%s is not supported: each vCPU has a thread of its own", s);
    s = options_get(&o, "accel");
    if (r == 0)
        r = s ? add_accels(a, s, "-accel", e) : err_set(e, EINVAL, "-accel names no accelerator");
    if (r == 0)
        r = qemu_options_done(&o, "-accel", e);
    options_free(&o);
    return r;
}

static int set_enable_kvm(struct qemu_args *a, const char *v, struct err *e)
{
    (void)v;
    return add_accels(a, "kvm", "-enable-kvm", e);
}

/* ---- processors and memory ---- */

/* "sve", "sve128"... and others that no model here has: they may be switched off. */
static bool feature_is_absent(const char *name)
{
    static const char *const absent[] = {"pauth", "pauth-impdef", "pauth-qarma3", "pauth-qarma5", "lpa2", "pmu", "rme"};

    for (unsigned i = 0; i < ARRAY_SIZE(absent); i++)
        if (!strcmp(name, absent[i]))
            return true;
    return !strncmp(name, "sve", 3) || !strncmp(name, "sme", 3);
}

static int check_cpu_feature(const char *item, struct err *e)
{
    char name[64];
    size_t n = strcspn(item, "=");
    bool on = item[0] == '+';

    if (item[0] == '+' || item[0] == '-')
        snprintf(name, sizeof(name), "%s", item + 1);
    else if (!item[n] || text_to_bool(item + n + 1, &on) < 0)
        return err_set(e, EINVAL, "-cpu: \"%s\" is not a feature with =on or =off", item);
    else
        snprintf(name, sizeof(name), "%.*s", (int)MIN(n, sizeof(name) - 1), item);
    if (!strcmp(name, "aarch64"))
        return on ? 0 : err_set(e, EINVAL, "-cpu: aarch64=off is not supported: guests are 64-bit");
    if (!feature_is_absent(name))
        return err_set(e, EINVAL, "-cpu: feature %s is not known", name);
    return on ? err_set(e, EINVAL, "-cpu: feature %s is not there, it can only be off", name) : 0;
}

static int set_cpu(struct qemu_args *a, const char *v, struct err *e)
{
    char *copy = config_str(a->c, v), *save = NULL, *item;

    if (!strcmp(v, "help") || !strcmp(v, "?")) {
        args_print_cpus(a->target != QEMU_X86_64);
        a->done = true;
        return 0;
    }
    item = strtok_r(copy, ",", &save);
    if (!item)
        return err_set(e, EINVAL, "-cpu names no model");
    a->c->cpu = item;
    while ((item = strtok_r(NULL, ",", &save))) {
        int r = check_cpu_feature(item, e);

        if (r < 0)
            return r;
    }
    return 0;
}

/* One number of -smp; absent ones stay as they are. */
static int smp_number(struct options *o, const char *key, uint64_t *out, struct err *e)
{
    const char *s = options_get(o, key);

    if (!s)
        return 0;
    if (text_to_u64(s, out) < 0 || *out < 1 || *out > 1024)
        return err_set(e, EINVAL, "-smp %s=%s is not a number of CPUs", key, s);
    return 0;
}

static int set_smp(struct qemu_args *a, const char *v, struct err *e)
{
    static const char *const levels[] = {"sockets", "clusters", "cores", "threads"};
    uint64_t cpus = 0, product = 1, max = 0;
    struct options o;
    int r = options_parse(&o, v, "cpus", e);

    if (r < 0)
        return r;
    if ((r = smp_number(&o, "cpus", &cpus, e)) < 0 || (r = smp_number(&o, "maxcpus", &max, e)) < 0)
        goto out;
    for (unsigned i = 0; i < ARRAY_SIZE(levels); i++) {
        uint64_t n = 1;

        if ((r = smp_number(&o, levels[i], &n, e)) < 0)
            goto out;
        product = MIN(product * n, UINT64_C(1) << 20); /* more than any machine has; does not wrap */
    }
    if (!cpus)
        cpus = product;
    if (product > 1 && product != cpus)
        r = err_set(e, EINVAL, "-smp %s: sockets, cores and threads make %llu CPUs, not %llu", v,
                    (unsigned long long)product, (unsigned long long)cpus);
    else if (max && max != cpus)
        r = err_set(e, EINVAL, "-smp maxcpus=%llu: CPUs cannot be added later", (unsigned long long)max);
    else
        r = qemu_options_done(&o, "-smp", e);
    a->c->cpus = (unsigned)MIN(cpus, (uint64_t)UINT32_MAX);
out:
    options_free(&o);
    return r;
}

static int set_memory(struct qemu_args *a, const char *v, struct err *e)
{
    struct options o;
    const char *s;
    int r = options_parse(&o, v, "size", e);

    if (r < 0)
        return r;
    s = options_get(&o, "size");
    if (s && text_to_size(s, MIB(1), &a->c->memory) < 0)
        r = err_set(e, EINVAL, "-m %s is not a size: 2048 (MiB), 2G", s);
    else if (!s)
        r = err_set(e, EINVAL, "-m %s names no size", v);
    else
        r = qemu_options_done(&o, "-m", e);
    options_free(&o);
    return r;
}

/* ---- what to boot, and the rest ---- */

static int set_kernel(struct qemu_args *a, const char *v, struct err *e)
{
    (void)e;
    a->c->kernel = config_str(a->c, v);
    return 0;
}

static int set_initrd(struct qemu_args *a, const char *v, struct err *e)
{
    (void)e;
    a->c->initrd = config_str(a->c, v);
    return 0;
}

static int set_bios(struct qemu_args *a, const char *v, struct err *e)
{
    if (a->flash_given[0])
        return err_set(e, EINVAL, "-bios %s: the flash has its firmware from a drive already", v);
    a->flash_given[0] = true;
    a->c->firmware.code = (struct vm_flash){.read_only = true};
    return config_find_firmware(a->c, v, e);
}

#define MENU_MS 3000 /* QEMU's word on a menu without a time */

static int boot_options(struct vm_config *c, struct options *o, struct err *e)
{
    const char *s = options_get(o, "splash-time");
    bool menu = false, strict = false;
    uint64_t ms = MENU_MS;
    int r;

    /* Strict or not, UEFI firmware goes by its own list where nothing is named. */
    if ((r = options_get_bool(o, "-boot", "menu", &menu, e)) < 0 ||
        (r = options_get_bool(o, "-boot", "strict", &strict, e)) < 0)
        return r;
    if (s && (text_to_u64(s, &ms) < 0 || ms >= UINT16_MAX))
        return err_set(e, EINVAL, "-boot splash-time=%s is not a number of milliseconds below %d", s, UINT16_MAX);
    if (options_get(o, "order") || options_get(o, "once"))
        return err_set(e, EINVAL,
                       "-boot %s is not supported: letters name drives that this board has not; "
                       "-device ...,bootindex=N says what firmware tries first",
                       options_get(o, "order") ? "order" : "once");
    c->firmware.menu = menu ? (unsigned)ms : 0;
    return qemu_options_done(o, "-boot", e);
}

static int set_boot(struct qemu_args *a, const char *v, struct err *e)
{
    struct options o;
    int r = options_parse(&o, v, "order", e);

    if (r < 0)
        return r;
    r = boot_options(a->c, &o, e);
    options_free(&o);
    return r;
}

static int fw_cfg_add(struct vm_config *c, struct options *o, struct err *e)
{
    const char *name = options_get(o, "name"), *file = options_get(o, "file"), *text = options_get(o, "string");

    if (!name || strncmp(name, "opt/", 4) != 0 || !name[4] || strlen(name) >= FW_CFG_NAME_SIZE)
        return err_set(e, EINVAL, "-fw_cfg %s: a name begins with opt/ and has at most %d characters",
                       name ? name : "without a name", FW_CFG_NAME_SIZE - 1);
    if (!file == !text)
        return err_set(e, EINVAL, "-fw_cfg %s: give file= or string=", name);
    for (unsigned i = 0; i < c->nfw_cfg; i++)
        if (!strcmp(c->fw_cfg[i].name, name))
            return err_set(e, EINVAL, "-fw_cfg %s: the name is taken", name);
    if (c->nfw_cfg == VM_MAX_FW_CFG)
        return err_set(e, ENOSPC, "-fw_cfg %s: there are %d already, and there is no room for more", name,
                       VM_MAX_FW_CFG);
    c->fw_cfg[c->nfw_cfg].name = config_str(c, name);
    c->fw_cfg[c->nfw_cfg].file = file ? config_str(c, file) : NULL;
    c->fw_cfg[c->nfw_cfg++].text = text ? config_str(c, text) : NULL;
    return qemu_options_done(o, "-fw_cfg", e);
}

static int set_fw_cfg(struct qemu_args *a, const char *v, struct err *e)
{
    struct options o;
    int r = options_parse(&o, v, "name", e);

    if (r < 0)
        return r;
    r = fw_cfg_add(a->c, &o, e);
    options_free(&o);
    return r;
}

static int set_append(struct qemu_args *a, const char *v, struct err *e)
{
    (void)e;
    a->c->cmdline = config_str(a->c, v);
    a->append_given = true;
    return 0;
}

static int set_nographic(struct qemu_args *a, const char *v, struct err *e)
{
    (void)v;
    (void)e;
    a->nographic = true;
    return 0;
}

static int set_nodefaults(struct qemu_args *a, const char *v, struct err *e)
{
    (void)v;
    (void)e;
    a->nodefaults = true;
    return 0;
}

static int set_no_reboot(struct qemu_args *a, const char *v, struct err *e)
{
    (void)v;
    (void)e;
    a->c->no_reboot = true;
    return 0;
}

static int set_snapshot(struct qemu_args *a, const char *v, struct err *e)
{
    (void)v;
    (void)e;
    a->snapshot = true;
    return 0;
}

static int set_perf_map(struct qemu_args *a, const char *v, struct err *e)
{
    (void)v;
    (void)e;
    a->c->perf_map = true;
    return 0;
}

static int set_jitdump(struct qemu_args *a, const char *v, struct err *e)
{
    (void)v;
    (void)e;
    a->c->jitdump = true;
    return 0;
}

static int set_jit_log(struct qemu_args *a, const char *v, struct err *e)
{
    return config_jit_log(a->c, "-d", v, e);
}

/* What is so anyway. */
static int set_nothing(struct qemu_args *a, const char *v, struct err *e)
{
    (void)a;
    (void)v;
    (void)e;
    return 0;
}

static int set_display(struct qemu_args *a, const char *v, struct err *e)
{
    if (strcmp(v, "none") != 0)
        return err_set(e, EINVAL, "-display %s is not supported; none is", v);
    a->display_none = true;
    return 0;
}

static int only_none(const char *option, const char *v, struct err *e)
{
    return !strcmp(v, "none") ? 0 : err_set(e, EINVAL, "%s %s is not supported; none is", option, v);
}

static int set_monitor(struct qemu_args *a, const char *v, struct err *e)
{
    (void)a;
    return !strcmp(v, "null") ? 0 : only_none("-monitor", v, e);
}

static int set_vga(struct qemu_args *a, const char *v, struct err *e)
{
    (void)a;
    return only_none("-vga", v, e);
}

static int set_parallel(struct qemu_args *a, const char *v, struct err *e)
{
    (void)a;
    return only_none("-parallel", v, e);
}

static int set_name(struct qemu_args *a, const char *v, struct err *e)
{
    struct options o;
    const char *s;
    int r = options_parse(&o, v, "guest", e);

    if (r < 0)
        return r;
    s = options_get(&o, "guest");
    if (s)
        a->c->name = config_str(a->c, s);
    options_find(&o, "debug-threads"); /* threads have names in any case */
    r = qemu_options_done(&o, "-name", e);
    options_free(&o);
    return r;
}

static int set_rtc(struct qemu_args *a, const char *v, struct err *e)
{
    struct options o;
    const char *s;
    int r = options_parse(&o, v, NULL, e);

    (void)a;
    if (r < 0)
        return r;
    s = options_get(&o, "base");
    if (s && strcmp(s, "utc") != 0)
        r = err_set(e, EINVAL, "-rtc base=%s is not supported; utc is", s);
    s = options_get(&o, "clock");
    if (r == 0 && s && strcmp(s, "host") != 0)
        r = err_set(e, EINVAL, "-rtc clock=%s is not supported; host is", s);
    if (r == 0)
        r = qemu_options_done(&o, "-rtc", e);
    options_free(&o);
    return r;
}

static int set_global(struct qemu_args *a, const char *v, struct err *e)
{
    (void)a;
    /* What users of microvm must say for virtio 1, and what is so anyway. */
    if (!strcmp(v, "virtio-mmio.force-legacy=false") || !strcmp(v, "virtio-mmio.force-legacy=off"))
        return 0;
    return err_set(e, EINVAL, "-global %s is not supported: properties are given to the device itself", v);
}

static int set_sandbox(struct qemu_args *a, const char *v, struct err *e)
{
    static const char *const finer[] = {"obsolete", "elevateprivileges", "spawn", "resourcecontrol"};
    struct options o;
    const char *s;
    int r = options_parse(&o, v, "enable", e);

    if (r < 0)
        return r;
    s = options_get(&o, "enable");
    if (s && text_to_bool(s, &a->c->sandbox) < 0)
        r = err_set(e, EINVAL, "-sandbox %s is neither on nor off", s);
    /* Each of them denies calls that pipit's filters never allow. */
    for (unsigned i = 0; i < ARRAY_SIZE(finer); i++) {
        s = options_get(&o, finer[i]);
        if (r == 0 && s && strcmp(s, "deny") != 0)
            r = err_set(e, EINVAL, "-sandbox %s=%s is not supported; deny is", finer[i], s);
    }
    if (r == 0)
        r = qemu_options_done(&o, "-sandbox", e);
    options_free(&o);
    return r;
}

static int set_pidfile(struct qemu_args *a, const char *v, struct err *e)
{
    (void)e;
    a->c->pidfile = config_str(a->c, v);
    return 0;
}

static int set_log(struct qemu_args *a, const char *v, struct err *e)
{
    (void)e;
    a->c->log_file = config_str(a->c, v);
    return 0;
}

static int set_daemonize(struct qemu_args *a, const char *v, struct err *e)
{
    (void)v;
    (void)e;
    a->c->detach = true;
    return 0;
}

static int set_version(struct qemu_args *a, const char *v, struct err *e)
{
    (void)v;
    (void)e;
    puts("QEMU emulator version " QEMU_VERSION " (pipit " PIPIT_VERSION ")");
    puts("This is pipit, which takes QEMU's options; pipit --version says more.");
    a->done = true;
    return 0;
}

static int set_help(struct qemu_args *a, const char *v, struct err *e)
{
    (void)v;
    (void)e;
    args_print_help_qemu();
    a->done = true;
    return 0;
}

/* ---- the table ---- */

struct qemu_option {
    const char *name;
    bool has_value;
    qemu_set_fn first, second; /* the two passes; NULL: nothing to do in it */
    const char *refusal;       /* why it is not supported; then the rest is unset */
};

#define NO_MONITOR "this machine has no monitor"

static const struct qemu_option qemu_options[] = {
    {"M", true, set_machine, NULL, NULL},
    {"machine", true, set_machine, NULL, NULL},
    {"accel", true, set_accel, NULL, NULL},
    {"enable-kvm", false, set_enable_kvm, NULL, NULL},
    {"cpu", true, set_cpu, NULL, NULL},
    {"smp", true, set_smp, NULL, NULL},
    {"m", true, set_memory, NULL, NULL},
    {"kernel", true, set_kernel, NULL, NULL},
    {"initrd", true, set_initrd, NULL, NULL},
    {"append", true, set_append, NULL, NULL},
    {"bios", true, set_bios, NULL, NULL},
    {"pflash", true, qemu_pflash, NULL, NULL},
    {"fw_cfg", true, set_fw_cfg, NULL, NULL},
    {"drive", true, qemu_drive, qemu_drive_device, NULL},
    {"hda", true, qemu_hda, qemu_drive_device, NULL},
    {"hdb", true, qemu_hda, qemu_drive_device, NULL},
    {"hdc", true, qemu_hda, qemu_drive_device, NULL},
    {"hdd", true, qemu_hda, qemu_drive_device, NULL},
    {"cdrom", true, qemu_cdrom, qemu_drive_device, NULL},
    {"device", true, qemu_device_help, qemu_device, NULL},
    {"netdev", true, qemu_netdev, NULL, NULL},
    {"nic", true, NULL, qemu_nic, NULL},
    {"net", true, qemu_net, qemu_net_device, NULL},
    {"chardev", true, qemu_chardev, NULL, NULL},
    {"object", true, qemu_object, NULL, NULL},
    {"serial", true, NULL, qemu_serial, NULL},
    {"nographic", false, set_nographic, NULL, NULL},
    {"display", true, set_display, NULL, NULL},
    {"monitor", true, set_monitor, NULL, NULL},
    {"vga", true, set_vga, NULL, NULL},
    {"parallel", true, set_parallel, NULL, NULL},
    {"nodefaults", false, set_nodefaults, NULL, NULL},
    {"no-user-config", false, set_nothing, NULL, NULL},
    {"no-reboot", false, set_no_reboot, NULL, NULL},
    {"perfmap", false, set_perf_map, NULL, NULL},
    {"jitdump", false, set_jitdump, NULL, NULL},
    {"d", true, set_jit_log, NULL, NULL},
    {"name", true, set_name, NULL, NULL},
    {"rtc", true, set_rtc, NULL, NULL},
    {"global", true, set_global, NULL, NULL},
    {"sandbox", true, set_sandbox, NULL, NULL},
    {"pidfile", true, set_pidfile, NULL, NULL},
    {"D", true, set_log, NULL, NULL},
    {"version", false, set_version, NULL, NULL},
    {"h", false, set_help, NULL, NULL},
    {"help", false, set_help, NULL, NULL},
    {"dtb", true, NULL, NULL, "the device tree is always pipit's own"},
    {"boot", true, set_boot, NULL, NULL},
    {"S", false, NULL, NULL, "a machine that starts stopped needs a monitor, and there is none"},
    {"qmp", true, NULL, NULL, NO_MONITOR},
    {"mon", true, NULL, NULL, NO_MONITOR},
    {"s", false, NULL, NULL, "this machine has no debugger stub"},
    {"gdb", true, NULL, NULL, "this machine has no debugger stub"},
    {"snapshot", false, set_snapshot, NULL, NULL},
    {"smbios", true, NULL, NULL, "this board has no SMBIOS tables; cloud-init also takes a disk labelled cidata"},
    {"daemonize", false, set_daemonize, NULL, NULL},
    {"no-shutdown", false, NULL, NULL, "a machine that has powered off needs a monitor, and there is none"},
    {"blockdev", true, NULL, NULL, "-drive gives a disk"},
    {"loadvm", true, NULL, NULL, "there are no snapshots"},
    {"incoming", true, NULL, NULL, "there is no migration"},
    {"vnc", true, NULL, NULL, "there is no display"},
    {"usb", false, NULL, NULL, "this board has no USB"},
};

static const struct qemu_option *find_option(const char *word)
{
    /* "-opt" and "--opt" are the same. */
    word += word[1] == '-' ? 2 : 1;
    for (unsigned i = 0; i < ARRAY_SIZE(qemu_options); i++)
        if (!strcmp(qemu_options[i].name, word))
            return &qemu_options[i];
    return NULL;
}

static int unknown_option(const char *word, struct err *e)
{
    const char *names[ARRAY_SIZE(qemu_options) + 1], *near;

    for (unsigned i = 0; i < ARRAY_SIZE(qemu_options); i++)
        names[i] = qemu_options[i].name;
    names[ARRAY_SIZE(qemu_options)] = NULL;
    near = text_nearest(word + (word[1] == '-' ? 2 : 1), names);
    return err_set(e, EINVAL, "option %s is not supported%s%s (-h lists what is)", word, near ? "; did you mean -" : "",
                   near ? near : "");
}

/* One pass over the words. Both passes see the same words, so the second meets no unknown one. */
static int parse_pass(struct qemu_args *a, int argc, char **argv, bool first, struct err *e)
{
    for (int i = 0; i < argc && !a->done; i++) {
        const struct qemu_option *o;
        const char *word = argv[i], *value = NULL;
        qemu_set_fn set;
        int r;

        if (word[0] != '-' || word[1] == '\0') {
            /* QEMU takes a lone word as the first disk. */
            r = first ? qemu_hda(a, word, e) : qemu_drive_device(a, word, e);
            if (r < 0)
                return r;
            continue;
        }
        o = find_option(word);
        if (!o)
            return unknown_option(word, e);
        if (o->refusal)
            return err_set(e, EINVAL, "option %s is not supported: %s", word, o->refusal);
        if (o->has_value) {
            if (i + 1 == argc)
                return err_set(e, EINVAL, "option %s needs a value behind it", word);
            value = argv[++i];
        }
        set = first ? o->first : o->second;
        r = set ? set(a, value, e) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

/* Without a kernel and firmware the first disk's own kernel starts, where QEMU would find nothing to run. */
static int settle_kernel(struct qemu_args *a, struct err *e)
{
    struct vm_config *c = a->c;
    char words[64];
    int r;

    if (c->kernel || c->firmware.used || c->dump_dtb)
        return 0;
    if (!c->ndisks)
        return err_set(e, EINVAL,
                       "no kernel is given: name one with -kernel FILE, %sor a disk that has one with -drive",
                       a->target == QEMU_X86_64 ? "" : "firmware with -bios FILE, ");
    r = disk_boot_find(c, a->append_given,
                       "Its own boot loader may know more: -bios FILE, with UEFI firmware, starts it; -kernel FILE "
                       "gives a kernel",
                       e);
    if (r < 0)
        return r;
    config_choose_machine(c);
    if (!a->append_given) {
        snprintf(words, sizeof(words), "console=%s", board_find(c->machine)->serial);
        disk_boot_console(c, board_find(c->machine)->serial, words);
    }
    return 0;
}

static int parse_qemu(struct vm_config *c, enum qemu_target target, int argc, char **argv, struct err *e)
{
    struct qemu_args *a = calloc(1, sizeof(*a));
    int r;

    if (!a)
        return err_set(e, ENOMEM, "out of memory");
    a->c = c;
    a->target = target;
    if (target != QEMU_ANY)
        c->machine = target == QEMU_X86_64 ? VM_MACHINE_MICRO : VM_MACHINE_VIRT;
    c->memory = MIB(128);
    c->jit_default.cpu = "cortex-a57"; /* QEMU's own default is a 32-bit CPU */
    c->jit_default.gic_version = 2;
    c->jit_default.silent = true; /* QEMU's own default accelerator */
    c->status_reset = 0;
    c->status_signals = false;
    c->status_causes = false;

    r = parse_pass(a, argc, argv, true, e);
    if (r < 0)
        goto out;
    if (!a->done && a->machine_none) {
        r = err_set(e, EINVAL, "machine none has nothing to run; %s there (-M help)", machines_of(target));
        goto out;
    }
    if (!a->done && ((r = parse_pass(a, argc, argv, false, e)) < 0 || (r = qemu_settle_devices(a, e)) < 0))
        goto out;
    if (a->flash_given[1] && !a->flash_given[0]) {
        r = err_set(e, EINVAL, "a variable store without firmware: -bios FILE or a first pflash drive has that");
        goto out;
    }
    r = a->done ? 0 : settle_kernel(a, e);
    if (r == 0)
        r = a->done ? ARGS_DONE : ARGS_RUN;
out:
    free(a);
    return r;
}

int args_qemu(struct vm_config *c, int argc, char **argv, struct err *e)
{
    return parse_qemu(c, QEMU_ANY, argc, argv, e);
}

int args_qemu_aarch64(struct vm_config *c, int argc, char **argv, struct err *e)
{
    return parse_qemu(c, QEMU_AARCH64, argc, argv, e);
}

int args_qemu_x86_64(struct vm_config *c, int argc, char **argv, struct err *e)
{
    return parse_qemu(c, QEMU_X86_64, argc, argv, e);
}
