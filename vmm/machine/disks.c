/* Opening disks. The machine does it, and so does whoever looks into one before there is a machine. */
#include "vmm/machine/disks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/base/log.h"
#include "vmm/machine/fatal.h"
#include "vmm/machine/machine.h"
#include "vmm/service/life/overlay.h"
#include "vmm/service/sandbox.h"

/* A file without a name that holds the image. */
static int seed_file(const uint8_t *image, size_t len)
{
    int fd = memfd_create("pipit-seed", MFD_CLOEXEC);

    for (size_t done = 0; fd >= 0 && done < len;) {
        ssize_t n = write(fd, image + done, len - done);

        if (n < 0) {
            close(fd);
            return -1;
        }
        done += (size_t)n;
    }
    return fd;
}

static int disks_open_seed(struct block **out, struct block_engine *en, const struct vm_config *c,
                           const struct vm_disk *d, struct err *e)
{
    const struct block_options o = {.read_only = true, .no_lock = true};
    uint8_t *image;
    size_t len;
    int fd, r = seed_make(&c->seed, c->name, &image, &len, e);

    if (r < 0)
        return r;
    fd = seed_file(image, len);
    free(image);
    if (fd < 0)
        return err_set(e, errno, "no memory for the %s: %s", d->path, strerror(errno));
    return block_open_raw_fd(out, en, fd, d->path, &o, e);
}

static bool overlay_is_new; /* this process made it */

void disks_forget(const struct vm_config *c)
{
    if (overlay_is_new)
        overlay_forget(c->name);
    overlay_is_new = false;
}

static int disks_open_overlay(struct block **out, struct block_engine *en, const struct vm_config *c,
                              const struct vm_disk *d, const struct qcow2_options *opt, struct err *e)
{
    struct overlay o;
    int r = overlay_get(&o, en, c->name, d->path, d->format, 0, e);

    if (r < 0)
        return r;
    overlay_is_new |= o.made;
    r = overlay_open(out, en, &o, &opt->block, d->backing, e);
    if (r == 0 && !d->read_only)
        log_info(NULL, "%s is only read: what the guest writes is kept in %s until pipit rm %s", d->path, o.path,
                 c->name);
    overlay_free(&o);
    return r;
}

int disks_open(struct block **out, struct block_engine *en, const struct vm_config *c, const struct vm_disk *d,
               struct err *e)
{
    const struct qcow2_options o = {
        .block =
            {
                .read_only = d->read_only || d->snapshot,
                .direct = d->cache == VM_CACHE_NONE || d->cache == VM_CACHE_DIRECTSYNC,
                .writeback = d->cache != VM_CACHE_WRITETHROUGH && d->cache != VM_CACHE_DIRECTSYNC,
                .ignore_flush = d->cache == VM_CACHE_UNSAFE,
            },
        .backing = d->backing,
    };
    struct block *base;

    if (d->seed)
        return disks_open_seed(out, en, c, d, e);
    if (d->overlay)
        return disks_open_overlay(out, en, c, d, &o, e);
    if (!d->snapshot)
        return block_open(out, en, d->path, d->format, &o, e);
    int r = block_open(&base, en, d->path, d->format, &o, e);
    return r < 0 ? r : block_open_throwaway(out, en, base, d->path, e);
}

/* Each thread of a pool begins with this; one that cannot be confined must not serve. */
static void confine_worker(void)
{
    struct err e = {0};

    fatal_enter_thread();
    if (sandbox_enter(SANDBOX_WORKER, &e) == 0)
        return;
    log_error("sandbox", "%s", e.msg);
    _exit(MACHINE_EXIT_FAILURE);
}

int disks_create_engine(struct block_engine **out, struct loop *l, const struct vm_config *c, struct err *e)
{
    int r;

    block_engine_set_thread_init(confine_worker);
    r = block_engine_create(out, l, c->block_engine == VM_BLOCK_THREADS, e);
    if (r < 0)
        return r;
    if (c->block_engine == VM_BLOCK_IO_URING && strcmp(block_engine_name(*out), "io_uring") != 0)
        return err_set(e, ENOTSUP, "block engine io_uring: this host does not allow io_uring");
    return 0;
}
