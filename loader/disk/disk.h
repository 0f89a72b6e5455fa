/*
 * What a disk image boots: finds the kernel, the initrd and the command line that its distribution would boot, without
 * the firmware and the boot loader between. README.md says in which order things are looked for.
 *
 * Everything on the disk is hostile. All work is bounded: bytes read, reads, memory, steps of GRUB's scripts. Nothing
 * is ever written. Whoever calls should be confined all the same (vmm/machine/disk_boot.c).
 */
#ifndef PIPIT_LOADER_DISK_DISK_H
#define PIPIT_LOADER_DISK_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/err.h"

enum disk_file { DISK_KERNEL, DISK_INITRD };

struct disk_request {
    uint64_t size; /* of the disk, in bytes */
    /* Reads [off, off + len), which lies within the disk; 0 or a negative errno. */
    int (*read)(void *opaque, uint64_t off, void *buf, size_t len);
    /* Takes the next bytes of a file: first all of the kernel, then all of the initrd. 0 or a negative errno. */
    int (*put)(void *opaque, enum disk_file which, const void *data, size_t len);
    void *opaque;
    uint64_t max_file; /* bytes that kernel and initrd may have each */
};

#define DISK_CMDLINE_SIZE 4096
#define DISK_NAME_SIZE 256

struct disk_boot {
    char kernel[DISK_NAME_SIZE], initrd[DISK_NAME_SIZE]; /* paths in the image; initrd "" where there is none */
    char cmdline[DISK_CMDLINE_SIZE];
    char where[DISK_NAME_SIZE];   /* "menu entry \"Debian GNU/Linux\" of /boot/grub/grub.cfg on partition 1" */
    char warning[DISK_NAME_SIZE]; /* something that the user should know, or "" */
};

/*
 * Finds what the disk boots, and hands over the files. -ENOENT with a sentence that says what was looked for where
 * nothing bootable is there; -EFBIG for a file that is too large; -EIO and what else `read` and `put` return; -E2BIG
 * where a bound on work was reached.
 */
int disk_find_boot(struct disk_boot *out, const struct disk_request *rq, struct err *e);

#endif
