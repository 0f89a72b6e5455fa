/*
 * libFuzzer target: a file that the user names as a kernel for the micro machine, as it is recognised, loaded into a
 * guest of 8 MiB, and given an initrd and boot parameters.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arch/x86/boot.h"
#include "loader/loader.h"
#include "vmm/base/util.h"

#define FUZZ_RAM_SIZE MIB(8)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct mem *ram;
static char path[64], initrd[64];
static int fd = -1;

static void set_up(void)
{
    struct err e;
    int fd2 = memfd_create("initrd", MFD_CLOEXEC);

    fd = memfd_create("kernel", MFD_CLOEXEC);
    if (fd < 0 || fd2 < 0 || mem_create(&ram) < 0 || mem_add_ram(ram, GPA(0), FUZZ_RAM_SIZE, NULL, &e) < 0 ||
        write(fd2, "initrd", 6) != 6)
        abort();
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    snprintf(initrd, sizeof(initrd), "/proc/self/fd/%d", fd2);
}

/* A refusal has its sentence. */
static void check_refusal(int r, const struct err *e, const char *name)
{
    if (e->code != -r || !strstr(e->msg, name))
        abort();
}

static void start(const struct loader_x86 *k)
{
    struct loader_x86_params p = {.cmdline = "console=ttyS0", .rsdp = X86_BOOT_ACPI, .seeded = true};
    struct err e = {0};
    int r = loader_x86_initrd_load(ram, k, initrd, &p.initrd_addr, &p.initrd_size, &e);

    if (r < 0)
        check_refusal(r, &e, initrd);
    else if (p.initrd_addr < X86_BOOT_KERNEL_MIN || p.initrd_addr > FUZZ_RAM_SIZE - p.initrd_size ||
             (p.initrd_addr < k->high && k->low < p.initrd_addr + p.initrd_size))
        abort();
    r = loader_x86_write_params(ram, k, &p, &e);
    if (r < 0)
        check_refusal(r, &e, "the kernel command line has 13 characters");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct loader_kind kind;
    struct loader_x86 k;
    struct err e = {0};
    int r;

    if (fd < 0)
        set_up();
    if (ftruncate(fd, 0) < 0 || pwrite(fd, data, size, 0) != (ssize_t)size)
        abort();
    if (loader_probe(&kind, path, &e) < 0 || !memchr(kind.what, '\0', sizeof(kind.what)))
        abort();
    r = loader_x86_load(&k, ram, path, &e);
    if (r < 0) {
        check_refusal(r, &e, path);
        return 0;
    }
    /* What was accepted lies in RAM, and behind what the boot leaves below it. */
    if (k.low < X86_BOOT_KERNEL_MIN || k.high <= k.low || k.high > FUZZ_RAM_SIZE || k.image_size > k.high - k.low ||
        k.entry.pc < k.low || k.entry.pc >= k.high || k.cmdline_max >= X86_BOOT_CMDLINE_SIZE)
        abort();
    start(&k);
    return 0;
}
