/*
 * libFuzzer target: a file that the user names as a kernel, as it goes through decompression and the parsers into a
 * guest of 4 MiB. The first byte's low bit asks for a flat binary; the rest is the file.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "loader/loader.h"
#include "vmm/base/util.h"

#define FUZZ_RAM_BASE GIB(1)
#define FUZZ_RAM_SIZE MIB(4)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct mem *ram;
static char path[64];
static int fd = -1;

static void set_up(void)
{
    struct err e;

    fd = memfd_create("kernel", MFD_CLOEXEC);
    if (fd < 0 || mem_create(&ram) < 0 || mem_add_ram(ram, GPA(FUZZ_RAM_BASE), FUZZ_RAM_SIZE, NULL, &e) < 0)
        abort();
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct loader_kernel k;
    struct err e;
    bool flat;
    int r;

    if (fd < 0)
        set_up();
    if (size < 1)
        return 0;
    flat = data[0] & 1;
    if (ftruncate(fd, 0) < 0 || pwrite(fd, data + 1, size - 1, 0) != (ssize_t)(size - 1))
        abort();
    memset(&e, 0, sizeof(e));
    r = loader_kernel_load(&k, ram, path, GPA(FUZZ_RAM_BASE), FUZZ_RAM_SIZE, flat, &e);
    if (r < 0) {
        /* A refusal has its sentence. */
        if (e.code != -r || !strstr(e.msg, path))
            abort();
        return 0;
    }
    /* What was accepted lies in RAM. */
    if (k.low < FUZZ_RAM_BASE || k.high <= k.low || k.high > FUZZ_RAM_BASE + FUZZ_RAM_SIZE || k.entry < k.low ||
        k.entry >= k.high)
        abort();
    return 0;
}
