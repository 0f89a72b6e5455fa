/*
 * Loaders: kernels, initrds and the device tree into guest RAM. All input is hostile: sizes are bounded, every header
 * field is checked before use, and failures are one sentence that names the file.
 */
#ifndef PIPIT_LOADER_LOADER_H
#define PIPIT_LOADER_LOADER_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/err.h"
#include "vmm/core/mem.h"
#include "vmm/core/vcpu.h"

/* A whole file in memory. It is read, not mapped: a mapped file that another process truncates would end us by SIGBUS.
 */
struct loader_file {
    uint8_t *data; /* malloc'ed, unless: */
    bool in_place; /* in the guest's RAM, where it belongs */
    uint64_t size;
    bool unpacked; /* these are not the file's own bytes, but what was compressed in it */
};
/* Reads a regular file, block device or pipe of 1 to max_size bytes. -ENOENT, -EACCES, -EISDIR, -EFBIG, -EINVAL (empty,
 * or a character device or socket). */
int loader_file_open(struct loader_file *f, const char *path, uint64_t max_size, struct err *e);
void loader_file_close(struct loader_file *f);
/* From here on `name` (not copied) means the regular file that `fd` holds, for all that the loader reads: what came out
 * of a disk image has no path of its own. The descriptor is the loader's; loader_file_forget closes all of them. */
void loader_file_provide(const char *name, int fd);
void loader_file_forget(void);
/* A descriptor of one's own for what is a regular file under that name, whose position others may move; or -1. */
int loader_file_again(const char *path);
/* All of [off, off + n) of a file, or false. */
bool loader_file_read_at(int fd, uint8_t *to, uint64_t n, uint64_t off);

enum loader_arch {
    LOADER_ARCH_UNKNOWN,
    LOADER_ARCH_ARM64,
    LOADER_ARCH_X86_64,
    LOADER_ARCH_ARM32,
    LOADER_ARCH_X86_32,
    LOADER_ARCH_OTHER, /* known by name, and nothing that runs here */
};

enum loader_format {
    LOADER_UNKNOWN,
    LOADER_ARM64_IMAGE, /* Documentation/arch/arm64/booting: raw Image */
    LOADER_BZIMAGE,     /* Documentation/arch/x86/boot: Linux for x86 */
    LOADER_ELF,         /* loaded at its physical addresses */
    LOADER_FLAT,        /* anything else is refused unless asked for: bytes at LOADER_FLAT_OFFSET into RAM */
};

/* What a kernel file is, by its content. */
struct loader_kind {
    enum loader_arch arch;
    enum loader_format format;
    char what[64]; /* for a sentence: "an x86 Linux kernel (bzImage)", "an ELF file for RISC-V" */
};

/*
 * Looks at the beginning of the file at `path`, through gzip and zstd. What cannot be read twice (a FIFO) is not
 * opened and stays unknown, as does what no one recognises. -ENOENT, -EACCES and what else open and read may give.
 */
int loader_probe(struct loader_kind *out, const char *path, struct err *e);

/* Where a flat binary goes, from the base of RAM: where QEMU's virt board puts one, so that the same file runs. */
#define LOADER_FLAT_OFFSET UINT64_C(0x80000)

/* Bytes of boot_params that a bzImage brings along: setup_header, from 0x1f1 to the end of its room. */
#define LOADER_X86_HEADER_SIZE (0x290 - 0x1f1)

struct loader_kernel {
    enum loader_format format;
    uint64_t entry;     /* guest-physical */
    uint64_t low, high; /* guest-physical range occupied, [low, high), bss included */
    uint64_t
        file_size; /* bytes of the file that are at `low` as they are in it, zeroes behind them; 0: it is otherwise */
};

/*
 * Loads the arm64 kernel at `path` into the RAM region at ram_base. Recognised by content: Image, Image.gz, EFI zboot
 * with gzip or zstd inside, ELF64 AArch64. `flat` loads any file as it is, LOADER_FLAT_OFFSET into RAM. A kernel of
 * another architecture is refused by name. ram_base is a multiple of 2 MiB. What does not fit in RAM is refused
 * (-EFBIG), also while it is being decompressed.
 */
int loader_kernel_load(struct loader_kernel *out, struct mem *m, const char *path, gpa_t ram_base, uint64_t ram_size,
                       bool flat, struct err *e);

/* Loads the file at the highest page-aligned address that fits in [low, high); *addr and *size get the place. */
int loader_initrd_load(struct mem *m, const char *path, gpa_t low, gpa_t high, uint64_t *addr, uint64_t *size,
                       struct err *e);

/* A kernel in the micro machine's RAM. */
struct loader_x86 {
    enum loader_format format; /* LOADER_BZIMAGE or LOADER_ELF */
    struct vcpu_entry entry;   /* its argument is the address of start_info (PVH) or boot_params */
    uint64_t low, high;        /* guest-physical range that it needs, [low, high) */
    uint64_t image_size;       /* bytes at `low` that it must find unchanged when it is started again */
    uint64_t initrd_end;       /* the initrd lies below this guest-physical address */
    uint32_t cmdline_max;      /* bytes, NUL not counted */
    uint8_t setup_header[LOADER_X86_HEADER_SIZE]; /* as boot_params wants it; not for PVH */
};

/*
 * Loads the kernel at `path` into the RAM at 0 (arch/x86/boot.h): a bzImage with 64-bit entry, or an ELF64 file for
 * x86-64, by its PVH entry where it has one. Compressed layers are peeled off first. -ENOEXEC: for another
 * architecture, or 32-bit; -EINVAL: truncated or damaged; -EFBIG: RAM is too small.
 */
int loader_x86_load(struct loader_x86 *out, struct mem *m, const char *path, struct err *e);

/* Loads an initrd as high as `k` and RAM allow, beside `k`. */
int loader_x86_initrd_load(struct mem *m, const struct loader_x86 *k, const char *path, uint64_t *addr, uint64_t *size,
                           struct err *e);

#define LOADER_X86_SEED_SIZE 32

struct loader_x86_params {
    const char *cmdline;               /* NULL: empty */
    uint64_t initrd_addr, initrd_size; /* size 0: none */
    uint64_t rsdp;                     /* 0: no ACPI */
    bool seeded;
    uint8_t seed[LOADER_X86_SEED_SIZE]; /* fresh randomness for the kernel, if seeded; PVH has no place for it */
};

/*
 * Writes what the kernel is to find where k->entry.arg points: boot_params or start_info, with the memory map of `m`
 * and the command line. Before each start: what a kernel read there, it may have changed. -EINVAL: the command line is
 * too long.
 */
int loader_x86_write_params(struct mem *m, const struct loader_x86 *k, const struct loader_x86_params *p,
                            struct err *e);

/* What the arm64 virt board's device tree says. Written once by the machine, in address order. */
struct loader_fdt_mmio {
    const char *compatible; /* one name */
    uint64_t base, size;
    unsigned spi; /* level high unless edge */
    bool edge;
};

struct loader_fdt_config {
    unsigned pmu_intid; /* of the performance counters' PPI; 0: there are none */
    unsigned ncpus;
    const uint64_t *mpidr;      /* one a vCPU */
    const char *cpu_compatible; /* "arm,cortex-a72", or "arm,armv8" */
    uint64_t ram_base, ram_size;
    const char *cmdline;
    uint64_t initrd_addr, initrd_size; /* size 0: none */
    unsigned gic_version;
    uint64_t gic_dist_base, gic_dist_size, gic_redist_base, gic_redist_size; /* v2: CPU interface in redist */
    uint64_t uart_base;                                                      /* PL011 */
    unsigned uart_spi;
    uint64_t rtc_base; /* PL031 */
    unsigned rtc_spi;
    uint64_t flash_base, flash_size;   /* of each of two banks, one behind the other; size 0: none */
    uint64_t fw_cfg_base, fw_cfg_size; /* size 0: none */
    uint64_t debug_base;               /* devices/debug.h; 0: none */
    bool psci_smc;                     /* method: hvc unless set */
    const struct loader_fdt_mmio *virtio;
    unsigned nvirtio;
    uint64_t rng_seed[8];    /* fresh randomness: [0..6] rng-seed, [7] kaslr-seed; what is all zero is left out */
    const char *stdout_path; /* NULL: the PL011 */
};

/* Builds a flattened tree with libfdt; *blob is malloc'ed, *size its total size. -ENOSPC, -EINVAL. */
int loader_fdt_build(const struct loader_fdt_config *cfg, void **blob, uint64_t *size, struct err *e);

#endif
