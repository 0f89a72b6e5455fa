/* Throw-away overlays: what is written goes to a file without a name, and ends with it. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "devices/block/qcow2_int.h"

static int unnamed_file(const char *folder)
{
    char path[4096];
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
        return fd;
    if ((size_t)snprintf(path, sizeof(path), "%s/pipit-XXXXXX", folder) >= sizeof(path))
        return -1;
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        unlink(path);
    return fd;
}

int block_open_throwaway(struct block **out, struct block_engine *en, struct block *base, const char *path,
                         struct err *e)
{
    const struct block_options bo = {.writeback = true, .ignore_flush = true, .container = true, .no_lock = true};
    const struct qcow2_options o = {
        .block = bo, .backing = BLOCK_BACKING_NONE, .backing_block = base, .temporary = true};
    const struct qcow2_create c = {
        .size = align_up(block_size(base), 512), .version = 3, .cluster_bits = 16, .refcount_order = 4};
    const char *folder = getenv("TMPDIR") && *getenv("TMPDIR") ? getenv("TMPDIR") : "/var/tmp";
    struct block *file;
    int fd = unnamed_file(folder), rc;

    if (fd < 0) {
        rc =
            err_set(e, errno, "no file for what is written to %s can be made in %s: %s", path, folder, strerror(errno));
        goto fail;
    }
    rc = block_open_raw_fd(&file, en, fd, path, &bo, e);
    if (rc < 0)
        goto fail;
    rc = qcow2_create(file, &c, e);
    if (rc == 0)
        return qcow2_open_on(out, file, path, &o, e);
    block_close(file);
fail:
    block_close(base);
    return rc;
}
