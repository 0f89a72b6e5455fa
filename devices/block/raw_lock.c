/*
 * Locks on image files: open-file-description locks on single bytes, at the places and with the meaning that QEMU's
 * file driver gives them, so that the two programs see each other: byte 100+n is held while permission n is in use,
 * byte 200+n while others are denied permission n.
 */
#include "devices/block/raw_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>

#include "vmm/base/log.h"
#include "vmm/base/util.h"

#define LOCK_IN_USE 100
#define LOCK_DENIED 200
#define LOCK_TRIES 25
#define LOCK_PAUSE_NS 20000000
#define PERM_CONSISTENT_READ 0
#define PERM_WRITE 1
#define PERM_RESIZE 3

void raw_unlock(int fd)
{
    struct flock fl = {.l_type = F_UNLCK, .l_whence = SEEK_SET, .l_start = LOCK_IN_USE, .l_len = 2 * LOCK_DENIED};

    fcntl(fd, F_OFD_SETLK, &fl);
}

static int lock_byte(int fd, int cmd, short type, off_t at)
{
    struct flock fl = {.l_type = type, .l_whence = SEEK_SET, .l_start = at, .l_len = 1};
    if (fcntl(fd, cmd, &fl) < 0)
        return -errno;
    return cmd == F_OFD_GETLK && fl.l_type != F_UNLCK ? -EBUSY : 0;
}

/* First takes what we need, then looks for others: of two that start together, at most one wins. */
static int raw_try_lock(int fd, bool read_only)
{
    static const int denied[] = {PERM_WRITE, PERM_RESIZE};
    int used[] = {PERM_CONSISTENT_READ, PERM_WRITE};
    unsigned nused = read_only ? 1 : 2;
    int rc = 0;

    for (unsigned i = 0; i < nused && !rc; i++)
        rc = lock_byte(fd, F_OFD_SETLK, F_RDLCK, LOCK_IN_USE + used[i]);
    for (unsigned i = 0; i < ARRAY_SIZE(denied) && !rc; i++)
        rc = lock_byte(fd, F_OFD_SETLK, F_RDLCK, LOCK_DENIED + denied[i]);
    for (unsigned i = 0; i < nused && !rc; i++)
        rc = lock_byte(fd, F_OFD_GETLK, F_WRLCK, LOCK_DENIED + used[i]);
    for (unsigned i = 0; i < ARRAY_SIZE(denied) && !rc; i++)
        rc = lock_byte(fd, F_OFD_GETLK, F_WRLCK, LOCK_IN_USE + denied[i]);
    return rc;
}

/* A process that was killed keeps its locks for a moment: the kernel takes its ring, which holds the file, apart in the
 * background. */
int raw_lock(int fd, const char *path, bool read_only, struct err *e)
{
    const struct timespec pause = {.tv_nsec = LOCK_PAUSE_NS};
    int rc = raw_try_lock(fd, read_only);

    for (unsigned i = 0; rc == -EBUSY && i < LOCK_TRIES; i++) {
        raw_unlock(fd);
        nanosleep(&pause, NULL);
        rc = raw_try_lock(fd, read_only);
    }
    if (rc == -EBUSY || rc == -EAGAIN || rc == -EACCES)
        return err_set(e, EBUSY, "disk %s is in use by another process", path);
    if (rc)
        log_warn(path, "this file system has no locks (%s): another process may write to the disk", strerror(-rc));
    return 0;
}
