/*
 * The settings of one virtual machine. Two front ends fill them (args_run.c: `pipit run`, args_qemu.c: QEMU's command
 * line); config_validate then decides once what can be decided without changing anything on the host, so that the
 * machine builds from values that need no second look.
 *
 * Strings live in the config until config_free.
 */
#ifndef PIPIT_MACHINE_CONFIG_H
#define PIPIT_MACHINE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/block/qcow2.h"
#include "devices/net/net.h"
#include "loader/seed.h"
#include "vmm/base/err.h"
#include "vmm/base/options.h"
#include "vmm/machine/affinity.h"

#define VM_MAX_SLOTS 32   /* virtio-mmio slots of any board */
#define VM_MAX_FWD 64     /* published ports and ranges of one network */
#define VM_MAX_PORTS 1024 /* of all of these: each is a socket that is polled */
#define VM_MAX_SEARCH 8   /* domains */
#define VM_MAX_CHARDEVS 8
#define VM_MAX_FW_CFG 8 /* files of the user's in the firmware configuration device */

enum vm_arch { VM_ARCH_ARM64, VM_ARCH_X86 };
enum vm_machine { VM_MACHINE_AUTO, VM_MACHINE_VIRT, VM_MACHINE_MICRO };
enum vm_huge_pages { VM_HUGE_PAGES_MADVISE, VM_HUGE_PAGES_HUGETLB, VM_HUGE_PAGES_OFF };
enum vm_accel { VM_ACCEL_JIT, VM_ACCEL_KVM };
enum vm_tier { VM_TIER_1, VM_TIER_INTERP, VM_TIER_LOCKSTEP, VM_TIER_MIXED };
enum vm_block_engine { VM_BLOCK_AUTO, VM_BLOCK_IO_URING, VM_BLOCK_THREADS };
enum vm_cache { VM_CACHE_WRITEBACK, VM_CACHE_NONE, VM_CACHE_WRITETHROUGH, VM_CACHE_DIRECTSYNC, VM_CACHE_UNSAFE };
enum vm_disk_error { VM_ERROR_REPORT, VM_ERROR_IGNORE, VM_ERROR_STOP, VM_ERROR_ENOSPC };
enum vm_chardev_kind { VM_CHARDEV_NULL, VM_CHARDEV_STDIO, VM_CHARDEV_FILE };
enum vm_net_kind { VM_NET_USER, VM_NET_TAP, VM_NET_BRIDGE, VM_NET_PASST, VM_NET_STREAM };
enum vm_device_kind { VM_DEVICE_BLK, VM_DEVICE_NET, VM_DEVICE_CONSOLE, VM_DEVICE_RNG };

struct vm_disk {
    const char *path;
    const char *serial; /* at most 20 bytes, or NULL */
    bool seed;          /* the cloud-init seed, made of vm_config.seed; path only names it */
    bool read_only;
    enum block_format format; /* BLOCK_FORMAT_PROBE: the user did not say */
    bool snapshot;            /* what is written is thrown away */
    bool overlay;             /* what is written goes to the overlay of the machine's name (vmm/service/life) */
    enum block_backing backing;
    enum vm_cache cache;
    bool no_discard;                   /* what the guest discards stays where it is */
    enum vm_disk_error werror, rerror; /* what becomes of requests that the host fails */
};

struct vm_net {
    enum vm_net_kind kind;
    const char *ifname, *bridge, *helper; /* struct net_tap_config's */
    const char *socket; /* VM_NET_PASST: that there is, or NULL; VM_NET_STREAM: NULL with a descriptor */
    int fd[NET_MAX_QUEUES];
    unsigned nfds, queues;
    bool no_offload;
    struct net_hostfwd fwd[VM_MAX_FWD];
    unsigned nfwd;
    struct net_guestfwd guestfwd[NET_GUESTFWD_MAX];
    unsigned nguestfwd;
    bool restricted;
    bool no_ipv4, ipv6;
    struct net_user_addrs addrs;
    const char *hostname, *domainname;
    const char *dnssearch[VM_MAX_SEARCH + 1]; /* NULL at the end */
    uint8_t mac[6];
    bool mac_set;
};

struct vm_chardev {
    enum vm_chardev_kind kind;
    bool escapes;     /* Ctrl-A commands */
    bool hub;         /* others may attach to it */
    const char *log;  /* with hub: a file that gets a copy, or NULL */
    const char *path; /* VM_CHARDEV_FILE */
};

/* What is in the board's two banks of flash. */
struct vm_flash {
    const char *path; /* NULL: nothing that lasts */
    bool read_only;
    bool snapshot; /* what is written is thrown away */
};

/* A virtio device. Devices take free slots in the order of the command line, so that the guest names them in it. */
struct vm_device {
    enum vm_device_kind kind;
    unsigned index; /* into disk, net or chardev; 0 for an RNG */
    int slot;       /* -1: the next free one; config_validate sets it */
    int boot;       /* firmware tries devices in the order of this number; -1: it was not said */
};

struct vm_config {
    const char *name;
    bool listed;                 /* pipit ps knows the machine by its name (vmm/service/life) */
    bool detach;                 /* in the background once it runs */
    enum vm_machine machine;     /* AUTO until config_choose_machine */
    const char *kernel, *initrd; /* paths, or names that the loader was given files for; initrd may be NULL */
    bool kernel_flat;            /* load the file as it is, whatever it holds */
    char *cmdline;
    struct {
        bool used;
        struct vm_flash code, vars;
        unsigned menu;  /* ms in which a key leads to its menu */
        bool keep_vars; /* without vars.path: in the state folder of the machine's name */
    } firmware;
    struct {
        const char *name, *file, *text; /* one of the two */
    } fw_cfg[VM_MAX_FW_CFG];
    unsigned nfw_cfg;
    const char *boot_note, *boot_warning; /* kernel from a disk image: what was taken, and what to know; or NULL */
    uint64_t memory;                      /* bytes */
    enum vm_huge_pages huge_pages;
    unsigned cpus;
    const char *cpu;               /* NULL until config_validate: the accelerator's default */
    unsigned gic_version;          /* arm64; 0: the accelerator's default */
    struct affinity pin, pin_loop; /* vCPUs one by one; the loop. n is 0: where the host likes */

    enum vm_accel accel_order[4];
    unsigned naccel; /* 0: whichever can run the guest */
    enum vm_accel accel;
    const char *accel_note; /* why it is not the one that was to come first; NULL: it is */
    enum vm_tier tier;
    bool tier_given;
    uint64_t tier_seed; /* VM_TIER_MIXED */
    struct {
        const char *cpu;
        unsigned gic_version;
        bool silent; /* that the JIT takes over needs no word */
    } jit_default;   /* where nothing is said */

    struct vm_disk disk[VM_MAX_SLOTS];
    unsigned ndisks;
    struct seed seed;
    struct vm_net net[VM_MAX_SLOTS];
    unsigned nnets;
    bool own_macs; /* MAC addresses that nobody gave are not QEMU's where the host's network is joined */
    struct vm_chardev chardev[VM_MAX_CHARDEVS];
    unsigned nchardevs;
    int serial; /* chardev of the PL011, -1: nothing is connected */
    struct vm_device device[VM_MAX_SLOTS];
    unsigned ndevices;

    enum vm_block_engine block_engine;
    bool debug_device; /* devices/debug.h */
    struct {
        uint16_t port;
        unsigned size; /* bytes, 0: there is none */
    } isa_exit;        /* the device of devices/debug.h that QEMU calls isa-debug-exit */
    bool no_reboot;
    bool stats;
    bool perf_map, jitdump, jit_stats;          /* of the JIT */
    const char *translations;                   /* of the JIT: where they are kept (translations.h) */
    bool trace_exec, trace_cpu, trace_unlinked; /* --jit-log */
    bool sandbox;
    bool dtb_randomness; /* rng-seed and kaslr-seed in the device tree */
    const char *dump_dtb;
    const char *log_file, *pidfile;
    int log_level; /* enum log_level */

    /* What the exit status is where the two command lines differ. */
    int status_reset;    /* guest reset with no_reboot */
    bool status_signals; /* 128 + signal number; otherwise 0 */
    bool status_causes;  /* enum err_status where a cause has one; otherwise 1 */

    char **owned;
    unsigned nowned;
};

void config_init(struct vm_config *c);
void config_free(struct vm_config *c);

/* A copy that lives as long as the config; never NULL (the process ends where memory for a few bytes is missing). */
char *config_str(struct vm_config *c, const char *s);

/* Each takes the next place and gives its index, or -ENOSPC with a sentence. */
int config_add_disk(struct vm_config *c, struct vm_disk **out, struct err *e);
/* The same for one that becomes disk 0 and the first device, before those that are there. */
int config_add_first_disk(struct vm_config *c, const struct vm_disk *d, struct err *e);
int config_add_net(struct vm_config *c, struct vm_net **out, struct err *e);
int config_add_chardev(struct vm_config *c, enum vm_chardev_kind kind, struct err *e);
int config_add_device(struct vm_config *c, enum vm_device_kind kind, unsigned index, struct err *e);

/* -EINVAL for a name that is none of the cache modes. */
int config_cache_parse(const char *s, enum vm_cache *out);
/* werror= and rerror= of a disk, which both command lines have; `what` is the option that has them. */
int config_disk_errors(struct vm_disk *d, struct options *o, const char *what, struct err *e);
/* "[ADDR:]HOSTPORT:[GUESTADDR:]GUESTPORT[/tcp|/udp]", an IPv6 address in brackets; FIRST-LAST for a port is a range, as
 * long on both sides. */
int config_publish_parse(const char *s, struct net_hostfwd *out, struct err *e);
/* "tcp|udp:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT"; without HOSTADDR every address of the host, as QEMU does. */
int config_hostfwd_parse(const char *s, struct net_hostfwd *out, struct err *e);
/* "[tcp]:[ADDR]:PORT-TARGET" with cmd:COMMAND, unix:PATH or tcp:HOST:PORT. */
int config_guestfwd_parse(struct vm_config *c, const char *s, struct net_guestfwd *out, struct err *e);
/* The user network's options, which both command lines have. `what` is the option that has them. */
int config_net_user(struct vm_config *c, struct vm_net *n, struct options *o, const char *what, struct err *e);
/* Can ports be published there? */
bool config_net_forwards(const struct vm_net *n);
/* Options of networks other than the user network; `what` names the option that has them. `pipit run`'s: the type
 * passt, or one of tap=, fd= and bridge=, says which. */
int config_net_host(struct vm_config *c, struct vm_net *n, struct options *o, const char *what, struct err *e);
/* QEMU's, of a -netdev of that type. */
int config_net_host_qemu(struct vm_config *c, struct vm_net *n, struct options *o, const char *type, const char *what,
                         struct err *e);
/* Where the machine is still to be chosen: micro for a kernel that is for x86, by its content; virt for any other, for
 * one that cannot be looked at, and without one. */
void config_choose_machine(struct vm_config *c);
/* Does `cmdline` have the word, or a word that begins with it where it ends in '='? */
bool config_cmdline_has(const char *cmdline, const char *word);
void config_cmdline_append(struct vm_config *c, const char *word);
/* --jit-log and -d: a list of words. */
int config_jit_log(struct vm_config *c, const char *option, const char *list, struct err *e);

/* Takes `name` as the firmware: a file; a name without a folder, for one that this host's packages have; or "auto", for
 * the first that is there. -ENOENT with a sentence that says what was looked for. */
int config_find_firmware(struct vm_config *c, const char *name, struct err *e);

/* Checks ranges and combinations, fills in slots, MAC addresses and the accelerator. */
int config_validate(struct vm_config *c, struct err *e);

#endif
