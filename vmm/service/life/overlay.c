/*
 * The folder of a machine's overlay. NAME/image has four lines: path, format, size and time of the image that the
 * overlay stands on. It is written first; the overlay appears by being renamed, whole.
 */
#include "vmm/service/life/overlay.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/util.h"
#include "vmm/service/life/dirs.h"

#define OVERLAY_DISK "disk.qcow2"
#define OVERLAY_IMAGE "image"

/* What tells one state of an image from another. */
struct stamp {
    char path[PATH_MAX];
    enum block_format format;
    uint64_t size, mtime; /* bytes, ns; 0 for a block device, which has neither */
};

static int stamp_take(struct stamp *s, const char *image, enum block_format format, struct err *e)
{
    struct stat st;

    memset(s, 0, sizeof(*s));
    if (!realpath(image, s->path) || stat(s->path, &st) < 0)
        return err_set(e, errno, "image %s cannot be opened: %s", image, strerror(errno));
    if (strchr(s->path, '\n'))
        return err_set(e, EINVAL, "image %s has a line end in its name", image);
    if (S_ISREG(st.st_mode)) {
        s->size = (uint64_t)st.st_size;
        s->mtime = (uint64_t)st.st_mtim.tv_sec * 1000000000 + (uint64_t)st.st_mtim.tv_nsec;
    }
    s->format = format;
    return 0;
}

/* 0, -ENOENT or -EINVAL. */
static int stamp_read(struct stamp *s, int dir)
{
    int fd = openat(dir, OVERLAY_IMAGE, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    char text[PATH_MAX + 128], format[16];
    ssize_t n;
    size_t len;

    if (fd < 0)
        return errno == ENOENT ? -ENOENT : -EINVAL;
    n = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[MAX(n, 0)] = '\0';
    len = strcspn(text, "\n");
    if (len == 0 || len >= sizeof(s->path) || text[0] != '/' ||
        sscanf(text + len, "\n%15s\n%" SCNu64 "\n%" SCNu64, format, &s->size, &s->mtime) != 3)
        return -EINVAL;
    memcpy(s->path, text, len);
    s->path[len] = '\0';
    s->format = !strcmp(format, "qcow2") ? BLOCK_FORMAT_QCOW2 : BLOCK_FORMAT_RAW;
    return 0;
}

static const char *format_name(enum block_format f)
{
    return f == BLOCK_FORMAT_QCOW2 ? "qcow2" : "raw";
}

static int stamp_write(const struct stamp *s, int dir, const char *where, struct err *e)
{
    int fd = openat(dir, OVERLAY_IMAGE, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    int n = fd < 0
                ? -1
                : dprintf(fd, "%s\n%s\n%" PRIu64 "\n%" PRIu64 "\n", s->path, format_name(s->format), s->size, s->mtime);

    if (n < 0 || fsync(fd) < 0)
        n = err_set(e, errno, "%s/%s cannot be written: %s", where, OVERLAY_IMAGE, strerror(errno));
    if (fd >= 0)
        close(fd);
    return n < 0 ? n : 0;
}

char *overlay_image(int dir)
{
    struct stamp s;

    return stamp_read(&s, dir) < 0 ? NULL : strdup(s.path);
}

/* ---- making one ---- */

static int image_size(struct block_engine *en, const struct stamp *s, uint64_t *size, struct err *e)
{
    const struct qcow2_options o = {.block = {.read_only = true, .writeback = true}, .backing = BLOCK_BACKING_NEAR};
    struct block *b;
    int r = block_open(&b, en, s->path, s->format, &o, e);

    if (r < 0)
        return r;
    *size = MAX(*size, align_up(block_size(b), 512));
    block_close(b);
    return 0;
}

/* Writes the empty overlay into a file that has no name others know, and gives it its own. */
static int make_disk(struct block_engine *en, int dir, const char *where, const struct stamp *s, uint64_t size,
                     struct err *e)
{
    const struct block_options bo = {.writeback = true, .container = true};
    const struct qcow2_create c = {.size = size,
                                   .version = 3,
                                   .cluster_bits = 16,
                                   .refcount_order = 4,
                                   .backing = s->path,
                                   .backing_format = format_name(s->format)};
    char name[48];
    struct block *file;
    int fd, r;

    snprintf(name, sizeof(name), OVERLAY_DISK ".%ld", (long)getpid());
    unlinkat(dir, name, 0);
    fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set(e, errno, "%s/%s cannot be made: %s", where, name, strerror(errno));
    r = block_open_raw_fd(&file, en, fd, name, &bo, e);
    if (r == 0) {
        r = qcow2_create(file, &c, e);
        block_close(file);
    }
    if (r == 0 && renameat(dir, name, dir, OVERLAY_DISK) < 0)
        r = err_set(e, errno, "%s/%s cannot be made: %s", where, OVERLAY_DISK, strerror(errno));
    if (r < 0)
        unlinkat(dir, name, 0);
    return r;
}

static int make_overlay(struct overlay *o, struct block_engine *en, int dir, const char *where, struct stamp *s,
                        uint64_t size, struct err *e)
{
    int r = 0;

    if (s->format == BLOCK_FORMAT_PROBE) {
        r = block_probe(s->path, e);
        if (r < 0)
            return r;
        s->format = (enum block_format)r;
    }
    if ((r = image_size(en, s, &size, e)) < 0 || (r = stamp_write(s, dir, where, e)) < 0)
        return r;
    o->made = true;
    return make_disk(en, dir, where, s, size, e);
}

/* `now` is the image as it is and was asked for, `was` what the overlay stands on. */
static int compare_stamps(const struct stamp *now, const struct stamp *was, const char *name, struct err *e)
{
    if (strcmp(now->path, was->path) != 0)
        return err_set(e, ESTALE,
                       "machine %s was made from %s, not from %s; give this one another --name, or pipit rm %s", name,
                       was->path, now->path, name);
    if (now->format != BLOCK_FORMAT_PROBE && now->format != was->format)
        return err_set(e, ESTALE, "machine %s was made from %s as a %s image; pipit rm %s forgets that", name,
                       was->path, format_name(was->format), name);
    if (now->size != was->size || now->mtime != was->mtime)
        return err_set(
            e, ESTALE,
            "%s has changed since machine %s was made from it, whose disk means nothing without it as it was; "
            "pipit rm %s begins anew",
            was->path, name, name);
    return 0;
}

static int get_in(struct overlay *o, struct block_engine *en, int dir, const char *name, struct stamp *now,
                  uint64_t size, struct err *e)
{
    struct stamp was;
    char *state = life_state_path(), *where = NULL;
    int r;

    if (!state || asprintf(&where, "%s/%s", state, name) < 0 || asprintf(&o->path, "%s/" OVERLAY_DISK, where) < 0) {
        r = err_set(e, ENOMEM, "out of memory");
        goto out;
    }
    if (faccessat(dir, OVERLAY_DISK, F_OK, AT_SYMLINK_NOFOLLOW) < 0) {
        r = make_overlay(o, en, dir, where, now, size, e);
    } else if (stamp_read(&was, dir) < 0) {
        r = err_set(e, EINVAL, "%s/%s, which says what the machine's disk stands on, cannot be read", where,
                    OVERLAY_IMAGE);
    } else {
        r = compare_stamps(now, &was, name, e);
        now->format = was.format;
    }
    o->format = now->format;
    o->image = strdup(now->path);
    if (r >= 0 && !o->image)
        r = err_set(e, ENOMEM, "out of memory");
out:
    free(state);
    free(where);
    return r;
}

int overlay_get(struct overlay *o, struct block_engine *en, const char *name, const char *image,
                enum block_format format, uint64_t size, struct err *e)
{
    struct stamp now;
    char *state;
    int top, dir, r;

    *o = (struct overlay){.path = NULL};
    if ((r = life_name_check(name, e)) < 0 || (r = stamp_take(&now, image, format, e)) < 0)
        return r;
    top = life_state_dir(true, e);
    if (top < 0)
        return top;
    state = life_state_path();
    dir = life_dir_at(top, name, true, state ? state : "", e);
    free(state);
    close(top);
    if (dir < 0)
        return dir;
    r = get_in(o, en, dir, name, &now, size, e);
    close(dir);
    if (r < 0)
        overlay_free(o);
    return r < 0 ? r : 0;
}

void overlay_free(struct overlay *o)
{
    free(o->path);
    free(o->image);
    *o = (struct overlay){.path = NULL};
}

int overlay_open(struct block **out, struct block_engine *en, const struct overlay *o, const struct block_options *bo,
                 enum block_backing backing, struct err *e)
{
    const struct qcow2_options below = {.block = {.read_only = true, .direct = bo->direct, .writeback = true},
                                        .backing = backing};
    struct qcow2_options above = {.block = *bo, .backing = BLOCK_BACKING_NONE};
    int r = block_open(&above.backing_block, en, o->image, o->format, &below, e);

    return r < 0 ? r : block_open(out, en, o->path, BLOCK_FORMAT_QCOW2, &above, e);
}

/* ---- removing ---- */

/* Removes the files of the open folder, none in folders below it. */
static int remove_files(int dir, const char *name, struct err *e)
{
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
    DIR *d = fd < 0 ? NULL : fdopendir(fd);

    if (!d) {
        r = err_set(e, errno, "what machine %s kept cannot be listed: %s", name, strerror(errno));
        if (fd >= 0)
            close(fd);
        return r;
    }
    for (struct dirent *x; r == 0 && (x = readdir(d)) != NULL;)
        if (strcmp(x->d_name, ".") != 0 && strcmp(x->d_name, "..") != 0 && unlinkat(dir, x->d_name, 0) < 0)
            r = err_set(e, errno, "%s of machine %s cannot be removed: %s", x->d_name, name, strerror(errno));
    closedir(d);
    return r;
}

void overlay_forget(const char *name)
{
    struct err none;
    int top = life_state_dir(false, &none);
    int dir = top < 0 ? -1 : life_dir_at(top, name, false, "the state folder", &none);

    if (dir >= 0) {
        unlinkat(dir, OVERLAY_DISK, 0);
        unlinkat(dir, OVERLAY_IMAGE, 0);
        close(dir);
        unlinkat(top, name, AT_REMOVEDIR); /* unless it holds something else: a variable store */
    }
    if (top >= 0)
        close(top);
}

int life_state_remove(const char *name, struct err *e)
{
    struct err none;
    int top, dir, r = life_name_check(name, e);

    if (r < 0)
        return r;
    top = life_state_dir(false, &none);
    if (top == -ENOENT)
        return 0;
    if (top < 0)
        return err_set(e, -top, "%s", none.msg);
    dir = life_dir_at(top, name, false, "the state folder", e);
    if (dir >= 0) {
        r = remove_files(dir, name, e);
        close(dir);
        if (r == 0 && unlinkat(top, name, AT_REMOVEDIR) < 0)
            r = err_set(e, errno, "the folder of machine %s cannot be removed: %s", name, strerror(errno));
    } else {
        r = dir == -ENOENT ? 0 : dir;
    }
    close(top);
    return r;
}
