/* Settings: defaults, small parsers that both command lines use, and the one validation. */
#include "vmm/machine/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "arch/arm64/arm64.h"
#include "loader/loader.h"
#include "vmm/base/log.h"
#include "vmm/base/options.h"
#include "vmm/base/util.h"
#include "vmm/machine/accel.h"
#include "vmm/machine/accel_jit.h"
#include "vmm/machine/board.h"
#include "vmm/service/life/dirs.h"

#define BLK_SERIAL_MAX 20 /* virtio 1.2, 5.2.6: VIRTIO_BLK_T_GET_ID */

void config_init(struct vm_config *c)
{
    memset(c, 0, sizeof(*c));
    c->memory = MIB(1024);
    c->cpus = 1;
    c->jit_default.cpu = "max";
    c->jit_default.gic_version = 3;
    c->tier = VM_TIER_1;
    c->serial = -1;
    c->sandbox = true;
    c->dtb_randomness = true;
    c->log_level = LOG_INFO;
    c->status_reset = 3;
    c->status_signals = true;
    c->status_causes = true;
    c->cmdline = config_str(c, "");
}

void config_free(struct vm_config *c)
{
    for (unsigned i = 0; i < c->nowned; i++)
        free(c->owned[i]);
    free(c->owned);
    affinity_free(&c->pin);
    affinity_free(&c->pin_loop);
    memset(c, 0, sizeof(*c));
}

/* Start-up code on the main thread, a few bytes: there is nothing sensible to do without them. */
static void *must(void *p)
{
    if (!p) {
        log_error(NULL, "out of memory");
        exit(1);
    }
    return p;
}

static char *config_own(struct vm_config *c, char *s)
{
    c->owned = must(reallocarray(c->owned, c->nowned + 1, sizeof(*c->owned)));
    c->owned[c->nowned++] = s;
    return s;
}

char *config_str(struct vm_config *c, const char *s)
{
    return config_own(c, must(strdup(s)));
}

int config_add_disk(struct vm_config *c, struct vm_disk **out, struct err *e)
{
    if (c->ndisks == VM_MAX_SLOTS)
        return err_set(e, ENOSPC, "there is room for %d disks", VM_MAX_SLOTS);
    *out = &c->disk[c->ndisks];
    return (int)c->ndisks++;
}

int config_add_first_disk(struct vm_config *c, const struct vm_disk *d, struct err *e)
{
    struct vm_disk *last;
    int r = config_add_disk(c, &last, e);

    if (r < 0)
        return r;
    memmove(&c->disk[1], &c->disk[0], (c->ndisks - 1) * sizeof(*d));
    c->disk[0] = *d;
    for (unsigned i = 0; i < c->ndevices; i++)
        c->device[i].index += c->device[i].kind == VM_DEVICE_BLK;
    r = config_add_device(c, VM_DEVICE_BLK, 0, e);
    if (r < 0)
        return r;
    memmove(&c->device[1], &c->device[0], (c->ndevices - 1) * sizeof(c->device[0]));
    c->device[0] = (struct vm_device){.kind = VM_DEVICE_BLK, .slot = -1, .boot = -1};
    return 0;
}

int config_add_net(struct vm_config *c, struct vm_net **out, struct err *e)
{
    if (c->nnets == VM_MAX_SLOTS)
        return err_set(e, ENOSPC, "there is room for %d networks", VM_MAX_SLOTS);
    *out = &c->net[c->nnets];
    (*out)->ipv6 = true;
    return (int)c->nnets++;
}

int config_add_chardev(struct vm_config *c, enum vm_chardev_kind kind, struct err *e)
{
    if (c->nchardevs == VM_MAX_CHARDEVS)
        return err_set(e, ENOSPC, "there is room for %d serial back ends", VM_MAX_CHARDEVS);
    c->chardev[c->nchardevs].kind = kind;
    return (int)c->nchardevs++;
}

int config_add_device(struct vm_config *c, enum vm_device_kind kind, unsigned index, struct err *e)
{
    if (c->ndevices == VM_MAX_SLOTS)
        return err_set(e, ENOSPC, "there is room for %d virtio devices", VM_MAX_SLOTS);
    c->device[c->ndevices] = (struct vm_device){.kind = kind, .index = index, .slot = -1, .boot = -1};
    return (int)c->ndevices++;
}

int config_cache_parse(const char *s, enum vm_cache *out)
{
    static const char *const names[] = {
        [VM_CACHE_WRITEBACK] = "writeback",   [VM_CACHE_NONE] = "none",     [VM_CACHE_WRITETHROUGH] = "writethrough",
        [VM_CACHE_DIRECTSYNC] = "directsync", [VM_CACHE_UNSAFE] = "unsafe",
    };

    for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
        if (!strcmp(s, names[i])) {
            *out = (enum vm_cache)i;
            return 0;
        }
    return -EINVAL;
}

static int disk_error(struct options *o, const char *key, bool write, enum vm_disk_error *out, const char *what,
                      struct err *e)
{
    static const char *const names[] = {[VM_ERROR_REPORT] = "report",
                                        [VM_ERROR_IGNORE] = "ignore",
                                        [VM_ERROR_STOP] = "stop",
                                        [VM_ERROR_ENOSPC] = "enospc"};
    const char *s = options_get(o, key);

    for (unsigned i = 0; s && i < ARRAY_SIZE(names); i++)
        if (!strcmp(s, names[i]) && (write || i != VM_ERROR_ENOSPC)) {
            *out = (enum vm_disk_error)i;
            return 0;
        }
    return s ? err_set(e, EINVAL, "%s: %s=%s is none of report, ignore%s stop%s", what, key, s, write ? "," : " and",
                       write ? " and enospc" : "")
             : 0;
}

int config_disk_errors(struct vm_disk *d, struct options *o, const char *what, struct err *e)
{
    int r = disk_error(o, "werror", true, &d->werror, what, e);

    return r < 0 ? r : disk_error(o, "rerror", false, &d->rerror, what, e);
}

void config_choose_machine(struct vm_config *c)
{
    struct loader_kind k;
    struct err e;

    if (c->machine != VM_MACHINE_AUTO)
        return;
    c->machine = VM_MACHINE_VIRT;
    if (c->kernel && !c->kernel_flat && loader_probe(&k, c->kernel, &e) == 0 &&
        (k.arch == LOADER_ARCH_X86_64 || k.arch == LOADER_ARCH_X86_32))
        c->machine = VM_MACHINE_MICRO;
}

bool config_cmdline_has(const char *cmdline, const char *word)
{
    size_t n = strlen(word);
    bool prefix = n && word[n - 1] == '=';

    for (const char *p = cmdline; *p;) {
        size_t len;

        p += strspn(p, " \t\n");
        len = strcspn(p, " \t\n");
        if (!strncmp(p, word, n) && (prefix ? len >= n : len == n))
            return true;
        p += len;
    }
    return false;
}

void config_cmdline_append(struct vm_config *c, const char *word)
{
    char *s = NULL;

    if (asprintf(&s, "%s%s%s", c->cmdline, *c->cmdline ? " " : "", word) < 0)
        s = NULL;
    c->cmdline = config_own(c, must(s));
}

static int validate_accel(struct vm_config *c, const struct board_ops *board, struct err *e)
{
    int r;

    /* Whoever names a tier, or asks about the JIT, means it. */
    bool traced = c->trace_exec || c->trace_cpu || c->trace_unlinked;

    if ((c->tier_given || c->perf_map || c->jitdump || c->jit_stats || traced) && !c->naccel)
        c->accel_order[c->naccel++] = VM_ACCEL_JIT;
    r = accel_choose(c, board->arch, e);
    if (r < 0)
        return r;
    if (c->tier_given && c->accel != VM_ACCEL_JIT)
        return err_set(e, EINVAL, "a tier of the JIT has no meaning with KVM");
    if ((c->perf_map || c->jitdump) && c->accel != VM_ACCEL_JIT)
        return err_set(e, EINVAL, "a map of the JIT's code has no meaning with KVM");
    if (traced && c->accel != VM_ACCEL_JIT)
        return err_set(e, EINVAL, "a log of the JIT's blocks has no meaning with KVM");
    if (c->translations && strcmp(c->translations, "off") && c->accel != VM_ACCEL_JIT)
        return err_set(e, EINVAL, "there are no translations to keep with KVM");
    if (c->jit_stats && c->accel != VM_ACCEL_JIT)
        return err_set(e, EINVAL, "statistics of the JIT have no meaning with KVM; --stats has those of KVM");
    return 0;
}

int config_jit_log(struct vm_config *c, const char *option, const char *list, struct err *e)
{
    const struct {
        const char *name;
        bool *set;
    } items[] = {{"exec", &c->trace_exec}, {"cpu", &c->trace_cpu}, {"nochain", &c->trace_unlinked}};

    for (const char *v = list, *end; *v; v = *end ? end + 1 : end) {
        bool known = false;

        end = strchrnul(v, ',');
        for (size_t i = 0; i < ARRAY_SIZE(items); i++) {
            if (strlen(items[i].name) == (size_t)(end - v) && !strncmp(v, items[i].name, (size_t)(end - v)))
                known = *items[i].set = true;
        }
        if (!known)
            return err_set(e, EINVAL, "%s %s: there is no \"%.*s\"; there are exec, cpu and nochain", option, list,
                           (int)(end - v), v);
    }
    return 0;
}

/* What KVM allows the host's kernel says, when it is asked. */
static int validate_cpus(const struct vm_config *c, const struct board_ops *board, struct err *e)
{
    unsigned most = board->max_cpus(c);

    if (c->cpus < 1)
        return err_set(e, EINVAL, "no CPUs: a guest has at least 1");
    if (c->accel == VM_ACCEL_JIT && c->cpus > ACCEL_JIT_MAX_CPUS)
        return err_set_status(e, ERR_STATUS_CPUS, EINVAL, "%u CPUs: the JIT runs from 1 to %d", c->cpus,
                              ACCEL_JIT_MAX_CPUS);
    if (c->cpus > most)
        return err_set_status(e, ERR_STATUS_CPUS, EINVAL, "%u CPUs: machine %s has from 1 to %u%s", c->cpus,
                              board->name, most,
                              board->arch == VM_ARCH_ARM64 && c->gic_version == 2 ? " with GIC version 2" : "");
    return 0;
}

static int unknown_model(const struct vm_config *c, struct err *e)
{
    const char *names[32], *near;
    unsigned n = 0;

    if (!strcmp(c->cpu, "host"))
        return err_set(e, EINVAL, "CPU model host: that is the host's own CPU, which only KVM can give");
    while (n < ARRAY_SIZE(names) - 1 && arm64_model_name(n)) {
        names[n] = arm64_model_name(n);
        n++;
    }
    names[n] = NULL;
    near = text_nearest(c->cpu, names);
    return err_set(e, EINVAL, "CPU model %s is not known%s%s (--cpu help lists them)", c->cpu,
                   near ? "; did you mean " : "", near ? near : "");
}

static int validate_cpu(struct vm_config *c, const struct board_ops *board, struct err *e)
{
    bool jit = c->accel == VM_ACCEL_JIT;

    if (board->arch != VM_ARCH_ARM64 && c->gic_version)
        return err_set(e, EINVAL, "machine %s has no GIC that could have a version", board->name);
    if (c->gic_version && c->gic_version != 2 && c->gic_version != 3)
        return err_set(e, EINVAL, "GIC version %u: 2 and 3 are there", c->gic_version);
    if (jit && !c->gic_version)
        c->gic_version = c->jit_default.gic_version;
    if (jit && !c->gic_version)
        return err_set(e, EINVAL, "the GIC version of the host: only KVM has that");
    if (!c->cpu)
        c->cpu = jit ? c->jit_default.cpu : "host";
    if (jit)
        return arm64_model_find(c->cpu) ? 0 : unknown_model(c, e);
    if (strcmp(c->cpu, "host") != 0 && strcmp(c->cpu, "max") != 0)
        return err_set(e, EINVAL, "CPU model %s: KVM gives the host's own CPU, and takes host or max", c->cpu);
    return 0;
}

static int validate_pins(const struct vm_config *c, struct err *e)
{
    int r;

    if (c->pin.n && c->pin.n != c->cpus)
        return err_set(e, EINVAL, "%u host CPUs to pin %u vCPUs to: each vCPU needs one of its own", c->pin.n, c->cpus);
    r = affinity_check(&c->pin, "--pin", e);
    return r < 0 ? r : affinity_check(&c->pin_loop, "--pin-loop", e);
}

static int validate_memory(const struct vm_config *c, const struct board_ops *board, struct err *e)
{
    if (c->memory < board->memory_min)
        return err_set(e, EINVAL, "%llu MiB of memory: a guest of machine %s needs at least %llu MiB",
                       (unsigned long long)(c->memory >> 20), board->name,
                       (unsigned long long)(board->memory_min >> 20));
    if (c->memory > board->memory_max)
        return err_set_status(e, ERR_STATUS_MEMORY, EINVAL, "%llu MiB of memory: machine %s has room for %llu MiB",
                              (unsigned long long)(c->memory >> 20), board->name,
                              (unsigned long long)(board->memory_max >> 20));
    if (c->huge_pages == VM_HUGE_PAGES_HUGETLB && c->memory % MIB(2))
        return err_set(e, EINVAL, "%llu bytes of memory: in huge pages it is a multiple of 2 MiB",
                       (unsigned long long)c->memory);
    if (c->memory % MIB(1))
        return err_set(e, EINVAL, "%llu bytes of memory: give a whole number of MiB", (unsigned long long)c->memory);
    return 0;
}

static int validate_disks(const struct vm_config *c, struct err *e)
{
    int r = seed_check(&c->seed, e);

    if (r < 0)
        return r;
    for (unsigned i = 0; i < c->ndisks; i++) {
        const struct vm_disk *d = &c->disk[i];

        if (!d->path || !*d->path)
            return err_set(e, EINVAL, "disk %u has no file", i);
        if (d->serial && strlen(d->serial) > BLK_SERIAL_MAX)
            return err_set(e, EINVAL, "disk %s: the serial number \"%s\" has more than %d characters", d->path,
                           d->serial, BLK_SERIAL_MAX);
    }
    return 0;
}

/* A machine in the background has no terminal, and one that others can name has a name that they can. */
static int validate_life(const struct vm_config *c, struct err *e)
{
    for (unsigned i = 0; c->detach && i < c->nchardevs; i++)
        if (c->chardev[i].kind == VM_CHARDEV_STDIO)
            return err_set(e, EINVAL,
                           "a machine in the background cannot have standard input and output as its serial line");
    return c->listed ? life_name_check(c->name, e) : 0;
}

static int validate_chardevs(const struct vm_config *c, struct err *e)
{
    unsigned stdio = 0;

    for (unsigned i = 0; i < c->nchardevs; i++)
        stdio += c->chardev[i].kind == VM_CHARDEV_STDIO;
    if (stdio > 1)
        return err_set(e, EINVAL, "standard input and output can serve one serial line, not %u", stdio);
    return 0;
}

/* The same for the same name: what the guest calls its network device, and knows a lease by, stays. FNV-1a. */
static void mac_of_name(uint8_t mac[6], const char *name)
{
    uint32_t h = UINT32_C(0x811c9dc5);

    for (; *name; name++)
        h = (h ^ (uint8_t)*name) * UINT32_C(0x01000193);
    mac[3] = (uint8_t)(h >> 16);
    mac[4] = (uint8_t)(h >> 8);
    mac[5] = (uint8_t)h;
}

/* Locally administered ones (52). Guests of one network need different ones; QEMU's users know that they have to say
 * so, and what the default is. */
static void validate_macs(struct vm_config *c)
{
    for (unsigned i = 0; i < c->nnets; i++) {
        static const uint8_t first[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
        struct vm_net *n = &c->net[i];

        if (n->mac_set)
            continue;
        memcpy(n->mac, first, 6);
        if (c->listed)
            mac_of_name(n->mac, c->name);
        else if (c->own_macs && n->ifname)
            mac_of_name(n->mac, n->ifname);
        else if (c->own_macs && n->kind != VM_NET_USER && getrandom(n->mac + 3, 3, 0) != 3)
            log_warn("net", "no random numbers for a MAC address; mac= gives one");
        n->mac[5] = (uint8_t)(n->mac[5] + i);
    }
}

static int validate_nets(const struct vm_config *c, struct err *e)
{
    for (unsigned i = 0; i < c->nnets; i++) {
        const uint8_t *mac = c->net[i].mac;

        unsigned ports = 0;

        for (unsigned j = 0; j < c->net[i].nfwd; j++)
            ports += MAX(c->net[i].fwd[j].count, (uint16_t)1);
        if (ports > VM_MAX_PORTS)
            return err_set(e, EINVAL, "%u published ports; at most %d can be", ports, VM_MAX_PORTS);
        if (mac[0] & 1)
            return err_set(e, EINVAL, "MAC address %02x:%02x:%02x:%02x:%02x:%02x is a group address", mac[0], mac[1],
                           mac[2], mac[3], mac[4], mac[5]);
        for (unsigned j = 0; j < i; j++)
            if (!memcmp(mac, c->net[j].mac, 6))
                return err_set(e, EINVAL, "two networks have the MAC address %02x:%02x:%02x:%02x:%02x:%02x", mac[0],
                               mac[1], mac[2], mac[3], mac[4], mac[5]);
    }
    return 0;
}

static int validate_slots(struct vm_config *c, const struct board_ops *board, struct err *e)
{
    bool taken[VM_MAX_SLOTS] = {false};
    unsigned next = 0;

    if (c->ndevices > board->nslots)
        return err_set(e, ENOSPC, "%u virtio devices: machine %s has room for %u", c->ndevices, board->name,
                       board->nslots);
    for (unsigned i = 0; i < c->ndevices; i++) {
        int s = c->device[i].slot;

        if (s < 0)
            continue;
        if (s >= (int)board->nslots)
            return err_set(e, EINVAL, "virtio slot %d: machine %s has slots 0 to %u", s, board->name,
                           board->nslots - 1);
        if (taken[s])
            return err_set(e, EINVAL, "virtio slot %d is given to two devices", s);
        taken[s] = true;
    }
    for (unsigned i = 0; i < c->ndevices; i++) {
        if (c->device[i].slot >= 0)
            continue;
        while (taken[next]) /* ends: there are as many slots as devices at most */
            next++;
        taken[next] = true;
        c->device[i].slot = (int)next;
    }
    return 0;
}

const struct board_ops *board_find(enum vm_machine machine)
{
    static const struct board_ops *const boards[] = {
        [VM_MACHINE_VIRT] = &virt_board, [VM_MACHINE_MICRO] = &micro_board};

    return boards[machine];
}

int config_validate(struct vm_config *c, struct err *e)
{
    const struct board_ops *board;
    int r;

    config_choose_machine(c);
    board = board_find(c->machine);
    if (c->dump_dtb && board->arch != VM_ARCH_ARM64)
        return err_set(e, EINVAL, "machine %s has no device tree: ACPI describes it", board->name);
    if (c->kernel_flat && board->arch != VM_ARCH_ARM64)
        return err_set(e, EINVAL, "machine %s takes bzImage and ELF kernels, and none without a format", board->name);
    if (c->isa_exit.size && board->arch != VM_ARCH_X86)
        return err_set(e, EINVAL, "machine %s has no ports, and so no isa-debug-exit", board->name);
    if (c->firmware.used && board->arch != VM_ARCH_ARM64)
        return err_set(e, EINVAL, "machine %s has no flash for firmware: it starts kernels", board->name);
    if (!c->kernel && !c->firmware.used && !c->dump_dtb)
        return err_set(e, EINVAL, "no kernel is given: name one with --kernel FILE%s",
                       board->arch == VM_ARCH_ARM64 ? ", or firmware with --firmware FILE" : "");
    if (c->nfw_cfg && board->arch != VM_ARCH_ARM64)
        return err_set(e, EINVAL, "machine %s has no fw_cfg", board->name);
    if (c->firmware.used && c->memory < MIB(128))
        log_warn(NULL, "%llu MiB of memory: EDK2, the usual firmware, stands still below 128 MiB",
                 (unsigned long long)(c->memory >> 20));
    if (c->firmware.used && c->kernel_flat)
        return err_set(e, EINVAL, "firmware starts kernels by their format: one without has no meaning with it");
    if (c->firmware.used && !c->kernel && *c->cmdline)
        return err_set(e, EINVAL, "a kernel command line without a kernel: what firmware starts has its own");
    if (c->initrd && !c->kernel)
        return err_set(e, EINVAL, "an initrd without a kernel is of no use");
    if (strlen(c->cmdline) > board->cmdline_max)
        return err_set(e, EINVAL, "the kernel command line has %zu characters; on machine %s Linux takes %u",
                       strlen(c->cmdline), board->name, board->cmdline_max);
    c->firmware.keep_vars = c->firmware.used && c->listed && !c->firmware.vars.path;
    if ((r = validate_accel(c, board, e)) < 0 || (r = validate_cpu(c, board, e)) < 0 ||
        (r = validate_cpus(c, board, e)) < 0 || (r = validate_pins(c, e)) < 0 ||
        (r = validate_memory(c, board, e)) < 0 || (r = validate_disks(c, e)) < 0 || (r = validate_chardevs(c, e)) < 0 ||
        (r = validate_life(c, e)) < 0)
        return r;
    validate_macs(c);
    r = validate_nets(c, e);
    return r < 0 ? r : validate_slots(c, board, e);
}
