/*
 * `pipit run`: one table of options, each with a function that checks its value and files it. What depends on more
 * than one option (the console's word on the kernel command line, the default network) is settled at the end.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loader/loader.h"
#include "vmm/base/log.h"
#include "vmm/base/options.h"
#include "vmm/base/util.h"
#include "vmm/machine/args.h"
#include "vmm/machine/board.h"
#include "vmm/machine/disk_boot.h"
#include "vmm/service/life/dirs.h"
#include "vmm/service/life/entry.h"

enum run_console { CONSOLE_AUTO, CONSOLE_SERIAL, CONSOLE_VIRTIO };

struct run_args {
    struct vm_config *c;
    enum run_console console;
    bool no_net;
    bool mac_given;
    bool cmdline_given;
    struct vm_disk image; /* path NULL: none */
    uint8_t mac[6];
    struct net_hostfwd fwd[VM_MAX_FWD];
    unsigned nfwd;
    const char *console_log;
    bool done; /* help was printed */
};

struct run_option {
    const char *name; /* with its dashes */
    char letter;      /* '\0': none */
    bool has_value;
    int (*set)(struct run_args *a, const char *v, struct err *e);
};

/* Finds `v` among `words`; the index, or -EINVAL with a sentence that lists them. */
static int one_of(const char *option, const char *v, const char *const *words, struct err *e)
{
    char list[128] = "";

    for (int i = 0; words[i]; i++)
        if (!strcmp(v, words[i]))
            return i;
    for (int i = 0; words[i]; i++) {
        size_t n = strlen(list);

        snprintf(list + n, sizeof(list) - n, "%s%s", i == 0 ? "" : words[i + 1] ? ", " : " or ", words[i]);
    }
    return err_set(e, EINVAL, "%s takes %s, not \"%s\"", option, list, v);
}

static int set_kernel(struct run_args *a, const char *v, struct err *e)
{
    (void)e;
    a->c->kernel = config_str(a->c, v);
    return 0;
}

static int set_machine(struct run_args *a, const char *v, struct err *e)
{
    static const char *const words[] = {
        [VM_MACHINE_AUTO] = "auto", [VM_MACHINE_VIRT] = "virt", [VM_MACHINE_MICRO] = "micro", NULL};
    int i = one_of("--machine", v, words, e);

    if (i >= 0)
        a->c->machine = (enum vm_machine)i;
    return i;
}

static int set_kernel_format(struct run_args *a, const char *v, struct err *e)
{
    static const char *const words[] = {"auto", "flat", NULL};
    int i = one_of("--kernel-format", v, words, e);

    a->c->kernel_flat = i == 1;
    return i;
}

static int set_initrd(struct run_args *a, const char *v, struct err *e)
{
    (void)e;
    a->c->initrd = config_str(a->c, v);
    return 0;
}

static int set_firmware(struct run_args *a, const char *v, struct err *e)
{
    struct vm_config *c = a->c;
    struct options o;
    const char *s;
    int r = options_parse(&o, v, "file", e);

    if (r < 0)
        return r;
    s = options_get(&o, "vars");
    c->firmware.vars = (struct vm_flash){.path = s ? config_str(c, s) : NULL};
    c->firmware.code = (struct vm_flash){.read_only = true};
    s = options_get(&o, "file");
    if (!s || !*s || (c->firmware.vars.path && !*c->firmware.vars.path))
        r = err_set(e, EINVAL, "--firmware %s names no file", v);
    else if (options_unused(&o))
        r = err_set(e, EINVAL, "--firmware %s: option \"%s\" is not known; vars=FILE is", s, options_unused(&o));
    else
        r = config_find_firmware(c, s, e);
    options_free(&o);
    return r;
}

static int set_cmdline(struct run_args *a, const char *v, struct err *e)
{
    (void)e;
    a->cmdline_given = true;
    a->c->cmdline = config_str(a->c, v);
    return 0;
}

static int set_memory(struct run_args *a, const char *v, struct err *e)
{
    if (text_to_size(v, MIB(1), &a->c->memory) < 0)
        return err_set(e, EINVAL, "--memory %s is not a size: 512M, 2G, or a number of MiB", v);
    return 0;
}

static int set_cpus(struct run_args *a, const char *v, struct err *e)
{
    uint64_t n;

    if (text_to_u64(v, &n) < 0 || n < 1 || n > UINT32_MAX)
        return err_set(e, EINVAL, "--cpus %s is not a number from 1 on", v);
    a->c->cpus = (unsigned)n;
    return 0;
}

static int set_cpu(struct run_args *a, const char *v, struct err *e)
{
    (void)e;
    a->c->cpu = config_str(a->c, v);
    if (!strcmp(v, "help")) {
        args_print_cpus(true);
        a->done = true;
    }
    return 0;
}

static int set_gic(struct run_args *a, const char *v, struct err *e)
{
    static const char *const words[] = {"2", "3", NULL};
    int i = one_of("--gic", v, words, e);

    a->c->gic_version = i == 0 ? 2 : 3;
    return i;
}

static int set_accel(struct run_args *a, const char *v, struct err *e)
{
    struct vm_config *c = a->c;

    c->naccel = 0;
    if (!strcmp(v, "auto"))
        return 0;
    for (const char *p = v;; p++) {
        size_t n = strcspn(p, ":");
        bool kvm = n == 3 && !strncmp(p, "kvm", 3);

        if (!kvm && !(n == 3 && !strncmp(p, "jit", 3)))
            return err_set(e, EINVAL, "--accel takes auto, kvm, jit or an order like kvm:jit, not \"%s\"", v);
        if (c->naccel == ARRAY_SIZE(c->accel_order))
            return err_set(e, EINVAL, "--accel %s names more than %zu", v, ARRAY_SIZE(c->accel_order));
        c->accel_order[c->naccel++] = kvm ? VM_ACCEL_KVM : VM_ACCEL_JIT;
        p += n;
        if (!*p)
            return 0;
    }
}

static int set_jit(struct run_args *a, const char *v, struct err *e)
{
    static const char *const words[] = {[VM_TIER_1] = "tier1",
                                        [VM_TIER_INTERP] = "interp",
                                        [VM_TIER_LOCKSTEP] = "lockstep",
                                        [VM_TIER_MIXED] = "mixed",
                                        NULL};
    static const char seeded[] = "mixed=";
    int i;

    a->c->tier_given = true;
    if (!strncmp(v, seeded, sizeof(seeded) - 1)) {
        a->c->tier = VM_TIER_MIXED;
        if (text_to_u64(v + sizeof(seeded) - 1, &a->c->tier_seed) < 0)
            return err_set(e, EINVAL, "--jit %s: the seed is not a number", v);
        return 0;
    }
    i = one_of("--jit", v, words, e);
    if (i >= 0)
        a->c->tier = (enum vm_tier)i;
    return i;
}

static int set_huge_pages(struct run_args *a, const char *v, struct err *e)
{
    static const char *const words[] = {
        [VM_HUGE_PAGES_MADVISE] = "madvise", [VM_HUGE_PAGES_HUGETLB] = "hugetlb", [VM_HUGE_PAGES_OFF] = "off", NULL};
    int i = one_of("--huge-pages", v, words, e);

    if (i >= 0)
        a->c->huge_pages = (enum vm_huge_pages)i;
    return i;
}

static int set_pin(struct run_args *a, const char *v, struct err *e)
{
    affinity_free(&a->c->pin);
    return affinity_parse(&a->c->pin, "--pin", v, e);
}

static int set_pin_loop(struct run_args *a, const char *v, struct err *e)
{
    affinity_free(&a->c->pin_loop);
    return affinity_parse(&a->c->pin_loop, "--pin-loop", v, e);
}

static int set_name(struct run_args *a, const char *v, struct err *e)
{
    (void)e;
    a->c->name = config_str(a->c, v);
    a->c->listed = true;
    return 0;
}

static int set_detach(struct run_args *a, const char *v, struct err *e)
{
    (void)v;
    (void)e;
    a->c->detach = true;
    return 0;
}

static int set_console_log(struct run_args *a, const char *v, struct err *e)
{
    (void)e;
    a->console_log = config_str(a->c, v);
    return 0;
}

static int disk_options(struct run_args *a, struct vm_disk *d, struct options *o, struct err *e)
{
    static const char *const known[] = {"ro",      "serial", "cache",  "format", "snapshot",
                                        "backing", "werror", "rerror", NULL};
    const char *s, *near;
    int r;

    d->path = config_str(a->c, options_get(o, "file"));
    r = options_get_bool(o, "--disk", "ro", &d->read_only, e);
    if (r < 0)
        return r;
    s = options_get(o, "serial");
    if (s)
        d->serial = config_str(a->c, s);
    s = options_get(o, "cache");
    if (s && config_cache_parse(s, &d->cache) < 0)
        return err_set(e, EINVAL, "--disk %s: cache=%s is none of writeback, writethrough, none, directsync and unsafe",
                       d->path, s);
    s = options_get(o, "format");
    if (s && (r = block_format_parse(s, e)) < 0)
        return err_set(e, EINVAL, "--disk %s: format=%s is not supported; raw and qcow2 are", d->path, s);
    d->format = s ? (enum block_format)r : BLOCK_FORMAT_PROBE;
    r = options_get_bool(o, "--disk", "snapshot", &d->snapshot, e);
    if (r < 0)
        return r;
    r = config_disk_errors(d, o, "--disk", e);
    if (r < 0)
        return r;
    s = options_get(o, "backing");
    if (s && !strcmp(s, "on"))
        d->backing = BLOCK_BACKING_ALL;
    else if (s && strcmp(s, "near") != 0)
        return err_set(e, EINVAL, "--disk %s: backing=%s is neither near nor on", d->path, s);
    s = options_unused(o);
    if (!s)
        return 0;
    near = text_nearest(s, known);
    return err_set(e, EINVAL, "--disk %s: option \"%s\" is not known%s%s", d->path, s, near ? "; did you mean " : "",
                   near ? near : "");
}

static int set_disk(struct run_args *a, const char *v, struct err *e)
{
    struct vm_disk *d;
    struct options o;
    int index, r = options_parse(&o, v, "file", e);

    if (r < 0)
        return r;
    if (!options_get(&o, "file") || !*options_get(&o, "file")) {
        r = err_set(e, EINVAL, "--disk %s names no file", v);
        goto out;
    }
    index = r = config_add_disk(a->c, &d, e);
    if (r < 0)
        goto out;
    r = disk_options(a, d, &o, e);
    if (r == 0)
        r = config_add_device(a->c, VM_DEVICE_BLK, (unsigned)index, e);
out:
    options_free(&o);
    return r;
}

static int set_user_data(struct run_args *a, const char *v, struct err *e)
{
    (void)e;
    a->c->seed.user_data = config_str(a->c, v);
    return 0;
}

static int set_meta_data(struct run_args *a, const char *v, struct err *e)
{
    (void)e;
    a->c->seed.meta_data = config_str(a->c, v);
    return 0;
}

static int set_network_config(struct run_args *a, const char *v, struct err *e)
{
    (void)e;
    a->c->seed.network_config = config_str(a->c, v);
    return 0;
}

static int set_hostname(struct run_args *a, const char *v, struct err *e)
{
    (void)e;
    a->c->seed.hostname = config_str(a->c, v);
    return 0;
}

static int set_ssh_key(struct run_args *a, const char *v, struct err *e)
{
    struct seed *s = &a->c->seed;

    if (s->nssh_keys == SEED_MAX_KEYS)
        return err_set(e, ENOSPC, "--ssh-key: more than %d files", SEED_MAX_KEYS);
    s->ssh_key[s->nssh_keys++] = config_str(a->c, v);
    return 0;
}

/* A word without an option: the image that the machine is made from. */
static int set_image(struct run_args *a, const char *v, struct err *e)
{
    struct vm_disk *d = &a->image;
    struct loader_kind k;
    struct options o;
    struct err ignored;
    int r;

    if (d->path)
        return err_set(e, EINVAL, "two images to start from, %s and %s: further disks have --disk", d->path, v);
    if ((r = options_parse(&o, v, "file", e)) < 0)
        return r;
    if (!options_get(&o, "file") || !*options_get(&o, "file"))
        r = err_set(e, EINVAL, "\"%s\" names no image", v);
    else
        r = disk_options(a, d, &o, e);
    options_free(&o);
    if (r < 0)
        return r;
    if (loader_probe(&k, d->path, &ignored) == 0 && k.arch != LOADER_ARCH_UNKNOWN)
        return err_set(e, EINVAL, "%s is %s, not a disk image: --kernel %s starts it", d->path, k.what, d->path);
    d->overlay = !d->read_only && !d->snapshot;
    return 0;
}

static int set_block_engine(struct run_args *a, const char *v, struct err *e)
{
    static const char *const words[] = {"auto", "io_uring", "threads", NULL};
    int i = one_of("--block-engine", v, words, e);

    if (i >= 0)
        a->c->block_engine = (enum vm_block_engine)i;
    return i;
}

static int unknown_net_option(const char *kind, const char *option, bool user, struct err *e)
{
    static const char *const of_user[] = {"restrict",  "net",      "host",      "dhcpstart", "dns",      "ipv4",
                                          "ipv6",      "ipv6-net", "ipv6-host", "ipv6-dns",  "hostname", "domainname",
                                          "dnssearch", "guestfwd", "hostfwd",   "mac",       NULL};
    static const char *const of_host[] = {"tap", "fd", "bridge", "helper", "queues", "offload", "socket", "mac", NULL};
    const char *near = text_nearest(option, user ? of_user : of_host);

    return err_set(e, EINVAL, "--net %s: option \"%s\" is not known%s%s", kind, option, near ? "; did you mean " : "",
                   near ? near : "");
}

/* One more network. */
static int add_net(struct run_args *a, const char *v, struct options *o, struct err *e)
{
    const char *type = options_get(o, "type"), *mac = options_get(o, "mac");
    bool user = type && !strcmp(type, "user");
    struct vm_net *n;
    int r;

    if (type && !strcmp(type, "none")) {
        a->no_net = true;
        return o->n > 1 ? err_set(e, EINVAL, "--net none: option \"%s\" is not known", o->item[1].key) : 0;
    }
    if (type && !user && strcmp(type, "passt") != 0)
        return err_set(e, EINVAL, "--net takes user, passt, none, tap=NAME, fd=N or bridge=NAME, not \"%s\"", type);
    if ((r = config_add_net(a->c, &n, e)) < 0)
        return r;
    if (mac && text_to_mac(mac, n->mac) < 0)
        return err_set(e, EINVAL, "--net %s: mac=%s is not an address like 52:54:00:12:34:56", v, mac);
    n->mac_set = mac != NULL;
    r = user ? config_net_user(a->c, n, o, "--net user", e) : config_net_host(a->c, n, o, "--net", e);
    if (r >= 0 && options_unused(o))
        r = unknown_net_option(user ? "user" : v, options_unused(o), user, e);
    return r;
}

static int set_net(struct run_args *a, const char *v, struct err *e)
{
    struct options o;
    int r = options_parse(&o, v, "type", e);

    if (r < 0)
        return r;
    r = add_net(a, v, &o, e);
    options_free(&o);
    return r;
}

static int set_mac(struct run_args *a, const char *v, struct err *e)
{
    if (text_to_mac(v, a->mac) < 0)
        return err_set(e, EINVAL, "--mac %s is not an address like 52:54:00:12:34:56", v);
    a->mac_given = true;
    return 0;
}

static int set_publish(struct run_args *a, const char *v, struct err *e)
{
    if (a->nfwd == VM_MAX_FWD)
        return err_set(e, ENOSPC, "--publish: more than %d ports and ranges", VM_MAX_FWD);
    return config_publish_parse(v, &a->fwd[a->nfwd++], e);
}

static int set_console(struct run_args *a, const char *v, struct err *e)
{
    static const char *const words[] = {"auto", "serial", "virtio", NULL};
    /* What the serial line of virt is. */
    int i = !strcmp(v, "pl011") ? CONSOLE_SERIAL : one_of("--console", v, words, e);

    if (i >= 0)
        a->console = (enum run_console)i;
    return i;
}

static int set_no_reboot(struct run_args *a, const char *v, struct err *e)
{
    (void)v;
    (void)e;
    a->c->no_reboot = true;
    return 0;
}

static int set_debug_device(struct run_args *a, const char *v, struct err *e)
{
    (void)v;
    (void)e;
    a->c->debug_device = true;
    return 0;
}

static int set_translations(struct run_args *a, const char *v, struct err *e)
{
    (void)e;
    a->c->translations = v;
    return 0;
}

static int set_perf_map(struct run_args *a, const char *v, struct err *e)
{
    (void)v;
    (void)e;
    a->c->perf_map = true;
    return 0;
}

static int set_jitdump(struct run_args *a, const char *v, struct err *e)
{
    (void)v;
    (void)e;
    a->c->jitdump = true;
    return 0;
}

static int set_jit_log(struct run_args *a, const char *v, struct err *e)
{
    return config_jit_log(a->c, "--jit-log", v, e);
}

static int set_jit_stats(struct run_args *a, const char *v, struct err *e)
{
    (void)v;
    (void)e;
    a->c->stats = a->c->jit_stats = true;
    return 0;
}

static int set_stats(struct run_args *a, const char *v, struct err *e)
{
    (void)v;
    (void)e;
    a->c->stats = true;
    return 0;
}

static int set_dump_dtb(struct run_args *a, const char *v, struct err *e)
{
    (void)e;
    a->c->dump_dtb = config_str(a->c, v);
    return 0;
}

static int set_sandbox(struct run_args *a, const char *v, struct err *e)
{
    static const char *const words[] = {"on", "off", NULL};
    int i = one_of("--sandbox", v, words, e);

    a->c->sandbox = i != 1;
    return i;
}

static int set_log(struct run_args *a, const char *v, struct err *e)
{
    (void)e;
    a->c->log_file = config_str(a->c, v);
    return 0;
}

static int set_pidfile(struct run_args *a, const char *v, struct err *e)
{
    (void)e;
    a->c->pidfile = config_str(a->c, v);
    return 0;
}

static int set_verbose(struct run_args *a, const char *v, struct err *e)
{
    (void)v;
    (void)e;
    a->c->log_level = LOG_DEBUG;
    return 0;
}

static int set_quiet(struct run_args *a, const char *v, struct err *e)
{
    (void)v;
    (void)e;
    a->c->log_level = LOG_WARN;
    return 0;
}

static int set_help(struct run_args *a, const char *v, struct err *e)
{
    (void)v;
    (void)e;
    args_print_help_run();
    a->done = true;
    return 0;
}

static const struct run_option run_options[] = {
    {"--kernel", 0, true, set_kernel},
    {"--kernel-format", 0, true, set_kernel_format},
    {"--initrd", 0, true, set_initrd},
    {"--firmware", 0, true, set_firmware},
    {"--cmdline", 0, true, set_cmdline},
    {"--machine", 0, true, set_machine},
    {"--memory", 'm', true, set_memory},
    {"--cpus", 'c', true, set_cpus},
    {"--cpu", 0, true, set_cpu},
    {"--huge-pages", 0, true, set_huge_pages},
    {"--gic", 0, true, set_gic},
    {"--accel", 0, true, set_accel},
    {"--jit", 0, true, set_jit},
    {"--pin", 0, true, set_pin},
    {"--pin-loop", 0, true, set_pin_loop},
    {"--name", 0, true, set_name},
    {"--detach", 0, false, set_detach},
    {"--console-log", 0, true, set_console_log},
    {"--disk", 'd', true, set_disk},
    {"--block-engine", 0, true, set_block_engine},
    {"--user-data", 0, true, set_user_data},
    {"--meta-data", 0, true, set_meta_data},
    {"--network-config", 0, true, set_network_config},
    {"--ssh-key", 0, true, set_ssh_key},
    {"--hostname", 0, true, set_hostname},
    {"--net", 0, true, set_net},
    {"--mac", 0, true, set_mac},
    {"--publish", 'p', true, set_publish},
    {"--console", 0, true, set_console},
    {"--no-reboot", 0, false, set_no_reboot},
    {"--debug-device", 0, false, set_debug_device},
    {"--stats", 0, false, set_stats},
    {"--jit-stats", 0, false, set_jit_stats},
    {"--jit-log", 0, true, set_jit_log},
    {"--translations", 0, true, set_translations},
    {"--perfmap", 0, false, set_perf_map},
    {"--jitdump", 0, false, set_jitdump},
    {"--dump-dtb", 0, true, set_dump_dtb},
    {"--sandbox", 0, true, set_sandbox},
    {"--log", 0, true, set_log},
    {"--pidfile", 0, true, set_pidfile},
    {"--verbose", 'v', false, set_verbose},
    {"--quiet", 'q', false, set_quiet},
    {"--help", 'h', false, set_help},
};

static int unknown_option(const char *word, size_t len, struct err *e)
{
    const char *names[ARRAY_SIZE(run_options) + 1], *near;
    char name[64];

    snprintf(name, sizeof(name), "%.*s", (int)MIN(len, sizeof(name) - 1), word);
    for (unsigned i = 0; i < ARRAY_SIZE(run_options); i++)
        names[i] = run_options[i].name;
    names[ARRAY_SIZE(run_options)] = NULL;
    near = text_nearest(name, names);
    return err_set(e, EINVAL, "option %s is not known%s%s (pipit help run lists them)", name,
                   near ? "; did you mean " : "", near ? near : "");
}

/* The option that `word` names, or NULL; *value is set where it stands behind a '='. */
static const struct run_option *find_option(const char *word, const char **value)
{
    size_t len = strcspn(word, "=");

    *value = NULL;
    for (unsigned i = 0; i < ARRAY_SIZE(run_options); i++) {
        const struct run_option *o = &run_options[i];

        if (o->letter && word[1] == o->letter && word[2] == '\0')
            return o;
        if (strlen(o->name) == len && !strncmp(o->name, word, len)) {
            *value = word[len] ? word + len + 1 : NULL;
            return o;
        }
    }
    return NULL;
}

/* The image is the first disk, wherever it stood among the options, and names the machine that keeps an overlay. */
static int settle_image(struct run_args *a, struct err *e)
{
    char name[LIFE_NAME_MAX + 1];

    if (!a->image.path)
        return 0;
    if (a->image.overlay && !a->c->name) {
        life_name_from_file(name, a->image.path);
        a->c->name = config_str(a->c, name);
        a->c->listed = true;
    }
    if (a->image.overlay && life_name_check(a->c->name, e) < 0)
        return -EINVAL;
    if (a->image.overlay && entry_check_free(a->c->name, e) < 0) {
        e->status = ERR_STATUS_FAILURE;
        return -EBUSY;
    }
    return config_add_first_disk(a->c, &a->image, e);
}

/* The kernel of the first disk, where none is named. */
static int settle_kernel(struct run_args *a, struct err *e)
{
    struct vm_config *c = a->c;
    bool asked = c->kernel && !strcmp(c->kernel, "auto");

    if (asked)
        c->kernel = NULL;
    /* A device tree is written without looking at files. */
    if (c->kernel || (!asked && (!c->ndisks || c->dump_dtb || c->firmware.used)))
        return 0;
    if (!c->ndisks)
        return err_set(e, EINVAL, "--kernel auto takes the kernel from a disk's image: name one with --disk FILE");
    if (c->kernel_flat)
        return err_set(e, EINVAL, "--kernel-format flat is for a file: name it with --kernel FILE");
    return disk_boot_find(c, a->cmdline_given,
                          "Its own boot loader may know more: --firmware auto starts it, by UEFI; --kernel FILE gives "
                          "a kernel",
                          e);
}

/* The console and what the kernel is told about it. Where the virtio console is a module (Debian), the serial line must
 * carry what comes before it; the last one named is /dev/console. */
static int settle_console(struct run_args *a, struct err *e)
{
    struct vm_config *c = a->c;
    const char *serial = board_find(c->machine)->serial;
    int r = config_add_chardev(c, c->detach ? VM_CHARDEV_NULL : VM_CHARDEV_STDIO, e);
    char words[64];

    if (r < 0)
        return r;
    c->chardev[r].escapes = true;
    c->chardev[r].hub = c->listed || a->console_log;
    c->chardev[r].log = a->console_log;
    /* With a virtio console too: firmware and early messages have only the serial line to go to. */
    c->serial = r;
    if (a->console == CONSOLE_VIRTIO) {
        r = config_add_device(c, VM_DEVICE_CONSOLE, (unsigned)c->serial, e);
        if (r < 0)
            return r;
    }
    if (c->firmware.used && !c->kernel)
        return 0;
    snprintf(words, sizeof(words), "console=%s%s", serial, a->console == CONSOLE_VIRTIO ? " console=hvc0" : "");
    if (c->boot_note && !a->cmdline_given)
        disk_boot_console(c, a->console == CONSOLE_VIRTIO ? "hvc0" : serial, words);
    else if (!config_cmdline_has(c->cmdline, "console="))
        config_cmdline_append(c, words);
    return 0;
}

/* A machine in the background is reached by its name. */
static void settle_name(struct vm_config *c)
{
    char name[24];

    if (!c->detach || c->name)
        return;
    snprintf(name, sizeof(name), "vm-%ld", (long)getpid());
    c->name = config_str(c, name);
    c->listed = true;
}

/* The seed's disk comes behind those that the user named, so that these keep their names in the guest. */
static int settle_seed(struct run_args *a, struct err *e)
{
    struct vm_disk *d;
    int index;

    if (!seed_wanted(&a->c->seed))
        return 0;
    index = config_add_disk(a->c, &d, e);
    if (index < 0)
        return index;
    d->path = "cloud-init seed";
    d->serial = "cloud-init";
    d->seed = true;
    d->read_only = true;
    return config_add_device(a->c, VM_DEVICE_BLK, (unsigned)index, e);
}

/* Firmware tries disks in the order in which they were named. */
static void settle_boot_order(struct vm_config *c)
{
    for (unsigned i = 0; i < c->ndevices; i++)
        if (c->device[i].kind == VM_DEVICE_BLK && !c->disk[c->device[i].index].seed)
            c->device[i].boot = (int)i;
}

/* --publish goes to the first network that can. */
static int settle_publish(struct run_args *a, struct err *e)
{
    struct vm_config *c = a->c;

    for (unsigned i = 0; a->nfwd && i < c->nnets; i++) {
        struct vm_net *n = &c->net[i];

        if (!config_net_forwards(n))
            continue;
        if (n->nfwd + a->nfwd > VM_MAX_FWD)
            return err_set(e, ENOSPC, "--publish: more than %d ports and ranges", VM_MAX_FWD);
        memcpy(&n->fwd[n->nfwd], a->fwd, a->nfwd * sizeof(a->fwd[0]));
        n->nfwd += a->nfwd;
        return 0;
    }
    return a->nfwd
               ? err_set(e, EINVAL, "--publish leads into the user network or a passt of pipit's, and there is none")
               : 0;
}

static int settle_net(struct run_args *a, struct err *e)
{
    struct vm_config *c = a->c;
    struct vm_net *n;
    int r = 0;

    if (a->no_net) {
        if (a->nfwd || a->mac_given || c->nnets)
            return err_set(e, EINVAL, "%s has no meaning with --net none",
                           a->nfwd        ? "--publish"
                           : a->mac_given ? "--mac"
                                          : "another --net");
        return 0;
    }
#ifndef HAVE_SLIRP
    if (!c->nnets && !a->nfwd && !a->mac_given)
        return 0; /* nobody asked; --version says what is left out */
#endif
    if (!c->nnets && (r = config_add_net(c, &n, e)) < 0)
        return r;
    if (a->mac_given) {
        if (c->net[0].mac_set)
            return err_set(e, EINVAL, "--mac and mac= both give the first network's address");
        memcpy(c->net[0].mac, a->mac, sizeof(a->mac));
        c->net[0].mac_set = true;
    }
    r = settle_publish(a, e);
    for (unsigned i = 0; r >= 0 && i < c->nnets; i++)
        r = config_add_device(c, VM_DEVICE_NET, i, e);
    return r;
}

static int parse_options(struct run_args *a, int argc, char **argv, struct err *e)
{
    for (int i = 0; i < argc && !a->done; i++) {
        const char *word = argv[i], *value;
        const struct run_option *o;
        int r;

        if (!strcmp(word, "-"))
            return err_set(e, EINVAL, "\"-\" is neither an option nor an image (pipit help run)");
        if (word[0] != '-') {
            r = set_image(a, word, e);
            if (r < 0)
                return r;
            continue;
        }
        o = find_option(word, &value);
        if (!o)
            return unknown_option(word, strcspn(word, "="), e);
        if (o->has_value && !value) {
            if (i + 1 == argc)
                return err_set(e, EINVAL, "option %s needs a value behind it", word);
            value = argv[++i];
        } else if (!o->has_value && value) {
            return err_set(e, EINVAL, "option %s takes no value", o->name);
        }
        if (value && !*value && o->set != set_cmdline)
            return err_set(e, EINVAL, "option %s has an empty value", o->name);
        r = o->set(a, value, e);
        if (r < 0)
            return r;
    }
    return 0;
}

int args_run(struct vm_config *c, int argc, char **argv, struct err *e)
{
    struct run_args *a = calloc(1, sizeof(*a));
    int r;

    if (!a)
        return err_set(e, ENOMEM, "out of memory");
    a->c = c;
    c->own_macs = true;
    r = parse_options(a, argc, argv, e);
    if (r < 0 || a->done) {
        r = r < 0 ? r : ARGS_DONE;
        goto out;
    }
    if ((r = settle_image(a, e)) < 0)
        goto out;
    settle_name(c);
    r = settle_kernel(a, e);
    if (r < 0)
        goto out;
    config_choose_machine(c);
    if ((r = settle_seed(a, e)) < 0 || (r = settle_net(a, e)) < 0 ||
        (r = config_add_device(c, VM_DEVICE_RNG, 0, e)) < 0 || (r = settle_console(a, e)) < 0)
        goto out;
    settle_boot_order(c);
    r = ARGS_RUN;
out:
    free(a);
    return r;
}
