/*
 * What the loaders of both boards share: a kernel's bytes without the compression around them, and the initrd.
 */
#include "loader/kernel.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "loader/unpack.h"
#include "vmm/base/util.h"

/* A kernel file with debug information is larger than what it loads, and may be larger than a small guest's RAM. */
#define KERNEL_FILE_MIN_LIMIT GIB(2)
/* gzip around zboot around gzip is the most that anybody could mean. */
#define KERNEL_MAX_LAYERS 3

/* Peels compressed layers off `f` in place. */
static int kernel_unpack(struct loader_file *f, uint64_t limit, const char *path, struct err *e)
{
    for (unsigned layer = 0;; layer++) {
        enum unpack_kind kind = unpack_probe(f->data, f->size);
        uint8_t *data;
        uint64_t size;
        int r;

        if (kind == UNPACK_NONE)
            return 0;
        if (layer == KERNEL_MAX_LAYERS)
            return err_set(e, EINVAL, "%s is compressed more than %d times over", path, KERNEL_MAX_LAYERS);
        r = unpack(kind, f->data, f->size, limit, &data, &size, path, e);
        if (r < 0)
            return r;
        free(f->data);
        f->data = data;
        f->size = size;
        f->unpacked = true;
    }
}

int kernel_open(struct loader_file *f, const char *path, uint64_t ram_size, bool peel, struct err *e)
{
    int r = loader_file_open(f, path, MAX(ram_size, KERNEL_FILE_MIN_LIMIT), e);

    if (r < 0 || !peel)
        return r;
    r = kernel_unpack(f, ram_size, path, e);
    if (r < 0)
        loader_file_close(f);
    return r;
}

/* The highest page-aligned place for `size` bytes in the window, or 0: no initrd lies there. */
static uint64_t initrd_place(const struct initrd_window *w, uint64_t size)
{
    uint64_t at;

    if (w->high < w->low || size > w->high - w->low)
        return 0;
    at = align_down(w->high - size, MEM_PAGE_SIZE);
    return at >= w->low ? at : 0;
}

static int initrd_too_large(const char *path, uint64_t room, struct err *e)
{
    return err_set_status(e, ERR_STATUS_MEMORY, EFBIG,
                          "%s does not fit in the guest's RAM beside the kernel: %" PRIu64
                          " MiB are free for an initrd",
                          path, room >> 20);
}

int initrd_load(struct mem *m, const char *path, const struct initrd_window *w, unsigned n, uint64_t *addr,
                uint64_t *size, struct err *e)
{
    uint64_t room = 0, at = 0;
    struct loader_file f;
    int r;

    for (unsigned i = 0; i < n; i++)
        room = MAX(room, w[i].high > w[i].low ? w[i].high - w[i].low : 0);
    r = loader_file_open(&f, path, MAX(room, (uint64_t)1), e);
    if (r < 0)
        return r == -EFBIG ? initrd_too_large(path, room, e) : r;
    for (unsigned i = 0; i < n && at == 0; i++)
        at = initrd_place(&w[i], f.size);
    if (at == 0) {
        r = initrd_too_large(path, room, e);
        goto out;
    }
    r = mem_write(m, GPA(at), f.data, f.size);
    if (r < 0) {
        err_set(e, -r, "%s: the guest has no RAM at 0x%" PRIx64, path, at);
        goto out;
    }
    *addr = at;
    *size = f.size;
out:
    loader_file_close(&f);
    return r;
}

int loader_initrd_load(struct mem *m, const char *path, gpa_t low, gpa_t high, uint64_t *addr, uint64_t *size,
                       struct err *e)
{
    const struct initrd_window w = {low.v, high.v};

    return initrd_load(m, path, &w, 1, addr, size, e);
}
