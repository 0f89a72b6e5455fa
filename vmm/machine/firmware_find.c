/* Where distributions put UEFI firmware for this board (the packages' file lists; QEMU's firmware descriptors). */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/util.h"
#include "vmm/machine/config.h"

static const char *const places[] = {
    "/usr/share/AAVMF/AAVMF_CODE.no-secboot.fd", /* Debian 13, Ubuntu: qemu-efi-aarch64 */
    "/usr/share/AAVMF/AAVMF_CODE.fd",
    "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd",
    "/usr/share/edk2/aarch64/QEMU_EFI-silent-pflash.raw", /* Fedora: edk2-aarch64 */
    "/usr/share/edk2/aarch64/QEMU_EFI.fd",
    "/usr/share/edk2/aarch64/QEMU_CODE.fd",   /* Arch Linux: edk2-aarch64 */
    "/usr/share/qemu/aavmf-aarch64-code.bin", /* openSUSE: qemu-uefi-aarch64 */
    "/usr/share/qemu/edk2-aarch64-code.fd",   /* QEMU's own */
    "/usr/local/share/qemu/edk2-aarch64-code.fd",
};

/* A file of that name in one of those folders. */
static bool found_by_name(const char *name, char *out, size_t size)
{
    for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
        snprintf(out, size, "%.*s/%s", (int)(strrchr(places[i], '/') - places[i]), places[i], name);
        if (access(out, F_OK) == 0)
            return true;
    }
    return false;
}

int config_find_firmware(struct vm_config *c, const char *name, struct err *e)
{
    char path[512];

    c->firmware.used = true;
    if (!strcmp(name, "auto")) {
        for (unsigned i = 0; i < ARRAY_SIZE(places); i++)
            if (access(places[i], F_OK) == 0) {
                c->firmware.code.path = places[i];
                return 0;
            }
        return err_set(e, ENOENT,
                       "this host has no UEFI firmware for arm64 (%s, for one): on Debian and Ubuntu it is the package "
                       "qemu-efi-aarch64, on Fedora and Arch Linux edk2-aarch64",
                       "/usr/share/AAVMF/AAVMF_CODE.fd");
    }
    if (strchr(name, '/') || access(name, F_OK) == 0) {
        c->firmware.code.path = config_str(c, name);
        return 0;
    }
    if (!found_by_name(name, path, sizeof(path)))
        return err_set(e, ENOENT, "firmware %s is neither a file here nor in a folder where packages put firmware",
                       name);
    c->firmware.code.path = config_str(c, path);
    return 0;
}
