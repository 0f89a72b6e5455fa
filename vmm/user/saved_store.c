/*
 * The folder of saved translations.
 *
 * Whoever can write an image can run code in later processes of whoever reads it. So the folder and each image must
 * belong to the user that this process acts as, and be closed to all others; neither may be a symbolic link; that is
 * asked of open descriptors. Of others' images nothing is used, root's included: a container's root may be anybody.
 *
 * A guest runs with the rights of its user, and could write the folder by system calls of its own: that gives it
 * nothing, as it could as well write the user's start-up files. A guest that was shut in must not get out by way of the
 * images, though. So the folder is found once and known by device and inode from then on: after chroot, or in another
 * mount namespace, the path leads elsewhere and nothing is read or written. And what has given up rights for good
 * (no_new_privs, seccomp filters) writes nothing: user_saved_publish.
 *
 * Nothing may appear in a chroot or a container's image that was not there without us, and no test can tell from inside
 * that one is in neither. So nothing is ever made below $HOME: the folder is, in this order,
 *
 *   - what -translations names, made where it is missing;
 *   - $XDG_CACHE_HOME/pipit or $HOME/.cache/pipit where somebody has made it;
 *   - $XDG_RUNTIME_DIR/pipit, made where it is missing: that directory belongs to a session, is no part of any image,
 *     and is in a chroot only where it was put there on purpose.
 *
 * Otherwise translations live as long as the process.
 */
#include "vmm/user/saved_store.h"

#include <errno.h>
#include <linux/fcntl.h>
#include <linux/mman.h>
#include <linux/resource.h>
#include <linux/stat.h>
#include <stdio.h>
#include <string.h>

#include "vmm/base/util.h"
#include "vmm/user/abi.h"
#include "vmm/user/args.h"
#include "vmm/user/options.h"
#include "vmm/user/path.h"
#include "vmm/user/sys/call.h"
#include "vmm/user/sys/sys.h"

#define FOLDER "pipit"
#define NAME_FORMAT "%016lx.a64"
#define NAME_LENGTH 20
#define STALE 3600 /* seconds after which an image that was never finished goes */

static char path[USER_PATH_MAX]; /* "": nothing is kept */
static bool chosen;              /* it was named: it may be made */
static struct {
    bool known;
    uint32_t major, minor;
    uint64_t inode;
} folder;

/* Does this process's user own it, and nobody else reach it? */
static bool is_own(int fd, uint32_t type, struct statx *st)
{
    return !sys_call(__NR_statx, fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, st) && (st->stx_mode & ABI_S_IFMT) == type &&
           !(st->stx_mode & 0077) && st->stx_uid == (uint32_t)sys_call(__NR_geteuid);
}

static int open_folder(const char *name)
{
    struct statx st;
    int fd = (int)sys_call(__NR_openat, AT_FDCWD, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);

    if (fd < 0)
        return fd;
    if (!is_own(fd, ABI_S_IFDIR, &st) ||
        (folder.known &&
         (st.stx_dev_major != folder.major || st.stx_dev_minor != folder.minor || st.stx_ino != folder.inode))) {
        sys_call(__NR_close, fd);
        return -EACCES;
    }
    folder.major = st.stx_dev_major;
    folder.minor = st.stx_dev_minor;
    folder.inode = st.stx_ino;
    folder.known = true;
    return fd;
}

/* Is parent/FOLDER, or parent/middle/FOLDER, one that serves? Then `path` is that. */
static bool try(const char *parent, const char *middle)
{
    int fd;

    if (!parent || parent[0] != '/' ||
        snprintf(path, sizeof(path), "%s%s/" FOLDER, parent, middle) >= (int)sizeof(path))
        return false;
    fd = open_folder(path);
    if (fd >= 0)
        sys_call(__NR_close, fd);
    return fd >= 0;
}

static bool try_runtime(const char *parent)
{
    struct statx st;
    bool own;
    int fd;

    if (!parent || parent[0] != '/')
        return false;
    fd = (int)sys_call(__NR_openat, AT_FDCWD, parent, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    if (fd < 0)
        return false;
    own = is_own(fd, ABI_S_IFDIR, &st);
    if (own)
        sys_call(__NR_mkdirat, fd, FOLDER, 0700);
    sys_call(__NR_close, fd);
    return own && try(parent, "");
}

void user_saved_store_init(const char *const *envp)
{
    const char *named = user_options.nochain ? "off" : user_options.translations,
               *cache = user_args_variable(envp, "XDG_CACHE_HOME");

    if (named) {
        chosen = strcmp(named, "off") && snprintf(path, sizeof(path), "%s", named) < (int)sizeof(path);
        if (chosen)
            return;
    } else if (try(cache ? cache : user_args_variable(envp, "HOME"), cache ? "" : "/.cache") ||
               try_runtime(user_args_variable(envp, "XDG_RUNTIME_DIR"))) {
        return;
    }
    path[0] = '\0';
}

int user_saved_store_open(void)
{
    int fd = path[0] ? open_folder(path) : -ENOENT;

    if (fd == -ENOENT && chosen && !folder.known && !sys_call(__NR_mkdirat, AT_FDCWD, path, 0700))
        fd = open_folder(path);
    return fd;
}

const uint8_t *user_saved_store_map(int dir, uint64_t name, size_t *size)
{
    char file[64];
    struct statx st;
    uint8_t *at = NULL;
    int fd;

    snprintf(file, sizeof(file), NAME_FORMAT, (unsigned long)name);
    fd = (int)sys_call(__NR_openat, dir, file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0);
    if (fd < 0)
        return NULL;
    if (is_own(fd, ABI_S_IFREG, &st) && st.stx_size && st.stx_size <= USER_SAVED_IMAGE_MAX) {
        size_t pages = align_up(st.stx_size, SYS_PAGE);
        at = sys_map(pages, SYS_PAGE, PROT_NONE);
        if (at && sys_is_err(sys_call(__NR_mmap, at, pages, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0))) {
            sys_unmap(at, pages);
            at = NULL;
        }
        *size = st.stx_size;
    }
    sys_call(__NR_close, fd);
    return at;
}

/* ---- room ---- */

struct entry {
    uint64_t ino;
    int64_t off;
    uint16_t reclen;
    uint8_t type;
    char name[];
};

/* What is known of one image, or of one that is being written. */
struct found {
    char name[64];
    uint64_t size;
    int64_t used; /* seconds: when it was last written or read, as far as the file system notes that */
};

/* Calls fn for each file of the folder that may be ours, by its name. */
static void for_each(int dir, void (*fn)(void *opaque, const struct found *f), void *opaque)
{
    char list[4096] __attribute__((aligned(8)));
    struct statx st;
    struct found f;
    long n;

    sys_call(__NR_lseek, dir, 0, 0);
    while ((n = sys_call(__NR_getdents64, dir, list, sizeof(list))) > 0) {
        for (long at = 0; at < n; at += ((const struct entry *)(list + at))->reclen) {
            const struct entry *d = (const struct entry *)(list + at);
            if (strlen(d->name) < NAME_LENGTH || strlen(d->name) >= sizeof(f.name) ||
                strncmp(d->name + 16, ".a64", 4) ||
                sys_call(__NR_statx, dir, d->name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &st) ||
                (st.stx_mode & ABI_S_IFMT) != ABI_S_IFREG)
                continue;
            snprintf(f.name, sizeof(f.name), "%s", d->name);
            f.size = st.stx_size;
            f.used = MAX(st.stx_atime.tv_sec, st.stx_mtime.tv_sec);
            fn(opaque, &f);
        }
    }
}

struct survey {
    int dir;
    uint64_t total;
    int64_t now;
    struct found oldest;
};

static void survey_one(void *opaque, const struct found *f)
{
    struct survey *s = opaque;

    if (f->name[NAME_LENGTH] && s->now - f->used > STALE) {
        sys_call(__NR_unlinkat, s->dir, f->name, 0);
        return;
    }
    s->total += f->size;
    if (!s->oldest.name[0] || f->used < s->oldest.used)
        s->oldest = *f;
}

/* Lets those go that were not used for longest, until `size` bytes more are within the bound. */
static void make_room(int dir, uint64_t size)
{
    struct survey s;
    struct {
        int64_t sec, nsec;
    } now = {0};

    sys_call(__NR_clock_gettime, 0 /* CLOCK_REALTIME */, &now);
    do {
        s = (struct survey){.dir = dir, .now = now.sec};
        for_each(dir, survey_one, &s);
        if (s.total + size <= USER_SAVED_TOTAL_MAX)
            return;
    } while (s.oldest.name[0] && !sys_call(__NR_unlinkat, dir, s.oldest.name, 0));
}

/* ---- writing ---- */

/* A write beyond the limit would raise SIGXFSZ, which is the guest's. */
static bool may_write(size_t size)
{
    uint64_t limit[2];

    return !sys_call(__NR_prlimit64, 0, RLIMIT_FSIZE, NULL, limit) && limit[0] >= size;
}

int user_saved_store_write(int dir, uint64_t name, const uint8_t *image, size_t size)
{
    char file[32], fresh[64];
    long fd, n;
    size_t done;

    if (size > USER_SAVED_IMAGE_MAX || !may_write(size))
        return -EFBIG;
    make_room(dir, size);
    snprintf(file, sizeof(file), NAME_FORMAT, (unsigned long)name);
    snprintf(fresh, sizeof(fresh), "%s.%u", file, (unsigned)sys_call(__NR_getpid));
    fd = sys_call(__NR_openat, dir, fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return (int)fd;
    for (done = 0; done < size; done += (size_t)n) {
        n = sys_call(__NR_write, fd, image + done, size - done);
        if (n <= 0)
            break;
    }
    sys_call(__NR_close, fd);
    n = done == size ? sys_call(__NR_renameat, dir, fresh, dir, file) : -ENOSPC;
    if (n)
        sys_call(__NR_unlinkat, dir, fresh, 0);
    return (int)n;
}
