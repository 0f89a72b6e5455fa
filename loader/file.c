/*
 * Reads a whole file into memory within a bound. The size that stat reports is only a first guess: files grow and
 * shrink while they are read, and pipes and block devices report none, so the end is where read() says it is.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loader/kernel.h"
#include "vmm/base/util.h"

/* One read() moves at most this much; Linux caps it near 2 GiB anyway. */
#define FILE_READ_CHUNK MIB(256)

static struct {
    const char *name;
    int fd;
} file_provided[2]; /* a kernel and an initrd */
static unsigned file_nprovided;

void loader_file_provide(const char *name, int fd)
{
    if (file_nprovided == ARRAY_SIZE(file_provided))
        abort();
    file_provided[file_nprovided].name = name;
    file_provided[file_nprovided++].fd = fd;
}

void loader_file_forget(void)
{
    while (file_nprovided)
        close(file_provided[--file_nprovided].fd);
}

int file_open_path(const char *path, int flags)
{
    for (unsigned i = 0; i < file_nprovided; i++)
        if (!strcmp(file_provided[i].name, path)) {
            int fd = fcntl(file_provided[i].fd, F_DUPFD_CLOEXEC, 0);

            /* The position is shared with whoever wrote it. */
            if (fd >= 0)
                lseek(fd, 0, SEEK_SET);
            return fd;
        }
    return open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | flags);
}

/* Whoever writes to a FIFO should not see it opened and closed again. */
static bool file_is_fifo(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISFIFO(st.st_mode);
}

int loader_file_again(const char *path)
{
    int fd = file_is_fifo(path) ? -1 : file_open_path(path, O_NONBLOCK);
    struct stat st;

    if (fd >= 0 && (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static int file_too_large(const char *path, uint64_t max_size, struct err *e)
{
    if (max_size >= MIB(1))
        return err_set(e, EFBIG, "%s is larger than the %" PRIu64 " MiB that it may have here", path, max_size >> 20);
    return err_set(e, EFBIG, "%s is larger than the %" PRIu64 " bytes that it may have here", path, max_size);
}

/* Is this a kind of file that has an end? */
static int file_check_type(const struct stat *st, const char *path, struct err *e)
{
    if (S_ISDIR(st->st_mode))
        return err_set(e, EISDIR, "%s is a directory, not a file", path);
    if (!S_ISREG(st->st_mode) && !S_ISBLK(st->st_mode) && !S_ISFIFO(st->st_mode))
        return err_set(e, EINVAL, "%s is a device or socket, not a file", path);
    return 0;
}

/* Reads `fd` to its end; *cap bytes are allocated at f->data. One byte more than max_size tells "too large". */
static int file_read_all(struct loader_file *f, int fd, uint64_t cap, uint64_t max_size, const char *path,
                         struct err *e)
{
    for (;;) {
        if (f->size == cap) {
            if (cap > max_size)
                return file_too_large(path, max_size, e);
            uint64_t more = cap >= max_size ? max_size + 1 : MIN(cap * 2, max_size + 1);
            uint8_t *p = realloc(f->data, more);
            if (!p)
                return err_set(e, ENOMEM, "not enough memory to read %s", path);
            f->data = p;
            cap = more;
        }
        ssize_t n = read(fd, f->data + f->size, MIN(cap - f->size, FILE_READ_CHUNK));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(e, errno, "cannot read %s: %s", path, strerror(errno));
        if (n == 0)
            break;
        f->size += (uint64_t)n;
    }
    if (f->size > max_size)
        return file_too_large(path, max_size, e);
    if (f->size == 0)
        return err_set(e, EINVAL, "%s is empty", path);
    return 0;
}

int loader_file_open(struct loader_file *f, const char *path, uint64_t max_size, struct err *e)
{
    struct stat st;
    uint64_t cap = MIB(1);
    int r, fd;

    *f = (struct loader_file){0};
    max_size = MIN(max_size, (uint64_t)INT64_MAX / 2); /* so that max_size + 1 and doubling never wrap */
    fd = file_open_path(path, 0);
    if (fd < 0)
        return err_set(e, errno, "cannot open %s: %s", path, strerror(errno));
    if (fstat(fd, &st) < 0) {
        r = err_set(e, errno, "cannot read %s: %s", path, strerror(errno));
        goto out;
    }
    r = file_check_type(&st, path, e);
    if (r < 0)
        goto out;
    if (S_ISREG(st.st_mode)) {
        if ((uint64_t)st.st_size > max_size) {
            r = file_too_large(path, max_size, e);
            goto out;
        }
        /* One byte more: the read that finds the end needs room. */
        cap = (uint64_t)st.st_size + 1;
    }
    f->data = malloc(cap);
    if (!f->data) {
        r = err_set(e, ENOMEM, "not enough memory to read %s", path);
        goto out;
    }
    r = file_read_all(f, fd, cap, max_size, path, e);
out:
    if (r < 0)
        loader_file_close(f);
    close(fd);
    return r;
}

bool loader_file_read_at(int fd, uint8_t *to, uint64_t n, uint64_t off)
{
    while (n) {
        ssize_t got = pread(fd, to, MIN(n, FILE_READ_CHUNK), (off_t)off);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        to += got;
        off += (uint64_t)got;
        n -= (uint64_t)got;
    }
    return true;
}

bool file_open_in_place(struct loader_file *f, const char *path, file_place_fn *place, void *opaque)
{
    uint8_t head[FILE_HEAD], *room;
    int fd = loader_file_again(path);
    struct stat st;
    bool ok = false;

    *f = (struct loader_file){0};
    if (fd < 0)
        return false;
    if (fstat(fd, &st) == 0 && (uint64_t)st.st_size >= sizeof(head) && loader_file_read_at(fd, head, sizeof(head), 0)) {
        room = place(opaque, head, (uint64_t)st.st_size);
        ok = room && loader_file_read_at(fd, room, (uint64_t)st.st_size, 0) && !memcmp(room, head, sizeof(head));
        if (room && !ok)
            memset(room, 0, (uint64_t)st.st_size);
        else if (ok)
            *f = (struct loader_file){.data = room, .size = (uint64_t)st.st_size, .in_place = true};
    }
    close(fd);
    return ok;
}

void loader_file_close(struct loader_file *f)
{
    if (!f->in_place)
        free(f->data);
    *f = (struct loader_file){0};
}
