/*
 * The files behind flash. A bank is as large as the board has it: a shorter file stands at its beginning, and zeroes
 * behind it. One that is written is made as long as its bank, without taking that room on the disk.
 *
 * Variables are kept in the file that was named; else, of a machine that has a name, in its state folder; else nowhere.
 * Files are locked as disks are, so that no two machines write one.
 */
#include "vmm/machine/firmware.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/block/raw_lock.h"
#include "devices/fw_cfg.h"
#include "loader/loader.h"
#include "vmm/base/log.h"
#include "vmm/base/util.h"
#include "vmm/service/life/dirs.h"
#include "vmm/service/sandbox.h"

#define FIRMWARE_VARS "vars.fd" /* in the state folder of a machine */
#define FIRMWARE_MAX_ITEMS (16 + VM_MAX_FW_CFG)
#define FIRMWARE_MAX_FILE MIB(64) /* of the user's */

struct firmware {
    struct cfi_flash_config bank[FIRMWARE_BANKS]; /* fd: -1 once the device has it */
    struct loader_file kernel, initrd, file[VM_MAX_FW_CFG];
    uint8_t sizes[3][4], cpus[2], menu[2], wait[2];
    char *order;
    struct fw_cfg_item item[FIRMWARE_MAX_ITEMS];
    unsigned nitems;
};

/* ---- files ---- */

static int firmware_check_file(int fd, const char *path, uint64_t *size, struct err *e)
{
    uint8_t magic[4] = {0};
    struct stat st;

    if (fstat(fd, &st) < 0)
        return err_set(e, errno, "%s cannot be read: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return err_set(e, EINVAL, "%s is no regular file, as what is in flash must be", path);
    if ((uint64_t)st.st_size > CFI_FLASH_SIZE)
        return err_set(e, EFBIG, "%s has %llu bytes; the flash that it is for has %llu MiB", path,
                       (unsigned long long)st.st_size, (unsigned long long)(CFI_FLASH_SIZE >> 20));
    if (pread(fd, magic, sizeof(magic), 0) == (ssize_t)sizeof(magic) && !memcmp(magic, "QFI\xfb", sizeof(magic)))
        return err_set(e, EINVAL, "%s is a qcow2 image; flash is raw (pipit-img convert -O raw makes it so)", path);
    *size = (uint64_t)st.st_size;
    return 0;
}

/* Copies the file's data into the bank; holes and pages of zeroes stay unpopulated. */
static int firmware_read(int fd, const char *path, uint64_t size, uint8_t *bank, struct err *e)
{
    static const uint8_t zero[MEM_PAGE_SIZE];
    uint8_t page[MEM_PAGE_SIZE];

    for (uint64_t at = 0; at < size;) {
        off_t data = lseek(fd, (off_t)at, SEEK_DATA);
        ssize_t n;

        if (data < 0 && errno == ENXIO)
            return 0;
        if (data > (off_t)at)
            at = MIN(align_down((uint64_t)data, MEM_PAGE_SIZE), size);
        n = pread(fd, page, MIN(size - at, sizeof(page)), (off_t)at);
        if (n < 0)
            return err_set(e, errno, "%s cannot be read: %s", path, strerror(errno));
        if (n == 0)
            return 0; /* cut meanwhile */
        if (memcmp(page, zero, (size_t)n) != 0)
            memcpy(bank + at, page, (size_t)n);
        at += (uint64_t)n;
    }
    return 0;
}

/* Locks, checks and reads what is open as `fd`, and keeps that for writing where `keep`; takes it in any case. */
static int firmware_take(struct cfi_flash_config *bank, int fd, const char *path, bool keep, struct err *e)
{
    uint64_t size = 0;
    int r;

    if ((r = firmware_check_file(fd, path, &size, e)) < 0 || (r = raw_lock(fd, path, !keep, e)) < 0 ||
        (r = firmware_read(fd, path, size, bank->rom->r.host, e)) < 0)
        goto fail;
    if (keep && size < CFI_FLASH_SIZE && ftruncate(fd, (off_t)CFI_FLASH_SIZE) < 0) {
        r = err_set(e, errno, "%s cannot be made %llu MiB long: %s", path, (unsigned long long)(CFI_FLASH_SIZE >> 20),
                    strerror(errno));
        goto fail;
    }
    if (keep)
        bank->fd = fd;
    else
        close(fd);
    return 0;

fail:
    close(fd);
    return r;
}

static int firmware_open(struct cfi_flash_config *bank, const struct vm_flash *f, bool create, struct err *e)
{
    bool keep = !f->read_only && !f->snapshot;
    int fd = open(
        f->path, (keep ? O_RDWR : O_RDONLY) | (keep && create ? O_CREAT : 0) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);

    if (fd < 0)
        return err_set(e, errno, "%s %s cannot be opened: %s", create ? "variable store" : "firmware", f->path,
                       strerror(errno));
    bank->read_only = f->read_only;
    return firmware_take(bank, fd, f->path, keep, e);
}

static int firmware_open_state(struct cfi_flash_config *bank, const char *name, struct err *e)
{
    char *state = life_state_path(), path[4096];
    int top = life_state_dir(true, e), dir = -1, fd, r;

    snprintf(path, sizeof(path), "%s/%s/" FIRMWARE_VARS, state ? state : "", name);
    if (top >= 0)
        dir = life_dir_at(top, name, true, state ? state : "", e);
    free(state);
    if (top >= 0)
        close(top);
    if (dir < 0)
        return dir;
    fd = openat(dir, FIRMWARE_VARS, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600);
    r = fd < 0 ? err_set(e, errno, "variable store %s cannot be opened: %s", path, strerror(errno))
               : firmware_take(bank, fd, path, true, e);
    close(dir);
    return r;
}

static int firmware_fill(struct firmware *f, const struct vm_config *c, struct err *e)
{
    int r = firmware_open(&f->bank[0], &c->firmware.code, false, e);

    if (r < 0)
        return r;
    if (c->firmware.vars.path)
        return firmware_open(&f->bank[1], &c->firmware.vars, true, e);
    return c->firmware.keep_vars ? firmware_open_state(&f->bank[1], c->name, e) : 0;
}

/* ---- the configuration device ---- */

static void firmware_add(struct firmware *f, uint16_t key, const void *data, size_t len)
{
    f->item[f->nitems++] = (struct fw_cfg_item){.key = key, .data = data, .len = (uint32_t)len};
}

/* A size and the bytes. */
static void firmware_add_sized(struct firmware *f, unsigned which, uint16_t size, uint16_t data, const void *p,
                               uint64_t len)
{
    le32_put(f->sizes[which], (uint32_t)len);
    firmware_add(f, size, f->sizes[which], 4);
    firmware_add(f, data, p, len);
}

/* What Linux calls a kernel, for firmware to start: it knows the formats. */
static int firmware_add_kernel(struct firmware *f, const struct vm_config *c, struct err *e)
{
    int r;

    if (!c->kernel)
        return 0;
    r = loader_file_open(&f->kernel, c->kernel, MIN(c->memory, (uint64_t)UINT32_MAX), e);
    if (r < 0)
        return r;
    firmware_add_sized(f, 0, FW_CFG_KERNEL_SIZE, FW_CFG_KERNEL_DATA, f->kernel.data, f->kernel.size);
    if (c->initrd) {
        r = loader_file_open(&f->initrd, c->initrd, MIN(c->memory, (uint64_t)UINT32_MAX), e);
        if (r < 0)
            return r;
        firmware_add_sized(f, 1, FW_CFG_INITRD_SIZE, FW_CFG_INITRD_DATA, f->initrd.data, f->initrd.size);
    }
    firmware_add_sized(f, 2, FW_CFG_CMDLINE_SIZE, FW_CFG_CMDLINE_DATA, c->cmdline, strlen(c->cmdline) + 1);
    return 0;
}

/* Open Firmware's paths of the devices that are to be tried, a line each, the first one first. */
static int firmware_add_order(struct firmware *f, const struct vm_config *c, uint64_t slots, uint64_t stride,
                              struct err *e)
{
    size_t len = 0;
    int last = -1;
    FILE *out = open_memstream(&f->order, &len);

    if (!out)
        return err_set(e, ENOMEM, "out of memory");
    for (;;) {
        const struct vm_device *next = NULL;

        for (unsigned i = 0; i < c->ndevices; i++)
            if (c->device[i].boot > last && (!next || c->device[i].boot < next->boot))
                next = &c->device[i];
        if (!next)
            break;
        fprintf(out, "%s/virtio-mmio@%016llx/%s", last < 0 ? "" : "\n",
                (unsigned long long)(slots + (unsigned)next->slot * stride),
                next->kind == VM_DEVICE_BLK ? "disk@0,0" : "ethernet-phy@0");
        last = next->boot;
    }
    if (fclose(out) != 0)
        return err_set(e, ENOMEM, "out of memory");
    if (last >= 0)
        f->item[f->nitems++] = (struct fw_cfg_item){.file = "bootorder", .data = f->order, .len = (uint32_t)len + 1};
    return 0;
}

/* What the user has for whoever asks. */
static int firmware_add_files(struct firmware *f, const struct vm_config *c, struct err *e)
{
    for (unsigned i = 0; i < c->nfw_cfg; i++) {
        struct fw_cfg_item *it = &f->item[f->nitems++];
        int r = c->fw_cfg[i].file ? loader_file_open(&f->file[i], c->fw_cfg[i].file, FIRMWARE_MAX_FILE, e) : 0;

        if (r < 0)
            return r;
        it->file = c->fw_cfg[i].name;
        it->data = c->fw_cfg[i].file ? (const void *)f->file[i].data : c->fw_cfg[i].text;
        it->len = (uint32_t)(c->fw_cfg[i].file ? f->file[i].size : strlen(c->fw_cfg[i].text));
    }
    return 0;
}

/* What firmware asks for. */
static int firmware_add_own(struct firmware *f, const struct vm_config *c, uint64_t slots, uint64_t stride,
                            struct err *e)
{
    int r;

    /* Where nothing is said, EDK2 waits for seconds, and nobody may be there. */
    le16_put(f->menu, 1);
    le16_put(f->wait, (uint16_t)c->firmware.menu);
    firmware_add(f, FW_CFG_BOOT_MENU, f->menu, sizeof(f->menu));
    f->item[f->nitems++] = (struct fw_cfg_item){.file = "etc/boot-menu-wait", .data = f->wait, .len = sizeof(f->wait)};
    r = firmware_add_kernel(f, c, e);
    return r < 0 ? r : firmware_add_order(f, c, slots, stride, e);
}

/* ---- the whole ---- */

int firmware_load(struct firmware **out, struct machine *m, uint64_t slots, uint64_t stride, struct err *e)
{
    const struct vm_config *c = m->cfg;
    struct firmware *f = calloc(1, sizeof(*f));
    int r;

    if (!f)
        return err_set(e, ENOMEM, "out of memory");
    for (unsigned i = 0; i < FIRMWARE_BANKS; i++) /* of ROM that is not there: nothing looks */
        f->bank[i] = (struct cfi_flash_config){.mem = m->mem, .rom = &m->mem->rom[i], .fd = -1};
    le16_put(f->cpus, (uint16_t)c->cpus);
    firmware_add(f, FW_CFG_NB_CPUS, f->cpus, sizeof(f->cpus));
    r = c->firmware.used ? firmware_fill(f, c, e) : 0;
    if (r == 0 && c->firmware.used)
        r = firmware_add_own(f, c, slots, stride, e);
    if (r == 0)
        r = firmware_add_files(f, c, e);
    if (r < 0) {
        firmware_close(f);
        return r;
    }
    if (c->firmware.used)
        sandbox_allow_flash();
    *out = f;
    return 0;
}

void firmware_close(struct firmware *f)
{
    if (!f)
        return;
    for (unsigned i = 0; i < FIRMWARE_BANKS; i++)
        if (f->bank[i].fd >= 0)
            close(f->bank[i].fd);
    loader_file_close(&f->kernel);
    loader_file_close(&f->initrd);
    for (unsigned i = 0; i < VM_MAX_FW_CFG; i++)
        loader_file_close(&f->file[i]);
    free(f->order);
    free(f);
}

int firmware_create_bank(struct device **out, struct firmware *f, unsigned i, struct err *e)
{
    int r = cfi_flash_create(out, &f->bank[i]);

    if (r < 0)
        return err_set(e, -r, "the flash cannot be made: %s", strerror(-r));
    f->bank[i].fd = -1;
    return 0;
}

int firmware_create_config(struct device **out, struct firmware *f, struct machine *m, struct err *e)
{
    int r = fw_cfg_create(out, m->mem, f->item, f->nitems);

    return r < 0 ? err_set(e, -r, "the firmware's configuration cannot be made: %s", strerror(-r)) : 0;
}
