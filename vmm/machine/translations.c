/*
 * The folder of machines' saved translations, beside those of user mode (vmm/user/saved_store.c).
 *
 * Whoever can write an image can run code in later processes of whoever reads it. So the folder and each image must
 * belong to the user that this process acts as, be closed to all others, and be no symbolic links; that is asked of
 * open descriptors. A program that was given rights its caller has not (AT_SECURE) keeps nothing.
 *
 * The folder is what was named, or $XDG_CACHE_HOME/pipit, or $HOME/.cache/pipit. It is made where it is missing, but
 * not in a folder that is another user's: root with somebody's HOME leaves nothing there.
 *
 * Threads in the sandbox open nothing. The file that the next image goes to is made before, and held by a lock: without
 * one its process is gone, and the file goes. Images are replaced by renaming, so that others see the old one or the
 * new one; of two machines that end at once, the one that is later.
 */
#include "vmm/machine/translations.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "jit/saved.h"
#include "vmm/base/util.h"

#define FOLDER "pipit"
#define NAME_FORMAT "%016llx.vm"
#define NAME_LENGTH 19

/* Does this process's user own it, and nobody else reach it? */
static bool is_own(int fd, mode_t type, struct stat *st)
{
    return !fstat(fd, st) && (st->st_mode & S_IFMT) == type && !(st->st_mode & 0077) && st->st_uid == geteuid();
}

/* A descriptor or -errno. */
static int open_folder(const char *path, bool make)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0 && errno == ENOENT && make && (!mkdir(path, 0700) || errno == EEXIST))
        fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (!is_own(fd, S_IFDIR, &st)) {
        close(fd);
        return -EACCES;
    }
    return fd;
}

static bool is_ours(const char *path)
{
    struct stat st;

    return !stat(path, &st) && S_ISDIR(st.st_mode) && st.st_uid == geteuid();
}

static int open_default(void)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char path[4096], *slash;

    if (cache && cache[0] == '/')
        snprintf(path, sizeof(path), "%s/" FOLDER, cache);
    else if (home && home[0] == '/')
        snprintf(path, sizeof(path), "%s/.cache/" FOLDER, home);
    else
        return -ENOENT;
    slash = strrchr(path, '/');
    *slash = '\0';
    if (!(cache && cache[0] == '/') && is_ours(home))
        mkdir(path, 0700);
    bool make = is_ours(path);
    *slash = '/';
    return open_folder(path, make);
}

int translations_open(struct translations *t, const char *where, struct err *e)
{
    const char *named = where ? where : getenv("PIPIT_TRANSLATIONS");

    *t = (struct translations){.dir = -1, .fresh = -1};
    if (getauxval(AT_SECURE) || (named && !strcmp(named, "off")))
        return 0;
    t->dir = named ? open_folder(named, true) : open_default();
    if (t->dir >= 0 || !where)
        return 0;
    return err_set(e, -t->dir, "translations cannot be kept in %s: %s", where,
                   t->dir == -EACCES ? "it must be a folder of yours that is closed to others (chmod 700)"
                                     : strerror(-t->dir));
}

/* ---- room ---- */

/* Lets go what a process that is gone was to write. */
static void drop_stale(int dir, const char *name)
{
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);

    if (fd >= 0 && !flock(fd, LOCK_EX | LOCK_NB))
        unlinkat(dir, name, 0);
    if (fd >= 0)
        close(fd);
}

/* Bytes of all images but `keep`, and the one among them that was not used for longest. */
static uint64_t survey(int dir, const char *keep, char oldest[32])
{
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *d;
    uint64_t total = 0;
    time_t since = 0;

    oldest[0] = '\0';
    while (list && (d = readdir(list))) {
        size_t len = strlen(d->d_name);
        struct stat st;

        if (len < NAME_LENGTH || strncmp(d->d_name + NAME_LENGTH - 3, ".vm", 3) ||
            fstatat(dir, d->d_name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode))
            continue;
        if (len > NAME_LENGTH) {
            drop_stale(dir, d->d_name);
        } else if (strcmp(d->d_name, keep)) {
            time_t used = MAX(st.st_atime, st.st_mtime);

            total += (uint64_t)st.st_size;
            if (!oldest[0] || used < since) {
                snprintf(oldest, 32, "%.*s", NAME_LENGTH, d->d_name);
                since = used;
            }
        }
    }
    if (list)
        closedir(list);
    else if (fd >= 0)
        close(fd);
    return total;
}

static void make_room(int dir, const char *keep)
{
    char oldest[32];

    while (survey(dir, keep, oldest) > TRANSLATIONS_TOTAL_MAX - TRANSLATIONS_IMAGE_MAX)
        if (!oldest[0] || unlinkat(dir, oldest, 0))
            return;
}

/* ---- images ---- */

static void map_image(struct translations *t)
{
    int fd = openat(t->dir, t->name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    struct stat st;

    if (fd < 0)
        return;
    if (is_own(fd, S_IFREG, &st) && st.st_size > 0 && st.st_size <= TRANSLATIONS_IMAGE_MAX) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);

        if (p != MAP_FAILED) {
            t->at = p;
            t->size = (size_t)st.st_size;
        }
    }
    close(fd);
}

void translations_find(struct translations *t, uint64_t name)
{
    if (t->dir < 0)
        return;
    snprintf(t->name, sizeof(t->name), NAME_FORMAT, (unsigned long long)name);
    snprintf(t->fresh_name, sizeof(t->fresh_name), "%s.%d", t->name, (int)getpid());
    make_room(t->dir, t->name);
    map_image(t);
    t->fresh = openat(t->dir, t->fresh_name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (t->fresh >= 0 && flock(t->fresh, LOCK_EX | LOCK_NB)) {
        close(t->fresh);
        t->fresh = -1;
    }
}

void translations_write(struct translations *t, const uint8_t *image, size_t size)
{
    size_t done = 0;

    while (t->fresh >= 0 && done < size) {
        ssize_t n = write(t->fresh, image + done, MIN(size - done, JIT_SAVED_PIECE));

        if (n <= 0)
            return; /* translations_close removes it */
        done += (size_t)n;
    }
    if (t->fresh < 0 || renameat(t->dir, t->fresh_name, t->dir, t->name))
        return;
    close(t->fresh);
    t->fresh = -1;
}

void translations_close(struct translations *t)
{
    if (t->fresh >= 0) {
        unlinkat(t->dir, t->fresh_name, 0);
        close(t->fresh);
    }
    if (t->at)
        munmap((void *)(uintptr_t)t->at, t->size);
    if (t->dir >= 0)
        close(t->dir);
    *t = (struct translations){.dir = -1, .fresh = -1};
}
